//! `httpload`: calls tools of an MCP server or a proxy over streamable HTTP, measures the time, and compares every
//! answer with its call.
//!
//! Each session has its own `initialize`, and each call in flight has its own persistent connection. All sessions use
//! the same ids, and every call carries a unique tag that `mcp-echo` returns, so an answer to the wrong call is
//! noticed. With `--stateless`, each session is a client whose requests are self-contained, as in revision 2026-07-28.
//!
//! It prints `ready` once every connection is open, and one line of JSON at the end. It does not judge the figures.

#![allow(
    clippy::disallowed_methods,
    reason = "this program measures time; the list is meant for the proxy"
)]

mod answer;
mod connection;
mod message;
mod options;
mod report;
mod session;
mod work;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use options::Options;
use report::Report;
use session::Session;
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;
use work::Work;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let options = Options::parse(std::env::args().skip(1)).unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(2);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(drive(Arc::new(options)))?;
    println!("{report}");
    Ok(())
}

async fn drive(options: Arc<Options>) -> Outcome<Report> {
    let work = Arc::new(Work::default());
    let begin = Arc::new(Barrier::new(options.sessions + 1));
    // The listener's backlog is not under test.
    let starting = Arc::new(Semaphore::new(STARTING));
    let mut sessions = JoinSet::new();
    for number in 0..options.sessions {
        let (options, work, begin) = (Arc::clone(&options), Arc::clone(&work), Arc::clone(&begin));
        let starting = Arc::clone(&starting);
        sessions.spawn(async move {
            let permit = starting.acquire().await?;
            let (session, connections) = Session::begin(number, options).await?;
            drop(permit);
            session.run(connections, &work, &begin).await
        });
    }
    // Do not wait for a session that failed to begin.
    tokio::select! {
        _ = begin.wait() => {}
        Some(Ok(Err(error))) = sessions.join_next() => return Err(error),
    }
    if options.warmup > 0 {
        work.give(options.warmup, None);
        begin.wait().await;
        begin.wait().await;
    }
    println!("ready");
    let until = options.seconds.map(|time| Instant::now() + time);
    work.give(options.calls, until);
    let began = Instant::now();
    begin.wait().await;
    begin.wait().await;
    let elapsed = began.elapsed();
    let mut tallies = Vec::with_capacity(options.sessions);
    while let Some(ended) = sessions.join_next().await {
        tallies.push(ended??);
    }
    Ok(Report::new(elapsed, tallies))
}

/// How many sessions begin at the same time.
const STARTING: usize = 8;
/// The longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
