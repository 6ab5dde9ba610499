//! The wire: what a client may send ([`Parser`]) and what it gets back ([`Reply`]).
//!
//! A request is an array of bulk strings, or a line of words for people with a telnet:
//!
//! ```text
//!   *2\r\n$3\r\nGET\r\n$1\r\nk\r\n          GET "k"\r\n
//! ```
//! Requests may follow each other without waiting for replies. A client that breaks the framing
//! gets a [`ProtocolError`](parser::ProtocolError) and is cut off, since nothing after it can be read with any confidence.
//!
//! # Departures from Redis 7.0
//! - A limit on a line holds for any line. Redis looks at it only when a read ends in the middle
//!   of one, so it lets a longer line pass if the packets fall well.
//! - `\0` is an ordinary byte of an inline request or of a header. Redis waits for ever there.
//! - A request has at most [`Limits::args`] words (a million; Redis 7.0: two thousand million,
//!   6.2: a million) and [`Limits::request`] bytes (Redis: its `maxmemory`).

mod parser;
mod reply;

use std::sync::Arc;

pub(crate) use parser::{Limits, Parser, Request};
pub(crate) use reply::{Proto, Reply, decimal};

/// A key, a value, a channel or a message: any bytes, shared and not copied between processes.
pub(crate) type Bytes = Arc<[u8]>;

/// Reads an integer that is written the one way Redis writes it: no sign but `-`, no leading
/// zero, no blank, no `-0`. So the text of a stored integer is known from its value.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    // Downwards, because i64::MIN has no positive twin.
    let mut value = 0i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value
            .checked_mul(10)?
            .checked_sub(i64::from(digit - b'0'))?;
    }
    if negative {
        Some(value)
    } else {
        value.checked_neg()
    }
}

#[cfg(test)]
mod tests {
    use super::integer;

    #[test]
    fn only_the_canonical_text_of_an_integer_is_one() {
        for (text, value) in [
            ("0", 0),
            ("7", 7),
            ("-7", -7),
            ("10", 10),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text.as_bytes()), Some(value), "{text}");
            assert_eq!(value.to_string(), text);
        }
        for text in [
            "",
            "-",
            "-0",
            "+1",
            "01",
            "-01",
            " 1",
            "1 ",
            "1.5",
            "1e3",
            "x",
            "0x1",
            "1x",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
        ] {
            assert_eq!(integer(text.as_bytes()), None, "{text:?}");
        }
    }
}
