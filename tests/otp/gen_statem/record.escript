#!/usr/bin/env escript
%% Runs scripts on gen_statem and prints what happened, for tests/gen_state_machine_otp.rs:
%%
%%   escript tests/otp/gen_statem/record.escript tests/otp/gen_statem/scripts.txt \
%%     > tests/otp/gen_statem/traces.txt
%%
%% Each script is run three times. One that is not the same each time depends on timing, and one in
%% which OTP delivers a timer's message as info has met a bug of OTP 25; both are left out, and
%% counted on standard error.
%%
%%   escript tests/otp/gen_statem/record.escript check scripts.txt traces.txt
%%
%% looks whether the traces are what this OTP does. On a machine that has other work real time is not
%% what it is in a script. So one that does something else is run again with all its times twice as
%% long, and so on; that counts only in a run in which nobody was kept waiting, which a watcher sees,
%% and only if it happens twice. What could not be judged within TIME is said, and is no failure.
-module(record).
-mode(compile).
-export([main/1, init/1, callback_mode/0, handle_event/4, terminate/3]).

%% In seconds.
-define(TIME, 40).

main(["check", ScriptFile, TraceFile]) ->
    logger:set_primary_config(level, none),
    {ok, Text} = file:read_file(TraceFile),
    Traces = traces(string:split(binary_to_list(Text), "\n", all)),
    Scripts = [S || {Name, _, _} = S <- read(ScriptFile), is_map_key(Name, Traces)],
    length(Scripts) =:= map_size(Traces) orelse error(traces_of_no_script),
    io:format("~b scripts on OTP ~s~n", [length(Scripts), erlang:system_info(otp_release)]),
    check([{S, 0} || S <- Scripts], Traces, 120, 1);
main([File]) ->
    logger:set_primary_config(level, none),
    Scripts = read(File),
    io:format(standard_error, "~b scripts on OTP ~s~n", [length(Scripts), erlang:system_info(otp_release)]),
    Traces = batches(Scripts),
    lists:foreach(fun({Name, Trace}) -> io:format("script ~s~n~s", [Name, [[L, $\n] || L <- Trace]]) end, Traces).

%% As many at once; those that do something else once more, and slower. Beside each script: in how many
%% quiet runs it did something else.
check(Scripts, Traces, AtOnce, Slow) ->
    Left = lists:append([others(Batch, Traces, Slow) || Batch <- split(AtOnce, Scripts)]),
    Twice = [{Name, Trace} || {{Name, _, _}, 2, Trace} <- Left],
    {Time, _} = statistics(wall_clock),
    if
        Left =:= [] -> ok;
        Twice =/= [] ->
            [io:format("OTP does something else~nscript ~s~n~s", [Name, [[L, $\n] || L <- Trace]]) || {Name, Trace} <- Twice],
            halt(1);
        Time > ?TIME * 1000 -> io:format("~b not judged: the machine is too busy~n", [length(Left)]);
        true -> check([{S, Times} || {S, Times, _} <- Left], Traces, 40, min(8, Slow * 2))
    end.

others(Batch, Traces, Slow) ->
    Watcher = spawn_opt(fun() -> watch(erlang:monotonic_time(millisecond), 0) end, [link, {priority, high}]),
    Did = together([S || {S, _} <- Batch], Slow),
    Watcher ! {self(), how_late},
    Late = receive {late, Time} -> Time end,
    Quiet = if Late =< 2 * Slow -> 1; true -> 0 end,
    [{S, Times + Quiet, Trace} || {{S, Times}, {Name, Trace}} <- lists:zip(Batch, Did),
                                  [lists:flatten(L) || L <- Trace] =/= maps:get(Name, Traces)].

%% By how much a process was late at most that wants to run each millisecond.
watch(Last, Late) ->
    receive {Who, how_late} -> Who ! {late, Late}
    after 1 ->
        Now = erlang:monotonic_time(millisecond),
        watch(Now, max(Late, Now - Last - 1))
    end.

split(_, []) -> [];
split(N, List) ->
    {Some, Rest} = lists:split(min(N, length(List)), List),
    [Some | split(N, Rest)].

traces(Lines) -> traces(Lines, none, #{}).

traces([], _, Traces) -> maps:map(fun(_, Trace) -> lists:reverse(Trace) end, Traces);
traces(["" | Lines], Name, Traces) -> traces(Lines, Name, Traces);
traces(["script " ++ Name | Lines], _, Traces) -> traces(Lines, Name, Traces#{Name => []});
traces([Line | Lines], Name, Traces) ->
    #{Name := Trace} = Traces,
    traces(Lines, Name, Traces#{Name := [Line | Trace]}).

read(File) ->
    {ok, Text} = file:read_file(File),
    Lines = [string:lexemes(L, " ") || L <- string:split(binary_to_list(Text), "\n", all)],
    scripts([L || L <- Lines, L =/= [], hd(hd(L)) =/= $#]).

scripts([]) -> [];
scripts([["script", Name] | Rest]) ->
    {Body, Others} = lists:splitwith(fun([H | _]) -> H =/= "script" end, Rest),
    Sends = [{list_to_integer(T), Type, list_to_integer(Id)} || ["send", T, Type, Id] <- Body],
    Ons = [On || ["on" | On] <- Body],
    [{Name, Sends, Ons} | scripts(Others)].

batches(Scripts) -> lists:append([batch(Batch) || Batch <- split(40, Scripts)]).

batch(Batch) ->
    [One, Two, Three] = [together(Batch, 1) || _ <- [1, 2, 3]],
    Stable = [T || {T, T, T} <- lists:zip3(One, Two, Three)],
    io:format(standard_error, "~b unstable, ", [length(Batch) - length(Stable)]),
    Good = [T || {_, Trace} = T <- Stable, not lists:any(fun(L) -> string:find(L, "stray") =/= nomatch end, Trace)],
    io:format(standard_error, "~b with a stray timer~n", [length(Stable) - length(Good)]),
    Good.

%% `Slow` times as slow as they say.
together(Batch, Slow) ->
    Self = self(),
    Pids = [spawn_link(fun() -> Self ! {self(), run(S, Slow)} end) || S <- Batch],
    [receive {Pid, Trace} -> Trace end || Pid <- Pids].

run({Name, Sends, Ons}, Slow) ->
    Base = erlang:monotonic_time(millisecond) + 20,
    pause(Base),
    {ok, Pid} = gen_statem:start(?MODULE, {self(), Base, Slow, Ons}, []),
    [begin pause(Base + T * Slow), send(Pid, Type, Id) end || {T, Type, Id} <- Sends],
    pause(Base + 800 * Slow),
    catch gen_statem:stop(Pid),
    receive {trace, Trace} -> {Name, lists:reverse(Trace)} end.

pause(Until) ->
    receive after max(0, Until - erlang:monotonic_time(millisecond)) -> ok end.

send(Pid, "cast", Id) -> gen_statem:cast(Pid, Id);
send(Pid, "info", Id) -> Pid ! Id;
send(Pid, "call", Id) -> gen_statem:send_request(Pid, Id).

callback_mode() -> [handle_event_function, state_enter].

init({Owner, Base, Slow, Ons}) ->
    {ok, a, #{owner => Owner, base => Base, slow => Slow, ons => Ons, trace => []}}.

handle_event(enter, Old, State, Data) ->
    {[To | Actions], Data1} = next(tell(Data, "enter ~s ~s", [Old, State])),
    As = [A || T <- Actions, A <- action(T, Data), element(1, A) =/= next_event, A =/= {postpone, true}],
    case To of
        "repeat" -> {repeat_state, Data1, As};
        "stop" -> {stop, normal, Data1};
        _ -> {keep_state, Data1, As}
    end;
handle_event(Type, Content, State, Data) ->
    {[To | Actions], Data1} = next(tell(Data, "event ~s ~s ~s", [type(Type), content(Content), State])),
    As = [A || T <- Actions, A <- action(T, Data)],
    case To of
        "keep" -> {keep_state, Data1, As};
        "repeat" -> {repeat_state, Data1, As};
        "stop" -> {stop, normal, Data1};
        _ -> {next_state, list_to_atom(To), Data1, As}
    end.

terminate(_Reason, State, Data) ->
    #{owner := Owner, trace := Trace} = tell(Data, "terminate ~s", [State]),
    Owner ! {trace, Trace}.

tell(#{trace := Trace} = Data, Format, Args) ->
    Data#{trace := [io_lib:format(Format, Args) | Trace]}.

next(#{ons := []} = Data) -> {["keep"], Data};
next(#{ons := [On | Ons]} = Data) -> {On, Data#{ons := Ons}}.

type({call, _}) -> "call";
type(timeout) -> "event";
type(state_timeout) -> "state";
type({timeout, Name}) -> atom_to_list(Name);
type(Type) -> atom_to_list(Type).

content(Id) when is_integer(Id) -> integer_to_list(Id);
content({timeout, _, _}) -> "stray".

action("postpone", _) -> [{postpone, true}];
action(Token, #{base := Base, slow := Slow}) ->
    case string:lexemes(Token, ":") of
        ["insert", Type, Id] ->
            [{next_event, list_to_atom(Type), list_to_integer(Id)}];
        [Kind, "after", T, Id] ->
            [{kind(Kind), list_to_integer(T) * Slow, list_to_integer(Id)}];
        [Kind, "at", T, Id] ->
            [{kind(Kind), Base + list_to_integer(T) * Slow, list_to_integer(Id), [{abs, true}]}];
        [Kind, "update", Id] ->
            [{kind(Kind), update, list_to_integer(Id)}];
        [Kind, "cancel"] ->
            [{kind(Kind), cancel}]
    end.

kind("event") -> timeout;
kind("state") -> state_timeout;
kind(Name) -> {timeout, list_to_atom(Name)}.
