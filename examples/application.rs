//! Two applications run as a whole program: `stock`, a server that counts goods, and `till`, which
//! depends on it and sells them.
//!
//! ```text
//! cargo run --release --example application              # sells out, and ends
//! cargo run --release --features signals --example application -- --forever
//!                                                        # until Ctrl-C or SIGTERM, then in order
//! ```

use std::process::ExitCode;
use std::time::Duration;

use noex::prelude::*;
use noex::{Application, ApplicationSpec, Pid, ProcessContext, StartError};

/// How many goods there are.
struct Stock(u64);

/// Takes one out; `None`: there is none.
struct Take;

impl GenServer for Stock {
    type Args = u64;
    async fn init(goods: u64, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Stock(goods))
    }
}
impl HandleCall<Take> for Stock {
    type Reply = Option<u64>;
    async fn handle_call(&mut self, _: Take, _: &mut Context<Self>) -> Option<u64> {
        self.0 = self.0.checked_sub(1)?;
        Some(self.0)
    }
}

/// The application `stock`; its environment: how many goods there are.
struct StockApp;

impl Application for StockApp {
    const NAME: &'static str = "stock";
    type Env = u64;

    async fn start(goods: u64, cx: &ProcessContext) -> Result<(Self, Pid), StartError> {
        println!("stock: {goods} goods");
        let server = ChildSpec::server::<Stock>("stock", goods).name("stock");
        let tree = Supervisor::new(Strategy::OneForOne).child(server);
        Ok((StockApp, tree.start_link(cx).await?.pid()))
    }
    async fn stop(self, _: &ProcessContext) {
        println!("stock: closed");
    }
}

/// Sells one thing after the other.
struct Till {
    stock: Named<Stock>,
    env: TillEnv,
    sold: u64,
}
struct Sell;

impl GenServer for Till {
    type Args = TillEnv;
    async fn init(env: TillEnv, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        let stock = cx.system().server("stock");
        Ok(Till {
            stock,
            env,
            sold: 0,
        })
    }
}
impl HandleCast<Sell> for Till {
    async fn handle_cast(&mut self, _: Sell, cx: &mut Context<Self>) {
        match self.stock.call(Take).await {
            Ok(Some(_)) => self.sold += 1,
            Ok(None) if self.env.forever => {}
            // The supervisor's only, permanent child; so the tree is told to end, not this process.
            Ok(None) => {
                println!("till: sold out after {}", self.sold);
                drop(cx.system().shutdown());
                return;
            }
            Err(error) => println!("till: no answer from the stock: {error}"),
        }
        if self.env.forever {
            cx.sleep(Duration::from_millis(1)).await;
        }
        // To itself, behind whatever has come meanwhile; its mailbox is unbounded.
        let _ = cx.this().cast(Sell);
    }
}

#[derive(Clone)]
struct TillEnv {
    forever: bool,
}

/// The application `till`. It opens in a phase of its own, when all of its tree stands.
struct TillApp;

impl Application for TillApp {
    const NAME: &'static str = "till";
    type Env = TillEnv;

    async fn start(env: TillEnv, cx: &ProcessContext) -> Result<(Self, Pid), StartError> {
        let server = ChildSpec::server::<Till>("till", env).name("till");
        let tree = Supervisor::new(Strategy::OneForOne).child(server);
        Ok((TillApp, tree.start_link(cx).await?.pid()))
    }
    async fn start_phase(&mut self, phase: &str, cx: &ProcessContext) -> Result<(), ExitReason> {
        println!("till: {phase}");
        let till = cx.system().server::<Till>("till");
        till.cast(Sell).map_err(ExitReason::error)
    }
    async fn prep_stop(&mut self, _: &ProcessContext) {
        println!("till: closing");
    }
    async fn stop(self, _: &ProcessContext) {
        println!("till: closed");
    }
}

fn main() -> ExitCode {
    let forever = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--forever") => true,
        Some(_) => {
            eprintln!("usage: application [--forever]");
            return ExitCode::from(2);
        }
    };
    let stock = ApplicationSpec::new::<StockApp>(100_000).description("counts goods");
    ApplicationSpec::new::<TillApp>(TillEnv { forever })
        .description("sells them")
        .depends_on("stock")
        .start_phases(["open"])
        .main([stock])
}
