//! A minimal MCP client that starts the proxy and calls tools.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::{Value, json};

use crate::DEADLINE;
use crate::world::World;

/// A client with an open session.
pub(crate) struct Agent {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
}

impl Agent {
    /// Starts the proxy and completes the handshake.
    pub(crate) fn start(world: &World, arguments: &[&str], capabilities: &Value) -> Agent {
        let mut child = Command::new(world.program("approval-proxy"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, from) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        let to = child.stdin.take().unwrap();
        let mut agent = Agent { child, to, from };
        let about = json!({"protocolVersion": "2025-06-18", "capabilities": capabilities,
            "clientInfo": {"name": "an-agent", "version": "1"}});
        agent.sends(&json!({"id": 0, "method": "initialize", "params": about}));
        agent.answer(0);
        agent.sends(&json!({"method": "notifications/initialized"}));
        agent
    }

    pub(crate) fn sends(&mut self, message: &Value) {
        let mut message = message.clone();
        message["jsonrpc"] = json!("2.0");
        writeln!(self.to, "{message}").unwrap();
    }

    /// Calls a tool. `arguments` is JSON text, because its order shows in the inbox.
    pub(crate) fn calls(&mut self, id: u64, tool: &str, arguments: &str) {
        let params = format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#);
        let call =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#);
        writeln!(self.to, "{call}").unwrap();
    }

    /// Receives the next message.
    pub(crate) fn next(&mut self) -> Value {
        self.from
            .recv_timeout(DEADLINE)
            .expect("a message from the proxy")
    }

    /// Receives the result of a request.
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        let answer = self.next();
        assert_eq!(answer["id"], id, "{answer}");
        answer["result"].clone()
    }

    /// Receives the text of a refusal.
    pub(crate) fn refusal(&mut self, id: u64) -> String {
        let answer = self.answer(id);
        assert_eq!(answer["isError"], true, "{answer}");
        answer["content"][0]["text"].as_str().unwrap().to_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
