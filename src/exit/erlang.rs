//! A term in Erlang's syntax, as `~tp` prints it on a node that knows Unicode (`erl +pc unicode`).
//!
//! Departs from `~tp`: a list of numbers is never shown as text, no line is broken, and a binary
//! is shown as text only where it is UTF-8. `maybe` and `else` are quoted, as OTP 27 has to.

use std::fmt::{self, Write};

use super::cut::Cut;
use super::map::Entries;
use super::term::{Term, TermKind};

/// What is left of something that is open.
enum Open<'a> {
    /// A tuple or a list, and what closes it.
    Row(std::slice::Iter<'a, Term>, char),
    /// A map, and the value whose key was written.
    Map(Entries<'a>, Option<&'a Term>),
}

/// Writes `term` to `out`, at most so much of it as [`Cut`] lets through.
pub(super) fn write_term(term: &Term, out: &mut dyn Write) -> fmt::Result {
    let mut out = Cut::new(out);
    // The tuples and lists that are open: what is left of each, and what closes it.
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut term = term;
    loop {
        match term.kind() {
            TermKind::Atom(name) => write_atom(name, &mut out)?,
            TermKind::Integer(number) => write!(out, "{number}")?,
            TermKind::Float(number) => write_float(*number, &mut out)?,
            TermKind::String(text) => write_binary(text.as_bytes(), &mut out)?,
            TermKind::Binary(bytes) => write_binary(bytes, &mut out)?,
            TermKind::Tuple(_) => out.write_char('{')?,
            TermKind::List(_) => out.write_char('[')?,
            TermKind::Map(_) => out.write_str("#{")?,
            TermKind::Pid(pid) => write!(out, "{pid}")?,
            TermKind::Monitor(monitor) => write!(out, "{monitor:?}")?,
            TermKind::Timer(timer) => write!(out, "{timer}")?,
        }
        let mut at_start = true;
        match term.kind() {
            TermKind::Tuple(parts) => open.push(Open::Row(parts.iter(), '}')),
            TermKind::List(parts) => open.push(Open::Row(parts.iter(), ']')),
            TermKind::Map(map) => open.push(Open::Map(map.entries(), None)),
            _ => at_start = false,
        }
        term = loop {
            if out.is_full() {
                return Ok(());
            }
            let Some(inner) = open.last_mut() else {
                return Ok(());
            };
            let (next, close) = match inner {
                Open::Map(_, value @ Some(_)) => {
                    out.write_str(" => ")?;
                    at_start = true;
                    (value.take(), '}')
                }
                Open::Map(entries, value) => {
                    let entry = entries.next();
                    *value = entry.map(|(_, value)| value);
                    (entry.map(|(key, _)| key), '}')
                }
                Open::Row(parts, close) => (parts.next(), *close),
            };
            if let Some(next) = next {
                if !at_start {
                    out.write_char(',')?;
                }
                break next;
            }
            out.write_char(close)?;
            at_start = false;
            open.pop();
        };
    }
}

fn write_atom(name: &str, out: &mut Cut<'_>) -> fmt::Result {
    if is_bare_atom(name) {
        return out.write_str(name);
    }
    out.write_char('\'')?;
    write_escaped(name, '\'', out)?;
    out.write_char('\'')
}

/// Whether an atom needs no quotes: a small letter of Latin-1, then letters of Latin-1, digits,
/// `_` and `@`; and no reserved word.
fn is_bare_atom(name: &str) -> bool {
    let is_small = |c| matches!(c, 'a'..='z' | 'ß'..='ö' | 'ø'..='ÿ');
    let is_more = |c| matches!(c, 'A'..='Z' | '0'..='9' | '_' | '@' | 'À'..='Ö' | 'Ø'..='Þ');
    name.starts_with(is_small)
        && name.chars().all(|c| is_small(c) || is_more(c))
        && !RESERVED.contains(&name)
}

const RESERVED: [&str; 29] = [
    "after", "and", "andalso", "band", "begin", "bnot", "bor", "bsl", "bsr", "bxor", "case",
    "catch", "cond", "div", "else", "end", "fun", "if", "let", "maybe", "not", "of", "or",
    "orelse", "receive", "rem", "try", "when", "xor",
];

fn write_binary(bytes: &[u8], out: &mut Cut<'_>) -> fmt::Result {
    match std::str::from_utf8(bytes) {
        Ok("") => out.write_str("<<>>"),
        Ok(text) if text.chars().all(is_printable) => {
            out.write_str("<<\"")?;
            write_escaped(text, '"', out)?;
            out.write_str(if text.is_ascii() { "\">>" } else { "\"/utf8>>" })
        }
        _ => {
            let mut between = "<<";
            for byte in bytes {
                if out.is_full() {
                    break;
                }
                write!(out, "{between}{byte}")?;
                between = ",";
            }
            out.write_str(">>")
        }
    }
}

/// What `io_lib:printable_unicode_list/1` takes for text.
fn is_printable(c: char) -> bool {
    matches!(c, '\x08'..='\r' | '\x1b' | ' '..='~' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

fn write_escaped(text: &str, quote: char, out: &mut Cut<'_>) -> fmt::Result {
    for c in text.chars() {
        if out.is_full() {
            break;
        }
        match c {
            '\\' => out.write_str("\\\\")?,
            '\x08' => out.write_str("\\b")?,
            '\t' => out.write_str("\\t")?,
            '\n' => out.write_str("\\n")?,
            '\x0b' => out.write_str("\\v")?,
            '\x0c' => out.write_str("\\f")?,
            '\r' => out.write_str("\\r")?,
            '\x1b' => out.write_str("\\e")?,
            '\x7f' => out.write_str("\\d")?,
            c if c == quote => write!(out, "\\{c}")?,
            '\0'..' ' | '\u{80}'..'\u{a0}' => write!(out, "\\{:03o}", c as u32)?,
            c => out.write_char(c)?,
        }
    }
    Ok(())
}

/// The shortest digits that read back as the same number, in the shorter of the two notations,
/// as `io_lib_format:fwrite_g/1` chooses it. (Rust finds the digits.)
fn write_float(number: f64, out: &mut Cut<'_>) -> fmt::Result {
    if !number.is_finite() {
        let name = if number.is_nan() {
            "nan"
        } else if number > 0.0 {
            "inf"
        } else {
            "-inf"
        };
        return out.write_str(name);
    }
    // "-1.25e-7" is the sign, the digits 125, and a point that stands 7 places before the first.
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let sign = if mantissa.starts_with('-') { "-" } else { "" };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (count, point) = (digits.len() as i32, exponent + 1);

    // What the exponent costs: itself, the `e`, and a point with a zero after a lone digit.
    let cost = exponent.to_string().len() as i32 + 1 + if count == 1 { 2 } else { 1 };
    out.write_str(sign)?;
    if 0 < point && point < count {
        let (whole, fraction) = digits.split_at(point as usize);
        write!(out, "{whole}.{fraction}")
    } else if point <= 0 && (point == 0 || 2 - point <= cost) {
        write!(out, "0.{:0<zeros$}{digits}", "", zeros = -point as usize)
    } else if point > 0 && point - count + 2 <= cost && number.abs() < (1u64 << 53) as f64 {
        write!(
            out,
            "{digits}{:0<zeros$}.0",
            "",
            zeros = (point - count) as usize
        )
    } else {
        let (first, more) = digits.split_at(1);
        write!(
            out,
            "{first}.{}e{exponent}",
            if more.is_empty() { "0" } else { more }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::TEXT_LIMIT;
    use super::super::cut::MARK;
    use super::*;

    #[track_caller]
    fn prints(term: impl Into<Term>, text: &str) {
        assert_eq!(term.into().to_string(), text);
    }

    // What follows is what OTP 25.2.3 prints, but where a comment says otherwise.

    #[test]
    fn atoms_are_quoted_where_erlang_quotes_them() {
        for bare in [
            "a", "a@b_C1", "é", "ß", "æ", "aé", "true", "query", "ÿ", "aÖ",
        ] {
            prints(Term::atom(bare), bare);
        }
        for quoted in [
            "A",
            "_a",
            "hello world",
            "",
            "after",
            "if",
            "cond",
            "let",
            "when",
            "begin",
            "Ö",
            "÷",
            "日本",
            "a日本",
            "1a",
            "a.b",
            "a-b",
            "a÷",
            "a×",
            "aª",
            "aµ",
            "aº",
            "a\u{ad}",
            "\u{200b}",
        ] {
            prints(Term::atom(quoted), &format!("'{quoted}'"));
        }
        // OTP 27 reserves these; in quotes every release reads them.
        prints(Term::atom("maybe"), "'maybe'");
        prints(Term::atom("else"), "'else'");
    }

    #[test]
    fn special_characters_in_atoms_are_escaped() {
        prints(Term::atom("a'b"), r"'a\'b'");
        prints(Term::atom("a\"b"), "'a\"b'");
        prints(Term::atom("a\\b"), r"'a\\b'");
        prints(Term::atom("\n\t\r\x1b\x08\x0c\x0b"), r"'\n\t\r\e\b\f\v'");
        prints(Term::atom("a\x01b"), r"'a\001b'");
        prints(Term::atom("\x1f"), r"'\037'");
        prints(Term::atom("a\x7f"), r"'a\d'");
        prints(Term::atom("a\u{85}b"), r"'a\205b'");
    }

    #[test]
    fn binaries_are_text_where_they_are_printable() {
        prints("", "<<>>");
        prints("x", r#"<<"x">>"#);
        prints("a\"b\\", r#"<<"a\"b\\">>"#);
        prints("x'y", r#"<<"x'y">>"#);
        prints("a\n\t\r\x1b\x08\x0c\x0b", r#"<<"a\n\t\r\e\b\f\v">>"#);
        prints("日本", r#"<<"日本"/utf8>>"#);
        prints("\u{a0}", "<<\"\u{a0}\"/utf8>>");
        prints("a\0", "<<97,0>>");
        prints("\x7f", "<<127>>");
        prints("\u{85}", "<<194,133>>");
        prints("\u{fffe}", "<<239,191,190>>");
        prints(Term::binary([0, 1]), "<<0,1>>");
        prints(Term::binary(*b"x"), r#"<<"x">>"#);
        // OTP takes it for Latin-1 and prints <<"é">>.
        prints(Term::binary([233]), "<<233>>");
    }

    #[test]
    fn floats_are_as_short_as_erlang_makes_them() {
        for text in [
            "1.0",
            "0.1",
            "1.0e22",
            "1.0e21",
            "123456789.0",
            "1.0e-5",
            "0.0001",
            "1.5e-5",
            "1.0e15",
            "9007199254740991.0",
            "9.007199254740992e15",
            "1.0e16",
            "1.2e3",
            "100.0",
            "1.0e3",
            "1.0e4",
            "1.0e5",
            "1.7976931348623157e308",
            "5.0e-324",
            "0.001",
            "0.01",
            "-0.0",
            "-1.5",
            "3.141592653589793",
            "0.0",
            "0.00123",
            "12345.678",
        ] {
            prints(text.parse::<f64>().unwrap(), text);
        }
        // Erlang has no such values.
        prints(f64::NAN, "nan");
        prints(f64::INFINITY, "inf");
        prints(f64::NEG_INFINITY, "-inf");
    }

    #[test]
    fn tuples_and_lists_nest() {
        prints(Term::tuple::<Term>([]), "{}");
        prints(Term::list::<Term>([]), "[]");
        prints((Term::atom("shutdown"), "x"), r#"{shutdown,<<"x">>}"#);
        prints(Term::list([Term::list::<Term>([])]), "[[]]");
        prints(
            (
                (1, -5),
                Term::list([Term::tuple::<Term>([]), Term::from((2,))]),
                3,
            ),
            "{{1,-5},[{},{2}],3}",
        );
        // OTP takes it for text and prints "ab".
        prints(Term::list([97, 98]), "[97,98]");
        assert_eq!(format!("{:?}", Term::from((1, "x"))), r#"{1,<<"x">>}"#);
    }

    #[test]
    fn maps_are_in_the_order_of_their_keys() {
        prints(Term::map::<Term, Term>([]), "#{}");
        let inner = Term::map([(Term::list::<Term>([]), Term::tuple::<Term>([]))]);
        prints(
            Term::map([
                (Term::atom("b"), Term::from((1, 2))),
                (Term::from(2.0), 7.into()),
                (Term::from(3), inner),
            ]),
            "#{3 => #{[] => {}},2.0 => 7,b => {1,2}}",
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes Miri a minute")]
    fn a_long_text_is_cut_and_marked() {
        let long = Term::list(std::iter::repeat_n(1, TEXT_LIMIT)).to_string();
        assert_eq!(long.len(), TEXT_LIMIT + MARK.len());
        assert!(long.ends_with(MARK));
        assert!(
            Term::from("é".repeat(TEXT_LIMIT))
                .to_string()
                .ends_with(MARK)
        );
        assert!(
            Term::atom("-".repeat(TEXT_LIMIT))
                .to_string()
                .ends_with(MARK)
        );
        assert!(
            Term::binary(vec![0; TEXT_LIMIT])
                .to_string()
                .ends_with(MARK)
        );
    }
}
