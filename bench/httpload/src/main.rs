//! `httpload`: drives an MCP server, or a proxy, over streamable HTTP, times it, and holds every
//! answer against its call.
//!
//! Each session has its own `initialize`; each call in flight has its own connection, which is kept.
//! All sessions count their ids alike, and every call carries a tag that no other call has and that
//! `mcp-echo` sends back: so an answer that went astray is found out. With `--stateless`, a session
//! is a client that stands for itself in every request, as revision 2026-07-28 has it.
//!
//! It prints a line `ready` once every connection stands, and in the end one line of JSON. It judges
//! nothing.

#![allow(
    clippy::disallowed_methods,
    reason = "reading the clock is what it is for; the list is the proxy's"
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
    // The listener's backlog is not what is tested.
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
    // A session that does not begin would be waited for in vain.
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

/// How many sessions begin at once.
const STARTING: usize = 8;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
