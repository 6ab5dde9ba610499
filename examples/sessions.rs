//! The sessions of a web server: a table that many threads share, and a store that crashes.
//!
//! ```text
//! cargo run --release --example sessions -- [--threads N] [--logins N] [--crash-one-in N] [--seed N]
//! ```
//!
//! ```text
//!   threads of the web server ── requests ──▶ table ◀── owns ── store      crashes
//!            └── log in, log out ──▶ store          └── inherits ── keeper   does not
//! ```
//!
//! - **Requests** go to the table itself, without a message: they look the session up and count
//!   themselves, also while the store is down.
//! - **Logging in and out** is the store's affair, a server that panics at every `N`th chance, before or
//!   after it has written. Its heir, the keeper, has the table then and gives it to the next incarnation.
//! - **Guests** get a session that expires; members stay until they log out.
//!
//! Each thread keeps books of what it was told. In the end they are compared with the table: every session
//! that a thread was given, and has not given back, must be there with exactly the hits that were counted, and
//! no other.

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use noex::ets::{Access, Expiry, Set, Transfer};
use noex::prelude::*;
use noex::{Table, TableError};

/// How long a guest may stay.
const VISIT: Duration = Duration::from_millis(50);

/// How long the threads wait for the store, and for the last guest to be gone, before they call it lost.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq)]
struct Session {
    user: String,
    hits: u64,
}

type Token = u64;
type Sessions = Table<Token, Session>;
type Handover = Transfer<Token, Session, Set, ()>;

/// Owns the table whenever the store does not.
struct Keeper {
    sessions: Sessions,
    heirless: Option<ServerRef<Store>>,
    has_it: bool,
}

/// A new store asks for the table.
struct Wanted(ServerRef<Store>);

impl Keeper {
    fn pass_on(&mut self) {
        if !self.has_it {
            return;
        }
        // A store that has died meanwhile does not get it; the next one will ask.
        let store = self.heirless.take();
        self.has_it = store.is_none_or(|store| self.sessions.give_away(&store, ()).is_err());
    }
}

impl GenServer for Keeper {
    type Args = ();

    async fn init(_: (), cx: &mut Context<Self>) -> Result<Self, InitStop> {
        let sessions = Table::builder()
            .named("sessions")
            .access(Access::Public)
            .heir(&cx.this().recipient::<Handover>(), ())
            .build(cx)
            .map_err(ExitReason::error)?;
        Ok(Keeper {
            sessions,
            heirless: None,
            has_it: true,
        })
    }
}

impl HandleInfo<Wanted> for Keeper {
    async fn handle_info(&mut self, Wanted(store): Wanted, _: &mut Context<Self>) {
        self.heirless = Some(store);
        self.pass_on();
    }
}

impl HandleInfo<Handover> for Keeper {
    async fn handle_info(&mut self, _: Handover, _: &mut Context<Self>) {
        self.has_it = true; // its owner died
        self.pass_on();
    }
}

/// When a store crashes, and how often it did.
struct Faults {
    one_in: u64,
    chances: AtomicU64,
    crashes: AtomicU64,
}

impl Faults {
    fn strike(&self) {
        let chance = self.chances.fetch_add(1, Relaxed) + 1;
        if self.one_in > 0 && chance % self.one_in == 0 {
            self.crashes.fetch_add(1, Relaxed);
            panic!("an injected fault");
        }
    }
}

/// Lets people in and out.
struct Store {
    sessions: Option<Sessions>,
    faults: Arc<Faults>,
}

struct LogIn {
    token: Token,
    user: String,
    stays: Option<Duration>,
}
struct LogOut(Token);

/// Why somebody is to try again.
#[derive(Debug)]
struct NotNow;

impl GenServer for Store {
    type Args = (Named<Keeper>, Arc<Faults>);

    async fn init((keeper, faults): Self::Args, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        keeper.send(Wanted(cx.this())).map_err(ExitReason::error)?;
        Ok(Store {
            sessions: None,
            faults,
        })
    }
}

impl HandleInfo<Handover> for Store {
    async fn handle_info(&mut self, handover: Handover, _: &mut Context<Self>) {
        self.sessions = Some(handover.table);
    }
}

impl HandleCall<LogIn> for Store {
    type Reply = Result<(), NotNow>;

    async fn handle_call(&mut self, log_in: LogIn, _: &mut Context<Self>) -> Self::Reply {
        let sessions = self.sessions.as_ref().ok_or(NotNow)?;
        self.faults.strike();
        let expiry = log_in.stays.map_or(Expiry::Never, Expiry::After);
        let session = Session {
            user: log_in.user,
            hits: 0,
        };
        // Who asks again after a crash may have been let in before it.
        let put = sessions.insert_new_with(log_in.token, session, expiry);
        self.faults.strike();
        put.map(|_| ()).map_err(|_| NotNow)
    }
}

impl HandleCall<LogOut> for Store {
    type Reply = Result<(), NotNow>;

    async fn handle_call(&mut self, LogOut(token): LogOut, _: &mut Context<Self>) -> Self::Reply {
        let sessions = self.sessions.as_ref().ok_or(NotNow)?;
        self.faults.strike();
        let gone = sessions.delete(&token);
        self.faults.strike();
        gone.map(|_| ()).map_err(|_| NotNow)
    }
}

/// A thread of the web server, and its books.
struct Web {
    sessions: Sessions,
    store: Named<Store>,
    rng: fastrand::Rng,
    /// What each member's session must be, by what this thread was told.
    books: HashMap<Token, Session>,
    told: Told,
}

#[derive(Default)]
struct Told {
    logins: u64,
    logouts: u64,
    guests: u64,
    requests: u64,
    /// Asked again, as the store was down.
    again: u64,
}

impl Web {
    /// Asks the store until it answers.
    fn insist<M>(&mut self, request: impl Fn() -> M) -> Result<(), Box<dyn Error + Send + Sync>>
    where
        M: Send + 'static,
        Store: HandleCall<M, Reply = Result<(), NotNow>>,
    {
        let began = Instant::now();
        loop {
            match self.store.call(request()).wait() {
                Ok(Ok(())) => return Ok(()),
                _ if began.elapsed() > PATIENCE => {
                    return Err("the store does not come back".into());
                }
                _ => self.told.again += 1,
            }
            std::thread::yield_now();
        }
    }

    fn log_in(&mut self, n: u64) -> Result<(), Box<dyn Error + Send + Sync>> {
        let token = self.rng.u64(..);
        let guest = self.rng.u8(..4) == 0;
        let user = format!("{} {n}", if guest { "guest" } else { "member" });
        let session = Session {
            user: user.clone(),
            hits: 0,
        };
        let stays = guest.then_some(VISIT);
        self.insist(|| LogIn {
            token,
            user: user.clone(),
            stays,
        })?;
        if guest {
            self.told.guests += 1;
        } else {
            self.told.logins += 1;
            self.books.insert(token, session);
        }
        Ok(())
    }

    /// A request of somebody who is logged in: no message, whether or not there is a store just now.
    fn request(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Some(token) = self.rng.choice(self.books.keys().copied().take(8)) else {
            return Ok(());
        };
        let hits = self
            .sessions
            .update_counter(&token, |session| &mut session.hits, 1)?;
        let book = self
            .books
            .get_mut(&token)
            .ok_or("no such page in the books")?;
        book.hits += 1;
        self.told.requests += 1;
        if hits != book.hits {
            return Err(format!("{}: {hits} hits, not {}", book.user, book.hits).into());
        }
        Ok(())
    }

    fn log_out(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Some(token) = self.books.keys().next().copied() else {
            return Ok(());
        };
        self.insist(|| LogOut(token))?;
        self.books.remove(&token);
        self.told.logouts += 1;
        match self.sessions.lookup(&token)? {
            None => Ok(()),
            Some(session) => Err(format!("{} was logged out", session.user).into()),
        }
    }

    fn run(mut self, logins: u64) -> Result<Self, Box<dyn Error + Send + Sync>> {
        for n in 0..logins {
            self.log_in(n)?;
            for _ in 0..10 {
                self.request()?;
            }
            if self.rng.u8(..3) == 0 {
                self.log_out()?;
            }
        }
        Ok(self)
    }
}

struct Options {
    threads: u64,
    logins: u64,
    crash_one_in: u64,
    seed: u64,
}

fn options() -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options {
        threads: 8,
        logins: 2_000,
        crash_one_in: 100,
        seed: 1,
    };
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("threads") => options.threads = args.value()?.parse()?,
            Long("logins") => options.logins = args.value()?.parse()?,
            Long("crash-one-in") => options.crash_one_in = args.value()?.parse()?,
            Long("seed") => options.seed = args.value()?.parse()?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

/// What is wrong in the end; waits for the last guest to go.
fn audit(sessions: &Sessions, books: &HashMap<Token, Session>) -> Result<Vec<String>, TableError> {
    let mut wrong = Vec::new();
    for (token, session) in books {
        match sessions.lookup(token)? {
            Some(found) if found == *session => {}
            Some(found) => wrong.push(format!("{found:?} should be {session:?}")),
            None => wrong.push(format!("lost: {session:?}")),
        }
    }
    let began = Instant::now();
    let strangers =
        || sessions.select(|token, session| (!books.contains_key(token)).then(|| session.clone()));
    while !strangers()?.is_empty() && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    wrong.extend(
        strangers()?
            .iter()
            .map(|stranger| format!("still there: {stranger:?}")),
    );
    Ok(wrong)
}

fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let options = options()?;
    let faults = Arc::new(Faults {
        one_in: options.crash_one_in,
        chances: AtomicU64::new(0),
        crashes: AtomicU64::new(0),
    });
    let system = System::builder()
        .name("sessions")
        .on_event(|_| {})
        .build()?; // its crashes are no news
    let keeper = system.server::<Keeper>("keeper");
    Supervisor::new(Strategy::OneForOne)
        .intensity(u32::MAX)
        .child(ChildSpec::server::<Keeper>("keeper", ()).name("keeper"))
        .child(ChildSpec::server::<Store>("store", (keeper, faults.clone())).name("store"))
        .start(&system)
        .wait()?;
    let sessions: Sessions = system.table_named("sessions")?;

    let began = Instant::now();
    let threads: Vec<_> = (0..options.threads)
        .map(|thread| {
            let web = Web {
                sessions: sessions.clone(),
                store: system.server("store"),
                rng: fastrand::Rng::with_seed(options.seed.wrapping_add(thread)),
                books: HashMap::new(),
                told: Told::default(),
            };
            let logins = options.logins;
            std::thread::spawn(move || web.run(logins))
        })
        .collect();
    let (mut books, mut told) = (HashMap::new(), Told::default());
    for thread in threads {
        let web = thread
            .join()
            .map_err(|_| "a thread of the web server panicked")??;
        books.extend(web.books);
        told.logins += web.told.logins;
        told.logouts += web.told.logouts;
        told.guests += web.told.guests;
        told.requests += web.told.requests;
        told.again += web.told.again;
    }
    let took = began.elapsed();
    let wrong = audit(&sessions, &books)?;

    println!("{} threads, {took:.1?}", options.threads);
    println!(
        "members   {:>8} logged in, {} out again, {} stay",
        told.logins,
        told.logouts,
        books.len()
    );
    println!("guests    {:>8} came, all of them expired", told.guests);
    println!("requests  {:>8} counted in the table", told.requests);
    println!(
        "store     {:>8} crashes, {} requests to it made again",
        faults.crashes.load(Relaxed),
        told.again
    );
    println!("lost      {:>8}", wrong.len());
    for line in wrong.iter().take(10) {
        eprintln!("{line}");
    }
    system.shutdown().wait()?;
    Ok(if wrong.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
