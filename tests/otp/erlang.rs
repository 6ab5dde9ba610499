//! Erlang's side: plays all scenarios in one run of `erl`, and gives their traces.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use super::scenario::Scenario;

/// The trace of each scenario, by its name.
pub(crate) fn traces(
    scenarios: &[&Scenario],
    elixir: Option<&Path>,
) -> HashMap<String, Vec<String>> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let sources = [
        "player.erl",
        "player_event.erl",
        "player_machine.erl",
        "player_elixir.erl",
    ];
    let source = |name| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/otp")
            .join(name)
    };
    let mut erlc = Command::new("erlc");
    erlc.arg("-o").arg(dir).args(sources.map(source));
    let erlc = erlc.output().expect("erlc runs");
    assert!(
        erlc.status.success(),
        "{}",
        String::from_utf8_lossy(&erlc.stdout)
    );

    let file = dir.join("scenarios.txt");
    let texts: Vec<&str> = scenarios
        .iter()
        .map(|scenario| scenario.text.as_str())
        .collect();
    std::fs::write(&file, texts.join("\n")).expect("a file in the target directory");
    let played = Command::new("erl")
        .args([
            "-noshell",
            "-noinput",
            "+S",
            "2",
            "-kernel",
            "logger_level",
            "none",
            "-pa",
        ])
        .arg(dir)
        .args(elixir.iter().flat_map(|ebin| [Path::new("-pa"), *ebin]))
        .args(["-s", "player", "main", "-extra"])
        .arg(&file)
        .output()
        .expect("erl runs");
    let output = String::from_utf8_lossy(&played.stdout);
    assert!(
        played.status.success(),
        "erl: {output}\n{}",
        String::from_utf8_lossy(&played.stderr)
    );

    let mut traces = HashMap::new();
    let mut last = String::new();
    for line in output.lines() {
        match line.strip_prefix("== ") {
            Some(name) => {
                last = name.to_string();
                traces.insert(last.clone(), Vec::new());
            }
            None => traces
                .get_mut(&last)
                .expect("a name first")
                .push(line.to_string()),
        }
    }
    traces
}
