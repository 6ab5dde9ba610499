//! What a client gets back, and its two spellings.
//!
//! A [`Reply`] says what is meant; [`Proto`] decides how it is written. Clients speak RESP2 until
//! they ask for RESP3 with `HELLO 3`, which has words of its own for "nothing", maps, sets,
//! text and messages that answer no request. RESP2 writes all but text as arrays.

use std::borrow::Cow;

use super::Bytes;

/// The version of the protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proto {
    Resp2,
    Resp3,
}

impl Proto {
    pub(crate) fn version(self) -> i64 {
        match self {
            Proto::Resp2 => 2,
            Proto::Resp3 => 3,
        }
    }
}

/// One reply, or one message to a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A word of ours, such as `OK`.
    Simple(&'static str),
    /// The text after the `-`, starting with its code (`ERR`). Any bytes: it may quote the client.
    Error(Cow<'static, [u8]>),
    Int(i64),
    Bulk(Bytes),
    /// There is no such thing.
    Nil,
    Array(Vec<Reply>),
    Set(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    /// Text for people. RESP2: a bulk string.
    Text(String),
    /// A message that answers no request, or stands among such.
    Push(Vec<Reply>),
}

impl Reply {
    pub(crate) const OK: Reply = Reply::Simple("OK");

    pub(crate) fn bulk(bytes: impl AsRef<[u8]>) -> Reply {
        Reply::Bulk(Bytes::from(bytes.as_ref()))
    }

    /// An error whose text is ours.
    pub(crate) fn error(text: &'static str) -> Reply {
        Reply::Error(Cow::Borrowed(text.as_bytes()))
    }

    /// What a subscriber of `channel` gets when `message` is published there.
    pub(crate) fn message(channel: Bytes, message: Bytes) -> Reply {
        Reply::Push(vec![
            Reply::bulk("message"),
            Reply::Bulk(channel),
            Reply::Bulk(message),
        ])
    }

    /// Appends the reply as `proto` writes it.
    pub(crate) fn encode(&self, proto: Proto, out: &mut Vec<u8>) {
        let resp3 = proto == Proto::Resp3;
        match self {
            Reply::Simple(word) => line(b'+', word.as_bytes(), out),
            Reply::Error(text) => {
                out.push(b'-');
                // A line break would end the error early and let a client that chose the quoted
                // text forge the next reply.
                out.extend(text.iter().map(|&byte| match byte {
                    b'\r' | b'\n' => b' ',
                    byte => byte,
                }));
                out.extend_from_slice(b"\r\n");
            }
            Reply::Int(value) => number(b':', *value, out),
            Reply::Bulk(bytes) => bulk(bytes, out),
            Reply::Nil if resp3 => out.extend_from_slice(b"_\r\n"),
            Reply::Nil => out.extend_from_slice(b"$-1\r\n"),
            Reply::Array(items) => list(b'*', items, proto, out),
            Reply::Set(items) => list(if resp3 { b'~' } else { b'*' }, items, proto, out),
            Reply::Push(items) => list(if resp3 { b'>' } else { b'*' }, items, proto, out),
            Reply::Map(pairs) => {
                if resp3 {
                    length(b'%', pairs.len(), out);
                } else {
                    length(b'*', 2 * pairs.len(), out);
                }
                for (key, value) in pairs {
                    key.encode(proto, out);
                    value.encode(proto, out);
                }
            }
            Reply::Text(text) if resp3 => {
                length(b'=', text.len() + 4, out);
                out.extend_from_slice(b"txt:");
                out.extend_from_slice(text.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            Reply::Text(text) => bulk(text.as_bytes(), out),
        }
    }
}

fn line(kind: u8, text: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

fn bulk(bytes: &[u8], out: &mut Vec<u8>) {
    length(b'$', bytes.len(), out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn list(kind: u8, items: &[Reply], proto: Proto, out: &mut Vec<u8>) {
    length(kind, items.len(), out);
    for item in items {
        item.encode(proto, out);
    }
}

fn length(kind: u8, length: usize, out: &mut Vec<u8>) {
    // A `Vec` or a slice is never longer than `isize::MAX`.
    number(kind, length as i64, out);
}

fn number(kind: u8, value: i64, out: &mut Vec<u8>) {
    let mut text = [0u8; 20];
    line(kind, decimal(value, &mut text), out);
}

/// The decimal text of `value`, written into the end of `text`. `std::fmt` takes several times as
/// long, and every reply has a number in it.
pub(crate) fn decimal(value: i64, text: &mut [u8; 20]) -> &[u8] {
    let mut rest = value.unsigned_abs();
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        text[at] = b'-';
    }
    &text[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply, proto: Proto) -> String {
        let mut out = Vec::new();
        reply.encode(proto, &mut out);
        String::from_utf8(out).expect("these replies are text")
    }

    #[test]
    fn each_kind_of_reply_has_its_spelling_in_each_version() {
        let one = || Reply::Int(1);
        for (reply, resp2, resp3) in [
            (Reply::OK, "+OK\r\n", "+OK\r\n"),
            (Reply::error("ERR no"), "-ERR no\r\n", "-ERR no\r\n"),
            (Reply::Int(-12), ":-12\r\n", ":-12\r\n"),
            (
                Reply::bulk("a\r\nb"),
                "$4\r\na\r\nb\r\n",
                "$4\r\na\r\nb\r\n",
            ),
            (Reply::bulk(""), "$0\r\n\r\n", "$0\r\n\r\n"),
            (Reply::Nil, "$-1\r\n", "_\r\n"),
            (
                Reply::Array(vec![one(), Reply::Nil]),
                "*2\r\n:1\r\n$-1\r\n",
                "*2\r\n:1\r\n_\r\n",
            ),
            (Reply::Array(vec![]), "*0\r\n", "*0\r\n"),
            (Reply::Set(vec![one()]), "*1\r\n:1\r\n", "~1\r\n:1\r\n"),
            (Reply::Push(vec![one()]), "*1\r\n:1\r\n", ">1\r\n:1\r\n"),
            (
                Reply::Map(vec![(one(), Reply::Int(2))]),
                "*2\r\n:1\r\n:2\r\n",
                "%1\r\n:1\r\n:2\r\n",
            ),
            (Reply::Text("hi".into()), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
        ] {
            assert_eq!(wire(&reply, Proto::Resp2), resp2, "{reply:?}");
            assert_eq!(wire(&reply, Proto::Resp3), resp3, "{reply:?}");
        }
    }

    #[test]
    fn a_client_cannot_forge_a_reply_through_an_error_that_quotes_it() {
        let quoted = Reply::Error(Cow::Borrowed(b"ERR unknown 'x\r\n+OK\r\n'"));
        assert_eq!(wire(&quoted, Proto::Resp2), "-ERR unknown 'x  +OK  '\r\n");
    }

    #[test]
    fn decimal_agrees_with_the_standard_library() {
        for value in [0, 1, -1, 9, 10, -10, 12345, i64::MAX, i64::MIN] {
            assert_eq!(decimal(value, &mut [0; 20]), value.to_string().as_bytes());
        }
    }
}
