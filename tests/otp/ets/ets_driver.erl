%% OTP's ets, driven by a file of operations: `ets_driver:main()` with the file after `-extra`. Prints a line for
%% each. The language is in the head of tests/ets_otp.rs.
-module(ets_driver).
-export([main/0]).

main() ->
    [File] = init:get_plain_arguments(),
    {ok, Text} = file:read_file(File),
    Lines = binary:split(Text, <<"\n">>, [global, trim_all]),
    {Out, _} = lists:mapfoldl(fun(Line, State) -> line(Line, State) end, #{}, Lines),
    ok = file:write_file(File ++ ".answers", [[Answer, $\n] || Answer <- Out]),
    init:stop().

line(<<"t ", Text/binary>>, State) -> {terms(parsed(Text), State), State};
line(Line, State) ->
    Words = [binary_to_list(Word) || Word <- binary:split(Line, <<" ">>, [global, trim_all])],
    case Words of
        ["new", Kind] -> new(list_to_atom(Kind), [], State);
        ["new", Kind, KeyPos] -> new(list_to_atom(Kind), [{keypos, n(KeyPos)}], State);
        ["==" | _] -> scene(State);
        [[$p, _] = Person | Rest] -> person(Rest, Person, State);
        ["kill", Person] -> kill(Person, State);
        ["start", Person] ->
            #{people := People, names := Names} = State,
            Pid = start(),
            {"ok", State#{people := People#{Person => Pid}, names := Names#{Pid => Person}}};
        ["whereis", Name] -> {whereis_table(Name, State), State};
        _ -> case act(Words, State) of
                 {state, Answer, Next} -> {Answer, Next};
                 Answer -> {Answer, State}
             end
    end.

%% Operations on one table.

new(Kind, Options, State) ->
    case State of
        #{table := Old} -> ets:delete(Old);
        _ -> ok
    end,
    {"new", #{table => ets:new(t, [Kind, public | Options]), kind => Kind}}.

act(Words, #{table := T} = State) ->
    try act(Words, T, State)
    catch error:badarg -> "badarg"
    end.

act(["insert", O], T, _) -> true = ets:insert(T, object(O)), "ok";
act(["insert_many" | Os], T, State) -> true = ets:insert(T, in_order(objects(Os), State)), "ok";
act(["insert_new", O], T, _) -> show(ets:insert_new(T, object(O)));
act(["insert_new_many" | Os], T, State) ->
    show(ets:insert_new(T, in_order(objects(Os), State)));
act(["fill", From, Count, Step], T, State) ->
    Objects = [{n(From) + I * n(Step), I rem 5, 0} || I <- lists:seq(0, n(Count) - 1)],
    true = ets:insert(T, in_order(Objects, State)),
    "ok";
act(["lookup", K], T, _) -> show(ets:lookup(T, n(K)));
act(["lookup_element", K, P], T, _) -> show(ets:lookup_element(T, n(K), n(P)));
act(["member", K], T, _) -> show(ets:member(T, n(K)));
act(["delete", K], T, _) ->
    There = ets:member(T, n(K)),
    true = ets:delete(T, n(K)),
    show(There);
act(["delete_object", O], T, _) ->
    Before = ets:info(T, size),
    true = ets:delete_object(T, object(O)),
    show(Before - ets:info(T, size));
act(["take", K], T, #{kind := Kind}) when Kind =:= bag; Kind =:= duplicate_bag ->
    %% OTP 25.2's take/2 of a fixed bag counts what was deleted before once more: its size is wrong then.
    Taken = ets:lookup(T, n(K)),
    ets:info(T, fixed) orelse (Taken = ets:take(T, n(K))),
    ets:delete(T, n(K)),
    show(Taken);
act(["take", K], T, _) -> show(ets:take(T, n(K)));
act(["update_element", K | Parts], T, _) ->
    show(ets:update_element(T, n(K), [{n(P), n(V)} || [P, V] <- split(Parts)]));
act(["update_element_or", O, P, V], T, _) ->
    %% OTP 26's update_element/4.
    {K, _, _} = Default = object(O),
    ets:update_element(T, K, {n(P), n(V)}) orelse ets:insert(T, setelement(n(P), Default, n(V))),
    "ok";
act(["update_counter", K, Op], T, _) -> show(ets:update_counter(T, n(K), counter(Op)));
act(["update_counter_or", O, Op], T, _) ->
    {K, _, _} = Default = object(O),
    show(ets:update_counter(T, K, counter(Op), Default));
act(["update_counters", K | Ops], T, _) ->
    show(ets:update_counter(T, n(K), [counter(Op) || Op <- Ops]));
act(["update_counters_or", O | Ops], T, _) ->
    {K, _, _} = Default = object(O),
    show(ets:update_counter(T, K, [counter(Op) || Op <- Ops], Default));
act(["select", N], T, State) -> all(ets:select(T, above(N, ['$_'])), State);
act(["match", A], T, State) -> all(ets:match_object(T, {'_', n(A), '_'}), State);
act(["match_key", K, B], T, State) -> all(ets:match_object(T, {n(K), '_', n(B)}), State);
act(["pages", Limit, N], T, State) ->
    Pages = pages(ets:select(T, above(N, ['$_']), n(Limit))),
    [[show(length(Page)), " "] || Page <- Pages] ++ all(lists:append(Pages), State);
act(["page", Limit, N], T, State) -> page(ets:select(T, above(N, ['$_']), n(Limit)), State);
act(["page"], _, #{continuation := C} = State) when C =/= '$end_of_table' ->
    page(ets:select(C), State);
act(["page"], _, _) -> "end";
act(["select_count", N], T, _) -> show(ets:select_count(T, above(N, [true])));
act(["select_delete", N], T, _) -> show(ets:select_delete(T, above(N, [true])));
act(["select_replace", N, By], T, _) ->
    show(ets:select_replace(T, above(N, [{{'$1', '$2', {'+', '$3', n(By)}}}])));
act(["foldl"], T, State) -> all(lists:reverse(ets:foldl(fun(O, Os) -> [O | Os] end, [], T)), State);
act(["foldr"], T, State) -> all(lists:reverse(ets:foldr(fun(O, Os) -> [O | Os] end, [], T)), State);
act(["to_list"], T, State) -> all(ets:tab2list(T), State);
act(["size"], T, _) -> show(ets:info(T, size));
act(["delete_all"], T, _) -> true = ets:delete_all_objects(T), "ok";
act(["first"], T, State) -> key(ets:first(T), State);
act(["last"], T, State) -> key(ets:last(T), State);
act(["next", K], T, State) -> step(ets:next(T, n(K)), State);
act(["prev", K], T, State) -> step(ets:prev(T, n(K)), State);
act(["walk"], T, State) -> all(walk(T, ets:first(T), fun(_) -> ok end), State);
act(["walk_deleting", Every], T, State) ->
    true = ets:safe_fixtable(T, true),
    Delete = fun(K) -> K rem n(Every) =:= 0 andalso ets:delete(T, K) end,
    Keys = walk(T, ets:first(T), Delete),
    true = ets:safe_fixtable(T, false),
    all(Keys, State);
act(["range", From, To], T, State) ->
    Guards = [{'>=', '$1', n(From)}, {'<', '$1', n(To)}],
    all(ets:select(T, [{{'$1', '_', '_'}, Guards, ['$_']}]), State);
act(["range_back", From, To], T, State) ->
    Guards = [{'>=', '$1', n(From)}, {'=<', '$1', n(To)}],
    all(ets:select_reverse(T, [{{'$1', '_', '_'}, Guards, ['$_']}]), State);
act(["fix"], T, _) -> true = ets:safe_fixtable(T, true), "ok";
act(["unfix"], T, _) -> true = ets:safe_fixtable(T, false), "ok".

%% Operations on one table of any terms: an operation is a term, and so is its answer.

parsed(Text) ->
    {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list([Text, "."])),
    {ok, Term} = erl_parse:parse_term(Tokens),
    Term.

terms({sort, Terms}, _) -> written(lists:sort(Terms));
terms({compare, A, B}, _) -> written({A == B, A =:= B, A < B});
terms(Operation, #{table := T} = State) ->
    try written(term(Operation, T, State))
    catch error:badarg -> "badarg"
    end.

written(Term) -> unicode:characters_to_binary(io_lib:format("~tw", [Term])).

term({insert, Objects}, T, State) when is_list(Objects) -> ets:insert(T, in_order(Objects, State));
term({insert_new, Objects}, T, State) when is_list(Objects) ->
    ets:insert_new(T, in_order(Objects, State));
term({delete, K}, T, _) ->
    There = ets:member(T, K),
    true = ets:delete(T, K),
    There;
term({delete_object, O}, T, _) -> removed(T, fun() -> ets:delete_object(T, O) end);
term({match_delete, P}, T, _) -> removed(T, fun() -> ets:match_delete(T, P) end);
term({select, Spec, Limit}, T, _) -> lists:append(pages(ets:select(T, Spec, Limit)));
term({Name, K}, T, State) when Name =:= next; Name =:= prev -> known(ets:Name(T, K), State);
term(Name, T, State) when Name =:= first; Name =:= last ->
    case ets:Name(T) of
        '$end_of_table' -> '$end_of_table';
        K -> known(K, State)
    end;
term(size, T, _) -> ets:info(T, size);
term(walk, T, _) -> walk(T, ets:first(T), fun(_) -> ok end);
term(Name, T, _) when Name =:= foldl; Name =:= foldr ->
    lists:reverse(ets:Name(fun(O, Os) -> [O | Os] end, [], T));
term(Name, T, _) when is_atom(Name) -> ets:Name(T);
term(Operation, T, _) ->
    [Name | Arguments] = tuple_to_list(Operation),
    apply(ets, Name, [T | Arguments]).

removed(T, Remove) ->
    Before = ets:info(T, size),
    true = Remove(),
    Before - ets:info(T, size).

known(K, #{kind := ordered_set}) -> K;
known(_, _) -> known.

%% OTP 25.2 inserts a list into a bag, and only there, from its end.
in_order(Objects, #{kind := bag}) -> lists:reverse(Objects);
in_order(Objects, _) -> Objects.

%% The key in an ordered set; elsewhere only that there is one.
key(K, #{kind := ordered_set}) -> show(K);
key('$end_of_table', _) -> "end";
key(_, _) -> "a key".

step(K, #{kind := ordered_set}) -> show(K);
step(_, _) -> "known".

walk(_, '$end_of_table', _) -> [];
walk(T, K, Do) -> Do(K), [K | walk(T, ets:next(T, K), Do)].

pages('$end_of_table') -> [];
pages({Page, C}) -> [Page | pages(ets:select(C))].

page('$end_of_table', State) -> {state, "end", State#{continuation => '$end_of_table'}};
page({Page, C}, State) -> {state, all(Page, State), State#{continuation => C}}.

above(N, Result) -> [{{'$1', '$2', '$3'}, [{'>', '$2', n(N)}], Result}].

%% All objects: in their order, or sorted where there is none.
all(Objects, #{kind := ordered_set}) -> show(Objects);
all(Objects, _) -> show(lists:sort(Objects)).

n(Word) -> list_to_integer(Word).

object(Word) ->
    [K, A, B] = string:split(Word, ":", all),
    {n(K), n(A), n(B)}.

objects(Words) -> [object(Word) || Word <- Words].

split(Words) -> [string:split(Word, ":", all) || Word <- Words].

counter(Word) -> list_to_tuple([n(Part) || Part <- string:split(Word, ":", all)]).

show('$end_of_table') -> "end";
show(Atom) when is_atom(Atom) -> atom_to_list(Atom);
show(N) when is_integer(N) -> integer_to_list(N);
show({K, A, B}) -> [show(K), $:, show(A), $:, show(B)];
show(List) -> ["[", lists:join(" ", [show(Item) || Item <- List]), "]"].

%% Whose a table is: processes that run functions as themselves, and collect what else they are sent.

scene(State) ->
    [kill(Person, State) || Person <- maps:keys(maps:get(people, State, #{}))],
    People = maps:from_list([{[$p, N], start()} || N <- "0123"]),
    {"==", #{people => People, names => names(People), tables => #{}}}.

names(People) -> maps:from_list([{Pid, Name} || {Name, Pid} <- maps:to_list(People)]).

start() -> spawn(fun() -> loop([]) end).

loop(Mail) ->
    receive
        {run, From, Ref, mail} -> From ! {Ref, lists:reverse(Mail)}, loop([]);
        {run, From, Ref, Fun} -> From ! {Ref, catch_badarg(Fun)}, loop(Mail);
        {finish, Reason} -> exit(Reason);
        Other -> loop([Other | Mail])
    end.

catch_badarg(Fun) -> try Fun() catch error:badarg -> badarg end.

ask(Pid, What) ->
    Ref = monitor(process, Pid),
    Pid ! {run, self(), Ref, What},
    receive
        {Ref, Answer} -> demonitor(Ref, [flush]), Answer;
        {'DOWN', Ref, _, _, _} -> dead
    end.

kill(Person, #{people := People} = State) ->
    {finish(maps:get(Person, People), fun(Pid) -> exit(Pid, kill) end), State}.

finish(Pid, How) ->
    Ref = monitor(process, Pid),
    How(Pid),
    receive {'DOWN', Ref, _, _, _} -> "dead" end.

whereis_table(Name, #{tables := Tables}) ->
    case ets:whereis(list_to_atom(Name)) of
        undefined -> "nothing";
        Tid -> hd([T || {T, Id} <- maps:to_list(Tables), Id =:= Tid])
    end.

person(["mail"], Person, State) ->
    case ask(pid(Person, State), mail) of
        dead -> {"dead", State};
        Mail -> {["[", lists:join(", ", [letter(Letter, State) || Letter <- Mail]), "]"], State}
    end;
person(["ends"], Person, State) ->
    {finish(pid(Person, State), fun(Pid) -> Pid ! {finish, normal} end), State};
person(["crashes"], Person, State) ->
    {finish(pid(Person, State), fun(Pid) -> Pid ! {finish, crash} end), State};
person(["new", T | Options], Person, #{tables := Tables} = State) ->
    All = options(Options, State),
    New = fun() ->
                  Made = ets:new(list_to_atom(T), All),
                  case is_atom(Made) of true -> ets:whereis(Made); false -> Made end
          end,
    case ask(pid(Person, State), New) of
        Tid when is_reference(Tid) -> {"ok", State#{tables := Tables#{T => Tid}}};
        Failed -> {show(Failed), State}
    end;
person(["watch" | Persons], Person, State) ->
    Watch = fun() -> [monitor(process, pid(P, State)) || P <- Persons], ok end,
    {show(ask(pid(Person, State), Watch)), State};
person([What, T | Words], Person, State) ->
    Tid = maps:get(T, maps:get(tables, State)),
    Do = fun() -> as(What, Words, Tid, State) end,
    {answer(ask(pid(Person, State), Do), State), State}.

as("insert", [K, V], T, _) -> ets:insert(T, {n(K), n(V)});
as("lookup", [K], T, _) -> [V || {_, V} <- ets:lookup(T, n(K))];
as("next", [K], T, _) -> _ = ets:next(T, n(K)), known;
as("delete", [], T, _) -> ets:delete(T);
as("delete", [K], T, _) -> ets:delete(T, n(K));
as("delete_all", [], T, _) -> ets:delete_all_objects(T);
as("rename", [Name], T, _) -> ets:rename(T, list_to_atom(Name)), true;
as("fix", [], T, _) -> ets:safe_fixtable(T, true);
as("give_away", [To, Data], T, State) -> ets:give_away(T, pid(To, State), n(Data));
as("heir", ["none"], T, _) -> ets:setopts(T, {heir, none});
as("heir", [To, Data], T, State) -> ets:setopts(T, {heir, pid(To, State), n(Data)});
as("info", [What], T, _) ->
    case ets:info(T, list_to_atom(What)) of
        undefined -> badarg;
        Value -> Value
    end.

options([], _) -> [];
options(["named" | Rest], State) -> [named_table | options(Rest, State)];
options(["heir", To, Data | Rest], State) ->
    [{heir, pid(To, State), n(Data)} | options(Rest, State)];
options([Access | Rest], State) -> [list_to_atom(Access) | options(Rest, State)].

answer(Pid, #{names := Names}) when is_pid(Pid) -> maps:get(Pid, Names);
answer(Other, _) -> show(Other).

pid(Person, #{people := People}) -> maps:get(Person, People).

letter({'ETS-TRANSFER', T, From, Data}, #{names := Names, tables := Tables}) ->
    %% A named one has the name it was made with: none is renamed and then passed on.
    [Table] = if is_atom(T) -> [atom_to_list(T)];
                 true -> [Name || {Name, Id} <- maps:to_list(Tables), Id =:= T]
              end,
    ["transfer ", Table, " ", maps:get(From, Names), " ", show(Data)];
letter({'DOWN', _, process, Pid, Reason}, #{names := Names}) ->
    ["down ", maps:get(Pid, Names), " ", show(Reason)].
