//! An MCP server for the tests: it records every byte of its input, and misbehaves on demand.
//!
//! It is a cargo example only so that cargo builds it with the tests.
//!
//! ```text
//! scripted_upstream RECORD [--stay] [--exit CODE] [--first-say TEXT] [--tools FILE] [--pages]
//!                          [--list hang|error|late] [--first-list error|empty] [--show FILE]
//!                          [--text-ids refuse|ignore|zero|null]
//! ```
//!
//! The method `script`, as a request or a notification, makes it do what `params.do` says
//! ([`Server::act`]). It answers tool calls with their arguments ([`Server::call`]).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::zombie_processes,
    reason = "a test helper: errors must be loud"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, Stdio, exit};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

fn main() -> ExitCode {
    // A watchdog, in case a test forgets to stop this server.
    thread::spawn(|| {
        thread::sleep(Duration::from_secs(90));
        exit(99);
    });
    let options = Options::read();
    if let Some(code) = options.exit {
        eprintln!("scripted_upstream: exits at once");
        return ExitCode::from(code);
    }
    let mut server = Server {
        record: OpenOptions::new()
            .create(true)
            .append(true)
            .open(&options.record)
            .expect("the record can be written"),
        options,
    };
    if let Some(text) = server.options.first_say.clone() {
        say(&text);
    }
    server.serve();
    if server.options.stay {
        park();
    }
    ExitCode::SUCCESS
}

#[derive(Default)]
struct Options {
    /// The file for every byte of stdin.
    record: String,
    /// Ignores the end of stdin.
    stay: bool,
    /// Exits at once with this code.
    exit: Option<u8>,
    /// Written before anything is read.
    first_say: Option<String>,
    /// A file with the array of tools, read again for each `tools/list`.
    tools: Option<String>,
    /// Lists one tool per page.
    pages: bool,
    /// How `tools/list` fails: `hang`, `error`, or `late` (by six seconds).
    list: Option<String>,
    /// How the first `tools/list` fails: `error` or `empty`.
    first_list: Option<String>,
    /// What to do with requests whose id is a string: `refuse` them with an error under the id null,
    /// `ignore` them, or answer them under the id 0 (`zero`) or null (`null`).
    text_ids: Option<String>,
    /// A file whose text is part of the answer to each call.
    show: Option<String>,
}

impl Options {
    fn read() -> Options {
        let mut args = std::env::args().skip(1);
        let mut options = Options {
            record: args.next().expect("the record's path"),
            ..Options::default()
        };
        while let Some(flag) = args.next() {
            let mut value = || args.next().expect("a value");
            match flag.as_str() {
                "--stay" => options.stay = true,
                "--exit" => options.exit = Some(value().parse().expect("a code")),
                "--first-say" => options.first_say = Some(value()),
                "--tools" => options.tools = Some(value()),
                "--pages" => options.pages = true,
                "--list" => options.list = Some(value()),
                "--first-list" => options.first_list = Some(value()),
                "--text-ids" => options.text_ids = Some(value()),
                "--show" => options.show = Some(value()),
                other => panic!("unknown option {other}"),
            }
        }
        options
    }

    fn tools(&self) -> Vec<Value> {
        match &self.tools {
            Some(file) => {
                let text = fs::read_to_string(file).expect("the tools can be read");
                serde_json::from_str(&text).expect("an array of tools")
            }
            None => {
                let tool = |name: &str, annotations: Value| {
                    json!({"name": name, "description": format!("The tool {name}."),
                           "inputSchema": {"type": "object"}, "annotations": annotations})
                };
                vec![
                    tool("read", json!({"readOnlyHint": true})),
                    tool("hang", json!({"readOnlyHint": true})),
                    tool("slow", json!({"readOnlyHint": true})),
                    tool("big", json!({"readOnlyHint": true})),
                    tool("wipe", json!({"destructiveHint": true})),
                    tool("write_file", json!({})),
                    tool("plain", json!({})),
                ]
            }
        }
    }
}

struct Server {
    record: File,
    options: Options,
}

impl Server {
    fn serve(&mut self) {
        let mut stdin = io::stdin().lock();
        let mut chunk = vec![0; 64 * 1024];
        let mut waiting = Vec::new();
        loop {
            let count = match stdin.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            };
            // Record first: a test that has the answer may rely on the record.
            self.record.write_all(&chunk[..count]).expect("the record");
            let mut rest = &chunk[..count];
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                waiting.extend_from_slice(&rest[..end]);
                rest = &rest[end + 1..];
                if let Ok(message) = serde_json::from_slice(&waiting) {
                    self.message(&message);
                }
                waiting.clear();
            }
            waiting.extend_from_slice(rest);
        }
    }

    fn message(&mut self, message: &Value) {
        let (mut id, params) = (&message["id"], &message["params"]);
        let Some(method) = message["method"].as_str() else {
            return;
        };
        let (zero, null) = (json!(0), json!("null"));
        match self.options.text_ids.as_deref().filter(|_| id.is_string()) {
            None => {}
            Some("ignore") => return,
            Some("zero") => id = &zero,
            Some("null") => id = &null,
            Some(_) => {
                let error = json!({"code": -32600, "message": "the id must be a number"});
                return say_message(&json!({"jsonrpc": "2.0", "id": null, "error": error}));
            }
        }
        let result = match method {
            "initialize" => Some(json!({
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {"listChanged": true}},
                "serverInfo": {"name": "scripted", "version": "0"},
            })),
            "tools/list" => self.list(id, params),
            "tools/call" => self.call(params),
            "script" => self.act(params),
            other => Some(json!({"method": other})),
        };
        if let Some(result) = result
            && !id.is_null()
        {
            let id = match id == &null {
                true => &Value::Null,
                false => id,
            };
            // Most servers write the members in this order.
            say(&format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}\n"
            ));
        }
    }

    fn list(&mut self, id: &Value, params: &Value) -> Option<Value> {
        match self.options.first_list.take().as_deref() {
            None => {}
            Some("empty") => return Some(json!({"tools": []})),
            Some(_) => {
                let error = json!({"code": -32603, "message": "fetch failed"});
                say_message(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
                return None;
            }
        }
        match self.options.list.as_deref() {
            Some("hang") => return None,
            Some("late") => {
                let result = json!({"tools": self.options.tools()});
                let answer = json!({"jsonrpc": "2.0", "id": id, "result": result});
                thread::spawn(move || {
                    thread::sleep(Duration::from_secs(6));
                    say_message(&answer);
                });
                return None;
            }
            Some(_) => {
                let error = json!({"code": -32603, "message": "no list today"});
                say_message(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
                return None;
            }
            None => {}
        }
        let tools = self.options.tools();
        if !self.options.pages {
            return Some(json!({"tools": tools}));
        }
        let page = params["cursor"].as_str().map_or(0, |cursor| {
            cursor.trim_start_matches("page-").parse().expect("a page")
        });
        let mut result = json!({"tools": tools.get(page..page + 1)});
        if page + 1 < tools.len() {
            result["nextCursor"] = json!(format!("page-{}", page + 1));
        }
        Some(result)
    }

    fn call(&self, params: &Value) -> Option<Value> {
        let (name, arguments) = (&params["name"], &params["arguments"]);
        let mut structured = json!({"arguments": arguments});
        match name.as_str() {
            Some("hang") => return None,
            Some("slow") => {
                thread::sleep(Duration::from_millis(
                    arguments["ms"].as_u64().unwrap_or(300),
                ));
            }
            Some("big") => {
                let bytes = arguments["bytes"].as_u64().expect("a size");
                let text = "b".repeat(usize::try_from(bytes).expect("a size"));
                let result = json!({"content": [{"type": "text", "text": text}]});
                if let Some(id) = arguments.get("sorted_for") {
                    // serde_json's maps, Go and Swift sort the members, so the id comes first.
                    say_message(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
                    return None;
                }
                return Some(result);
            }
            _ => {}
        }
        if let Some(file) = &self.options.show {
            structured["shown"] = json!(fs::read_to_string(file).unwrap_or_default());
        }
        let text = format!("{} ran", name.as_str().unwrap_or("?"));
        Some(json!({
            "content": [{"type": "text", "text": text}], "structuredContent": structured,
        }))
    }

    /// Does what `params.do` says, and answers if it still can.
    fn act(&self, params: &Value) -> Option<Value> {
        let text = params["text"].as_str().unwrap_or_default();
        match params["do"].as_str().expect("what to do") {
            "say" => say(text),
            "say_bytes" => {
                let bytes: Vec<u8> =
                    serde_json::from_value(params["bytes"].clone()).expect("bytes");
                say_bytes(&bytes);
            }
            "stderr" => eprint!("{text}"),
            "exit" => exit(params["code"].as_i64().unwrap_or(0) as i32),
            "close_stdout" => {
                let null = File::create("/dev/null").expect("/dev/null");
                rustix::stdio::dup2_stdout(&null).expect("stdout can be replaced");
                return None;
            }
            "close_stdin" => {
                let null = File::open("/dev/null").expect("/dev/null");
                rustix::stdio::dup2_stdin(&null).expect("stdin can be replaced");
                // A server that closes its stdin may keep running.
                say_message(&json!({"jsonrpc": "2.0", "method": "notifications/closed"}));
                park();
            }
            "stop_reading" => {
                say_message(&json!({"jsonrpc": "2.0", "method": "notifications/stopped"}));
                park();
            }
            "flood" => {
                let count = params["count"].as_u64().expect("how many");
                let filler = "f".repeat(params["size"].as_u64().unwrap_or(10) as usize);
                for n in 0..count {
                    say_message(&json!({"jsonrpc": "2.0", "method": "notifications/flood",
                                        "params": {"n": n, "filler": filler}}));
                }
            }
            "grandchild" => {
                let script = "trap '' TERM; while :; do sleep 0.2; done";
                // It keeps its parent's pipes open.
                let grandchild = Command::new("sh")
                    .args(["-c", script])
                    .stdin(Stdio::inherit())
                    .spawn()
                    .expect("a grandchild");
                return Some(json!({"pid": grandchild.id()}));
            }
            "report" => {
                let env: serde_json::Map<String, Value> = std::env::vars()
                    .map(|(name, value)| (name, json!(value)))
                    .collect();
                return Some(json!({
                    "pid": std::process::id(), "env": env,
                    "args": std::env::args().collect::<Vec<_>>(),
                    "cwd": std::env::current_dir().expect("a directory"),
                }));
            }
            other => panic!("no script for {other}"),
        }
        Some(json!({"did": params["do"]}))
    }
}

fn say_message(message: &Value) {
    say(&format!("{message}\n"));
}

fn say(text: &str) {
    say_bytes(text.as_bytes());
}

fn say_bytes(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    // If nobody reads stdout any more, the server ends when its stdin closes.
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

fn park() -> ! {
    loop {
        thread::park();
    }
}
