//! Models of the lock-free cores, explored by loom. Run them with
//! `RUSTFLAGS="--cfg loom -C debug_assertions" cargo test --release --lib loom_tests`.

mod idle;
mod slot;
