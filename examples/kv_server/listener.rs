//! Accepts clients and starts a process for each.
//!
//! The processes are not linked to it: should the listener crash, clients stay, and the next
//! incarnation goes on with the same socket.

use std::sync::Arc;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use noex::SpawnOptions;
use noex::prelude::*;

use crate::connection::{self, Counted};
use crate::hub::MAILBOX;
use crate::reactor::{Reactor, Registered};
use crate::server::Server;
use crate::socket::{Socket, attempt};

/// How many clients are accepted in a row.
const AT_ONCE: usize = 64;
/// How long nobody is accepted after that failed.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Listener(Args);

/// What each incarnation works with.
#[derive(Clone)]
pub(crate) struct Args {
    pub(crate) socket: Arc<Registered<TcpListener>>,
    pub(crate) reactor: Arc<Reactor>,
    pub(crate) server: Arc<Server>,
}

struct Accept;

impl GenServer for Listener {
    type Args = Args;

    async fn init(args: Args, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.continue_with(Accept);
        Ok(Listener(args))
    }
}

impl HandleContinue<Accept> for Listener {
    async fn handle_continue(&mut self, _: Accept, cx: &mut Context<Self>) {
        loop {
            for _ in 0..AT_ONCE {
                match attempt(|| self.0.socket.io.accept()) {
                    Ok(Some((client, _))) => self.greet(client, cx),
                    Ok(None) => self.0.socket.source.readable().await,
                    Err(error) => {
                        // Too many open files, mostly. Those who wait in the queue keep.
                        eprintln!("kv_server: cannot accept: {error}");
                        cx.sleep(PAUSE).await;
                    }
                }
            }
            cx.yield_now().await;
        }
    }
}

impl Listener {
    fn greet(&self, stream: TcpStream, cx: &Context<Self>) {
        // A client that is gone already is no loss.
        let Ok(socket) = Socket::new(stream, &self.0.reactor) else {
            return;
        };
        let client = Counted::new(self.0.server.clone());
        let options = SpawnOptions::new().mailbox(MAILBOX);
        // Refused only by a system that shuts down.
        let _ = cx.spawn_with(options, move |inbox| {
            connection::serve(inbox, socket, client)
        });
    }
}
