//! The unit tests of `examples/kv_server`: Cargo builds an example for `cargo test`, but runs no tests
//! in it unless it is built as nothing else. Here are its parts that decide and do not act.

#![allow(
    dead_code,
    unused_imports,
    reason = "the processes, which use the rest, are not here"
)]

#[path = "../examples/kv_server/against_redis.rs"]
mod against_redis;
#[path = "../examples/kv_server/batch.rs"]
mod batch;
#[path = "../examples/kv_server/command/mod.rs"]
mod command;
#[path = "../examples/kv_server/info.rs"]
mod info;
#[path = "../examples/kv_server/options.rs"]
mod options;
#[path = "../examples/kv_server/resp/mod.rs"]
mod resp;
#[path = "../examples/kv_server/route.rs"]
mod route;
#[path = "../examples/kv_server/session.rs"]
mod session;
#[path = "../examples/kv_server/store/mod.rs"]
mod store;
