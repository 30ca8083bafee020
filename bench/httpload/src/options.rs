//! The command line.

use std::time::Duration;

use hyper::Uri;

use crate::Outcome;

const USAGE: &str = "\
usage: httpload [options] --url URL

  --url URL          URL of the server: http://ADDRESS:PORT/PATH
  --sessions N       sessions, each with its own `initialize` (1)
  --in-flight N      calls in flight per session, each on its own connection (1)
  --calls N          measured calls of all sessions together (20000)
  --seconds N        instead of --calls: how long to start new calls
  --warmup N         calls before the measured ones (0)
  --stateless        use stateless clients (2026-07-28) instead of sessions
  --tool NAME        tool to call (get_echo)
  --arg-bytes N      bytes of padding in the arguments, as `pad` (100)
  --result-bytes N   bytes of text to request, as `size` (100)";

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) url: Uri,
    pub(crate) sessions: usize,
    pub(crate) in_flight: usize,
    pub(crate) calls: u64,
    pub(crate) seconds: Option<Duration>,
    pub(crate) warmup: u64,
    pub(crate) stateless: bool,
    pub(crate) tool: String,
    pub(crate) arg_bytes: usize,
    pub(crate) result_bytes: usize,
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Options> {
        let mut options = Options {
            url: Uri::default(),
            sessions: 1,
            in_flight: 1,
            calls: 20_000,
            seconds: None,
            warmup: 0,
            stateless: false,
            tool: "get_echo".to_owned(),
            arg_bytes: 100,
            result_bytes: 100,
        };
        while let Some(flag) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--url" => options.url = value()?.parse()?,
                "--sessions" => options.sessions = value()?.parse()?,
                "--in-flight" => options.in_flight = value()?.parse()?,
                "--calls" => options.calls = value()?.parse()?,
                "--seconds" => {
                    let seconds = Duration::try_from_secs_f64(value()?.parse()?)?;
                    (options.seconds, options.calls) = (Some(seconds), u64::MAX);
                }
                "--warmup" => options.warmup = value()?.parse()?,
                "--stateless" => options.stateless = true,
                "--tool" => options.tool = value()?,
                "--arg-bytes" => options.arg_bytes = value()?.parse()?,
                "--result-bytes" => options.result_bytes = value()?.parse()?,
                "--help" | "-h" => {
                    println!("{USAGE}");
                    std::process::exit(0);
                }
                _ => return Err(format!("unknown option `{flag}`\n{USAGE}").into()),
            }
        }
        if options.url.scheme_str() != Some("http") || options.url.port_u16().is_none() {
            return Err(USAGE.into());
        }
        if options.sessions == 0 || options.in_flight == 0 || options.calls == 0 {
            return Err("--sessions, --in-flight and --calls must be at least 1".into());
        }
        Ok(options)
    }
}
