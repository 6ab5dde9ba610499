//! A server for a test, and clients that say exactly what they are told.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// For whatever is waited for: far beyond what it takes, and short of what a person would.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The example, beside the directory of the test's own binary.
pub(crate) fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let path = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let path = path.join("examples/kv_server");
    assert!(
        path.exists(),
        "{} is missing: `cargo test` builds it, `cargo test --test kv_server` does not; \
         `cargo build --example kv_server`",
        path.display()
    );
    path
}

/// A server at a port of its own, which ends with the test.
pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    pub(crate) fn start(args: &[&str]) -> Server {
        let mut command = Command::new(binary());
        command.args(["--port", "0"]).args(args);
        Self::run(command)
    }

    /// One that `command` starts, which is given `--port 0`.
    pub(crate) fn run(mut command: Command) -> Server {
        // What it says of crashes is not for the eyes of whoever runs the tests.
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it speaks");
        let port = line.trim().rsplit(':').next().map(str::parse);
        let Some(Ok(port)) = port else {
            let _ = process.kill();
            panic!("not a line about a port: {line:?}");
        };
        Server { process, port }
    }

    /// Waits for its end; the exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("our child") {
                return status.code();
            }
            assert!(began.elapsed() < DEADLINE, "the server runs on");
            std::thread::yield_now();
        }
    }

    /// Kilobytes of memory in use.
    pub(crate) fn memory(&self) -> usize {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("Linux");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
        kilobytes
            .and_then(|text| text.parse().ok())
            .expect("a number")
    }

    /// How much processor time it has used so far, in ticks, and how often its threads were woken.
    pub(crate) fn activity(&self) -> (u64, u64) {
        let path = format!("/proc/{}", self.process.id());
        let stat = std::fs::read_to_string(format!("{path}/stat")).expect("Linux");
        let times = stat.split_whitespace().skip(13).take(2);
        let ticks = times.map(|ticks| ticks.parse::<u64>().expect("a number"));
        let tasks = std::fs::read_dir(format!("{path}/task")).expect("Linux");
        let mut wakeups = 0;
        for task in tasks.flatten() {
            // A thread may end meanwhile.
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            wakeups += line.map_or(0, |count| count.trim().parse().expect("a number"));
        }
        (ticks.sum(), wakeups)
    }

    pub(crate) fn connect(&self) -> Client {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
        stream.set_write_timeout(Some(DEADLINE)).expect("not zero");
        Client { stream }
    }

    /// A line of `INFO`.
    pub(crate) fn figure(&self, name: &str) -> String {
        let text = self.connect().ask("INFO");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .to_owned()
    }

    /// Waits until a line of `INFO` says `value`.
    pub(crate) fn wait_for(&self, name: &str, value: &str) {
        let began = Instant::now();
        loop {
            let now = self.figure(name);
            if now == value {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "{name} is {now}, not {value}");
            std::thread::yield_now();
        }
    }

    /// How many keys each shard has.
    pub(crate) fn keys(&self) -> Vec<usize> {
        let text = self.connect().ask("INFO shards");
        let shards = text.lines().filter_map(|line| line.split_once(":keys="));
        let keys = shards.filter_map(|(_, rest)| rest.split(',').next());
        keys.map(|keys| keys.parse().expect("a number")).collect()
    }

    /// A key for each shard. Leaves no keys behind.
    pub(crate) fn key_of_each_shard(&self) -> Vec<String> {
        let mut client = self.connect();
        let mut found = vec![None; self.keys().len()];
        for number in 0.. {
            let key = format!("key{number}");
            client.ask("FLUSHALL");
            client.ask(&format!("SET {key} 0"));
            let shard = self.keys().iter().position(|&keys| keys == 1);
            found[shard.expect("it is somewhere")] = Some(key);
            if found.iter().all(Option::is_some) {
                break;
            }
        }
        client.ask("FLUSHALL");
        found.into_iter().flatten().collect()
    }
}

/// A connection that sends bytes and compares bytes.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Takes exactly `bytes` from the server.
    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        let mut len = 0;
        while len < got.len() {
            match self.stream.read(&mut got[len..]) {
                Ok(0) => break,
                Ok(count) => len += count,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error} after {:?}", show(&got[..len])),
            }
            // At the first difference, rather than at the deadline.
            if got[..len] != bytes[..len] {
                break;
            }
        }
        if got != bytes {
            assert_eq!(show(&got[..len]), show(bytes));
        }
    }

    /// The server has hung up.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("{other:?}, {byte:?} and not the end"),
        }
    }

    /// Sends a line of words, and returns the reply as text.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// A simple reply, an error, a number or a bulk string; the last without its length.
    pub(crate) fn reply(&mut self) -> String {
        let line = self.line();
        let Some(len) = line.strip_prefix('$') else {
            return line;
        };
        let Ok(len) = len.parse::<usize>() else {
            return line;
        };
        let mut bulk = vec![0; len + 2];
        self.stream.read_exact(&mut bulk).expect("all of it");
        bulk.truncate(len);
        String::from_utf8(bulk).expect("text")
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).expect("a line");
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).expect("text")
    }

    /// Sends no more, but reads on.
    pub(crate) fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("connected");
    }

    /// Ends the connection by a reset.
    pub(crate) fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))
            .expect("a socket");
    }
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// A request as clients write it.
pub(crate) fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        request.extend_from_slice(word);
        request.extend_from_slice(b"\r\n");
    }
    request
}

/// A program of Redis; `None`: it is not installed, and nobody insists (`.ci/run` does, and installs
/// it).
pub(crate) fn tool(name: &str) -> Option<Command> {
    let installed = Command::new(name).arg("--version").output().is_ok();
    let insist = std::env::var_os("NOEX_REQUIRE_REDIS").is_some();
    assert!(installed || !insist, "{name} is not installed");
    if !installed {
        eprintln!("skipped: {name} is not installed");
    }
    installed.then(|| Command::new(name))
}
