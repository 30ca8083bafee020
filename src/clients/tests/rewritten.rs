//! Files that a client wrote anew after `wrap`: other formatting, other order, other line ends, keys of its own.

use serde_json::Value as Json;

use super::toml::values_of;
use super::*;

/// Writes a file as a client does that reads and writes it as a whole: sorted, without comments.
fn rewrite(home: &Home) {
    let syntax = server::syntax_of(&home.file).unwrap();
    let values = plain(&values_of(syntax, &home.text()));
    let text = match syntax {
        syntax::Syntax::Json => serde_json::to_string_pretty(&values).unwrap(),
        syntax::Syntax::Toml => {
            let Json::Object(root) = &values else {
                unreachable!()
            };
            let lines = root.iter().map(|(key, value)| {
                let key = syntax::Syntax::Toml.key(key);
                format!("{key} = {}\n", in_one_line(value))
            });
            lines.collect()
        }
    };
    fs::write(&home.file, text).unwrap();
}

/// Numbers are not told apart by the reader; here they are.
fn plain(values: &Json) -> Json {
    match values {
        Json::Object(members) => match members.get("written").and_then(Json::as_str) {
            Some(number) => serde_json::from_str(number).unwrap(),
            None => {
                let members = members
                    .iter()
                    .map(|(key, value)| (key.clone(), plain(value)));
                Json::Object(members.collect())
            }
        },
        Json::Array(elements) => elements.iter().map(plain).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => values.clone(),
    }
}

fn in_one_line(value: &Json) -> String {
    match value {
        Json::Object(members) => {
            let members = members.iter().map(|(key, value)| {
                let key = syntax::Syntax::Toml.key(key);
                format!("{key} = {}", in_one_line(value))
            });
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        Json::Array(elements) => {
            let elements: Vec<_> = elements.iter().map(in_one_line).collect();
            format!("[{}]", elements.join(", "))
        }
        Json::String(text) => syntax::Syntax::Toml.literal(text),
        Json::Null | Json::Bool(_) | Json::Number(_) => value.to_string(),
    }
}

fn values(home: &Home) -> Json {
    plain(&values_of(
        server::syntax_of(&home.file).unwrap(),
        &home.text(),
    ))
}

#[test]
fn a_file_that_its_client_wrote_anew_gets_back_every_value_and_the_output_says_so() {
    for client in CLIENTS {
        let before = fs::read_to_string(fixture(client, "before")).unwrap();
        let home = Home::with(client, before.as_bytes());
        let wanted = values(&home);
        home.run(Task::Wrap(None));
        rewrite(&home);
        let wrapped = home.text();
        let plan = home.run(Task::Unwrap);
        assert!(!plan.changes.is_empty());
        for change in &plan.changes {
            let note = change.note.unwrap();
            assert!(note.contains("unwrapped by its structure"), "{note}");
        }
        assert_eq!(
            values(&home),
            wanted,
            "{}: {wrapped}\n{}",
            client.name,
            home.text()
        );
        assert_eq!(home.kept(), [""; 0].map(PathBuf::from));
    }
}

#[test]
fn what_a_guard_had_to_take_from_an_entry_comes_back_although_the_client_wrote_it_anew() {
    for (client, place, entry) in [
        (
            &claude_code::CLIENT,
            "mcpServers",
            r#"{"type": "http", "url": "https://a/mcp", "oauth": {"clientId": "c", "callbackPort": 8080}, "headers": {}}"#,
        ),
        (
            &vscode::CLIENT,
            "servers",
            r#"{"url": "https://a/mcp", "oauth": {"clientId": "c"}, "headers": {"X": "1"}, "dev": {}}"#,
        ),
        (
            &cursor::CLIENT,
            "mcpServers",
            r#"{"command": "", "args": [], "env": {}, "url": "https://a/mcp", "headers": {"X": "1"}}"#,
        ),
        (
            &devin::CLIENT,
            "mcpServers",
            r#"{"type": "http", "transport": "sse", "url": "https://a/mcp"}"#,
        ),
        (
            &opencode::CLIENT,
            "mcp",
            r#"{"type": "remote", "url": "https://a/mcp?k=v", "oauth": false, "headers": {"X": "1"}}"#,
        ),
        (
            &cursor::CLIENT,
            "mcpServers",
            r#"{"command": "x", "args": null, "env": null}"#,
        ),
        (
            &cursor::CLIENT,
            "mcpServers",
            r#"{"command": "x", "args": []}"#,
        ),
        (
            &zed::CLIENT,
            "context_servers",
            r#"{"command": {"path": "x", "args": [], "env": null}, "settings": {}}"#,
        ),
    ] {
        let text = format!(r#"{{"{place}": {{"a": {entry}}}}}"#);
        let home = Home::with(client, text.as_bytes());
        let wanted = values(&home);
        home.run(Task::Wrap(None));
        rewrite(&home);
        home.run(Task::Unwrap);
        assert_eq!(values(&home), wanted, "{entry}\n{}", home.text());
    }
}

#[test]
fn what_a_guard_had_to_take_from_an_entry_of_codex_comes_back_too() {
    for entry in [
        "[mcp_servers.a]\nurl = \"https://a/mcp\"\nscopes = [\"x\", 'y']\noauth_resource = \"r\"\n[mcp_servers.a.oauth]\nclient_id = \"c\"\n",
        "[mcp_servers]\na = { url = \"https://a/mcp\", scopes = [\"x\"], oauth = { client_id = \"c\" } }\n",
        "[mcp_servers]\na.url = \"https://a/mcp\"\na.oauth.client_id = \"c\"\n",
        "[mcp_servers.a]\nurl = \"https://a/mcp\"\nbearer_token_env_var = \"T\"\n[mcp_servers.a.http_headers]\nX = \"1\"\n[mcp_servers.a.env_http_headers]\nY = \"V\"\n",
    ] {
        let home = Home::with(&codex::CLIENT, entry.as_bytes());
        let wanted = values(&home);
        home.run(Task::Wrap(None));
        rewrite(&home);
        home.run(Task::Unwrap);
        assert_eq!(values(&home), wanted, "{entry}\n{}", home.text());
    }
}

#[test]
fn a_login_of_another_url_is_not_put_back() {
    let text = r#"{"mcpServers": {"a": {"url": "https://a/mcp", "oauth": {"clientId": "c"}}}}"#;
    let home = Home::with(&cursor::CLIENT, text.as_bytes());
    home.run(Task::Wrap(None));
    fs::write(
        &home.file,
        home.text().replace("https://a/mcp", "https://b/mcp"),
    )
    .unwrap();
    home.run(Task::Unwrap);
    assert_eq!(
        home.text(),
        r#"{"mcpServers": {"a": {"url": "https://b/mcp"}}}"#
    );
}

#[test]
fn other_line_ends_are_kept() {
    for client in CLIENTS {
        let before = fs::read_to_string(fixture(client, "before")).unwrap();
        let home = Home::with(client, before.as_bytes());
        let wanted = values(&home);
        home.run(Task::Wrap(None));
        fs::write(&home.file, home.text().replace('\n', "\r\n")).unwrap();
        home.run(Task::Unwrap);
        assert_eq!(values(&home), wanted, "{}", client.name);
        assert!(!home.text().replace("\r\n", "").contains('\n'));
    }
}

#[test]
fn everything_beside_the_entries_stays_when_a_client_has_written_the_file_anew() {
    let before = r#"{"numStartups": 1, "mcpServers": {"a": {"command": "x", "args": ["1"]}}}"#;
    let home = Home::with(&claude_code::CLIENT, before.as_bytes());
    home.run(Task::Wrap(None));
    let own = home
        .text()
        .replace("\"numStartups\": 1", "\"numStartups\": 2, \"tips\": {}");
    let own: Json = serde_json::from_str(&own).unwrap();
    let own = serde_json::to_string_pretty(&own).unwrap();
    fs::write(&home.file, &own).unwrap();
    home.run(Task::Unwrap);
    let entry = "      \"command\": \"x\"\n    }";
    assert!(home.text().contains(entry), "{}", home.text());
    let (start, _) = own.split_once("\"args\"").unwrap();
    assert!(home.text().starts_with(start), "{}", home.text());
    let (_, end) = own.split_once("approval-proxy\"").unwrap();
    assert!(home.text().ends_with(end), "{}", home.text());
}
