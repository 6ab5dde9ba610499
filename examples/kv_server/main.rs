//! A key-value server that speaks RESP2 and RESP3, the protocol of Redis.
//!
//! ```text
//!   socket ──▶ resp::Parser ──▶ command ──▶ session ──▶ route ──▶ store (one a shard)
//!   bytes      requests         typed       what to do   which     values, expiry
//!                               Command     about it     shards
//!   socket ◀── resp::Reply  ◀───────────────────┴──────────┴───────────┘
//! ```
//! Each box decides and none acts: none of these modules opens a socket, reads a clock or starts a
//! process. What is observable at the wire is checked against a real `redis-server` 7.0 by the
//! tests in `against_redis`. What acts are processes:
//!
//! ```text
//!   supervisor ──┬── shard-0 .. shard-N   a Store each        [shard]
//!                ├── hub                  who is subscribed   [hub]
//!                └── listener             accepts clients     [listener]
//!   connection, one for each client       reads and writes    [connection]
//! ```

#[cfg(test)]
mod against_redis;
mod batch;
mod command;
mod connection;
mod hub;
mod info;
mod listener;
mod options;
mod resp;
mod route;
mod server;
mod session;
mod shard;
mod socket;
mod store;
mod tree;

use std::error::Error;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;

use async_io::Async;
use noex::System;

use crate::options::{Options, USAGE};
use crate::server::Server;
use crate::session::Settings;

/// How many clients may wait to be accepted, as in Redis. The standard library says 128, and a
/// client beyond that tries again after a second.
const QUEUE: i32 = 511;

fn main() -> ExitCode {
    let result = match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) if options.help => {
            print!("{USAGE}");
            Ok(())
        }
        Ok(options) => run(&options),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kv_server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until the supervisor gives up.
fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    raise_file_limit();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
        .map_err(|error| format!("cannot listen at port {}: {error}", options.port))?;
    rustix::net::listen(&listener, QUEUE)?;
    let address = listener.local_addr()?;
    let system = System::builder()
        .name("kv")
        .schedulers(options.schedulers)
        .build()?;
    let settings = Settings {
        port: address.port(),
        shards: options.shards,
        ..Settings::default()
    };
    let args = tree::Args {
        server: Arc::new(Server::new(&system, settings)),
        socket: Arc::new(Async::new(listener)?),
        output_limit: options.output_limit,
    };
    tree::start(&system, args)?;
    println!("listening on {address}");
    Ok(system.wait().wait()?)
}

/// As many open files as we may have: a client is one. Redis does the same.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        eprintln!("kv_server: cannot raise the limit of open files: {error}");
    }
}
