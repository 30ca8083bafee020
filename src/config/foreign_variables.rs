//! Recognises the variable syntax of other programs, and says what to write instead.
//!
//! `expand` does the expansion.

use heck::ToShoutySnakeCase;

use super::environment::Environment;
use super::error::Problem;
use super::expand::split_name;
use super::pointer::shown;

/// Returns the error for `${inner}`, which is neither `${NAME}` nor `${NAME:-default}`.
pub(super) fn in_braces(inner: &str) -> Problem {
    // A default may be a secret.
    let name = inner.split(":-").next().unwrap_or_default();
    let written = || format!("${{{}}}", shown(name));
    let known = |meaning: &str, instead: String| Problem::Foreign {
        written: written(),
        meaning: meaning.to_owned(),
        instead,
    };
    if let Some((prefix, name)) = name.split_once(':')
        && !name.is_empty()
    {
        let meaning = "how Cursor, VS Code and Windsurf write a variable";
        match prefix {
            "env" => return known(meaning, format!("`${{{}}}`", shown(name))),
            "input" => return known("a value that VS Code asks for", as_variable(name)),
            "config" | "command" => return known("a variable of VS Code", as_variable(name)),
            _ => {}
        }
    }
    let trimmed = inner.trim();
    if let Some(secret) = trimmed.strip_prefix('{') {
        let name = secret.trim().trim_start_matches("secrets.");
        if is_name(name) {
            let written = format!("${{{{ {} }}}}", shown(secret.trim()));
            return Problem::Foreign {
                written,
                meaning: "how Continue writes a secret".to_owned(),
                instead: as_variable(name),
            };
        }
    }
    if let Some(name) = name.strip_prefix("user_config.") {
        return known("a setting of a Claude Desktop extension", as_variable(name));
    }
    if inner == "/" {
        return known("how VS Code writes the path separator", "`/`".into());
    }
    if inner != trimmed && is_name(trimmed) {
        return known("a variable with spaces in it", format!("`${{{trimmed}}}`"));
    }
    Problem::BadExpansion
}

/// Returns the error for `${name}`, which is not set.
pub(super) fn unset(name: &str) -> Problem {
    let found = ELSEWHERE.iter().find(|(known, ..)| *known == name);
    match found {
        Some((_, meaning, instead)) => Problem::Foreign {
            written: format!("${{{name}}}"),
            meaning: (*meaning).to_owned(),
            instead: (*instead).to_owned(),
        },
        None => Problem::Unset(name.to_owned()),
    }
}

/// Variables that other programs define: the name, the meaning, and what to write instead.
const ELSEWHERE: [(&str, &str, &str); 14] = [
    ("workspaceFolder", OPEN_FOLDER, THE_PATH),
    ("workspaceRoot", OPEN_FOLDER, THE_PATH),
    ("workspaceFolderBasename", OPEN_FOLDER, "its name"),
    ("fileWorkspaceFolder", OPEN_FOLDER, THE_PATH),
    ("file", "the file open in VS Code or Cursor", "its path"),
    (
        "fileDirname",
        "the folder of the file open in VS Code or Cursor",
        THE_PATH,
    ),
    (
        "cwd",
        "the folder that VS Code was started in",
        "its path or `${PWD}`",
    ),
    (
        "userHome",
        "how VS Code and Cursor write your home folder",
        "`${HOME}`, or `~/` at the start of a path",
    ),
    (
        "pathSeparator",
        "how VS Code and Cursor write the path separator",
        "`/`",
    ),
    ("execPath", "the program of VS Code", "its path"),
    (
        "CLAUDE_PLUGIN_ROOT",
        "the folder of a Claude Code plugin",
        THE_PATH,
    ),
    (
        "CLAUDE_PROJECT_DIR",
        "the folder of the Claude Code project",
        THE_PATH,
    ),
    (
        "__dirname",
        "the folder of a Claude Desktop extension",
        THE_PATH,
    ),
    (
        "extensionPath",
        "the folder of a Gemini CLI extension",
        THE_PATH,
    ),
];
const OPEN_FOLDER: &str = "the folder open in VS Code or Cursor, which the proxy does not know";
const THE_PATH: &str = "the path of that folder";

/// Refuses `{env:NAME}` and `{file:PATH}` in text outside `${…}`.
pub(super) fn check_text(text: &str) -> Result<(), Problem> {
    for (start, _) in text.match_indices('{') {
        let rest = text.get(start + 1..).unwrap_or_default();
        if let Some(rest) = rest.strip_prefix("env:")
            && let (name, rest) = split_name(rest)
            && !name.is_empty()
            && rest.starts_with('}')
        {
            return Err(Problem::Foreign {
                written: format!("{{env:{}}}", shown(name)),
                meaning: "how opencode writes a variable".to_owned(),
                instead: format!("`${{{}}}`", shown(name)),
            });
        }
        if let Some(rest) = rest.strip_prefix("file:")
            && rest.starts_with(['/', '.', '~'])
            && let Some((path, _)) = rest.split_once('}')
        {
            return Err(Problem::Foreign {
                written: format!("{{file:{}}}", shown(path)),
                meaning: "how opencode includes a file".to_owned(),
                instead: "a variable, as in `${NAME}`".to_owned(),
            });
        }
    }
    Ok(())
}

/// Returns the set variables that `text` writes as `$NAME`, as Gemini CLI and shells expand them.
pub(super) fn plain_variables<'a>(
    text: &'a str,
    environment: &'a Environment,
) -> impl Iterator<Item = &'a str> {
    let after = text
        .match_indices('$')
        .filter_map(|(at, _)| text.get(at + 1..));
    let names = after.map(|after| split_name(after).0);
    names.filter(|name| !name.is_empty() && environment.is_set(name))
}

/// Returns the variables that `text` writes as `%NAME%`, as on Windows.
///
/// Bytes in a URL are also written with `%`, so a name that begins with two hexadecimal digits counts only
/// if the variable is set.
pub(super) fn percent_variables<'a>(
    text: &'a str,
    environment: &'a Environment,
) -> impl Iterator<Item = &'a str> {
    let after = text
        .match_indices('%')
        .filter_map(|(at, _)| text.get(at + 1..));
    let names = after.filter_map(|after| Some(after.split_once('%')?.0));
    names.filter(|name| {
        let is_byte = name.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
        is_name(name) && name.len() > 2 && (!is_byte || environment.is_set(name))
    })
}

fn as_variable(name: &str) -> String {
    let variable = name.to_shouty_snake_case();
    let variable = match is_name(&variable) {
        true => variable,
        false => "NAME".to_owned(),
    };
    format!("`${{{}}}`, and set that variable", shown(&variable))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && split_name(text).0 == text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(inner: &str) -> String {
        in_braces(inner).to_string()
    }

    #[test]
    fn the_error_for_another_programs_variable_says_what_to_write() {
        for (inner, words) in [
            (
                "env:HOME",
                "`${env:HOME}` is how Cursor, VS Code and Windsurf write a variable; write `${HOME}`",
            ),
            (
                "input:api-key",
                "`${input:api-key}` is a value that VS Code asks for; write \
                 `${API_KEY}`, and set that variable",
            ),
            ("config:a.b", "a variable of VS Code"),
            ("{ secrets.GITHUB_TOKEN ", "Continue"),
            ("user_config.api_key", "Claude Desktop"),
            ("/", "write `/`"),
            (" NAME", "write `${NAME}`"),
        ] {
            assert!(message(inner).contains(words), "{}", message(inner));
        }
        for inner in ["env:K:-s3cret", "input:k:-s3cret", "user_config.k:-s3cret"] {
            assert!(!message(inner).contains("s3cret"), "{inner}");
        }
        for inner in ["", "1", "NAME-x", "X%%.*", "env:", ":-x"] {
            assert_eq!(message(inner), Problem::BadExpansion.to_string(), "{inner}");
        }
    }

    #[test]
    fn the_error_for_an_unset_variable_of_an_editor_names_the_editor() {
        for (name, words) in [
            ("workspaceFolder", "VS Code"),
            ("userHome", "`${HOME}`"),
            ("CLAUDE_PLUGIN_ROOT", "Claude Code"),
            ("OTHER", "is not set"),
        ] {
            let message = unset(name).to_string();
            assert!(
                message.contains(words) && message.contains(name),
                "{message}"
            );
        }
    }

    #[test]
    fn opencodes_variables_are_refused_and_other_braces_are_not() {
        for text in ["{env:HOME}", "a{ {env:A_1}b", "{file:~/key}", "{file:./k}"] {
            let message = check_text(text).unwrap_err().to_string();
            assert!(message.contains("opencode"), "{message}");
        }
        for text in [
            "{env:}", "{env: X}", "{env:.x}", "{file:x}", "{a:1}", "{", "{}",
        ] {
            assert!(check_text(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn set_variables_in_other_forms_are_found_by_name() {
        let environment: Environment = [("HOME", "/h"), ("ABBA", "x")].into_iter().collect();
        let plain = |text| plain_variables(text, &environment).collect::<Vec<_>>();
        assert_eq!(
            plain("$HOME/$NOT_SET/$HOMER ${HOME} $$HOME"),
            ["HOME", "HOME"]
        );
        let percent = |text| percent_variables(text, &environment).collect::<Vec<_>>();
        assert_eq!(percent("%HOME%\\%APPDATA%"), ["HOME", "APPDATA"]);
        assert_eq!(percent("%ABBA%"), ["ABBA"]);
        assert!(percent("%E2%82%AC %ABCD%20 50%a% %1x%").is_empty());
    }
}
