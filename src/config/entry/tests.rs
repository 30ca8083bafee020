//! Which keys and values a server's entry may have, and where variables expand.

use std::path::Path;

use super::*;

fn environment() -> Environment {
    let variables = [
        ("BIN", "/opt/bin"),
        ("TOKEN", "hunter2"),
        ("EMPTY", ""),
        ("HOME", "/home/me/"),
        ("PATH", "/bin"),
    ];
    variables.into_iter().collect()
}

fn upstream(json: &str) -> Result<UpstreamConfig, String> {
    chosen(json).map(|chosen| chosen.upstream)
}

fn chosen(json: &str) -> Result<Chosen, String> {
    let at = Pointer::default().child("mcpServers").child("db");
    let node = serde_json::from_str(json).unwrap();
    let entry = Entry::new("db".to_owned(), at, node).map_err(|fault| fault.to_string())?;
    let chosen = entry.chosen(&environment(), Path::new("/nowhere"));
    chosen.map_err(|fault| fault.to_string())
}

fn command(json: &str) -> CommandTarget {
    match upstream(json).unwrap().target {
        Target::Command(target) => target,
        Target::Url(_) => panic!("{json} has a url"),
    }
}

fn env(upstream: &CommandTarget) -> Vec<(&str, &str)> {
    let env = upstream.env.iter();
    env.map(|(name, value)| (name.as_str(), value.expose()))
        .collect()
}

#[test]
fn an_entry_describes_its_upstream() {
    let json =
        r#"{"type":"stdio","command":"db","args":["-v","x y"],"env":{"A":"1","B":""},"cwd":"sub"}"#;
    assert_eq!(upstream(json).unwrap().name, "db");
    let upstream = command(json);
    assert_eq!(upstream.command, "db");
    assert_eq!(upstream.args, ["-v", "x y"]);
    assert_eq!(env(&upstream), [("A", "1"), ("B", "")]);
    assert_eq!(upstream.cwd.as_deref(), Some(Path::new("sub")));
}

#[test]
fn all_but_the_command_may_be_missing_or_null() {
    for json in [
        r#"{"command":"db"}"#,
        r#"{"command":"db","args":null,"env":null,"cwd":null,"url":null,"type":null}"#,
        r#"{"command":"db","cwd":""}"#,
    ] {
        let upstream = command(json);
        assert!(upstream.args.is_empty() && upstream.env.is_empty() && upstream.cwd.is_none());
    }
}

#[test]
fn variables_expand_in_command_args_env_and_paths_and_not_in_names() {
    let upstream = command(
        r#"{"command":"${BIN}/db","args":["--to=${TOKEN}"],"env":{"${BIN}":"${NO:-x}"},"cwd":"${BIN}"}"#,
    );
    assert_eq!(upstream.command, "/opt/bin/db");
    assert_eq!(upstream.args, ["--to=hunter2"]);
    assert_eq!(env(&upstream), [("${BIN}", "x")]);
    assert_eq!(upstream.cwd.as_deref(), Some(Path::new("/opt/bin")));
}

// Issue 15: "`~/` works in every path".
#[test]
fn a_tilde_at_the_start_of_a_path_or_an_argument_is_home() {
    let upstream = command(
        r#"{"command":"~/bin/db","args":["~/a","--to=~/b","~","a~/"],"env":{"A":"~/c"},"cwd":"~/d"}"#,
    );
    assert_eq!(upstream.command, "/home/me/bin/db");
    assert_eq!(upstream.args, ["/home/me/a", "--to=~/b", "~", "a~/"]);
    assert_eq!(env(&upstream), [("A", "~/c")]);
    assert_eq!(upstream.cwd.as_deref(), Some(Path::new("/home/me/d")));
    let home = command(r#"{"command":["~/db"],"cwd":"~"}"#);
    assert_eq!(home.command, "/home/me/db");
    assert_eq!(home.cwd.as_deref(), Some(Path::new("/home/me/")));
    // A `~/` that comes from a variable stays as it is.
    assert_eq!(command(r#"{"command":"${NO:-~/db}"}"#).command, "~/db");

    let entry = Entry::new(
        "db".into(),
        Pointer::default(),
        serde_json::from_str(r#"{"command":"~/a"}"#).unwrap(),
    );
    let chosen = entry
        .unwrap()
        .chosen(&Environment::default(), Path::new(""));
    assert_eq!(
        chosen.unwrap_err().to_string(),
        "/command: `~/` needs the variable `HOME`; set it or write the path in full"
    );
}

#[test]
fn a_command_may_be_an_array_or_an_object_with_a_path() {
    for json in [
        r#"{"command":["db","-v"],"args":["x y"],"environment":{"A":"1"}}"#,
        r#"{"type":"local","command":["db","-v","x y"],"environment":{"A":1}}"#,
        r#"{"command":{"path":"db","args":["-v","x y"],"env":{"A":"1"}},"settings":{}}"#,
    ] {
        let upstream = command(json);
        assert_eq!(upstream.command, "db", "{json}");
        assert_eq!(upstream.args, ["-v", "x y"], "{json}");
        assert_eq!(env(&upstream), [("A", "1")], "{json}");
    }
    for (json, message) in [
        (
            r#"{"command":[]}"#,
            "command: expected the program to start",
        ),
        (
            r#"{"command":["a",null]}"#,
            "command/1: expected a string, found null",
        ),
        (
            r#"{"command":["a","${NO}"]}"#,
            "command/1: the variable `NO` is not set",
        ),
        (
            r#"{"command":{"path":"${NO}"}}"#,
            "command/path: the variable",
        ),
        (
            r#"{"command":{"path":"a","args":[null]}}"#,
            "command/args/0: expected a string",
        ),
        (
            r#"{"command":{"program":"a"}}"#,
            "command: this server has no `command`",
        ),
        (
            r#"{"command":"a","env":{"A":"1"},"environment":{}}"#,
            "`env` and `environment` mean the same here; keep one of the two",
        ),
    ] {
        let error = upstream(json).unwrap_err();
        let error = error
            .trim_start_matches("/mcpServers/db")
            .trim_start_matches([':', '/', ' ']);
        assert!(error.starts_with(message), "{json}: {error}");
    }
}

#[test]
fn numbers_and_booleans_are_texts_and_null_sets_no_variable() {
    let upstream =
        command(r#"{"command":"a","args":["-p",8080,true],"env":{"P":8080,"B":false,"N":null}}"#);
    assert_eq!(upstream.args, ["-p", "8080", "true"]);
    assert_eq!(env(&upstream), [("B", "false"), ("P", "8080")]);
    let chosen = chosen(r#"{"command":"a","env":{"N":null}}"#).unwrap();
    assert_eq!(chosen.warnings.len(), 1);
    assert!(chosen.warnings[0].starts_with("/mcpServers/db/env/N: `null` sets no variable"));
}

#[test]
fn a_command_that_contains_its_arguments_is_an_error_that_shows_how_to_write_them() {
    assert_eq!(
        upstream(r#"{"command":"python3 server.py \"x\""}"#).unwrap_err(),
        r#"/mcpServers/db/command: no program is called `python3 server.py "x"`; put its arguments into `args`: `"command": "python3", "args": ["server.py", "\"x\""]`"#,
    );
    // A program's name may contain spaces if such a file exists.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("my server");
    std::fs::write(&program, "").unwrap();
    let text = program.to_str().unwrap();
    assert_eq!(command(&format!(r#"{{"command":"{text}"}}"#)).command, text);
    let path = folder.path().to_str().unwrap();
    let json = format!(r#"{{"command":"my server","env":{{"PATH":"{path}"}}}}"#);
    assert_eq!(command(&json).command, "my server");
    let json = format!(r#"{{"command":"./my server","cwd":"{path}"}}"#);
    assert_eq!(command(&json).command, "./my server");
    // The error quotes the file's text, not the value of the variable.
    let error = upstream(r#"{"command":"a ${TOKEN}"}"#).unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn the_entrys_own_variables_override_its_env_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.env"), "A=file\nB=${TOKEN}\n").unwrap();
    let read = |json: &str, folder: &Path| {
        let node = serde_json::from_str(json).unwrap();
        let entry = Entry::new("db".into(), Pointer::default(), node).unwrap();
        entry.chosen(&environment(), folder)
    };
    for file in [
        "x.env".to_owned(),
        "./x.env".to_owned(),
        folder.path().join("x.env").display().to_string(),
    ] {
        let json = format!(r#"{{"command":"a","envFile":"{file}","env":{{"A":"entry"}}}}"#);
        let Target::Command(target) = read(&json, folder.path()).unwrap().upstream.target else {
            panic!("it is started");
        };
        assert_eq!(env(&target), [("A", "entry"), ("B", "${TOKEN}")]);
    }
    let error = read(r#"{"command":"a","envFile":"no.env"}"#, folder.path()).unwrap_err();
    let path = folder.path().join("no.env");
    let message = format!(
        "/envFile: `{}`: cannot read this env file; ",
        path.display()
    );
    assert!(error.to_string().starts_with(&message), "{error}");
    let error = upstream(r#"{"command":"a","envFile":"/${TOKEN}/x.env"}"#).unwrap_err();
    assert!(
        error.contains("`/${TOKEN}/x.env`: cannot read this env file"),
        "{error}"
    );
    let error = upstream(r#"{"command":"a","envFile":"~/x.env"}"#).unwrap_err();
    assert!(
        error.contains("`~/x.env`: cannot read this env file"),
        "{error}"
    );
    let error = upstream(r#"{"command":"a","envFile":"${workspaceFolder}/.env"}"#).unwrap_err();
    assert!(
        error.starts_with("/mcpServers/db/envFile: `${workspaceFolder}` is"),
        "{error}"
    );
}

#[test]
fn disabled_tools_are_denied() {
    let chosen = chosen(
        r#"{"command":"a","disabledTools":["delete_x"],"excludeTools":["b"],"disabled_tools":["c"]}"#,
    );
    let deny: Vec<_> = chosen
        .unwrap()
        .deny
        .into_iter()
        .map(Pattern::into_string)
        .collect();
    assert_eq!(deny, ["delete_x", "c", "b"]);
    for json in [
        r#"{"command":"a","disabledTools":"delete_x"}"#,
        r#"{"command":"a","disabledTools":[7]}"#,
        r#"{"command":"a","disabledTools":["["]}"#,
    ] {
        let error = upstream(json).unwrap_err();
        assert!(error.starts_with("/mcpServers/db/disabledTools"), "{error}");
    }
}

#[test]
fn headers_of_other_clients_are_sent() {
    for (json, expected) in [
        (r#""http_headers":{"X-A":"${TOKEN}"}"#, ("X-A", "hunter2")),
        (r#""env_http_headers":{"X-A":"TOKEN"}"#, ("X-A", "hunter2")),
        (
            r#""bearer_token_env_var":"TOKEN""#,
            ("Authorization", "Bearer hunter2"),
        ),
        (r#""requestInit":{"headers":{"X-A":"1"}}"#, ("X-A", "1")),
        (r#""headers":{"X-A":1}"#, ("X-A", "1")),
        (
            r#""headers":{"Authorization":"Bearer abc\n"}"#,
            ("Authorization", "Bearer abc"),
        ),
    ] {
        let upstream = upstream(&format!(r#"{{"url":"http://a",{json}}}"#)).unwrap();
        let Target::Url(target) = upstream.target else {
            panic!("it has a url");
        };
        let headers: Vec<_> = target
            .headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.expose()))
            .collect();
        assert_eq!(headers, [expected], "{json}");
    }
    for (json, message) in [
        (
            r#""bearer_token_env_var":"NO""#,
            "bearer_token_env_var: the variable `NO` is not set; set it",
        ),
        (
            r#""bearer_token_env_var":"EMPTY""#,
            "bearer_token_env_var: this secret is set but empty",
        ),
        (
            r#""env_http_headers":{"X-A":"NO"}"#,
            "env_http_headers/X-A: the variable `NO` is not set",
        ),
        (
            r#""headers":{"authorization":"a"},"bearer_token_env_var":"TOKEN""#,
            "bearer_token_env_var: this header is given twice",
        ),
        (
            r#""requestInit":{"headers":{"A B":"1"}}"#,
            "requestInit/headers/A B: expected the name and the value",
        ),
    ] {
        let error = upstream(&format!(r#"{{"url":"http://a",{json}}}"#)).unwrap_err();
        assert!(
            error.starts_with(&format!("/mcpServers/db/{message}")),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_url_may_have_the_names_that_other_clients_give_it() {
    for (json, is_sse) in [
        (r#"{"httpUrl":"http://a/mcp"}"#, false),
        (r#"{"httpUrl":"http://a/sse"}"#, false),
        (r#"{"serverUrl":"http://a/sse"}"#, true),
        (r#"{"serverUrl":"http://a/mcp","url":""}"#, false),
        (
            r#"{"serverUrl":"http://a/mcp","url":null,"command":""}"#,
            false,
        ),
        (r#"{"type":"streamableHttp","url":"http://a/sse"}"#, false),
        (r#"{"type":"remote","url":"http://a/sse"}"#, true),
        (r#"{"type":"remote","url":"http://a/mcp"}"#, false),
        (r#"{"type":"","url":"http://a/mcp"}"#, false),
    ] {
        match upstream(json).unwrap().target {
            Target::Url(target) => assert_eq!(target.is_sse, is_sse, "{json}"),
            Target::Command(_) => panic!("{json} is started"),
        }
    }
    for (json, message) in [
        (
            r#"{"httpUrl":"http://a","url":"http://b"}"#,
            ": `url` and `httpUrl` mean the same here; keep one of the two",
        ),
        (
            r#"{"serverUrl":7}"#,
            "/serverUrl: expected a string, found a number",
        ),
        (
            r#"{"httpUrl":"x"}"#,
            "/httpUrl: expected a URL that begins with",
        ),
        (
            r#"{"type":"local","url":"http://a"}"#,
            ": the `type` of this server needs a `command`",
        ),
        (
            r#"{"type":"remote","command":"a"}"#,
            ": the `type` of this server needs a `url`",
        ),
    ] {
        let error = upstream(json).unwrap_err();
        assert!(
            error.starts_with(&format!("/mcpServers/db{message}")),
            "{error}"
        );
    }
    assert_eq!(
        command(r#"{"type":"","command":"a","url":""}"#).command,
        "a"
    );
}

#[test]
fn an_entry_can_be_disabled_in_two_ways() {
    for (json, is_disabled) in [
        (r#"{"disabled":true}"#, true),
        (r#"{"enabled":false}"#, true),
        (r#"{"disabled":false,"enabled":true}"#, false),
        (r#"{"disabled":"True"}"#, true),
        (r#"{"disabled":"false","enabled":"true"}"#, false),
        (r#"{"disabled":1,"enabled":null}"#, false),
        ("{}", false),
    ] {
        let entry = Entry::new(
            "db".into(),
            Pointer::default(),
            serde_json::from_str(json).unwrap(),
        );
        assert_eq!(entry.unwrap().is_disabled(), is_disabled, "{json}");
    }
}

#[test]
fn an_unset_variable_is_an_error_with_its_place() {
    let message = "the variable `NO` is not set; set it or write `${NO:-default}`, or `$${NO}` for plain text";
    for (json, place) in [
        (r#"{"command":"${NO}"}"#, "command"),
        (r#"{"command":"db","args":["a","${NO}"]}"#, "args/1"),
        (r#"{"command":"db","env":{"A":"${NO}"}}"#, "env/A"),
    ] {
        assert_eq!(
            upstream(json).unwrap_err(),
            format!("/mcpServers/db/{place}: {message}")
        );
    }
}

#[test]
fn a_wrong_type_is_an_error_that_does_not_quote_the_value() {
    for (json, message) in [
        (
            r#"{"command":1}"#,
            "command: expected a string, found a number",
        ),
        (
            r#"{"command":"a","args":"-k hunter2"}"#,
            "args: expected a list with each argument on its own, as in `[\"-y\", \"server\"]`, found a \
             string with spaces",
        ),
        (
            r#"{"command":"a","args":[1.5]}"#,
            "args/0: expected a string, found a number that is not whole or very large; put it in quotes",
        ),
        (
            r#"{"command":"a","env":["A=1"]}"#,
            "env: expected an object, each value a string, found an array",
        ),
        (
            r#"{"command":"a","env":{"K":["4711"]}}"#,
            "env/K: expected a string, found an array",
        ),
        (
            r#"{"command":"a","cwd":true}"#,
            "cwd: expected a string, found a boolean",
        ),
        (
            r#"{"command":"a","url":1}"#,
            "url: expected a string, found a number",
        ),
        (
            r#"{"command":"a","cwd":"\u0000"}"#,
            "cwd: there is a NUL character in this text; remove it",
        ),
        (
            r#"{"command":" "}"#,
            "command: expected the program to start, found an empty string",
        ),
        (
            r#"{"command":"${EMPTY}"}"#,
            "command: expected the program to start, found an empty string",
        ),
        (
            r#"{"command":"a","env":{"A=B":"s3cret"}}"#,
            "env/A=B: expected the name of a variable, without `=` and NUL, found another key",
        ),
        (
            r#"{"command":"a","env":{"":"s3cret"}}"#,
            "env/: expected the name of a variable, without `=` and NUL, found another key",
        ),
    ] {
        assert_eq!(
            upstream(json).unwrap_err(),
            format!("/mcpServers/db/{message}")
        );
    }
    assert!(upstream(r#"{"command":"a","env":{"A\u0000":""}}"#).is_err());
}

#[test]
fn a_key_that_is_read_must_not_be_written_twice() {
    for json in [
        r#"{"command":"a","command":"b"}"#,
        r#"{"command":"a","args":[],"args":[]}"#,
        r#"{"command":"a","env":{"A":"1","A":"2"}}"#,
    ] {
        assert!(
            upstream(json)
                .unwrap_err()
                .contains("this key is written twice"),
            "{json}"
        );
    }
}

// contract.md, "Configuration": "Keys that other clients put into an entry are left alone."
#[test]
fn keys_of_other_clients_are_left_alone() {
    let upstream = command(
        r#"{"command":"a","disabled":true,"alwaysAllow":7,"timeout":"x","timeout":-1,"mode":"?"}"#,
    );
    assert_eq!(upstream.command, "a");
}

// contract.md, "Configuration": "`type` `http`, `sse` and `stdio` are honoured; a `url` whose path
// ends in `/sse` without a `type` is HTTP+SSE."
#[test]
fn the_kind_of_a_server_follows_from_its_type_or_its_keys() {
    for (json, is_sse) in [
        (r#"{"url":"http://a/mcp"}"#, false),
        (r#"{"url":"http://a/sse"}"#, true),
        (r#"{"url":"http://a/xsse"}"#, false),
        (r#"{"url":" http://a/sse "}"#, true),
        (r#"{"url":"${NOWHERE:-http://a/sse}"}"#, true),
        (r#"{"url":"${NOWHERE:-http://a}/mcp"}"#, false),
        (r#"{"url":"http://a/sse/"}"#, true),
        (r#"{"url":"http://a/x/sse?key=1&b=/mcp"}"#, true),
        (r#"{"url":"http://a/sse#x"}"#, true),
        (r#"{"url":"http://a/mcp?to=/sse"}"#, false),
        (r#"{"url":"http://a/sse/mcp"}"#, false),
        (r#"{"url":"http://a/mcp","transport":"sse"}"#, true),
        (r#"{"url":"http://a/sse","transport":"http"}"#, false),
        (
            r#"{"url":"http://a/sse","transport":"streamable-http"}"#,
            false,
        ),
        (
            r#"{"url":"http://a/sse","transport":"Streamable_HTTP"}"#,
            false,
        ),
        (r#"{"url":"http://a/sse","transport":"websocket"}"#, true),
        (
            r#"{"url":"http://a/sse","transport":{"kind":"http"}}"#,
            true,
        ),
        (
            r#"{"url":"http://a/mcp","type":"http","transport":"sse"}"#,
            false,
        ),
        (r#"{"url":"http://a/sse","type":"http"}"#, false),
        (r#"{"url":"http://a/sse","type":"streamable-http"}"#, false),
        (r#"{"url":"http://a","type":"sse"}"#, true),
        (r#"{"command":"a","url":"http://a","type":"http"}"#, false),
    ] {
        match upstream(json).unwrap().target {
            Target::Url(target) => assert_eq!(target.is_sse, is_sse, "{json}"),
            Target::Command(_) => panic!("{json} is started"),
        }
    }
    for (json, message) in [
        (
            r#"{"command":"a","url":"http://a"}"#,
            "this server has a `command` and a `url`",
        ),
        (
            r#"{"command":"a","type":"http"}"#,
            "the `type` of this server needs a `url`, but it has a `command`; remove `type`",
        ),
        (
            r#"{"url":"http://a","type":"stdio"}"#,
            "the `type` of this server needs a `command`, but it has a `url`; remove `type`",
        ),
        (
            "{}",
            "this server has neither a `command` nor a `url`; add one",
        ),
        (
            r#"{"comand":"a"}"#,
            "this server has no `command`; should `comand` be `command`?",
        ),
        (
            r#"{"cmd":"a","args":[]}"#,
            "this server has no `command`; should `cmd` be `command`?",
        ),
        (
            r#"{"server_url":"http://a"}"#,
            "this server has no `url`; should `server_url` be `url`?",
        ),
        (
            r#"{"source":"extension","settings":{}}"#,
            "an extension of Zed starts this server",
        ),
        (
            r#"{"URI":"http://a"}"#,
            "this server has no `url`; should `URI` be `url`?",
        ),
        (
            r#"{"args":["a"]}"#,
            "this server has neither a `command` nor a `url`; add one",
        ),
    ] {
        let error = upstream(json).unwrap_err();
        assert!(
            error.starts_with(&format!("/mcpServers/db: {message}")),
            "{json}: {error}"
        );
    }
    assert!(upstream(r#"{"command":"a","url":"http://a","type":"stdio"}"#).is_ok());
    assert_eq!(
        upstream(r#"{"command":"a","type":"ws"}"#).unwrap_err(),
        "/mcpServers/db/type: expected one of `stdio`, `http`, `sse`, `streamable-http`, found \
         `ws`",
    );
}

#[test]
fn an_entry_must_be_an_object_with_good_rules() {
    assert_eq!(
        upstream("[]").unwrap_err(),
        "/mcpServers/db: expected the entry of a server, an object with a `command` or a `url`, \
         found an array",
    );
    assert!(
        upstream(r#"{"command":"a","approvalRules":{"mode":1}}"#)
            .unwrap_err()
            .starts_with("/mcpServers/db/approvalRules/mode: expected one of")
    );
}

#[test]
fn arguments_and_values_are_not_printed_by_debug() {
    let upstream = upstream(r#"{"command":"db","args":["${TOKEN}"],"env":{"KEY":"${TOKEN}"}}"#);
    let message = format!("{:?}", upstream.unwrap());
    assert!(
        message.contains("KEY") && message.contains("[1 hidden]"),
        "{message}"
    );
    assert!(!message.contains("hunter2"), "{message}");
}

// `Bearer ${TOKEN}` with an empty TOKEN was sent as `Bearer `, which kept the proxy from offering a login.
#[test]
fn a_header_for_credentials_without_any_is_an_error() {
    for (name, value) in [
        ("Authorization", ""),
        ("authorization", "  "),
        ("Authorization", "Bearer"),
        ("Authorization", "bearer "),
        ("Authorization", "Bearer ${EMPTY}"),
        ("Authorization", "Basic ${EMPTY:-}"),
        ("X-Api-Key", "${EMPTY}"),
        ("Cookie", " "),
    ] {
        let json = format!(r#"{{"url":"http://a","headers":{{"{name}":"{value}"}}}}"#);
        let message = upstream(&json).unwrap_err();
        let place = format!("/mcpServers/db/headers/{name}: this secret is set but empty");
        assert!(message.contains(&place), "{message}");
    }
    for (name, value) in [
        ("Authorization", "Bearer x"),
        ("X-Region", ""),
        ("Authorization", "x"),
    ] {
        let json = format!(r#"{{"url":"http://a","headers":{{"{name}":"{value}"}}}}"#);
        upstream(&json).unwrap();
    }
}

// contract.md, "Configuration": "`${NAME}` and `${NAME:-default}` expand in `command`, `args`,
// `env`, `cwd`, `envFile`, `url` and `headers`".
#[test]
fn variables_expand_in_url_and_headers() {
    let json = r#"{"url":" https://${HOST:-a.example}/mcp?k=${TOKEN}","headers":{"Authorization":"Bearer ${TOKEN}","X ${BIN}":"1"}}"#;
    let error = upstream(json).unwrap_err();
    assert!(error.contains("/mcpServers/db/headers/X ${BIN}"), "{error}");
    let upstream = upstream(&json.replace("X ${BIN}", "X-Bin")).unwrap();
    assert!(!format!("{upstream:?}").contains("hunter2"));
    let Target::Url(target) = upstream.target else {
        panic!("it has a url");
    };
    assert_eq!(target.url.expose(), "https://a.example/mcp?k=hunter2");
    let headers = target.headers.iter().map(|(n, v)| (n.as_str(), v.expose()));
    let headers: Vec<_> = headers.collect();
    assert_eq!(
        headers,
        [("Authorization", "Bearer hunter2"), ("X-Bin", "1")]
    );
}

#[test]
fn a_bad_url_or_header_is_an_error_that_does_not_quote_the_value() {
    for json in [
        r#"{"url":"a/mcp"}"#,
        r#"{"url":"ftp://hunter2/mcp"}"#,
        r#"{"url":"http://"}"#,
        r#"{"url":"http:a/mcp"}"#,
        r#"{"url":""}"#,
        r#"{"url":7}"#,
        r#"{"url":"http://a","headers":{"A":"hunter2\r\nB: 1"}}"#,
        r#"{"url":"http://a","headers":{"A B":"1"}}"#,
        r#"{"url":"http://a","headers":["A"]}"#,
        r#"{"url":"http://a/${NOT_SET}"}"#,
    ] {
        let error = upstream(json).unwrap_err();
        assert!(error.starts_with("/mcpServers/db/"), "{json}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_command_that_cannot_be_a_program_here_is_an_error_that_says_what_to_write() {
    for (json, message) in [
        (
            r#"{"command":"https://a/mcp"}"#,
            "this is a URL, not a program; rename the key to `url`",
        ),
        (
            r#"{"command":"cmd","args":["/c","npx","-y","x"]}"#,
            "`cmd` is a Windows program; make the program after `/c` the `command`, and remove both from `args`",
        ),
    ] {
        let error = upstream(json).unwrap_err();
        assert_eq!(error, format!("/mcpServers/db/command: {message}"));
    }
}
