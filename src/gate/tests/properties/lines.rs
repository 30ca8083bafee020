//! Lines as clients and upstreams write them, honest and otherwise.

use serde_json::{Value, json};

use super::oracle::{Answer, Refusal};
use super::reading::{TOOLS, What};

/// Ids that come again; some mean the same.
pub(super) const IDS: [&str; 12] = [
    "1",
    "1.0",
    "2",
    "2.0",
    r#""1""#,
    r#""a""#,
    r#""\u0061""#,
    "3",
    "0",
    "-1",
    "18446744073709551615",
    "1e0",
];

/// Methods of requests that are no calls.
pub(super) const METHODS: [&str; 5] = [
    "ping",
    "tools/list",
    "resources/read",
    "x/unknown",
    "tools/calls",
];

/// A request in one of several spellings that mean the same.
pub(super) fn spelled(id: &str, method: &str, params: &str, spelling: u8) -> String {
    let usual = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
    match spelling {
        1 => format!("{usual}\r"),
        2 => format!("  {usual}\t"),
        3 => format!(r#"{{"method":"{method}","params":{params},"id":{id},"jsonrpc":"2.0"}}"#),
        4 => usual
            .replacen('/', r"\/", 1)
            .replace(r#""method""#, r#""m\u0065thod""#),
        5 => format!(
            r#"{{ "jsonrpc" : "2.0" , "id":{id}, "method" :"{method}", "params": {params} }}"#
        ),
        _ => usual,
    }
}

pub(super) fn arguments(shape: u8, k: u64) -> String {
    match shape {
        1 => format!(r#"{{"n":{k},"x":1.0,"y":[1e2,{{"z":null}}]}}"#),
        2 => format!(r#"{{"n":{k},"big":123456789012345678901234567890.50}}"#),
        3 => format!(r#"{{"n":{k},"s":"a  b: {{c"}}"#),
        4 => format!(r#"{{"n":{k},"deep":{{"a":[[],true],"b":{{}}}}}}"#),
        5 => "null".to_owned(),
        _ => format!(r#"{{"n":{k}}}"#),
    }
}

/// Other arguments that are the same when numbers are read as doubles.
pub(super) fn twin(args: &str) -> String {
    match args.strip_prefix(r#"{"n":"#) {
        Some(rest) => {
            let end = rest.find([',', '}']).unwrap();
            format!(
                r#"{{"n":{}.0{}"#,
                rest[..end].trim_end_matches(".0"),
                &rest[end..]
            )
        }
        None => r#"{"n":0.0}"#.to_owned(),
    }
}

pub(super) fn call_params(what: &What, token: Option<&str>, spelling: u8) -> String {
    let name = json!(what.tool);
    let mut members = vec![format!(r#""name":{name}"#)];
    if what.args != "null" {
        members.push(format!(r#""arguments":{}"#, what.args));
    }
    if !what.others.is_empty() {
        members.push(what.others[1..what.others.len() - 1].to_owned());
    }
    if let Some(token) = token {
        members.push(format!(r#""_meta":{{"progressToken":{token}}}"#));
    }
    if spelling == 3 {
        members.reverse();
    }
    format!("{{{}}}", members.join(","))
}

/// What the gate passes on, but nobody waits for.
pub(super) fn notification(kind: u8, k: u64) -> String {
    let text = match kind % 6 {
        0 => json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"k": k}}),
        1 => json!({"jsonrpc": "2.0", "method": "x/y", "params": [k]}),
        2 => json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"k": k}}),
        3 => json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": {"requestId": [1], "k": k}}),
        4 => json!({"jsonrpc": "2.0", "id": null, "method": "ping", "params": {"k": k}}),
        _ => json!({"method": "notifications/roots/list_changed", "k": {"k": k}}),
    };
    text.to_string()
}

pub(super) struct Hostile {
    pub(super) line: String,
    pub(super) refusal: Refusal,
}

/// A call, or something that some reader could take for one, that must be refused. Some are
/// no value of their own, so they cannot stand in a batch.
pub(super) fn hostile(id: &str, tool: u8, kind: u8, alone: bool) -> Hostile {
    let tool = TOOLS[usize::from(tool) % TOOLS.len()];
    let name = json!(tool);
    let params = format!(r#"{{"name":{name},"arguments":{{"n":1}}}}"#);
    let call = spelled(id, "tools/call", &params, 0);
    let with_params = |params: String| spelled(id, "tools/call", &params, 0);
    let with_method = |method: &str| spelled(id, method, &params, 0);
    let inside = |more: &str| format!("{}{more}}}", &call[..call.len() - 1]);
    let line = match kind {
        1 => with_params(format!(
            r#"{{"name":{name},"arguments":{{"a":[{{"b":1,"b":2}}]}}}}"#
        )),
        2 => with_params(format!(r#"{{"name":{name},"Name":"read_note"}}"#)),
        3 => inside(r#","Method":"ping""#),
        4 => inside(r#","method":"ping""#),
        5 => inside(r#","id":7"#),
        6 => call.replacen(&format!(r#""id":{id}"#), r#""id":null"#, 1),
        7 => call.replacen(&format!(r#""id":{id},"#), "", 1),
        8 => call.replacen(&format!(r#""id":{id}"#), r#""id":1.5"#, 1),
        9 => with_method("Tools/Call"),
        10 => with_method("tools/call "),
        11 => with_method(r"tools/call\u0000x"),
        12 => with_params("[]".into()),
        13 => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call"}}"#),
        14 => with_params(format!(r#"{{"name":{name},"arguments":[1]}}"#)),
        15 => inside(r#","extra":1"#),
        16 => call.replacen(r#""jsonrpc":"2.0","#, "", 1),
        17 => call.replacen(r#""2.0""#, r#""1.0""#, 1),
        18 if alone => format!("\u{feff}{call}"),
        19 if alone => call.replacen("tools", "tools\u{b}", 1),
        20 if alone => format!("{call} {call}"),
        21 if alone => call[..call.len() - 1].to_owned(),
        22 if alone => "[]".to_owned(),
        23 => "17".to_owned(),
        24 => inside(r#","result":{}"#),
        25 => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":["tools/call"],"params":{params}}}"#),
        26 => format!(r#"{{"jsonrpc":"2.0","id":{id},"params":{params}}}"#),
        27 => with_params(format!(r#"{{"name":"read_note","n\u0061me":{name}}}"#)),
        28 => with_params(format!(r#"{{"name":{name},"argument\u017f":{{}}}}"#)),
        29 => with_params(format!(r#"{{"name":{name},"arguments":{{"a":"\ud800"}}}}"#)),
        30 => inside(r#","method ":"ping""#),
        31 => with_params(format!(r#"{{"name":"read_note","na\u200bme":{name}}}"#)),
        32 => with_method(r"tools\uff0fcall"),
        _ => with_params(format!(r#"{{"name":"read_note","name":{name}}}"#)),
    };
    let refusal = match kind {
        7 => Refusal::Unanswered,
        8 => Refusal::Answered(json!(1.5)),
        5 | 6 | 23 => Refusal::Answered(Value::Null),
        18 | 19 | 22 if alone => Refusal::Answered(Value::Null),
        _ => Refusal::Answered(serde_json::from_str(id).unwrap()),
    };
    Hostile { line, refusal }
}

pub(super) struct PromptAnswer {
    pub(super) line: String,
    pub(super) meaning: Answer,
    /// The line cannot be read, so it answers nothing.
    pub(super) refusal: Option<Refusal>,
}

/// The answer to a prompt; 0, 1, 18 and 19 are a yes.
pub(super) fn answer(id: &Value, how: u8) -> PromptAnswer {
    let yes = r#"{"action":"accept","content":{"approved":true}}"#;
    let result = match how {
        0 | 10 | 16..=19 => yes,
        1 => r#"{"action":"accept","content":{"approved":true,"reason":"fine"}}"#,
        2 => r#"{"action":"decline"}"#,
        3 => r#"{"action":"cancel"}"#,
        4 => r#"{"action":"accept"}"#,
        5 => r#"{"action":"accept","content":{"approved":"true"}}"#,
        6 => r#"{"action":"accept","content":{"approved":1}}"#,
        7 => r#"{"action":"accept","content":{"approved":false,"reason":"no"}}"#,
        8 => r#"{"action":"Accept","content":{"approved":true}}"#,
        9 => "null",
        12 => r#"{"action":"accept","content":{"approved":false,"approved":true}}"#,
        13 => r#"{"action":"accept","content":{"Approved":true}}"#,
        14 => r#"{"action":"decline","content":{"approved":true}}"#,
        _ => r#"{"action":"accept","content":[true]}"#,
    };
    let error = r#""error":{"code":-32603,"message":"no window"}"#;
    let line = match how {
        10 => format!(r#"{{"jsonrpc":"2.0","id":{id},{error}}}"#),
        11 => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{yes},{error}}}"#),
        16 => format!(r#"{{"jsonrpc":"2.0","id":{id},"id":{id},"result":{yes}}}"#),
        17 => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping","result":{yes}}}"#),
        18 => {
            // The same id, written with an escape.
            let text = id.as_str().unwrap();
            let first = u32::from(text.chars().next().unwrap());
            format!(
                r#"{{"result":{yes},"id":"\u{first:04x}{}","jsonrpc":"2.0"}}"#,
                &text[1..]
            )
        }
        _ => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
    };
    PromptAnswer {
        line,
        meaning: match how {
            0 | 1 | 18 | 19 => Answer::Yes,
            2 | 7 | 14 => Answer::Declined,
            3 => Answer::Dismissed,
            10 => Answer::Failed,
            _ => Answer::Invalid,
        },
        refusal: match how {
            16 => Some(Refusal::Answered(Value::Null)),
            17 => Some(Refusal::Answered(id.clone())),
            _ => None,
        },
    }
}

/// The upstream's answer to a request of the client's.
pub(super) fn response(id: &Value, result: &Value, how: u8, alone: bool) -> String {
    let error = r#"{"code":-1,"message":"no","data":1.50}"#;
    match how {
        4 => format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#),
        5 => format!(r#"{{"result":{result},"jsonrpc":"2.0","id":{id}}}"#),
        6 if alone => format!("{{\"jsonrpc\": \"2.0\",\t\"id\": {id}, \"result\": {result}}} \r"),
        7 => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result},"error":{error}}}"#),
        _ => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
    }
}

/// What an upstream writes that is no message; it goes nowhere.
pub(super) fn garbage(kind: u8, alone: bool) -> String {
    match kind {
        0 if alone => "listening on port 7".to_owned(),
        1 if alone => "\u{feff}{}".to_owned(),
        2 if alone => "[]".to_owned(),
        3 if alone => "   ".to_owned(),
        4 if alone => r#"{"jsonrpc":"2.0","method":"a"} {"jsonrpc":"2.0","method":"b"}"#.to_owned(),
        5 => r#"{"jsonrpc":"2.0"}"#.to_owned(),
        _ => r#"{"jsonrpc":"2.0","method":"a","method":"b"}"#.to_owned(),
    }
}
