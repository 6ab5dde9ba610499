//! The programs: how each is built and called, and which are here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// All of them, in the order in which tables show them.
pub const PROGRAMS: &[&str] = &[
    "noex", "floor", "tokio", "smol", "actix", "ractor", "kameo", "beam", "limit",
];

/// What a user could pick in noex's place; the floor and the limit are no such things.
pub const PEERS: &[&str] = &["tokio", "smol", "actix", "ractor", "kameo", "beam"];

/// One that was built.
pub struct Program {
    pub name: &'static str,
    call: Call,
}

enum Call {
    /// Called with a workload.
    Plain(PathBuf),
    /// noex's own bench of workloads.
    Noex(PathBuf),
    /// Erlang modules in this directory.
    Beam(PathBuf),
}

/// Where things are.
pub struct Places {
    /// The repository of noex.
    pub root: PathBuf,
    /// This project.
    pub versus: PathBuf,
}

impl Places {
    pub fn new() -> Places {
        let driver = Path::new(env!("CARGO_MANIFEST_DIR"));
        let up = |n| driver.ancestors().nth(n).unwrap_or(driver).to_path_buf();
        Places {
            root: up(3),
            versus: up(1),
        }
    }
}

/// Builds a program; why it cannot be.
pub fn build(name: &'static str, places: &Places) -> Result<Program, String> {
    let call = match name {
        "noex" => Call::Noex(cargo(&places.root, &["--bench", "workloads"], "workloads")?),
        "beam" => Call::Beam(erlang(places)?),
        bin => Call::Plain(cargo(&places.versus, &["--bin", bin], bin)?),
    };
    Ok(Program { name, call })
}

/// Builds one target of the project in `directory`; where it is.
fn cargo(directory: &Path, target: &[&str], name: &str) -> Result<PathBuf, String> {
    let output = Command::new("cargo")
        .args(["build", "--release", "--message-format=json"])
        .args(target)
        .current_dir(directory)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err("it does not build".to_owned());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let built = |line: &str| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        let path = PathBuf::from(rest.split('"').next()?);
        // A bench has a hash behind its name.
        let stem = path.file_stem()?.to_str()?;
        let ours = stem == name || stem.strip_prefix(name)?.starts_with('-');
        ours.then_some(path)
    };
    let path = said.lines().find_map(built);
    path.ok_or_else(|| format!("cargo names no executable {name}"))
}

fn erlang(places: &Places) -> Result<PathBuf, String> {
    let out = places.versus.join("target/beam");
    std::fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let sources = places.versus.join("peers/beam");
    let status = Command::new("erlc")
        .arg("-o")
        .arg(&out)
        .args(["bench.erl", "bench_child.erl", "bench_server.erl"].map(|f| sources.join(f)))
        .status()
        .map_err(|_| "there is no erlc (Debian: erlang-base)".to_owned())?;
    if status.success() {
        Ok(out)
    } else {
        Err("it does not compile".to_owned())
    }
}

/// The most that one run may take, in seconds.
const LIMIT: &str = "180";

impl Program {
    /// Whether another allocator is one for it: BEAM brings its own.
    pub fn takes_allocators(&self) -> bool {
        !matches!(self.call, Call::Beam(_))
    }

    /// Runs a workload once, with a library preloaded if one is given; the lines it prints, each
    /// `row, n, seconds, extra`.
    pub fn run(
        &self,
        workload: &str,
        shrink: u64,
        preload: Option<&Path>,
    ) -> Result<Vec<Line>, String> {
        let shrink = shrink.to_string();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", LIMIT]);
        match &self.call {
            Call::Plain(program) => {
                command.arg(program).args([workload, "--shrink", &shrink]);
            }
            Call::Noex(program) => {
                command
                    .arg(program)
                    .args(["--shrink", &shrink, "--one", workload]);
            }
            Call::Beam(modules) => {
                command
                    .args(["erl", "-noshell", "-noinput", "+S", "2:2", "+P", "4000000"])
                    .args(["-run", "bench", "main", workload, &shrink])
                    .current_dir(modules);
            }
        }
        if let Some(library) = preload {
            command.env("LD_PRELOAD", library);
        }
        let output = command
            .output()
            .map_err(|error| format!("timeout: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default();
            return Err(format!("{}: {last}", output.status));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let mut lines = Vec::new();
        for line in said.lines() {
            // noex's own bench names neither itself nor the row.
            let line = match &self.call {
                Call::Noex(_) => format!("noex\t{workload}\t{line}"),
                _ => line.to_owned(),
            };
            if let Some(line) = Line::parse(&line) {
                lines.push(line);
            }
        }
        Ok(lines)
    }
}

/// What one run says of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub row: String,
    pub n: u64,
    pub seconds: f64,
    pub extra: String,
}

impl Line {
    /// `program, row, n, seconds, extra`; `None`: there is no figure, `n/a`.
    pub fn parse(line: &str) -> Option<Line> {
        let mut fields = line.split('\t').skip(1);
        let row = fields.next()?.to_owned();
        let n = fields.next()?.parse().ok()?;
        let seconds = fields.next()?.parse().ok()?;
        let extra = fields.next().unwrap_or_default().to_owned();
        Some(Line {
            row,
            n,
            seconds,
            extra,
        })
    }

    /// The number in a word `key=number` of the extra.
    pub fn word(&self, key: &str) -> Option<f64> {
        let words = self.extra.split([' ', ';']);
        let mut values = words.filter_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        values.next()?.parse().ok()
    }
}

/// An allocator that is put in glibc's place.
pub struct Allocator {
    pub name: &'static str,
    /// `None`: glibc's own.
    pub library: Option<PathBuf>,
}

pub const ALLOCATORS: &[&str] = &["glibc", "mimalloc", "jemalloc"];

/// Finds an allocator's library; why it is not here.
pub fn allocator(name: &'static str) -> Result<Allocator, String> {
    if name == "glibc" {
        return Ok(Allocator {
            name,
            library: None,
        });
    }
    let places = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/lib",
    ];
    let prefix = format!("lib{name}.so");
    let libraries = |place: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths
            .filter(|path| {
                let file = path.file_name().and_then(|file| file.to_str());
                file.is_some_and(|file| file.starts_with(&prefix))
            })
            .collect()
    };
    let library = places.iter().flat_map(|place| libraries(place)).min();
    match library {
        Some(library) => Ok(Allocator {
            name,
            library: Some(library),
        }),
        None => Err(format!("there is no {prefix}* (Debian: {name}'s library)")),
    }
}

/// The output of a command, on one line.
pub fn said(program: &str, args: &[&str], directory: &Path) -> Option<String> {
    let mut command = Command::new(program);
    let output = command.args(args).current_dir(directory).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout)
        .trim()
        .replace('\n', " ");
    (output.status.success() && !said.is_empty()).then_some(said)
}
