//! `examples/kv_server` as its clients see it: real ones, broken ones, and very many.

#[path = "kv_server/harness.rs"]
mod harness;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Commands, ControlFlow, PubSubCommands};

use harness::{Client, DEADLINE, Server, binary, request, tool};

fn redis_client(server: &Server) -> redis::Connection {
    let client = redis::Client::open(("127.0.0.1", server.port)).expect("an address");
    let connection = client.get_connection().expect("the server answers");
    connection
        .set_read_timeout(Some(DEADLINE))
        .expect("not zero");
    connection
}

// ---- real clients ---------------------------------------------------------------------------

#[test]
fn redis_cli_gets_the_answers_it_knows() {
    let Some(_) = tool("redis-cli") else { return };
    let server = Server::start(&["--shards", "3"]);
    for (words, output) in [
        ("SET a 1", "OK\n"),
        ("SET a 2 NX", "\n"),
        ("SET a 2 XX EX 100", "OK\n"),
        ("TTL a", "100\n"),
        ("INCR a", "3\n"),
        ("GET a", "3\n"),
        ("MSET b 1 c 2 d 3", "OK\n"),
        ("MGET a b c d e", "3\n1\n2\n3\n\n"),
        ("EXISTS a b e", "2\n"),
        ("DBSIZE", "4\n"),
        ("DEL a b e", "2\n"),
        ("-3 HELLO 3", ""),
        ("-n 0 PING", "PONG\n"),
        ("ECHO hi", "hi\n"),
        ("CONFIG GET port", ""),
        (
            "NOSUCH x",
            "ERR unknown command 'NOSUCH', with args beginning with: 'x' \n\n",
        ),
        ("FLUSHALL", "OK\n"),
        ("DBSIZE", "0\n"),
    ] {
        let mut cli = tool("redis-cli").expect("it is there");
        cli.args(["-p", &server.port.to_string()]);
        let run = cli.args(words.split(' ')).output().expect("it runs");
        let stdout = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "{words}: {run:?}");
        if output.is_empty() {
            assert!(!stdout.contains("ERR"), "{words}: {stdout}");
        } else {
            assert_eq!(stdout, output, "{words}");
        }
    }
}

#[test]
fn redis_cli_loads_a_hundred_thousand_keys_by_a_pipe() {
    let Some(mut cli) = tool("redis-cli") else {
        return;
    };
    let server = Server::start(&[]);
    let mut process = cli
        .args(["-p", &server.port.to_string(), "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = process.stdin.take().expect("it is piped");
    let writer = thread::spawn(move || {
        for number in 0..100_000 {
            let key = format!("key:{number}");
            stdin
                .write_all(&request(&[b"SET", key.as_bytes(), b"value"]))
                .expect("it reads");
        }
    });
    let output = process.wait_with_output().expect("it ends");
    writer.join().expect("all is written");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("errors: 0, replies: 100000"), "{stdout}");
    assert_eq!(server.connect().ask("DBSIZE"), ":100000");
}

#[test]
fn redis_benchmark_finds_every_command_answered() {
    let Some(_) = tool("redis-benchmark") else {
        return;
    };
    let server = Server::start(&["--shards", "4"]);
    for pipeline in ["1", "16"] {
        server.connect().ask("FLUSHALL");
        let mut benchmark = tool("redis-benchmark").expect("it is there");
        let run = benchmark
            .args(["-p", &server.port.to_string(), "-P", pipeline])
            .args(["-t", "ping,set,get,incr,mset", "-n", "8000", "-c", "40"])
            .args(["-r", "100", "-q"])
            .output()
            .expect("it runs");
        assert!(run.status.success(), "{run:?}");
        // Which of the hundred counters is counted up is up to chance; how often it is not.
        let mut connection = redis_client(&server);
        let counters: Vec<String> = (0..100).map(|n| format!("counter:{n:012}")).collect();
        let counts: Vec<Option<u64>> = connection.mget(&counters).expect("an answer");
        let sum: u64 = counts.into_iter().flatten().sum();
        assert_eq!(sum, 8000);
    }
}

#[test]
fn the_redis_crate_reads_and_writes() {
    let server = Server::start(&["--shards", "4"]);
    let mut connection = redis_client(&server);
    let () = connection.set("a", "x").unwrap();
    let value: String = connection.get("a").unwrap();
    assert_eq!(value, "x");
    let pairs: Vec<(String, i64)> = (0..100).map(|n| (format!("key{n}"), n)).collect();
    let () = connection.mset(&pairs).unwrap();
    let keys: Vec<&String> = pairs.iter().map(|(key, _)| key).collect();
    let values: Vec<i64> = connection.mget(&keys).unwrap();
    assert_eq!(values, (0..100).collect::<Vec<i64>>());
    let (first, ttl, gone): (i64, i64, Option<i64>) = redis::pipe()
        .incr("key0", 5)
        .expire("key0", 1000)
        .ignore()
        .ttl("key0")
        .get("nosuch")
        .query(&mut connection)
        .unwrap();
    assert_eq!((first, ttl, gone), (5, 1000, None));
    let count: usize = connection.del(&keys).unwrap();
    assert_eq!(count, 100);
    let error = connection.incr::<_, _, i64>("a", 1).unwrap_err();
    assert_eq!(
        error.detail(),
        Some("value is not an integer or out of range")
    );
}

// ---- what is promised about replies and keys -------------------------------------------------

#[test]
fn replies_to_a_pipeline_come_in_the_order_of_its_requests() {
    let server = Server::start(&["--shards", "5"]);
    let mut client = server.connect();
    let mut requests = Vec::new();
    let mut replies = Vec::new();
    for number in 0..10_000 {
        let key = format!("key{}", number % 50);
        let value = format!("value{number}");
        requests.extend(request(&[b"SET", key.as_bytes(), value.as_bytes()]));
        replies.extend(b"+OK\r\n");
        requests.extend(b"PING\r\n");
        replies.extend(b"+PONG\r\n");
        requests.extend(request(&[b"GET", key.as_bytes()]));
        replies.extend(format!("${}\r\n{value}\r\n", value.len()).bytes());
        if number % 100 == 0 {
            // Of all shards.
            requests.extend(b"DBSIZE\r\nHELLO 3\r\nGET nosuch\r\nRESET\r\n");
            let keys = if number == 0 { 1 } else { 50 };
            replies.extend(format!(":{keys}\r\n").bytes());
            let id = client.ask("CLIENT ID");
            replies.extend(
                format!(
                    "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\n\
                     proto\r\n:3\r\n$2\r\nid\r\n{id}\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\n\
                     role\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n_\r\n+RESET\r\n"
                )
                .bytes(),
            );
        }
    }
    let mut writer = Client {
        stream: client.stream.try_clone().expect("a socket"),
    };
    let writing = thread::spawn(move || writer.send(&requests));
    client.expect(&replies);
    writing.join().expect("all is written");
}

#[test]
fn a_key_expires_though_nobody_asks_for_it() {
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.connect();
    let keys: Vec<String> = (0..100).map(|number| format!("key{number}")).collect();
    for key in &keys {
        assert_eq!(client.ask(&format!("SET {key} x PX 50")), "+OK");
    }
    // One whose deadline is taken away, one whose deadline is moved, one that never had any.
    assert_eq!(client.ask("SET kept x PX 200"), "+OK");
    assert_eq!(client.ask("PERSIST kept"), ":1");
    assert_eq!(client.ask("SET moved x PX 200"), "+OK");
    assert_eq!(client.ask("EXPIRE moved 1000"), ":1");
    assert_eq!(client.ask("SET plain x"), "+OK");
    // The size counts keys that have expired and are still there: so they were removed.
    let began = Instant::now();
    while client.ask("DBSIZE") != ":3" {
        assert!(began.elapsed() < DEADLINE, "{}", client.ask("DBSIZE"));
    }
    assert_eq!(server.figure("expired_keys"), "100");
    assert_eq!(client.ask("EXISTS kept moved plain"), ":3");
    assert_eq!(client.ask("GET key0"), "$-1");
    assert_eq!(client.ask("TTL moved"), ":1000");
}

#[test]
fn a_value_is_as_large_as_it_is() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let value: Vec<u8> = (0..5_000_000).map(|n| (n % 251) as u8).collect();
    client.send(&request(&[b"SET", b"large", &value]));
    client.expect(b"+OK\r\n");
    client.send(b"GET large\r\n");
    client.expect(&[b"$5000000\r\n", &value[..], b"\r\n"].concat());
}

// ---- crashes --------------------------------------------------------------------------------

#[test]
fn a_crashed_shard_is_back_at_once_and_empty_and_the_others_keep_their_keys() {
    let server = Server::start(&["--shards", "3"]);
    let keys = server.key_of_each_shard();
    let mut client = server.connect();
    for key in &keys {
        client.ask(&format!("SET {key} x"));
    }
    let error = client.ask("DEBUG PANIC 1");
    assert!(error.starts_with("-ERR shard 1 crashed: panic"), "{error}");
    // Whoever has heard of the crash finds the next incarnation.
    assert_eq!(client.ask(&format!("GET {}", keys[1])), "$-1");
    assert_eq!(client.ask(&format!("GET {}", keys[0])), "x");
    assert_eq!(client.ask(&format!("GET {}", keys[2])), "x");
    assert_eq!(server.figure("shard1"), "keys=0,restarts=1");
    assert_eq!(server.figure("shard0"), "keys=1,restarts=0");
    assert_eq!(client.ask("DEBUG PANIC 3"), "-ERR no such shard");
}

/// What a client counted while it counted a key up.
#[derive(Default)]
struct Counted {
    done: usize,
    errors: Vec<String>,
}

/// Counts `key` up, `PIPELINE` requests at a time, until `stop`. Each request is answered: by the
/// next number, by 1 if the shard was restarted, or by an error.
fn count_up(server: &Server, key: &str, stop: &AtomicBool, failed: &AtomicUsize) -> Counted {
    let mut client = server.connect();
    let requests = request(&[b"INCR", key.as_bytes()]).repeat(PIPELINE);
    let mut counted = Counted::default();
    let mut last = 0;
    while !stop.load(Relaxed) {
        client.send(&requests);
        for _ in 0..PIPELINE {
            let reply = client.reply();
            match reply.strip_prefix(':') {
                Some(number) => {
                    let number: usize = number.parse().expect("a number");
                    assert!(number == last + 1 || number == 1, "{number} after {last}");
                    last = number;
                    counted.done += 1;
                }
                None => {
                    counted.errors.push(reply);
                    failed.fetch_add(1, Relaxed);
                }
            }
        }
    }
    counted
}

const PIPELINE: usize = 16;

#[test]
fn a_crash_under_load_fails_what_is_on_its_way_to_that_shard_and_nothing_else() {
    let server = Server::start(&["--shards", "3"]);
    let keys = server.key_of_each_shard();
    let stop = AtomicBool::new(false);
    let failed = AtomicUsize::new(0);
    let mut crashes = 0;
    let counted: Vec<Counted> = thread::scope(|scope| {
        let clients: Vec<_> = keys
            .iter()
            .map(|key| scope.spawn(|| count_up(&server, key, &stop, &failed)))
            .collect();
        let mut client = server.connect();
        let began = Instant::now();
        // Until crashes have caught a few pipelines half-way.
        while crashes < 20 || failed.load(Relaxed) < 3 * PIPELINE {
            assert!(began.elapsed() < DEADLINE, "no crash catches anything");
            let error = client.ask("DEBUG PANIC 1");
            assert!(error.starts_with("-ERR shard 1 crashed"), "{error}");
            crashes += 1;
        }
        stop.store(true, Relaxed);
        let results = clients.into_iter().map(|client| client.join());
        results.map(|result| result.expect("counted")).collect()
    });
    for other in [0, 2] {
        assert_eq!(counted[other].errors, [""; 0], "a shard that did not crash");
        // No command was lost, and none was done twice.
        let value = server.connect().ask(&format!("GET {}", keys[other]));
        assert_eq!(value, counted[other].done.to_string());
    }
    // A client has one pipeline under way, and a crash fails no more than that.
    assert!(counted[1].errors.len() <= crashes * PIPELINE);
    for error in &counted[1].errors {
        assert!(error.starts_with("-ERR shard 1 crashed"), "{error}");
    }
    let restarts = format!(",restarts={crashes}");
    assert!(server.figure("shard1").ends_with(&restarts));
}

#[test]
fn a_command_for_several_shards_fails_if_one_of_them_does_and_the_others_do_their_part() {
    let server = Server::start(&["--shards", "3"]);
    let keys = server.key_of_each_shard();
    let mut client = server.connect();
    // Each is carried out when those before it are answered.
    let mset = format!("MSET {} x {} x {} x\r\n", keys[0], keys[1], keys[2]);
    let mget = format!("MGET {} {} {}\r\n", keys[0], keys[1], keys[2]);
    client.send(format!("{mset}DEBUG PANIC 0\r\n{mget}").as_bytes());
    assert_eq!(client.reply(), "+OK");
    assert!(client.reply().starts_with("-ERR shard 0 crashed"));
    client.expect(b"*3\r\n$-1\r\n$1\r\nx\r\n$1\r\nx\r\n");
}

#[test]
fn too_many_crashes_end_the_server_and_do_not_leave_half_of_it() {
    let mut server = Server::start(&["--restarts", "2"]);
    let mut client = server.connect();
    let began = Instant::now();
    // Of three crashes within a second the last is one too many.
    while client.stream.write_all(b"DEBUG PANIC 0\r\n").is_ok() {
        assert!(began.elapsed() < DEADLINE, "it puts up with everything");
        let mut scrap = [0; 1024];
        if client.stream.read(&mut scrap).unwrap_or(0) == 0 {
            break;
        }
    }
    assert_eq!(server.wait(), Some(1));
}

// ---- publish and subscribe ------------------------------------------------------------------

#[test]
fn a_subscriber_finds_what_was_set_before_the_message() {
    let server = Server::start(&["--shards", "2"]);
    let mut reader = redis_client(&server);
    let mut subscriber = redis_client(&server);
    thread::scope(|scope| {
        let subscribed = scope.spawn(move || {
            let mut seen = Vec::new();
            subscriber
                .subscribe(&["news", "other"], |message| {
                    let number: i64 = message.get_payload().expect("a number");
                    let set: i64 = reader.get("latest").expect("an answer");
                    assert!(set >= number);
                    seen.push(number);
                    if number == 499 {
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue
                })
                .expect("it stays subscribed");
            seen
        });
        let mut publisher = server.connect();
        let began = Instant::now();
        assert_eq!(publisher.ask("SET latest -1"), "+OK");
        for channel in ["news", "other"] {
            while publisher.ask(&format!("PUBLISH {channel} -1")) != ":1" {
                assert!(began.elapsed() < DEADLINE, "nobody subscribes");
            }
        }
        for number in 0..500 {
            let channel = ["news", "other"][number % 2];
            let both = format!("SET latest {number}\r\nPUBLISH {channel} {number}\r\n");
            publisher.send(both.as_bytes());
        }
        for _ in 0..500 {
            publisher.expect(b"+OK\r\n:1\r\n");
        }
        let mut seen = subscribed.join().expect("subscribed");
        seen.retain(|&number| number >= 0);
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
    });
    // Whoever is gone is not counted, and soon forgotten.
    let mut publisher = server.connect();
    let began = Instant::now();
    while publisher.ask("PUBLISH news x") != ":0" {
        assert!(began.elapsed() < DEADLINE, "it is still subscribed");
    }
}

#[test]
fn messages_and_replies_keep_their_order_on_one_connection() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(b"HELLO 3\r\nSUBSCRIBE a\r\nSET k v\r\nPUBLISH a 1\r\nGET k\r\nUNSUBSCRIBE a\r\n");
    client.send(b"PUBLISH a 2\r\nPING\r\n");
    let greeting = "$7\r\nmodules\r\n*0\r\n";
    let mut seen = String::new();
    while !seen.ends_with(greeting) {
        let mut byte = [0];
        client.stream.read_exact(&mut byte).expect("the greeting");
        seen.push(char::from(byte[0]));
    }
    client.expect(
        b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n+OK\r\n\
          >3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n1\r\n:1\r\n$1\r\nv\r\n\
          >3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n:0\r\n+PONG\r\n",
    );
}

#[test]
fn a_subscriber_that_does_not_read_is_cut_off_and_holds_nobody_up() {
    let server = Server::start(&["--output-limit", "1000000"]);
    let mut slow = server.connect();
    let mut quick = server.connect();
    for subscriber in [&mut slow, &mut quick] {
        subscriber.send(b"SUBSCRIBE c\r\n");
        subscriber.expect(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    }
    let mut publisher = server.connect();
    let payload = vec![b'x'; 100_000];
    let publish = request(&[b"PUBLISH", b"c", &payload]);
    let message = [
        &b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$100000\r\n"[..],
        &payload,
        b"\r\n",
    ]
    .concat();
    let began = Instant::now();
    loop {
        publisher.send(&publish);
        let count = publisher.reply();
        quick.expect(&message);
        match count.as_str() {
            ":2" => assert!(began.elapsed() < DEADLINE, "it is never cut off"),
            count => {
                assert_eq!(count, ":1");
                break;
            }
        }
    }
    // It can read what had reached its side, and then there is an end.
    let mut rest = Vec::new();
    if let Err(error) = slow.stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(publisher.ask("PING"), "+PONG");
}

// ---- bad input ------------------------------------------------------------------------------

#[test]
fn who_breaks_the_protocol_is_told_as_redis_tells_and_cut_off() {
    let server = Server::start(&["--shards", "2"]);
    let mut bystander = server.connect();
    for (input, output) in [
        (
            &b"*1\r\n$536870913\r\n"[..],
            &b"-ERR Protocol error: invalid bulk length\r\n"[..],
        ),
        (
            b"*2147483648\r\n",
            b"-ERR Protocol error: invalid multibulk length\r\n",
        ),
        (
            b"*1\r\n$abc\r\n",
            b"-ERR Protocol error: invalid bulk length\r\n",
        ),
        (
            b"*1\r\nPING\r\n",
            b"-ERR Protocol error: expected '$', got 'P'\r\n",
        ),
        (
            b"SET a \"x\r\n",
            b"-ERR Protocol error: unbalanced quotes in request\r\n",
        ),
        // What came before it is answered.
        (
            b"SET a 1\r\nINCR a\r\n*1\r\n!\r\n",
            b"+OK\r\n:2\r\n-ERR Protocol error: expected '$', got '!'\r\n",
        ),
        (b"QUIT\r\nPING\r\n", b"+OK\r\n"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\n", b""),
    ] {
        let mut client = server.connect();
        client.send(input);
        client.expect(output);
        client.expect_end();
        assert_eq!(bystander.ask("PING"), "+PONG");
    }
    // Longer than any line may be, with more behind it.
    let mut client = server.connect();
    let _ = client.stream.write_all(&vec![b'x'; 2_000_000]);
    client.expect(b"-ERR Protocol error: too big inline request\r\n");
    client.expect_end();
    let mut client = server.connect();
    client.send(b"NOSUCH\r\nGET\r\nINCR a b\r\nSET a b c\r\nPING\r\n");
    client.expect(
        b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n\
          -ERR wrong number of arguments for 'get' command\r\n\
          -ERR wrong number of arguments for 'incr' command\r\n\
          -ERR syntax error\r\n+PONG\r\n",
    );
}

#[test]
fn bytes_may_come_one_by_one() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.stream.set_nodelay(true).expect("a socket");
    for byte in request(&[b"ECHO", b"a\r\nb"]) {
        client.send(&[byte]);
    }
    client.expect(b"$4\r\na\r\nb\r\n");
}

#[test]
fn a_half_closed_client_gets_all_its_replies() {
    let server = Server::start(&["--shards", "4"]);
    let mut client = server.connect();
    for number in 0..1000 {
        client.send(format!("SET key{number} {number}\r\nGET key{number}\r\n").as_bytes());
    }
    client.half_close();
    for number in 0..1000 {
        let number = number.to_string();
        client.expect(format!("+OK\r\n${}\r\n{number}\r\n", number.len()).as_bytes());
    }
    client.expect_end();
    // One that stops in the middle of a request has nothing to get.
    let mut client = server.connect();
    client.send(b"*2\r\n$3\r\nGET\r\n$1");
    client.half_close();
    client.expect_end();
    server.wait_for("connected_clients", "1");
}

#[test]
fn clients_that_reset_their_connections_leave_nothing_behind() {
    let server = Server::start(&["--shards", "2"]);
    let mut bystander = server.connect();
    for round in 0..50 {
        let mut clients: Vec<Client> = (0..6).map(|_| server.connect()).collect();
        let large = vec![b'x'; 100_000];
        clients[0].send(b"");
        clients[1].send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\nabc");
        clients[2].send(&request(&[b"SET", b"k", &large]));
        // Its replies find nobody.
        clients[3].send(&b"GET k\r\n".repeat(100));
        clients[4].send(b"SUBSCRIBE c\r\n");
        clients[5].send(b"SUBSCRIBE c\r\nUNSUBSCRIBE c\r\nPUBLISH c x\r\n");
        clients.into_iter().for_each(Client::reset);
        assert_eq!(bystander.ask(&format!("SET n {round}")), "+OK");
        assert_eq!(bystander.ask("GET n"), round.to_string());
    }
    // The bystander, and whoever asks.
    server.wait_for("connected_clients", "2");
    let began = Instant::now();
    while bystander.ask("PUBLISH c x") != ":0" {
        assert!(began.elapsed() < DEADLINE, "a subscriber is remembered");
    }
}

#[test]
fn a_client_that_does_not_read_its_replies_is_not_read_from() {
    let server = Server::start(&["--shards", "2"]);
    let mut lazy = server.connect();
    let value = vec![b'x'; 1_000_000];
    lazy.send(&request(&[b"SET", b"k", &value]));
    lazy.expect(b"+OK\r\n");
    let before = server.memory();
    let requests = 1000;
    let mut writer = Client {
        stream: lazy.stream.try_clone().expect("a socket"),
    };
    let writing = thread::spawn(move || writer.send(&b"GET k\r\n".repeat(requests)));
    // Others are served, and a gigabyte of replies is not made in advance.
    let mut other = server.connect();
    for _ in 0..2000 {
        assert_eq!(other.ask("INCR n").split_at(1).0, ":");
    }
    let more = server.memory().saturating_sub(before);
    // A sanitizer keeps what was freed for a while; without one it is two megabytes.
    assert!(more < 400_000, "{more} kB more");
    let reply = [b"$1000000\r\n", &value[..], b"\r\n"].concat();
    for _ in 0..requests {
        lazy.expect(&reply);
    }
    writing.join().expect("all is written");
}

#[test]
fn a_client_that_only_talks_leaves_time_for_others() {
    let server = Server::start(&["--schedulers", "1"]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            let client = server.connect();
            let mut reader = client.stream.try_clone().expect("a socket");
            scope.spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
            let (mut writer, stop) = (client, &stop);
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    writer.send(&b"PING\r\n".repeat(10_000));
                }
                writer.half_close();
            });
        }
        let mut other = server.connect();
        for number in 1..=50 {
            assert_eq!(other.ask("INCR n"), format!(":{number}"));
        }
        stop.store(true, Relaxed);
    });
}

// ---- very many ------------------------------------------------------------------------------

/// Connects `count` clients, all of which are then served.
fn serves_idle_clients(count: usize) {
    let server = Server::start(&["--shards", "2"]);
    let mut clients: Vec<Client> = (0..count).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("PING"), "+PONG");
    }
    assert_eq!(server.figure("connected_clients"), (count + 1).to_string());
    eprintln!(
        "{count} idle clients: {} kB of memory in all",
        server.memory()
    );
    for (number, client) in clients.iter_mut().enumerate().rev() {
        client.send(format!("SET key{number} {number}\r\n").as_bytes());
    }
    for client in &mut clients {
        client.expect(b"+OK\r\n");
    }
    assert_eq!(clients[0].ask("DBSIZE"), format!(":{count}"));
    drop(clients);
    server.wait_for("connected_clients", "1");
}

#[test]
fn hundreds_of_idle_clients_are_served() {
    serves_idle_clients(400);
}

#[test]
#[ignore = "needs 10,100 open files, here and in the server"]
fn ten_thousand_idle_clients_are_served() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the maximum");
    serves_idle_clients(10_000);
}

#[test]
fn clients_beyond_the_limit_of_open_files_wait_and_are_served_when_others_go() {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 40 && exec \"$0\" --port 0 --schedulers 1"])
        .arg(binary());
    let server = Server::run(command);
    let mut clients: Vec<Client> = (0..60).map(|_| server.connect()).collect();
    for client in &mut clients[..20] {
        assert_eq!(client.ask("PING"), "+PONG");
    }
    clients[59].send(b"PING\r\n");
    clients.drain(..40);
    let last = clients.last_mut().expect("twenty are left");
    last.expect(b"+PONG\r\n");
}

// ---- the command line -----------------------------------------------------------------------

#[test]
fn a_port_that_is_taken_is_an_error_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let run = Command::new(binary())
        .args(["--port", &port])
        .output()
        .expect("it runs");
    assert_eq!(run.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&run.stderr);
    let expected = format!("kv_server: cannot listen at port {port}: ");
    assert!(stderr.starts_with(&expected), "{stderr}");
    assert_eq!(stderr.lines().count(), 1);
}

#[test]
fn it_sleeps_when_nobody_asks() {
    if std::env::var_os("NOEX_SANITIZED").is_some() {
        eprintln!("skipped: a sanitizer's own threads do not sleep");
        return;
    }
    let server = Server::start(&["--shards", "4"]);
    let mut client = server.connect();
    assert_eq!(client.ask("PING"), "+PONG");
    // It comes to rest at some time: then a while passes in which it does nothing at all.
    let began = Instant::now();
    let mut before = server.activity();
    loop {
        thread::sleep(Duration::from_millis(200));
        let now = server.activity();
        if now == before {
            break;
        }
        assert!(began.elapsed() < DEADLINE, "it never rests");
        before = now;
    }
    assert_eq!(client.ask("PING"), "+PONG");
}
