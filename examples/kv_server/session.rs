//! What one connection is in the middle of, and what each request on it means there.
//!
//! [`Session::handle`] turns a request into an [`Action`] for the connection to carry out. Replies
//! go out in the order of their requests, and each is written as [`proto`](Session::proto) says
//! right after its request was handled: `HELLO` changes it for itself and for what follows, not
//! for replies still awaited.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::command::{Command, CommandError};
use crate::info::REDIS_VERSION;
use crate::resp::{Bytes, Limits, Proto, Reply, Request};
use crate::route::{Route, route};

/// What all connections know of the server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) port: u16,
    pub(crate) shards: usize,
    pub(crate) limits: Limits,
}

impl Settings {
    /// As `CONFIG GET` shows them: what client libraries and benchmarks look at.
    fn list(&self) -> [(&'static str, String); 7] {
        [
            ("appendonly", "no".into()),
            ("databases", "1".into()),
            ("maxmemory", "0".into()),
            ("port", self.port.to_string()),
            ("proto-max-bulk-len", self.limits.bulk.to_string()),
            ("save", String::new()),
            ("timeout", "0".into()),
        ]
    }
}

/// What a connection has to do for a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Reply(Reply),
    /// Ask the shards and reply what they say.
    Ask(Route),
    /// Reply to how many subscribers the message went. Who reads the channel may ask for a key
    /// that was set before it in the same pipeline, so wait for earlier requests first.
    Publish {
        channel: Bytes,
        message: Bytes,
    },
    /// Leave these channels and join those, then send the replies: one for each channel named.
    Channels {
        leave: Vec<Bytes>,
        join: Vec<Bytes>,
        replies: Vec<Reply>,
    },
    /// Reply [`info`](crate::info::info) about these sections.
    Info(Vec<Bytes>),
    /// Crash this shard, which is there, and reply with the error that comes of it.
    Panic(usize),
    /// Send this, when all before it is sent, and close the connection.
    Close(Option<Reply>),
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    id: i64,
    /// Empty: none.
    name: Bytes,
    proto: Proto,
    channels: BTreeSet<Bytes>,
    settings: Arc<Settings>,
}

impl Session {
    /// A connection that was just accepted; `id` is its own, and never given again.
    pub(crate) fn new(id: i64, settings: Arc<Settings>) -> Self {
        Session {
            id,
            name: Bytes::default(),
            proto: Proto::Resp2,
            channels: BTreeSet::new(),
            settings,
        }
    }

    pub(crate) fn proto(&self) -> Proto {
        self.proto
    }

    /// The channels to leave when the connection ends.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &Bytes> {
        self.channels.iter()
    }

    /// What `request` means now. Channels named in the action count as joined or left already.
    pub(crate) fn handle(&mut self, request: &Request<'_>) -> Action {
        match Command::parse(request, self.is_restricted()) {
            Ok(command) => self.act(command),
            Err(error) => Action::Reply(error.reply()),
        }
    }

    fn is_restricted(&self) -> bool {
        self.proto == Proto::Resp2 && !self.channels.is_empty()
    }

    fn act(&mut self, command: Command) -> Action {
        Action::Reply(match command {
            Command::Data(op) => return Action::Ask(route(op, self.settings.shards)),
            Command::Publish { channel, message } => return Action::Publish { channel, message },
            Command::Subscribe(channels) => return self.subscribe(channels),
            Command::Unsubscribe(channels) => return self.unsubscribe(channels),
            Command::Info(sections) => return Action::Info(sections),
            Command::Quit => return Action::Close(Some(Reply::OK)),
            Command::CrossProtocol => return Action::Close(None),
            Command::Reset => return self.reset(),
            Command::DebugPanic(shard) if shard < self.settings.shards => {
                return Action::Panic(shard);
            }
            Command::DebugPanic(_) => CommandError::NoSuchShard.reply(),
            Command::Answer(reply) => reply,
            Command::Ping(text) if self.is_restricted() => {
                let text = text.unwrap_or_default();
                Reply::Array(vec![Reply::bulk("pong"), Reply::Bulk(text)])
            }
            Command::Ping(None) => Reply::Simple("PONG"),
            Command::Ping(Some(text)) => Reply::Bulk(text),
            Command::Hello { proto, name } => {
                self.proto = proto.unwrap_or(self.proto);
                if let Some(name) = name {
                    self.name = name;
                }
                self.hello()
            }
            Command::ClientId => Reply::Int(self.id),
            Command::ClientGetName if self.name.is_empty() => Reply::Nil,
            Command::ClientGetName => Reply::Bulk(self.name.clone()),
            Command::ClientSetName(name) => {
                self.name = name;
                Reply::OK
            }
            Command::ConfigGet(patterns) => self.config(&patterns),
        })
    }

    fn subscribe(&mut self, channels: Vec<Bytes>) -> Action {
        let mut join = Vec::new();
        let mut replies = Vec::with_capacity(channels.len());
        for channel in channels {
            if self.channels.insert(channel.clone()) {
                join.push(channel.clone());
            }
            replies.push(self.subscription("subscribe", Reply::Bulk(channel)));
        }
        Action::Channels {
            leave: Vec::new(),
            join,
            replies,
        }
    }

    fn unsubscribe(&mut self, channels: Vec<Bytes>) -> Action {
        let channels = if channels.is_empty() {
            self.channels.iter().cloned().collect()
        } else {
            channels
        };
        let mut leave = Vec::new();
        let mut replies = Vec::with_capacity(channels.len());
        if channels.is_empty() {
            replies.push(self.subscription("unsubscribe", Reply::Nil));
        }
        for channel in channels {
            if self.channels.remove(&channel) {
                leave.push(channel.clone());
            }
            replies.push(self.subscription("unsubscribe", Reply::Bulk(channel)));
        }
        Action::Channels {
            leave,
            join: Vec::new(),
            replies,
        }
    }

    fn subscription(&self, what: &str, channel: Reply) -> Reply {
        let count = Reply::Int(self.channels.len() as i64);
        Reply::Push(vec![Reply::bulk(what), channel, count])
    }

    fn reset(&mut self) -> Action {
        self.name = Bytes::default();
        self.proto = Proto::Resp2;
        Action::Channels {
            leave: std::mem::take(&mut self.channels).into_iter().collect(),
            join: Vec::new(),
            replies: vec![Reply::Simple("RESET")],
        }
    }

    fn hello(&self) -> Reply {
        let pair = |key, value| (Reply::bulk(key), value);
        Reply::Map(vec![
            pair("server", Reply::bulk("redis")),
            pair("version", Reply::bulk(REDIS_VERSION)),
            pair("proto", Reply::Int(self.proto.version())),
            pair("id", Reply::Int(self.id)),
            pair("mode", Reply::bulk("standalone")),
            pair("role", Reply::bulk("master")),
            pair("modules", Reply::Array(Vec::new())),
        ])
    }

    /// Each setting that a pattern matches, once. One that is asked for by its name is called in
    /// the reply what the client called it, as Redis does.
    fn config(&self, patterns: &[Bytes]) -> Reply {
        let settings = self.settings.list();
        let matching = settings.iter().filter_map(|(name, value)| {
            let pattern = patterns
                .iter()
                .find(|pattern| matches(pattern, name.as_bytes()))?;
            let shown = if is_glob(pattern) {
                name.as_bytes()
            } else {
                pattern
            };
            Some((Reply::bulk(shown), Reply::bulk(value)))
        });
        Reply::Map(matching.collect())
    }
}

fn is_glob(pattern: &[u8]) -> bool {
    pattern.iter().any(|byte| matches!(byte, b'*' | b'?'))
}

/// Whether `text` is what `pattern` says, in letters of either case: `*` is any bytes, `?` any
/// one. Redis's classes (`[a-z]`) are not known; no client was seen to ask for settings by them.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // Where to go on after a mismatch: behind the last star, one byte of the text later.
    let mut again = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                again = Some((at, read));
            }
            Some(byte) if *byte == b'?' || byte.eq_ignore_ascii_case(&text[read]) => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((star, from)) = again else {
                    return false;
                };
                again = Some((star, from + 1));
                (at, read) = (star, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Parser;
    use crate::store::Op;

    fn session() -> Session {
        let settings = Settings {
            port: 6379,
            shards: 4,
            ..Settings::default()
        };
        Session::new(7, Arc::new(settings))
    }

    fn action(session: &mut Session, line: &str) -> Action {
        let mut parser = Parser::new(Limits::default());
        let line = format!("{line}\r\n");
        parser.space()[..line.len()].copy_from_slice(line.as_bytes());
        parser.filled(line.len());
        let request = parser.next_request().unwrap().expect("one request");
        session.handle(&request)
    }

    /// What a client sees of the answer to `line`.
    fn wire(session: &mut Session, line: &str) -> String {
        let mut out = Vec::new();
        match action(session, line) {
            Action::Reply(reply) | Action::Close(Some(reply)) => {
                reply.encode(session.proto(), &mut out);
            }
            Action::Channels { replies, .. } => {
                for reply in replies {
                    reply.encode(session.proto(), &mut out);
                }
            }
            other => panic!("{line} is not answered here: {other:?}"),
        }
        String::from_utf8(out)
            .expect("these replies are text")
            .replace("\r\n", " ")
    }

    fn channels(names: &[&str]) -> Vec<Bytes> {
        names
            .iter()
            .map(|name| Bytes::from(name.as_bytes()))
            .collect()
    }

    #[test]
    fn a_subscriber_in_resp2_may_ask_little_and_ping_answers_otherwise() {
        let mut session = session();
        assert_eq!(wire(&mut session, "PING"), "+PONG ");
        assert_eq!(
            wire(&mut session, "SUBSCRIBE a"),
            "*3 $9 subscribe $1 a :1 "
        );
        assert_eq!(wire(&mut session, "PING"), "*2 $4 pong $0  ");
        assert_eq!(wire(&mut session, "PING x"), "*2 $4 pong $1 x ");
        for (line, name) in [
            ("GET k", "get"),
            ("CLIENT ID", "client|id"),
            ("HELLO 3", "hello"),
        ] {
            assert_eq!(
                wire(&mut session, line),
                format!(
                    "-ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / \
                     QUIT / RESET are allowed in this context "
                )
            );
        }
        assert_eq!(
            wire(&mut session, "GET"),
            "-ERR wrong number of arguments for 'get' command "
        );
        assert_eq!(wire(&mut session, "QUIT"), "+OK ");
        assert_eq!(
            wire(&mut session, "UNSUBSCRIBE a"),
            "*3 $11 unsubscribe $1 a :0 "
        );
        assert!(matches!(action(&mut session, "GET k"), Action::Ask(_)));
    }

    #[test]
    fn a_subscriber_in_resp3_may_ask_anything() {
        let mut session = session();
        assert!(wire(&mut session, "HELLO 3").starts_with("%7 "));
        assert_eq!(
            wire(&mut session, "SUBSCRIBE a"),
            ">3 $9 subscribe $1 a :1 "
        );
        assert_eq!(wire(&mut session, "PING"), "+PONG ");
        assert!(matches!(action(&mut session, "GET k"), Action::Ask(_)));
        assert_eq!(wire(&mut session, "CLIENT GETNAME"), "_ ");
    }

    #[test]
    fn channels_are_joined_and_left_once_and_each_name_is_answered() {
        let mut session = session();
        let Action::Channels {
            join,
            leave,
            replies,
        } = action(&mut session, "SUBSCRIBE b a b")
        else {
            panic!("about channels");
        };
        assert_eq!(
            (join, leave, replies.len()),
            (channels(&["b", "a"]), vec![], 3)
        );
        let Action::Channels {
            join,
            leave,
            replies,
        } = action(&mut session, "UNSUBSCRIBE a a x")
        else {
            panic!("about channels");
        };
        assert_eq!((join, leave, replies.len()), (vec![], channels(&["a"]), 3));
        assert_eq!(
            session.channels().cloned().collect::<Vec<_>>(),
            channels(&["b"])
        );
        assert_eq!(
            wire(&mut session, "SUBSCRIBE c b"),
            "*3 $9 subscribe $1 c :2 *3 $9 subscribe $1 b :2 "
        );
        assert_eq!(
            wire(&mut session, "UNSUBSCRIBE"),
            "*3 $11 unsubscribe $1 b :1 *3 $11 unsubscribe $1 c :0 "
        );
        assert_eq!(
            wire(&mut session, "UNSUBSCRIBE"),
            "*3 $11 unsubscribe $-1 :0 "
        );
    }

    #[test]
    fn reset_makes_a_connection_as_good_as_new() {
        let mut session = session();
        wire(&mut session, "HELLO 3 AUTH default x SETNAME n");
        assert_eq!(wire(&mut session, "CLIENT GETNAME"), "$1 n ");
        wire(&mut session, "SUBSCRIBE a");
        assert_eq!(
            action(&mut session, "RESET"),
            Action::Channels {
                leave: channels(&["a"]),
                join: vec![],
                replies: vec![Reply::Simple("RESET")],
            }
        );
        assert_eq!(session.proto(), Proto::Resp2);
        assert_eq!(wire(&mut session, "CLIENT GETNAME"), "$-1 ");
    }

    #[test]
    fn hello_answers_in_the_version_it_sets_and_changes_nothing_if_it_fails() {
        let mut session = session();
        assert!(wire(&mut session, "HELLO").starts_with("*14 $6 server $5 redis "));
        assert!(wire(&mut session, "HELLO 3 SETNAME x").contains(" $5 proto :3 $2 id :7 "));
        for (line, error) in [
            ("HELLO 4", "-NOPROTO unsupported protocol version "),
            (
                "HELLO 2 SETNAME y AUTH bob x",
                "-WRONGPASS invalid username-password pair or user is disabled. ",
            ),
        ] {
            assert_eq!(wire(&mut session, line), error);
            assert_eq!(session.proto(), Proto::Resp3);
        }
        assert_eq!(wire(&mut session, "CLIENT GETNAME"), "$1 x ");
    }

    #[test]
    fn settings_are_found_by_name_and_by_pattern() {
        let mut session = session();
        for (line, reply) in [
            ("CONFIG GET save", "*2 $4 save $0  "),
            ("CONFIG GET SAVE save", "*2 $4 SAVE $0  "),
            ("CONFIG GET nosuch *x", "*0 "),
            ("CONFIG GET P?RT", "*2 $4 port $4 6379 "),
            (
                "CONFIG GET *max-*-len",
                "*2 $18 proto-max-bulk-len $9 536870912 ",
            ),
            (
                "CONFIG GET save appendonly",
                "*4 $10 appendonly $2 no $4 save $0  ",
            ),
        ] {
            assert_eq!(wire(&mut session, line), reply, "{line}");
        }
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, whether) in [
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "axbxbx", false),
            ("ab", "abc", false),
            ("*bc", "abcbc", true),
            ("**a", "bba", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                whether,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn what_needs_others_is_handed_on() {
        let mut session = session();
        assert!(matches!(
            action(&mut session, "SET k v"),
            Action::Ask(Route::One { op: Op::Set(_), .. })
        ));
        assert!(matches!(
            action(&mut session, "PUBLISH c m"),
            Action::Publish { .. }
        ));
        assert_eq!(
            action(&mut session, "INFO server"),
            Action::Info(channels(&["server"]))
        );
        assert_eq!(action(&mut session, "DEBUG PANIC 3"), Action::Panic(3));
        assert_eq!(wire(&mut session, "DEBUG PANIC 4"), "-ERR no such shard ");
        assert_eq!(action(&mut session, "POST / HTTP/1.1"), Action::Close(None));
    }
}
