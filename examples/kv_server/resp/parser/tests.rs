use super::*;

/// All that a client gets for `input`, sent in pieces of `piece` bytes.
fn requests_by(
    piece: usize,
    input: &[u8],
    limits: Limits,
) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
    let mut parser = Parser::new(limits);
    let mut requests = Vec::new();
    for piece in input.chunks(piece) {
        receive(&mut parser, piece);
        loop {
            match parser.next_request() {
                Ok(Some(request)) => {
                    requests.push(request.iter().map(<[u8]>::to_vec).collect());
                }
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fn receive(parser: &mut Parser, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = parser.space();
        let count = space.len().min(bytes.len());
        space[..count].copy_from_slice(&bytes[..count]);
        parser.filled(count);
        bytes = &bytes[count..];
    }
}

/// What comes of `input`, which must not depend on how it is cut into packets.
fn requests(input: &[u8]) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
    let whole = requests_by(usize::MAX, input, Limits::default());
    for piece in [1, 2, 3, 7, 1000] {
        assert_eq!(
            requests_by(piece, input, Limits::default()),
            whole,
            "in pieces of {piece}"
        );
    }
    whole
}

fn words(list: &[&[&str]]) -> Vec<Vec<Vec<u8>>> {
    list.iter()
        .map(|request| {
            request
                .iter()
                .map(|word| word.as_bytes().to_vec())
                .collect()
        })
        .collect()
}

#[track_caller]
fn accepts(input: &[u8], expected: &[&[&str]]) {
    assert_eq!(
        requests(input),
        (words(expected), None),
        "{:?}",
        input.escape_ascii().to_string()
    );
}

#[track_caller]
fn refuses(input: &[u8], expected: &str) {
    let (before, error) = requests(input);
    assert_eq!(before, words(&[]));
    assert_eq!(
        error.map(|error| error.to_string()),
        Some(format!("Protocol error: {expected}")),
        "{:?}",
        input.escape_ascii().to_string()
    );
}

#[test]
fn arrays_and_lines_may_follow_each_other_in_any_pieces() {
    accepts(
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\nPING\r\n*1\r\n$4\r\nPING\r\n GET  k \nPING",
        &[&["SET", "k", "a\r\nb"], &["PING"], &["PING"], &["GET", "k"]],
    );
}

#[test]
fn empty_requests_are_skipped_without_an_answer() {
    accepts(b"*0\r\n*-1\r\n*-5\r\n\r\n\n  \r\nPING\r\n", &[&["PING"]]);
    accepts(b"*2\r\n$0\r\n\r\n$1\r\nx\r\n", &[&["", "x"]]);
}

#[test]
fn what_stands_where_a_line_end_belongs_is_not_looked_at() {
    accepts(
        b"*1\rX$4\rYPINGxx*1\r\n$4\r\nPING\r\n",
        &[&["PING"], &["PING"]],
    );
}

#[test]
fn incomplete_requests_wait() {
    for input in [
        "*",
        "*1",
        "*1\r",
        "*1\r\n",
        "*1\r\n$4",
        "*1\r\n$4\r",
        "*1\r\n$4\r\n",
        "*1\r\n$4\r\nPING",
        "*1\r\n$4\r\nPING\r",
        "*1\r\n:4\r",
        "*1\n$4\nPING\n",
        "PING",
        "PING\r",
        "*1048576\r\n",
    ] {
        accepts(input.as_bytes(), &[]);
        let mut parser = Parser::new(Limits::default());
        receive(&mut parser, input.as_bytes());
        assert!(parser.next_request().is_ok_and(|request| request.is_none()));
        assert!(parser.is_midway(), "{input:?}");
    }
    let mut parser = Parser::new(Limits::default());
    assert!(!parser.is_midway());
    receive(&mut parser, b"PING\r\n");
    assert!(parser.next_request().is_ok_and(|request| request.is_some()));
    assert!(!parser.is_midway());
}

#[test]
fn lengths_are_refused_as_redis_refuses_them() {
    for count in [
        "",
        "abc",
        "01",
        "+1",
        "-0",
        "1 ",
        " 1",
        "1048577",
        "9223372036854775808",
    ] {
        refuses(
            format!("*{count}\r\n").as_bytes(),
            "invalid multibulk length",
        );
    }
    for len in [
        "",
        "abc",
        "04",
        "+4",
        "-1",
        "-0",
        " 4",
        "536870913",
        "9223372036854775808",
    ] {
        refuses(
            format!("*1\r\n${len}\r\n").as_bytes(),
            "invalid bulk length",
        );
    }
    refuses(b"*1\r\n:4\r\n", "expected '$', got ':'");
    refuses(b"*1\r\nPING\r\n", "expected '$', got 'P'");
    refuses(b"*1\r\n\r\n", "expected '$', got '\r'");
}

#[test]
fn the_unexpected_byte_is_sent_back_as_it_came() {
    let mut out = Vec::new();
    ProtocolError::ExpectedBulk(0xff)
        .reply()
        .encode(super::super::Proto::Resp2, &mut out);
    assert_eq!(out, b"-ERR Protocol error: expected '$', got '\xff'\r\n");
}

#[test]
fn a_line_has_a_longest_length_whether_or_not_its_end_has_come() {
    let limits = Limits {
        line: 8,
        ..Limits::default()
    };
    for piece in [1, 5, usize::MAX] {
        let error = |input: &[u8]| requests_by(piece, input, limits.clone()).1;
        assert_eq!(error(b"ECHO abc\n"), None);
        for input in ["ECHO abcd\n", "ECHO abcd"] {
            assert_eq!(error(input.as_bytes()), Some(ProtocolError::LongInline));
        }
        for input in ["*00000001\r\n", "*00000001"] {
            assert_eq!(
                error(input.as_bytes()),
                Some(ProtocolError::LongMultibulkHeader)
            );
        }
        for input in ["*1\r\n$00000004\r\n", "*1\r\n$00000004", "*1\r\n:00000004"] {
            assert_eq!(error(input.as_bytes()), Some(ProtocolError::LongBulkHeader));
        }
    }
}

#[test]
fn words_requests_and_their_number_have_limits() {
    let limits = Limits {
        bulk: 4,
        args: 2,
        request: 20,
        ..Limits::default()
    };
    let outcome = |input: &[u8]| requests_by(usize::MAX, input, limits.clone());
    assert_eq!(
        outcome(b"*1\r\n$4\r\nPING\r\n"),
        (words(&[&["PING"]]), None)
    );
    assert_eq!(outcome(b"*1\r\n$5\r\n").1, Some(ProtocolError::BulkLength));
    assert_eq!(outcome(b"*3\r\n").1, Some(ProtocolError::MultibulkLength));
    // 20 bytes are just enough.
    assert_eq!(outcome(b"*2\r\n$2\r\nab\r\n$2\r\ncd\r\n").1, None);
    let long = outcome(b"*2\r\n$2\r\nab\r\n$3\r\ncde\r\n");
    assert_eq!(long, (words(&[]), Some(ProtocolError::LongRequest)));
}

#[test]
fn requests_before_an_error_are_handed_out_and_none_after_it() {
    let mut parser = Parser::new(Limits::default());
    receive(&mut parser, b"PING\r\n*x\r\nPING\r\n");
    assert!(parser.next_request().is_ok_and(|request| request.is_some()));
    for _ in 0..2 {
        assert_eq!(
            parser.next_request().unwrap_err(),
            ProtocolError::MultibulkLength
        );
        receive(&mut parser, b"PING\r\n");
    }
}

#[test]
fn quoted_words_are_decoded_as_redis_decodes_them() {
    accepts(
        b"ECHO \"a b\\x41\\n\\\"\\q\"\r\n",
        &[&["ECHO", "a bA\n\"q"]],
    );
    accepts(b"ECHO 'a\\'b\\n'\n", &[&["ECHO", "a'b\\n"]]);
    accepts(b"ECHO a\"b c\"\n", &[&["ECHO", "ab c"]]);
    accepts(b"ECHO \"\" ''\n", &[&["ECHO", "", ""]]);
    accepts(
        b"ECHO \"\\x4\" \\x41 \"\\a\\b\\t\\r\"\n",
        &[&["ECHO", "x4", "\\x41", "\x07\x08\t\r"]],
    );
    accepts(
        b"ECHO \x0bhi\x0c \tx\ty a\rb\r\n",
        &[&["ECHO", "hi\x0c", "x", "y", "a", "b"]],
    );
    accepts(b"PING\r\r\n", &[&["PING"]]);
    assert_eq!(
        requests(b"ECHO \xff\0\n").0,
        [[b"ECHO".to_vec(), b"\xff\0".to_vec()]]
    );
    for line in [
        "ECHO \"abc\r\n",
        "ECHO 'abc\n",
        "ECHO \"a\"b\n",
        "ECHO 'a'b\n",
        "ECHO a\"b\r\n",
        "ECHO \"abc\\\r\n",
        "\"\n",
    ] {
        refuses(line.as_bytes(), "unbalanced quotes in request");
    }
}

#[test]
fn a_header_that_announces_much_makes_nobody_hold_it() {
    let mut parser = Parser::new(Limits::default());
    receive(&mut parser, b"*1048576\r\n$536870912\r\nabc");
    assert!(parser.next_request().is_ok_and(|request| request.is_none()));
    parser.space();
    assert!(
        parser.held() <= 4 * FIRST_READ,
        "{} bytes held",
        parser.held()
    );
}

#[test]
fn memory_follows_what_arrives_and_is_given_back() {
    let mut parser = Parser::new(Limits::default());
    receive(&mut parser, b"*2\r\n$4\r\nECHO\r\n$8000000\r\n");
    for arrived in (1..=8).map(|million| million * 1_000_000) {
        receive(&mut parser, &vec![b'x'; 1_000_000]);
        assert!(parser.next_request().is_ok_and(|request| request.is_none()));
        let held = parser.held();
        assert!(
            held <= 2 * arrived + 2 * LARGEST_READ,
            "{held} bytes held for {arrived}"
        );
    }
    // The start of another request must not keep the large buffer alive.
    receive(&mut parser, b"\r\n*1\r\n");
    let request = parser.next_request().unwrap().expect("it is complete");
    assert_eq!(request.get(1).map(<[u8]>::len), Some(8_000_000));
    assert!(parser.next_request().is_ok_and(|request| request.is_none()));
    assert!(
        parser.held() <= 4 * LARGEST_READ,
        "{} bytes held",
        parser.held()
    );
    receive(&mut parser, b"$4\r\nPING\r\n");
    assert_eq!(
        parser
            .next_request()
            .unwrap()
            .and_then(|request| request.get(0)),
        Some(&b"PING"[..])
    );
}

#[test]
fn a_busy_client_gets_larger_reads_and_an_idle_one_gives_them_up() {
    let mut parser = Parser::new(Limits::default());
    for _ in 0..10 {
        let space = parser.space();
        let count = space.len();
        space.fill(b'\n');
        parser.filled(count);
        assert!(parser.next_request().is_ok_and(|request| request.is_none()));
    }
    assert!(parser.space().len() >= LARGEST_READ);
    for _ in 0..10 {
        receive(&mut parser, b"PING\r\n");
        while parser.next_request().unwrap().is_some() {}
    }
    assert!(
        parser.held() <= 8 * FIRST_READ,
        "{} bytes held",
        parser.held()
    );
}
