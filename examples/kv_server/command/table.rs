//! Every command that is known, and what `COMMAND` says about them.

use super::args;
use super::{Command, CommandError};
use crate::resp::{Reply, Request};

type Parse = fn(&'static Spec, &Request<'_>) -> Result<Command, CommandError>;

/// What is known of a command before its arguments are read.
#[derive(Debug)]
pub(crate) struct Spec {
    /// In full, as errors write it: `get`, `client|setname`.
    pub(crate) name: &'static str,
    /// Where the word that the client sends begins in it: after the `|`.
    word: usize,
    /// Words with the name; negative: at least so many.
    arity: i64,
    flags: &'static [&'static str],
    /// Where keys are: first and last word (negative: from the end), and the step between them.
    keys: (i64, i64, i64),
    group: &'static str,
    since: &'static str,
    summary: &'static str,
    subcommands: &'static [Spec],
    parse: Parse,
}

impl Spec {
    const fn new(name: &'static str, arity: i64, parse: Parse) -> Spec {
        let mut word = 0;
        let mut at = 0;
        while at < name.len() {
            if name.as_bytes()[at] == b'|' {
                word = at + 1;
            }
            at += 1;
        }
        Spec {
            name,
            word,
            arity,
            flags: &[],
            keys: (0, 0, 0),
            group: "",
            since: "",
            summary: "",
            subcommands: &[],
            parse,
        }
    }

    const fn flags(self, flags: &'static [&'static str]) -> Spec {
        Spec { flags, ..self }
    }

    const fn keys(self, first: i64, last: i64, step: i64) -> Spec {
        Spec {
            keys: (first, last, step),
            ..self
        }
    }

    const fn doc(self, group: &'static str, since: &'static str, summary: &'static str) -> Spec {
        Spec {
            group,
            since,
            summary,
            ..self
        }
    }

    const fn with(self, subcommands: &'static [Spec]) -> Spec {
        Spec {
            subcommands,
            ..self
        }
    }

    pub(super) fn parse(&'static self, request: &Request<'_>) -> Result<Command, CommandError> {
        (self.parse)(self, request)
    }

    fn takes(&self, words: usize) -> bool {
        let least = usize::try_from(self.arity.unsigned_abs()).unwrap_or(usize::MAX);
        if self.arity < 0 {
            words >= least
        } else {
            words == least
        }
    }

    /// Its entry in the reply to `COMMAND`. Categories, tips and key specifications are left
    /// empty: they serve access control and clusters.
    fn entry(&self) -> Reply {
        let none = || Reply::Set(Vec::new());
        Reply::Array(vec![
            Reply::bulk(self.name),
            Reply::Int(self.arity),
            Reply::Set(self.flags.iter().map(|flag| Reply::Simple(flag)).collect()),
            Reply::Int(self.keys.0),
            Reply::Int(self.keys.1),
            Reply::Int(self.keys.2),
            none(),
            none(),
            none(),
            Reply::Set(self.subcommands.iter().map(Spec::entry).collect()),
        ])
    }

    /// Its entry in the reply to `COMMAND DOCS`.
    fn docs(&self) -> (Reply, Reply) {
        let mut doc = vec![
            (Reply::bulk("summary"), Reply::bulk(self.summary)),
            (Reply::bulk("since"), Reply::bulk(self.since)),
            (Reply::bulk("group"), Reply::bulk(self.group)),
        ];
        if !self.subcommands.is_empty() {
            let subcommands = self.subcommands.iter().map(Spec::docs).collect();
            doc.push((Reply::bulk("subcommands"), Reply::Map(subcommands)));
        }
        (Reply::bulk(self.name), Reply::Map(doc))
    }
}

/// What `request` names, if it has the right number of words.
pub(super) fn find(request: &Request<'_>) -> Result<&'static Spec, CommandError> {
    let name = request.get(0).unwrap_or_default();
    let mut spec = by_word(COMMANDS, name).ok_or_else(|| CommandError::unknown(request))?;
    if let (false, Some(name)) = (spec.subcommands.is_empty(), request.get(1)) {
        spec = by_word(spec.subcommands, name)
            .ok_or_else(|| CommandError::unknown_subcommand(spec.name, name))?;
    }
    if spec.takes(request.len()) {
        Ok(spec)
    } else {
        Err(CommandError::Arity(spec.name))
    }
}

fn by_word(specs: &'static [Spec], word: &[u8]) -> Option<&'static Spec> {
    // Forty comparisons of lengths are cheaper than one hash.
    specs
        .iter()
        .find(|spec| spec.name.as_bytes()[spec.word..].eq_ignore_ascii_case(word))
}

/// What a name in full stands for: `get`, `client|setname`.
fn by_name(name: &[u8]) -> Option<&'static Spec> {
    let mut words = name.splitn(2, |&byte| byte == b'|');
    let spec = by_word(COMMANDS, words.next()?)?;
    match words.next() {
        None => Some(spec),
        Some(word) => by_word(spec.subcommands, word),
    }
}

pub(super) fn count() -> Reply {
    Reply::Int(COMMANDS.len() as i64)
}

/// The names of all commands and subcommands.
pub(super) fn list() -> Reply {
    let all = COMMANDS
        .iter()
        .flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    Reply::Array(all.map(|spec| Reply::bulk(spec.name)).collect())
}

/// The entries of the commands named; of all if none is.
pub(super) fn info<'a>(names: impl ExactSizeIterator<Item = &'a [u8]>) -> Reply {
    Reply::Array(if names.len() == 0 {
        COMMANDS.iter().map(Spec::entry).collect()
    } else {
        names
            .map(|name| by_name(name).map_or(Reply::Nil, Spec::entry))
            .collect()
    })
}

/// What is known of the commands named; of all if none is. Unknown ones are left out.
pub(super) fn docs<'a>(names: impl ExactSizeIterator<Item = &'a [u8]>) -> Reply {
    Reply::Map(if names.len() == 0 {
        COMMANDS.iter().map(Spec::docs).collect()
    } else {
        names.filter_map(by_name).map(Spec::docs).collect()
    })
}

const READ_FAST: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write"];
const WRITE_FAST: &[&str] = &["write", "fast"];
const PUBSUB: &[&str] = &["pubsub"];
const PUBSUB_FAST: &[&str] = &["pubsub", "fast"];
const FAST: &[&str] = &["fast"];
const ADMIN: &[&str] = &["admin"];

/// The most asked for first: it is searched from the start.
#[rustfmt::skip]
static COMMANDS: &[Spec] = &[
    Spec::new("get", 2, args::get).keys(1, 1, 1).flags(READ_FAST)
        .doc("string", "1.0.0", "Returns the value of a key"),
    Spec::new("set", -3, args::set).keys(1, 1, 1).flags(WRITE)
        .doc("string", "1.0.0", "Sets the value of a key, for ever or for a time"),
    Spec::new("incr", 2, args::incr).keys(1, 1, 1).flags(WRITE_FAST)
        .doc("string", "1.0.0", "Adds one to the integer in a key"),
    Spec::new("decr", 2, args::decr).keys(1, 1, 1).flags(WRITE_FAST)
        .doc("string", "1.0.0", "Takes one from the integer in a key"),
    Spec::new("incrby", 3, args::incr_by).keys(1, 1, 1).flags(WRITE_FAST)
        .doc("string", "1.0.0", "Adds to the integer in a key"),
    Spec::new("decrby", 3, args::decr_by).keys(1, 1, 1).flags(WRITE_FAST)
        .doc("string", "1.0.0", "Takes from the integer in a key"),
    Spec::new("mget", -2, args::mget).keys(1, -1, 1).flags(READ_FAST)
        .doc("string", "1.0.0", "Returns the values of several keys"),
    Spec::new("mset", -3, args::mset).keys(1, -1, 2).flags(WRITE)
        .doc("string", "1.0.1", "Sets the values of several keys"),
    Spec::new("del", -2, args::del).keys(1, -1, 1).flags(WRITE)
        .doc("generic", "1.0.0", "Deletes keys"),
    Spec::new("exists", -2, args::exists).keys(1, -1, 1).flags(READ_FAST)
        .doc("generic", "1.0.0", "Counts those of the given keys that exist"),
    Spec::new("expire", -3, args::expire).keys(1, 1, 1).flags(WRITE_FAST)
        .doc("generic", "1.0.0", "Lets a key expire in some seconds"),
    Spec::new("pexpire", -3, args::pexpire).keys(1, 1, 1).flags(WRITE_FAST)
        .doc("generic", "2.6.0", "Lets a key expire in some milliseconds"),
    Spec::new("ttl", 2, args::ttl).keys(1, 1, 1).flags(READ_FAST)
        .doc("generic", "1.0.0", "Returns how many seconds a key has to live"),
    Spec::new("pttl", 2, args::pttl).keys(1, 1, 1).flags(READ_FAST)
        .doc("generic", "2.6.0", "Returns how many milliseconds a key has to live"),
    Spec::new("persist", 2, args::persist).keys(1, 1, 1).flags(WRITE_FAST)
        .doc("generic", "2.2.0", "Lets a key live for ever"),
    Spec::new("publish", 3, args::publish).flags(PUBSUB_FAST)
        .doc("pubsub", "2.0.0", "Sends a message to the subscribers of a channel"),
    Spec::new("subscribe", -2, args::subscribe).flags(PUBSUB)
        .doc("pubsub", "2.0.0", "Asks for the messages sent to channels"),
    Spec::new("unsubscribe", -1, args::unsubscribe).flags(PUBSUB)
        .doc("pubsub", "2.0.0", "Asks for no more messages sent to channels"),
    Spec::new("ping", -1, args::ping).flags(FAST)
        .doc("connection", "1.0.0", "Answers PONG, or what it is given"),
    Spec::new("echo", 2, args::echo).flags(FAST)
        .doc("connection", "1.0.0", "Answers what it is given"),
    Spec::new("info", -1, args::info)
        .doc("server", "1.0.0", "Returns figures about the server"),
    Spec::new("dbsize", 1, args::dbsize).flags(READ_FAST)
        .doc("server", "1.0.0", "Returns the number of keys"),
    Spec::new("flushall", -1, args::flush).flags(WRITE)
        .doc("server", "1.0.0", "Deletes all keys"),
    Spec::new("flushdb", -1, args::flush).flags(WRITE)
        .doc("server", "1.0.0", "Deletes all keys"),
    Spec::new("hello", -1, args::hello).flags(FAST)
        .doc("connection", "6.0.0", "Agrees on a version of the protocol"),
    Spec::new("client", -2, args::no_subcommand)
        .doc("connection", "2.4.0", "What a connection says and asks about itself")
        .with(&[
            Spec::new("client|id", 2, args::client_id)
                .doc("connection", "5.0.0", "Returns the number of the connection"),
            Spec::new("client|getname", 2, args::client_get_name)
                .doc("connection", "2.6.9", "Returns the name of the connection"),
            Spec::new("client|setname", 3, args::client_set_name)
                .doc("connection", "2.6.9", "Names the connection"),
            Spec::new("client|setinfo", 4, args::client_set_info)
                .doc("connection", "7.2.0", "Says which library the client uses"),
        ]),
    Spec::new("config", -2, args::no_subcommand)
        .doc("server", "2.0.0", "The settings of the server")
        .with(&[
            Spec::new("config|get", -3, args::config_get).flags(ADMIN)
                .doc("server", "2.0.0", "Returns the settings that match a pattern"),
        ]),
    Spec::new("command", -1, args::command_info)
        .doc("server", "2.8.13", "Tells what commands there are")
        .with(&[
            Spec::new("command|count", 2, args::command_count)
                .doc("server", "2.8.13", "Returns how many commands there are"),
            Spec::new("command|docs", -2, args::command_docs)
                .doc("server", "7.0.0", "Returns what commands are for"),
            Spec::new("command|info", -2, args::command_info)
                .doc("server", "2.8.13", "Returns how commands are called"),
            Spec::new("command|list", -2, args::command_list)
                .doc("server", "7.0.0", "Returns the names of all commands"),
        ]),
    Spec::new("select", 2, args::select).flags(FAST)
        .doc("connection", "1.0.0", "Chooses a database; there is one, 0"),
    Spec::new("quit", -1, args::quit).flags(FAST)
        .doc("connection", "1.0.0", "Closes the connection"),
    Spec::new("reset", 1, args::reset).flags(FAST)
        .doc("connection", "6.2.0", "Makes the connection as good as new"),
    Spec::new("debug", -2, args::debug).flags(ADMIN)
        .doc("server", "1.0.0", "DEBUG PANIC <shard> crashes a shard"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subcommand_is_named_after_its_command_and_everything_has_a_doc() {
        for spec in COMMANDS {
            assert!(!spec.name.contains('|'));
            for sub in spec.subcommands {
                assert!(sub.name.starts_with(&format!("{}|", spec.name)));
                assert!(!sub.summary.is_empty());
            }
            assert!(!spec.summary.is_empty() && !spec.group.is_empty() && !spec.since.is_empty());
        }
    }

    #[test]
    fn commands_are_listed_and_described() {
        let none = || std::iter::empty::<&[u8]>();
        let (Reply::Int(count), Reply::Array(infos), Reply::Map(docs)) =
            (count(), info(none()), docs(none()))
        else {
            panic!("of these kinds");
        };
        assert_eq!(
            [count as usize, infos.len(), docs.len()],
            [COMMANDS.len(); 3]
        );
        let names = [&b"GET"[..], b"client|ID", b"nosuch", b"get|x"];
        let Reply::Array(infos) = info(names.into_iter()) else {
            panic!("a list");
        };
        assert_eq!(infos[0], by_name(b"get").map_or(Reply::Nil, Spec::entry));
        assert_eq!(
            infos[1],
            by_name(b"client|id").map_or(Reply::Nil, Spec::entry)
        );
        assert_eq!(infos[2..], [Reply::Nil, Reply::Nil]);
        let Reply::Map(docs) = super::docs(names.into_iter()) else {
            panic!("a map");
        };
        assert_eq!(docs.len(), 2);
    }
}
