//! Why a command is refused, in the words of Redis 7.0.
//!
//! Errors that quote the client are bytes and not text: a command's name need not be UTF-8, and
//! Redis sends back what it got. It takes what it quotes for a C string, so a quote ends at the
//! first `\0`; line breaks become blanks when the reply is encoded.

use std::borrow::Cow;
use std::fmt;

use crate::resp::{Reply, Request};

/// How much of a name, and of all arguments together, an error quotes.
const QUOTED: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommandError {
    Unknown {
        name: Vec<u8>,
        args: Vec<u8>,
    },
    UnknownSubcommand {
        command: &'static str,
        name: Vec<u8>,
    },
    /// The command's name as it is written in full, such as `client|setname`.
    Arity(&'static str),
    Syntax,
    NotAnInteger,
    /// An integer, and not one of 32 bits.
    NotAnInt32,
    DecrementOverflow,
    ExpireTime(&'static str),
    ExpireOption(Vec<u8>),
    ExpireNxAndOther,
    ExpireGtAndLt,
    DbIndex,
    ProtocolVersion,
    UnsupportedProtocol,
    HelloOption(Vec<u8>),
    WrongPassword,
    ClientName,
    ClientInfoOption(Vec<u8>),
    ClientInfo(&'static str),
    DebugUsage(Vec<u8>),
    NoSuchShard,
    /// Not while the connection is subscribed to a channel and speaks RESP2.
    Subscribed(&'static str),
}

impl CommandError {
    pub(super) fn unknown(request: &Request<'_>) -> Self {
        let mut words = request.iter();
        let name = words.next().map_or(Vec::new(), |name| quote(name, QUOTED));
        let mut args = Vec::new();
        for word in words {
            if args.len() >= QUOTED {
                break;
            }
            let word = quote(word, QUOTED - args.len());
            args.push(b'\'');
            args.extend_from_slice(&word);
            args.extend_from_slice(b"' ");
        }
        CommandError::Unknown { name, args }
    }

    pub(super) fn unknown_subcommand(command: &'static str, name: &[u8]) -> Self {
        CommandError::UnknownSubcommand {
            command,
            name: quote(name, QUOTED),
        }
    }

    pub(crate) fn reply(&self) -> Reply {
        Reply::Error(self.text())
    }

    /// What follows the `-` of the reply.
    fn text(&self) -> Cow<'static, [u8]> {
        use CommandError as E;
        let fixed = match self {
            E::Unknown { name, args } => {
                return join(&[
                    b"ERR unknown command '",
                    name,
                    b"', with args beginning with: ",
                    args,
                ]);
            }
            E::UnknownSubcommand { command, name } => {
                let command = command.to_ascii_uppercase();
                let command = command.as_bytes();
                return join(&[
                    b"ERR unknown subcommand '",
                    name,
                    b"'. Try ",
                    command,
                    b" HELP.",
                ]);
            }
            E::Arity(command) => {
                let command = command.as_bytes();
                return join(&[
                    b"ERR wrong number of arguments for '",
                    command,
                    b"' command",
                ]);
            }
            E::ExpireTime(command) => {
                return join(&[
                    b"ERR invalid expire time in '",
                    command.as_bytes(),
                    b"' command",
                ]);
            }
            E::ExpireOption(option) => return join(&[b"ERR Unsupported option ", option]),
            E::HelloOption(option) => {
                return join(&[b"ERR Syntax error in HELLO option '", option, b"'"]);
            }
            E::ClientInfoOption(option) => {
                return join(&[b"ERR Unrecognized option '", option, b"'"]);
            }
            E::ClientInfo(option) => {
                let rest = b" cannot contain spaces, newlines or special characters.";
                return join(&[b"ERR ", option.as_bytes(), rest]);
            }
            E::DebugUsage(name) => {
                let start = b"ERR unknown subcommand or wrong number of arguments for '";
                return join(&[start, name, b"'. Try DEBUG HELP."]);
            }
            E::Subscribed(command) => {
                let rest = b"': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
                    allowed in this context";
                return join(&[b"ERR Can't execute '", command.as_bytes(), rest]);
            }
            E::Syntax => "ERR syntax error",
            E::NotAnInteger => "ERR value is not an integer or out of range",
            E::NotAnInt32 => {
                "ERR value is out of range, value must between -2147483648 and 2147483647"
            }
            E::DecrementOverflow => "ERR decrement would overflow",
            E::ExpireNxAndOther => {
                "ERR NX and XX, GT or LT options at the same time are not compatible"
            }
            E::ExpireGtAndLt => "ERR GT and LT options at the same time are not compatible",
            E::DbIndex => "ERR DB index is out of range",
            E::ProtocolVersion => "ERR Protocol version is not an integer or out of range",
            E::UnsupportedProtocol => "NOPROTO unsupported protocol version",
            E::WrongPassword => "WRONGPASS invalid username-password pair or user is disabled.",
            E::ClientName => {
                "ERR Client names cannot contain spaces, newlines or special characters."
            }
            E::NoSuchShard => "ERR no such shard",
        };
        Cow::Borrowed(fixed.as_bytes())
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text()))
    }
}

impl std::error::Error for CommandError {}

fn join(parts: &[&[u8]]) -> Cow<'static, [u8]> {
    Cow::Owned(parts.concat())
}

/// As much of a client's word as an error may show.
pub(super) fn quote(word: &[u8], most: usize) -> Vec<u8> {
    let end = word
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(word.len());
    word[..end.min(most)].to_vec()
}
