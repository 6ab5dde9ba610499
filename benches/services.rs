//! What a service costs over what it is made of. Guarded: a `get` from a cache costs about what a bare call
//! costs, whatever is in it; the map under a lock runs beside, as what a program would have without noex.
//!
//! ```text
//! cargo bench --bench services
//! ```
//!
//! prints one line for each: `name<TAB>n<TAB>median ns for each`. The repetitions of all are interleaved.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use noex::prelude::*;
use noex::services::Cache;
use noex::{Inbox, System};

const REPS: usize = 11;
const GETS: u64 = 100_000;
const KEYS: u64 = 10_000;

struct Empty;
struct Nothing(u64);

impl GenServer for Empty {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Empty)
    }
}
impl HandleCall<Nothing> for Empty {
    type Reply = Option<u64>;
    async fn handle_call(&mut self, Nothing(n): Nothing, _: &mut Context<Self>) -> Option<u64> {
        Some(n)
    }
}

/// Runs `work` in a process; how long it took.
fn in_process<F>(system: &System, work: impl FnOnce(Inbox<()>) -> F + Send + 'static) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    let (send, took) = std::sync::mpsc::channel();
    let process = move |cx: Inbox<()>| async move {
        let start = Instant::now();
        work(cx).await;
        let _ = send.send(start.elapsed());
    };
    system.spawn(process).expect("a running system");
    took.recv().expect("it does not crash")
}

fn main() {
    let system = System::new().expect("threads");
    let empty = system.start::<Empty>(()).wait().expect("a server");
    let start = Cache::<u64, u64>::new()
        .max_len(KEYS as usize)
        .start(&system);
    let cache = start.wait().expect("a cache");
    let map = Mutex::new(HashMap::new());
    for key in 0..KEYS {
        cache.set(key, key).wait().expect("a cache");
        map.lock().expect("not poisoned").insert(key, key);
    }
    let mut rows: [(&str, Vec<Duration>); 4] = [
        ("mutex_hashmap_get", Vec::new()),
        ("call", Vec::new()),
        ("cache_get", Vec::new()),
        ("cache_set", Vec::new()),
    ];
    for _ in 0..REPS {
        let start = Instant::now();
        for n in 0..GETS {
            let map = map.lock().expect("not poisoned");
            black_box(map.get(&black_box(n % KEYS)).copied());
        }
        rows[0].1.push(start.elapsed());
        let server = empty.clone();
        rows[1].1.push(in_process(&system, move |_| async move {
            for n in 0..GETS {
                black_box(server.call(Nothing(n % KEYS)).await.expect("a reply"));
            }
        }));
        let reader = cache.clone();
        rows[2].1.push(in_process(&system, move |_| async move {
            for n in 0..GETS {
                black_box(reader.get(n % KEYS).await.expect("a reply"));
            }
        }));
        let writer = cache.clone();
        rows[3].1.push(in_process(&system, move |_| async move {
            // Each is a key that is not there, and evicts another.
            for n in 0..GETS {
                let key = (n % (2 * KEYS)) * KEYS;
                writer.set(key, n).await.expect("a reply");
            }
            for key in 0..KEYS {
                writer.set(key, key).await.expect("a reply");
            }
        }));
    }
    for (name, mut times) in rows {
        times.sort();
        let n = GETS + if name == "cache_set" { KEYS } else { 0 };
        let median = times[times.len() / 2].as_nanos() / u128::from(n);
        println!("{name}\t{n}\t{median}");
    }
}
