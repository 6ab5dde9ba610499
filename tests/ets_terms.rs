//! Dynamic tables: objects of any terms, of a type chosen at run time.

mod support;

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;

use noex::ets::{
    Access, CounterOp, Increment, MatchPattern, MatchSpec, MatchSpecError, Set, TableType,
    TermTransfer,
};
use noex::prelude::*;
use noex::{Inbox, Received, Recipient, Table, TableError, Term, TermTable};
use support::{DEADLINE, end_of, next, on_all, reports};

const TYPES: [TableType; 4] = [
    TableType::Set,
    TableType::OrderedSet,
    TableType::Bag,
    TableType::DuplicateBag,
];

fn table(system: &System, kind: TableType) -> TermTable {
    system.term_table(TermTable::builder(kind)).unwrap()
}

fn term(text: &str) -> Term {
    text.parse().unwrap()
}

fn spec(text: &str) -> MatchSpec {
    text.parse().unwrap()
}

fn pattern(text: &str) -> MatchPattern {
    text.parse().unwrap()
}

/// Terms as one list, for comparison with text.
fn list(terms: Vec<Term>) -> String {
    Term::from(terms).to_string()
}

/// What is in a table, in the order of terms.
fn content(table: &TermTable) -> String {
    let mut all = table.to_list().unwrap();
    all.sort_by(Term::compare);
    list(all)
}

#[test]
fn an_object_is_found_by_the_element_at_the_key_position() {
    on_all(|system| {
        for kind in TYPES {
            let builder = TermTable::builder(kind).keypos(2);
            let table = system.term_table(builder).unwrap();
            table.insert((Term::atom("user"), 7, "ann")).unwrap();
            assert_eq!(list(table.lookup(7).unwrap()), "[{user,7,<<\"ann\">>}]");
            assert_eq!(table.lookup(Term::atom("user")), Ok(vec![]));
            assert_eq!((table.keypos(), table.kind()), (2, kind));
        }
    });
}

#[test]
fn one_and_one_point_zero_are_one_key_in_an_ordered_set_and_two_elsewhere() {
    on_all(|system| {
        for kind in TYPES {
            let ordered = kind == TableType::OrderedSet;
            let table = table(system, kind);
            table.insert((1, "one")).unwrap();
            assert_eq!(table.member(1.0), Ok(ordered));
            table.insert((1.0, "float")).unwrap();
            assert_eq!(table.len(), Ok(if ordered { 1 } else { 2 }));
            if ordered {
                // The new one takes the place of the old one, key and all; objects are compared exactly.
                assert_eq!(list(table.lookup(1).unwrap()), r#"[{1.0,<<"float">>}]"#);
                assert_eq!(table.match_object(&pattern("{1,'_'}")), Ok(vec![]));
                assert_eq!(table.delete_object((1, "float")), Ok(0));
            }
            assert_eq!(table.delete_object((1.0, "float")), Ok(1));
        }
    });
}

#[test]
fn an_ordered_set_is_in_the_order_of_terms_and_keeps_what_a_float_cannot_say() {
    on_all(|system| {
        let table = table(system, TableType::OrderedSet);
        let big = 1_i64 << 53;
        let me = system.spawn(|_: Inbox<()>| async {}).unwrap().pid();
        let keys = [
            Term::from("text"),
            Term::list([1]),
            Term::map([(1, 1)]),
            Term::from((1,)),
            me.into(),
            Term::atom("a"),
            (big + 1).into(),
            (big as f64).into(),
            1.5.into(),
            1.into(),
        ];
        table
            .insert_many(keys.iter().map(|key| (key.clone(), 0)))
            .unwrap();
        let mut at = table.first().unwrap();
        let mut walked = Vec::new();
        while let Some(key) = at {
            at = table.next(&key).unwrap();
            walked.push(key);
        }
        assert_eq!(walked, keys.iter().rev().cloned().collect::<Vec<_>>());
        assert_eq!(table.last(), Ok(Some(Term::from("text"))));
        assert_eq!(table.prev(2), Ok(Some(Term::from(1.5))));
        assert_eq!(table.next(Term::atom("")), Ok(Some(Term::atom("a"))));
        assert_eq!(table.lookup(me), Ok(vec![Term::from((me, 0))]));
    });
}

#[test]
fn what_is_no_object_is_refused_and_nothing_inserted() {
    on_all(|system| {
        for kind in TYPES {
            let builder = TermTable::builder(kind).keypos(2);
            let table = system.term_table(builder).unwrap();
            for bad in [
                Term::from(1),
                Term::list([1, 2]),
                Term::tuple([1]),
                term("{}"),
            ] {
                assert_eq!(table.insert(&bad), Err(TableError::BadObject));
                assert_eq!(table.insert_new(&bad), Err(TableError::BadObject));
                assert_eq!(table.delete_object(&bad), Err(TableError::BadObject));
                let several = [Term::from((1, 2)), bad];
                assert_eq!(table.insert_many(&several), Err(TableError::BadObject));
                assert_eq!(table.insert_new_many(&several), Err(TableError::BadObject));
            }
            for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let deep = (1, 2, Term::list([Term::map([(1, (number,))])]));
                assert_eq!(table.insert(deep), Err(TableError::NotFinite));
                assert_eq!(table.lookup(number), Ok(vec![]));
            }
            assert_eq!(table.len(), Ok(0));
        }
    });
}

#[test]
fn a_table_without_a_key_position_is_refused() {
    on_all(|system| {
        let builder = TermTable::builder(TableType::Set).keypos(0);
        assert_eq!(
            system.term_table(builder).err(),
            Some(TableError::BadPosition)
        );
        assert!(system.tables().is_empty());
    });
}

#[test]
fn objects_of_a_bag_are_the_same_only_exactly() {
    on_all(|system| {
        let bag = table(system, TableType::Bag);
        bag.insert_many([
            (Term::atom("a"), Term::from(1)),
            (Term::atom("a"), 1.0.into()),
        ])
        .unwrap();
        bag.insert((Term::atom("a"), 1)).unwrap();
        assert_eq!(
            list(bag.lookup(Term::atom("a")).unwrap()),
            "[{a,1},{a,1.0}]"
        );
        let all = table(system, TableType::DuplicateBag);
        all.insert_many([(1, 1), (1, 1), (1, 2)]).unwrap();
        assert_eq!(all.lookup_element(1, 2), Ok(Term::list([1, 1, 2])));
        assert_eq!(all.delete_object((1, 1)), Ok(2));
        assert_eq!(list(all.take(1).unwrap()), "[{1,2}]");
        assert_eq!(all.take(1), Ok(vec![]));
    });
}

#[test]
fn insert_new_of_many_is_all_or_nothing() {
    on_all(|system| {
        for kind in TYPES {
            let table = table(system, kind);
            assert_eq!(table.insert_new_many([(1, 1), (2, 2)]), Ok(true));
            assert_eq!(table.insert_new_many([(3, 3), (2, 2)]), Ok(false));
            assert_eq!(table.insert_new((2, 5)), Ok(false));
            assert_eq!(content(&table), "[{1,1},{2,2}]");
        }
    });
}

#[test]
fn an_element_is_looked_up_by_its_position() {
    on_all(|system| {
        for kind in [TableType::Set, TableType::OrderedSet] {
            let table = table(system, kind);
            table.insert((1, "a")).unwrap();
            assert_eq!(table.lookup_element(1, 2), Ok("a".into()));
            assert_eq!(table.lookup_element(1, 1), Ok(1.into()));
            assert_eq!(table.lookup_element(1, 0), Err(TableError::BadPosition));
            assert_eq!(table.lookup_element(1, 3), Err(TableError::BadPosition));
            assert_eq!(table.lookup_element(2, 2), Err(TableError::BadKey));
            assert_eq!(table.lookup_element_or(2, 2, "b"), Ok("b".into()));
            assert_eq!(
                table.lookup_element_or(1, 3, "b"),
                Err(TableError::BadPosition)
            );
        }
    });
}

#[test]
fn elements_are_set_all_or_none_and_the_key_never() {
    on_all(|system| {
        for kind in [TableType::Set, TableType::OrderedSet] {
            let table = table(system, kind);
            table.insert((1, "a", "b")).unwrap();
            assert_eq!(table.update_element(1, 2, "c"), Ok(true));
            assert_eq!(
                table.update_elements(1, [(3, "d"), (2, "e"), (2, "f")]),
                Ok(true)
            );
            let after = r#"[{1,<<"f">>,<<"d">>}]"#;
            assert_eq!(content(&table), after);
            assert_eq!(
                table.update_elements(1, [(2, "x"), (4, "x")]),
                Err(TableError::BadPosition)
            );
            assert_eq!(
                table.update_elements(1, [(2, "x"), (0, "x")]),
                Err(TableError::BadPosition)
            );
            assert_eq!(
                table.update_elements(1, [(2, "x"), (1, "x")]),
                Err(TableError::KeyChanged)
            );
            assert_eq!(
                table.update_element(1, 2, f64::NAN),
                Err(TableError::NotFinite)
            );
            assert_eq!(content(&table), after);
            // Where there is no object, there is nothing wrong either.
            assert_eq!(table.update_element(9, 77, "x"), Ok(false));
            table
                .update_element_or(2, 3, "new", ("ignored", 0, 0))
                .unwrap();
            assert_eq!(list(table.lookup(2).unwrap()), r#"[{2,0,<<"new">>}]"#);
            let bad = table.update_element_or(3, 4, "new", (0, 0, 0));
            assert_eq!(bad, Err(TableError::BadPosition));
            assert_eq!(
                table.update_element_or(3, 2, 0, 0),
                Err(TableError::BadObject)
            );
            assert_eq!(table.len(), Ok(2));
        }
    });
}

#[test]
fn counters_are_added_to_all_or_none() {
    on_all(|system| {
        for kind in [TableType::Set, TableType::OrderedSet] {
            let table = table(system, kind);
            table.insert((1, 10, 20, "text")).unwrap();
            assert_eq!(table.update_counter(1, 5), Ok(15));
            assert_eq!(table.update_counter(1, CounterOp::at(3, -5)), Ok(15));
            let wrap = Increment::by(10).threshold(20, 0);
            let both = [
                CounterOp::at(2, wrap),
                CounterOp::at(2, 3),
                CounterOp::at(3, 0),
            ];
            assert_eq!(table.update_counters(1, both), Ok(vec![0, 3, 15]));
            let after = r#"[{1,3,15,<<"text">>}]"#;
            for (bad, error) in [
                (CounterOp::at(4, 1), TableError::NotAnInteger),
                (CounterOp::at(5, 1), TableError::BadPosition),
                (CounterOp::at(0, 1), TableError::BadPosition),
                (CounterOp::at(1, 1), TableError::KeyChanged),
                (CounterOp::at(2, i64::MAX), TableError::Overflow),
                (CounterOp::at(2, u64::MAX), TableError::Overflow),
            ] {
                assert_eq!(
                    table.update_counters(1, [CounterOp::by(1), bad]),
                    Err(error)
                );
                assert_eq!(content(&table), after);
            }
            assert_eq!(table.update_counter(2, 1), Err(TableError::BadKey));
            assert_eq!(table.update_counter_or(2, 1, (0, 41)), Ok(42));
            assert_eq!(table.update_counter_or(2, 1, (0, 41)), Ok(43));
            let bad = table.update_counter_or(3, 1, (0, "text"));
            assert_eq!(bad, Err(TableError::NotAnInteger));
            assert_eq!(
                table.update_counter_or(f64::NAN, 1, (0, 0)),
                Err(TableError::NotFinite)
            );
            assert_eq!(table.len(), Ok(2));
        }
    });
}

#[test]
fn a_bag_says_what_it_cannot_do() {
    on_all(|system| {
        for kind in [TableType::Bag, TableType::DuplicateBag] {
            let table = table(system, kind);
            table.insert((1, 1)).unwrap();
            assert_eq!(table.update_element(1, 2, 3), Err(TableError::WrongKind));
            assert_eq!(
                table.update_element_or(1, 2, 3, (1, 1)),
                Err(TableError::WrongKind)
            );
            assert_eq!(table.update_counter(1, 1), Err(TableError::WrongKind));
            assert_eq!(
                table.update_counter_or(1, 1, (1, 1)),
                Err(TableError::WrongKind)
            );
        }
        let bag = table(system, TableType::Bag);
        assert_eq!(
            bag.select_replace(&spec("[{'_',[],['$_']}]")),
            Err(TableError::WrongKind)
        );
        bag.delete_table().unwrap();
        assert_eq!(bag.update_counter(1, 1), Err(TableError::Gone));
    });
}

fn people(system: &System, kind: TableType) -> TermTable {
    let people = table(system, kind);
    for text in [
        "{1,ann,17}",
        "{2,bob,18}",
        "{3,eve,65,admin}",
        "{4,bob,#{age => 30}}",
    ] {
        people.insert(term(text)).unwrap();
    }
    people
}

#[test]
fn objects_are_selected_by_patterns_and_specifications() {
    on_all(|system| {
        for kind in TYPES {
            let people = people(system, kind);
            let sorted = |mut terms: Vec<Term>| {
                terms.sort_by(Term::compare);
                list(terms)
            };
            let found = people.match_values(&pattern("{'$2','$1','_'}")).unwrap();
            assert_eq!(sorted(found), "[[ann,1],[bob,2],[bob,4]]");
            let found = people
                .match_object(&pattern("{'_',bob,#{age => '_'}}"))
                .unwrap();
            assert_eq!(sorted(found), "[{4,bob,#{age => 30}}]");
            let adults = "[{{'$1','_','$2'},[{is_integer,'$2'},{'>=','$2',18}],['$1']}, \
                          {{'$1','_','$2','_'},[{'>=','$2',18}],[{{'$1',admin}}]}]";
            assert_eq!(
                sorted(people.select(&spec(adults)).unwrap()),
                "[2,{3,admin}]"
            );
            // Not one of numbers only: a map comes after all of them.
            let old = spec("[{{'_','_','$1'},[{'>=','$1',18}],[true]}]");
            assert_eq!(people.select_count(&old), Ok(2));
            assert_eq!(people.select_count(&spec("[{'_',[],[1]}]")), Ok(0));
            assert_eq!(people.select_delete(&old), Ok(2));
            assert_eq!(people.match_delete(&pattern("{'_','_','_','_'}")), Ok(1));
            assert_eq!(content(&people), "[{1,ann,17}]");
        }
    });
}

#[test]
fn a_key_that_is_known_is_looked_up_and_its_objects_are_all_that_is_seen() {
    on_all(|system| {
        for kind in TYPES {
            let table = table(system, kind);
            table.insert_many((0..100).map(|n| (n, n, 0))).unwrap();
            let both = spec(
                "[{{7,'$1','_'},[],['$1']},{{9,'$1','_'},[],[{{'$1'}}]},{{7,'_','_'},[],[no]}]",
            );
            assert_eq!(list(table.select(&both).unwrap()), "[7,{9}]");
            assert_eq!(table.select_count(&spec("[{{7,8,'_'},[],[true]}]")), Ok(0));
            assert_eq!(table.match_delete(&pattern("{7,'_','_'}")), Ok(1));
            assert_eq!(
                table.select_delete(&spec("[{{9,'_','_'},[],[true]},{{8,'_','_'},[],[false]}]")),
                Ok(1)
            );
            if kind != TableType::Bag {
                let replace = spec("[{{5,'$1','_'},[],[{{5,'$1',{'+','$1',1}}}]}]");
                assert_eq!(table.select_replace(&replace), Ok(1));
                assert_eq!(list(table.lookup(5).unwrap()), "[{5,5,6}]");
            }
            // What cannot fit finds nothing.
            assert_eq!(table.match_object(&pattern("['_']")), Ok(vec![]));
            assert_eq!(table.len(), Ok(98));
        }
        // Two keys that are one in an ordered set: its object is come to once.
        let table = table(system, TableType::OrderedSet);
        table.insert((1.0, "a")).unwrap();
        let twice = spec("[{{1,'_'},[],[integer]},{{1.0,'_'},[],[float]}]");
        assert_eq!(list(table.select(&twice).unwrap()), "[float]");
    });
}

#[test]
fn objects_are_replaced_only_where_the_key_plainly_stays() {
    on_all(|system| {
        for kind in [
            TableType::Set,
            TableType::OrderedSet,
            TableType::DuplicateBag,
        ] {
            let table = table(system, kind);
            table.insert_many([(1, "a"), (2, "b")]).unwrap();
            let add = spec("[{{'$1','$2'},[{'>','$1',1}],[{{'$1','$2',new}}]}]");
            assert_eq!(table.select_replace(&add), Ok(1));
            for bad in [
                "[{{'$1','$2'},[],[{{'$2','$1'}}]}]",
                "[{{1,'$2'},[],[{{2,'$2'}}]}]",
                "[{{'$1','$2'},[],['$1']}]",
                "[{{'$1','$2'},[],[{{'$1'}},'$_']}]",
            ] {
                assert_eq!(
                    table.select_replace(&spec(bad)),
                    Err(TableError::KeyChanged)
                );
            }
            assert_eq!(content(&table), r#"[{1,<<"a">>},{2,<<"b">>,new}]"#);
        }
    });
}

#[test]
fn a_malformed_specification_says_what_is_wrong() {
    let error = |text: &str| text.parse::<MatchSpec>().map(|_| ()).unwrap_err();
    assert_eq!(error("[{{'$1'},[],['$2']}]"), MatchSpecError::Unbound(2));
    assert_eq!(error("[{{'$1'},[]}]"), MatchSpecError::NotASpec);
    assert_eq!(error("[{{'$1'},[],[]}]"), MatchSpecError::NoResult);
    let unknown = MatchSpecError::UnknownFunction {
        name: "foo".into(),
        arity: 1,
    };
    assert_eq!(error("[{'_',[{foo,1}],['$_']}]"), unknown);
    assert_eq!(unknown.to_string(), "there is no function foo/1");
    let key = MatchPattern::new((Term::map([(Term::atom("$1"), 1)]),));
    assert_eq!(key.map(|_| ()), Err(MatchSpecError::VariableKey));
}

#[test]
fn a_selection_goes_on_in_pages_whatever_is_done_between() {
    on_all(|system| {
        for kind in TYPES {
            let table = table(system, kind);
            table.insert_many((0..30).map(|n| (n, n % 3))).unwrap();
            let mut pages = table.select_pages(4, &spec("[{{'$1',0},[],['$1']}]"));
            let mut all = pages.next_page().unwrap().unwrap();
            assert_eq!(all.len(), 4);
            // What was seen, and what was not.
            table.delete(&all[0]).unwrap();
            table.insert_many((100..140).map(|n| (n, 1))).unwrap();
            for page in pages {
                all.extend(page.unwrap());
            }
            all.sort_by(Term::compare);
            assert_eq!(all, (0..10).map(|n| Term::from(3 * n)).collect::<Vec<_>>());

            let mut pages = table.match_object_pages(1, &pattern("{5,'_'}"));
            assert_eq!(pages.next_page(), Ok(Some(vec![Term::from((5, 2))])));
            assert_eq!(pages.next_page(), Ok(None));
            let rows: usize = table
                .match_values_pages(0, &pattern("{'$1',2}"))
                .map(|page| page.unwrap().len())
                .sum();
            assert_eq!(rows, 10);
            let mut pages = table.match_object_pages(1, &pattern("{5,'_'}"));
            table.delete_table().unwrap();
            assert_eq!(pages.next_page(), Err(TableError::Gone));
            assert_eq!(pages.next_page(), Ok(None));
        }
    });
}

#[test]
fn a_fixed_table_is_walked_while_it_is_deleted() {
    on_all(|system| {
        for kind in TYPES {
            let table = table(system, kind);
            table.insert_many((0..50).map(|n| (n, 0))).unwrap();
            let fixed = table.fix().unwrap();
            let (mut at, mut count) = (table.first().unwrap(), 0);
            while let Some(key) = at {
                table.delete(&key).unwrap();
                at = table.next(&key).unwrap();
                count += 1;
            }
            assert_eq!(count, 50);
            drop(fixed);
            let next = table.next(1);
            match kind {
                TableType::OrderedSet => assert_eq!(next, Ok(None)),
                _ => assert_eq!(next, Err(TableError::BadKey)),
            }
        }
    });
}

#[test]
fn folds_and_visits_see_each_object_in_order_where_there_is_one() {
    on_all(|system| {
        let table = table(system, TableType::OrderedSet);
        table.insert_many((1..=4).map(|n| (n, n))).unwrap();
        let digit = |so_far: i64, object: &Term| {
            so_far * 10 + i64::try_from(&object.as_tuple().unwrap()[1]).unwrap()
        };
        assert_eq!(table.foldl(0, digit), Ok(1234));
        assert_eq!(table.foldr(0, digit), Ok(4321));
        let third = table.visit(|object| match object.as_tuple() {
            Some([key, _]) if key.as_integer() == Some(3) => ControlFlow::Break(object.clone()),
            _ => ControlFlow::Continue(()),
        });
        assert_eq!(third, Ok(ControlFlow::Break(Term::from((3, 3)))));
        // A closure runs under a lock of the table.
        let nested = table.foldl(Vec::new(), |mut all, _| {
            all.push(table.lookup(1).err());
            all
        });
        assert_eq!(nested, Ok(vec![Some(TableError::Nested); 4]));
        let panics = catch_unwind(AssertUnwindSafe(|| {
            table.foldl((), |(), _| panic!("a panic"))
        }));
        assert!(panics.is_err());
        assert_eq!(table.len(), Ok(4));
    });
}

#[test]
fn a_dynamic_table_has_its_name_in_the_namespace_of_all_tables() {
    on_all(|system| {
        for kind in TYPES {
            let builder = TermTable::builder(kind).named("t").keypos(3);
            let table = system.term_table(builder.clone()).unwrap();
            assert_eq!(
                system.term_table(builder).err(),
                Some(TableError::NameTaken)
            );
            let found = system.term_table_named("t").unwrap();
            assert_eq!((&found, found.keypos()), (&table, 3));
            let typed = system.table_named::<Term, Term, Set>("t");
            assert_eq!(typed, Err(TableError::WrongType));
            let info = table.info().unwrap();
            assert_eq!(
                (info.kind, info.keypos, info.name.as_deref()),
                (kind, Some(3), Some("t"))
            );
            assert_eq!(
                (info.key, info.value),
                (std::any::type_name::<Term>(), info.key)
            );
            table.rename("u").unwrap();
            assert_eq!(system.term_table_named("t"), Err(TableError::NoTable));
            table.delete_table().unwrap();
            assert_eq!(system.term_table_named("u"), Err(TableError::NoTable));
            assert_eq!(table.lookup(1), Err(TableError::Gone));
            assert_eq!(table.insert(1), Err(TableError::Gone));
        }
        let _typed: Table<u8, u8> = system.table(Table::builder().named("typed")).unwrap();
        assert_eq!(system.term_table_named("typed"), Err(TableError::WrongType));
        assert_eq!(system.tables()[0].keypos, None);
    });
}

type Gift = TermTransfer<u8>;
/// A gift, and what came of writing into it.
type Tried = (Gift, Result<(), TableError>);
type Run = Box<dyn FnOnce(&TermTable) + Send>;

/// A process that makes a table, tells it, and does what it is told.
fn owner(
    system: &System,
    make: impl FnOnce(&Inbox<Run>) -> TermTable + Send + 'static,
) -> (Recipient<Run>, TermTable) {
    let (tell, told) = reports();
    let owner = system.spawn(move |mut cx: Inbox<Run>| async move {
        let table = make(&cx);
        tell.send(table.clone()).unwrap();
        while let Received::Message(run) = cx.recv().await {
            run(&table);
        }
    });
    (owner.unwrap(), next(system, &told))
}

/// A process that reports the tables it gets, and what came of writing into them.
fn receiver(system: &System) -> (Recipient<Gift>, Receiver<Tried>) {
    let (tell, told) = reports();
    let receiver = system.spawn(move |mut cx: Inbox<Gift>| async move {
        while let Received::Message(gift) = cx.recv().await {
            let written = gift.table.insert((100, "mine"));
            if tell.send((gift, written)).is_err() {
                return;
            }
        }
    });
    (receiver.unwrap(), told)
}

#[test]
fn a_dynamic_table_is_its_owners_and_goes_with_it() {
    on_all(|system| {
        for kind in TYPES {
            let (owner, table) = owner(system, move |cx| TermTable::new(cx, kind));
            let (tell, told) = reports();
            let run = move |table: &TermTable| tell.send(table.insert((1, 2))).unwrap();
            owner.send(Box::new(run)).unwrap();
            assert_eq!(next(system, &told), Ok(()));
            assert_eq!(table.info().unwrap().owner, Some(owner.pid()));
            // This thread is nobody: it may read, and no more.
            assert_eq!(table.lookup(1), Ok(vec![Term::from((1, 2))]));
            assert_eq!(table.insert((1, 2)), Err(TableError::Access));
            assert_eq!(table.insert(7), Err(TableError::Access));
            assert_eq!(table.update_counter(1, 1), Err(TableError::Access));
            assert_eq!(
                table.match_delete(&pattern("{1,'_'}")),
                Err(TableError::Access)
            );
            assert_eq!(table.select_delete(&spec("[]")), Err(TableError::Access));
            assert_eq!(
                table.select_replace(&spec("[{7,[],['$_']}]")),
                Err(TableError::Access)
            );
            assert_eq!(table.clear_heir(), Err(TableError::Access));
            let end = system.monitor(owner.pid());
            system.exit(owner.pid(), ExitReason::Kill);
            end.wait_timeout(DEADLINE).unwrap();
            assert_eq!(table.lookup(1), Err(TableError::Gone));
        }
        let (owner, private) = owner(system, |cx| {
            let builder = TermTable::builder(TableType::Set).access(Access::Private);
            builder.build(cx).unwrap()
        });
        assert_eq!(private.lookup(1), Err(TableError::Access));
        assert_eq!(private.select(&spec("[]")), Err(TableError::Access));
        assert_eq!(
            private.match_object(&pattern("{1,'_'}")),
            Err(TableError::Access)
        );
        assert_eq!(private.len(), Ok(0));
        drop(owner);
    });
}

#[test]
fn a_dynamic_table_is_given_away_and_inherited_with_a_message() {
    on_all(|system| {
        for kind in TYPES {
            let (heir, inherited) = receiver(system);
            let (friend, given) = receiver(system);
            let to = heir.clone();
            let (owner, table) = owner(system, move |cx| {
                let builder = TermTable::builder(kind).keypos(1).heir(&to, 7);
                builder.build(cx).unwrap()
            });
            assert_eq!(table.info().unwrap().heir, Some(heir.pid()));
            let to = friend.clone();
            let give = move |table: &TermTable| table.give_away(&to, 5).unwrap();
            owner.send(Box::new(give)).unwrap();
            let (gift, written) = next(system, &given);
            assert_eq!(
                (gift.table, gift.from, gift.data),
                (table.clone(), owner.pid(), 5)
            );
            assert_eq!(written, Ok(()));
            // Whoever owns it now leaves it to the heir.
            system.exit(friend.pid(), ExitReason::Kill);
            end_of(system, &friend);
            let (gift, written) = next(system, &inherited);
            assert_eq!(
                (&gift.table, gift.from, gift.data),
                (&table, friend.pid(), 7)
            );
            assert_eq!(
                (gift.table.keypos(), gift.table.kind(), written),
                (1, kind, Ok(()))
            );
            system.exit(owner.pid(), ExitReason::Kill);
            end_of(system, &owner);
            assert!(table.is_alive());
        }
    });
}

#[test]
fn a_cleared_heir_and_one_set_later_count() {
    on_all(|system| {
        let (heir, inherited) = receiver(system);
        for keeps in [true, false] {
            let to = heir.clone();
            let (owner, table) = owner(system, |cx| TermTable::new(cx, TableType::Bag));
            let set = move |table: &TermTable| {
                table.set_heir(&to, 1).unwrap();
                if !keeps {
                    table.clear_heir().unwrap();
                }
            };
            owner.send(Box::new(set)).unwrap();
            let (tell, told) = reports();
            owner
                .send(Box::new(move |_| tell.send(()).unwrap()))
                .unwrap();
            next(system, &told);
            system.exit(owner.pid(), ExitReason::Kill);
            end_of(system, &owner);
            assert_eq!(table.is_alive(), keeps);
            if keeps {
                let (gift, _) = next(system, &inherited);
                assert_eq!(gift.data, 1);
            }
        }
    });
}

#[test]
fn of_many_that_count_at_once_each_counts() {
    on_all(|system| {
        for kind in [TableType::Set, TableType::OrderedSet] {
            let table = table(system, kind);
            let counting = (0..4).map(|_| {
                let table = table.clone();
                system.spawn(move |cx: Inbox<()>| async move {
                    for _ in 0..20 {
                        table.update_counter_or("n", 1, (0, 0)).unwrap();
                        cx.yield_now().await;
                    }
                })
            });
            for process in counting.collect::<Vec<_>>() {
                end_of(system, &process.unwrap());
            }
            assert_eq!(table.lookup_element("n", 2), Ok(80.into()));
        }
    });
}

#[test]
fn delete_all_leaves_an_empty_table() {
    on_all(|system| {
        for kind in TYPES {
            let table = table(system, kind);
            table.insert_many((0..300).map(|n| (n, n))).unwrap();
            table.delete_all().unwrap();
            assert_eq!(table.is_empty(), Ok(true));
            assert_eq!((table.first(), table.last()), (Ok(None), Ok(None)));
            table.insert((1,)).unwrap();
            assert_eq!(content(&table), "[{1}]");
        }
    });
}
