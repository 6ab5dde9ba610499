//! The machine that was measured on, what ran on it besides, and the versions of everything.

use crate::programs::{Places, Program, said};
use crate::results::Results;

fn field(file: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The version that a lock file has of a package.
fn locked(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.next()?;
    let version = lines.next()?.strip_prefix("version = \"")?;
    Some(version.trim_end_matches('"').to_owned())
}

pub fn facts(results: &mut Results, places: &Places, programs: &[Program]) {
    let root = &places.root;
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            results.fact(name, value);
        }
    };
    fact("date", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"], root));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let virtual_ = field("/proc/cpuinfo", "flags")
        .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let kind = if virtual_ { ", virtual" } else { "" };
    fact("cpu", Some(format!("{cpu}, {cores} cores{kind}")));
    let kilobytes = field("/proc/meminfo", "MemTotal")
        .and_then(|memory| memory.trim_end_matches(" kB").parse::<u64>().ok());
    fact("memory", kilobytes.map(|kb| format!("{} GiB", kb >> 20)));
    fact("kernel", said("uname", &["-sr"], root));
    fact("libc", said("getconf", &["GNU_LIBC_VERSION"], root));
    fact("rustc", said("rustc", &["-V"], root));
    fact(
        "noex",
        said("git", &["describe", "--always", "--dirty"], root),
    );
    let lock = std::fs::read_to_string(places.versus.join("Cargo.lock")).unwrap_or_default();
    for program in programs {
        match program.name {
            "noex" | "floor" => {}
            "beam" => {
                let release = "io:put_chars(erlang:system_info(otp_release)), halt().";
                let args = ["-noshell", "-noinput", "-eval", release];
                let otp = said("erl", &args, root);
                fact("beam", otp.map(|release| format!("OTP {release}")));
            }
            "limit" => {
                let parts = [
                    "crossbeam-channel",
                    "crossbeam-queue",
                    "dashmap",
                    "scc",
                    "papaya",
                ];
                let versions =
                    parts.map(|part| format!("{part} {}", locked(&lock, part).unwrap_or_default()));
                fact("limit", Some(versions.join(", ")));
            }
            name => fact(name, locked(&lock, name)),
        }
    }
}

/// What else the machine had to do meanwhile.
pub struct Watch {
    /// All time, and what the hypervisor took, in ticks.
    before: (u64, u64),
}

fn ticks() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    (
        ticks.iter().take(8).sum(),
        ticks.get(7).copied().unwrap_or(0),
    )
}

impl Watch {
    pub fn start() -> Watch {
        Watch { before: ticks() }
    }

    pub fn load(&self) -> String {
        let average = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let average: Vec<&str> = average.split(' ').take(3).collect();
        let now = ticks();
        let all = (now.0 - self.before.0).max(1);
        let stolen = 100.0 * (now.1 - self.before.1) as f64 / all as f64;
        format!(
            "load average {}, {stolen:.1} % of the time stolen",
            average.join(" ")
        )
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_version_is_found_in_a_lock_file() {
        let lock = "[[package]]\nname = \"scc\"\nversion = \"3.1.0\"\n\n[[package]]\nname = \"smol\"\nversion = \"2.0.2\"\n";
        assert_eq!(super::locked(lock, "smol").as_deref(), Some("2.0.2"));
        assert_eq!(super::locked(lock, "tokio"), None);
    }
}
