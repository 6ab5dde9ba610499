//! A key-value server that speaks RESP2 and RESP3, the protocol of Redis.
//!
//! ```text
//!   socket ──▶ resp::Parser ──▶ command ──▶ session ──▶ route ──▶ store (one a shard)
//!   bytes      requests         typed       what to do   which     values, expiry
//!                               Command     about it     shards
//!   socket ◀── resp::Reply  ◀───────────────────┴──────────┴───────────┘
//! ```
//! Each box decides and none acts: no module here opens a socket, reads a clock or starts a
//! process. What is observable at the wire is checked against a real `redis-server` 7.0 by the
//! tests in `against_redis`.
#![allow(
    dead_code,
    unused_imports,
    reason = "the parts stand before the processes that will use them"
)]

#[cfg(test)]
mod against_redis;
mod command;
mod info;
mod resp;
mod route;
mod session;
mod store;

fn main() {
    eprintln!("kv_server: the parts are here; the processes that run them are not yet");
}
