%% The part of player.erl that knows Elixir: tasks, agents, and the supervisors that OTP has not, called
%% as what they are in Erlang, modules. Elixir's must be on the code path for a scenario that uses them.
-module(player_elixir).
-export([start/0, declaration/2, partitions/1, start/3, start_link/3, start_partition/3, dynamic/2,
         act/3, raised/1]).
-import(player, [adopt/3, born/2, loop/1, on/2, log/1, text/2, label/2, pid/2, name/2, time/1,
                 attempt/2]).

start() ->
    case code:which('Elixir.Task') of
        non_existing -> ok;
        _ -> {ok, _} = application:ensure_all_started(elixir)
    end.

%% ------------------------------------------------------------------------------- declarations

declaration("agent", []) -> #{kind => agent};
declaration("agent", ["named", Name]) -> #{kind => agent, name => Name};
declaration("dynamic_supervisor", [Intensity, Period | Options]) ->
    limits(Intensity, Period, Options, #{kind => dynamic_supervisor});
declaration("task_supervisor", [Intensity, Period | Options]) ->
    limits(Intensity, Period, Options, #{kind => task_supervisor});
declaration("partition_supervisor", [Strategy, Intensity, Period, Partitions, Child]) ->
    limits(Intensity, Period, [], #{kind => partition_supervisor, child => Child,
                                    strategy => list_to_atom(Strategy),
                                    partitions => list_to_integer(Partitions)});
declaration(_, _) -> none.

limits(Intensity, Period, Options, Decl) ->
    Decl1 = Decl#{intensity => list_to_integer(Intensity), period => list_to_integer(Period),
                  max => infinity, extra => false},
    options(Options, Decl1).

options(["max", Max | More], Decl) -> options(More, Decl#{max := list_to_integer(Max)});
%% What else is said of a template is for noex: here each child says so itself.
options(["template", _, _ | More], Decl) -> options(More, Decl#{extra := true});
options([], Decl) -> Decl.

%% The partitions of `p` are the actors `p0`, `p1`, ..., each as its `child` is declared.
partitions(Decls) ->
    Each = fun(_, #{kind := partition_supervisor, partitions := Count, child := Child}, All) ->
                   #{Child := Decl} = Decls,
                   Names = [partition(Child, N) || N <- lists:seq(0, Count - 1)],
                   maps:merge(All, maps:from_keys(Names, Decl));
              (_, _, All) -> All
           end,
    maps:fold(Each, Decls, Decls).

partition(Child, N) -> Child ++ integer_to_list(N).

%% ------------------------------------------------------------------------------- starts

start(#{kind := agent} = Decl, World, Name) ->
    'Elixir.Agent':start(fun() -> agent_init(World, Name) end, named(Decl, World)).

start_link(#{kind := agent} = Decl, World, Name) ->
    'Elixir.Agent':start_link(fun() -> agent_init(World, Name) end, named(Decl, World));
start_link(#{kind := dynamic_supervisor}, World, Name) ->
    'Elixir.DynamicSupervisor':start_link(player, {dynamic_supervisor, World, Name});
start_link(#{kind := task_supervisor, intensity := Intensity, period := Period, max := Max},
           World, Name) ->
    Options = [{max_restarts, Intensity}, {max_seconds, Period}, {max_children, Max}],
    known('Elixir.Task.Supervisor':start_link(Options), World, Name);
start_link(#{kind := partition_supervisor, strategy := Strategy, intensity := Intensity,
             period := Period, partitions := Partitions, child := Child}, World, Name) ->
    Spec = player:spec(Child, World),
    Options = [{name, name(Name, World)}, {partitions, Partitions}, {strategy, Strategy},
               {max_restarts, Intensity}, {max_seconds, Period},
               {child_spec, Spec#{start := {?MODULE, start_partition, [World, Name, Child]}}},
               {with_arguments, fun([W, P, C], N) -> [W, P, partition(C, N)] end}],
    known('Elixir.PartitionSupervisor':start_link(Options), World, Name).

%% In the supervisor, which has no code of its own to say who it is.
start_partition(World, Supervisor, Partition) ->
    adopt(self(), World, Supervisor),
    player:start_child(World, Partition).

named(#{name := Name}, World) -> [{name, name(Name, World)}];
named(_, _) -> [].

known({ok, Pid}, World, Name) -> adopt(Pid, World, Name), {ok, Pid};
known(Failed, _, _) -> Failed.

%% What `init/1` of a dynamic supervisor gives.
dynamic(World = #{decls := Decls}, Name) ->
    #{intensity := Intensity, period := Period, max := Max, extra := Extra} = maps:get(Name, Decls),
    'Elixir.DynamicSupervisor':init([{max_restarts, Intensity}, {max_seconds, Period},
                                     {max_children, Max},
                                     {extra_arguments, [World || Extra]}]).

%% ------------------------------------------------------------------------------- agents

agent_init(World, Name) ->
    St = born(World, Name),
    log("init"),
    on("init", St#{role => agent}).

%% What a function called `Does` does in an agent.
agent_does(Does, St) ->
    log("does " ++ Does),
    on(Does, St#{reply := none}).

reply(#{reply := none, state := State}) -> State;
reply(#{reply := Reply}) -> Reply.

%% ------------------------------------------------------------------------------- tasks

%% A task is a process that ends with a value: `return`.
task(World, Name) ->
    St = born(World, Name),
    try loop(on("start", St#{role => process}))
    catch throw:{return, Value} -> Value
    end.

work(World, Name) -> fun() -> task(World, Name) end.

keep(Task, World = #{table := Table}, Name) ->
    ets:insert(Table, {{task, Name}, Task}),
    case Task of
        #{pid := Pid} when is_pid(Pid) -> adopt(Pid, World, Name);
        _ -> ok
    end.

kept(Name, #{table := Table}) ->
    [{_, Task}] = ets:lookup(Table, {task, Name}),
    Task.

%% How it is to be treated by its supervisor, if it is declared as a child.
treatment(Name, #{decls := Decls}) ->
    Decl = maps:get(Name, Decls),
    [{Key, maps:get(Key, Decl)} || Key <- [restart, shutdown], maps:get(Key, Decl, default) =/= default].

end_of(nil, _) -> "nil";
end_of({ok, Value}, _) -> "ok " ++ Value;
end_of({exit, Why}, World) -> "exit " ++ text(Why, World).

%% `stream KEY=VALUE .. ITEM ..`
stream(Words, World) ->
    {Options, Items} = lists:partition(fun(Word) -> lists:member($=, Word) end, Words),
    Given = maps:from_list([list_to_tuple(string:split(Option, "=")) || Option <- Options]),
    Set = lists:append(
        [case Option of
             {"max", Max} -> [{max_concurrency, list_to_integer(Max)}];
             {"ordered", Ordered} -> [{ordered, list_to_atom(Ordered)}];
             {"timeout", Time} -> [{timeout, time(Time)}];
             {"on_timeout", What} -> [{on_timeout, list_to_atom(What)}];
             _ -> []
         end || Option <- maps:to_list(Given)]),
    Source = 'Elixir.Stream':map(Items, fun(Item) -> log("stream takes " ++ Item), Item end),
    Work = fun(Name) -> task(World, Name) end,
    Stream = case Given of
                 #{"nolink" := Sup} ->
                     'Elixir.Task.Supervisor':async_stream_nolink(pid(Sup, World), Source, Work, Set);
                 #{"under" := Sup} ->
                     'Elixir.Task.Supervisor':async_stream(pid(Sup, World), Source, Work, Set);
                 _ -> 'Elixir.Task':async_stream(Source, Work, Set)
             end,
    Wanted = case Given of
                 #{"take" := Count} -> 'Elixir.Stream':take(Stream, list_to_integer(Count));
                 _ -> Stream
             end,
    put(busy, list_to_integer(maps:get("busy", Given, "0"))),
    Each = fun(Result) ->
                   log("stream gives " ++ end_of(Result, World)),
                   timer:sleep(put(busy, 0))
           end,
    Run = fun() -> 'Elixir.Enum':each(Wanted, Each), "ended" end,
    {log, attempt(Run, World)}.

%% ------------------------------------------------------------------------------- commands

act([_, Name | _] = Words, World = #{decls := Decls}, _) ->
    #{kind := Kind} = maps:get(Name, Decls, #{kind => any}),
    ask(Kind, Words, World);
act(_, _, _) -> unknown.

%% By the kind of the first actor that is named.
ask(_, ["return", Value], _) -> throw({return, Value});
ask(_, ["task_start", T], World) -> spawned('Elixir.Task':start(work(World, T)), World, T);
ask(_, ["task_start_link", T], World) -> spawned('Elixir.Task':start_link(work(World, T)), World, T);
ask(_, ["async", T], World) -> keep('Elixir.Task':async(work(World, T)), World, T), ok;
ask(_, ["async_in", Sup, T], World) -> supervised(async, Sup, T, World);
ask(_, ["async_nolink", Sup, T], World) -> supervised(async_nolink, Sup, T, World);
ask(_, ["complete", T, Value], World) -> keep('Elixir.Task':completed(Value), World, T), ok;
ask(_, ["await", T], World) ->
    {log, attempt(fun() -> 'Elixir.Task':await(kept(T, World)) end, World)};
ask(_, ["await", T, Time], World) ->
    {log, attempt(fun() -> 'Elixir.Task':await(kept(T, World), time(Time)) end, World)};
ask(_, ["await_many", Time | Names], World) ->
    Tasks = [kept(T, World) || T <- Names],
    Await = fun() -> lists:join(" ", 'Elixir.Task':await_many(Tasks, time(Time))) end,
    {log, lists:flatten(attempt(Await, World))};
ask(_, ["yield", T, Time], World) ->
    {log, attempt(fun() -> end_of('Elixir.Task':yield(kept(T, World), time(Time)), World) end, World)};
ask(_, ["yield_many", Time | Names], World) ->
    Tasks = [kept(T, World) || T <- Names],
    Yield = fun() ->
                    Ends = 'Elixir.Task':yield_many(Tasks, time(Time)),
                    lists:join(", ", [end_of(End, World) || {_, End} <- Ends])
            end,
    {log, lists:flatten(attempt(Yield, World))};
ask(_, ["shutdown", T, How], World) ->
    Shutdown = fun() -> end_of('Elixir.Task':shutdown(kept(T, World), time(How)), World) end,
    {log, attempt(Shutdown, World)};
ask(_, ["ignore", T], World) ->
    {log, attempt(fun() -> end_of('Elixir.Task':ignore(kept(T, World)), World) end, World)};
ask(_, ["stream" | Words], World) -> stream(Words, World);
%% task supervisors
ask(task_supervisor, ["start_child", Sup, T], World) ->
    Start = fun() ->
                    Started = 'Elixir.Task.Supervisor':start_child(pid(Sup, World), work(World, T),
                                                                   treatment(T, World)),
                    player:child(known(Started, World, T), World)
            end,
    {log, attempt(Start, World)};
ask(task_supervisor, ["terminate_child", Sup, T], World) ->
    Terminate = fun() ->
                        'Elixir.Task.Supervisor':terminate_child(pid(Sup, World), pid(T, World))
                end,
    {log, attempt(fun() -> player:child(Terminate(), World) end, World)};
ask(task_supervisor, ["children", Sup], World) ->
    Children = fun() -> names('Elixir.Task.Supervisor':children(pid(Sup, World)), World) end,
    {log, attempt(Children, World)};
%% dynamic supervisors
ask(dynamic_supervisor, ["start_child", Sup, Child], World = #{decls := Decls}) ->
    Spec = #{start := {M, F, [W, C]}} = player:spec(Child, World),
    Lacks = case maps:get(Sup, Decls) of
                #{extra := true} -> Spec#{start := {M, F, [C]}};
                _ -> Spec#{start := {M, F, [W, C]}}
            end,
    Start = fun() -> 'Elixir.DynamicSupervisor':start_child(pid(Sup, World), Lacks) end,
    {log, attempt(fun() -> player:child(Start(), World) end, World)};
ask(dynamic_supervisor, ["terminate_child", Sup, Child], World) ->
    Terminate = fun() ->
                        'Elixir.DynamicSupervisor':terminate_child(pid(Sup, World), pid(Child, World))
                end,
    {log, attempt(fun() -> player:child(Terminate(), World) end, World)};
ask(dynamic_supervisor, ["which", Sup], World) ->
    Which = fun() -> 'Elixir.DynamicSupervisor':which_children(pid(Sup, World)) end,
    {log, attempt(fun() -> names([Pid || {undefined, Pid, _, _} <- Which()], World) end, World)};
ask(dynamic_supervisor, ["count", Sup], World) ->
    Count = fun() -> player:count('Elixir.DynamicSupervisor':count_children(pid(Sup, World))) end,
    {log, attempt(Count, World)};
%% partition supervisors
ask(partition_supervisor, ["which", Sup], World) ->
    Which = fun() ->
                    Children = 'Elixir.PartitionSupervisor':which_children(name(Sup, World)),
                    lists:join(" ", [integer_to_list(Id) ++ "=" ++ who(Pid, World)
                                     || {Id, Pid, _, _} <- lists:keysort(1, Children)])
            end,
    {log, lists:flatten(attempt(Which, World))};
ask(partition_supervisor, ["count", Sup], World) ->
    Count = fun() ->
                    player:count('Elixir.PartitionSupervisor':count_children(name(Sup, World)))
            end,
    {log, attempt(Count, World)};
ask(partition_supervisor, ["partitions", Sup], World) ->
    Partitions = fun() ->
                         integer_to_list('Elixir.PartitionSupervisor':partitions(name(Sup, World)))
                 end,
    {log, attempt(Partitions, World)};
ask(partition_supervisor, ["route", Sup, Key], World) ->
    Route = fun() -> label('Elixir.GenServer':whereis(via(Sup, Key, World)), World) end,
    {log, attempt(Route, World)};
ask(partition_supervisor, ["call_key", Sup, Key, Text], World) ->
    Call = fun() -> 'Elixir.GenServer':call(via(Sup, Key, World), {ask, Text}, infinity) end,
    {log, attempt(Call, World)};
ask(partition_supervisor, ["cast_key", Sup, Key, Text], World) ->
    'Elixir.GenServer':cast(via(Sup, Key, World), {cast, Text}),
    ok;
%% agents
ask(agent, ["get", A, Does | Time], World) ->
    Get = fun(St) -> reply(agent_does(Does, St)) end,
    {log, attempt(fun() -> 'Elixir.Agent':get(pid(A, World), Get, limit(Time)) end, World)};
ask(agent, ["get_named", A, Does], World = #{decls := Decls}) ->
    #{A := #{name := Name}} = Decls,
    Get = fun(St) -> reply(agent_does(Does, St)) end,
    {log, attempt(fun() -> 'Elixir.Agent':get(name(Name, World), Get) end, World)};
ask(agent, ["update", A, Does | Time], World) ->
    Update = fun() ->
                     Change = fun(St) -> agent_does(Does, St) end,
                     atom_to_list('Elixir.Agent':update(pid(A, World), Change, limit(Time)))
             end,
    {log, attempt(Update, World)};
ask(agent, ["get_and_update", A, Does | Time], World) ->
    Change = fun(St) -> St1 = agent_does(Does, St), {reply(St1), St1} end,
    Update = fun() -> 'Elixir.Agent':get_and_update(pid(A, World), Change, limit(Time)) end,
    {log, attempt(Update, World)};
ask(agent, ["agent_cast", A, Does], World) ->
    'Elixir.Agent':cast(pid(A, World), fun(St) -> agent_does(Does, St) end),
    ok;
ask(_, _, _) -> unknown.

spawned({ok, Pid}, World, Name) -> adopt(Pid, World, Name), ok.

supervised(How, Sup, T, World) ->
    Start = fun() ->
                    Options = lists:keydelete(restart, 1, treatment(T, World)),
                    keep('Elixir.Task.Supervisor':How(pid(Sup, World), work(World, T), Options),
                         World, T),
                    "ok"
            end,
    {log, attempt(Start, World)}.

limit([]) -> 5000;
limit([Time]) -> time(Time).

via(Sup, Key, World) ->
    {via, 'Elixir.PartitionSupervisor', {name(Sup, World), list_to_integer(Key)}}.

%% They are in no particular order, there as in noex.
names([], _) -> "nobody";
names(Pids, World) -> lists:flatten(lists:join(" ", lists:sort([who(Pid, World) || Pid <- Pids]))).

who(Pid, World) when is_pid(Pid) -> label(Pid, World);
who(Atom, _) -> atom_to_list(Atom).

%% An exception that a caller gets: in noex an `Err`.
raised(#{'__struct__' := Struct, message := Message}) ->
    Said = fun(Words) -> string:find(Message, Words) =/= nomatch end,
    Known = [{"must be queried from the owner", "not_owner"},
             {"does not have an associated task process", "no_process"},
             {"reached the maximum number of tasks", "max_children"}],
    hd([Word || {Words, Word} <- Known, Said(Words)] ++ [atom_to_list(Struct)]).
