%% Erlang/OTP. The workloads and the form of a line are those of the Rust programs: harness/src/lib.rs.
%%   erl ... -run bench main WORKLOAD SHRINK
-module(bench).
-behaviour(supervisor).
-export([main/1, init/1, node_loop/1, echo/1, idle/0]).
-export([child_start/1]).

main([W, Shrink]) ->
    logger:set_primary_config(level, none),
    persistent_term:put(shrink, list_to_integer(Shrink)),
    try run(W) catch C:E:S -> io:format(standard_error, "~p ~p ~p~n", [C, E, S]) end,
    erlang:halt(0, [{flush, true}]).

%% N, divided by what was asked for.
n(N) -> max(1, N div persistent_term:get(shrink)).

emit(W, N, Us, Extra) ->
    io:format("beam\t~s\t~b\t~.9f\t~s~n", [W, N, Us / 1.0e6, Extra]).

na(W) -> io:format("beam\t~s\t0\tn/a\t~n", [W]).

now_us() -> erlang:monotonic_time(microsecond).

run("pingpong") ->
    chain(1, 2, 1, n(200000)),
    emit("pingpong", n(2000000), chain(1, 2, 1, n(2000000)), "");
run("pingpong_pairs") ->
    chain(n(1000), 2, 1, 200),
    emit("pingpong_pairs", n(1000) * 2000, chain(n(1000), 2, 1, 2000), "");
run("ring") ->
    chain(1, 1000, 1, n(100000)),
    emit("ring", n(1000000), chain(1, 1000, 1, n(1000000)), "");
run("ring_many") ->
    chain(1, 1000, 1000, n(1000)),
    emit("ring_many", 1000 * n(10000), chain(1, 1000, 1000, n(10000)), "10 laps");
run("fanin") ->
    fanin(8, n(25000)),
    emit("fanin", 8 * n(250000), fanin(8, n(250000)), "");
run("fanout") ->
    fanout(n(10000), 2),
    emit("fanout", 20 * n(100000), fanout(n(100000), 10), "");
run("scale:" ++ Processes) ->
    N = list_to_integer(Processes),
    case N =< 1000000 of
        true ->
            Rounds = max(1, n(1000000) div N),
            fanout(100, 10),
            emit("scale:" ++ Processes, 2 * Rounds * N, fanout(N, Rounds), "");
        false -> na("scale:" ++ Processes)
    end;
run("call") ->
    calls(n(50000)),
    emit("call", n(500000), calls(n(500000)), "gen_server");
run("spawn") ->
    spawns(n(100000)),
    emit("spawn", n(1000000), spawns(n(1000000)), "");
run("spawn_keep") ->
    keep(n(1000)),
    N = n(1000000),
    {Us, Rss, Mem} = keep(N),
    emit("spawn_keep", N, Us,
         io_lib:format("rss_bytes_per_process=~b memory_processes=~b", [Rss div N, Mem div N]));
run("supervise") ->
    supervise(n(1000)),
    emit("supervise", n(1000), supervise(n(1000)), "crash=exit"),
    %% It remembers each restart of the last second, and goes through them all at each.
    emit("supervise:20000", n(20000), supervise(n(20000)), "crash=exit");
run("registry_lookup") ->
    registry(10000, n(5000000));
run("ets_read") ->
    T = table(),
    walkers(T, fun ets_read/3, n(1000000)),
    emit("ets_read", n(10000000), walkers(T, fun ets_read/3, n(10000000)), "read_concurrency+write_concurrency");
run("ets_write") ->
    T = table(),
    walkers(T, fun ets_write/3, n(200000)),
    emit("ets_write", n(2000000), walkers(T, fun ets_write/3, n(2000000)), "read_concurrency+write_concurrency");
run("timers") ->
    timers(n(1000)),
    {Us, C} = timers(n(1000000)),
    emit("timers", n(1000000), C * 1000, io_lib:format("wall_s=~.3f", [Us / 1.0e6]));
run("latency_call") ->
    call_laps(n(20000)),
    latency("latency_call", call_laps(n(200000)));
run("latency_hogs") ->
    [spawn(fun() -> hog(n(100)) end) || _ <- [1, 2]],
    latency("latency_hogs", paced_laps(n(3000)));
run("latency_pingpong") ->
    latency("latency_pingpong", pingpong_laps(100, n(20000)));
run("idle") ->
    spawn(fun() ->
        _ = [spawn(?MODULE, idle, []) || _ <- lists:seq(1, n(10000))],
        receive stop -> ok end
    end),
    Ms = n(3000),
    timer:sleep(Ms div 4),
    {C0, W0} = {all_cpu(), wakeups()},
    timer:sleep(Ms),
    {C, W} = {all_cpu() - C0, wakeups() - W0},
    emit("idle", Ms, C * 1.0e6, io_lib:format("wakeups_a_second=~.1f", [W * 1000 / Ms]));
run(W) -> na(W).

%% CPU seconds of all threads, at 100 ticks a second.
all_cpu() ->
    {ok, B} = file:read_file("/proc/self/stat"),
    [_, After] = string:split(B, ")", trailing),
    Fields = string:lexemes(After, " "),
    (binary_to_integer(lists:nth(12, Fields)) + binary_to_integer(lists:nth(13, Fields))) / 100.

wakeups() ->
    {ok, Tasks} = file:list_dir("/proc/self/task"),
    lists:sum([task_wakeups(T) || T <- Tasks]).

task_wakeups(Task) ->
    case file:read_file(["/proc/self/task/", Task, "/status"]) of
        {ok, B} ->
            {match, [N]} = re:run(B, "\nvoluntary_ctxt_switches:\\s*(\\d+)", [{capture, all_but_first, list}]),
            list_to_integer(N);
        _ -> 0
    end.

cpu() -> {T, _} = erlang:statistics(runtime), T.

%% ---- pingpong, rings -----------------------------------------------------
chain(Groups, Size, Tokens, Hops) ->
    Me = self(),
    All = [begin
               Ps = [spawn(?MODULE, node_loop, [Me]) || _ <- lists:seq(1, Size)],
               [P ! {next, N} || {P, N} <- lists:zip(Ps, tl(Ps) ++ [hd(Ps)])],
               Ps
           end || _ <- lists:seq(1, Groups)],
    T0 = now_us(),
    [[P ! Hops || P <- start_at(Ps, Tokens)] || Ps <- All],
    wait(Groups * Tokens),
    T = now_us() - T0,
    [[exit(P, kill) || P <- Ps] || Ps <- All],
    T.

start_at([P | _], 1) -> [P];
start_at(Ps, N) when N =:= length(Ps) -> Ps.

node_loop(Main) -> receive {next, N} -> node_loop(Main, N) end.
node_loop(Main, Next) ->
    receive
        0 -> Main ! done, node_loop(Main, Next);
        V -> Next ! V - 1, node_loop(Main, Next)
    end.

wait(0) -> ok;
wait(N) -> receive done -> wait(N - 1) end.

%% ---- fan-in, fan-out -----------------------------------------------------
fanin(Producers, Per) ->
    Me = self(),
    {ok, S} = gen_server:start_link(bench_server, [], []),
    T0 = now_us(),
    [spawn_link(fun() -> casts(S, Per), Me ! done end) || _ <- lists:seq(1, Producers)],
    wait(Producers),
    Total = gen_server:call(S, get, infinity),
    T = now_us() - T0,
    Total = Producers * Per,
    T.

casts(_, 0) -> ok;
casts(S, N) -> gen_server:cast(S, {add, 1}), casts(S, N - 1).

fanout(Procs, Rounds) ->
    Me = self(),
    spawn_link(fun() ->
        Back = self(),
        Ps = [spawn(?MODULE, echo, [Back]) || _ <- lists:seq(1, Procs)],
        T0 = now_us(),
        rounds(Ps, Procs, Rounds),
        Me ! {took, now_us() - T0},
        [exit(P, kill) || P <- Ps]
    end),
    receive {took, T} -> T end.

rounds(_, _, 0) -> ok;
rounds(Ps, N, R) -> [P ! R || P <- Ps], replies(N), rounds(Ps, N, R - 1).

replies(0) -> ok;
replies(N) -> receive I when is_integer(I) -> replies(N - 1) end.

echo(Back) -> receive V -> Back ! V, echo(Back) end.

%% ---- gen_server calls ----------------------------------------------------
calls(N) ->
    Me = self(),
    {ok, S} = gen_server:start_link(bench_server, [], []),
    spawn_link(fun() -> T0 = now_us(), call_loop(S, 0, N), Me ! {took, now_us() - T0} end),
    receive {took, T} -> T end.

call_loop(_, N, N) -> ok;
call_loop(S, V, N) -> call_loop(S, gen_server:call(S, {inc, V}), N).

%% ---- latencies -----------------------------------------------------------
%% Each in a slot of an array made before, in native units: no garbage while it is measured.
call_laps(N) ->
    Me = self(),
    {ok, S} = gen_server:start_link(bench_server, [], []),
    A = atomics:new(N, []),
    spawn_link(fun() ->
        T0 = erlang:monotonic_time(),
        call_lap(S, A, 1, N, T0),
        Me ! {laps, A, N, erlang:monotonic_time() - T0}
    end),
    receive {laps, _, _, _} = L -> L end.

call_lap(_, _, I, N, _) when I > N -> ok;
call_lap(S, A, I, N, Begun) ->
    _ = gen_server:call(S, {inc, I}, infinity),
    Now = erlang:monotonic_time(),
    atomics:put(A, I, Now - Begun),
    call_lap(S, A, I + 1, N, Now).

%% One call a millisecond, from a process; one that takes longer counts for those that could not begin.
paced_laps(Ms) ->
    {ok, S} = gen_server:start_link(bench_server, [], []),
    A = atomics:new(1000 + 1000 * Ms, []),
    Pace = erlang:convert_time_unit(1, millisecond, native),
    T0 = erlang:monotonic_time(),
    N = paced_lap(S, A, 0, Pace, T0 + Ms * Pace),
    {laps, A, N, erlang:monotonic_time() - T0}.

paced_lap(S, A, N, Pace, End) ->
    receive after 1 -> ok end,
    Begun = erlang:monotonic_time(),
    _ = gen_server:call(S, {inc, N}, infinity),
    Now = erlang:monotonic_time(),
    N1 = with_missed(A, N, Now - Begun, Pace),
    if Now < End -> paced_lap(S, A, N1, Pace, End); true -> N1 end.

with_missed(A, N, Took, Pace) ->
    atomics:put(A, N + 1, Took),
    if Took > 2 * Pace -> with_missed(A, N + 1, Took - Pace, Pace); true -> N + 1 end.

pingpong_laps(Pairs, N) ->
    Me = self(),
    _ = [begin
             [One, Other] = Ps = [spawn(?MODULE, node_loop, [Me]) || _ <- [1, 2]],
             One ! {next, Other}, Other ! {next, One},
             One ! 1 bsl 58,
             Ps
         end || _ <- lists:seq(1, Pairs)],
    A = atomics:new(N, []),
    spawn_link(fun() ->
        Self = self(),
        Partner = spawn_link(?MODULE, node_loop, [Me]),
        Partner ! {next, Self},
        T0 = erlang:monotonic_time(),
        pingpong_lap(Partner, A, 1, N, T0),
        Me ! {laps, A, N, erlang:monotonic_time() - T0}
    end),
    receive {laps, _, _, _} = L -> L end.

pingpong_lap(_, _, I, N, _) when I > N -> ok;
pingpong_lap(Partner, A, I, N, Begun) ->
    Partner ! 1 bsl 58,
    receive V when is_integer(V) -> ok end,
    Now = erlang:monotonic_time(),
    atomics:put(A, I, Now - Begun),
    pingpong_lap(Partner, A, I + 1, N, Now).

latency(W, {laps, A, N, T}) ->
    Sorted = list_to_tuple(lists:sort([atomics:get(A, I) || I <- lists:seq(1, N)])),
    Ns = fun(X) -> erlang:convert_time_unit(X, native, nanosecond) end,
    At = fun(Q) -> Ns(element(max(1, min(N, ceil(Q * N))), Sorted)) end,
    emit(W, N, Ns(T) / 1000,
         io_lib:format("p50_ns=~b p90_ns=~b p99_ns=~b p999_ns=~b p9999_ns=~b max_ns=~b",
                       [At(0.5), At(0.9), At(0.99), At(0.999), At(0.9999), At(1)])).

%% Computes for so long, again and again.
hog(Ms) ->
    spin(erlang:monotonic_time(millisecond) + Ms),
    hog(Ms).

spin(End) -> case erlang:monotonic_time(millisecond) < End of true -> spin(End); false -> ok end.

%% ---- spawn ---------------------------------------------------------------
spawns(N) ->
    Me = self(),
    A = atomics:new(1, []),
    atomics:put(A, 1, N),
    T0 = now_us(),
    spawn(fun() -> spawn_loop(Me, A, N) end),
    wait(1),
    now_us() - T0.

spawn_loop(_, _, 0) -> ok;
spawn_loop(Me, A, N) ->
    spawn(fun() -> case atomics:sub_get(A, 1, 1) of 0 -> Me ! done; _ -> ok end end),
    spawn_loop(Me, A, N - 1).

keep(N) ->
    erlang:garbage_collect(),
    R0 = rss(), M0 = erlang:memory(processes),
    A = atomics:new(1, []),
    atomics:put(A, 1, N),
    Me = self(),
    T0 = now_us(),
    Keeper = spawn(fun() ->
        Ps = [begin
                  P = spawn(?MODULE, idle, []),
                  P ! {Me, A, I},
                  P
              end || I <- lists:seq(1, N)],
        receive stop -> [exit(P, kill) || P <- Ps] end
    end),
    wait(1),
    T = now_us() - T0,
    R = {T, rss() - R0, erlang:memory(processes) - M0},
    Keeper ! stop,
    R.

idle() ->
    receive
        {Me, A, _I} ->
            case atomics:sub_get(A, 1, 1) of 0 -> Me ! done; _ -> ok end,
            idle()
    end.

rss() ->
    {ok, B} = file:read_file("/proc/self/statm"),
    [_, R | _] = binary:split(B, <<" ">>, [global]),
    binary_to_integer(R) * 4096.

%% ---- supervisor ----------------------------------------------------------
supervise(N) ->
    A = atomics:new(1, []),
    atomics:put(A, 1, N),
    T0 = now_us(),
    {ok, S} = supervisor:start_link(?MODULE, {self(), A}),
    wait(1),
    T = now_us() - T0,
    unlink(S), exit(S, kill),
    T.

init(Args) ->
    {ok, {#{strategy => one_for_one, intensity => 1000000, period => 1},
          [#{id => child, start => {?MODULE, child_start, [Args]}, restart => permanent}]}}.

child_start(Args) -> gen_server:start_link(bench_child, Args, []).

%% ---- registry ------------------------------------------------------------
registry(Names, Lookups) ->
    Atoms = list_to_tuple([list_to_atom("name_" ++ integer_to_list(I)) || I <- lists:seq(0, Names - 1)]),
    [register(element(I, Atoms), spawn(?MODULE, idle, [])) || I <- lists:seq(1, Names)],
    Who = fun Go(_, _, 0) -> ok;
              Go(T, K, L) ->
                  K1 = step(K, Names),
                  P = whereis(element(K1 + 1, T)), true = is_pid(P),
                  Go(T, K1, L - 1)
          end,
    walkers(Atoms, Who, Lookups div 10, Names),
    emit("registry_lookup", Lookups, walkers(Atoms, Who, Lookups, Names), "whereis, atoms"),
    Bins = list_to_tuple([<<"name_", (integer_to_binary(I))/binary>> || I <- lists:seq(0, Names - 1)]),
    E = ets:new(reg, [set, public, {read_concurrency, true}]),
    [ets:insert(E, {B, self()}) || B <- tuple_to_list(Bins)],
    ByEts = fun Go(_, _, 0) -> ok;
                Go({Tab, T} = X, K, L) ->
                    K1 = step(K, Names),
                    [{_, P}] = ets:lookup(Tab, element(K1 + 1, T)), true = is_pid(P),
                    Go(X, K1, L - 1)
            end,
    walkers({E, Bins}, ByEts, Lookups div 10, Names),
    emit("registry_lookup:ets", Lookups, walkers({E, Bins}, ByEts, Lookups, Names), "ets of binaries, read_concurrency").

%% ---- ets -----------------------------------------------------------------
table() ->
    T = ets:new(t, [set, public, {read_concurrency, true}, {write_concurrency, true}]),
    [ets:insert(T, {K, K}) || K <- lists:seq(0, 99999)],
    T.

step(K, N) -> K1 = K + 7919, if K1 >= N -> K1 rem N; true -> K1 end.

ets_read(_, _, 0) -> ok;
ets_read(T, K, L) ->
    K1 = step(K, 100000),
    [{_, K1}] = ets:lookup(T, K1),
    ets_read(T, K1, L - 1).

ets_write(_, _, 0) -> ok;
ets_write(T, K, L) ->
    K1 = step(K, 100000),
    ets:insert(T, {K1, K1}),
    ets_write(T, K1, L - 1).

walkers(T, F, N) -> walkers(T, F, N, 100000).
walkers(T, F, N, Keys) ->
    Me = self(),
    Ws = [spawn_link(fun() -> Me ! done, receive go -> F(T, I * Keys div 2, N div 2), Me ! done end end)
          || I <- [0, 1]],
    wait(2),
    T0 = now_us(),
    [W ! go || W <- Ws],
    wait(2),
    now_us() - T0.

%% ---- timers --------------------------------------------------------------
timers(N) ->
    Me = self(),
    _ = rand:seed(exsss, {1, 2, 3}),
    Ds = [rand:uniform(1000) || _ <- lists:seq(1, N)],
    spawn_link(fun() ->
        C0 = cpu(),
        T0 = now_us(),
        Self = self(),
        Refs = [erlang:send_after(D, Self, tick) || D <- Ds],
        Cancelled = cancel(Refs, 0),
        ticks(N - Cancelled),
        Us = now_us() - T0,
        Me ! {took, {Us, cpu() - C0}}
    end),
    receive {took, T} -> T end.

cancel([A, _ | Rest], C) ->
    case erlang:cancel_timer(A) of false -> cancel(Rest, C); _ -> cancel(Rest, C + 1) end;
cancel(_, C) -> C.

ticks(0) -> ok;
ticks(N) -> receive tick -> ticks(N - 1) end.
