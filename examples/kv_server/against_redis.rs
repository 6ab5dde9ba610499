//! The same bytes to a real `redis-server` and to us: the same bytes must come back.
//!
//! "Us" is all of the parts and none of the processes: one session, some stores, no network and a
//! clock that stands still. What differs by design (`INFO`, the list of commands, databases other
//! than 0, `HELLO`'s version and id) is not asked for; neither is anything whose answer depends
//! on how fast the real server is.
//!
//! Needs `redis-server` 7.0 (Debian 12: `apt install redis-server`), so it runs only when asked to:
//! `cargo test --example kv_server -- --ignored`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::resp::{Bytes, Limits, Parser, Reply};
use crate::route::{Route, route};
use crate::session::{Action, Session, Settings};
use crate::store::{Op, Store};

const SHARDS: usize = 3;

/// A `redis-server` of our own, on a socket of our own.
struct Redis {
    server: Child,
    socket: PathBuf,
}

impl Redis {
    fn start(name: &str) -> Redis {
        let socket = std::env::temp_dir().join(format!("noex-{}-{name}.sock", std::process::id()));
        let mut server = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--enable-debug-command",
                "yes",
                "--unixsocket",
            ])
            .arg(&socket)
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is installed");
        let stdout = server.stdout.take().expect("it is piped");
        let ready = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .any(|line| line.contains("ready to accept connections"));
        let redis = Redis { server, socket };
        assert!(ready, "redis-server did not start");
        redis
    }

    /// All that comes back for `input` on a new connection, up to the end of the answer to the
    /// last request, which must be [`LAST`], or to the end of the connection.
    fn ask(&self, input: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(&self.socket).expect("redis listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a timeout can be set");
        // It may hang up on us before it has read all.
        let _ = stream.write_all(input);
        let mut output = Vec::new();
        let mut buffer = [0; 65536];
        while !output.ends_with(LAST_REPLY) {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => output.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!(
                    "{error} after {:?}\nfor {:?}",
                    output.escape_ascii().to_string(),
                    input.escape_ascii().to_string()
                ),
            }
        }
        output
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

const LAST: &[u8] = b"*1\r\n$5\r\nRESET\r\n*2\r\n$4\r\nECHO\r\n$8\r\nthat was\r\n";
const LAST_REPLY: &[u8] = b"+RESET\r\n$8\r\nthat was\r\n";

/// All that comes back for `input` from us, cut into pieces of `piece` bytes.
fn ours(stores: &mut [Store], input: &[u8], piece: usize) -> Vec<u8> {
    let settings = Settings {
        shards: stores.len(),
        ..Settings::default()
    };
    let mut session = Session::new(1, Arc::new(settings));
    let mut parser = Parser::new(Limits::default());
    let mut output = Vec::new();
    for mut piece in input.chunks(piece) {
        while !piece.is_empty() {
            let space = parser.space();
            let count = space.len().min(piece.len());
            space[..count].copy_from_slice(&piece[..count]);
            parser.filled(count);
            piece = &piece[count..];
            loop {
                match parser.next_request() {
                    Ok(None) => break,
                    Ok(Some(request)) => {
                        let action = session.handle(&request);
                        let (replies, open) = carry_out(stores, &session, action);
                        for reply in replies {
                            reply.encode(session.proto(), &mut output);
                        }
                        if !open {
                            return output;
                        }
                    }
                    Err(error) => {
                        error.reply().encode(session.proto(), &mut output);
                        return output;
                    }
                }
            }
        }
    }
    output
}

/// The replies, and whether the connection stays open.
fn carry_out(stores: &mut [Store], session: &Session, action: Action) -> (Vec<Reply>, bool) {
    let mut apply = |shard: usize, op: Op| stores[shard].apply(op, 1_000_000).reply;
    let replies = match action {
        Action::Reply(reply) => vec![reply],
        Action::Ask(Route::One { shard, op }) => vec![apply(shard, op)],
        Action::Ask(Route::Many { parts, merge }) => {
            let replies = parts
                .into_iter()
                .map(|(shard, op)| apply(shard, op))
                .collect();
            vec![merge.merge(replies)]
        }
        Action::Publish { channel, message } => {
            let to_us = session.channels().any(|joined| *joined == channel);
            let mut replies = vec![Reply::Int(to_us.into())];
            if to_us {
                replies.insert(0, Reply::message(channel, message));
            }
            replies
        }
        Action::Channels { replies, .. } => replies,
        Action::Close(reply) => return (reply.into_iter().collect(), false),
        Action::Info(_) | Action::Panic(_) => panic!("not compared"),
    };
    (replies, true)
}

fn stores() -> Vec<Store> {
    (0..SHARDS).map(|_| Store::default()).collect()
}

/// Lets both answer `input`, in either version of the protocol and from an empty database.
fn compare(redis: &Redis, input: &[u8]) {
    for greeting in [&b"HELLO 2\r\n"[..], b"HELLO 3\r\n"] {
        let all = [b"FLUSHALL\r\n", greeting, input, LAST].concat();
        let theirs = redis.ask(&all);
        let theirs = after_greeting(&theirs);
        for piece in [usize::MAX, 5, 1] {
            let ours = ours(&mut stores(), &all, piece);
            let ours = after_greeting(&ours);
            if ours != theirs {
                let same = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
                panic!(
                    "in pieces of {piece}, for\n{}\nafter\n{}\nRedis says\n{}\nand we\n{}",
                    all.escape_ascii(),
                    ours[..same].escape_ascii(),
                    theirs[same..].escape_ascii(),
                    ours[same..].escape_ascii()
                );
            }
        }
    }
}

/// What follows the answer to `HELLO`, which tells a version and an id and cannot be compared.
fn after_greeting(reply: &[u8]) -> &[u8] {
    let end = b"$7\r\nmodules\r\n*0\r\n";
    let at = reply.windows(end.len()).position(|window| window == end);
    &reply[at.expect("the greeting is answered") + end.len()..]
}

fn wire(words: &[&[u8]]) -> Vec<u8> {
    let mut wire = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        wire.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        wire.extend_from_slice(word);
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

#[test]
#[ignore = "needs redis-server 7.0"]
fn frames_are_read_as_redis_reads_them() {
    let redis = Redis::start("frames");
    for input in [
        &b"PING\r\nPING\n"[..],
        b"\r\n\n  \r\n*0\r\n*-1\r\n*-5\r\nPING\r\n",
        b"*1\r\n$4\r\nPINGxx*1\rX$4\rYPING\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$536870913\r\n",
        b"*1\r\n$abc\r\n",
        b"*1\r\n$\r\n",
        b"*1\r\n$ 4\r\n",
        b"*1\r\n$+4\r\n",
        b"*1\r\n$04\r\n",
        b"*abc\r\n",
        b"*\r\n",
        b"*2147483648\r\n",
        b"*01\r\n",
        b"*+1\r\n",
        b"*-0\r\n",
        b"PING\r\n*1\r\n:4\r\n",
        b"*1\r\nPING\r\n",
        b"*1\r\n\r\n",
        b"*1\r\n\n\r\n",
        b"*1\r\n\xff4\r\n",
        b"ECHO \"a b\\x41\\n\\\"\\q\"\r\nECHO 'a\\'b\\n'\r\nECHO a\"b c\"\r\nECHO \"\"\r\nECHO ''\r\n",
        b"ECHO \"\\a\\b\\t\\r\"\r\nECHO \"\\x4\"\r\nECHO \\x41\r\nECHO a\rb\r\nPING\r\r\n  ECHO \t hi \n",
        b"ECHO \x0bhi\x0c\r\n",
        b"ECHO \"abc\r\n",
        b"ECHO 'abc\r\n",
        b"ECHO \"a\"b\r\n",
        b"ECHO 'a'b\r\n",
        b"ECHO a\"b\r\n",
        b"ECHO \"abc\\\r\n",
        b"$4\r\nPING\r\n",
        b"*1\r\n$0\r\n\r\n*2\r\n$0\r\n\r\n$1\r\nx\r\n",
    ] {
        compare(&redis, input);
    }
    let nines = vec![b'9'; 200_000];
    for start in ["*", "*1\r\n$", "*1\r\n:", ""] {
        compare(&redis, &[start.as_bytes(), &nines].concat());
    }
}

#[test]
#[ignore = "needs redis-server 7.0"]
fn commands_are_answered_as_redis_answers_them() {
    let redis = Redis::start("commands");
    // A script a line; its commands are parted by semicolons.
    for script in [
        "get;set a;mset a;mset a b c;ping a b;echo;echo a b;dbsize x;del;client setname;config get",
        "client;config;debug;command count x;client foo bar;config foo;command foo;debug foo;debug",
        "foo;FOO bar baz;foo\0x b\0c;foo \u{ff}\n;client \0a;expire a 1 b\0c;hello 2 a\0b",
        "set a b foo;set a b ex;set a b ex abc;set a b ex 0;set a b px -1;set a b ex 1.5",
        "set a b ex 9223372036854775807;set a b px 9223372036854000000;set a b ex 99999999999999999999",
        "set a b nx xx;set a b ex 10 px 10;set a b ex 10 keepttl;set a b ex abc nx xx;set a b nx nx",
        "set k v;set k v nx;set k w nx get;get k;set x w xx get;set x w xx;set k u xx;get k;set k t get",
        "set k v ex 100;ttl k;persist k;persist k;ttl k;ttl x;pttl x;pttl k",
        "set k v ex 100;set k w keepttl;ttl k;set k x;ttl k;set k 1 ex 100 ex 200;incr k;ttl k",
        "incr a;incrby a 41;decr a;decrby a 2;get a;incrby a x;decrby a -9223372036854775808",
        "set k 9223372036854775807;incr k;set k -9223372036854775808;decr k;get k;incrby k 1",
        "set k abc;incr k;set k 01;incr k;set k +1;incr k;set k -0;incr k;set k ;incr k;set k 9223372036854775808;incr k",
        "expire x 10;set k v;expire k 10 xx;expire k 10 gt;expire k 10 lt;expire k 5 gt;expire k 20 gt;ttl k",
        "set k v ex 20;expire k 30 lt;expire k 30 nx;expire k 5 lt;ttl k;expire k 50 gt xx;ttl k",
        "expire a x;expire a 10 foo;expire a x foo;expire a 10 nx xx;expire a 10 nx gt;expire a 10 gt lt;expire a 1 nx nx",
        "expire a 9223372036854775807;expire a -9223372036854775808;expire a 9223372036854775;pexpire a 9223372036854775807",
        "set k v;expire k -1;get k;set k v;expire k 0;exists k;set k v;pexpire k -9223372036854775808;get k",
        "mset a 1 b 2 a 3;mget a b c;exists a b c a;del a b c a;dbsize;mget a b;flushall x;flushall async;flushdb sync",
        "client setname x;client getname;client setname ;client getname;client setname a\nb",
        "hello x;hello 4;hello 4 foo;hello 2 foo;hello 2 setname;hello 2 auth a;hello 2 auth bob x foo;hello 2 setname a\nb",
        "select 0;select 16;select x;select 2147483648;select 99999999999999999999;select -1",
        "config get save;config get SAVE;config get nosuch;config get *max-bulk*;config get *xx*?",
        "subscribe a b a;unsubscribe a a x;ping;ping x;get x;GET;foo;client getname;client foo;publish a b;hello x",
        "unsubscribe;unsubscribe a b;subscribe a;unsubscribe;ping;publish a b;subscribe a;subscribe;reset;get x",
        "subscribe a;quit;get x",
        "quit x;get x",
        "publish a b;ping a;ping;echo x;command list a;command docs nosuch;command info nosuch",
    ] {
        let script: Vec<u8> = script
            .split(';')
            .flat_map(|line| wire(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>()))
            .collect();
        compare(&redis, &script);
    }
    for words in [
        &[&[b'x'; 200][..], &[b'y'; 200]][..],
        &[b"x", &[b'y'; 100], &[b'z'; 100], b"w"],
        &[b"x", &[b'y'; 121], &[b'z'; 100]],
        &[&b"a"[..]; 70],
        &[b"CLIENT", &[b'o'; 300]],
        &[b"DEBUG", &[b'o'; 300]],
        &[b"HELLO", b"2", &[b'o'; 300]],
        &[b"EXPIRE", b"k", b"1", &[b'o'; 300]],
        &[b"SET", b"\0\r\n\xff", b"\0\r\n\xfe"],
        &[b"CLIENT", b"SETNAME", b"a b"],
    ] {
        compare(&redis, &wire(words));
    }
    let mut both = wire(&[b"SET", b"\0\r\n\xff", &vec![b'x'; 1_000_000]]);
    both.extend(wire(&[b"GET", b"\0\r\n\xff"]));
    compare(&redis, &both);
}

/// xorshift64*: the same requests in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

#[test]
#[ignore = "needs redis-server 7.0"]
fn random_requests_are_answered_as_redis_answers_them() {
    let redis = Redis::start("random");
    let mut random = Random(0x006e_6f65_7821);
    for _ in 0..300 {
        let mut input = Vec::new();
        for _ in 0..100 {
            let request = random_request(&mut random);
            let words: Vec<_> = request.iter().map(Bytes::as_ref).collect();
            input.extend(wire(&words));
        }
        compare(&redis, &input);
    }
}

/// A request that is right more often than not.
fn random_request(random: &mut Random) -> Vec<Bytes> {
    const KEYS: &[&str] = &["a", "b", "c", "d", "{a}b"];
    const VALUES: &[&str] = &["", "0", "7", "-5", "x", "01", "9223372036854775807", "-0"];
    const STEPS: &[&str] = &[
        "1",
        "-1",
        "7",
        "x",
        "9223372036854775807",
        "-9223372036854775808",
    ];
    const NO_EXPIRIES: &[&str] = &["x", "", "0", "-1", "01", "9223372036854775807"];
    const CHANNELS: &[&str] = &["c1", "c2", "c3"];
    // An expiry is far away, so that nothing expires, and never given twice: whether it is later
    // than itself is for the clock to say.
    let expiry = (1_000_000 + random.below(1 << 30) * 16).to_string();
    let expiry = match random.below(4) {
        0 => random.of(NO_EXPIRIES),
        _ => &expiry,
    };
    let key = random.of(KEYS);
    let several = |random: &mut Random, words| {
        (0..=random.below(4))
            .map(|_| random.of(words))
            .collect::<Vec<_>>()
    };
    let mut words = match random.below(20) {
        0..4 => vec!["set", key, random.of(VALUES)],
        4..6 => vec!["GET", key],
        6 => vec![random.of(&["incr", "decr"]), key],
        7..9 => vec![random.of(&["incrby", "DECRBY"]), key, random.of(STEPS)],
        9 => [vec!["mset"], several(random, KEYS)].concat(),
        10 => [
            vec![random.of(&["mget", "del", "exists"])],
            several(random, KEYS),
        ]
        .concat(),
        11..14 => vec![random.of(&["expire", "pexpire"]), key, expiry],
        14 => vec![random.of(&["persist", "ping", "echo"]), key],
        15 => vec![random.of(&["dbsize", "ping", "flushall", "nosuch", "reset"])],
        16 => vec!["publish", random.of(CHANNELS), key],
        17 => [vec!["unsubscribe"], several(random, CHANNELS)].concat(),
        18 if random.below(3) == 0 => [vec!["subscribe"], several(random, CHANNELS)].concat(),
        _ => vec!["client", random.of(&["getname", "setname", "nosuch"]), key],
    };
    if words[0] == "set" {
        while random.below(2) == 0 {
            match random.of(&["nx", "XX", "get", "keepttl", "ex", "px", "nosuch"]) {
                unit @ ("ex" | "px") => words.extend([unit, expiry]),
                option => words.push(option),
            }
        }
    } else if words[0].ends_with("expire") {
        while random.below(2) == 0 {
            words.push(random.of(&["nx", "XX", "gt", "LT", "nosuch"]));
        }
    } else if random.below(20) == 0 {
        words.push("more");
    }
    words
        .iter()
        .map(|word| Bytes::from(word.as_bytes()))
        .collect()
}
