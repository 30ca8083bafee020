//! Entries of Codex in every form that TOML has: guarded, started as Codex would, restored byte for byte.

use serde_json::{Value as Json, json};

use super::*;

/// The entries of `a`, each with what it says, and what must stay in front of or behind it.
const REMOTE: [&str; 16] = [
    // As tables.
    "[mcp_servers.a] # 1\n# 2\nurl = \"https://a/mcp\" # 3\nhttp_headers = { X-A = \"1\", X-B = \"2\" } # 4\n# 5\n",
    "[mcp_servers.a]\nurl=\"https://a/mcp\"\n[mcp_servers.a.http_headers] # 1\nX-A = \"1\" # 2\n# 3\n\"X-B\" = '2'\n",
    "[mcp_servers.a.http_headers]\nX-A = \"1\"\nX-B = \"2\"\n[mcp_servers.a]\nurl = \"https://a/mcp\"\n",
    "[ mcp_servers . \"a\" ]\n'url' = 'https://a/mcp'\n\"http_headers\" = {\"X-A\"=\"1\",\"X-B\"=\"2\"}\n",
    // Dotted keys.
    "[mcp_servers.a]\nurl = \"https://a/mcp\"\nhttp_headers.X-A = \"1\" # 1\nhttp_headers.X-B = \"2\" # 2\n",
    "[mcp_servers.a]\nhttp_headers.X-A = \"1\"\nurl = \"https://a/mcp\" # 1\n\"http_headers\" . X-B = \"2\"\n",
    "[mcp_servers]\na.http_headers.X-A = \"1\"\na.url = \"https://a/mcp\"\na.http_headers.X-B = \"2\"\n",
    "[mcp_servers]\na.url = \"https://a/mcp\"\na.http_headers = { X-A = \"1\", X-B = \"2\" }\n",
    "mcp_servers.a.url = \"https://a/mcp\"\nmcp_servers.'a'.http_headers.X-A = \"1\"\nmcp_servers.a.http_headers.X-B = \"2\"\n",
    // Inline tables.
    "[mcp_servers]\na = { url = \"https://a/mcp\", http_headers = { X-A = \"1\", X-B = \"2\" } } # 1\n",
    "[mcp_servers]\na = {http_headers={X-A=\"1\",X-B=\"2\"},url=\"https://a/mcp\"}\n",
    "mcp_servers = { a = { url = \"https://a/mcp\", http_headers = { X-A = \"1\", X-B = \"2\" } } }\n",
    "mcp_servers.a = { url = \"https://a/mcp\", http_headers = { X-A = \"1\", X-B = \"2\" } }\n",
    // What goes, with its comments.
    "[mcp_servers.a]\nurl = \"https://a/mcp\"\nscopes = [\"x\"] # 1\noauth_resource = \"y\" # 2\nhttp_headers = { X-A = \"1\", X-B = \"2\" }\n[mcp_servers.a.oauth] # 3\n# 4\nclient_id = \"#z\" # 5\n",
    "[mcp_servers.a]\noauth.client_id = \"z\" # 1\nurl = \"https://a/mcp\"\nscopes = [ # 2\n  'x#', # 3\n]\nhttp_headers = { X-A = \"1\", X-B = \"2\" }\n",
    "[mcp_servers.a]\n\n\nurl = \"https://a/mcp\"\n\nhttp_headers.X-A = \"\"\"1\"\"\"\n\nhttp_headers.X-B = '''2'''\n\n\n# 1",
];

const COMMANDS: [&str; 12] = [
    "[mcp_servers.a] # 1\n# 2\ncommand = \"x\" # 3\nargs = [\"1\", \"2\"] # 4\n# 5\n",
    "[mcp_servers.a]\nargs = [ # 1\n  \"1\", # 2\n  # 3\n  \"2\" # 4\n  # 5\n] # 6\ncommand = 'x'\n",
    "[mcp_servers.a]\nargs = [ # 1\n  # 2\n\t\"1\"\n\t, \"2\",\n]\ncommand = \"\"\"x\"\"\"\n",
    "[mcp_servers.a]\nenv.K = \"v\"\ncommand = '''x'''\nenv.L = \"w\"\nargs = ['1','2']\n",
    "[mcp_servers.a.env]\nK = \"v\"\n[mcp_servers.a]\ncommand=\"x\"\nargs=[\"1\",\"2\"]",
    "[mcp_servers]\na.args = [\"1\", \"2\"]\na.command = \"x\"\na.env = { K = \"v\" }\n",
    "mcp_servers.a.command = \"x\"\nmcp_servers.a.args = [\"1\", \"2\"]\n",
    "[mcp_servers]\na = { command = \"x\", args = [\"1\", \"2\"], env.K = \"v\" }\n",
    "mcp_servers = { a = { args = [\"1\", \"2\"], command = \"x\" } }\n",
    "[mcp_servers.a]\ncommand = \"x\"\nargs = [\"1\", \"2\"]\n[mcp_servers.a.tools.search]\napproval_mode = \"approve\"\n",
    "[\"mcp_servers\".'a']\n\"command\" = \"x\"\n'args' = [\"1\", \"2\"]\n",
    "[mcp_servers.a]\r\ncommand = \"x\"\nargs = [\r\n\"1\",\n\"2\"]\n",
];

fn values(text: &str) -> Json {
    values_of(syntax::Syntax::Toml, text)
}

/// The values of a text, without their places. What the reader does not tell apart is as it is written.
pub(super) fn values_of(syntax: syntax::Syntax, text: &str) -> Json {
    fn value(node: &syntax::Node, text: &str) -> Json {
        match &node.value {
            syntax::Value::Map(members) => {
                let pairs = members
                    .iter()
                    .map(|member| (member.key.clone(), value(&member.node, text)));
                Json::Object(pairs.collect())
            }
            syntax::Value::List(elements) => elements
                .iter()
                .map(|element| value(element, text))
                .collect(),
            syntax::Value::Text(text) => text.as_str().into(),
            syntax::Value::Bool(value) => (*value).into(),
            syntax::Value::Null => Json::Null,
            syntax::Value::Other => json!({ "written": text.get(node.at.clone()) }),
        }
    }
    let text = text.trim_start_matches('\u{feff}');
    value(&syntax.parse(text).unwrap(), text)
}

fn comments(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.split_once("# "));
    lines.map(|(_, comment)| comment.to_owned()).collect()
}

/// The text alone, and between other things. What begins with a key can only stand at the beginning.
fn contexts(entry: &str) -> Vec<String> {
    let after = "\n# after\n[mcp_servers.z]\ncommand = \"z\"\nenabled = false\n";
    let mut texts = vec![entry.to_owned()];
    if entry.starts_with('[') && entry.ends_with('\n') {
        texts.push(format!("# before\nmodel = \"m\"\n\n{entry}{after}"));
    }
    let windows = texts
        .iter()
        .map(|text| text.replace("\r\n", "\n").replace('\n', "\r\n"));
    let windows: Vec<_> = windows.collect();
    texts.extend(windows);
    texts
}

fn only_a() -> Choice {
    Choice {
        only: vec!["a".to_owned()],
        ..Choice::default()
    }
}

/// Guards `a`, checks what is the same for all, and restores it. Returns the guarded entry.
fn round_trip(text: &str) -> Json {
    let home = Home::with(&codex::CLIENT, text.as_bytes());
    let plan = home.run_for(&home.file, Task::Wrap(None), &only_a());
    assert_eq!(plan.changes.len(), 1, "{text}\n{:?}", plan.left);
    let after = home.text();
    assert_eq!(comments(&after), comments(text), "{text}\n{after}");
    if !text.replace("\r\n", "").contains('\n') {
        assert!(!after.replace("\r\n", "").contains('\n'), "{after:?}");
    }
    let entry = values(&after)["mcp_servers"]["a"].clone();
    let (mut was, mut is) = (values(text), values(&after));
    was["mcp_servers"]["a"].take();
    is["mcp_servers"]["a"].take();
    assert_eq!(is, was, "{after}");
    let plan = home.run(Task::Unwrap);
    assert_eq!(plan.changes[0].note, None, "{text}\n{after}");
    assert_eq!(home.text(), text, "{after}");

    // Without the ledger.
    home.run_for(&home.file, Task::Wrap(None), &only_a());
    fs::remove_dir_all(&home.state_dir).unwrap();
    home.run(Task::Unwrap);
    let mut wanted = values(text)["mcp_servers"]["a"].clone();
    for gone in ["scopes", "oauth", "oauth_resource"] {
        wanted.as_object_mut().unwrap().remove(gone);
    }
    let back = home.text();
    assert_eq!(values(&back)["mcp_servers"]["a"], wanted, "{after}\n{back}");
    assert_eq!(comments(&back), comments(text), "{after}\n{back}");
    entry
}

#[test]
fn a_remote_entry_in_any_form_of_toml_becomes_one_over_stdio_and_comes_back() {
    for entry in REMOTE {
        for text in contexts(entry) {
            let entry = round_trip(&text);
            let args = [
                "--name",
                "a",
                "--url",
                "https://a/mcp",
                "--header-env",
                "X-A=MCP_HEADER_X_A",
                "--header-env",
                "X-B=MCP_HEADER_X_B",
            ];
            let env = json!({"MCP_HEADER_X_A": "1", "MCP_HEADER_X_B": "2"});
            let wanted = json!({"command": PROGRAM, "args": args, "env": env});
            assert_eq!(entry, wanted, "{text}");
        }
    }
}

#[test]
fn a_secret_url_joins_the_headers_in_any_form_of_toml() {
    for entry in REMOTE {
        for text in contexts(&entry.replace("a/mcp", "a/mcp?k=s")) {
            let entry = round_trip(&text);
            let env = json!({
                "MCP_HEADER_X_A": "1", "MCP_HEADER_X_B": "2", "MCP_SERVER_URL": "https://a/mcp?k=s",
            });
            assert_eq!(entry["env"], env, "{text}");
            assert_eq!(entry.as_object().unwrap().len(), 3, "{entry}");
        }
    }
}

#[test]
fn headers_from_variables_are_passed_on_in_any_form_of_toml() {
    for entry in REMOTE {
        let entry = entry.replace("http_headers", "env_http_headers");
        for text in contexts(
            &entry
                .replace("\"1\"", "\"ONE\"")
                .replace("\"2\"", "\"TWO\""),
        ) {
            let entry = round_trip(&text);
            let vars = entry["env_vars"].as_array().unwrap();
            assert_eq!(vars.len(), 2, "{entry}");
            assert_eq!(entry.as_object().unwrap().len(), 3, "{entry}");
        }
    }
}

#[test]
fn a_command_in_any_form_of_toml_is_guarded_and_comes_back() {
    for entry in COMMANDS {
        for text in contexts(entry) {
            let was = values(&text)["mcp_servers"]["a"].clone();
            let entry = round_trip(&text);
            assert_eq!(entry["command"], PROGRAM);
            let args = ["--name", "a", "--", "x", "1", "2"];
            assert_eq!(entry["args"], json!(args), "{text}");
            assert_eq!(
                entry.as_object().unwrap().len(),
                was.as_object().unwrap().len()
            );
        }
    }
}
