//! What one read of a socket asked for, until it is answered: the operations gathered by shard, so
//! that each shard gets one message, and the answers in the order of the requests.
//!
//! ```text
//!   requests   GET a   PING   INCR b   GET c        a, c: shard 0    b: shard 1
//!   answers    One 0   Ready  One 1    One 0
//!   to shard 0: [GET a, GET c]      to shard 1: [INCR b]
//! ```
//! Operations of one shard keep their order; those of different shards run side by side.

use std::vec;

use crate::resp::{Proto, Reply};
use crate::route::{Merge, Route};
use crate::store::Op;

/// How one request is answered.
#[derive(Debug)]
enum Answer {
    Ready(Reply),
    /// By the next reply of this shard.
    One(usize),
    /// By the next reply of each of these shards.
    Many(Vec<usize>, Merge),
}

#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// By shard; as long as the highest that was asked.
    ops: Vec<Vec<Op>>,
    answers: Vec<(Proto, Answer)>,
}

impl Batch {
    /// How many requests it holds.
    pub(crate) fn len(&self) -> usize {
        self.answers.len()
    }

    /// The next request is answered by `reply`, written as `proto` says.
    pub(crate) fn ready(&mut self, reply: Reply, proto: Proto) {
        self.answers.push((proto, Answer::Ready(reply)));
    }

    /// The next request is answered by shards.
    pub(crate) fn ask(&mut self, route: Route, proto: Proto) {
        let answer = match route {
            Route::One { shard, op } => {
                self.push(shard, op);
                Answer::One(shard)
            }
            Route::Many { parts, merge } => {
                let shards = parts.iter().map(|(shard, _)| *shard).collect();
                for (shard, op) in parts {
                    self.push(shard, op);
                }
                Answer::Many(shards, merge)
            }
        };
        self.answers.push((proto, answer));
    }

    fn push(&mut self, shard: usize, op: Op) {
        if self.ops.len() <= shard {
            self.ops.resize_with(shard + 1, Vec::new);
        }
        self.ops[shard].push(op);
    }

    /// What to ask of whom. Each shard comes once.
    pub(crate) fn take_ops(&mut self) -> impl Iterator<Item = (usize, Vec<Op>)> {
        let taken = self.ops.iter_mut().map(std::mem::take).enumerate();
        taken.filter(|(_, ops)| !ops.is_empty())
    }

    /// The answers in order, made of what the shards replied.
    pub(crate) fn answers(&mut self, mut replies: Replies) -> impl Iterator<Item = (Proto, Reply)> {
        self.answers.drain(..).map(move |(proto, answer)| {
            let reply = match answer {
                Answer::Ready(reply) => reply,
                Answer::One(shard) => replies.next(shard),
                Answer::Many(shards, merge) => {
                    let parts = shards.into_iter().map(|shard| replies.next(shard));
                    merge.merge(parts.collect())
                }
            };
            (proto, reply)
        })
    }
}

/// What the shards said to a batch.
#[derive(Debug, Default)]
pub(crate) struct Replies(Vec<Part>);

#[derive(Debug)]
enum Part {
    Replies(vec::IntoIter<Reply>),
    /// All of them are this error.
    Failed(Reply),
}

impl Replies {
    /// `shard` answered each of its operations, or none, for the reason that the error tells.
    pub(crate) fn put(&mut self, shard: usize, replies: Result<Vec<Reply>, Reply>) {
        if self.0.len() <= shard {
            self.0
                .resize_with(shard + 1, || Part::Replies(Vec::new().into_iter()));
        }
        self.0[shard] = match replies {
            Ok(replies) => Part::Replies(replies.into_iter()),
            Err(error) => Part::Failed(error),
        };
    }

    fn next(&mut self, shard: usize) -> Reply {
        let reply = match self.0.get_mut(shard) {
            Some(Part::Replies(replies)) => replies.next(),
            Some(Part::Failed(error)) => Some(error.clone()),
            None => None,
        };
        reply.unwrap_or_else(|| Reply::error("ERR the shard gave no reply"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Bytes;

    fn key(name: &str) -> Bytes {
        Bytes::from(name.as_bytes())
    }

    /// The requests of the module's picture, and one to both shards.
    fn batch() -> Batch {
        let get = |name| Route::One {
            shard: 0,
            op: Op::Get(key(name)),
        };
        let mut batch = Batch::default();
        batch.ask(get("a"), Proto::Resp2);
        batch.ready(Reply::Simple("PONG"), Proto::Resp2);
        let op = Op::IncrBy(key("b"), 1);
        batch.ask(Route::One { shard: 1, op }, Proto::Resp3);
        let parts = vec![(1, Op::DbSize), (0, Op::DbSize)];
        let merge = Merge::Sum;
        batch.ask(Route::Many { parts, merge }, Proto::Resp3);
        batch.ask(get("c"), Proto::Resp3);
        batch
    }

    #[test]
    fn each_shard_gets_its_operations_in_order_and_in_one_message() {
        let mut batch = batch();
        assert_eq!(
            batch.take_ops().collect::<Vec<_>>(),
            [
                (0, vec![Op::Get(key("a")), Op::DbSize, Op::Get(key("c"))]),
                (1, vec![Op::IncrBy(key("b"), 1), Op::DbSize])
            ]
        );
        assert_eq!(batch.take_ops().count(), 0);
    }

    #[test]
    fn answers_stand_in_the_order_of_the_requests() {
        let mut batch = batch();
        let mut replies = Replies::default();
        replies.put(1, Ok(vec![Reply::Int(1), Reply::Int(10)]));
        replies.put(0, Ok(vec![Reply::bulk("a"), Reply::Int(3), Reply::Nil]));
        let answers: Vec<_> = batch.answers(replies).collect();
        assert_eq!(
            answers,
            [
                (Proto::Resp2, Reply::bulk("a")),
                (Proto::Resp2, Reply::Simple("PONG")),
                (Proto::Resp3, Reply::Int(1)),
                (Proto::Resp3, Reply::Int(13)),
                (Proto::Resp3, Reply::Nil),
            ]
        );
        assert_eq!(batch.len(), 0);
    }

    #[test]
    fn a_shard_that_fails_fails_its_own_requests_only() {
        let mut batch = batch();
        let error = Reply::error("ERR crashed");
        let mut replies = Replies::default();
        replies.put(0, Err(error.clone()));
        replies.put(1, Ok(vec![Reply::Int(1), Reply::Int(10)]));
        let answers: Vec<_> = batch.answers(replies).map(|(_, reply)| reply).collect();
        assert_eq!(
            answers,
            [
                error.clone(),
                Reply::Simple("PONG"),
                Reply::Int(1),
                error.clone(),
                error
            ]
        );
    }
}
