#!/usr/bin/env escript
%% Runs scripts on gen_statem and prints what happened, for tests/gen_state_machine_otp.rs:
%%
%%   escript tests/otp/gen_statem/record.escript tests/otp/gen_statem/scripts.txt \
%%     > tests/otp/gen_statem/traces.txt
%%
%% Each script is run three times. One that is not the same each time depends on timing, and one in
%% which OTP delivers a timer's message as info has met a bug of OTP 25; both are left out, and
%% counted on standard error.
-module(record).
-mode(compile).
-export([main/1, init/1, callback_mode/0, handle_event/4, terminate/3]).

main([File]) ->
    {ok, Text} = file:read_file(File),
    Lines = [string:lexemes(L, " ") || L <- string:split(binary_to_list(Text), "\n", all)],
    Scripts = scripts([L || L <- Lines, L =/= [], hd(hd(L)) =/= $#]),
    io:format(standard_error, "~b scripts on OTP ~s~n", [length(Scripts), erlang:system_info(otp_release)]),
    Traces = batches(Scripts),
    lists:foreach(fun({Name, Trace}) -> io:format("script ~s~n~s", [Name, [[L, $\n] || L <- Trace]]) end, Traces).

scripts([]) -> [];
scripts([["script", Name] | Rest]) ->
    {Body, Others} = lists:splitwith(fun([H | _]) -> H =/= "script" end, Rest),
    Sends = [{list_to_integer(T), Type, list_to_integer(Id)} || ["send", T, Type, Id] <- Body],
    Ons = [On || ["on" | On] <- Body],
    [{Name, Sends, Ons} | scripts(Others)].

batches([]) -> [];
batches(Scripts) ->
    {Batch, Rest} = lists:split(min(40, length(Scripts)), Scripts),
    [One, Two, Three] = [together(Batch) || _ <- [1, 2, 3]],
    Stable = [T || {T, T, T} <- lists:zip3(One, Two, Three)],
    io:format(standard_error, "~b unstable, ", [length(Batch) - length(Stable)]),
    Good = [T || {_, Trace} = T <- Stable, not lists:any(fun(L) -> string:find(L, "stray") =/= nomatch end, Trace)],
    io:format(standard_error, "~b with a stray timer~n", [length(Stable) - length(Good)]),
    Good ++ batches(Rest).

together(Batch) ->
    Self = self(),
    Pids = [spawn_link(fun() -> Self ! {self(), run(S)} end) || S <- Batch],
    [receive {Pid, Trace} -> Trace end || Pid <- Pids].

run({Name, Sends, Ons}) ->
    logger:set_primary_config(level, none),
    Base = erlang:monotonic_time(millisecond) + 20,
    pause(Base),
    {ok, Pid} = gen_statem:start(?MODULE, {self(), Base, Ons}, []),
    [begin pause(Base + T), send(Pid, Type, Id) end || {T, Type, Id} <- Sends],
    pause(Base + 800),
    catch gen_statem:stop(Pid),
    receive {trace, Trace} -> {Name, lists:reverse(Trace)} end.

pause(Until) ->
    receive after max(0, Until - erlang:monotonic_time(millisecond)) -> ok end.

send(Pid, "cast", Id) -> gen_statem:cast(Pid, Id);
send(Pid, "info", Id) -> Pid ! Id;
send(Pid, "call", Id) -> gen_statem:send_request(Pid, Id).

callback_mode() -> [handle_event_function, state_enter].

init({Owner, Base, Ons}) ->
    {ok, a, #{owner => Owner, base => Base, ons => Ons, trace => []}}.

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
action(Token, #{base := Base}) ->
    case string:lexemes(Token, ":") of
        ["insert", Type, Id] ->
            [{next_event, list_to_atom(Type), list_to_integer(Id)}];
        [Kind, "after", T, Id] ->
            [{kind(Kind), list_to_integer(T), list_to_integer(Id)}];
        [Kind, "at", T, Id] ->
            [{kind(Kind), Base + list_to_integer(T), list_to_integer(Id), [{abs, true}]}];
        [Kind, "update", Id] ->
            [{kind(Kind), update, list_to_integer(Id)}];
        [Kind, "cancel"] ->
            [{kind(Kind), cancel}]
    end.

kind("event") -> timeout;
kind("state") -> state_timeout;
kind(Name) -> {timeout, list_to_atom(Name)}.
