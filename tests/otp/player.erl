%% Plays scenarios (scenarios/*.txt; the language is described in README.md) on Erlang/OTP with real
%% processes, gen_servers and supervisors, and prints what was seen. The same is done by the Rust
%% files beside this one on noex; tests/otp.rs compares.
%%
%%   erl -noshell -noinput -kernel logger_level none -s player main -extra FILE
%%
%% FILE holds scenarios without `for` lines: tests/otp.rs expands them. With Elixir on the code path
%% (`-pa`), its tasks, agents and supervisors can be played, too: player_elixir.erl.
%%
%% Who is who:
%%   boss     one process for each scenario: reads the steps, keeps the log, and does nothing that
%%            could block it
%%   actors   the processes under test: `live/3` (a process), `init({server, ..})` (a gen_server),
%%            `init({supervisor, ..})`, player_event (what is in a gen_event), player_machine (a
%%            gen_statem), and what player_elixir starts. They do what `do`, `run` and their handlers
%%            say, and tell the boss of what happens to them.
-module(player).
-export([main/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, handle_continue/2, terminate/2]).
-export([start_child/2, live/3]).
%% For player_event, player_machine and player_elixir.
-export([actor/4, adopt/3, attempt/2, born/2, child/2, count/1, down/4, label/2, log/1, loop/1,
         name/2, on/2, pid/2, reason/1, run/2, say/2, spec/2, start_link/3, started/2, text/2,
         time/1]).

-define(PATIENCE, 10000).
-define(SERVES(Kind), Kind =:= server; Kind =:= manager; Kind =:= machine).

main() ->
    [File] = init:get_plain_arguments(),
    player_elixir:start(),
    {ok, Text} = file:read_file(File),
    Lines = string:split(binary_to_list(Text), "\n", all),
    lists:foreach(fun play/1, lists:enumerate(scenarios(Lines))),
    halt(0).

%% ------------------------------------------------------------------------------- reading

scenarios(["== " ++ Name | Lines]) ->
    {Body, Rest} = lists:splitwith(fun(L) -> not lists:prefix("== ", L) end, Lines),
    [{Name, Body} | scenarios(Rest)];
scenarios([_ | Lines]) -> scenarios(Lines);
scenarios([]) -> [].

%% The declarations, the groups of `order` lines, and the steps.
read(Lines) -> read(Lines, none, #{}, [], []).

read([], _, Decls, Order, Steps) ->
    {player_elixir:partitions(Decls), lists:reverse(Order), lists:reverse(Steps)};
read(["#" ++ _ | Lines], Last, Decls, Order, Steps) ->
    read(Lines, Last, Decls, Order, Steps);
read([" " ++ _ = Line | Lines], Last, Decls, Order, Steps) ->
    [Key, Program] = string:split(Line, ":"),
    #{Last := Decl = #{on := On}} = Decls,
    On1 = On#{string:trim(Key) => commands(Program)},
    read(Lines, Last, Decls#{Last := Decl#{on := On1}}, Order, Steps);
read([Line | Lines], Last, Decls, Order, Steps) ->
    case words(Line) of
        [] -> read(Lines, Last, Decls, Order, Steps);
        ["order" | Names] -> read(Lines, Last, Decls, [Names | Order], Steps);
        [Word | _] when Word =:= "departs"; Word =:= "otp"; Word =:= "noex" ->
            read(Lines, Last, Decls, Order, Steps);
        [Kind, Name | Words] ->
            case declaration(Kind, Words) of
                none -> read(Lines, Last, Decls, Order, [Line | Steps]);
                Decl -> read(Lines, Name, Decls#{Name => Decl#{on => #{}}}, Order, Steps)
            end;
        _ -> read(Lines, Last, Decls, Order, [Line | Steps])
    end.

declaration("process", []) -> #{kind => process};
declaration("server", []) -> #{kind => server};
declaration("server", ["named", Name]) -> #{kind => server, name => Name};
declaration("supervisor", [Strategy, Intensity, Period, "auto_shutdown", When | Children]) ->
    Decl = declaration("supervisor", [Strategy, Intensity, Period | Children]),
    Decl#{auto_shutdown => list_to_atom(When)};
declaration("supervisor", [Strategy, Intensity, Period | Children]) ->
    #{kind => supervisor, strategy => list_to_atom(Strategy),
      intensity => list_to_integer(Intensity), period => list_to_integer(Period),
      children => Children};
declaration("manager", []) -> #{kind => manager};
declaration("manager", ["named", Name]) -> #{kind => manager, name => Name};
declaration("handler", Words) -> #{kind => handler, bare => Words =:= ["bare"]};
declaration("machine", [State | Words]) ->
    (declaration("server", Words))#{kind => machine, state => State};
declaration("child", [Restart, Shutdown, "significant" | Words]) ->
    (declaration("child", [Restart, Shutdown | Words]))#{significant => true};
declaration("child", [Restart, Shutdown | Words]) ->
    Decl = case Words of
               [] -> #{kind => server};
               [Kind | More] -> declaration(Kind, More)
           end,
    Decl#{restart => list_to_atom(Restart), shutdown => time(Shutdown)};
declaration(Kind, Words) -> player_elixir:declaration(Kind, Words).

words(Line) -> string:lexemes(Line, " ").

commands(Program) -> [words(Command) || Command <- string:lexemes(Program, ";")].

time(Text) ->
    try list_to_integer(Text) catch error:badarg -> list_to_atom(Text) end.

%% `boom`, `shutdown:upgrade`; what `text/1` prints again.
reason("shutdown:" ++ Why) -> {shutdown, list_to_atom(Why)};
reason(Why) -> list_to_atom(Why).

text({Why, {_, _, Args}}, W) when is_list(Args) -> text(Why, W); % of a call that failed
text({shutdown, Why}, W) -> "shutdown:" ++ text(Why, W);
text({failed_to_start_child, Id, Why}, W) ->
    "failed_to_start_child:" ++ lists:flatten(io_lib:format("~w:", [Id])) ++ text(Why, W);
text({start_spec, Why}, W) -> text(Why, W);
text({duplicate_child_name, Id}, _) -> "duplicate_child_name:" ++ atom_to_list(Id);
text({bad_combination, [{auto_shutdown, never} | _]}, _) -> "significant_in_vain";
text({bad_combination, [{restart, permanent} | _]}, _) -> "significant_permanent";
text({already_started, Pid}, W) -> "already_started:" ++ label(Pid, W);
text({Why, [{_, _, _, _} | _]}, W) -> "crash:" ++ text(Why, W);
text(Why, _) when is_atom(Why) -> atom_to_list(Why);
text(Why, _) -> lists:flatten(io_lib:format("~0p", [Why])).

%% ------------------------------------------------------------------------------- the boss

-record(boss, {world, log = [], done = [], born = #{}, monitors = #{}, used = []}).

play({Number, {Name, Lines}}) ->
    io:format("== ~s~n", [Name]),
    {_, Monitor} = spawn_monitor(fun() -> boss(Number, Lines) end),
    receive {'DOWN', Monitor, _, _, Why} -> ok end,
    case Why of
        normal -> ok;
        _ -> io:format("script: ~0p~n", [Why])
    end.

boss(Number, Lines) ->
    {Decls, Order, Steps} = read(Lines),
    World = #{boss => self(), table => ets:new(names, [public]), decls => Decls,
              number => Number},
    Main = spawn(?MODULE, live, [World, "main", true]),
    Boss0 = be_born(Main, "main", #boss{world = World}),
    Boss = settle(steps(Steps, Boss0)),
    lists:foreach(fun(Line) -> io:format("~s~n", [Line]) end, report(Order, Boss)),
    lists:foreach(fun({_, Pid}) -> exit(Pid, kill) end, living(Boss)).

steps([], Boss) -> Boss;
steps([Line | Lines], Boss) ->
    case step(words(Line), Line, Boss) of
        {ok, Boss1} -> steps(Lines, Boss1);
        {never, Boss1} -> note("stage", "never: " ++ Line, Boss1)
    end.

step(["start" | Names], _, Boss = #boss{world = #{decls := Decls}}) ->
    How = fun(#{kind := process}) -> "spawn"; (_) -> "start" end,
    Program = [[How(maps:get(Name, Decls)), Name] || Name <- Names],
    tell("main", Program, true, Boss);
step(["wait", Label | _], "wait " ++ Rest, Boss) ->
    Event = string:trim(lists:nthtail(length(Label), string:trim(Rest))),
    case until(fun(B) -> seen(Label, Event, B) =/= none end, Boss) of
        {ok, Boss1} ->
            Place = seen(Label, Event, Boss1),
            {ok, Boss1#boss{used = [Place | Boss1#boss.used]}};
        Never -> Never
    end;
step(["pause", Time], _, Boss) ->
    timer:sleep(list_to_integer(Time)),
    {ok, Boss};
step(["settle"], _, Boss) -> {ok, settle(Boss)};
step(["release", Gate], _, Boss = #boss{log = Log}) ->
    [Pid ! {release, Gate} || {_, Label, Event} <- Log, Event =:= "blocked " ++ Gate,
                              {ok, Pid} <- [find(Label, Boss#boss.world)]],
    {ok, Boss};
step(_, Line, Boss) ->
    [Name] = string:lexemes(hd(words(Line)), ":&"),
    [Mark | Program] = lists:nthtail(length(Name), Line),
    tell(Name, commands(Program), Mark =:= $:, Boss).

%% Has an actor do something; if `Wait`, until it is done or dead.
tell(Name, Program, Wait, Boss) ->
    Known = fun(#boss{world = World}) -> find(Name, World) =/= error end,
    case until(Known, Boss) of
        {ok, Boss1} ->
            {ok, Pid} = find(Name, Boss1#boss.world),
            case is_process_alive(Pid) of
                true ->
                    Ref = make_ref(),
                    Pid ! {do, Program, Ref, self()},
                    Over = fun(B) -> not Wait orelse lists:member(Ref, B#boss.done)
                                         orelse ended(Pid, B) end,
                    until(Over, Boss1);
                false ->
                    {ok, Boss2} = until(fun(B) -> ended(Pid, B) end, Boss1),
                    {ok, note(label(Pid, Boss2#boss.world), "(dead)", Boss2)}
            end;
        Never -> Never
    end.

ended(Pid, #boss{monitors = Monitors}) ->
    not lists:member(Pid, maps:values(Monitors)).

living(#boss{monitors = Monitors}) -> maps:to_list(Monitors).

seen(Label, Event, #boss{log = Log, used = Used}) ->
    Places = [Place || {Place, L, E} <- Log, L =:= Label, E =:= Event,
                       not lists:member(Place, Used)],
    case Places of
        [] -> none;
        _ -> lists:min(Places)
    end.

until(Holds, Boss) ->
    until(Holds, Boss, erlang:monotonic_time(millisecond) + ?PATIENCE).

until(Holds, Boss, End) ->
    case Holds(Boss) of
        true -> {ok, Boss};
        false ->
            Left = max(0, End - erlang:monotonic_time(millisecond)),
            receive Message -> until(Holds, hear(Message, Boss), End)
            after Left -> {never, Boss}
            end
    end.

hear({log, Label, Event}, Boss) -> note(Label, Event, Boss);
hear({done, Ref}, Boss) -> Boss#boss{done = [Ref | Boss#boss.done]};
hear({born, From, Pid, Name}, Boss) ->
    Boss1 = be_born(Pid, Name, Boss),
    From ! {born, Pid},
    Boss1;
hear({'DOWN', Monitor, process, Pid, Why}, Boss = #boss{world = World, monitors = Monitors}) ->
    Boss1 = Boss#boss{monitors = maps:remove(Monitor, Monitors)},
    note(label(Pid, World), "ended " ++ text(Why, World), Boss1).

%% Whoever says it first: who starts a process, or the process itself.
be_born(Pid, Name, Boss = #boss{world = #{table := Table}}) ->
    case ets:member(Table, Pid) of
        true -> Boss;
        false -> be_new(Pid, Name, Boss)
    end.

be_new(Pid, Name, Boss = #boss{world = #{table := Table}, born = Born}) ->
    Number = maps:get(Name, Born, 0) + 1,
    Label = case Number of
                1 -> Name;
                _ -> Name ++ "#" ++ integer_to_list(Number)
            end,
    ets:insert(Table, [{Pid, Label}, {{label, Label}, Pid}, {{latest, Name}, Pid}]),
    Pid ! {you_are, Label, Number},
    Monitor = monitor(process, Pid),
    Boss#boss{born = Born#{Name => Number},
              monitors = (Boss#boss.monitors)#{Monitor => Pid}}.

note(Label, Event, Boss = #boss{log = Log}) ->
    Boss#boss{log = [{length(Log), Label, Event} | Log]}.

%% Waits until no process has anything to do, born or not yet. Asking one how it is is a signal, too:
%% it is answered after what was sent to it before.
settle(Boss) ->
    settle(Boss, 3, erlang:monotonic_time(millisecond) + ?PATIENCE).

settle(Boss, 0, _) -> Boss;
settle(Boss, Rounds, End) ->
    Boss1 = drain(Boss),
    Others = processes() -- [self()],
    Waits = fun(Pid) -> process_info(Pid, status) =:= {status, waiting} end,
    Wait = lists:all(Waits, Others) andalso [P || {_, P} <- living(Boss1)] -- Others =:= [],
    Boss2 = drain(Boss1),
    Late = erlang:monotonic_time(millisecond) > End,
    if
        Wait, Boss2 =:= Boss1 -> settle(Boss2, Rounds - 1, End);
        Late -> note("stage", "never: settled", Boss2);
        true -> erlang:yield(), settle(Boss2, 3, End)
    end.

drain(Boss) ->
    receive Message -> drain(hear(Message, Boss)) after 0 -> Boss end.

%% What was seen: the trace of each actor or group, then who ended how.
report(Order, #boss{log = Log}) ->
    Ends = [Label ++ ": " ++ Event || {_, Label, "ended " ++ _ = Event} <- Log],
    Rest = [{key(Label, Order), Label ++ ": " ++ Event}
            || {_, Label, Event} <- lists:reverse(Log), not lists:prefix("ended ", Event)],
    Keys = lists:usort([Key || {Key, _} <- Rest]),
    [Line || Key <- Keys, {K, Line} <- Rest, K =:= Key] ++ lists:sort(Ends).

key(Label, Order) ->
    [Name | _] = string:split(Label, "#"),
    case [Group || Group <- Order, lists:member(Name, Group)] of
        [Group | _] -> lists:flatten(lists:join(" ", Group));
        [] -> Name
    end.

%% ------------------------------------------------------------------------------- names

label(Pid, #{table := Table}) ->
    case ets:lookup(Table, Pid) of
        [{_, Label}] -> Label;
        [] -> "somebody"
    end.

find(Name, #{table := Table}) ->
    case ets:lookup(Table, {latest, Name}) ++ ets:lookup(Table, {label, Name}) of
        [{_, Pid} | _] -> {ok, Pid};
        [] -> error
    end.

pid("self", _) -> self();
pid(Name, World) ->
    case find(Name, World) of
        {ok, Pid} -> Pid;
        error -> log("script: who is " ++ Name ++ "?"), exit({script, Name})
    end.

name(Name, #{number := Number}) ->
    list_to_atom("player_" ++ integer_to_list(Number) ++ "_" ++ Name).

%% ------------------------------------------------------------------------------- actors

%% Who am I? For what is not spawned by an actor that says so to the boss.
born(World = #{boss := Boss}, Name) ->
    Boss ! {born, self(), self(), Name},
    receive {born, Pid} when Pid =:= self() -> ok end,
    named(World, Name).

named(World, Name) ->
    receive {you_are, Label, Number} -> ok end,
    actor(World, Name, Label, Number).

%% An actor's own, whatever kind it is.
actor(World = #{decls := Decls}, Name, Label, Number) ->
    put(label, Label),
    put(boss, maps:get(boss, World)),
    On = maps:get(on, maps:get(Name, Decls, #{}), #{}),
    #{world => World, number => Number, on => On, monitors => #{}, refs => #{}, timers => #{}, kept => #{},
      state => "0", then => none, reply => "ok"}.

log(Event) -> get(boss) ! {log, get(label), Event}.

%% Does what the scenario says of `Key`, and whatever `commands` are given.
on(Key, St = #{on := On, number := Number}) ->
    Nth = Key ++ "#" ++ integer_to_list(Number),
    run(maps:get(Nth, On, maps:get(Key, On, [])), St).

run(Commands, St) -> lists:foldl(fun act/2, St, Commands).

live(World, Name, Trap) ->
    process_flag(trap_exit, Trap),
    St = named(World, Name),
    loop(on("start", St#{role => process})).

%% What comes of tasks stays in the mailbox for who asks for it.
loop(St = #{world := World, refs := Refs}) ->
    loop(receive
             {do, Commands, Ref, Boss} ->
                 St1 = run(Commands, St),
                 Boss ! {done, Ref},
                 St1;
             {text, Text} ->
                 log("got " ++ Text),
                 on("got " ++ Text, St);
             {'EXIT', Pid, Why} ->
                 log("exit " ++ label(Pid, World) ++ " " ++ text(Why, World)),
                 on("exit", St);
             {'DOWN', Ref, process, Pid, Why} when is_map_key(Ref, Refs) -> down(Ref, Pid, Why, St);
             {gen_event_EXIT, Handler, Why} -> player_event:lost(Handler, Why, St)
         end).

down(Ref, Pid, Why, St = #{world := World, refs := Refs}) ->
    Name = maps:get(Ref, Refs, "unknown"),
    log("down " ++ Name ++ " " ++ label(Pid, World) ++ " " ++ text(Why, World)),
    on("down", St).

start_child(World = #{decls := Decls}, Name) ->
    start_link(maps:get(Name, Decls), World, Name).

start_link(#{kind := process}, World, Name) -> {ok, spawn_actor(spawn_link, World, Name)};
start_link(#{kind := supervisor}, World, Name) ->
    supervisor:start_link(?MODULE, {supervisor, World, Name});
start_link(#{kind := Kind} = Decl, World, Name) when ?SERVES(Kind) ->
    start_server(start_link, Decl, World, Name);
start_link(Decl, World, Name) -> player_elixir:start_link(Decl, World, Name).

start_server(How, #{kind := manager} = Decl, World, Manager) ->
    player_event:start(How, Decl, World, Manager);
start_server(How, #{kind := machine} = Decl, World, Machine) ->
    player_machine:start(How, Decl, World, Machine);
start_server(How, #{name := Name}, World, Server) ->
    gen_server:How({local, name(Name, World)}, ?MODULE, {server, World, Server}, []);
start_server(How, _, World, Server) ->
    gen_server:How(?MODULE, {server, World, Server}, []).

spawn_actor(How, World, Name) ->
    Spawned = erlang:How(?MODULE, live, [World, Name, false]),
    Pid = case Spawned of {P, _} -> P; P -> P end,
    adopt(Pid, World, Name),
    Spawned.

%% Makes somebody known who does not say so itself, or not before others speak of it.
adopt(Pid, #{boss := Boss}, Name) ->
    Boss ! {born, self(), Pid, Name},
    receive {born, Pid} -> ok end.

%% ------------------------------------------------------------------------------- gen_server

init({supervisor, World = #{decls := Decls}, Name}) ->
    born(World, Name),
    #{children := Children} = Decl = maps:get(Name, Decls),
    Flags = maps:with([strategy, intensity, period, auto_shutdown], Decl),
    {ok, {Flags, [spec(Child, World) || Child <- Children]}};
init({dynamic_supervisor, World, Name}) ->
    born(World, Name),
    player_elixir:dynamic(World, Name);
init({server, World, Name}) ->
    St = born(World, Name),
    log("init"),
    case on("init", St#{role => server}) of
        #{then := ignore} -> ignore;
        #{then := {stop, Why}} -> {stop, Why};
        #{then := none} = St1 -> {ok, St1};
        #{then := Then} = St1 -> {ok, St1#{then := none}, Then}
    end.

spec(Name, World = #{decls := Decls}) ->
    #{kind := Kind} = Decl = maps:get(Name, Decls),
    Works = lists:member(Kind, [process, server, agent, machine, manager]),
    Type = case Works of true -> worker; false -> supervisor end,
    Given = maps:with([restart, shutdown, significant], Decl),
    Spec = Given#{id => list_to_atom(Name), start => {?MODULE, start_child, [World, Name]},
                  type => Type},
    maps:filter(fun(_, Value) -> Value =/= default end, Spec).

handle_call({ask, Text}, From, St) ->
    log("call " ++ Text),
    St1 = on("call " ++ Text, St#{from => From, reply => "ok"}),
    case St1 of
        #{reply := none} -> noreply(St1);
        #{then := none, reply := Reply} -> {reply, Reply, St1};
        #{then := {stop, Why}, reply := Reply} -> {stop, Why, Reply, St1};
        #{then := Then, reply := Reply} -> {reply, Reply, St1#{then := none}, Then}
    end.

handle_cast({cast, Text}, St) ->
    log("cast " ++ Text),
    noreply(on("cast " ++ Text, St)).

handle_info({do, Commands, Ref, Boss}, St) ->
    St1 = run(Commands, St),
    Boss ! {done, Ref},
    noreply(St1);
handle_info({text, Text}, St) ->
    log("info " ++ Text),
    noreply(on("info " ++ Text, St));
handle_info(timeout, St) ->
    log("timeout"),
    noreply(on("timeout", St));
handle_info({'EXIT', Pid, Why}, St = #{world := World}) ->
    log("exit " ++ label(Pid, World) ++ " " ++ text(Why, World)),
    noreply(on("exit", St));
handle_info({'DOWN', Ref, process, Pid, Why}, St) ->
    noreply(down(Ref, Pid, Why, St));
handle_info({Task, Value}, St) when is_reference(Task) ->
    log("value " ++ Value),
    noreply(St);
handle_info({gen_event_EXIT, Handler, Why}, St) ->
    noreply(player_event:lost(Handler, Why, St)).

handle_continue(Text, St) ->
    log("continue " ++ Text),
    noreply(on("continue " ++ Text, St)).

terminate(Why, St = #{world := World}) ->
    log("terminate " ++ text(Why, World)),
    on("terminate", St).

noreply(St = #{then := none}) -> {noreply, St};
noreply(St = #{then := {stop, Why}}) -> {stop, Why, St};
noreply(St = #{then := Then}) -> {noreply, St#{then := none}, Then}.

%% ------------------------------------------------------------------------------- commands

act(Words, St = #{world := World}) ->
    case act(Words, World, St) of
        {log, Result} -> log(say(Words, Result)), St;
        {log, Result, St1} -> log(say(Words, Result)), St1;
        ok -> St;
        St1 -> St1
    end.

say(Words, Result) -> lists:flatten(lists:join(" ", Words)) ++ " -> " ++ Result.

act(["log" | Words], _, _) -> log(lists:flatten(lists:join(" ", Words))), ok;
act(["trap"], _, _) -> {log, atom_to_list(process_flag(trap_exit, true))};
act(["untrap"], _, _) -> {log, atom_to_list(process_flag(trap_exit, false))};
act(["link", P], World, _) -> link(pid(P, World)), ok;
act(["unlink", P], World, _) -> unlink(pid(P, World)), ok;
act(["unlink_flush", P], World, _) ->
    Pid = pid(P, World),
    unlink(Pid),
    receive {'EXIT', Pid, _} -> ok after 0 -> ok end;
act(["monitor", P, Name], World, St) -> monitors(Name, monitor(process, pid(P, World)), St);
act(["demonitor", Name], _, #{monitors := Monitors}) ->
    {log, atom_to_list(demonitor(maps:get(Name, Monitors), [flush, info]))};
act(["exit", P, Why], World, _) -> exit(pid(P, World), reason(Why)), ok;
act(["stop", Why], _, #{role := process}) -> exit(reason(Why));
act(["stop", Why], _, St) -> St#{then := {stop, reason(Why)}};
act(["crash", Why], _, _) -> error(reason(Why));
act(["send", P, Text], World, _) -> pid(P, World) ! {text, Text}, ok;
act(["after", Time, P, Text, Name], World, St = #{timers := Timers}) ->
    Timer = erlang:send_after(list_to_integer(Time), pid(P, World), {text, Text}),
    St#{timers := Timers#{Name => Timer}};
act(["after_named", Time, P, Text, Name], World, St = #{timers := Timers}) ->
    Timer = erlang:send_after(list_to_integer(Time), name(P, World), {text, Text}),
    St#{timers := Timers#{Name => Timer}};
act(["cancel", Name], _, #{timers := Timers}) ->
    {log, left(erlang:cancel_timer(maps:get(Name, Timers)))};
act(["read", Name], _, #{timers := Timers}) ->
    {log, left(erlang:read_timer(maps:get(Name, Timers)))};
act(["take", Text], _, _) -> receive {text, Text} -> log("took " ++ Text), ok end;
act(["take", Text, Time], _, _) ->
    receive {text, Text} -> log("took " ++ Text), ok
    after list_to_integer(Time) -> log("took nothing"), ok
    end;
act(["take_exit", Text], World, _) ->
    Pid = pid(Text, World),
    receive {'EXIT', Pid, Why} -> {log, text(Why, World)} end;
act(["spawn", P], World, _) -> spawn_actor(spawn, World, P), ok;
act(["spawn_link", P], World, _) -> spawn_actor(spawn_link, World, P), ok;
act(["spawn_monitor", P, Name], World, St) ->
    {_, Monitor} = spawn_actor(spawn_monitor, World, P),
    monitors(Name, Monitor, St);
act(["start", S], World = #{decls := Decls}, _) ->
    case maps:get(S, Decls) of
        #{kind := Kind} = Decl when ?SERVES(Kind) ->
            {log, started(start_server(start, Decl, World, S), World)};
        #{kind := agent} = Decl -> {log, started(player_elixir:start(Decl, World, S), World)};
        Decl -> {log, started(start_link(Decl, World, S), World)}
    end;
act(["start_link", S], World = #{decls := Decls}, _) ->
    {log, started(start_link(maps:get(S, Decls), World, S), World)};
act(["start_link", S, "quietly"], World = #{decls := Decls}, _) ->
    _ = start_link(maps:get(S, Decls), World, S),
    ok;
act(["start_monitor", S, Name], World = #{decls := Decls}, St) ->
    case start_server(start_monitor, maps:get(S, Decls), World, S) of
        {ok, {Pid, Monitor}} ->
            {log, started({ok, Pid}, World), monitors(Name, Monitor, St)};
        Failed -> {log, started(Failed, World)}
    end;
act(["call", S, Text], World, St) -> act(["call", S, Text, "infinity"], World, St);
act(["call", S, Text, Time], World, _) ->
    Gen = gen(S, World),
    Answer = attempt(fun() -> Gen:call(pid(S, World), {ask, Text}, time(Time)) end, World),
    log("call " ++ S ++ " " ++ Text ++ " -> " ++ Answer),
    ok;
act(["call_named", N, Text], World, _) ->
    {log, attempt(fun() -> gen_server:call(name(N, World), {ask, Text}, infinity) end, World)};
act(["cast", S, Text], World, _) -> (gen(S, World)):cast(pid(S, World), {cast, Text}), ok;
act(["stop_server", S], World, St) -> act(["stop_server", S, "normal"], World, St);
act(["stop_server", S, Why], World, St) -> act(["stop_server", S, Why, "infinity"], World, St);
act(["stop_server", S, Why, Time], World, _) ->
    Gen = gen(S, World),
    Stop = fun() -> atom_to_list(Gen:stop(pid(S, World), reason(Why), time(Time))) end,
    log("stop_server " ++ S ++ " -> " ++ attempt(Stop, World)),
    ok;
act(["suspend", S], World, _) -> sys:suspend(pid(S, World)), ok;
act(["resume", S], World, _) -> sys:resume(pid(S, World)), ok;
act(["register", N, P], World, _) ->
    Register = fun() -> register(name(N, World), pid(P, World)) end,
    {log, try atom_to_list(Register()) catch error:badarg -> "failed" end};
act(["unregister", N], World, _) ->
    {log, try atom_to_list(unregister(name(N, World))) catch error:badarg -> "failed" end};
act(["whereis", N], World, _) ->
    case whereis(name(N, World)) of
        undefined -> {log, "undefined"};
        Pid -> {log, label(Pid, World)}
    end;
act(["alive", P], World, _) -> {log, atom_to_list(is_process_alive(pid(P, World)))};
act(["block", Gate], _, _) ->
    log("blocked " ++ Gate),
    receive {release, Gate} -> ok end;
act(["hang"], _, _) -> log("hangs"), receive after infinity -> ok end;
%% servers
act(["reply", Text], _, St) -> St#{reply := Text};
act(["defer", Name], _, St = #{kept := Kept, from := From}) ->
    St#{kept := Kept#{Name => From}, reply := none};
act(["answer", Name, Text], _, #{kept := Kept}) ->
    gen_server:reply(maps:get(Name, Kept), Text),
    ok;
act(["continue", Text], _, St) -> St#{then := {continue, Text}};
act(["timeout", Time], _, St) -> St#{then := list_to_integer(Time)};
act(["ignore"], _, St) -> St#{then := ignore};
act(["set", Text], _, St) -> St#{state := Text};
act(["state"], _, #{state := State}) -> {log, State};
%% supervisors
act([_, S | _] = Words, World = #{decls := Decls}, St)
  when is_map_key(S, Decls), map_get(kind, map_get(S, Decls)) =/= supervisor ->
    other(Words, World, St);
act(["start_child", S, Child], World, _) ->
    {log, child(supervisor:start_child(pid(S, World), spec(Child, World)), World)};
act(["restart_child", S, Child], World, _) ->
    {log, child(supervisor:restart_child(pid(S, World), list_to_atom(Child)), World)};
act(["terminate_child", S, Child], World, _) ->
    {log, child(supervisor:terminate_child(pid(S, World), list_to_atom(Child)), World)};
act(["delete_child", S, Child], World, _) ->
    {log, child(supervisor:delete_child(pid(S, World), list_to_atom(Child)), World)};
act(["which", S], World, _) ->
    %% OTP lists in reverse start order, noex in start order: docs/departures.md.
    Children = lists:reverse(supervisor:which_children(pid(S, World))),
    {log, lists:flatten(lists:join(" ", [atom_to_list(Id) ++ "=" ++ who(Pid, World)
                                         || {Id, Pid, _, _} <- Children]))};
act(["count", S], World, _) ->
    {log, count(maps:from_list(supervisor:count_children(pid(S, World))))};
act(Words, World, St) -> other(Words, World, St).

%% What is for actors of other kinds.
other(Words, World, St) -> other([player_event, player_machine, player_elixir], Words, World, St).

other([Module | Modules], Words, World, St) ->
    case Module:act(Words, World, St) of
        unknown -> other(Modules, Words, World, St);
        Result -> Result
    end;
other([], Words, _, _) ->
    log("script: what is " ++ lists:flatten(lists:join(" ", Words)) ++ "?"),
    ok.

count(Counts) ->
    lists:flatten(io_lib:format("~b specs, ~b active, ~b supervisors, ~b workers",
        [maps:get(Key, Counts) || Key <- [specs, active, supervisors, workers]])).

monitors(Name, Monitor, St = #{monitors := Monitors, refs := Refs}) ->
    St#{monitors := Monitors#{Name => Monitor}, refs := Refs#{Monitor => Name}}.

gen(Name, #{decls := Decls}) ->
    case maps:get(Name, Decls, #{kind => process}) of
        #{kind := machine} -> gen_statem;
        #{kind := manager} -> gen_event;
        _ -> gen_server
    end.

left(false) -> "gone";
left(Time) when is_integer(Time) -> "running".

who(Pid, World) when is_pid(Pid) -> label(Pid, World);
who(Atom, _) -> atom_to_list(Atom).

started({ok, _}, _) -> "ok";
started(ignore, _) -> "ignore";
started({error, Why}, World) -> "error " ++ text(Why, World).

child(ok, _) -> "ok";
child(ignore, _) -> "ignore";
child({ok, Pid}, World) -> "ok " ++ who(Pid, World);
child({error, {Why, Child}}, World) when element(1, Child) =:= child -> "error " ++ text(Why, World);
child({error, Why}, World) -> "error " ++ text(Why, World).

%% What a call gives, or that it failed and why: in noex that is an `Err`, here an exit.
attempt(Call, World) ->
    try Call()
    catch
        exit:Why -> "failed " ++ text(Why, World);
        error:#{'__exception__' := true} = Raised -> "failed " ++ player_elixir:raised(Raised)
    end.
