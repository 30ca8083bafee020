//! The answers of an MCP server that is as fast as possible, so that a proxy in front of it is what
//! gets measured. The programs that use it do the I/O.
//!
//! It supports `initialize` (with any revision), `ping`, `tools/list` and `tools/call`, and keeps
//! no session. It has two tools, `get_echo` (`readOnlyHint: true`) and `delete_thing`
//! (`destructiveHint: true`). Both answer with a text of `arguments.size` bytes (default 2) in
//! lines of 80, so that a megabyte contains as many escapes as a file's text would. A string
//! `arguments.tag` is returned first, as a separate text.
//! string `arguments.tag` comes back as a text of its own before that.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Write};

use serde::Deserialize;
use serde_json::value::RawValue;

/// The server.
#[derive(Debug, Default)]
pub struct Server {
    /// The texts that were requested, by size, as JSON.
    texts: HashMap<usize, String>,
}

impl Server {
    /// Answers one message, if it needs an answer.
    ///
    /// # Errors
    /// Any error of `out`.
    pub fn answer(&mut self, line: &[u8], out: &mut impl Write) -> io::Result<()> {
        let Ok(request) = serde_json::from_slice::<Request<'_>>(line) else {
            return fail(out, "null", -32700, "not a JSON-RPC message");
        };
        // Without an id it is a notification; without a method, a response.
        let (Some(id), Some(method)) = (request.id, request.method) else {
            return Ok(());
        };
        let id = id.get();
        let params = request.params.map_or("{}", RawValue::get);
        match method.as_ref() {
            "initialize" => match serde_json::from_str::<InitializeParams<'_>>(params) {
                Ok(InitializeParams { protocol_version }) => writeln!(
                    out,
                    r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":{protocol_version},"capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"mcp-echo","version":"0"}}}}}}"#
                ),
                Err(_) => fail(out, id, -32602, "protocolVersion is missing"),
            },
            "ping" => writeln!(out, r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#),
            "tools/list" => writeln!(out, r#"{{"jsonrpc":"2.0","id":{id},"result":{TOOLS}}}"#),
            "tools/call" => self.call(id, params, out),
            _ => fail(out, id, -32601, "method not found"),
        }
    }

    fn call(&mut self, id: &str, params: &str, out: &mut impl Write) -> io::Result<()> {
        let Ok(call) = serde_json::from_str::<CallParams<'_>>(params) else {
            return fail(out, id, -32602, "not the parameters of a tool call");
        };
        if !matches!(call.name.as_ref(), "get_echo" | "delete_thing") {
            return fail(out, id, -32602, "no such tool");
        }
        let size = call.arguments.size;
        if size > MAX_SIZE {
            return fail(out, id, -32602, "size is over 64 MiB");
        }
        let text = self.texts.entry(size).or_insert_with(|| text_of(size));
        write!(out, r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":["#)?;
        if let Some(tag) = call.arguments.tag {
            write!(out, r#"{{"type":"text","text":{tag}}},"#)?;
        }
        writeln!(out, r#"{{"type":"text","text":{text}}}]}}}}"#)
    }
}

/// Returns a text of `size` bytes, as JSON.
fn text_of(size: usize) -> String {
    let text: String = (1..=size)
        .map(|at| if at % 80 == 0 { '\n' } else { 'x' })
        .collect();
    serde_json::Value::from(text).to_string()
}

fn fail(out: &mut impl Write, id: &str, code: i32, message: &str) -> io::Result<()> {
    writeln!(
        out,
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#
    )
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct InitializeParams<'a> {
    #[serde(borrow, rename = "protocolVersion")]
    protocol_version: &'a RawValue,
}

#[derive(Deserialize)]
struct CallParams<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    arguments: CallArguments<'a>,
}

#[derive(Deserialize)]
#[serde(default)]
struct CallArguments<'a> {
    size: usize,
    #[serde(borrow)]
    tag: Option<&'a RawValue>,
}

impl Default for CallArguments<'_> {
    fn default() -> Self {
        CallArguments { size: 2, tag: None }
    }
}

const MAX_SIZE: usize = 64 * 1024 * 1024;
const TOOLS: &str = concat!(
    r#"{"tools":[{"name":"get_echo","description":"Answer with text of the size asked for.","#,
    r#""inputSchema":{"type":"object","properties":{"size":{"type":"integer"},"pad":{"type":"string"},"tag":{"type":"string"}}},"#,
    r#""annotations":{"readOnlyHint":true}},"#,
    r#"{"name":"delete_thing","description":"Pretend to delete something; answer with text of the size asked for.","#,
    r#""inputSchema":{"type":"object","properties":{"size":{"type":"integer"},"pad":{"type":"string"},"tag":{"type":"string"}}},"#,
    r#""annotations":{"readOnlyHint":false,"destructiveHint":true}}]}"#
);
