use super::*;

const NOW: Millis = 1_000_000;

fn key(text: &str) -> Bytes {
    Bytes::from(text.as_bytes())
}

fn set(name: &str, value: &str) -> Set {
    Set {
        key: key(name),
        value: key(value),
        lifetime: Lifetime::Endless,
        condition: Condition::Always,
        get: false,
    }
}

fn set_for(name: &str, after: Millis) -> Op {
    Op::Set(Set {
        lifetime: Lifetime::Millis(after),
        ..set(name, "v")
    })
}

fn expire(name: &str, after: i64, when: ExpireIf) -> Op {
    Op::Expire {
        key: key(name),
        after,
        when,
    }
}

fn alarm(name: &str, version: Version, deadline: Millis) -> Alarm {
    Alarm::Set {
        key: key(name),
        version,
        deadline,
    }
}

impl Store {
    /// The reply to an operation that must leave the timers alone.
    #[track_caller]
    fn reply(&mut self, op: Op, now: Millis) -> Reply {
        let Outcome { reply, alarms } = self.apply(op, now);
        assert_eq!(alarms, []);
        reply
    }

    #[track_caller]
    fn alarms(&mut self, op: Op, now: Millis) -> Vec<Alarm> {
        self.apply(op, now).alarms
    }

    fn value(&mut self, name: &str, now: Millis) -> Reply {
        self.reply(Op::Get(key(name)), now)
    }
}

#[test]
fn what_is_set_is_read_until_it_is_deleted() {
    let mut store = Store::default();
    assert_eq!(store.value("k", NOW), Reply::Nil);
    assert_eq!(store.reply(Op::Set(set("k", "\0\r\n")), NOW), Reply::OK);
    assert_eq!(store.value("k", NOW), Reply::bulk("\0\r\n"));
    assert_eq!(
        store.reply(Op::Exists(vec![key("k"), key("x"), key("k")]), NOW),
        Reply::Int(2)
    );
    assert_eq!(store.reply(Op::DbSize, NOW), Reply::Int(1));
    assert_eq!(
        store.reply(Op::Del(vec![key("k"), key("x"), key("k")]), NOW),
        Reply::Int(1)
    );
    assert_eq!(store.value("k", NOW), Reply::Nil);
}

#[test]
fn several_values_are_set_and_read_in_order() {
    let mut store = Store::default();
    let pairs = vec![
        (key("a"), key("1")),
        (key("b"), key("2")),
        (key("a"), key("3")),
    ];
    assert_eq!(store.reply(Op::MSet(pairs), NOW), Reply::OK);
    assert_eq!(
        store.reply(Op::MGet(vec![key("b"), key("x"), key("a")]), NOW),
        Reply::Array(vec![Reply::bulk("2"), Reply::Nil, Reply::bulk("3")])
    );
}

#[test]
fn set_if_absent_and_if_present_do_as_they_say_and_get_tells_the_old_value() {
    let mut store = Store::default();
    let mut ask = |condition, get, value: &str| {
        store.reply(
            Op::Set(Set {
                condition,
                get,
                ..set("k", value)
            }),
            NOW,
        )
    };
    assert_eq!(ask(Condition::IfPresent, false, "1"), Reply::Nil);
    assert_eq!(ask(Condition::IfPresent, true, "1"), Reply::Nil);
    assert_eq!(ask(Condition::IfAbsent, true, "2"), Reply::Nil);
    assert_eq!(ask(Condition::IfAbsent, false, "3"), Reply::Nil);
    assert_eq!(ask(Condition::IfAbsent, true, "3"), Reply::bulk("2"));
    assert_eq!(ask(Condition::IfPresent, false, "4"), Reply::OK);
    assert_eq!(ask(Condition::Always, true, "5"), Reply::bulk("4"));
    assert_eq!(store.value("k", NOW), Reply::bulk("5"));
}

#[test]
fn counters_count_and_refuse_what_is_no_integer() {
    let mut store = Store::default();
    let mut incr = |name: &str, step| store.reply(Op::IncrBy(key(name), step), NOW);
    assert_eq!(incr("k", -5), Reply::Int(-5));
    assert_eq!(incr("k", 15), Reply::Int(10));
    assert_eq!(store.value("k", NOW), Reply::bulk("10"));
    let overflow = Reply::error("ERR increment or decrement would overflow");
    let not_integer = Reply::error("ERR value is not an integer or out of range");
    for (text, step, reply) in [
        ("9223372036854775807", 1, &overflow),
        ("-9223372036854775808", -1, &overflow),
        ("abc", 1, &not_integer),
        (" 1", 1, &not_integer),
        ("01", 1, &not_integer),
        ("", 1, &not_integer),
        ("9223372036854775808", 1, &not_integer),
    ] {
        store.reply(Op::Set(set("k", text)), NOW);
        assert_eq!(&store.reply(Op::IncrBy(key("k"), step), NOW), reply);
        assert_eq!(
            store.value("k", NOW),
            Reply::bulk(text),
            "a refused step changes nothing"
        );
    }
}

#[test]
fn a_key_is_invisible_from_its_deadline_on_though_its_timer_is_late() {
    let mut store = Store::default();
    assert_eq!(
        store.alarms(set_for("k", 100), NOW),
        [alarm("k", 1, NOW + 100)]
    );
    assert_eq!(store.value("k", NOW + 99), Reply::bulk("v"));
    let late = NOW + 100;
    assert_eq!(store.value("k", late), Reply::Nil);
    assert_eq!(store.reply(Op::Exists(vec![key("k")]), late), Reply::Int(0));
    assert_eq!(
        store.reply(Op::Ttl(key("k"), Unit::Millis), late),
        Reply::Int(-2)
    );
    assert_eq!(store.reply(Op::Persist(key("k")), late), Reply::Int(0));
    assert_eq!(
        store.reply(expire("k", 100, ExpireIf::default()), late),
        Reply::Int(0)
    );
    let if_present = Set {
        condition: Condition::IfPresent,
        ..set("k", "v")
    };
    assert_eq!(store.reply(Op::Set(if_present), late), Reply::Nil);
    assert_eq!((store.len(), store.expired()), (1, 0));
    assert_eq!(store.expire(&key("k"), 1, late), Expired::Removed);
    assert_eq!((store.len(), store.volatile(), store.expired()), (0, 0, 1));
}

#[test]
fn what_is_written_over_an_expired_key_inherits_nothing() {
    for op in [
        Op::Set(Set {
            condition: Condition::IfAbsent,
            ..set("k", "5")
        }),
        Op::Set(Set {
            lifetime: Lifetime::Keep,
            ..set("k", "5")
        }),
        Op::IncrBy(key("k"), 5),
        Op::MSet(vec![(key("k"), key("5"))]),
    ] {
        let mut store = Store::default();
        let _ = store.apply(set_for("k", 100), NOW);
        assert_eq!(store.alarms(op, NOW + 100), [Alarm::Cancel(1)]);
        assert_eq!(store.value("k", NOW + 100), Reply::bulk("5"));
        assert_eq!(
            store.reply(Op::Ttl(key("k"), Unit::Millis), NOW + 100),
            Reply::Int(-1)
        );
        assert_eq!((store.volatile(), store.expired()), (0, 1));
    }
}

#[test]
fn deleting_an_expired_key_deletes_nothing_but_frees_it() {
    let mut store = Store::default();
    let _ = store.apply(set_for("k", 100), NOW);
    let outcome = store.apply(Op::Del(vec![key("k")]), NOW + 100);
    assert_eq!(
        outcome,
        Outcome {
            reply: Reply::Int(0),
            alarms: vec![Alarm::Cancel(1)]
        }
    );
    assert_eq!((store.len(), store.expired()), (0, 1));
}

#[test]
fn a_timer_that_was_too_late_to_cancel_does_nothing() {
    let mut store = Store::default();
    let _ = store.apply(set_for("k", 100), NOW);
    assert_eq!(
        store.alarms(Op::Del(vec![key("k")]), NOW),
        [Alarm::Cancel(1)]
    );
    assert_eq!(store.expire(&key("k"), 1, NOW + 100), Expired::Stale);
    // Not even to a new incarnation of the key whose own time has come.
    assert_eq!(
        store.alarms(set_for("k", 50), NOW),
        [alarm("k", 2, NOW + 50)]
    );
    assert_eq!(store.expire(&key("k"), 1, NOW + 100), Expired::Stale);
    let _ = store.apply(Op::Persist(key("k")), NOW);
    assert_eq!(store.expire(&key("k"), 2, NOW + 100), Expired::Stale);
    assert_eq!(store.len(), 1);
}

#[test]
fn a_timer_that_comes_early_is_set_again() {
    let mut store = Store::default();
    let _ = store.apply(set_for("k", 100), NOW);
    let again = Expired::Early(alarm("k", 1, NOW + 100));
    assert_eq!(store.expire(&key("k"), 1, NOW + 99), again);
    assert_eq!(store.value("k", NOW + 99), Reply::bulk("v"));
    assert_eq!(store.expire(&key("k"), 1, NOW + 100), Expired::Removed);
}

#[test]
fn a_key_has_one_timer_however_often_it_is_written() {
    let mut store = Store::default();
    let mut live = Vec::new();
    let ops = [
        set_for("k", 100),
        set_for("k", 200),
        Op::Set(Set {
            lifetime: Lifetime::Keep,
            ..set("k", "1")
        }),
        Op::IncrBy(key("k"), 1),
        expire("k", 300, ExpireIf::default()),
        Op::Set(set("k", "v")),
        expire("k", 300, ExpireIf::default()),
        Op::Persist(key("k")),
        set_for("k", 100),
        Op::Del(vec![key("k")]),
        set_for("k", 100),
        expire("k", -1, ExpireIf::default()),
        set_for("k", 100),
        Op::Flush,
    ];
    for op in ops.iter().cycle().take(3 * ops.len()) {
        for alarm in store.alarms(op.clone(), NOW) {
            match alarm {
                Alarm::Set { version, .. } => live.push(version),
                Alarm::Cancel(version) => {
                    let before = live.len();
                    live.retain(|&other| other != version);
                    assert_eq!(live.len(), before - 1, "cancelled what was set, and once");
                }
                Alarm::CancelAll => live.clear(),
            }
        }
        assert_eq!(live.len(), store.volatile(), "after {op:?}");
        assert!(live.len() <= 1);
    }
}

#[test]
fn a_deadline_survives_a_new_value_only_if_asked_to_or_if_it_was_counted() {
    let mut store = Store::default();
    let mut ttl_after = |op: Op| {
        let _ = store.apply(set_for("k", 10_000), NOW);
        let _ = store.apply(
            Op::Set(Set {
                lifetime: Lifetime::Keep,
                ..set("k", "1")
            }),
            NOW,
        );
        let _ = store.apply(op, NOW);
        store.reply(Op::Ttl(key("k"), Unit::Seconds), NOW)
    };
    assert_eq!(
        ttl_after(Op::Set(Set {
            lifetime: Lifetime::Keep,
            ..set("k", "2")
        })),
        Reply::Int(10)
    );
    assert_eq!(ttl_after(Op::IncrBy(key("k"), 1)), Reply::Int(10));
    assert_eq!(ttl_after(Op::Set(set("k", "2"))), Reply::Int(-1));
    assert_eq!(
        ttl_after(Op::MSet(vec![(key("k"), key("2"))])),
        Reply::Int(-1)
    );
    assert_eq!(ttl_after(set_for("k", 20_000)), Reply::Int(20));
}

#[test]
fn time_to_live_is_rounded_to_the_nearest_second() {
    let mut store = Store::default();
    let ttl = |store: &mut Store, unit, now| store.reply(Op::Ttl(key("k"), unit), now);
    assert_eq!(ttl(&mut store, Unit::Seconds, NOW), Reply::Int(-2));
    let _ = store.apply(Op::Set(set("k", "v")), NOW);
    assert_eq!(ttl(&mut store, Unit::Millis, NOW), Reply::Int(-1));
    let _ = store.apply(set_for("k", 10_000), NOW);
    assert_eq!(ttl(&mut store, Unit::Seconds, NOW + 500), Reply::Int(10));
    assert_eq!(ttl(&mut store, Unit::Seconds, NOW + 501), Reply::Int(9));
    assert_eq!(ttl(&mut store, Unit::Millis, NOW + 501), Reply::Int(9_499));
    let _ = store.apply(set_for("k", Millis::MAX), NOW);
    assert_eq!(
        ttl(&mut store, Unit::Seconds, NOW),
        Reply::Int(i64::MAX / 1000)
    );
}

#[test]
fn expire_moves_a_deadline_under_its_conditions() {
    let when = |flags: &str| ExpireIf {
        nx: flags.contains("nx"),
        xx: flags.contains("xx"),
        gt: flags.contains("gt"),
        lt: flags.contains("lt"),
    };
    let mut store = Store::default();
    assert_eq!(
        store.reply(expire("k", 10, when("")), NOW),
        Reply::Int(0),
        "no such key"
    );
    let _ = store.apply(Op::Set(set("k", "v")), NOW);
    for (after, flags, moved) in [
        (10, "xx", 0),
        (10, "gt", 0),
        (10, "xx lt", 0),
        (10, "lt", 1),
        (5, "gt", 0),
        (10, "gt", 0),
        (20, "gt xx", 1),
        (30, "lt", 0),
        (20, "lt", 0),
        (30, "nx", 0),
        (5, "lt", 1),
        (7, "", 1),
    ] {
        let reply = store.apply(expire("k", after, when(flags)), NOW).reply;
        assert_eq!(reply, Reply::Int(moved), "EXPIRE {after} {flags}");
    }
    assert_eq!(
        store.reply(Op::Ttl(key("k"), Unit::Millis), NOW),
        Reply::Int(7)
    );
}

#[test]
fn expiring_in_the_past_deletes_at_once() {
    for after in [0, -1, i64::MIN] {
        let mut store = Store::default();
        let _ = store.apply(Op::Set(set("k", "v")), NOW);
        assert_eq!(
            store.reply(expire("k", after, ExpireIf::default()), NOW),
            Reply::Int(1)
        );
        assert_eq!(store.len(), 0);
    }
}

#[test]
fn flushing_leaves_nothing_and_cancels_timers_only_if_there_are_any() {
    let mut store = Store::default();
    let _ = store.apply(Op::Set(set("k", "v")), NOW);
    assert_eq!(store.reply(Op::Flush, NOW), Reply::OK);
    let _ = store.apply(set_for("k", 100), NOW);
    assert_eq!(store.alarms(Op::Flush, NOW), [Alarm::CancelAll]);
    assert_eq!((store.len(), store.volatile()), (0, 0));
    assert_eq!(store.expire(&key("k"), 1, NOW + 100), Expired::Stale);
}
