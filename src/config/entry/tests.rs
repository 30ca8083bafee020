//! What the entry of a server may hold, and what of it is expanded.

use std::path::Path;

use super::*;

fn environment() -> Environment {
    let variables = [("BIN", "/opt/bin"), ("TOKEN", "hunter2"), ("EMPTY", "")];
    variables.into_iter().collect()
}

fn upstream(json: &str) -> Result<Upstream, String> {
    let at = Pointer::default().child("mcpServers").child("db");
    let node = serde_json::from_str(json).unwrap();
    let entry = Entry::new("db".to_owned(), at, node).map_err(|fault| fault.to_string())?;
    let upstream = entry.into_upstream(&environment());
    upstream.map_err(|fault| fault.to_string())
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

// CONTRACT: "`$VAR`, `${VAR}` and `${VAR:-default}` expand in `command`, `args`, `env`, …".
#[test]
fn variables_expand_in_command_args_and_env_and_nowhere_else() {
    let upstream = command(
        r#"{"command":"$BIN/db","args":["--to=${TOKEN}"],"env":{"$BIN":"${NO:-x}"},"cwd":"$BIN"}"#,
    );
    assert_eq!(upstream.command, "/opt/bin/db");
    assert_eq!(upstream.args, ["--to=hunter2"]);
    assert_eq!(env(&upstream), [("$BIN", "x")]);
    assert_eq!(upstream.cwd.as_deref(), Some(Path::new("$BIN")));
}

#[test]
fn an_unset_variable_is_an_error_with_its_place() {
    let told = "the variable `NO` is not set; set it or write `${NO:-default}`";
    for (json, place) in [
        (r#"{"command":"$NO"}"#, "command"),
        (r#"{"command":"db","args":["a","$NO"]}"#, "args/1"),
        (r#"{"command":"db","env":{"A":"${NO}"}}"#, "env/A"),
    ] {
        assert_eq!(
            upstream(json).unwrap_err(),
            format!("/mcpServers/db/{place}: {told}")
        );
    }
}

#[test]
fn a_wrong_type_is_an_error_that_tells_no_value() {
    for (json, told) in [
        (
            r#"{"command":1}"#,
            "command: expected a string, found a number",
        ),
        (
            r#"{"command":"a","args":"b"}"#,
            "args: expected a list, each element a string, found a string",
        ),
        (
            r#"{"command":"a","args":[1]}"#,
            "args/0: expected a string, found a number",
        ),
        (
            r#"{"command":"a","env":["A=1"]}"#,
            "env: expected an object, each value a string, found an array",
        ),
        (
            r#"{"command":"a","env":{"K":4711}}"#,
            "env/K: expected a string, found a number",
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
            r#"{"command":"$EMPTY"}"#,
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
            format!("/mcpServers/db/{told}")
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

// CONTRACT: "Keys that other clients put into an entry are left alone."
#[test]
fn keys_of_other_clients_are_left_alone() {
    let upstream = command(
        r#"{"command":"a","disabled":true,"alwaysAllow":7,"timeout":"x","timeout":-1,"mode":"?"}"#,
    );
    assert_eq!(upstream.command, "a");
}

// CONTRACT: "(`type` `http`/`sse`/`stdio` honoured; a url ending in `/sse` without a type is SSE)".
#[test]
fn the_kind_of_a_server_is_its_type_or_what_it_has() {
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
    for (json, told) in [
        (
            r#"{"command":"a","url":"http://a"}"#,
            "this server has a `command` and a `url`",
        ),
        (
            r#"{"command":"a","type":"http"}"#,
            "this server has no `url`; add it",
        ),
        (
            r#"{"url":"http://a","type":"stdio"}"#,
            "this server has no `command`; add it",
        ),
        (
            "{}",
            "this server has neither a `command` nor a `url`; add one",
        ),
        (
            r#"{"comand":"a"}"#,
            "this server has no `command`; is `comand` meant for it?",
        ),
        (
            r#"{"URI":"http://a"}"#,
            "this server has no `url`; is `URI` meant for it?",
        ),
        (
            r#"{"args":["a"]}"#,
            "this server has neither a `command` nor a `url`; add one",
        ),
    ] {
        let error = upstream(json).unwrap_err();
        assert!(
            error.starts_with(&format!("/mcpServers/db: {told}")),
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
    let upstream = upstream(r#"{"command":"db","args":["$TOKEN"],"env":{"KEY":"$TOKEN"}}"#);
    let told = format!("{:?}", upstream.unwrap());
    assert!(
        told.contains("KEY") && told.contains("[1 hidden]"),
        "{told}"
    );
    assert!(!told.contains("hunter2"), "{told}");
}

// `Bearer ${TOKEN}` with an empty TOKEN went out as `Bearer `, and kept the login from being offered.
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
        let told = upstream(&json).unwrap_err();
        let place = format!("/mcpServers/db/headers/{name}: this secret is set but empty");
        assert!(told.contains(&place), "{told}");
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

// CONTRACT: "expand in `command`, `args`, `env`, `url`, `headers`".
#[test]
fn variables_expand_in_url_and_headers() {
    let json = r#"{"url":" https://${HOST:-a.example}/mcp?k=$TOKEN","headers":{"Authorization":"Bearer ${TOKEN}","X $BIN":"1"}}"#;
    let error = upstream(json).unwrap_err();
    assert!(error.contains("/mcpServers/db/headers/X $BIN"), "{error}");
    let upstream = upstream(&json.replace("X $BIN", "X-Bin")).unwrap();
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
fn a_bad_url_or_header_is_an_error_that_tells_no_value() {
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
