//! Checks the citations of docs/reference in comments: the section exists and contains the quote.
//!
//! A citation is `contract.md, "Prompts"` or `invariants.md, 3`. A quote may follow after a colon; `[…]` stands for omitted
//! words.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The text of each section on one line, by the name that a citation uses.
fn sections() -> BTreeMap<String, String> {
    let mut sections = BTreeMap::new();
    for page in ["contract.md", "invariants.md"] {
        let path = project().join("docs/reference").join(page);
        let text = std::fs::read_to_string(path).unwrap().replace("**", "");
        for section in text.split("\n## ").skip(1) {
            let (heading, body) = section.split_once('\n').unwrap();
            let name = match page {
                "contract.md" => format!("\"{heading}\""),
                _ => heading.split('.').next().unwrap().to_owned(),
            };
            sections.insert(format!("{page}, {name}"), on_one_line(body));
        }
    }
    sections
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The comments of a file, each joined to one line.
fn comments(text: &str) -> Vec<String> {
    let mut comments = vec![String::new()];
    for line in text.lines().map(str::trim_start) {
        match line.strip_prefix("//") {
            Some(words) => {
                let last = comments.last_mut().unwrap();
                last.push_str(words.trim_start_matches(['/', '!']));
            }
            None => comments.push(String::new()),
        }
    }
    comments
        .iter()
        .map(|comment| on_one_line(comment))
        .collect()
}

/// The section that each citation names, and the text after the citation.
fn citations(comment: &str) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    for page in ["contract.md, ", "invariants.md, "] {
        for (at, _) in comment.match_indices(page) {
            let rest = &comment[at + page.len()..];
            let name = match rest.strip_prefix('"') {
                Some(inner) => &rest[..inner.find('"').unwrap() + 2],
                None => {
                    &rest[..rest
                        .find(|c: char| !c.is_ascii_digit())
                        .unwrap_or(rest.len())]
                }
            };
            found.push((format!("{page}{name}"), &rest[name.len()..]));
        }
    }
    found
}

/// The quote at the start of a text, split at `[…]`. A quotation mark in backticks does not end it.
fn quote(text: &str) -> Vec<&str> {
    let Some(text) = text.strip_prefix(": \"") else {
        return Vec::new();
    };
    let mut in_code = false;
    let end = text.find(|c| {
        in_code ^= c == '`';
        c == '"' && !in_code
    });
    let end = end.unwrap_or_else(|| panic!("a quote without an end: {text}"));
    text[..end].split("[…]").map(str::trim).collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn every_citation_exists() {
    let sections = sections();
    let (mut count, mut wrong) = (0, Vec::new());
    for folder in ["src", "tests"] {
        for file in sources(&project().join(folder)) {
            if file.ends_with("citations.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            for comment in comments(&text) {
                for (name, rest) in citations(&comment) {
                    count += 1;
                    let Some(section) = sections.get(&name) else {
                        wrong.push(format!("{}: there is no {name}", file.display()));
                        continue;
                    };
                    let missing = quote(rest)
                        .into_iter()
                        .filter(|part| !section.contains(part));
                    wrong.extend(
                        missing.map(|part| {
                            format!("{}: {name} does not say \"{part}\"", file.display())
                        }),
                    );
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 100, "{count} citations were found");
}
