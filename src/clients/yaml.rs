//! YAML files of clients (Goose, Continue), which we do not edit: writes the lines that a person can paste.
//!
//! It reads only as much YAML as these files need: names and commands by their indentation.

use std::path::Path;

/// Returns true for a file that we do not edit.
#[must_use]
pub fn is_yaml(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml"))
}

/// Returns the lines that guard each server in a YAML file.
#[must_use]
pub fn lines_to_paste(text: &str, program: &str, mode: Option<&str>) -> Vec<(String, String)> {
    let servers = servers(text);
    let paste = servers.into_iter().map(|server| {
        let mut words = vec!["--name", server.name.as_str()];
        if let Some(mode) = mode {
            words.extend(["--mode", mode]);
        }
        words.extend(["--", server.command.as_str()]);
        let indent = " ".repeat(server.indent);
        let mut lines = format!(
            "{indent}{}: {}\n{indent}args:\n",
            server.key,
            quoted(program)
        );
        for word in words {
            lines.push_str(&format!("{indent}  - {}\n", quoted(word)));
        }
        (server.name, lines)
    });
    paste.collect()
}

/// Strings of JSON are strings of YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    name: String,
    command: String,
    /// The key of the command: `cmd` in Goose.
    key: &'static str,
    indent: usize,
}

fn servers(text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    // The keys around the current line, each with its indentation.
    let mut around: Vec<(usize, String)> = Vec::new();
    let mut name_in_list: Option<(usize, String)> = None;
    for line in text.lines() {
        let content = line.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let mut indent = line.len() - content.len();
        let mut content = content;
        while let Some(rest) = content.strip_prefix("- ") {
            let rest = rest.trim_start();
            indent += content.len() - rest.len();
            content = rest;
            name_in_list = None;
        }
        let Some((key, value)) = content.split_once(':') else {
            continue;
        };
        let (key, value) = (key.trim().trim_matches(['"', '\'']), scalar(value));
        around.retain(|(known, _)| *known < indent);
        let parents: Vec<&str> = around.iter().map(|(_, key)| key.as_str()).collect();
        let is_listed = parents.first().is_some_and(|key| *key == "mcpServers");
        if is_listed && key == "name" {
            name_in_list = Some((indent, value.clone()));
        }
        let found_key = match key {
            "cmd" => Some("cmd"),
            "command" => Some("command"),
            _ => None,
        };
        if let Some(found_key) = found_key.filter(|_| !value.is_empty()) {
            let name = match (&name_in_list, parents.as_slice()) {
                (Some((at, name)), _) if is_listed && *at == indent => Some(name.clone()),
                (_, ["extensions", name]) => Some((*name).to_owned()),
                _ => None,
            };
            found.extend(name.map(|name| Found {
                name,
                command: value.clone(),
                key: found_key,
                indent,
            }));
        }
        around.push((indent, key.to_owned()));
    }
    found
}

/// Returns a value without its quotes and the comment behind it.
fn scalar(value: &str) -> String {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.split(quote).next().unwrap_or_default().to_owned();
        }
    }
    let value = value.split(" #").next().unwrap_or_default();
    value.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goose_and_continue_get_lines_for_each_server() {
        let goose = "extensions:\n  dev:\n    type: builtin\n  files:\n    cmd: \"npx\" # x\n    args:\n      - a\n";
        let lines = lines_to_paste(goose, "/bin/approval-proxy", Some("all"));
        let expected = "    cmd: \"/bin/approval-proxy\"\n    args:\n      - \"--name\"\n      - \"files\"\n      - \"--mode\"\n      \
                        - \"all\"\n      - \"--\"\n      - \"npx\"\n";
        assert_eq!(lines, [("files".to_owned(), expected.to_owned())]);
        let r#continue = "mcpServers:\n  - name: one\n    command: npx\n    env:\n      command: no\n  - name: two\n    command: uvx\n";
        let lines = lines_to_paste(r#continue, "p", None);
        let names: Vec<_> = lines.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
    }
}
