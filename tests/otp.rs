//! noex does what Erlang/OTP and Elixir do: one script of operations played on both, and what was
//! seen compared line by line. The scenarios and their language are in tests/otp/README.md.
//!
//! Skipped with a notice where there is no `erl`, or, for what OTP has not, no `elixir`; with
//! NOEX_REQUIRE_ERLANG=1 and NOEX_REQUIRE_ELIXIR=1 that is a failure.

mod support;

#[path = "otp/actor.rs"]
mod actor;
#[path = "otp/agents.rs"]
mod agents;
#[path = "otp/dynamic.rs"]
mod dynamic;
#[path = "otp/erlang.rs"]
mod erlang;
#[path = "otp/event.rs"]
mod event;
#[path = "otp/installed.rs"]
mod installed;
#[path = "otp/machine.rs"]
mod machine;
#[path = "otp/partitions.rs"]
mod partitions;
#[path = "otp/play.rs"]
mod play;
#[path = "otp/scenario.rs"]
mod scenario;
#[path = "otp/tasks.rs"]
mod tasks;
#[path = "otp/tree.rs"]
mod tree;
#[path = "otp/world.rs"]
mod world;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use play::On;
use scenario::{Scenario, scenarios};

/// A test for each file of scenarios.
macro_rules! themes {
    ($($theme:ident: $test:ident,)*) => {
        const THEMES: &[(&str, &str)] = &[$((
            stringify!($theme),
            include_str!(concat!("otp/scenarios/", stringify!($theme), ".txt")),
        ),)*];

        $(
            #[test]
            fn $test() {
                compare(stringify!($theme));
            }
        )*
    };
}

themes! {
    exits: exit_signals_do_what_they_do_in_otp,
    links: links_do_what_they_do_in_otp,
    monitors: monitors_do_what_they_do_in_otp,
    signals: signals_and_names_keep_the_order_of_otp,
    timers: timers_do_what_they_do_in_otp,
    server_start: servers_start_as_in_otp,
    server_messages: servers_handle_messages_as_in_otp,
    server_ends: servers_end_as_in_otp,
    supervisor_restarts: supervisors_restart_as_in_otp,
    supervisor_stops: supervisors_stop_children_as_in_otp,
    supervisor_children: supervisors_answer_as_in_otp,
    supervisor_trees: trees_of_supervisors_do_what_they_do_in_otp,
    supervisor_significant: significant_children_end_supervisors_as_in_otp,
    event_handlers: event_handlers_come_and_go_as_in_otp,
    event_supervised: supervised_event_handlers_do_what_they_do_in_otp,
    machine_events: machines_handle_events_as_in_otp,
    machine_ends: machines_start_and_end_as_in_otp,
    task: tasks_do_what_they_do_in_elixir,
    task_stream: streams_of_tasks_do_what_they_do_in_elixir,
    task_supervisor: supervisors_of_tasks_do_what_they_do_in_elixir,
    agent: agents_do_what_they_do_in_elixir,
    dynamic_supervisor: dynamic_supervisors_do_what_they_do_in_elixir,
    partition_supervisor: partition_supervisors_do_what_they_do_in_elixir,
}

/// Those that need Elixir.
const ELIXIR: &[&str] = &[
    "task",
    "task_stream",
    "task_supervisor",
    "agent",
    "dynamic_supervisor",
    "partition_supervisor",
];

/// The scenarios of each file.
type Themes = Vec<(&'static str, Vec<Arc<Scenario>>)>;

fn all() -> &'static Themes {
    static ALL: OnceLock<Themes> = OnceLock::new();
    ALL.get_or_init(|| {
        let read = |text| scenarios(text).into_iter().map(Arc::new).collect();
        THEMES
            .iter()
            .map(|(theme, text)| (*theme, read(text)))
            .collect()
    })
}

/// What Erlang does; `None`: there is none.
fn otp() -> Option<&'static HashMap<String, Vec<String>>> {
    static OTP: OnceLock<Option<HashMap<String, Vec<String>>>> = OnceLock::new();
    OTP.get_or_init(|| {
        if !installed::erlang() {
            return None;
        }
        let elixir = elixir();
        let played = all()
            .iter()
            .filter(|(theme, _)| elixir.is_some() || !ELIXIR.contains(theme));
        let scenarios: Vec<&Scenario> = played.flat_map(|(_, of)| of).map(|s| &**s).collect();
        Some(erlang::traces(&scenarios, elixir.as_deref()))
    })
    .as_ref()
}

/// Where Elixir is; `None`: there is none.
fn elixir() -> Option<PathBuf> {
    static ELIXIR: OnceLock<Option<PathBuf>> = OnceLock::new();
    ELIXIR.get_or_init(installed::elixir).clone()
}

fn compare(theme: &str) {
    let Some(otp) = otp() else { return };
    if ELIXIR.contains(&theme) && elixir().is_none() {
        return;
    }
    let (_, scenarios) = all()
        .iter()
        .find(|(name, _)| *name == theme)
        .expect("a theme");
    let only = std::env::var("SCENARIO").unwrap_or_default();
    let mut wrong = Vec::new();
    for scenario in scenarios
        .iter()
        .filter(|scenario| scenario.name.contains(&only))
    {
        let theirs = &otp[&scenario.name];
        if let Some(line) = theirs.iter().find(|line| is_broken(line)) {
            wrong.push(format!(
                "== {}\nOTP itself: {line}\n{}",
                scenario.name,
                theirs.join("\n")
            ));
            continue;
        }
        if !only.is_empty() {
            println!("== {}\n{}\n", scenario.name, theirs.join("\n"));
        }
        let expected = match departed(scenario, theirs) {
            Ok(expected) => expected,
            Err(line) => {
                let theirs = theirs.join("\n");
                wrong.push(format!(
                    "== {}\nOTP never has: {line}\n{theirs}",
                    scenario.name
                ));
                continue;
            }
        };
        for on in [On::Threads(1), On::Threads(2)]
            .into_iter()
            .chain((0..SEEDS).map(On::Seed))
        {
            let ours = play::play(scenario, on);
            if ours != expected {
                wrong.push(format!(
                    "== {}\non {on:?}\n{}",
                    scenario.name,
                    diff(&expected, &ours)
                ));
                break;
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

/// On how many manual systems each scenario is played.
const SEEDS: u64 = 8;

/// A line that says that the scenario itself is at fault.
fn is_broken(line: &str) -> bool {
    line.starts_with("script: ") || line.contains(": script: ") || line.starts_with("stage: ")
}

/// OTP's trace, with the lines in which noex departs replaced; `Err`: a line that is not there.
fn departed(scenario: &Scenario, otp: &[String]) -> Result<Vec<String>, String> {
    let mut lines: Vec<Option<String>> = otp.iter().cloned().map(Some).collect();
    let mut instead: Vec<Vec<String>> = vec![Vec::new(); lines.len()];
    for (theirs, ours) in &scenario.differ {
        let place = lines.iter().position(|line| line.as_ref() == Some(theirs));
        let place = place.ok_or_else(|| theirs.clone())?;
        lines[place] = None;
        instead[place] = ours.clone();
    }
    let merged = lines.into_iter().zip(instead);
    Ok(merged
        .flat_map(|(line, instead)| line.into_iter().chain(instead))
        .collect())
}

/// Both traces, with marks where they differ.
fn diff(theirs: &[String], ours: &[String]) -> String {
    let mut lines = Vec::new();
    let (mut a, mut b) = (theirs, ours);
    while !a.is_empty() || !b.is_empty() {
        if a.first() == b.first() {
            lines.push(format!("       {}", a[0]));
            (a, b) = (&a[1..], &b[1..]);
        } else if !b.is_empty() && !a.contains(&b[0]) {
            lines.push(format!("  noex {}", b[0]));
            b = &b[1..];
        } else if !a.is_empty() {
            lines.push(format!("  OTP  {}", a[0]));
            a = &a[1..];
        } else {
            lines.push(format!("  noex {}", b[0]));
            b = &b[1..];
        }
    }
    lines.join("\n")
}

#[test]
fn each_departure_that_a_scenario_shows_is_in_the_table() {
    let table = include_str!("../docs/departures.md");
    for scenario in all().iter().flat_map(|(_, scenarios)| scenarios) {
        let row = scenario.departs.as_ref();
        assert_eq!(
            row.is_some(),
            !scenario.differ.is_empty(),
            "{}",
            scenario.name
        );
        if let Some(row) = row {
            let there = table
                .lines()
                .any(|line| line.starts_with(&format!("| {row} |")));
            assert!(there, "{}: no row `{row}`", scenario.name);
        }
    }
}

#[test]
fn each_file_is_played_and_each_scenario_has_a_name_of_its_own() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/otp/scenarios");
    for entry in std::fs::read_dir(dir).expect("scenarios") {
        let path = entry.expect("a file").path();
        let theme = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("a name");
        assert!(
            THEMES.iter().any(|(name, _)| *name == theme),
            "themes! lacks {theme}"
        );
    }
    let mut names = HashSet::new();
    for scenario in all().iter().flat_map(|(_, scenarios)| scenarios) {
        assert!(names.insert(&scenario.name), "twice: {}", scenario.name);
    }
    assert!(names.len() >= 1000, "only {} scenarios", names.len());
}
