//! A term out of Erlang's syntax: what [`Display`](std::fmt::Display) prints, and what people write.

use std::str::FromStr;

use super::term::{Term, TermKind};

/// Why a text is no term, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct ParseTermError {
    at: usize,
    what: &'static str,
}

impl ParseTermError {
    /// The byte of the text at which it stops being one.
    pub fn at(&self) -> usize {
        self.at
    }
}

type Parsed<T> = Result<T, ParseTermError>;

impl FromStr for Term {
    type Err = ParseTermError;

    /// Reads a term in Erlang's syntax, however deep it is nested.
    ///
    /// ```
    /// # use noex::Term;
    /// let term: Term = "#{name => <<\"ann\">>, ages => [17, 16#1f], 'Of age' => {false, 1.5}}".parse()?;
    /// assert_eq!(term.to_string(), r#"#{'Of age' => {false,1.5},ages => [17,31],name => <<"ann">>}"#);
    /// # Ok::<(), noex::ParseTermError>(())
    /// ```
    ///
    /// As in Erlang, `"ab"` is the list `[97,98]`, and text in a binary is Latin-1 unless `/utf8` follows. There
    /// are neither comments nor a full stop, and no lists with a tail (`[a|b]`).
    ///
    /// # Errors
    /// Where it is none; where an integer needs more than 64 bits, or a float is beyond all; for pids and
    /// references, which cannot be written down.
    fn from_str(text: &str) -> Parsed<Term> {
        let mut reader = Reader { text, at: 0 };
        let term = reader.term()?;
        match reader.peek() {
            None => Ok(term),
            Some(_) => Err(reader.error("something after the term")),
        }
    }
}

/// Something that is open, and the terms in it so far.
struct Open {
    kind: Bracket,
    terms: Vec<Term>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Tuple,
    List,
    Map,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, what: &'static str) -> ParseTermError {
        ParseTermError { at: self.at, what }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.rest().chars().next()
    }

    /// Takes this, if it is next but for spaces.
    fn take(&mut self, what: &str) -> bool {
        self.peek();
        let found = self.rest().starts_with(what);
        if found {
            self.at += what.len();
        }
        found
    }

    /// Takes all characters that are so.
    fn take_while(&mut self, so: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !so(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn term(&mut self) -> Parsed<Term> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            let kind = if self.take("{") {
                Some(Bracket::Tuple)
            } else if self.take("[") {
                Some(Bracket::List)
            } else if self.take("#{") {
                Some(Bracket::Map)
            } else {
                None
            };
            let mut done = None;
            match kind {
                Some(kind) => open.push(Open {
                    kind,
                    terms: Vec::new(),
                }),
                None => done = Some(self.flat()?),
            }
            // Puts what is done into what is open, and closes that if it ends here.
            loop {
                if let Some(term) = done.take() {
                    let Some(inner) = open.last_mut() else {
                        return Ok(term);
                    };
                    inner.terms.push(term);
                    if inner.kind == Bracket::Map && inner.terms.len() % 2 == 1 {
                        if !self.take("=>") {
                            return Err(self.error("a key without =>"));
                        }
                        break;
                    }
                    if self.take(",") {
                        break;
                    }
                }
                let Some(inner) = open.last() else {
                    return Err(self.error("no term"));
                };
                let close = if inner.kind == Bracket::List {
                    "]"
                } else {
                    "}"
                };
                if self.take(close) {
                    done = open.pop().map(Open::close);
                } else if inner.terms.is_empty() {
                    break;
                } else {
                    return Err(self.error("neither a comma nor the end of what is open"));
                }
            }
        }
    }

    /// A term without parts.
    fn flat(&mut self) -> Parsed<Term> {
        match self.peek() {
            Some('\'') => {
                self.at += 1;
                Ok(Term::atom(self.quoted('\'')?))
            }
            Some('"') => {
                self.at += 1;
                let text = self.quoted('"')?;
                Ok(Term::list(text.chars().map(|c| c as u32)))
            }
            Some('<') => self.binary(),
            Some('$') => {
                self.at += 1;
                let c = self.character()?;
                Ok(Term::from(c as u32))
            }
            Some(c) if c.is_ascii_digit() || c == '-' || c == '+' => self.number(),
            Some(c) if c.is_lowercase() => {
                let name = self.take_while(|c| c.is_alphanumeric() || c == '_' || c == '@');
                Ok(Term::atom(name))
            }
            Some(_) => Err(self.error("no term")),
            None => Err(self.error("the end, where a term should be")),
        }
    }

    fn quoted(&mut self, quote: char) -> Parsed<String> {
        let mut text = String::new();
        loop {
            if self.rest().starts_with(quote) {
                self.at += 1;
                return Ok(text);
            }
            text.push(self.character()?);
        }
    }

    /// A character, or what stands for one.
    fn character(&mut self) -> Parsed<char> {
        match self.next() {
            Some('\\') => self.escaped(),
            Some(c) => Ok(c),
            None => Err(self.error("the end, inside quotes")),
        }
    }

    fn escaped(&mut self) -> Parsed<char> {
        let before = self.at;
        let digits = |text: &str, radix| {
            u32::from_str_radix(text, radix)
                .ok()
                .and_then(char::from_u32)
        };
        let c = match self.next() {
            Some('b') => Some('\x08'),
            Some('t') => Some('\t'),
            Some('n') => Some('\n'),
            Some('v') => Some('\x0b'),
            Some('f') => Some('\x0c'),
            Some('r') => Some('\r'),
            Some('e') => Some('\x1b'),
            Some('s') => Some(' '),
            Some('d') => Some('\x7f'),
            Some('x') if self.rest().starts_with('{') => {
                self.at += 1;
                let hex = self.take_while(|c| c.is_ascii_hexdigit());
                let closed = self.next() == Some('}');
                digits(hex, 16).filter(|_| closed)
            }
            Some('x') => {
                let hex: String = self.rest().chars().take(2).collect();
                self.at += hex.len();
                digits(&hex, 16).filter(|_| hex.len() == 2)
            }
            Some('0'..='7') => {
                let octal = self.text[before..]
                    .bytes()
                    .take(3)
                    .take_while(|c| matches!(c, b'0'..=b'7'));
                self.at = before + octal.count();
                digits(&self.text[before..self.at], 8)
            }
            c => c,
        };
        c.ok_or_else(|| self.error("no character"))
    }

    fn binary(&mut self) -> Parsed<Term> {
        if !self.take("<<") {
            return Err(self.error("no term"));
        }
        let mut bytes = Vec::new();
        let mut text = true;
        if self.take(">>") {
            return Ok(Term::from(""));
        }
        loop {
            if self.take("\"") {
                let part = self.quoted('"')?;
                if self.take("/utf8") {
                    bytes.extend(part.as_bytes());
                } else {
                    for c in part.chars() {
                        let byte = u8::try_from(c)
                            .map_err(|_| self.error("text beyond Latin-1 without /utf8"))?;
                        text &= byte.is_ascii();
                        bytes.push(byte);
                    }
                }
            } else {
                let start = self.at;
                let byte = self
                    .number()?
                    .as_integer()
                    .and_then(|byte| u8::try_from(byte).ok());
                let byte = byte.ok_or(ParseTermError {
                    at: start,
                    what: "no byte",
                })?;
                text = false;
                bytes.push(byte);
            }
            if self.take(">>") {
                break;
            }
            if !self.take(",") {
                return Err(self.error("neither a comma nor the end of a binary"));
            }
        }
        match String::from_utf8(bytes) {
            Ok(string) if text => Ok(Term::from(string)),
            Ok(string) => Ok(Term::binary(string.into_bytes())),
            Err(not) => Ok(Term::binary(not.into_bytes())),
        }
    }

    fn number(&mut self) -> Parsed<Term> {
        self.peek();
        let start = self.at;
        let sign = if self.rest().starts_with(['-', '+']) {
            1
        } else {
            0
        };
        let negative = self.rest().starts_with('-');
        self.at += sign;
        let digits = self.take_while(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return Err(self.error("no number"));
        }
        let too_long = ParseTermError {
            at: start,
            what: "an integer beyond 64 bits",
        };
        if self.rest().starts_with('#') {
            self.at += 1;
            let more = self.take_while(|c| c.is_ascii_alphanumeric());
            let radix = digits.parse().ok().filter(|radix| (2..=36).contains(radix));
            let radix = radix.ok_or(ParseTermError {
                at: start,
                what: "no base of a number",
            })?;
            if more.is_empty() || !more.chars().all(|c| c.is_digit(radix)) {
                return Err(self.error("no number"));
            }
            let signed = if negative {
                format!("-{more}")
            } else {
                more.to_owned()
            };
            return i64::from_str_radix(&signed, radix)
                .map(Term::from)
                .map_err(|_| too_long);
        }
        let fraction = self
            .rest()
            .strip_prefix('.')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if !fraction {
            let text = &self.text[start..self.at];
            return text.parse::<i64>().map(Term::from).map_err(|_| too_long);
        }
        self.at += 1;
        self.take_while(|c| c.is_ascii_digit());
        let exponent = self.rest();
        if let Some(after) = exponent.strip_prefix(['e', 'E']) {
            let digits = after.strip_prefix(['-', '+']).unwrap_or(after);
            if digits.starts_with(|c: char| c.is_ascii_digit()) {
                self.at += exponent.len() - digits.len();
                self.take_while(|c| c.is_ascii_digit());
            }
        }
        let number = self.text[start..self.at]
            .parse::<f64>()
            .ok()
            .filter(|it| it.is_finite());
        let number = number.ok_or(ParseTermError {
            at: start,
            what: "a float beyond all",
        })?;
        Ok(Term::from(number))
    }
}

impl Open {
    fn close(self) -> Term {
        match self.kind {
            Bracket::Tuple => TermKind::Tuple(self.terms).into(),
            Bracket::List => TermKind::List(self.terms).into(),
            Bracket::Map => {
                let mut terms = self.terms.into_iter();
                let mut entries = Vec::with_capacity(terms.len() / 2);
                while let (Some(key), Some(value)) = (terms.next(), terms.next()) {
                    entries.push((key, value));
                }
                Term::map(entries)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(text: &str, term: impl Into<Term>) {
        assert_eq!(text.parse(), Ok(term.into()), "{text}");
    }

    #[track_caller]
    fn fails(text: &str, at: usize) {
        assert_eq!(
            text.parse::<Term>().map_err(|error| error.at()),
            Err(at),
            "{text}"
        );
    }

    #[test]
    fn what_is_written_as_in_erlang_is_read() {
        reads(" a@b_C1 ", Term::atom("a@b_C1"));
        reads("'$1'", Term::atom("$1"));
        reads(r"'a\'b\n\x41\x{e9}\101\s'", Term::atom("a'b\nAéA "));
        reads("-7", -7);
        reads("+7", 7);
        reads("16#fF", 255);
        reads("-2#101", -5);
        reads("9223372036854775807", i64::MAX);
        reads("-9223372036854775808", i64::MIN);
        reads("1.5e3", 1500.0);
        reads("-1.0E-2", -0.01);
        reads("$a", 97);
        reads(r"$\n", 10);
        reads(r#""aé""#, Term::list([97, 233]));
        reads(r#""""#, Term::list::<Term>([]));
        reads("<<>>", "");
        reads("<< 1 , 255 >>", Term::binary([1, 255]));
        reads(r#"<<"a",98,"é"/utf8>>"#, Term::binary("abé".as_bytes()));
        reads(r#"<<"é">>"#, Term::binary([233]));
        reads("{ }", Term::tuple::<Term>([]));
        reads(
            "[{1,[]},[2]]",
            Term::list([Term::from((1, Vec::<Term>::new())), Term::list([2])]),
        );
        reads("#{}", Term::map::<Term, Term>([]));
        reads(
            "#{1 => #{2=>{3}}, a=>b}",
            Term::map([
                (Term::from(1), Term::map([(2, (3,))])),
                (Term::atom("a"), Term::atom("b")),
            ]),
        );
    }

    #[test]
    fn what_is_none_says_where() {
        fails("", 0);
        fails("  ", 2);
        fails("a b", 2);
        fails("{1,2", 4);
        fails("{1,}", 3);
        fails("{,1}", 1);
        fails("[1 2]", 3);
        fails("[1|2]", 2);
        fails("{1]", 2);
        fails("]", 0);
        fails("#{1}", 3);
        fails("#{1 => }", 7);
        fails("#{1 => 2 => 3}", 9);
        fails("'a", 2);
        fails("A", 0);
        fails("<1.2.3>", 0);
        fails("<<256>>", 2);
        fails("<<1 2>>", 4);
        fails("<<\"日\">>", 7);
        fails("9223372036854775808", 0);
        fails("1.0e999", 0);
        fails("-", 1);
        fails("99#1", 0);
        fails("2#3", 3);
    }

    #[test]
    fn a_deep_term_is_read_on_a_flat_stack() {
        let deep = if cfg!(miri) { 200 } else { 200_000 };
        let text = format!("{}{}", "[".repeat(deep), "]".repeat(deep));
        let term: Term = text.parse().unwrap();
        let depth = std::iter::successors(Some(&term), |term| term.kind().parts().first()).count();
        assert_eq!(depth, deep);
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let term = Term::list([
            Term::from((1, -2.5e-7, "é\n", Term::atom("It's"))),
            Term::map([(Term::binary([0, 200]), Term::list([1e22, 0.1]))]),
            Term::from((Term::tuple::<Term>([]), i64::MIN)),
        ]);
        assert_eq!(term.to_string().parse(), Ok(term));
    }
}
