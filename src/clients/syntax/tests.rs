//! Places of values, and texts that are refused.

use super::*;

fn slice<'t>(text: &'t str, member: &Member) -> &'t str {
    text.get(member.at()).unwrap()
}

#[test]
fn the_place_of_an_entry_in_json_is_its_key_and_its_braces() {
    let text = "{ // c\n \"a\": {\"b\": [1, \"x\",], }, }";
    let root = Syntax::Json.parse(text).unwrap();
    let a = root.get("a").unwrap();
    assert_eq!(slice(text, a), "\"a\": {\"b\": [1, \"x\",], }");
    let b = a.node.get("b").unwrap();
    assert_eq!(text.get(b.node.at.clone()).unwrap(), "[1, \"x\",]");
    assert_eq!(b.node.elements().unwrap()[1].text(), Some("x"));
}

#[test]
fn the_place_of_an_entry_in_toml_is_all_its_lines() {
    let text =
        "x = 1\n\n[s.a]\ncommand = \"c\" # d\n[s.a.env]\nK = \"v\"\n\n# e\n[s.b]\nurl = \"u\"\n";
    let root = Syntax::Toml.parse(text).unwrap();
    let at = |path: &[&str]| {
        let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
        text.get(root.at_path(&path).unwrap().at.clone()).unwrap()
    };
    assert_eq!(
        at(&["s", "a"]),
        "[s.a]\ncommand = \"c\" # d\n[s.a.env]\nK = \"v\""
    );
    assert_eq!(at(&["s", "a", "env"]), "[s.a.env]\nK = \"v\"");
    assert_eq!(at(&["s", "b"]), "[s.b]\nurl = \"u\"");
    assert_eq!(at(&["s", "a", "command"]), "\"c\"");
}

#[test]
fn a_text_that_readers_could_understand_in_two_ways_is_refused() {
    for (text, expected) in [
        (
            "{\n \"a\" }",
            "it is not JSON: expected colon after the string or word in object property, line 2, column 6",
        ),
        (
            "{\"a\": 1, \"a\": 2}",
            "the key `a` stands twice in one object, the second time in line 1, column 10; remove one of them",
        ),
        ("{a: 1}", "it is not JSON"),
        ("{'a': 1}", "it is not JSON"),
        ("{\"a\": 1 \"b\": 2}", "it is not JSON"),
        ("", "it is empty"),
        ("// c\n", "it is empty"),
    ] {
        let error = Syntax::Json.parse(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text:?}: {error}");
    }
    let error = Syntax::Toml.parse("a = 1\n[b\n").unwrap_err().to_string();
    assert!(
        error.starts_with("it is not TOML") && error.contains("line 2"),
        "{error}"
    );
}

#[test]
fn lines_end_before_either_line_break() {
    let text = "ab\r\ncd\nef";
    assert_eq!((line_start(text, 5), line_end(text, 1)), (4, 2));
    assert_eq!((line_start(text, 0), line_end(text, 8)), (0, 9));
}
