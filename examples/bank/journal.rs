//! A branch's journal: a file of lines, one an [`Entry`], that only grows.
//!
//! ```text
//!   debit 17 42 south 917 1250*5b1f60c9
//!   ╰────── the entry ───────╯ ╰ checksum of it
//! ```
//! What it guarantees: an entry is handed to the operating system, in one `write`, before the branch
//! acts on it. So it survives the crash of a process, and the kill of the whole program. It is not
//! synced to the disk for each transfer, so it may not survive a power cut; a bank would add
//! `sync_data` here, for a batch of entries at a time.
//!
//! # Invariants
//! 1. The file is entries, each a whole line, and at most one line at the end that is torn: begun
//!    by a branch that crashed in the middle. Recovery cuts that line off: nobody has acted on it.
//! 2. Nothing is buffered in the program. (A buffer would be written when the dead branch's state is
//!    dropped, which may be after the next incarnation has read the file.)

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::ledger::{Entry, Inconsistent, Ledger};
use super::transfer::{Account, Branches};

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("cannot use the journal {path}", path = .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// A line that is not torn, for it is whole or not the last, and yet is no entry. To guess what
    /// it was would be to invent money.
    #[error("line {line} of the journal {path} is damaged", line = .1, path = .0.display())]
    Damaged(PathBuf, u64),
    #[error("line {line} of the journal {path} cannot be", line = .1, path = .0.display())]
    Inconsistent(PathBuf, u64, #[source] Inconsistent),
}

/// What a journal says.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) ledger: Ledger,
    /// How long the file is up to its last whole line.
    pub(crate) length: u64,
    /// Whether there is more: a torn line.
    pub(crate) torn: bool,
}

/// The file of a branch.
pub(crate) fn path(directory: &Path, branches: &Branches, branch: u8) -> PathBuf {
    directory.join(format!("{}.journal", branches.name(branch)))
}

/// Reads a journal, changing nothing. A file that does not exist is an empty one.
pub(crate) fn recover(
    path: &Path,
    branches: &Branches,
    branch: u8,
) -> Result<Recovered, JournalError> {
    let mut recovered = Recovered {
        ledger: Ledger::new(branch),
        length: 0,
        torn: false,
    };
    let broken = |error| JournalError::Io(path.to_owned(), error);
    let mut file = match File::open(path) {
        Ok(file) => BufReader::with_capacity(1 << 16, file),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(recovered),
        Err(error) => return Err(broken(error)),
    };
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if file.read_until(b'\n', &mut line).map_err(broken)? == 0 {
            break;
        }
        let Some(text) = line.strip_suffix(b"\n") else {
            recovered.torn = true;
            break;
        };
        let entry =
            decode(text, branches).ok_or_else(|| JournalError::Damaged(path.to_owned(), number))?;
        recovered
            .ledger
            .apply(&entry)
            .map_err(|why| JournalError::Inconsistent(path.to_owned(), number, why))?;
        recovered.length += line.len() as u64;
    }
    Ok(recovered)
}

/// A journal to be written on.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    branches: Branches,
    line: String,
}

impl Journal {
    /// Opens the file, cutting it to its whole lines (invariant 1).
    pub(crate) fn open(
        path: &Path,
        length: u64,
        branches: &Branches,
    ) -> Result<Self, JournalError> {
        let open = || {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            if file.metadata()?.len() != length {
                file.set_len(length)?;
            }
            Ok(file)
        };
        Ok(Journal {
            file: open().map_err(|error| JournalError::Io(path.to_owned(), error))?,
            branches: branches.clone(),
            line: String::new(),
        })
    }

    /// Writes an entry.
    ///
    /// # Errors
    /// The line may be torn: the branch has to end, and the next incarnation to recover.
    pub(crate) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        encode(entry, &self.branches, &mut self.line);
        self.file.write_all(self.line.as_bytes())
    }

    /// Writes the first half of an entry, for a branch that is about to crash.
    pub(crate) fn tear(&mut self, entry: &Entry) {
        encode(entry, &self.branches, &mut self.line);
        let half = self.line.len() / 2;
        // If this fails the line is even more torn.
        let _ = self.file.write_all(&self.line.as_bytes()[..half]);
    }
}

fn encode(entry: &Entry, branches: &Branches, line: &mut String) {
    line.clear();
    // Writing to a string cannot fail.
    let _ = match *entry {
        Entry::Open { accounts, cents } => write!(line, "open {accounts} {cents}"),
        Entry::Move {
            id,
            from,
            to,
            cents,
        } => write!(line, "move {id} {from} {to} {cents}"),
        Entry::Debit {
            id,
            from,
            to,
            cents,
        } => {
            let branch = branches.name(to.branch);
            write!(line, "debit {id} {from} {branch} {} {cents}", to.number)
        }
        Entry::Credit {
            source,
            id,
            to,
            cents,
        } => write!(line, "credit {} {id} {to} {cents}", branches.name(source)),
        Entry::Settle { id } => write!(line, "settle {id}"),
        Entry::Refund { id } => write!(line, "refund {id}"),
    };
    let sum = checksum(line.as_bytes());
    let _ = writeln!(line, "*{sum:08x}");
}

/// `None`: the line is damaged.
fn decode(line: &[u8], branches: &Branches) -> Option<Entry> {
    let (text, sum) = std::str::from_utf8(line).ok()?.rsplit_once('*')?;
    if sum.len() != 8 || u32::from_str_radix(sum, 16).ok()? != checksum(text.as_bytes()) {
        return None;
    }
    let mut fields = text.split(' ');
    let kind = fields.next()?;
    let mut next = || fields.next();
    macro_rules! number {
        () => {
            next()?.parse().ok()?
        };
    }
    let entry = match kind {
        "open" => Entry::Open {
            accounts: number!(),
            cents: number!(),
        },
        "move" => Entry::Move {
            id: number!(),
            from: number!(),
            to: number!(),
            cents: number!(),
        },
        "debit" => Entry::Debit {
            id: number!(),
            from: number!(),
            to: Account {
                branch: branches.find(next()?)?,
                number: number!(),
            },
            cents: number!(),
        },
        "credit" => Entry::Credit {
            source: branches.find(next()?)?,
            id: number!(),
            to: number!(),
            cents: number!(),
        },
        "settle" => Entry::Settle { id: number!() },
        "refund" => Entry::Refund { id: number!() },
        _ => return None,
    };
    next().is_none().then_some(entry)
}

/// FNV-1a: enough against a damaged line, and needs no table.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn branches() -> Branches {
        Branches::new(["north", "south"]).unwrap()
    }

    const OPEN: Entry = Entry::Open {
        accounts: 1000,
        cents: 5,
    };

    fn entries() -> [Entry; 6] {
        let to = Account {
            branch: 1,
            number: 9,
        };
        [
            OPEN,
            Entry::Move {
                id: 1,
                from: 2,
                to: 3,
                cents: 4,
            },
            Entry::Debit {
                id: u64::MAX,
                from: 6,
                to,
                cents: 5,
            },
            Entry::Credit {
                source: 1,
                id: 7,
                to: 8,
                cents: 99,
            },
            Entry::Settle { id: u64::MAX },
            Entry::Debit {
                id: 10,
                from: 11,
                to,
                cents: 1,
            },
        ]
    }

    fn written(path: &Path) -> Ledger {
        let mut journal = Journal::open(path, 0, &branches()).unwrap();
        let mut ledger = Ledger::new(0);
        for entry in entries() {
            journal.append(&entry).unwrap();
            ledger.apply(&entry).unwrap();
        }
        ledger
    }

    #[test]
    fn what_is_written_is_read_again() {
        let scratch = Scratch::new();
        let path = path(scratch.path(), &branches(), 0);
        let ledger = written(&path);
        let recovered = recover(&path, &branches(), 0).unwrap();
        assert_eq!(recovered.ledger, ledger);
        assert!(!recovered.torn);
        assert_eq!(recovered.length, std::fs::metadata(&path).unwrap().len());
    }

    #[test]
    fn no_file_is_an_empty_journal() {
        let scratch = Scratch::new();
        let recovered = recover(&scratch.path().join("none"), &branches(), 0).unwrap();
        assert_eq!(recovered.ledger, Ledger::new(0));
        assert_eq!(recovered.length, 0);
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_written_over_wherever_it_is_torn() {
        let scratch = Scratch::new();
        let path = path(scratch.path(), &branches(), 0);
        let ledger = written(&path);
        let whole = std::fs::read(&path).unwrap();
        let mut last = String::new();
        encode(&Entry::Refund { id: 10 }, &branches(), &mut last);
        for torn in 1..last.len() {
            let file = [&whole, &last.as_bytes()[..torn]].concat();
            std::fs::write(&path, file).unwrap();
            let recovered = recover(&path, &branches(), 0).unwrap();
            assert!(recovered.torn);
            assert_eq!(recovered.ledger, ledger);
            assert_eq!(recovered.length, whole.len() as u64);

            let mut journal = Journal::open(&path, recovered.length, &branches()).unwrap();
            journal.append(&Entry::Refund { id: 10 }).unwrap();
            assert_eq!(
                std::fs::read(&path).unwrap(),
                [&whole, last.as_bytes()].concat()
            );
        }
    }

    #[test]
    fn half_of_an_entry_is_a_torn_line() {
        let scratch = Scratch::new();
        let path = path(scratch.path(), &branches(), 0);
        let ledger = written(&path);
        let length = std::fs::metadata(&path).unwrap().len();
        let mut journal = Journal::open(&path, length, &branches()).unwrap();
        journal.tear(&Entry::Settle { id: 10 });
        let recovered = recover(&path, &branches(), 0).unwrap();
        assert!(recovered.torn);
        assert_eq!(recovered.ledger, ledger);
    }

    #[test]
    fn damage_that_no_crash_explains_is_an_error_and_not_cut_off() {
        let scratch = Scratch::new();
        let path = path(scratch.path(), &branches(), 0);
        written(&path);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() - 1 {
            let mut file = whole.clone();
            file[at] ^= 1;
            std::fs::write(&path, &file).unwrap();
            let error = recover(&path, &branches(), 0).unwrap_err();
            assert!(
                matches!(error, JournalError::Damaged(..)),
                "{at}: {error:?}"
            );
            assert_eq!(std::fs::read(&path).unwrap(), file);
        }
    }

    #[test]
    fn an_entry_that_cannot_be_is_an_error_with_its_line() {
        let scratch = Scratch::new();
        let path = path(scratch.path(), &branches(), 0);
        let mut journal = Journal::open(&path, 0, &branches()).unwrap();
        journal.append(&OPEN).unwrap();
        journal.append(&Entry::Settle { id: 1 }).unwrap();
        let error = recover(&path, &branches(), 0).unwrap_err();
        assert!(
            matches!(error, JournalError::Inconsistent(_, 2, _)),
            "{error:?}"
        );
    }
}
