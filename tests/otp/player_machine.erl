%% gen_statem for player.erl: the machines that scenarios declare. What a machine does is looked up by
%% state and event, `[a] cast x`, and if nothing is said of that by the event alone, `cast x`.
-module(player_machine).
-behaviour(gen_statem).
-export([start/4, act/3]).
-export([callback_mode/0, init/1, handle_event/4, terminate/3]).

-import(player, [log/1, text/2]).

start(How, #{name := Name}, World, Machine) ->
    gen_statem:How({local, player:name(Name, World)}, ?MODULE, {World, Machine}, []);
start(How, _, World, Machine) ->
    gen_statem:How(?MODULE, {World, Machine}, []).

callback_mode() -> [handle_event_function, state_enter].

init({World = #{decls := Decls}, Machine}) ->
    St = player:born(World, Machine),
    log("init"),
    #{state := State} = maps:get(Machine, Decls),
    case player:on("init", fresh(St#{role => machine})) of
        #{then := ignore} -> ignore;
        #{then := {stop, Why}} -> {stop, Why};
        #{actions := Actions} = St1 -> {ok, list_to_atom(State), St1, Actions}
    end.

%% Ready for another event. `kept` are the callers that wait.
fresh(St) -> St#{to => keep, then => none, reply => none, actions => [], from => none}.

handle_event(enter, Old, State, St) ->
    handle("enter " ++ atom_to_list(Old), State, fresh(St));
handle_event({call, From}, {ask, Text}, State, St) ->
    handle("call " ++ Text, State, (fresh(St))#{from => From});
handle_event(cast, {cast, Text}, State, St) ->
    handle("cast " ++ Text, State, fresh(St));
handle_event(info, {do, Commands, Ref, Boss}, _, St) ->
    St1 = player:run(Commands, fresh(St)),
    Boss ! {done, Ref},
    next(St1);
handle_event(info, {text, Text}, State, St) ->
    handle("info " ++ Text, State, fresh(St));
handle_event(info, {'EXIT', Pid, Why}, State, St = #{world := World}) ->
    Event = "exit " ++ player:label(Pid, World) ++ " " ++ text(Why, World),
    handle(Event, "exit", State, fresh(St));
handle_event(info, {'DOWN', Ref, process, Pid, Why}, State, St = #{world := World}) ->
    #{monitors := Monitors} = St,
    Name = hd([N || {N, R} <- maps:to_list(Monitors), R =:= Ref] ++ ["unknown"]),
    Event = "down " ++ Name ++ " " ++ player:label(Pid, World) ++ " " ++ text(Why, World),
    handle(Event, "down", State, fresh(St));
handle_event(timeout, Text, State, St) ->
    handle("event_timeout " ++ Text, State, fresh(St));
handle_event(state_timeout, Text, State, St) ->
    handle("state_timeout " ++ Text, State, fresh(St));
handle_event({timeout, Name}, Text, State, St) ->
    handle("timeout " ++ Name ++ " " ++ Text, State, fresh(St));
%% Inserted ones.
handle_event(Type, Text, State, St) ->
    handle(atom_to_list(Type) ++ " " ++ Text, State, fresh(St)).

handle(Event, State, St) -> handle(Event, Event, State, St).

handle(Event, Key, State, St = #{on := On, number := Number}) ->
    In = "[" ++ atom_to_list(State) ++ "] ",
    log(In ++ Event),
    Here = [K || K <- [In ++ Key, In ++ Key ++ "#" ++ integer_to_list(Number)], is_map_key(K, On)],
    next(player:on(case Here of [] -> Key; _ -> In ++ Key end, St)).

next(St = #{then := {stop, Why}}) ->
    case replies(St) of
        [] -> {stop, Why, St};
        Replies -> {stop_and_reply, Why, Replies, St}
    end;
next(St = #{to := To, actions := Actions}) ->
    All = replies(St) ++ [A || A <- Actions, element(1, A) =/= reply],
    case To of
        keep -> {keep_state, St, All};
        repeat -> {repeat_state, St, All};
        {state, State} -> {next_state, list_to_atom(State), St, All}
    end.

replies(#{from := From, reply := Reply, actions := Actions}) ->
    [{reply, From, Reply} || From =/= none, Reply =/= none]
        ++ [A || A <- Actions, element(1, A) =:= reply].

terminate(Why, State, St = #{world := World}) ->
    log("[" ++ atom_to_list(State) ++ "] terminate " ++ text(Why, World)),
    player:on("terminate", St).

%% ------------------------------------------------------------------------------- commands

act(["go", State], _, St = #{role := machine}) -> St#{to := {state, State}};
act(["repeat"], _, St = #{role := machine}) -> St#{to := repeat};
act(Words, _, St = #{role := machine, actions := Actions}) ->
    case action(Words, St) of
        unknown -> unknown;
        Action -> St#{actions := Actions ++ [Action]}
    end;
act(_, _, _) -> unknown.

action(["postpone"], _) -> {postpone, true};
action(["insert", Type, Text], _) -> {next_event, list_to_atom(Type), content(Type, Text)};
action(["insert_call", Name, Text], #{kept := Kept}) ->
    {next_event, {call, maps:get(Name, Kept)}, {ask, Text}};
action(["reply_to", Name, Text], #{kept := Kept}) -> {reply, maps:get(Name, Kept), Text};
action(["state_timeout", Time, Text], _) -> {state_timeout, list_to_integer(Time), Text};
action(["event_timeout", Time, Text], _) -> {timeout, list_to_integer(Time), Text};
action(["timeout", Name, Time, Text], _) -> {{timeout, Name}, list_to_integer(Time), Text};
action(["update_state_timeout", Text], _) -> {state_timeout, update, Text};
action(["update_timeout", Name, Text], _) -> {{timeout, Name}, update, Text};
action(["cancel_state_timeout"], _) -> {state_timeout, cancel};
action(["cancel_event_timeout"], _) -> {timeout, cancel};
action(["cancel_timeout", Name], _) -> {{timeout, Name}, cancel};
action(_, _) -> unknown.

content("cast", Text) -> {cast, Text};
content("info", Text) -> {text, Text};
content(_, Text) -> Text.
