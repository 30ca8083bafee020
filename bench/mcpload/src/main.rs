//! `mcpload`: calls tools of a stdio MCP server, or of a proxy in front of one, and measures the
//! time.
//!
//! It starts the command, performs `initialize` and `notifications/initialized`, sends `tools/call`
//! with a window of calls in flight, accepts every `elicitation/create`, and prints the start-up
//! time, latency percentiles, throughput, and the child's memory and processor time. It does not
//! judge the figures.
//!
//! One thread does everything with `poll`, so no hand-over between threads is measured, and no
//! payload size can deadlock the pipes.

#![allow(
    clippy::disallowed_methods,
    reason = "this program measures time; the list is meant for the proxy"
)]

mod child;
mod message;
mod options;
mod pipes;
mod report;
mod tally;
mod usage;

use std::collections::VecDeque;
use std::error::Error;
use std::time::{Duration, Instant};

use child::Child;
use message::Message;
use options::Options;
use pipes::Pipes;
use report::Report;
use tally::Tally;
use usage::Usage;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let options = Options::parse(std::env::args().skip(1)).unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(2);
    });
    let began = Instant::now();
    let (child, pipes) = Child::start(&options)?;
    // Its pipes are closed after this, which tells it to exit.
    let report = drive(&options, pipes, child.id(), began);
    child.wait(Duration::from_secs(2))?;
    report?.print(&options);
    Ok(())
}

fn drive(options: &Options, mut pipes: Pipes, child: u32, began: Instant) -> Outcome<Report> {
    initialize(&mut pipes, options)?;
    let start_up = began.elapsed();
    pipes.send(message::INITIALIZED);
    if options.warmup > 0 {
        call(&mut pipes, 1, options.warmup, options)?;
    }
    let before = Usage::of(child);
    let tally = call(&mut pipes, 1 + options.warmup, options.calls, options)?;
    let usage = Usage::of(child).since(before);
    Ok(Report::new(start_up, tally, usage))
}

fn initialize(pipes: &mut Pipes, options: &Options) -> Outcome<()> {
    pipes.send(&message::initialize(&options.protocol));
    let mut ignored = 0;
    loop {
        let line = pipes.wait_line()?;
        let message: Message<'_> = serde_json::from_slice(line)?;
        if let Some(error) = message.error {
            return Err(format!("initialize failed: {}", error.get()).into());
        }
        if message.method.is_none() {
            return Ok(());
        }
        if let Some(reply) = message.reply(&mut ignored) {
            pipes.send(&reply);
        }
    }
}

/// Makes `count` calls with at most `options.window` in flight.
fn call(pipes: &mut Pipes, first_id: usize, count: usize, options: &Options) -> Outcome<Tally> {
    let tail = message::call_tail(&options.tool, options.arg_bytes, options.result_bytes);
    let mut tally = Tally::new(count);
    // When each call from `oldest` on was sent; `None` after its answer.
    let mut sent_at: VecDeque<Option<Instant>> = VecDeque::with_capacity(options.window);
    let mut oldest = first_id;
    let (mut sent, mut answered) = (0, 0);
    let began = Instant::now();
    while answered < count {
        while sent < count && sent - answered < options.window {
            sent_at.push_back(Some(Instant::now()));
            pipes.send_call(first_id + sent, &tail);
            sent += 1;
        }
        let line = pipes.wait_line()?;
        let arrived = Instant::now();
        let message: Message<'_> = serde_json::from_slice(line).map_err(|error| {
            let line = String::from_utf8_lossy(line);
            format!("not a message: {error}: {line}")
        })?;
        if message.method.is_some() {
            if let Some(reply) = message.reply(&mut tally.elicitations) {
                pipes.send(&reply);
            }
            continue;
        }
        let slot = message.numeric_id().and_then(|id| id.checked_sub(oldest));
        let asked = slot
            .and_then(|slot| sent_at.get_mut(slot)?.take())
            .ok_or("an answer to no call in flight")?;
        tally.record(arrived - asked, &message, line.len() < options.result_bytes);
        answered += 1;
        while let Some(None) = sent_at.front() {
            sent_at.pop_front();
            oldest += 1;
        }
    }
    tally.elapsed = began.elapsed();
    Ok(tally)
}
