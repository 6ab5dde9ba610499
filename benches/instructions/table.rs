//! The stored costs, and what a new one means beside them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::callgrind::Cost;

/// What `counts.tsv` holds.
#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) compiler: String,
    rows: BTreeMap<String, Cost>,
}

const HEAD: &str = "\
# Instructions and atomic read-modify-writes an operation, by callgrind.
# Made by: cargo bench --bench instructions -- --update
";

impl Table {
    /// Reads the file; one that is not there is empty.
    pub(crate) fn read(file: &Path) -> Result<Table, String> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("{}: {error}", file.display())),
        };
        let mut table = Table::default();
        for line in text.lines() {
            if let Some(compiler) = line.strip_prefix("# compiler: ") {
                compiler.clone_into(&mut table.compiler);
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let row = (|| {
                let mut fields = line.split('\t');
                let name = fields.next()?.to_owned();
                let instructions = fields.next()?.parse().ok()?;
                let atomics = fields.next()?.parse().ok()?;
                let cost = Cost {
                    instructions,
                    atomics,
                };
                Some((name, cost))
            })();
            let (name, cost) =
                row.ok_or_else(|| format!("{}: not a row: {line}", file.display()))?;
            table.rows.insert(name, cost);
        }
        Ok(table)
    }

    pub(crate) fn write(&self, file: &Path) -> Result<(), String> {
        let mut text = format!("{HEAD}# compiler: {}\n", self.compiler);
        for (name, cost) in &self.rows {
            text += &format!("{name}\t{:.1}\t{:.2}\n", cost.instructions, cost.atomics);
        }
        std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
    }

    pub(crate) fn get(&self, name: &str) -> Option<Cost> {
        self.rows.get(name).copied()
    }

    pub(crate) fn set(&mut self, name: &str, cost: Cost) {
        self.rows.insert(name.to_owned(), cost);
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.rows.retain(|name, _| keep(name));
    }
}

/// What a new cost means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    Same,
    /// Cheaper by more than the tolerance: to be stored, else the next regression hides in it.
    Better,
    MoreInstructions(f64),
    MoreAtomics(f64),
    /// Nothing is stored for it.
    New,
}

impl Verdict {
    pub(crate) fn fails(self) -> bool {
        matches!(
            self,
            Verdict::MoreInstructions(_) | Verdict::MoreAtomics(_) | Verdict::New
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Same => f.write_str("same"),
            Verdict::Better => f.write_str("better: store it with --update"),
            Verdict::MoreInstructions(by) => {
                write!(f, "WORSE: {:.1} % more instructions", by * 100.0)
            }
            Verdict::MoreAtomics(by) => write!(f, "WORSE: {by:.2} more atomics"),
            Verdict::New => f.write_str("NEW: store it with --update"),
        }
    }
}

/// By which share instructions may grow.
pub(crate) fn tolerance(same_compiler: bool) -> f64 {
    if same_compiler { 0.03 } else { 0.15 }
}

/// By which share atomics may grow, and from which number on it counts: half an atomic an operation.
const ATOMICS: (f64, f64) = (0.05, 0.5);

pub(crate) fn compare(before: Option<Cost>, now: Cost, same_compiler: bool) -> Verdict {
    let Some(before) = before else {
        return Verdict::New;
    };
    let tolerance = tolerance(same_compiler);
    let grown = now.instructions / before.instructions - 1.0;
    let more = now.atomics - before.atomics;
    if grown > tolerance {
        Verdict::MoreInstructions(grown)
    } else if more > f64::max(before.atomics * ATOMICS.0, ATOMICS.1) {
        Verdict::MoreAtomics(more)
    } else if grown < -tolerance {
        Verdict::Better
    } else {
        Verdict::Same
    }
}
