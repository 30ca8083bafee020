//! Lines as clients and upstreams write them, valid and invalid.

use serde_json::{Value, json};

use super::oracle::{Answer, Refusal};
use super::reading::{TOOLS, What};
use super::steps::{Change, Meta, Words};

/// Ids that are used repeatedly; some mean the same.
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

/// Methods of requests that are not calls.
pub(super) const METHODS: [&str; 6] = [
    "ping",
    "tools/list",
    "resources/read",
    "x/unknown",
    "tools/calls",
    "server/discover",
];

/// A request in one of several equivalent spellings.
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

/// Other arguments that are equal if numbers are read as doubles.
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

/// A `tools/call` under construction.
pub(super) struct Draft {
    pub(super) what: What,
    pub(super) words: Words,
    /// As JSON.
    pub(super) token: Option<String>,
    /// The text of `inputResponses`, and what it answers to our question.
    pub(super) answers: Option<(String, Option<Answer>)>,
    /// The text of `requestState`.
    pub(super) state: Option<String>,
    pub(super) change: Change,
    pub(super) spelling: u8,
}

impl Draft {
    pub(super) fn text(&self, id: &str) -> String {
        let mut params = vec![format!(r#""name":{}"#, json!(self.what.tool))];
        if self.what.args != "null" {
            params.push(format!(r#""arguments":{}"#, self.what.args));
        }
        if !self.what.others.is_empty() {
            params.push(self.what.others[1..self.what.others.len() - 1].to_owned());
        }
        let is_odd = self.change == Change::Spelling;
        let key = |plain: &'static str, odd: &'static str| if is_odd { odd } else { plain };
        if let Some((answers, _)) = &self.answers {
            let key = key("inputResponses", r"input\u0052esponses");
            params.push(format!(r#""{key}":{answers}"#));
        }
        if let Some(state) = &self.state {
            let key = key("requestState", r"request\u0053tate");
            params.push(format!(r#""{key}":{state}"#));
            match self.change {
                Change::Twice => params.push(format!(r#""requestState":{state}"#)),
                Change::Folded => params.push(format!(r#""RequestState":{state}"#)),
                _ => {}
            }
        }
        params.extend(self.meta().map(|meta| format!(r#""_meta":{{{meta}}}"#)));
        if is_odd || self.spelling == 3 {
            params.reverse();
        }
        let params = format!("{{{}}}", params.join(","));
        let spelling = if is_odd { 3 } else { self.spelling };
        spelled(id, "tools/call", &params, spelling)
    }

    fn meta(&self) -> Option<String> {
        let mut members = Vec::new();
        if let Words::Stateless { client, meta } = self.words {
            let version = match meta {
                Meta::Unknown => "2027-01-01",
                Meta::Usual | Meta::NoForms | Meta::Bare => "2026-07-28",
            };
            let of =
                |key: &str, value: Value| format!(r#""io.modelcontextprotocol/{key}":{value}"#);
            members.push(of("protocolVersion", json!(version)));
            members.push(of("clientInfo", json!({"name": "c", "version": client})));
            let elicitation = match meta {
                Meta::Usual | Meta::Unknown => Some(json!({})),
                Meta::NoForms => Some(json!({"url": {}})),
                Meta::Bare => None,
            };
            let capabilities = elicitation.map(|it| json!({"elicitation": it}));
            members.extend(capabilities.map(|it| of("clientCapabilities", it)));
        }
        let token = self.token.as_ref();
        members.extend(token.map(|token| format!(r#""progressToken":{token}"#)));
        (!members.is_empty()).then(|| members.join(","))
    }
}

/// A message that the gate passes on and nobody waits for.
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

/// A call, or something that some reader could take for one, that must be refused. Some are not one
/// JSON value, so they cannot stand in a batch.
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

const YES: &str = r#"{"action":"accept","content":{"approved":true}}"#;

/// A client's answer to a question, and what it means; 0 and 1 are a yes.
fn answer_to_question(how: u8) -> (&'static str, Answer) {
    match how {
        0 => (YES, Answer::Yes),
        1 => (
            r#"{"action":"accept","content":{"approved":true,"reason":"fine"}}"#,
            Answer::Yes,
        ),
        2 => (r#"{"action":"decline"}"#, Answer::Declined),
        3 => (r#"{"action":"cancel"}"#, Answer::Dismissed),
        4 => (r#"{"action":"accept"}"#, Answer::Invalid),
        5 => (
            r#"{"action":"accept","content":{"approved":"true"}}"#,
            Answer::Invalid,
        ),
        6 => (
            r#"{"action":"accept","content":{"approved":1}}"#,
            Answer::Invalid,
        ),
        7 => (
            r#"{"action":"accept","content":{"approved":false,"reason":"no"}}"#,
            Answer::Declined,
        ),
        8 => (
            r#"{"action":"Accept","content":{"approved":true}}"#,
            Answer::Invalid,
        ),
        9 => ("null", Answer::Invalid),
        12 => (
            r#"{"action":"accept","content":{"approved":false,"approved":true}}"#,
            Answer::Invalid,
        ),
        13 => (
            r#"{"action":"accept","content":{"Approved":true}}"#,
            Answer::Invalid,
        ),
        14 => (
            r#"{"action":"decline","content":{"approved":true}}"#,
            Answer::Declined,
        ),
        _ => (r#"{"action":"accept","content":[true]}"#, Answer::Invalid),
    }
}

/// The `inputResponses` of a retry, and what they answer to our question, if anything.
pub(super) fn input_responses(how: u8) -> Option<(String, Option<Answer>)> {
    let answers = match how {
        // Only we check for duplicate names.
        12 => "{}".to_owned(),
        10 => format!(r#"{{"other":{YES}}}"#),
        11 => "[]".to_owned(),
        15 => return None,
        16 => {
            return Some((
                format!(r#"{{"other":1,"approval-proxy":{YES}}}"#),
                Some(Answer::Yes),
            ));
        }
        17 => format!(r#"{{"Approval-Proxy":{YES}}}"#),
        18 => YES.to_owned(),
        19 => "null".to_owned(),
        _ => {
            let (result, meaning) = answer_to_question(how);
            return Some((format!(r#"{{"approval-proxy":{result}}}"#), Some(meaning)));
        }
    };
    Some((answers, None))
}

/// The `inputResponses` of a retry that answers the upstream's question.
pub(super) fn their_responses(how: u8) -> Option<(String, Option<Answer>)> {
    let answers = match how % 4 {
        0 => r#"{"theirs":{"roots":[1.0]}}"#.to_owned(),
        1 => "{}".to_owned(),
        2 => return None,
        _ => format!(r#"{{"approval-proxy":{YES},"theirs":1}}"#),
    };
    Some((answers, None))
}

/// The answer to a prompt; 0, 1, 18 and 19 are a yes.
pub(super) fn answer(id: &Value, how: u8) -> PromptAnswer {
    let yes = YES;
    let result = match how {
        10 | 16..=19 => yes,
        _ => answer_to_question(how).0,
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
            10 => Answer::Failed,
            11 => Answer::Invalid,
            18 | 19 => Answer::Yes,
            _ => answer_to_question(how).1,
        },
        refusal: match how {
            16 => Some(Refusal::Answered(Value::Null)),
            17 => Some(Refusal::Answered(id.clone())),
            _ => None,
        },
    }
}

/// The upstream's answer to a client request.
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

/// How a stateless server answers a call.
pub(super) struct RoundAnswer {
    pub(super) line: String,
    /// The result, if it is a question.
    pub(super) asks: Option<Value>,
    /// Its state, if it has one.
    pub(super) state: Option<String>,
}

/// The answer of a stateless server to a call; 1, 2, 4 and 7 are questions.
pub(super) fn round_answer(id: &Value, how: u8, k: u64) -> RoundAnswer {
    let (state, odd) = (format!("theirs-{k}"), format!("their \"{k}\" é\\\n"));
    let question = r#""inputRequests":{"theirs":{"method":"roots/list","params":{"n":1.0}}}"#;
    let result = match how {
        1 => format!(r#"{{"resultType":"input_required",{question},"requestState":"{state}"}}"#),
        2 => format!(r#"{{{question},"resultType":"input_required","k":{k}}}"#),
        4 => format!(
            r#"{{"requestState":{},"resultType":"input_required",{question}}}"#,
            json!(odd)
        ),
        5 => format!(r#"{{"resultType":"input_required","requestState":{k},{question}}}"#),
        6 => format!(r#"{{"resultType":"complete","requestState":"{state}",{question}}}"#),
        7 => format!(
            r#"{{"resultT\u0079pe":"input_requ\u0069red",{question},"request\u0053tate":"{state}"}}"#
        ),
        8 => format!(
            r#"{{"resultType":"input_required","requestState":"a{k}","requestState":"{state}"}}"#
        ),
        _ => format!(r#"{{"resultType":"complete","content":[],"k":{k}}}"#),
    };
    let error = r#""error":{"code":-1,"message":"no","data":1.50}"#;
    RoundAnswer {
        line: match how {
            3 => format!(r#"{{"jsonrpc":"2.0","id":{id},{error}}}"#),
            9 => format!(r#"{{"result":{result},"jsonrpc":"2.0","id":{id}}}"#),
            _ => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        },
        asks: matches!(how, 1 | 2 | 4 | 7).then(|| serde_json::from_str(&result).unwrap()),
        state: match how {
            1 | 5..=8 => Some(state),
            4 => Some(odd),
            _ => None,
        },
    }
}

/// What an upstream writes that is not a message; it is dropped.
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
