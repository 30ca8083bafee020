//! Each client's fixture, guarded and restored: `tests/fixtures/clients/NAME`, `before` and `after`.
//!
//! `WRITE_DOCS=1` writes the files `after`.

mod links;
mod races;
mod remote;
mod rewritten;
mod toml;

use std::fs;
use std::path::{Path, PathBuf};

use super::ledger::Ledgers;
use super::*;
use crate::config::Environment;

const PROGRAM: &str = "/opt/bin/approval-proxy";

/// A home folder with one file of a client.
struct Home {
    _dir: tempfile::TempDir,
    environment: Environment,
    state_dir: PathBuf,
    file: PathBuf,
}

impl Home {
    fn with(client: &Client, bytes: &[u8]) -> Home {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        let variables = [("HOME", home.to_str().unwrap())];
        let environment: Environment = variables.into_iter().collect();
        let file = (client.user_files)(&Folders::of(&environment).unwrap()).remove(0);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, bytes).unwrap();
        Home {
            state_dir: home.join("state"),
            environment,
            file,
            _dir: dir,
        }
    }

    fn plan(&self, task: Task<'_>) -> Result<Plan, ClientsError> {
        self.plan_for(&self.file, task, &Choice::default())
    }

    fn plan_for(&self, file: &Path, task: Task<'_>, choice: &Choice) -> Result<Plan, ClientsError> {
        self.planner().plan(file, task, choice)
    }

    fn planner(&self) -> Planner<'_> {
        Planner {
            folders: Folders::of(&self.environment),
            state_dir: self.state_dir.clone(),
            program: PROGRAM.to_owned(),
        }
    }

    fn run(&self, task: Task<'_>) -> Plan {
        self.run_for(&self.file, task, &Choice::default())
    }

    fn run_for(&self, file: &Path, task: Task<'_>, choice: &Choice) -> Plan {
        let mut plan = self.plan_for(file, task, choice).unwrap();
        self.planner().write(&mut plan, task, choice).unwrap();
        plan
    }

    fn read(&self) -> Vec<u8> {
        fs::read(&self.file).unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.read()).unwrap()
    }

    fn kept(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.state_dir.join("wrap"))
            .into_iter()
            .flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn fixture(client: &Client, name: &str) -> PathBuf {
    let file = (client.user_files)(&Folders::of(&home()).unwrap()).remove(0);
    let extension = match file.extension().unwrap().to_str().unwrap() {
        "toml" => "toml",
        _ => "jsonc",
    };
    let folder = Path::new("tests/fixtures/clients").join(client.name);
    folder.join(format!("{name}.{extension}"))
}

fn home() -> Environment {
    [("HOME", "/home/ann")].into_iter().collect()
}

/// The text as another editor would have written it.
fn variants(text: &str) -> [Vec<u8>; 3] {
    let windows = text.replace('\n', "\r\n");
    [
        text.as_bytes().to_vec(),
        windows.clone().into_bytes(),
        format!("\u{feff}{windows}").into_bytes(),
    ]
}

#[test]
fn the_fixture_of_each_client_is_guarded_as_expected_and_restored_byte_for_byte() {
    for client in CLIENTS {
        let before = fs::read_to_string(fixture(client, "before")).unwrap();
        let path = fixture(client, "after");
        if std::env::var_os("WRITE_DOCS").is_some() {
            let home = Home::with(client, before.as_bytes());
            home.run(Task::Wrap(None));
            fs::write(&path, home.read()).unwrap();
        }
        let after = fs::read_to_string(&path).unwrap();
        for (before, after) in variants(&before).into_iter().zip(variants(&after)) {
            let home = Home::with(client, &before);
            let plan = home.run(Task::Wrap(None));
            assert!(!plan.changes.is_empty(), "{}", client.name);
            for change in &plan.changes {
                let shown = format!("{}{}", change.before, change.after);
                assert!(!shown.contains("hunter2"), "{}: {shown}", client.name);
            }
            assert_eq!(home.text(), String::from_utf8(after.clone()).unwrap());
            assert!(!home.plan(Task::Wrap(None)).unwrap().is_change());
            assert_eq!(home.kept().len(), 2, "a ledger and a copy");
            let plan = home.run(Task::Unwrap);
            assert!(plan.changes.iter().all(|change| change.note.is_none()));
            assert!(home.read() == before, "{}: {}", client.name, home.text());
            assert_eq!(home.kept(), [""; 0].map(PathBuf::from));
        }
    }
}

#[test]
fn without_the_ledger_entries_are_unwrapped_by_their_structure() {
    for client in CLIENTS {
        let before = fs::read_to_string(fixture(client, "before")).unwrap();
        let home = Home::with(client, before.as_bytes());
        home.run(Task::Wrap(None));
        let after = home.text();
        fs::remove_dir_all(&home.state_dir).unwrap();
        let plan = home.run(Task::Unwrap);
        assert!(plan.changes.iter().all(|change| change.note.is_some()));
        assert!(!home.text().contains(PROGRAM), "{}", home.text());
        // What was lost does not matter to a guarded entry.
        home.run(Task::Wrap(None));
        assert_eq!(parsed(&home), parsed_text(&home, &after), "{}", client.name);
    }
}

/// The values of a file, without their places.
fn parsed(home: &Home) -> String {
    parsed_text(home, &home.text())
}

fn parsed_text(home: &Home, text: &str) -> String {
    fn write(node: &syntax::Node, out: &mut Vec<String>, at: &str) {
        match &node.value {
            syntax::Value::Map(members) => {
                for member in members {
                    write(&member.node, out, &format!("{at}/{}", member.key));
                }
            }
            syntax::Value::List(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    write(element, out, &format!("{at}/{index}"));
                }
            }
            value @ (syntax::Value::Null
            | syntax::Value::Bool(_)
            | syntax::Value::Text(_)
            | syntax::Value::Other) => out.push(format!("{at} {value:?}")),
        }
    }
    let syntax = server::syntax_of(&home.file).unwrap();
    let mut values = Vec::new();
    write(&syntax.parse(text).unwrap(), &mut values, "");
    // `args` may be an empty list, or not there.
    values.sort();
    values.join("\n")
}

#[test]
fn an_edit_beside_a_guarded_entry_stays_and_one_in_it_is_kept() {
    let before = fs::read_to_string(fixture(&cursor::CLIENT, "before")).unwrap();
    let home = Home::with(&cursor::CLIENT, before.as_bytes());
    home.run(Task::Wrap(None));
    let new = "\"mcpServers\": {\n\t\t\"later\": {\"command\": \"x\"},";
    let edit = |text: &str| {
        text.replace("\"mcpServers\": {", new)
            .replace("[1,  2 , 3]", "[1]")
    };
    fs::write(&home.file, edit(&home.text())).unwrap();
    let plan = home.run(Task::Unwrap);
    let noted: Vec<_> = plan
        .changes
        .iter()
        .filter(|change| change.note.is_some())
        .collect();
    assert_eq!(noted.len(), 1);
    assert_eq!(noted[0].name, "files");
    assert_eq!(home.text(), edit(&before));
    assert_eq!(home.kept(), [""; 0].map(PathBuf::from));
}

#[test]
fn a_url_that_does_not_show_its_protocol_gets_it_as_an_option() {
    for (client, entry, option) in [
        (
            &cursor::CLIENT,
            r#""type": "sse", "url": "https://a/events""#,
            Some("sse"),
        ),
        (
            &cursor::CLIENT,
            r#""type": "http", "url": "https://a/sse""#,
            Some("http"),
        ),
        (
            &cursor::CLIENT,
            r#""type": "sse", "url": "https://a/sse""#,
            None,
        ),
        (&gemini::CLIENT, r#""url": "https://a/events""#, Some("sse")),
        (
            &gemini::CLIENT,
            r#""httpUrl": "https://a/sse""#,
            Some("http"),
        ),
        (
            &claude_code::CLIENT,
            r#""type": "sse", "url": "https://a/?k=v""#,
            Some("sse"),
        ),
    ] {
        let before = format!(r#"{{"mcpServers": {{"a": {{{entry}}}}}}}"#);
        let home = Home::with(client, before.as_bytes());
        home.run(Task::Wrap(None));
        let after = home.text();
        let wanted = option.map(|option| format!(r#""--url-type", "{option}""#));
        match wanted {
            Some(wanted) => assert!(after.contains(&wanted), "{after}"),
            None => assert!(!after.contains("--url-type"), "{after}"),
        }
        home.run(Task::Unwrap);
        assert_eq!(home.text(), before);
        // Without the ledger, too, it is the same server.
        home.run(Task::Wrap(None));
        fs::remove_dir_all(&home.state_dir).unwrap();
        home.run(Task::Unwrap);
        assert_eq!(parsed(&home), parsed_text(&home, &before), "{entry}");
    }
}

#[test]
fn comments_in_what_an_entry_loses_stay() {
    for entry in [
        "\"url\" /* 1 */ : // 2\n \"https://a/mcp\" /* 3 */, \"oauth\": { /* 4 */ \"x\": \"// no\" // 5\n } // 6\n",
        "\"oauth\": { // 1\n \"x\\\"/* no */\": 1 }, // 2\n \"url\": // 3\n \"https://a/mcp\",\n \"headers\": { /* 4 */ }, // 5\n",
        "\"oauth\": /* 1 */ { }, \"url\": \"https://a/mcp\",\n \"args\": [ // 2\n ] /* 3 */",
    ] {
        let before = format!("{{\"mcpServers\": {{\"a\": {{{entry}}}}}}}");
        let home = Home::with(&cursor::CLIENT, before.as_bytes());
        home.run(Task::Wrap(None));
        let after = home.text();
        let comments = syntax::Syntax::Json.comments(&before);
        assert!(comments.len() > 2, "{comments:?}");
        let mut kept = syntax::Syntax::Json.comments(&after);
        kept.sort_by_key(|comment| comments.iter().position(|one| one == comment));
        assert_eq!(kept, comments, "{after}");
        assert!(!after.contains("oauth"), "{after}");
        home.run(Task::Unwrap);
        assert_eq!(home.text(), before);
    }
}

#[test]
fn line_ends_of_windows_stay_whole_where_a_key_goes() {
    for entry in [
        "\"oauth\": {},\r\n\"url\": \"https://a/mcp\"",
        "\r\n\"oauth\": {}, \r\n\"url\": \"https://a/mcp\"\r\n",
        "\"url\": \"https://a/mcp\", \"oauth\": {}, \r\n\"x\": 1,\r\n",
        "\"url\": \"https://a/mcp\",\r\n\"oauth\": {} // c\r\n",
    ] {
        let before = format!("{{\"mcpServers\": {{\"a\": {{{entry}}}}}}}");
        let home = Home::with(&cursor::CLIENT, before.as_bytes());
        home.run(Task::Wrap(None));
        let after = home.text();
        assert!(
            !after.replace("\r\n", "").contains(['\r', '\n']),
            "{after:?}"
        );
    }
}

#[test]
fn blank_lines_in_front_of_a_removed_line_come_back() {
    let before =
        "[mcp_servers.a]\nurl = \"https://a/mcp\"\n\nenv_http_headers = { X = \"Y\" }\n\n[z]\n";
    let home = Home::with(&codex::CLIENT, before.as_bytes());
    home.run(Task::Wrap(None));
    home.run(Task::Unwrap);
    assert_eq!(home.text(), before);
}

#[test]
fn a_run_that_was_killed_before_the_rename_does_no_harm() {
    let before = fs::read_to_string(fixture(&codex::CLIENT, "before")).unwrap();
    let home = Home::with(&codex::CLIENT, before.as_bytes());
    home.run(Task::Wrap(None));
    let kept = home.kept().len();
    // The ledger is written, the file is not.
    fs::write(&home.file, &before).unwrap();
    home.run(Task::Wrap(Some("all")));
    assert_eq!(home.kept().len(), kept);
    home.run(Task::Unwrap);
    assert_eq!(home.text(), before);
    home.run(Task::Wrap(None));
    fs::write(&home.file, &before).unwrap();
    let plan = home.run(Task::Unwrap);
    assert!(!plan.is_change());
    assert_eq!(home.kept(), [""; 0].map(PathBuf::from));
}

#[test]
fn a_file_that_changes_after_it_was_planned_is_left_as_it_is() {
    let home = Home::with(
        &kiro::CLIENT,
        b"{\"mcpServers\": {\"a\": {\"command\": \"x\"}}}",
    );
    let mut plan = home.plan(Task::Wrap(None)).unwrap();
    fs::write(&home.file, "{\"mcpServers\": {}}").unwrap();
    let task = Task::Wrap(None);
    let error = home.planner().write(&mut plan, task, &Choice::default());
    let error = error.unwrap_err();
    assert!(matches!(error, ClientsError::File(FileError::Changed)));
    assert_eq!(home.text(), "{\"mcpServers\": {}}");
    assert_eq!(home.kept(), [""; 0].map(PathBuf::from));
}

#[test]
fn options_change_and_the_original_text_stays_known() {
    let before = "{\"mcpServers\": {\"a\": {\"command\": \"x\"}}}";
    let home = Home::with(&kiro::CLIENT, before.as_bytes());
    home.run(Task::Wrap(None));
    home.run(Task::Wrap(Some("all")));
    assert!(
        home.text().contains("\"--mode\", \"all\", \"--name\""),
        "{}",
        home.text()
    );
    home.run(Task::Wrap(Some("annotated")));
    assert!(
        home.text().contains("\"--mode\", \"annotated\""),
        "{}",
        home.text()
    );
    // Without a mode, the one that somebody chose stays.
    assert!(!home.plan(Task::Wrap(None)).unwrap().is_change());
    home.run(Task::Unwrap);
    assert_eq!(home.text(), before);
}

#[test]
fn copies_and_ledgers_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::with(
        &kiro::CLIENT,
        b"{\"mcpServers\": {\"a\": {\"command\": \"x\"}}}",
    );
    home.run(Task::Wrap(None));
    for path in home.kept() {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    let files = Ledgers::open(&home.state_dir).unwrap().files();
    assert_eq!(files, std::slice::from_ref(&home.file));
}

#[test]
fn files_of_projects_and_of_others_are_known_by_their_paths() {
    let home = home();
    let folders = Folders::of(&home).unwrap();
    for (path, name, scope) in [
        ("/srv/x/.mcp.json", "claude-code", Scope::Project),
        ("/srv/x/.warp/.mcp.json", "warp", Scope::Project),
        ("/srv/x/.vscode/mcp.json", "vscode", Scope::Project),
        ("/home/ann/.cursor/mcp.json", "cursor", Scope::User),
        (
            "/home/ann/.config/Code/User/mcp.json",
            "vscode",
            Scope::User,
        ),
        ("/srv/odd.json", "unknown", Scope::Other),
    ] {
        let (client, found) = registry::owner(Path::new(path), Some(&folders));
        assert_eq!((client.name, found), (name, scope), "{path}");
    }
}

#[test]
fn each_client_has_a_fixture_and_a_section_of_its_name() {
    let page = fs::read_to_string("docs/clients.md").unwrap();
    for client in CLIENTS {
        assert!(
            page.contains(&format!("\n### {} (`{}`)\n", client.title, client.name)),
            "{}",
            client.name
        );
        assert!(fixture(client, "before").exists(), "{}", client.name);
    }
}
