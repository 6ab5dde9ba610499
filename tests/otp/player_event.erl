%% gen_event for player.erl: the managers that scenarios declare, their handlers, and what is asked of
%% them. A handler is an actor in its manager's process: it has a label, and a log, of its own.
-module(player_event).
-behaviour(gen_event).
-export([start/4, act/3, lost/3]).
-export([init/1, handle_event/2, handle_call/2, handle_info/2, terminate/2]).

-import(player, [attempt/2, log/1, name/2, on/2, pid/2, text/2]).

start(How, Decl, World, Manager) ->
    Started = case Decl of
                  #{name := Name} -> gen_event:How({local, name(Name, World)});
                  _ -> gen_event:How()
              end,
    case Started of
        {ok, {Pid, _}} -> player:adopt(Pid, World, Manager);
        {ok, Pid} -> player:adopt(Pid, World, Manager);
        {error, _} -> ok
    end,
    Started.

%% ------------------------------------------------------------------------------- commands

act(["add", M, H], World, _) ->
    ask(fun() -> gen_event:add_handler(pid(M, World), id(H, World), {World, H}) end, World);
act(["add_sup", M, H], World, _) ->
    ask(fun() -> gen_event:add_sup_handler(pid(M, World), id(H, World), {World, H}) end, World);
act(["delete", M, H], World, _) ->
    ask(fun() -> gen_event:delete_handler(pid(M, World), id(H, World), deleted) end, World);
act(["swap", M, H, K], World, _) ->
    ask(fun() -> gen_event:swap_handler(pid(M, World), old(H, World), new(K, World)) end, World);
act(["swap_sup", M, H, K], World, _) ->
    ask(fun() -> gen_event:swap_sup_handler(pid(M, World), old(H, World), new(K, World)) end, World);
act(["notify", M, Text], World, _) -> gen_event:notify(pid(M, World), {event, Text}), ok;
act(["sync_notify", M, Text], World, _) ->
    ask(fun() -> gen_event:sync_notify(pid(M, World), {event, Text}) end, World);
act(["ask", M, H, Text], World, _) ->
    ask(fun() -> gen_event:call(pid(M, World), id(H, World), {ask, Text}, infinity) end, World);
act(["ask", M, H, Text, Time], World, _) ->
    Time1 = list_to_integer(Time),
    ask(fun() -> gen_event:call(pid(M, World), id(H, World), {ask, Text}, Time1) end, World);
act(["handlers", M], World, _) ->
    Handlers = fun() ->
        lists:flatten(lists:join(" ", [handler(Id) || Id <- gen_event:which_handlers(pid(M, World))]))
    end,
    {log, attempt(Handlers, World)};
%% by a handler
act(["remove"], _, St = #{role := handler}) -> St#{then := remove};
act(["swap_to", K], _, St = #{role := handler}) -> St#{then := {swap, K}};
act(_, _, _) -> unknown.

ask(Ask, World) -> {log, attempt(fun() -> answer(Ask(), World) end, World)}.

answer(ok, _) -> "ok";
answer({error, bad_module}, _) -> "error not_installed";
answer({error, module_not_found}, _) -> "error not_installed";
answer({error, Why}, World) -> "error " ++ why(Why, World);
answer({'EXIT', _} = Why, World) -> "error " ++ why(Why, World);
answer(Why, World) when is_atom(Why); is_tuple(Why) -> "error " ++ why(Why, World);
answer(Reply, _) -> Reply.

why({'EXIT', Why}, World) -> text(Why, World);
why(Why, World) -> text(Why, World).

%% One that is addressed by its module alone is called `bare`.
id(H, #{decls := Decls}) ->
    case maps:get(H, Decls) of
        #{bare := true} -> ?MODULE;
        _ -> {?MODULE, list_to_atom(H)}
    end.

old(H, World) -> {id(H, World), swapped}.
new(K, World) -> {id(K, World), {World, K}}.

handler(?MODULE) -> "bare";
handler({?MODULE, Id}) -> atom_to_list(Id).

%% A supervised handler is gone: an actor's message.
lost(Handler, Why, St = #{world := World}) ->
    log("handler_exit " ++ handler(Handler) ++ " " ++ loss(Why, World)),
    on("handler_exit", St).

loss({swapped, New, false}, _) -> "swapped " ++ handler(New);
loss({swapped, New, Pid}, World) -> "swapped " ++ handler(New) ++ " " ++ player:label(Pid, World);
loss(Why, World) -> why(Why, World).

%% ------------------------------------------------------------------------------- a handler

init({{World, H}, {was, Old}}) -> make(World, H, "init after " ++ Old);
init({{World, H}, error}) -> make(World, H, "init after nobody");
init({{World, H}, {'EXIT', Why}}) -> make(World, H, "init after " ++ text(Why, World));
init({World, H}) -> make(World, H, "init").

make(World = #{table := Table}, H, Event) ->
    Number = ets:update_counter(Table, {handler, H}, 1, {{handler, H}, 0}),
    Label = case Number of
                1 -> H;
                _ -> H ++ "#" ++ integer_to_list(Number)
            end,
    ets:insert(Table, [{{label, Label}, self()}, {{latest, H}, self()}]),
    St = player:actor(World, H, Label, Number),
    log(Event),
    case on("init", St#{role => handler, name => H, label => Label}) of
        #{then := {stop, Why}} -> Why;
        St1 -> next(St1)
    end.

%% Whose turn it is in the manager.
turn(#{label := Label, world := #{boss := Boss}}) ->
    put(label, Label),
    put(boss, Boss).

next(St = #{then := none}) -> {ok, St};
next(#{then := remove}) -> remove_handler;
next(St = #{then := {swap, K}, world := World}) ->
    {swap_handler, swapped, St#{then := none}, id(K, World), {World, K}}.

handle_event({event, Text}, St) ->
    turn(St),
    log("event " ++ Text),
    next(on("event " ++ Text, St)).

handle_call({ask, Text}, St) ->
    turn(St),
    log("call " ++ Text),
    St1 = #{reply := Reply, world := World} = on("call " ++ Text, St#{reply := "ok"}),
    case St1 of
        #{then := none} -> {ok, Reply, St1};
        #{then := remove} -> {remove_handler, Reply};
        #{then := {swap, K}} ->
            {swap_handler, Reply, swapped, St1#{then := none}, id(K, World), {World, K}}
    end.

handle_info({text, Text}, St) ->
    turn(St),
    log("info " ++ Text),
    next(on("info " ++ Text, St));
handle_info({'EXIT', Pid, Why}, St = #{world := World}) ->
    turn(St),
    log("exit " ++ player:label(Pid, World) ++ " " ++ text(Why, World)),
    next(on("exit", St));
handle_info({'DOWN', Ref, process, Pid, Why}, St) ->
    turn(St),
    next(player:down(Ref, Pid, Why, St));
handle_info(_, St) ->
    {ok, St}.

terminate(Why, St = #{name := Name, world := World}) ->
    turn(St),
    log("terminate " ++ ending(Why, World)),
    _ = on("terminate", St),
    case Why of
        swapped -> {was, Name};
        _ -> ok
    end.

ending(remove_handler, _) -> "removed";
ending({stop, Why}, World) -> "adder " ++ text(Why, World);
ending({error, Why}, World) -> why(Why, World);
ending(Why, _) -> atom_to_list(Why).
