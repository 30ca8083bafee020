//! Runs the commands in README.md, docs/guide.md and docs/inbox.md, and compares what they print.
//!
//! trycmd runs the `console` blocks in order. Each document gets its own home folder, clients' files, and a stand-in for
//! the example server. Blocks marked `console,ignore` run in a terminal (`IN_TERMINAL`) or not at all (`SKIPPED`, with the reason).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits with a deadline by the clock"
)]

mod agent;
mod page;
#[path = "../it/support/pty.rs"]
mod pty;
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use approval_proxy::cli::args::Args;
use clap::error::ErrorKind;
use serde_json::{Value, json};

use agent::Agent;
use page::Page;
use world::{PROGRAMS, World};

const README: &str = include_str!("../../README.md");
const GUIDE: &str = include_str!("../../docs/guide.md");
const INBOX: &str = include_str!("../../docs/inbox.md");
const CONFIGURATION: &str = include_str!("../../docs/configuration.md");
/// Pages whose commands are parsed and not run.
const OTHERS: [&str; 5] = [
    CONFIGURATION,
    include_str!("../../docs/clients.md"),
    include_str!("../../docs/asking.md"),
    include_str!("../../docs/troubleshooting.md"),
    include_str!("../../examples/clients/README.md"),
];
const CI: &str = include_str!("../../.ci/run");

/// Commands that do not run here, and why.
const SKIPPED: [(&str, &str); 8] = [
    ("approval-proxy inbox --pair", "needs a phone"),
    ("approval-proxy inbox --devices", "needs a paired phone"),
    (
        "approval-proxy inbox --devices --revoke 3f2a",
        "needs a paired phone",
    ),
    (
        "cargo run --release --example guarded_notes",
        "`.ci/run` runs it",
    ),
    ("cargo test", "runs this test"),
    (
        "cargo install --locked --path .",
        "would build the whole program again",
    ),
    (
        "claude mcp add --scope user filesystem -- npx -y @modelcontextprotocol/server-filesystem ~/work",
        "needs Claude Code; `.ci/interop/wrap.py` runs it",
    ),
    (
        "codex mcp add filesystem -- npx -y @modelcontextprotocol/server-filesystem ~/work",
        "needs Codex; `.ci/interop/wrap.py` runs it",
    ),
];
/// Commands that run in a terminal, because they print other text there or ask for a passphrase.
const IN_TERMINAL: [&str; 3] = [
    "approval-proxy -- npx -y @modelcontextprotocol/server-filesystem ~/work",
    "approval-proxy inbox",
    "approval-proxy inbox --set-passphrase",
];

#[test]
fn the_guide_leads_to_guarded_servers_and_back() {
    let guide = Page::read("guide", GUIDE);
    let [_, rules] = <[Value; 2]>::try_from(guide.json()).unwrap();
    let mut world = World::new();
    let files = files_of_the_guide(&guide);
    let mut originals = Vec::new();
    let mut agent = None;
    for block in guide.console() {
        let wrapped = files
            .iter()
            .find(|(client, ..)| block.command() == format!("approval-proxy wrap {client}"));
        if let Some((_, file, text)) = wrapped {
            originals.push((*file, world.write_text(file, text)));
        }
        if block.mentions("approvals list") && agent.is_none() {
            agent = Some(world.two_calls_wait());
        }
        match block.command() {
            command if SKIPPED.iter().any(|(one, _)| *one == command) => {}
            "approval-proxy clients" => {
                // "End Claude Code and start it again."
                drop(world.agent());
                world.runs(&guide, &block);
            }
            command => {
                world.runs(&guide, &block);
                if command.contains(".config/approval-proxy") {
                    world.write(".config/approval-proxy/config.json", &rules);
                    // "Creating a directory does not."
                    let mut other = world.agent();
                    other.calls(1, "create_directory", r#"{"path":"new"}"#);
                    assert_eq!(other.answer(1)["content"][0]["text"], "done");
                }
            }
        }
    }
    assert_eq!(originals.len(), 4);
    for (file, text) in originals {
        assert_eq!(world.read(file), text, "{file}");
    }
    let mut agent = agent.unwrap();
    assert_eq!(agent.answer(1)["content"][0]["text"], "done");
    let refusal = agent.refusal(2);
    assert_eq!(guide.first("text").trim(), refusal);
}

/// Returns the clients of the guide, their files, and what is in them before `wrap`.
fn files_of_the_guide(guide: &Page) -> [(&'static str, &'static str, String); 4] {
    let claude_code = serde_json::to_string_pretty(&world::claude_code()).unwrap();
    [
        ("claude-code", world::CLAUDE_CODE, claude_code),
        (
            "claude-desktop",
            ".config/Claude/claude_desktop_config.json",
            guide.first("json"),
        ),
        ("vscode", ".config/Code/User/mcp.json", guide.first("jsonc")),
        ("codex", ".codex/config.toml", guide.first("toml")),
    ]
}

#[test]
fn the_commands_of_the_inbox_page_do_what_the_page_says() {
    let page = Page::read("inbox", INBOX);
    let mut world = World::new();
    world.guards_claude_code();
    let mut agent = None;
    for block in page.console() {
        if block.mentions("approvals list") && agent.is_none() {
            agent = Some(world.two_calls_wait());
        }
        match block.command() {
            "approval-proxy inbox" => world.in_terminal(&block, &[], Some(130)),
            "approval-proxy inbox --set-passphrase" => {
                let typed = [
                    ("New passphrase: ", "correct horse"),
                    ("Repeat the new passphrase: ", "correct horse"),
                ];
                world.in_terminal(&block, &typed, Some(0));
            }
            command if SKIPPED.iter().any(|(one, _)| *one == command) => {}
            _ => world.runs(&page, &block),
        }
    }
    let mut agent = agent.unwrap();
    assert_eq!(agent.answer(1)["content"][0]["text"], "done");
    assert!(agent.refusal(2).contains("not on a Friday"));
    // "again for 15 minutes if the agent makes the very same call"
    let again = world.write_file();
    agent.calls(3, "write_file", &again);
    assert_eq!(agent.answer(3)["content"][0]["text"], "done");
}

#[test]
fn the_readme_guards_a_server_and_restores_it() {
    let readme = Page::read("README", README);
    let [_, (_, file, text), ..] = files_of_the_guide(&Page::read("guide", GUIDE));
    let world = World::new();
    let original = world.write_text(file, &text);
    for block in readme.console().filter(|block| !block.is_ignored()) {
        world.runs(&readme, &block);
    }
    assert_eq!(world.read(file), original);
}

#[test]
fn the_entry_by_hand_is_what_wrap_writes_into_a_shared_file() {
    let page = Page::read("configuration", CONFIGURATION);
    let mut entries = page.json();
    entries.retain(|it| it["mcpServers"].get("filesystem").is_some());
    let [before, after] = <[Value; 2]>::try_from(entries).unwrap();
    let world = World::new();
    world.write(".mcp.json", &before);
    let file = world.home().join(".mcp.json");
    let run = |words: &[&str]| {
        let mut command = Command::new(world.program("approval-proxy"));
        let done = command.args(words).arg(&file).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        let text = world.read(".mcp.json");
        serde_json::from_str::<Value>(&text.replace(world.home().to_str().unwrap(), "/home/me"))
            .unwrap()
    };
    assert_eq!(run(&["wrap", "--write"]), after);
    // "`unwrap` also restores such an entry"
    world.write(".mcp.json", &after);
    fs::remove_dir_all(world.home().join(".local/state/approval-proxy/wrap")).unwrap();
    assert_eq!(run(&["unwrap", "--write"]), before);
    // "start the proxy in a terminal"
    let block = page
        .console()
        .find(|block| IN_TERMINAL.contains(&block.command()));
    world.in_terminal(&block.unwrap(), &[], Some(130));
}

// README shows a refused and an approved call within its first screen.
#[test]
fn the_first_screen_of_the_readme_quotes_real_messages() {
    let world = World::new();
    let tools = json!([
        {"name": "delete_note", "description": "Delete a note for good.", "inputSchema": {"type": "object"},
         "annotations": {"destructiveHint": true}},
        {"name": "read_note", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}},
    ]);
    world.write(
        "notes.json",
        &json!({"mcpServers": {"notes": {"command": world.server("notes", &tools)}}}),
    );
    let log = world.home().join("audit.jsonl");
    let arguments = [
        "--upstream",
        "~/notes.json",
        "--audit-log",
        log.to_str().unwrap(),
    ];
    let mut agent = Agent::start(&world, &arguments, &json!({"elicitation": {}}));
    agent.calls(1, "delete_note", r#"{"name":"shopping"}"#);
    let prompt = agent.next();
    // A faster no would count as the client's own.
    thread::sleep(Duration::from_millis(300));
    let content = json!({"approved": false, "reason": "still needed"});
    agent.sends(&json!({"id": prompt["id"], "result": {"action": "accept", "content": content}}));
    let refusal = agent.refusal(1);
    agent.calls(2, "read_note", r#"{"name":"ideas"}"#);
    assert_eq!(agent.answer(2)["content"][0]["text"], "done");
    agent.calls(3, "delete_note", r#"{"name":"old"}"#);
    let again = agent.next();
    thread::sleep(Duration::from_millis(300));
    let content = json!({"approved": true});
    agent.sends(&json!({"id": again["id"], "result": {"action": "accept", "content": content}}));
    assert_eq!(agent.answer(3)["content"][0]["text"], "done");

    let readme = Page::read("README", README);
    let screen = readme.blocks().find(|block| block.info == "text").unwrap();
    assert!(
        screen.line < 24,
        "the first screen begins at line {}",
        screen.line
    );
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let screen = words(&screen.text);
    for said in prompt["params"]["message"]
        .as_str()
        .unwrap()
        .lines()
        .chain([&*refusal])
    {
        assert!(screen.contains(&words(said)), "README does not say: {said}");
    }
    let log = std::fs::read_to_string(log).unwrap();
    let denied = log
        .lines()
        .find(|line| line.contains(r#""decision":"denied""#))
        .unwrap();
    let keys = |line: &Value| {
        line.as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let shown = readme
        .json()
        .into_iter()
        .find(|it| it.get("seq").is_some())
        .unwrap();
    assert_eq!(
        keys(&shown),
        keys(&serde_json::from_str(denied).unwrap()),
        "{denied}"
    );
}

#[test]
fn every_command_runs_or_is_skipped_for_a_stated_reason() {
    let mut skipped = BTreeSet::new();
    for (name, text) in [("README", README), ("guide", GUIDE), ("inbox", INBOX)] {
        let page = Page::read(name, text);
        for block in page.blocks() {
            // trycmd also runs blocks without a language.
            assert!(
                !block.info.is_empty(),
                "{name}:{}: name a language",
                block.line
            );
            let is_shell = ["sh", "bash", "shell", "zsh"].contains(&&*block.info);
            assert!(!is_shell, "{name}:{}: write `console`", block.line);
        }
        for block in page.console() {
            for command in block.commands() {
                let in_terminal = IN_TERMINAL.contains(&command);
                let is_skipped = SKIPPED.iter().any(|(one, _)| *one == command);
                assert_eq!(
                    block.is_ignored(),
                    in_terminal || is_skipped,
                    "{name}:{}: {command}",
                    block.line
                );
                let program = command.split(' ').next().unwrap();
                // trycmd silently skips programs that it does not know.
                assert!(
                    is_skipped || PROGRAMS.contains(&program),
                    "{name}:{}: {command}",
                    block.line
                );
                skipped.extend(is_skipped.then(|| command.to_owned()));
            }
        }
    }
    let table = SKIPPED.iter().map(|(command, _)| (*command).to_owned());
    assert_eq!(
        skipped,
        table.collect::<BTreeSet<String>>(),
        "commands that no document has"
    );
    for command in ["cargo run --release --example guarded_notes", "cargo test"] {
        assert!(CI.contains(&format!("\n{command}")), "{command}");
    }
}

#[test]
fn every_command_in_the_documents_parses() {
    let pages = [README, GUIDE, INBOX].into_iter().chain(OTHERS);
    let mut count = 0;
    for text in pages {
        // Commands are code spans, or lines that begin with a prompt.
        let prose = text
            .lines()
            .flat_map(|line| line.split('`').skip(1).step_by(2));
        let typed = prose.chain(
            text.lines()
                .filter_map(|line| line.trim_start().strip_prefix("$ ")),
        );
        for command in typed.filter_map(|it| it.find("approval-proxy ").map(|at| &it[at..])) {
            let words = page::words(command.split(" #").next().unwrap());
            // Users do not type this one.
            if words.contains(&"__watcher") {
                continue;
            }
            count += 1;
            if let Err(error) = Args::read(&words) {
                // Prose names some commands without their arguments.
                let is_begun = matches!(
                    error.kind(),
                    ErrorKind::MissingRequiredArgument
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                        | ErrorKind::DisplayVersion
                        | ErrorKind::DisplayHelp
                );
                assert!(is_begun, "{command}: {error}");
            }
        }
    }
    assert!(count > 25, "{count}");
}

/// Waits until `is_so` returns true.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

const DEADLINE: Duration = Duration::from_secs(30);
