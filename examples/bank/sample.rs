//! The transfers that ship with the example, and the way they were made.

use std::fmt::Write as _;

use super::transfer::HEADER;

/// `cargo run --example bank -- --make-sample examples/bank/transfers.csv` writes this.
pub(crate) const LINES: u64 = 100_000;
pub(crate) const BRANCHES: [&str; 8] = [
    "north", "south", "east", "west", "harbour", "station", "market", "hill",
];
pub(crate) const ACCOUNTS: u32 = 500;
/// What each account opens with.
pub(crate) const OPENING: u64 = 100_000;

/// `lines` transfers between accounts drawn at random; a few go to accounts that do not exist.
pub(crate) fn make(lines: u64, seed: u64) -> String {
    let mut state = seed | 1;
    let mut below = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % n
    };
    let mut text = format!("{HEADER}\n");
    for id in 1..=lines {
        let mut account = || {
            let branch = BRANCHES[below(BRANCHES.len() as u64) as usize];
            // One in eight thousand lies just beyond the last.
            let number = below(u64::from(ACCOUNTS) * 16 + 1) / 16;
            format!("{branch}-{number:04}")
        };
        let from = account();
        let mut to = account();
        while to == from {
            to = account();
        }
        let cents = 1 + below(40_000);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{id},{from},{to},{cents}");
    }
    text
}
