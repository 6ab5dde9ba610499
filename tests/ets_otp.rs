//! OTP's `ets` beside noex's tables: random sequences of operations, run by both, answer by
//! answer; and scenes about owners and heirs. `tests/otp/ets/ets_driver.erl` is OTP's side.
//!
//! Skipped with a notice where there is no `erl`; with NOEX_REQUIRE_ERLANG=1 that is a failure.
//!
//! # Operations on a table
//! `new KIND` begins a sequence. Objects are three numbers, `K:A:B`, the first of which is the key. An answer
//! is one line: a number, `[K:A:B ..]`, `true`, a key, `end`, `badarg`; sorted where the kind has no order.
//! Where OTP's own answer is always `true`, its side looks before and after: `delete` says whether there was
//! something, `delete_object` how many there were. Of `next` in tables without an order only whether the key
//! is known is compared; `walk` goes from key to key through all. `select N` and its kin want the
//! objects with `A > N`; `update_counter K POSITION:BY[:THRESHOLD:SET]`. `page LIMIT N` begins a selection,
//! and `page` gives its next page, between which there may be other operations (ordered sets only: what
//! others see then is open).
//!
//! # Operations on a table of any terms
//! `new KIND KEYPOS` begins a sequence, and `t TERM` is an operation: what tests/otp/ets/terms.rs makes. An
//! answer is a term: what OTP's function returns, or `badarg`. `{sort,[..]}` and `{compare,A,B}` ask about
//! the order of terms.
//!
//! # Scenes
//! In tests/otp/ets/scenes.txt, whose head says how: owners, heirs, gifts, rights and names.

mod support;

#[path = "otp/ets/scene.rs"]
mod scene;
#[path = "otp/ets/table.rs"]
mod table;
#[path = "otp/ets/terms.rs"]
mod terms;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use noex::Term;

/// Sequences of a run, and operations of each.
const SEQUENCES: u64 = 256;
const OPERATIONS: usize = 200;

/// Scenes at random.
const SCENES: u64 = 200;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.roll(words.len())]
    }

    fn object(&mut self, keys: usize) -> String {
        format!("{}:{}:{}", self.roll(keys), self.roll(4), self.roll(3))
    }

    /// Up to four of what `make` makes.
    fn some(&mut self, mut make: impl FnMut(&mut Self) -> String) -> String {
        let all: Vec<String> = (0..self.roll(5)).map(|_| make(self)).collect();
        all.join(" ")
    }

    fn counter(&mut self) -> String {
        let (at, by) = (2 + self.roll(2), self.roll(7) as i64 - 3);
        match self.roll(2) {
            0 => format!("{at}:{by}"),
            _ => format!("{at}:{by}:{}:{}", self.roll(7) as i64 - 3, self.roll(4)),
        }
    }
}

/// All operations of a sequence.
fn sequence(number: u64) -> Vec<String> {
    let mut dice = Dice((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let kind = ["set", "ordered_set", "bag", "duplicate_bag"][number as usize % 4];
    let mut all = vec![format!("new {kind}")];
    // Most tables are small, so that keys meet. Some have many parts.
    let wide = number % 32 >= 28;
    let keys = if wide { 2000 } else { 8 };
    for _ in 0..OPERATIONS {
        let operation = operation(&mut dice, kind, keys);
        all.push(operation);
    }
    all
}

fn operation(dice: &mut Dice, kind: &str, keys: usize) -> String {
    let (key, least) = (dice.roll(keys), dice.roll(5) as i64 - 1);
    let unique = kind.ends_with("set");
    match dice.roll(60) {
        0..=7 => format!("insert {}", dice.object(keys)),
        8..=10 => format!("insert_many {}", dice.some(|dice| dice.object(keys))),
        11 | 12 => format!("insert_new {}", dice.object(keys)),
        13 | 14 => format!("insert_new_many {}", dice.some(|dice| dice.object(keys))),
        15 if keys > 100 => format!("fill {key} {} {}", dice.roll(800), 1 + dice.roll(3)),
        15..=18 => format!("lookup {key}"),
        19 => format!("lookup_element {key} {}", 2 + dice.roll(2)),
        20 => format!("member {key}"),
        21..=23 => format!("delete {key}"),
        24 | 25 => format!("delete_object {}", dice.object(keys)),
        26 => format!("take {key}"),
        27 if unique => {
            let parts = dice.some(|dice| format!("{}:{}", 2 + dice.roll(2), dice.roll(5)));
            format!("update_element {key} {parts}")
        }
        28 if unique => {
            let (at, to) = (2 + dice.roll(2), dice.roll(5));
            format!("update_element_or {} {at} {to}", dice.object(keys))
        }
        29 | 30 if unique => format!("update_counter {key} {}", dice.counter()),
        31 if unique => format!("update_counter_or {} {}", dice.object(keys), dice.counter()),
        32 if unique => format!("update_counters {key} {}", dice.some(Dice::counter)),
        33 if unique => {
            let default = dice.object(keys);
            format!("update_counters_or {default} {}", dice.some(Dice::counter))
        }
        27..=33 => format!("insert {}", dice.object(keys)),
        34 => format!("select {least}"),
        35 => format!("match {}", dice.roll(4)),
        36 => format!("match_key {key} {}", dice.roll(3)),
        37 => format!(
            "pages {} {least}",
            1 + dice.roll(if keys > 100 { 300 } else { 5 })
        ),
        38 if kind == "ordered_set" => {
            format!(
                "page {} {least}",
                1 + dice.roll(if keys > 100 { 300 } else { 3 })
            )
        }
        39 | 40 if kind == "ordered_set" => "page".to_owned(),
        41 if kind == "ordered_set" => {
            let to = dice.roll(keys);
            format!("{} {key} {to}", dice.of(&["range", "range_back"]))
        }
        38..=41 => format!("delete_object {}", dice.object(keys)),
        42 => format!("select_count {least}"),
        43 => format!("select_delete {}", 1 + dice.roll(3)),
        44 if kind != "bag" => format!("select_replace {least} {}", dice.roll(3)),
        44 => "to_list".to_owned(),
        45 => dice.of(&["foldl", "foldr"]).to_owned(),
        46 => "to_list".to_owned(),
        47 => "size".to_owned(),
        48 => match dice.roll(6) {
            0 => "delete_all".to_owned(),
            _ => "size".to_owned(),
        },
        49 => "first".to_owned(),
        50 => "last".to_owned(),
        51..=53 => format!("next {key}"),
        54 => format!("prev {key}"),
        55 => "walk".to_owned(),
        56 => format!("walk_deleting {}", 1 + dice.roll(4)),
        57 | 58 => "fix".to_owned(),
        _ => "unfix".to_owned(),
    }
}

/// What OTP answers, to as many lines; `None`: there is no OTP.
fn otp(name: &str, operations: &[String]) -> Option<Vec<String>> {
    let there = Command::new("erl").arg("-version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        let required = std::env::var_os("NOEX_REQUIRE_ERLANG").is_some_and(|it| it == "1");
        assert!(!required, "erl is missing: apt-get install erlang-base");
        eprintln!("skipped: there is no erl to compare with");
        return None;
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).expect("a directory of its own");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/otp/ets/ets_driver.erl");
    let erlc = Command::new("erlc")
        .arg("-o")
        .arg(&dir)
        .arg(source)
        .output();
    let erlc = erlc.expect("erlc runs");
    let output = String::from_utf8_lossy(&erlc.stdout);
    assert!(erlc.status.success(), "{output}");

    let file = dir.join("operations.txt");
    std::fs::write(&file, operations.join("\n")).expect("a file in the target directory");
    let run = Command::new("erl")
        .args(["-noshell", "-noinput", "+S", "2", "-pa"])
        .arg(&dir)
        .args(["-s", "ets_driver", "main", "-extra"])
        .arg(&file)
        .env("ERL_CRASH_DUMP_SECONDS", "0")
        .output()
        .expect("erl runs");
    assert!(
        run.status.success(),
        "erl: {}\n{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    let answers = std::fs::read_to_string(dir.join("operations.txt.answers"));
    let answers: Vec<String> = answers
        .expect("answers")
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(answers.len(), operations.len());
    Some(answers)
}

#[test]
fn tables_answer_as_otps_do() {
    let sequences: Vec<Vec<String>> = (0..SEQUENCES).map(sequence).collect();
    let Some(answers) = otp("ets_operations", &sequences.concat()) else {
        return;
    };
    let mut answers = answers.into_iter();
    let (system, _driver) = support::quiet().virtual_clock().manual();
    for operations in &sequences {
        let ours = table::noex(&system, operations);
        for (at, mine) in ours.into_iter().enumerate() {
            let theirs = answers.next().expect("an answer to each operation");
            assert!(
                theirs == mine,
                "OTP:  {theirs}\nnoex: {mine}\nafter {:#?}",
                &operations[..=at]
            );
        }
    }
    assert_eq!(answers.next(), None);
}

/// Sequences of a run on tables of any terms.
const TERM_SEQUENCES: u64 = 320;

/// Questions about the order of terms.
const QUESTIONS: usize = 6000;

/// An operation as it is handed to OTP.
fn written(operation: &Term) -> String {
    let text = operation.to_string();
    // Neither cut, nor read as something else.
    assert_eq!(text.parse().as_ref(), Ok(operation));
    format!("t {text}")
}

fn read(answer: &str) -> Term {
    answer
        .parse()
        .unwrap_or_else(|error| panic!("{error}: {answer}"))
}

#[test]
fn terms_are_ordered_and_compared_as_otps_are() {
    let mut dice = terms::Dice::new(0);
    let questions: Vec<Term> = (0..QUESTIONS).map(|_| dice.question()).collect();
    let lines: Vec<String> = questions.iter().map(written).collect();
    let Some(answers) = otp("ets_term_order", &lines) else {
        return;
    };
    let (system, _driver) = support::quiet().virtual_clock().manual();
    let table = terms::table(&system, "set", 1);
    for (question, theirs) in questions.iter().zip(answers) {
        let (mine, theirs) = (terms::act(&table, question), read(&theirs));
        // `lists:sort/1` puts terms that are equal, but not the same, in an order of its own.
        let sorted = question
            .as_tuple()
            .is_some_and(|parts| parts[0].is_atom("sort"));
        assert!(
            theirs == mine || sorted && theirs.compare(&mine).is_eq(),
            "OTP:  {theirs}\nnoex: {mine}\nto {question}"
        );
    }
}

#[test]
fn tables_of_terms_answer_as_otps_do() {
    let sequences = (0..TERM_SEQUENCES).map(|number| {
        let mut dice = terms::Dice::new(number);
        let kind = ["set", "ordered_set", "bag", "duplicate_bag"][number as usize % 4];
        let keypos = 1 + dice.roll(2);
        let operations = (0..OPERATIONS).map(|_| dice.operation(keypos, kind));
        (kind, keypos, operations.collect::<Vec<Term>>())
    });
    let sequences: Vec<_> = sequences.collect();
    let lines = |(kind, keypos, operations): &(&str, usize, Vec<Term>)| {
        let first = format!("new {kind} {keypos}");
        std::iter::once(first)
            .chain(operations.iter().map(written))
            .collect::<Vec<_>>()
    };
    let lines: Vec<String> = sequences.iter().flat_map(lines).collect();
    let Some(answers) = otp("ets_terms", &lines) else {
        return;
    };
    let mut answers = answers.into_iter();
    let (system, _driver) = support::quiet().virtual_clock().manual();
    for (kind, keypos, operations) in &sequences {
        assert_eq!(answers.next().as_deref(), Some("new"));
        let table = terms::table(&system, kind, *keypos);
        for (at, operation) in operations.iter().enumerate() {
            let before = table.to_list();
            let theirs = answers.next().expect("an answer to each operation");
            let theirs = terms::settled(kind, operation, read(&theirs));
            let mine = terms::settled(kind, operation, terms::act(&table, operation));
            assert!(
                theirs == mine,
                "{kind}, key at {keypos}\nOTP:  {theirs}\nnoex: {mine}\nafter {:#?}\nof {before:?}",
                &operations[at.saturating_sub(3)..=at]
            );
        }
        table.delete_table().expect("it is there");
    }
    assert_eq!(answers.next(), None);
}

/// A scene at random: three tables, and four people, who come again when they are dead.
fn random_scene(number: u64) -> Vec<String> {
    let mut dice = Dice((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut all = vec![format!("== at random {number}")];
    let tables = ["t", "u", "v"];
    for table in tables {
        let mut line = format!("p{} new {table}", dice.roll(4));
        if dice.roll(2) == 0 {
            line += " named";
        }
        if dice.roll(3) > 0 {
            line += dice.of(&[" public", " private"]);
        }
        if dice.roll(2) == 0 {
            line += &format!(" heir p{} {}", dice.roll(4), dice.roll(9));
        }
        all.push(line);
    }
    for _ in 0..40 {
        let (table, data, key) = (dice.of(&tables), dice.roll(9), dice.roll(3));
        let people = ["p0", "p1", "p2", "p3"];
        let (person, other) = (dice.of(&people), dice.of(&people));
        let what = dice.of(&["size", "owner", "fixed", "named_table", "protection"]);
        match dice.roll(20) {
            0..=2 => all.push(format!("{person} give_away {table} {other} {data}")),
            3 | 4 => all.push(format!("{person} heir {table} {other} {data}")),
            5 => all.push(format!("{person} heir {table} none")),
            6 | 7 => all.push(format!("{person} insert {table} {key} {data}")),
            8 => all.push(format!("{person} lookup {table} {key}")),
            9 => all.push(format!("{person} fix {table}")),
            10 => all.push(format!("{person} delete {table} {key}")),
            11 => all.push(format!("{person} next {table} {key}")),
            12 => all.push(format!("{person} watch {other}")),
            13 => all.push(format!("whereis {table}")),
            14..=16 => {
                let whole = [
                    format!("kill {person}"),
                    format!("{person} ends"),
                    format!("{person} crashes"),
                ];
                all.push(whole[dice.roll(3)].clone());
                if dice.roll(2) == 0 {
                    all.push(format!("start {person}"));
                }
            }
            _ => all.push(format!("{person} info {table} {what}")),
        }
        if dice.roll(5) == 0 {
            all.push(format!("{other} mail"));
        }
    }
    all.extend((0..4).map(|n| format!("p{n} mail")));
    all
}

/// In which order one who dies leaves several tables to one heir is open: transfers that came from the
/// same one after another are sorted.
fn sorted(mail: &str) -> String {
    let mut letters: Vec<&str> = mail.trim_matches(['[', ']']).split(", ").collect();
    fn giver(letter: &str) -> Option<&str> {
        letter.strip_prefix("transfer ")?.split(' ').nth(1)
    }
    let both = |a: &&str, b: &&str| giver(a).is_some() && giver(a) == giver(b);
    letters.chunk_by_mut(both).for_each(<[&str]>::sort_unstable);
    letters.join(", ")
}

/// Compares the answers to all lines of scenes; `departs` says what noex's is where it is not OTP's.
fn compare_scenes(name: &str, lines: &[String], departs: &HashMap<usize, &str>) {
    let ours = scene::noex(lines);
    assert_eq!(ours.len(), lines.len());
    let Some(theirs) = otp(name, lines) else {
        return;
    };
    let mut begin = 0;
    for (at, (theirs, mine)) in theirs.iter().zip(&ours).enumerate() {
        if lines[at].starts_with("==") {
            begin = at;
        }
        let expected = departs.get(&at).copied().unwrap_or(theirs);
        assert!(
            sorted(mine) == sorted(expected) && departs.get(&at).is_none_or(|ours| ours != theirs),
            "OTP:  {theirs}\nnoex: {mine}, and should: {expected}\nafter {:#?}",
            &lines[begin..=at]
        );
    }
}

#[test]
fn tables_are_owned_and_inherited_as_otps_are() {
    let mut departs = HashMap::new();
    let mut lines: Vec<String> = Vec::new();
    for line in include_str!("otp/ets/scenes.txt").lines() {
        if let Some(ours) = line.strip_prefix("noex: ") {
            departs.insert(lines.len() - 1, ours);
        } else if !line.is_empty() && !line.starts_with('#') {
            lines.push(line.to_owned());
        }
    }
    compare_scenes("ets_scenes", &lines, &departs);
}

#[test]
fn tables_are_owned_and_inherited_as_otps_are_whatever_happens() {
    let scenes: Vec<Vec<String>> = (0..SCENES).map(random_scene).collect();
    compare_scenes("ets_random_scenes", &scenes.concat(), &HashMap::new());
}
