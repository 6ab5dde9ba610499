//! Who watches over whom.

use noex::prelude::*;
use noex::{Error, Exit, StartError};

use crate::hub::Hub;
use crate::listener::{self, Listener};
use crate::reactor::Poller;
use crate::server::{HUB, shard_name};
use crate::shard::Shard;

pub(crate) struct Tree {
    args: Args,
    children: Vec<(Pid, Child)>,
}

#[derive(Clone, Copy)]
enum Child {
    Shard(usize),
    Hub,
    Poller,
    Listener,
}

#[derive(Clone)]
pub(crate) struct Args {
    pub(crate) listener: listener::Args,
    pub(crate) output_limit: usize,
}

impl GenServer for Tree {
    type Args = Args;

    async fn init(args: Args, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        let shards = (0..args.listener.server.settings.shards).map(Child::Shard);
        let mut tree = Tree {
            args,
            children: Vec::new(),
        };
        for child in shards.chain([Child::Hub, Child::Poller, Child::Listener]) {
            let pid = tree
                .start(child, cx)
                .await
                .map_err(StartError::into_reason)?;
            tree.children.push((pid, child));
        }
        Ok(tree)
    }

    async fn handle_exit(&mut self, exit: Exit, cx: &mut Context<Self>) {
        let Some(at) = self
            .children
            .iter()
            .position(|(pid, _)| Some(*pid) == exit.from)
        else {
            return;
        };
        let (_, child) = self.children[at];
        match self.start(child, cx).await {
            Ok(pid) => self.children[at].0 = pid,
            Err(error) => cx.stop(error.into_reason()),
        }
    }
}

impl Tree {
    async fn start(&self, child: Child, cx: &Context<Self>) -> Result<Pid, StartError> {
        let Args {
            listener,
            output_limit,
        } = self.args.clone();
        let named = |name: &str| ServerOptions::new().name(name);
        Ok(match child {
            Child::Shard(index) => {
                let starts = listener.server.counters.starts[index].clone();
                cx.start_link_with::<Shard>(starts, named(&shard_name(index)))
                    .await?
                    .pid()
            }
            Child::Hub => cx
                .start_link_with::<Hub>(output_limit, named(HUB))
                .await?
                .pid(),
            Child::Poller => cx.start_link::<Poller>(listener.reactor).await?.pid(),
            Child::Listener => cx.start_link::<Listener>(listener).await?.pid(),
        })
    }
}

/// Starts everything.
pub(crate) fn start(system: &System, args: Args) -> Result<(), Error> {
    system.start::<Tree>(args).wait()?;
    Ok(())
}
