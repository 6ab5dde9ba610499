//! From bytes, however they arrive, to requests.
//!
//! The caller lets the socket read into [`space`](Parser::space), says how much came with
//! [`filled`](Parser::filled), and takes requests until there is none:
//!
//! ```text
//!   buf  │ done with │ understood      │ arrived           │ space for more │
//!        0         begin        begin + parsed            end            buf.len()
//!                    └─ the request being read ─┘
//! ```
//! A [`Request`] borrows its words from the buffer: nothing is copied until a command wants to
//! keep one. An incomplete request is taken up where it was left; no byte is looked at twice.
//!
//! # Invariants
//! 1. `begin + parsed + seen <= end <= buf.len()`, and nothing before `begin` is needed any more.
//! 2. The ranges in `args` count from `begin` and end before `parsed`: moving the request to the
//!    front of the buffer changes `begin` and no range.
//! 3. `buf` grows only in `space`, to what has arrived and a read's worth on top, and a word's
//!    range is kept only once the word is there. So what a client can make us hold is at most a
//!    few times what it has sent, whatever its headers announce.
//! 4. After an error no request comes any more, only that error.

use std::borrow::Cow;
use std::ops::Range;

use super::{Reply, integer};

/// Room offered to the first read of a connection, so that ten thousand idle ones are cheap.
const FIRST_READ: usize = 1024;
/// Room offered to a connection whose reads keep filling what they get.
const LARGEST_READ: usize = 64 * 1024;
/// Word ranges kept from one request to the next.
const KEPT_ARGS: usize = 1024;

/// What a client may send at most. Beyond it: a [`ProtocolError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of one word; Redis calls it `proto-max-bulk-len`.
    pub(crate) bulk: usize,
    /// Words of one request.
    pub(crate) args: usize,
    /// Bytes of an inline request or of a header.
    pub(crate) line: usize,
    /// Bytes of one request with its headers.
    pub(crate) request: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bulk: 512 * 1024 * 1024,
            args: 1024 * 1024,
            line: 64 * 1024,
            request: 1024 * 1024 * 1024,
        }
    }
}

/// Why a connection can be read no further. It is told so and closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("Protocol error: invalid multibulk length")]
    MultibulkLength,
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
    ExpectedBulk(u8),
    #[error("Protocol error: too big mbulk count string")]
    LongMultibulkHeader,
    #[error("Protocol error: too big bulk count string")]
    LongBulkHeader,
    #[error("Protocol error: too big inline request")]
    LongInline,
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// More than [`Limits::request`]. Redis has no such limit and no such text.
    #[error("Protocol error: too big request")]
    LongRequest,
}

impl ProtocolError {
    /// The last reply of the connection.
    pub(crate) fn reply(self) -> Reply {
        let text = match self {
            // Not through `Display`: Redis sends back the very byte, ASCII or not.
            ProtocolError::ExpectedBulk(byte) => {
                let mut text = b"ERR Protocol error: expected '$', got '".to_vec();
                text.extend_from_slice(&[byte, b'\'']);
                text
            }
            other => format!("ERR {other}").into_bytes(),
        };
        Reply::Error(Cow::Owned(text))
    }
}

/// One request: the command's name and its arguments, still in the parser's buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    bytes: &'a [u8],
    args: &'a [Range<usize>],
}

impl<'a> Request<'a> {
    /// How many words it has. Never 0: empty requests are skipped.
    pub(crate) fn len(&self) -> usize {
        self.args.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.args.get(index).map(|range| &self.bytes[range.clone()])
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.args.iter().map(move |range| &bytes[range.clone()])
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// At the first byte of a request, or in the middle of its first line.
    Start,
    /// In an array, before a word's header.
    Args {
        missing: usize,
    },
    /// In an array, after a word's header: `len` bytes and a line end come.
    Bulk {
        missing: usize,
        len: usize,
    },
    /// The request was handed out; the next call is done with its bytes.
    Complete,
    Failed(ProtocolError),
}

/// The reading end of one connection.
#[derive(Debug)]
pub(crate) struct Parser {
    limits: Limits,
    /// Initialised to its length, so that a socket may read into any part of it.
    buf: Vec<u8>,
    begin: usize,
    parsed: usize,
    /// Bytes after `parsed` in which the current line does not end.
    seen: usize,
    end: usize,
    args: Vec<Range<usize>>,
    state: State,
    /// How much room the next read is given.
    read_size: usize,
}

impl Parser {
    pub(crate) fn new(limits: Limits) -> Self {
        Parser {
            limits,
            buf: Vec::new(),
            begin: 0,
            parsed: 0,
            seen: 0,
            end: 0,
            args: Vec::new(),
            state: State::Start,
            read_size: FIRST_READ,
        }
    }

    /// Where to read into. Never empty. Take all requests first: what is still in the buffer may
    /// have to be moved to make room.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.retire();
        if self.buf.len() - self.end < self.read_size && self.begin > 0 {
            self.buf.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        if self.buf.len() - self.end < self.read_size {
            self.buf.resize(self.end + self.read_size, 0);
        }
        &mut self.buf[self.end..]
    }

    /// Says that a read put `count` bytes at the start of the last [`space`](Self::space).
    ///
    /// # Panics
    /// If that space was smaller.
    pub(crate) fn filled(&mut self, count: usize) {
        assert!(
            count <= self.buf.len() - self.end,
            "more read than there was room for"
        );
        self.end += count;
        if count >= self.read_size {
            self.read_size = (self.read_size * 2).min(LARGEST_READ);
        } else if count < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(FIRST_READ);
        }
    }

    /// The next request that has fully arrived; `None`: more bytes are needed.
    ///
    /// # Errors
    /// The client broke the protocol. Requests before the error have all been handed out.
    pub(crate) fn next_request(&mut self) -> Result<Option<Request<'_>>, ProtocolError> {
        self.retire();
        match self.advance() {
            Ok(true) => {
                self.state = State::Complete;
                Ok(Some(Request {
                    bytes: &self.buf[self.begin..self.begin + self.parsed],
                    args: &self.args,
                }))
            }
            Ok(false) => Ok(None),
            Err(error) => {
                self.state = State::Failed(error);
                Err(error)
            }
        }
    }

    /// Whether a part of a request has arrived and waits for the rest.
    #[cfg(test)]
    pub(crate) fn is_midway(&self) -> bool {
        match self.state {
            State::Complete => self.begin + self.parsed < self.end,
            _ => self.begin < self.end,
        }
    }

    /// Bytes of memory held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.buf.capacity() + self.args.capacity() * size_of::<Range<usize>>()
    }

    /// Reads on until a request is complete (`true`) or the bytes are used up (`false`).
    fn advance(&mut self) -> Result<bool, ProtocolError> {
        loop {
            match self.state {
                State::Start => match self.rest().first() {
                    None => return Ok(false),
                    Some(b'*') => {
                        let Some(line) = self.header(ProtocolError::LongMultibulkHeader)? else {
                            return Ok(false);
                        };
                        match integer(&self.bytes(line)[1..]) {
                            // Nothing was asked, so nothing is answered.
                            Some(..=0) => self.skip(),
                            Some(count) if count as u64 <= self.limits.args as u64 => {
                                self.state = State::Args {
                                    missing: count as usize,
                                }
                            }
                            _ => return Err(ProtocolError::MultibulkLength),
                        }
                    }
                    Some(_) => {
                        let Some(end) = self.find(b'\n', ProtocolError::LongInline)? else {
                            return Ok(false);
                        };
                        let at = self.begin + self.parsed;
                        split_words(&mut self.buf[at..at + end], &mut self.args)
                            .ok_or(ProtocolError::UnbalancedQuotes)?;
                        self.consume(end + 1);
                        if !self.args.is_empty() {
                            return Ok(true);
                        }
                        self.skip();
                    }
                },
                State::Args { missing: 0 } => return Ok(true),
                State::Args { missing } => {
                    let Some(line) = self.header(ProtocolError::LongBulkHeader)? else {
                        return Ok(false);
                    };
                    // Of an empty line this is the `\r` that ends it, as in Redis.
                    let kind = self.buf[self.begin + line.start];
                    if kind != b'$' {
                        return Err(ProtocolError::ExpectedBulk(kind));
                    }
                    let len = integer(&self.bytes(line)[1..])
                        .and_then(|len| usize::try_from(len).ok())
                        .filter(|&len| len <= self.limits.bulk)
                        .ok_or(ProtocolError::BulkLength)?;
                    if len > self.limits.request.saturating_sub(self.parsed + 2) {
                        return Err(ProtocolError::LongRequest);
                    }
                    self.state = State::Bulk { missing, len };
                }
                State::Bulk { missing, len } => {
                    if self.rest().len() < len + 2 {
                        return Ok(false);
                    }
                    self.args.push(self.parsed..self.parsed + len);
                    // The two bytes after a word are not looked at, as Redis does not.
                    self.consume(len + 2);
                    self.state = State::Args {
                        missing: missing - 1,
                    };
                }
                State::Complete => self.retire(),
                State::Failed(error) => return Err(error),
            }
        }
    }

    /// What has arrived and is not understood yet.
    fn rest(&self) -> &[u8] {
        &self.buf[self.begin + self.parsed..self.end]
    }

    /// The bytes of a range that counts from `begin`.
    fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buf[self.begin + range.start..self.begin + range.end]
    }

    fn consume(&mut self, count: usize) {
        self.parsed += count;
        self.seen = 0;
    }

    /// Where `end` is in the rest; `None`: not there yet.
    fn find(&mut self, end: u8, too_long: ProtocolError) -> Result<Option<usize>, ProtocolError> {
        let rest = &self.buf[self.begin + self.parsed..self.end];
        let found = rest[self.seen..].iter().position(|&byte| byte == end);
        self.seen = found.map_or(rest.len(), |at| self.seen + at);
        if self.seen > self.limits.line {
            return Err(too_long);
        }
        Ok(found.map(|_| self.seen))
    }

    /// Takes a header line and returns where it is, counted from `begin`, without its two ending
    /// bytes. The second of them may be anything, as in Redis.
    fn header(&mut self, too_long: ProtocolError) -> Result<Option<Range<usize>>, ProtocolError> {
        let Some(len) = self.find(b'\r', too_long)? else {
            return Ok(None);
        };
        if self.rest().len() < len + 2 {
            return Ok(None);
        }
        let start = self.parsed;
        self.consume(len + 2);
        Ok(Some(start..start + len))
    }

    /// Forgets a handed out request, and a buffer much larger than the client now needs.
    fn retire(&mut self) {
        if matches!(self.state, State::Complete) {
            self.skip();
        }
        if self.begin == self.end {
            self.begin = 0;
            self.end = 0;
        }
        // Between requests only: the middle of a large one needs what it has.
        if matches!(self.state, State::Start) {
            let left = self.end - self.begin;
            let large = 4 * self.read_size.max(left);
            if self.buf.capacity() > large {
                self.buf = self.buf[self.begin..self.end].to_vec();
                self.begin = 0;
                self.end = left;
            }
        }
    }

    /// The request ends at `parsed`; the next starts there.
    fn skip(&mut self) {
        self.begin += self.parsed;
        self.parsed = 0;
        self.args.clear();
        self.args.shrink_to(KEPT_ARGS);
        self.state = State::Start;
    }
}

/// Splits an inline request into words, as `redis-cli` and a shell would, and decodes the quoted
/// ones in place: what is decoded is never longer than what it was written as. The ranges count
/// from the start of `line`. `None`: a quote has no end, or something sticks to it.
///
/// `"..."` knows `\n \r \t \a \b \xHH`, and `\` before anything else stands for that; `'...'`
/// knows only `\'`.
fn split_words(line: &mut [u8], words: &mut Vec<Range<usize>>) -> Option<()> {
    let (mut read, mut write) = (0, 0);
    loop {
        while line.get(read).is_some_and(|&byte| is_blank(byte)) {
            read += 1;
        }
        if read == line.len() {
            return Some(());
        }
        let start = write;
        let mut quote = None;
        loop {
            let byte = match (line.get(read).copied(), quote) {
                (None, None) => break,
                (None, Some(_)) => return None,
                (Some(b' ' | b'\t' | b'\r'), None) => break,
                (Some(byte @ (b'"' | b'\'')), None) => {
                    quote = Some(byte);
                    read += 1;
                    continue;
                }
                (Some(byte), Some(open)) if byte == open => {
                    read += 1;
                    if line.get(read).is_some_and(|&after| !is_blank(after)) {
                        return None;
                    }
                    break;
                }
                (Some(b'\\'), Some(b'"')) => {
                    let (byte, len) = escaped(&line[read..])?;
                    read += len;
                    byte
                }
                (Some(b'\\'), Some(_)) if line.get(read + 1) == Some(&b'\'') => {
                    read += 2;
                    b'\''
                }
                (Some(byte), _) => {
                    read += 1;
                    byte
                }
            };
            line[write] = byte;
            write += 1;
        }
        words.push(start..write);
    }
}

/// The byte that an escape at the start of `text` stands for, and the escape's length.
fn escaped(text: &[u8]) -> Option<(u8, usize)> {
    let hex = |digit: u8| char::from(digit).to_digit(16);
    Some(match *text {
        [_, b'x', high, low, ..] if hex(high).is_some() && hex(low).is_some() => {
            ((hex(high)? * 16 + hex(low)?) as u8, 4)
        }
        [_, b'n', ..] => (b'\n', 2),
        [_, b'r', ..] => (b'\r', 2),
        [_, b't', ..] => (b'\t', 2),
        [_, b'a', ..] => (0x07, 2),
        [_, b'b', ..] => (0x08, 2),
        [_, other, ..] => (other, 2),
        // A backslash at the end: the quote has none.
        _ => return None,
    })
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

#[cfg(test)]
mod tests;
