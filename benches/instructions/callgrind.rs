//! Runs this program under callgrind and reads what it counted.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What one operation costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    pub(crate) instructions: f64,
    /// Instructions with a `lock` prefix or the like: read-modify-writes that the other cores see.
    pub(crate) atomics: f64,
}

/// Where the profiles are kept: the one with many operations of each path.
pub(crate) fn profiles() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/instructions")
}

/// What one operation costs between `few` and `many`.
pub(crate) fn slope(name: &str, few: u64, many: u64) -> Result<Cost, String> {
    let less = totals(name, few)?;
    let more = totals(name, many)?;
    let each = |index: usize| (more[index] as f64 - less[index] as f64) / (many - few) as f64;
    Ok(Cost {
        instructions: each(0),
        atomics: each(1),
    })
}

impl Cost {
    /// The lower of two measurements: what chance adds, it seldom adds twice.
    pub(crate) fn min(self, other: Cost) -> Cost {
        Cost {
            instructions: self.instructions.min(other.instructions),
            atomics: self.atomics.min(other.atomics),
        }
    }
}

/// Instructions and atomics of a whole run.
fn totals(name: &str, operations: u64) -> Result<[u64; 2], String> {
    let directory = profiles();
    std::fs::create_dir_all(&directory)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    let out = directory.join(format!("{}.callgrind", name.replace(':', "-")));
    let me = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-bus=yes"])
        // One that spins would starve the one it waits for: valgrind runs one thread at a time.
        .arg("--fair-sched=try")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(me)
        .args(["--run", name, &operations.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name} {operations} failed: {said}"));
    }
    let profile = std::fs::read_to_string(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    parse(&profile).ok_or_else(|| format!("{}: no totals of Ir and Ge", out.display()))
}

/// The totals of a profile: `events: Ir Ge` names the columns of `totals: 123 4`.
fn parse(profile: &str) -> Option<[u64; 2]> {
    let field = |key| profile.lines().find_map(|line| line.strip_prefix(key));
    let events: Vec<&str> = field("events:")?.split_whitespace().collect();
    let totals: Vec<&str> = field("totals:")?.split_whitespace().collect();
    let total = |event| {
        let column = events.iter().position(|name| *name == event)?;
        // Trailing zeros are left out.
        totals.get(column).map_or(Some(0), |n| n.parse().ok())
    };
    Some([total("Ir")?, total("Ge")?])
}

/// The compiler that this program was made with, as far as anybody can tell: the one of this directory.
pub(crate) fn compiler() -> Result<String, String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .map_err(|error| format!("rustc: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let field = |key| said.lines().find_map(|line| line.strip_prefix(key));
    match (field("release: "), field("host: ")) {
        (Some(release), Some(host)) => Ok(format!("rustc {release} {host}")),
        _ => Err("rustc -vV says neither release nor host".to_owned()),
    }
}
