use super::*;
use crate::resp::{Limits, Parser};
use crate::store::{Condition, ExpireIf, Lifetime, Set, Unit};

fn parse_words(words: &[&[u8]]) -> Result<Command, CommandError> {
    let mut wire = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        wire.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        wire.extend_from_slice(word);
        wire.extend_from_slice(b"\r\n");
    }
    let mut parser = Parser::new(Limits::default());
    for piece in wire.chunks(100) {
        parser.space()[..piece.len()].copy_from_slice(piece);
        parser.filled(piece.len());
    }
    let request = parser.next_request().unwrap().expect("one request");
    Command::parse(&request, false)
}

fn parse(line: &str) -> Result<Command, CommandError> {
    let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
    parse_words(&words)
}

#[track_caller]
fn parses(line: &str, expected: Command) {
    assert_eq!(parse(line), Ok(expected), "{line}");
}

/// Redis 7.0.15 answers `line` with this error.
#[track_caller]
fn refused(line: &str, expected: &str) {
    assert_eq!(
        parse(line).map_err(|error| error.to_string()),
        Err(expected.into()),
        "{line}"
    );
}

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.as_bytes())
}

fn set() -> Set {
    Set {
        key: bytes("k"),
        value: bytes("v"),
        lifetime: Lifetime::Endless,
        condition: Condition::Always,
        get: false,
    }
}

#[test]
fn names_are_read_in_either_case_and_keys_as_they_are() {
    for name in ["get", "GET", "gEt"] {
        parses(&format!("{name} Key"), Command::Data(Op::Get(bytes("Key"))));
    }
    let key: &[u8] = b"\0\xff\r\n";
    assert_eq!(
        parse_words(&[b"GET", key]),
        Ok(Command::Data(Op::Get(Bytes::from(key))))
    );
    parses("CLIENT iD", Command::ClientId);
}

#[test]
fn set_takes_its_options_in_any_order() {
    let data = |set| Command::Data(Op::Set(set));
    parses("SET k v", data(set()));
    let all = Set {
        lifetime: Lifetime::Millis(10_000),
        condition: Condition::IfAbsent,
        get: true,
        ..set()
    };
    for options in [
        "EX 10 NX GET",
        "get nx ex 10",
        "NX PX 10000 NX GET GET",
        "EX 20 EX 10 NX GET",
    ] {
        parses(&format!("SET k v {options}"), data(all.clone()));
    }
    let condition = Condition::IfPresent;
    parses(
        "SET k v XX KEEPTTL",
        data(Set {
            lifetime: Lifetime::Keep,
            condition,
            ..set()
        }),
    );
    for options in [
        "foo",
        "EX",
        "NX EX",
        "NX XX",
        "XX NX",
        "EX 10 PX 10",
        "EX 10 KEEPTTL",
        "KEEPTTL EX 10",
        "EX 10 foo",
        "EX abc foo",
        "EX abc NX XX",
        "PERSIST",
        "EX EX",
    ] {
        let error = if options == "EX EX" {
            "ERR value is not an integer or out of range"
        } else {
            "ERR syntax error"
        };
        refused(&format!("SET k v {options}"), error);
    }
    for value in ["abc", "1.5", "+1", "01", "99999999999999999999", ""] {
        let error = "ERR value is not an integer or out of range";
        refused(&format!("SET k v EX {value}"), error);
    }
    for options in [
        "EX 0",
        "PX 0",
        "EX -1",
        "NX EX 0",
        "EX 9223372036854775807",
        "PX 9223372036854775807",
        "EX 9223372036854775",
        "PX 9223372036854000000",
        "EX -9223372036854775808",
    ] {
        refused(
            &format!("SET k v {options}"),
            "ERR invalid expire time in 'set' command",
        );
    }
}

#[test]
fn expire_takes_conditions_that_can_hold_together() {
    let expire = |after, when| {
        Command::Data(Op::Expire {
            key: bytes("k"),
            after,
            when,
        })
    };
    let none = ExpireIf::default();
    parses("EXPIRE k 10", expire(10_000, none));
    parses("PEXPIRE k 10", expire(10, none));
    parses(
        "EXPIRE k -9223372036854775",
        expire(-9_223_372_036_854_775_000, none),
    );
    parses("PEXPIRE k -9223372036854775808", expire(i64::MIN, none));
    parses(
        "EXPIRE k 1 nx NX",
        expire(1000, ExpireIf { nx: true, ..none }),
    );
    parses(
        "EXPIRE k 1 GT xx",
        expire(
            1000,
            ExpireIf {
                gt: true,
                xx: true,
                ..none
            },
        ),
    );
    parses("EXPIRE k 1 LT", expire(1000, ExpireIf { lt: true, ..none }));
    refused("EXPIRE k x", "ERR value is not an integer or out of range");
    refused("EXPIRE k x FOO", "ERR Unsupported option FOO");
    refused("EXPIRE k 10 XX GT FOO", "ERR Unsupported option FOO");
    for options in ["NX XX", "NX GT", "LT NX", "NX GT LT"] {
        let error = "ERR NX and XX, GT or LT options at the same time are not compatible";
        refused(&format!("EXPIRE k 10 {options}"), error);
    }
    let error = "ERR GT and LT options at the same time are not compatible";
    refused("EXPIRE k 10 GT LT", error);
    for after in [
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775",
    ] {
        let error = "ERR invalid expire time in 'expire' command";
        refused(&format!("EXPIRE k {after}"), error);
    }
    refused(
        "PEXPIRE k 9223372036854775807",
        "ERR invalid expire time in 'pexpire' command",
    );
}

#[test]
fn counting_takes_a_step_that_can_be_turned_around() {
    let step = |step| Command::Data(Op::IncrBy(bytes("k"), step));
    parses("INCR k", step(1));
    parses("DECR k", step(-1));
    parses("INCRBY k -9223372036854775808", step(i64::MIN));
    parses("DECRBY k 5", step(-5));
    refused(
        "DECRBY k -9223372036854775808",
        "ERR decrement would overflow",
    );
    refused("INCRBY k x", "ERR value is not an integer or out of range");
}

#[test]
fn the_number_of_words_is_checked_for_every_command() {
    for name in [
        "get",
        "set",
        "incr",
        "decr",
        "incrby",
        "decrby",
        "mget",
        "mset",
        "del",
        "exists",
        "expire",
        "pexpire",
        "ttl",
        "pttl",
        "persist",
        "publish",
        "subscribe",
        "echo",
        "client",
        "config",
        "select",
        "debug",
    ] {
        refused(
            name,
            &format!("ERR wrong number of arguments for '{name}' command"),
        );
    }
    for line in [
        "GET a b",
        "INCR a b",
        "INCRBY a 1 2",
        "TTL a b",
        "MSET a",
        "MSET a b c",
        "PUBLISH a b c",
        "PING a b",
        "ECHO a b",
        "DBSIZE x",
        "SELECT 0 1",
        "RESET a",
    ] {
        let name = line
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        refused(
            line,
            &format!("ERR wrong number of arguments for '{name}' command"),
        );
    }
    for (line, name) in [
        ("CLIENT SETNAME", "client|setname"),
        ("CLIENT ID x", "client|id"),
        ("CONFIG GET", "config|get"),
        ("COMMAND COUNT x", "command|count"),
    ] {
        refused(
            line,
            &format!("ERR wrong number of arguments for '{name}' command"),
        );
    }
    parses("QUIT a", Command::Quit);
}

#[test]
fn unknown_commands_are_quoted_with_the_start_of_their_arguments() {
    let text = |words: &[&[u8]]| match parse_words(words).map_err(|error| error.reply()) {
        Err(Reply::Error(text)) => text.escape_ascii().to_string().replace("\\'", "'"),
        other => panic!("{other:?}"),
    };
    let start = "ERR unknown command '";
    let mid = "', with args beginning with: ";
    assert_eq!(text(&[b"FOO"]), format!("{start}FOO{mid}"));
    assert_eq!(
        text(&[b"FOO", b"Bar", b"a b"]),
        format!("{start}FOO{mid}'Bar' 'a b' ")
    );
    assert_eq!(text(&[b""]), format!("{start}{mid}"));
    assert_eq!(
        text(&[b"f\0o", b"\0q", b"\xff"]),
        format!("{start}f{mid}'' '\\xff' ")
    );
    let y = |count| "y".repeat(count);
    let long = |count: usize| vec![b'y'; count];
    assert_eq!(
        text(&[&long(200), &long(200), b"z"]),
        format!("{start}{}{mid}'{}' ", y(128), y(128))
    );
    assert_eq!(
        text(&[b"x", &long(120), &long(100)]),
        format!("{start}x{mid}'{}' 'yyyyy' ", y(120))
    );
    assert_eq!(
        text(&[&b"a"[..]; 61]),
        format!("{start}a{mid}{}", "'a' ".repeat(32))
    );
}

#[test]
fn unknown_subcommands_and_options_are_quoted() {
    let o = "o".repeat(300);
    let cut = &o[..128];
    for (line, error) in [
        (
            "CLIENT foo bar",
            "unknown subcommand 'foo'. Try CLIENT HELP.".into(),
        ),
        (
            "CLIENT \0a",
            "unknown subcommand ''. Try CLIENT HELP.".into(),
        ),
        (
            "CONFIG SET a b",
            "unknown subcommand 'SET'. Try CONFIG HELP.".into(),
        ),
        (
            &format!("COMMAND {o}"),
            format!("unknown subcommand '{cut}'. Try COMMAND HELP."),
        ),
        ("HELLO 2 A\0B", "Syntax error in HELLO option 'A'".into()),
        (
            "HELLO 3 setname",
            "Syntax error in HELLO option 'setname'".into(),
        ),
        (
            "HELLO 2 auth a",
            "Syntax error in HELLO option 'auth'".into(),
        ),
        (
            &format!("HELLO 2 {o}"),
            format!("Syntax error in HELLO option '{o}'"),
        ),
        (
            &format!("EXPIRE k 1 {o}"),
            format!("Unsupported option {o}"),
        ),
    ] {
        refused(line, &format!("ERR {error}"));
    }
    for line in [
        "DEBUG foo",
        "DEBUG foo bar",
        &format!("DEBUG foo\0{o}"),
        "DEBUG foo 1 2",
    ] {
        let rest = "'. Try DEBUG HELP.";
        let error = format!("ERR unknown subcommand or wrong number of arguments for 'foo{rest}");
        refused(line, &error);
    }
}

#[test]
fn a_connection_is_set_up_as_clients_do_it() {
    parses(
        "HELLO",
        Command::Hello {
            proto: None,
            name: None,
        },
    );
    let (proto, name) = (Some(Proto::Resp3), Some(bytes("n")));
    parses(
        "HELLO 3 AUTH default x SETNAME m setname n",
        Command::Hello { proto, name },
    );
    for version in ["x", "02", "", "99999999999999999999", "2\0"] {
        let error = "ERR Protocol version is not an integer or out of range";
        refused(&format!("HELLO {version}"), error);
    }
    for version in ["1", "4 foo", "-1", "4294967298"] {
        refused(
            &format!("HELLO {version}"),
            "NOPROTO unsupported protocol version",
        );
    }
    let error = "WRONGPASS invalid username-password pair or user is disabled.";
    refused("HELLO 2 AUTH bob x foo", error);

    let error = "ERR Client names cannot contain spaces, newlines or special characters.";
    for name in ["a\nb", "a\x7f", "é", "\0"] {
        refused(&format!("CLIENT SETNAME {name}"), error);
        refused(&format!("HELLO 2 SETNAME {name} foo"), error);
    }
    parses("CLIENT SETNAME ", Command::ClientSetName(bytes("")));
    parses(
        "CLIENT SETINFO lib-NAME redis-rs",
        Command::Answer(Reply::OK),
    );
    parses("CLIENT SETINFO LIB-VER 1.0", Command::Answer(Reply::OK));
    refused("CLIENT SETINFO foo 1", "ERR Unrecognized option 'foo'");
    let error = "ERR lib-ver cannot contain spaces, newlines or special characters.";
    refused("CLIENT SETINFO LIB-VER a\nb", error);

    parses("SELECT 0", Command::Answer(Reply::OK));
    refused("SELECT 16", "ERR DB index is out of range");
    refused("SELECT -1", "ERR DB index is out of range");
    refused("SELECT x", "ERR value is not an integer or out of range");
    let error = "ERR value is out of range, value must between -2147483648 and 2147483647";
    refused("SELECT 2147483648", error);
}

#[test]
fn flushing_may_be_asked_for_in_either_way() {
    for line in ["FLUSHALL", "FLUSHALL async", "FLUSHDB SYNC"] {
        parses(line, Command::Data(Op::Flush));
    }
    for line in ["FLUSHALL x", "FLUSHDB foo", "FLUSHALL sync async"] {
        refused(line, "ERR syntax error");
    }
}

#[test]
fn everything_else_is_read_as_it_is_meant() {
    let list = |names: &[&str]| names.iter().map(|name| bytes(name)).collect::<Vec<_>>();
    parses("TTL k", Command::Data(Op::Ttl(bytes("k"), Unit::Seconds)));
    parses("PTTL k", Command::Data(Op::Ttl(bytes("k"), Unit::Millis)));
    parses("PERSIST k", Command::Data(Op::Persist(bytes("k"))));
    parses("MGET a b", Command::Data(Op::MGet(list(&["a", "b"]))));
    let pairs = vec![(bytes("a"), bytes("1")), (bytes("a"), bytes("2"))];
    parses("MSET a 1 a 2", Command::Data(Op::MSet(pairs)));
    parses("DEL a a", Command::Data(Op::Del(list(&["a", "a"]))));
    parses("EXISTS a", Command::Data(Op::Exists(list(&["a"]))));
    parses("DBSIZE", Command::Data(Op::DbSize));
    parses("PING", Command::Ping(None));
    parses("PING x", Command::Ping(Some(bytes("x"))));
    parses("ECHO x", Command::Answer(Reply::bulk("x")));
    parses("INFO", Command::Info(vec![]));
    parses("INFO a b", Command::Info(list(&["a", "b"])));
    let (channel, message) = (bytes("c"), bytes("m"));
    parses("PUBLISH c m", Command::Publish { channel, message });
    parses("SUBSCRIBE a b", Command::Subscribe(list(&["a", "b"])));
    parses("UNSUBSCRIBE", Command::Unsubscribe(vec![]));
    parses("CONFIG GET a b*", Command::ConfigGet(list(&["a", "b*"])));
    parses("RESET", Command::Reset);
    parses("DEBUG panic 2", Command::DebugPanic(2));
    refused(
        "DEBUG PANIC x",
        "ERR value is not an integer or out of range",
    );
    refused("DEBUG PANIC -1", "ERR no such shard");
    refused("COMMAND LIST x", "ERR syntax error");
    assert!(matches!(
        parse("COMMAND"),
        Ok(Command::Answer(Reply::Array(_)))
    ));
    assert!(
        matches!(parse("COMMAND DOCS get"), Ok(Command::Answer(Reply::Map(docs))) if docs.len() == 1)
    );
    for line in ["POST / HTTP/1.1", "Host: x", "post"] {
        parses(line, Command::CrossProtocol);
    }
}
