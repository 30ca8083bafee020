//! invariants.md, 4: "The proxy and the upstream can never read the same bytes differently." Here for
//! JSON text; `hostile` has calls that are refused for what they say.

use super::hostile::{MARKER, PARAMS, PING, call, none_gets_through};

// invariants.md, 4: "A message is refused when its envelope, or anything at any depth of a call's
// `params`, holds the same key twice after unescaping".
#[test]
fn a_duplicate_key_does_not_get_through() {
    let with = |envelope: &str| format!(r#"{{"jsonrpc":"2.0","id":1,{envelope}}}"#);
    let params = |members: &str| with(&format!(r#""method":"tools/call","params":{{{members}}}"#));
    let arguments = |text: &str| {
        params(&format!(
            r#""name":"wipe","arguments":{{"m":"{MARKER}","x":{text}}}"#
        ))
    };
    none_gets_through([
        (
            "method, harmless first",
            with(&format!(
                r#""method":"ping","method":"tools/call","params":{PARAMS}"#
            )),
        ),
        (
            "method, harmless last",
            with(&format!(
                r#""method":"tools/call","method":"ping","params":{PARAMS}"#
            )),
        ),
        (
            "method, escaped",
            with(&format!(
                r#""method":"ping","m\u0065thod":"tools/call","params":{PARAMS}"#
            )),
        ),
        (
            "params",
            with(&format!(
                r#""method":"tools/call","params":{{"name":"read"}},"params":{PARAMS}"#
            )),
        ),
        (
            "params, escaped",
            with(&format!(
                r#""method":"tools/call","params":{PARAMS},"p\u0061rams":{{"name":"read"}}"#
            )),
        ),
        (
            "id",
            with(&format!(
                r#""id":2,"method":"tools/call","params":{PARAMS}"#
            )),
        ),
        (
            "jsonrpc",
            format!(
                r#"{{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"tools/call","params":{PARAMS}}}"#
            ),
        ),
        (
            "an unknown member",
            with(&format!(
                r#""x":1,"x":2,"method":"tools/call","params":{PARAMS}"#
            )),
        ),
        (
            "name",
            params(&format!(
                r#""name":"read","name":"wipe","arguments":{{"m":"{MARKER}"}}"#
            )),
        ),
        (
            "name, the other way",
            params(&format!(
                r#""name":"wipe","name":"read","arguments":{{"m":"{MARKER}"}}"#
            )),
        ),
        (
            "name, escaped",
            params(&format!(
                r#""name":"read","n\u0061me":"wipe","arguments":{{"m":"{MARKER}"}}"#
            )),
        ),
        (
            "arguments",
            params(&format!(
                r#""name":"read","arguments":{{}},"arguments":{{"m":"{MARKER}"}}"#
            )),
        ),
        (
            "_meta",
            params(&format!(
                r#""name":"read","_meta":{{}},"_meta":{{"m":"{MARKER}"}}"#
            )),
        ),
        (
            "an argument",
            params(&format!(
                r#""name":"read","arguments":{{"m":"a","m":"{MARKER}"}}"#
            )),
        ),
        (
            "deep in an argument",
            arguments(r#"[[{"a":{"b":[{"c":1,"d":2,"\u0063":3}]}}]]"#),
        ),
        ("the empty key", arguments(r#"{"":1,"":2}"#)),
        (
            "a surrogate pair and its character",
            arguments("{\"\\ud83d\\ude00\":1,\"\u{1f600}\":2}"),
        ),
        (
            "in _meta of a harmless tool",
            params(&format!(
                r#""name":"read","_meta":{{"a":"{MARKER}","\u0061":1}}"#
            )),
        ),
        (
            "in an unknown member",
            params(&format!(r#""name":"read","zzz":{{"a":"{MARKER}","a":1}}"#)),
        ),
    ]);
}

// invariants.md, 4: "a key that differs from a protocol key only by case, Unicode folding, white space,
// characters that draw nothing, or width." Several JSON libraries fold keys.
#[test]
fn a_key_that_folds_to_a_protocol_key_does_not_get_through() {
    let with = |envelope: &str| format!(r#"{{"jsonrpc":"2.0","id":1,{envelope}}}"#);
    let params = |members: &str| with(&format!(r#""method":"tools/call","params":{{{members}}}"#));
    none_gets_through([
        (
            "Method alone",
            with(&format!(r#""Method":"tools/call","params":{PARAMS}"#)),
        ),
        (
            "METHOD beside a harmless one",
            with(&format!(
                r#""method":"ping","METHOD":"tools/call","params":{PARAMS}"#
            )),
        ),
        (
            "Params",
            with(&format!(
                r#""method":"tools/call","params":{{"name":"read"}},"Params":{PARAMS}"#
            )),
        ),
        (
            "Params alone",
            with(&format!(r#""method":"tools/call","Params":{PARAMS}"#)),
        ),
        (
            "long s in params",
            with(&format!(
                r#""method":"tools/call","params":{{"name":"read"}},"param{}":{PARAMS}"#,
                '\u{17f}'
            )),
        ),
        (
            "long s in jsonrpc",
            format!(
                r#"{{"json{}rpc":"2.0","jſonrpc":"2.0","id":1,"method":"tools/call","params":{PARAMS}}}"#,
                's'
            ),
        ),
        (
            "dotless i in id",
            format!(r#"{{"jsonrpc":"2.0","id":1,"ıd":2,"method":"tools/call","params":{PARAMS}}}"#),
        ),
        (
            "dotted I in id",
            format!(r#"{{"jsonrpc":"2.0","İd":2,"method":"tools/call","params":{PARAMS}}}"#),
        ),
        (
            "ID",
            format!(r#"{{"jsonrpc":"2.0","ID":2,"method":"tools/call","params":{PARAMS}}}"#),
        ),
        (
            "Name",
            params(&format!(
                r#""name":"read","Name":"wipe","arguments":{{"m":"{MARKER}"}}"#
            )),
        ),
        (
            "NAME, escaped",
            params(&format!(
                r#""name":"read","\u004eAME":"wipe","arguments":{{"m":"{MARKER}"}}"#
            )),
        ),
        (
            "Arguments",
            params(&format!(
                r#""name":"read","arguments":{{}},"Arguments":{{"m":"{MARKER}"}}"#
            )),
        ),
        (
            "argumentſ",
            params(&format!(r#""name":"read","argumentſ":{{"m":"{MARKER}"}}"#)),
        ),
        (
            "_META",
            params(&format!(r#""name":"read","_META":{{"m":"{MARKER}"}}"#)),
        ),
        (
            "Result",
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{PARAMS},"Result":{{}}}}"#
            ),
        ),
    ]);
}

// Some readers trim keys, or drop invisible characters.
#[test]
fn a_key_that_trims_to_a_protocol_key_does_not_get_through() {
    let with = |envelope: &str| format!(r#"{{"jsonrpc":"2.0","id":1,{envelope}}}"#);
    let methods = [
        "method ",
        " method",
        r"\tmethod",
        r"method\n",
        r"method\u00a0",
        "method\u{3000}",
        "me\u{200b}thod",
        r"me\u200bthod",
        r"\ufeffmethod",
        r"method\u00ad",
        "\u{ff4d}ethod",
        r"\uff2dETHOD ",
    ];
    none_gets_through(methods.map(|key| {
        (
            "a method",
            with(&format!(
                r#""method":"ping","{key}":"tools/call","params":{PARAMS}"#
            )),
        )
    }));
    none_gets_through(methods.map(|key| {
        (
            "the only method",
            with(&format!(r#""{key}":"tools/call","params":{PARAMS}"#)),
        )
    }));
    let params = ["params ", r"par\u200bams", "\u{ff50}arams", r"params\u2028"];
    none_gets_through(params.map(|key| {
        (
            "params",
            with(&format!(
                r#""method":"tools/call","params":{{"name":"read"}},"{key}":{PARAMS}"#
            )),
        )
    }));
    let names = ["name ", " name", r"na\u200bme", r"name\r", "\u{ff4e}ame"];
    none_gets_through(names.map(|key| ("a name", with(&format!(r#""method":"tools/call","params":{{"name":"read","{key}":"wipe","arguments":{{"m":"{MARKER}"}}}}"#)))));
    let others = [
        "arguments ",
        r"argu\u2060ments",
        "_meta ",
        r"\ufeff_meta",
        "task ",
    ];
    none_gets_through(others.map(|key| {
        (
            "another parameter",
            with(&format!(
                r#""method":"tools/call","params":{{"name":"read","{key}":{{"m":"{MARKER}"}}}}"#
            )),
        )
    }));
}

#[test]
fn a_key_with_a_nul_does_not_get_through() {
    let with = |members: &str| format!(r#"{{"jsonrpc":"2.0","id":1,{members}}}"#);
    none_gets_through([
        (
            "method",
            with(&format!(r#""method\u0000":"tools/call","params":{PARAMS}"#)),
        ),
        (
            "method beside a harmless one",
            with(&format!(
                r#""method":"ping","method\u0000":"tools/call","params":{PARAMS}"#
            )),
        ),
        (
            "params beside harmless ones",
            with(&format!(
                r#""method":"tools/call","params":{{"name":"read"}},"params\u0000":{PARAMS}"#
            )),
        ),
        (
            "name",
            with(&format!(
                r#""method":"tools/call","params":{{"name\u0000":"wipe","name":"read","arguments":{{"m":"{MARKER}"}}}}"#
            )),
        ),
    ]);
}

// invariants.md, 4: "A line with more than one JSON value, invalid UTF-8, a BOM or raw control characters
// is refused."
#[test]
fn a_line_that_readers_split_or_decode_differently_does_not_get_through() {
    let one = call("1");
    let join = |parts: &[&[u8]]| parts.concat();
    let with = |bytes: &[u8]| {
        join(&[br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wipe","arguments":{"m":"B00M-7f3a"#, bytes, br#""}}}"#])
    };
    let (ping, one) = (PING.as_bytes(), one.as_bytes());
    none_gets_through([
        ("two values", join(&[ping, one])),
        ("two values and a space", join(&[ping, b" ", one])),
        ("two values and a comma", join(&[ping, b",", one])),
        ("a carriage return in between", join(&[ping, b"\r", one])),
        ("a carriage return in front", join(&[b"\r", one])),
        (
            "carriage returns at the end",
            join(&[ping, b"\r", one, b"\r\r"]),
        ),
        ("a carriage return inside a string", with(b"\r")),
        ("a form feed in between", join(&[ping, b"\x0c", one])),
        ("a vertical tab in between", join(&[ping, b"\x0b", one])),
        ("a record separator in between", join(&[ping, b"\x1e", one])),
        ("next line in between", join(&[ping, b"\xc2\x85", one])),
        (
            "line separator in between",
            join(&[ping, b"\xe2\x80\xa8", one]),
        ),
        ("NUL in between", join(&[ping, b"\0", one])),
        ("NUL in front", join(&[b"\0", one])),
        ("a no-break space in front", join(&[b"\xc2\xa0", one])),
        ("a BOM in front", join(&[b"\xef\xbb\xbf", one])),
        (
            "two BOMs in front",
            join(&[b"\xef\xbb\xbf\xef\xbb\xbf", one]),
        ),
        ("a BOM in between", join(&[ping, b"\xef\xbb\xbf", one])),
        ("a record separator in front", join(&[b"\x1e", one])),
        (
            "a header of LSP",
            join(&[b"Content-Length: 5\r\n\r\n", one]),
        ),
        ("an event of SSE", join(&[b"data: ", one])),
        ("a comment in front", join(&[b"/**/", one])),
        ("a comment behind a ping", join(&[ping, b"//", one])),
        ("a hash behind a ping", join(&[ping, b"#", one])),
        ("invalid UTF-8", with(b"\xff")),
        (
            "an overlong slash",
            join(&[
                br#"{"jsonrpc":"2.0","id":1,"method":"tools"#,
                b"\xc0\xaf",
                br#"call","params":{"name":"wipe","arguments":{"m":"B00M-7f3a"}}}"#,
            ]),
        ),
        ("a surrogate in UTF-8", with(b"\xed\xa0\x80")),
        ("a cut character", with(b"\xf0\x9f\x98")),
        ("a raw tab in a string", with(b"\t")),
        ("an escape character", with(b"\x1b[2J")),
        ("a raw NUL in a string", with(b"\0")),
        ("UTF-16", one.iter().flat_map(|byte| [*byte, 0]).collect()),
    ]);
}

// invariants.md, 4: "What fails to parse strictly as a call but could be one is refused, never
// forwarded."
#[test]
fn text_that_only_lenient_readers_accept_does_not_get_through() {
    let arguments = |text: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"wipe","arguments":{{"m":"{MARKER}","x":{text}}}}}}}"#
        )
    };
    let deep = |n: usize| arguments(&format!("{}{}", "[".repeat(n), "]".repeat(n)));
    let envelope =
        |text: &str| format!(r#"{{{text},"id":1,"method":"tools/call","params":{PARAMS}}}"#);
    none_gets_through([
        ("a comma at the end", arguments("[1,]")),
        (
            "a comma at the end of the call",
            call("1").replace("}}}", "}},}"),
        ),
        ("NaN", arguments("NaN")),
        ("Infinity", arguments("-Infinity")),
        ("a leading zero", arguments("007")),
        ("a plus", arguments("+1")),
        ("hexadecimal", arguments("0x10")),
        ("a lone point", arguments("1.")),
        ("a leading point", arguments(".5")),
        ("True", arguments("True")),
        ("single quotes", call("1").replace('"', "'")),
        ("bare keys", arguments("{a:1}")),
        ("a comment", arguments("1/*x*/")),
        ("a wrong escape", arguments(r#""\x41""#)),
        ("a short escape", arguments(r#""\u41""#)),
        ("half a surrogate pair", arguments(r#""\ud800""#)),
        ("half a pair in a key", arguments(r#"{"\udc00":1}"#)),
        ("NUL in a key", arguments(r#"{"a\u0000":1}"#)),
        (
            "a NUL behind a key of the protocol",
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"read","name\u0000":"wipe","arguments":{{"m":"{MARKER}"}}}}}}"#
            ),
        ),
        ("128 deep", deep(128)),
        ("1,000 deep", deep(1_000)),
        ("100,000 deep", deep(100_000)),
        (
            "100,000 deep and not closed",
            arguments(&"[".repeat(100_000)),
        ),
        ("no end", call("1").trim_end_matches('}').to_owned()),
        ("too many ends", call("1") + "}"),
        (
            "no params",
            call("1").replace(r#""params""#, r#""params":{},"params2""#),
        ),
        (
            "an array for params",
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["wipe",{{"m":"{MARKER}"}}]}}"#
            ),
        ),
        (
            "a string for params",
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"{MARKER}"}}"#),
        ),
        (
            "an array for the name",
            call("1").replace(r#""wipe""#, r#"["wipe"]"#),
        ),
        ("a number for the name", call("1").replace(r#""wipe""#, "7")),
        (
            "a string for the arguments",
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"read","arguments":"{MARKER}"}}}}"#
            ),
        ),
        ("jsonrpc 1.0", envelope(r#""jsonrpc":"1.0""#)),
        ("jsonrpc as a number", envelope(r#""jsonrpc":2.0"#)),
        ("no jsonrpc", envelope(r#""x":1"#)),
        (
            "an unknown member beside",
            envelope(r#""jsonrpc":"2.0","x":1"#),
        ),
        (
            "a request and a response",
            envelope(r#""jsonrpc":"2.0","result":{}"#),
        ),
        (
            "a request and an error",
            envelope(r#""jsonrpc":"2.0","error":null"#),
        ),
    ]);
}
