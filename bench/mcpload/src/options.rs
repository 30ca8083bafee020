//! The command line.

use std::time::Duration;

use crate::Outcome;

const USAGE: &str = "\
usage: mcpload [options] -- COMMAND [ARG...]

  --calls N          measured calls (20000)
  --warmup N         calls before the measured ones (200)
  --window N         calls in flight (1)
  --tool NAME        tool to call (get_echo)
  --arg-bytes N      bytes of padding in the arguments, as `pad` (100)
  --result-bytes N   bytes of text to request, as `size` (100)
  --protocol V       protocolVersion to request (2025-06-18)
  --timeout SECONDS  longest wait for any one message (30)
  --sockets          use socket pairs for the child's stdio, as Node clients do, instead of pipes
  --show-stderr      pass the child's stderr through
  --json             print JSON on one line";

pub(crate) struct Options {
    pub(crate) calls: usize,
    pub(crate) warmup: usize,
    pub(crate) window: usize,
    pub(crate) tool: String,
    pub(crate) arg_bytes: usize,
    pub(crate) result_bytes: usize,
    pub(crate) protocol: String,
    pub(crate) timeout: Duration,
    pub(crate) sockets: bool,
    pub(crate) show_stderr: bool,
    pub(crate) json: bool,
    pub(crate) command: Vec<String>,
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Options> {
        let mut options = Options {
            calls: 20_000,
            warmup: 200,
            window: 1,
            tool: "get_echo".to_owned(),
            arg_bytes: 100,
            result_bytes: 100,
            protocol: "2025-06-18".to_owned(),
            timeout: Duration::from_secs(30),
            sockets: false,
            show_stderr: false,
            json: false,
            command: Vec::new(),
        };
        while let Some(flag) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--calls" => options.calls = value()?.parse()?,
                "--warmup" => options.warmup = value()?.parse()?,
                "--window" => options.window = value()?.parse()?,
                "--tool" => options.tool = value()?,
                "--arg-bytes" => options.arg_bytes = value()?.parse()?,
                "--result-bytes" => options.result_bytes = value()?.parse()?,
                "--protocol" => options.protocol = value()?,
                "--timeout" => options.timeout = Duration::from_secs(value()?.parse()?),
                "--sockets" => options.sockets = true,
                "--show-stderr" => options.show_stderr = true,
                "--json" => options.json = true,
                "--" => options.command = words.by_ref().collect(),
                "--help" | "-h" => {
                    println!("{USAGE}");
                    std::process::exit(0);
                }
                _ => return Err(format!("unknown option `{flag}`\n{USAGE}").into()),
            }
        }
        if options.command.is_empty() {
            return Err(USAGE.into());
        }
        if options.calls == 0 || options.window == 0 {
            return Err("--calls and --window must be at least 1".into());
        }
        Ok(options)
    }
}
