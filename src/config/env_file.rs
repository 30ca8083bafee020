//! `envFile`: a file of variables for a server, one `NAME=value` per line.
//!
//! Values are taken literally: variables in them are not expanded.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::error::Problem;
use super::load::open_to_others;
use crate::sys::secret::Secret;

/// Reads the variables of the file at `path`. Errors call it `written`, as the config does, because `path`
/// may contain the value of a variable.
///
/// # Errors
/// A file that cannot be read, that other users may write to or replace, that is larger than 1 MiB, or
/// that has a line of another form. No error contains a value.
pub(crate) fn read(path: &Path, written: &Path) -> Result<BTreeMap<String, Secret>, Problem> {
    let unreadable = |cause| Problem::NoEnvFile {
        file: written.to_owned(),
        cause,
    };
    let bad = |problem: String| Problem::BadEnvFile {
        file: written.to_owned(),
        problem,
    };
    // Before opening it: opening a pipe could block forever.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(bad(
            "this is not a file; name a file of `NAME=value` lines".to_owned()
        ));
    }
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    // Like the config file, its contents can decide which program runs.
    if let Some(open) = open_to_others(path, &metadata) {
        let exposure = open.exposure;
        return Err(bad(match open.folder {
            None => format!(
                "other users may write to this env file ({exposure}) and change which program runs; \
                 `chmod go-w` it, or copy it to a file and folder that you own"
            ),
            Some(_) => format!(
                "other users may replace this env file, because they may write to its folder ({exposure}); \
                 `chmod go-w` the folder, or copy the file to a folder that you own"
            ),
        }));
    }
    let mut bytes = Vec::new();
    file.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LIMIT {
        return Err(bad(format!("this env file is larger than {LIMIT} bytes")));
    }
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| bad("this env file is not UTF-8; save it as UTF-8".to_owned()))?;
    parse(&text).map_err(|line| {
        bad(format!(
            "line {line} is not a variable; write `NAME=value`, or `#` before a comment"
        ))
    })
}

/// Parses the variables in `text`. If a name appears twice, the last value wins. The error is the number
/// of the line that is not a variable, from 1.
fn parse(text: &str) -> Result<BTreeMap<String, Secret>, usize> {
    let mut variables = BTreeMap::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    loop {
        let start = rest.trim_start();
        line += lines(rest.strip_suffix(start).unwrap_or_default());
        if start.is_empty() {
            return Ok(variables);
        }
        let (variable, tail) = variable(start).ok_or(line)?;
        if let Some((name, value)) = variable {
            variables.insert(name.to_owned(), Secret::new(value));
        }
        line += lines(start.strip_suffix(tail).unwrap_or_default());
        rest = tail;
    }
}

/// Counts the line breaks in `text`.
fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// A name and its value; `None` for a comment.
type Variable<'a> = Option<(&'a str, String)>;

/// Parses the variable or comment at the start of `text`. Returns it and the following lines.
fn variable(text: &str) -> Option<(Variable<'_>, &str)> {
    let (line, next_lines) = text.split_once('\n').unwrap_or((text, ""));
    if line.starts_with('#') {
        return Some((None, next_lines));
    }
    let (name, value) = line.split_once('=')?;
    let name = match name.strip_prefix("export") {
        Some(exported) if exported.starts_with([' ', '\t']) => exported,
        _ => name,
    };
    let name = name.trim();
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '\0' || c == '#') {
        return None;
    }
    let value = value.trim_start_matches([' ', '\t']);
    let quote = value
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\'' | '`'));
    let (value, tail) = match quote {
        Some(quote) => {
            // A quoted value may span lines.
            let from =
                text.len() - next_lines.len() - usize::from(line.len() < text.len()) - value.len();
            quoted(text.get(from + 1..)?, quote)?
        }
        None => {
            let value = match value.starts_with('#') {
                true => "",
                false => value.split(" #").next()?.split("\t#").next()?,
            };
            (value.trim_end().to_owned(), next_lines)
        }
    };
    (!value.contains('\0')).then_some((Some((name, value)), tail))
}

/// Splits `text` at the closing `quote` into the value and the following lines. Only double quotes have
/// escapes.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' if quote == '"' => match characters.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                escaped @ ('"' | '\\' | '$') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            character if character == quote => {
                let tail = text.get(at + 1..)?;
                let (line, next_lines) = tail.split_once('\n').unwrap_or((tail, ""));
                let line = line.trim();
                return (line.is_empty() || line.starts_with('#')).then_some((value, next_lines));
            }
            // A line break as Windows writes it.
            '\r' if text.get(at + 1..)?.starts_with('\n') => {}
            character => value.push(character),
        }
    }
    None
}

/// 1 MiB: the whole environment of a process can hardly be larger.
const LIMIT: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<Vec<(String, String)>, usize> {
        let variables = parse(text)?.into_iter();
        Ok(variables
            .map(|(name, value)| (name, value.expose().to_owned()))
            .collect())
    }

    fn one(text: &str) -> String {
        let variables = parsed(text).unwrap();
        assert_eq!(variables.len(), 1, "{text}: {variables:?}");
        variables[0].1.clone()
    }

    #[test]
    fn each_line_is_a_variable_a_comment_or_empty() {
        let text =
            "\u{feff}# keys\r\nA=1\r\n\r\n  export B = two words  # why\n#C=3\nD=\nE=a=b#c\nA=last";
        let expected = [("A", "last"), ("B", "two words"), ("D", ""), ("E", "a=b#c")];
        let found = parsed(text).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(found, expected);
        assert!(parsed("").unwrap().is_empty());
    }

    #[test]
    fn quotes_keep_spaces_hashes_and_lines() {
        for (text, value) in [
            (r#"A=" x # y ""#, " x # y "),
            (r#"A="a\n\"b\" \\ \d" # c"#, "a\n\"b\" \\ \\d"),
            (r"A='a\n$B'", r"a\n$B"),
            ("A=`x`", "x"),
            ("A=\"-----BEGIN\r\nkey\nEND\"\n", "-----BEGIN\nkey\nEND"),
            ("A=''", ""),
            ("A=it's", "it's"),
            ("A=pa$sword${X}", "pa$sword${X}"),
            ("A=# c", ""),
            ("export=1", "1"),
        ] {
            assert_eq!(one(text), value, "{text}");
        }
    }

    #[test]
    fn another_line_is_named_by_its_number() {
        for (text, line) in [
            ("A=1\n\nB", 3),
            ("=1", 1),
            ("A B=1", 1),
            ("A='x\ny'\nnone", 3),
            ("A='x", 1),
            ("A='x' y", 1),
            ("\n\nA: 1", 3),
        ] {
            assert_eq!(parsed(text).unwrap_err(), line, "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_unsafe_or_bad_file_is_refused_without_quoting_a_value() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.env");
        let message = || read(&path, &path).unwrap_err().to_string();
        assert!(
            message().contains("x.env`: cannot read this env file"),
            "{}",
            message()
        );
        std::fs::write(&path, "A=s3cret\ns3cret").unwrap();
        assert!(
            message().contains("line 2 is not a variable"),
            "{}",
            message()
        );
        assert!(!message().contains("s3cret"), "{}", message());
        std::fs::write(&path, b"A=\xff").unwrap();
        assert!(message().contains("not UTF-8"));
        std::fs::write(&path, "A=1").unwrap();
        assert_eq!(read(&path, &path).unwrap().len(), 1);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(message().contains("other users may write"), "{}", message());
        assert!(
            read(folder.path(), folder.path())
                .unwrap_err()
                .to_string()
                .contains("not a file")
        );
        std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(message().contains("larger than"), "{}", message());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"([A-Z= \n\r"'`#\\]|export|\PC){0,40}"#) {
            let _ = parse(&text);
        }
    }
}
