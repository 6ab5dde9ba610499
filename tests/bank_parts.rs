//! The unit tests of `examples/bank`, and the bank itself on its sample: Cargo builds examples for
//! `cargo test`, but runs no tests in them.

#![allow(
    dead_code,
    reason = "the server and its clients, which use the rest, are not here"
)]

#[path = "../examples/bank/crash.rs"]
mod crash;
#[path = "../examples/bank/journal.rs"]
mod journal;
#[path = "../examples/bank/ledger.rs"]
mod ledger;
#[path = "../examples/bank/sample.rs"]
mod sample;
#[path = "../examples/bank/scratch.rs"]
mod scratch;
#[path = "../examples/bank/transfer.rs"]
mod transfer;

#[test]
fn the_sample_is_what_its_maker_makes() {
    let shipped = include_str!("../examples/bank/transfers.csv");
    assert_eq!(shipped.lines().count() as u64, sample::LINES + 1);
    assert_eq!(shipped, sample::make(sample::LINES, 1));
}
