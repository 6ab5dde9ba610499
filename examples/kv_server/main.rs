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
//!                ├── poller               which sockets are ready   [reactor]
//!                └── listener             accepts clients     [listener]
//!   connection, one for each client       reads and writes    [connection]
//! ```
//! A crash ends one of them, which is started again under its name. A shard starts with no keys, and
//! only commands that were on their way to it fail, each with an error.
//!
//! # Why a reactor, and why this one
//! A thread for each connection would need ten thousand of them for clients that are mostly idle, and
//! each request would change threads four times: to the connection's, to a shard's, back, and back
//! to sleep. With a process for each connection a request is served on one thread, and an idle client
//! costs less than four kilobytes.
//!
//! A connection waits for its socket like for anything else: a future registers the process's
//! waker, and whoever calls that waker, from any thread, makes it run. So any reactor will do that
//! is not bound to a runtime. The first version used `async-io`; with one command at a time it
//! made some 13 system calls a command (it arms each socket anew for every wait, and a timer for every
//! poll, and wakes a scheduler thread from a thread of its own) where `redis-server` makes a little
//! more than 2, and had 0.4 to 0.7 of its throughput. [`reactor`] is two hundred lines on `mio`, is told
//! of edges, and does its polling as a process among the others: a little more than 2 as well.

#[cfg(test)]
mod against_redis;
mod batch;
mod command;
mod connection;
mod hub;
mod info;
mod listener;
mod options;
mod reactor;
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

use noex::System;

use crate::options::{Options, USAGE};
use crate::reactor::Reactor;
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
    listener.set_nonblocking(true)?;
    let reactor = Arc::new(Reactor::new()?);
    let listener = listener::Args {
        socket: Arc::new(reactor.register(mio::net::TcpListener::from_std(listener))?),
        server: Arc::new(Server::new(&system, settings)),
        reactor,
    };
    let supervisor = tree::start(&system, listener, options)?;
    println!("listening on {address}");
    // It ends when crashes come too fast, and then nobody accepts clients any more.
    let down = system.monitor(supervisor.pid()).wait()?;
    Err(format!("too many crashes: the supervisor gave up ({})", down.reason).into())
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
