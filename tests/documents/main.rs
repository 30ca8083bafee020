//! Runs the commands of README, the guide and the page about the inbox as they are written there.
//!
//! `console` blocks run in order with trycmd, each document in a home of its own. A block marked `console,ignore` needs
//! a terminal, and runs in one here, or something that a test does not have: `SKIPPED` says what, and why.

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
/// Pages whose commands are not run, but have to be commands that the program understands.
const OTHERS: [&str; 3] = [
    include_str!("../../docs/asking.md"),
    include_str!("../../docs/troubleshooting.md"),
    include_str!("../../examples/clients/README.md"),
];
const CI: &str = include_str!("../../.ci/run");

/// Commands that are not run, and why. Everything else is.
const SKIPPED: [(&str, &str); 4] = [
    (
        "cargo run --release --example guarded_notes",
        "`.ci/run` runs it",
    ),
    ("cargo test", "it runs this"),
    (
        "cargo install --locked --path .",
        "builds the whole program once more",
    ),
    (
        "claude mcp add files -- approval-proxy --upstream ~/mcp/files.json --audit-log ~/mcp/audit.jsonl",
        "needs Claude Code; what it starts is parsed here",
    ),
];
/// Commands that run in a terminal, because they say other things there or ask for something.
const IN_TERMINAL: [&str; 3] = [
    "approval-proxy --upstream ~/mcp/files.json --audit-log ~/mcp/audit.jsonl",
    "approval-proxy inbox",
    "approval-proxy inbox --set-passphrase",
];

#[test]
fn the_guide_leads_to_a_guarded_server() {
    let guide = Page::read("guide", GUIDE);
    let [server, client] = <[Value; 2]>::try_from(guide.json()).unwrap();
    let mut world = World::new();
    let mut agent = None;
    for block in guide.console() {
        if block.mentions("approvals list") && agent.is_none() {
            agent = Some(world.two_calls_wait(&client));
        }
        match block.command() {
            command if command.starts_with("cargo ") || command.starts_with("claude ") => {}
            command if IN_TERMINAL.contains(&command) => {
                world.in_terminal(&block, &[], Some(130));
            }
            command => {
                world.runs(&guide, &block);
                if command.starts_with("mkdir ") {
                    world.write("mcp/files.json", &server);
                }
            }
        }
    }
    let mut agent = agent.unwrap();
    assert_eq!(agent.answer(1)["content"][0]["text"], "done");
    let refusal = agent.refusal(2);
    let quoted = |language: &str| {
        guide
            .blocks()
            .any(|it| it.info == language && it.text.trim() == refusal)
    };
    assert!(quoted("text"), "the guide does not say: {refusal}");
}

#[test]
fn what_the_page_about_the_inbox_types_does_what_it_says() {
    let page = Page::read("inbox", INBOX);
    let guide = Page::read("guide", GUIDE);
    let [server, client] = <[Value; 2]>::try_from(guide.json()).unwrap();
    let mut world = World::new();
    world.write("mcp/files.json", &server);
    let mut agent = None;
    for block in page.console() {
        if block.mentions("approvals list") && agent.is_none() {
            agent = Some(world.two_calls_wait(&client));
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
fn the_configurations_of_readme_are_those_of_the_guide() {
    let readme = Page::read("README", README).json();
    let configurations: Vec<&Value> = readme
        .iter()
        .filter(|it| it.get("mcpServers").is_some())
        .collect();
    let guide = Page::read("guide", GUIDE).json();
    assert_eq!(configurations, guide.iter().collect::<Vec<_>>());
}

// README shows a refused and an approved call within its first screen.
#[test]
fn the_first_screen_of_readme_is_what_people_and_agents_read() {
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
    // A person needs longer than 250 ms.
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
fn every_command_runs_or_is_skipped_for_a_reason() {
    let mut skipped = BTreeSet::new();
    for (name, text) in [("README", README), ("guide", GUIDE), ("inbox", INBOX)] {
        let page = Page::read(name, text);
        for block in page.blocks() {
            // A block without a language is one of trycmd's, too.
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
                let is_typed = IN_TERMINAL.contains(&command);
                let is_skipped = SKIPPED.iter().any(|(one, _)| *one == command);
                assert_eq!(
                    block.is_ignored(),
                    is_typed || is_skipped,
                    "{name}:{}: {command}",
                    block.line
                );
                let program = command.split(' ').next().unwrap();
                // trycmd passes over programs that it does not know, and says nothing.
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
        "a command that no document has"
    );
    for command in ["cargo run --release --example guarded_notes", "cargo test"] {
        assert!(CI.contains(&format!("\n{command}")), "{command}");
    }
}

#[test]
fn every_command_that_a_page_mentions_is_one_that_the_program_understands() {
    let pages = [README, GUIDE, INBOX].into_iter().chain(OTHERS);
    let mut count = 0;
    for text in pages {
        // What is typed stands in lines of their own, or within one line of prose.
        let prose = text
            .lines()
            .flat_map(|line| line.split('`').skip(1).step_by(2));
        let typed = prose.chain(text.lines().filter_map(|line| line.strip_prefix("$ ")));
        for command in typed.filter_map(|it| it.find("approval-proxy ").map(|at| &it[at..])) {
            let words = page::words(command.split(" #").next().unwrap());
            // No user types that one.
            if words.contains(&"__watcher") {
                continue;
            }
            count += 1;
            if let Err(error) = Args::read(&words) {
                // Some are named without what has to follow.
                let is_begun = matches!(
                    error.kind(),
                    ErrorKind::MissingRequiredArgument
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                        | ErrorKind::DisplayVersion
                        | ErrorKind::DisplayHelp
                );
                // `--for 15` and `--reason TEXT` stand where a person's words do.
                assert!(is_begun, "{command}: {error}");
            }
        }
    }
    assert!(count > 25, "{count}");
}

/// Waits until something is so.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

const DEADLINE: Duration = Duration::from_secs(30);
