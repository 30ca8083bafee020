//! Tests of what is shown unchanged, and of what nobody can hide or forge.

use proptest::prelude::*;

use super::*;

fn quoted(text: &str) -> String {
    let mut out = String::new();
    Renderer::new(Medium::CodeBlock, 100, 100).quoted(text, &mut out);
    out
}

#[test]
fn invisible_characters_are_escaped() {
    assert_eq!(quoted("a\u{1b}[2Jb"), "\"a\\u{1b}[2Jb\"");
    assert_eq!(quoted("abc\u{202e}fdp.exe"), "\"abc\\u{202e}fdp.exe\"");
    assert_eq!(
        quoted("pass\u{200b}word\u{e0041}"),
        "\"pass\\u{200b}word\\u{e0041}\""
    );
    assert_eq!(quoted("line\nbreak\u{2028}"), "\"line\\nbreak\\u{2028}\"");
    assert_eq!(quoted("\u{9b}31m"), "\"\\u{9b}31m\"");
    assert_eq!(quoted("\\u{202e}"), "\"\\\\u{202e}\"");
}

// Attack: a deletion of the whole disk that looks like one of a folder far to the right.
#[test]
fn spaces_and_runs_of_them_are_shown_as_what_they_are() {
    for (text, shown) in [
        ("a  b", "a  b"),
        ("a   b", r"a\s{3}b"),
        ("a\n\nb", r"a\n\nb"),
        ("a\n\n\n\nb", r"a\n{4}b"),
        ("a\t\t\tb\r\n", r"a\t{3}b\r\n"),
        (
            "a\u{a0}b\u{2003}c\u{3000}d\u{202f}",
            r"a\u{a0}b\u{2003}c\u{3000}d\u{202f}",
        ),
        ("\u{2800}\u{3164}\u{1680}", r"\u{2800}\u{3164}\u{1680}"),
        // Text that looks like such an escape is not one.
        (r"a\s{3}b", r"a\\s{3}b"),
    ] {
        assert_eq!(quoted(text), format!("\"{shown}\""));
    }
    let far = format!("rm -rf /{}tmp/x", " ".repeat(80));
    assert_eq!(quoted(&far), r#""rm -rf /\s{80}tmp/x""#);
}

#[test]
fn marks_do_not_pile_up_or_change_our_own_text() {
    for (text, shown) in [
        ("e\u{301}\u{323}", "e\u{301}\u{323}"),
        (
            "e\u{301}\u{323}\u{302}\u{303}",
            "e\u{301}\u{323}\\u{302}\\u{303}",
        ),
        ("\u{338}x", "\\u{338}x"),
        ("\n\u{338}", "\\n\\u{338}"),
        ("a\u{20dd}", "a\u{20dd}"),
    ] {
        assert_eq!(quoted(text), format!("\"{shown}\""));
    }
}

#[test]
fn no_text_can_end_a_code_span() {
    for (text, span) in [
        ("delete_user", "`delete_user`"),
        ("a `b` \"c\"", r#"`a \u{60}b\u{60} "c"`"#),
        (" x ", r"`\sx\s`"),
        ("  ", r"`\s\s`"),
        ("", "(empty)"),
        ("a < b && c <= d", "`a < b && c <= d`"),
        (
            "<b>&lt;</b> R&D ?a=1&b=2",
            r"`\u{3c}b>\u{26}lt;\u{3c}/b> R&D ?a=1&b=2`",
        ),
        (r"C:\dir", r"`C:\\dir`"),
    ] {
        assert_eq!(code_span(text, 100), span);
    }
    assert_eq!(
        code_span("abcdefghijkl", 10),
        "`abcdefghij` …(2 more characters)…"
    );
    assert_eq!(code_span("abc  def", 5), "`abc` …(5 more characters)…");
}

#[test]
fn printable_text_stays_verbatim() {
    for text in [
        "plain ASCII ~!",
        "naïve Grüße",
        "日本語",
        "😀👍🏽",
        "עברית",
        "नमस्ते",
    ] {
        assert_eq!(quoted(text), format!("\"{text}\""));
    }
}

#[test]
fn a_long_string_says_how_much_is_missing_outside_of_its_quotes() {
    let mut renderer = Renderer::new(Medium::CodeBlock, 9, 100);
    let mut out = String::new();
    renderer.quoted("abcdefghijklmnopqrstuvwxyz", &mut out);
    assert_eq!(out, r#""abcdef" …(17 of 26 characters left out)… "xyz""#);
    assert!(renderer.shortened);
}

#[test]
fn numbers_are_shown_as_written_and_long_ones_are_shortened() {
    let mut out = String::new();
    let mut renderer = Renderer::new(Medium::CodeBlock, 50, 100);
    renderer.value(&Value::Number("1.0e+2"), 0, &mut out);
    assert_eq!(out, "1.0e+2");
    assert!(!renderer.shortened);
    let giant = "7".repeat(1000);
    out.clear();
    renderer.value(&Value::Number(&giant), 0, &mut out);
    assert!(out.contains("(900 of 1000 digits left out)"), "{out}");
    assert!(renderer.shortened);
}

#[test]
fn a_long_run_of_one_character_costs_little() {
    for c in ['a', '`', ' ', '\n', 'ä', '\u{301}', '\u{a0}'] {
        let text = format!("\"{}", c.to_string().repeat(1 << 20));
        let mut out = String::new();
        show(&text, Quotes::Plain, &mut out);
        assert!(out.starts_with('"'), "{c:?}");
    }
}

#[test]
fn of_many_items_the_first_and_the_last_are_shown() {
    let value = Value::parse("[1,2,3,4,5,6,7]").unwrap();
    let mut out = String::new();
    let mut renderer = Renderer::new(Medium::CodeBlock, 50, 4);
    renderer.value(&value, 0, &mut out);
    assert_eq!(out, "[\n  1,\n  2,\n  …(3 of 7 left out)…,\n  6,\n  7\n]");
    assert!(renderer.shortened);
}

#[test]
fn a_hostile_value_costs_little() {
    // 100 levels deep, and wide at each of them.
    let wide = vec!["7"; 5_000].join(",");
    let text = format!(
        "{}{wide}{}",
        format!("[{wide},").repeat(100),
        "]".repeat(100)
    );
    let value = Value::parse(&text).unwrap();
    let mut out = String::new();
    Renderer::new(Medium::CodeBlock, 2_000, 1_000).value(&value, 0, &mut out);
    assert!(out.len() < 1024 * 1024, "{}", out.len());
}

proptest! {
    #[test]
    fn no_text_leaves_its_line_or_its_quotes_or_hides(text in any::<String>()) {
        let shown = quoted(&text);
        prop_assert!(!shown.chars().any(is_invisible));
        let inner = shown.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
        if text.chars().count() <= 100 {
            // Every quote inside has an odd number of backslashes before it.
            let mut escaped = false;
            for c in inner.chars() {
                prop_assert!(c != '"' || escaped);
                escaped = c == '\\' && !escaped;
            }
        }
    }
}
