//! What a floor allows, and every way around it that we know.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::environment::{Environment, Machine};
use crate::config::load::load;
use crate::config::resolve::{Flags, Resolved};
use crate::config::section::Section;
use crate::config::user_config::UserConfig;
use crate::gate::Engine;
use crate::mcp::ToolAnnotations;
use crate::policy::{Action, Listing, Policy, Rules};

/// A machine with one user, whose home folder the user database knows.
struct World {
    dir: TempDir,
    variables: Vec<(String, String)>,
    flags: Layer,
    /// Whether the user database knows the user, with this home folder.
    is_in_database: bool,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["home/.config/approval-proxy", "etc", "project"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let world = World {
            variables: Vec::new(),
            flags: Layer::default(),
            is_in_database: true,
            dir,
        };
        let home = world.path("home");
        world.with_variable("HOME", &home).with_project("", "")
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn with_file(self, name: &str, text: &str) -> World {
        fs::write(self.path(name), text).unwrap();
        self
    }

    /// The user's own configuration.
    fn with_user(self, text: &str) -> World {
        self.with_file("home/.config/approval-proxy/config.json", text)
    }

    fn with_floor(self, floor: &str) -> World {
        self.with_user(&format!(r#"{{"floor": {{{floor}}}}}"#))
    }

    /// The project's file, with these members of `approvalRules` and `approvalProxy`.
    fn with_project(self, rules: &str, proxy: &str) -> World {
        self.with_file(
            "project/up.json",
            &format!(
                r#"{{"mcpServers":{{"files":{{"command":"c","approvalRules":{{{rules}}}}}}},"approvalProxy":{{{proxy}}}}}"#
            ),
        )
    }

    fn with_variable(mut self, name: &str, value: &str) -> World {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn with_flag(mut self, name: &str, value: &str) -> World {
        let mut settings = SETTINGS.iter();
        let setting = settings.find(|setting| setting.name == name).unwrap();
        let said = setting.read_argument(value).unwrap();
        self.flags = said.over(std::mem::take(&mut self.flags));
        self
    }

    fn load(&self) -> Result<Resolved, String> {
        let environment: Environment = self.variables.iter().cloned().collect();
        let environment = environment.on(Machine {
            home: self.is_in_database.then(|| self.path("home").into()),
            config: Some(self.path("etc/config.json").into()),
        });
        let mut flags = Flags::new(self.path("project/up.json").into());
        flags.layer = self.flags.clone();
        load(flags, &environment).map_err(|error| error.to_string())
    }

    fn refused(&self, says: &[&str]) {
        let error = self
            .load()
            .err()
            .unwrap_or_else(|| panic!("allowed: {says:?}"));
        for words in says.iter().chain(&["floor"]) {
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}

/// A source that may not get below a floor, and how its places are named.
#[derive(Clone, Copy)]
enum Way {
    Flag,
    Variable,
    Rules,
    Proxy,
}

impl Way {
    /// A world in which this source sets the setting `name`, and the place that an error has to name. `None` if the source
    /// cannot.
    fn says(self, world: World, name: &str, value: &str) -> Option<(World, String)> {
        let mut settings = SETTINGS.iter();
        let setting = settings.find(|setting| setting.name == name)?;
        let json = match value.starts_with(['{', '[', '"'])
            || value.parse::<f64>().is_ok()
            || ["true", "false"].contains(&value)
        {
            true => value.to_owned(),
            false => format!("\"{value}\""),
        };
        let member = format!("\"{name}\": {json}");
        let text = value.trim_matches('"');
        Some(match self {
            Way::Flag => {
                let flag = setting.flag?;
                (world.with_flag(name, text), format!("`--{}`", flag.long))
            }
            Way::Variable => {
                let variable = setting.variable()?;
                (
                    world.with_variable(&variable, text),
                    format!("`{variable}`"),
                )
            }
            Way::Rules => {
                Section::Rules.takes(setting).then_some(())?;
                let place = format!("up.json: /mcpServers/files/approvalRules/{name}");
                (world.with_project(&member, ""), place)
            }
            Way::Proxy => {
                Section::Proxy.takes(setting).then_some(())?;
                let place = format!("up.json: /approvalProxy/{name}");
                (world.with_project("", &member), place)
            }
        })
    }
}

const WAYS: [Way; 4] = [Way::Flag, Way::Variable, Way::Rules, Way::Proxy];

/// A key of the floor, a setting, and a value that is below it.
const BELOW: [(&str, &str, &str); 28] = [
    (r#""mode": "all""#, "mode", "cautious"),
    (r#""mode": "cautious""#, "mode", "destructive"),
    (r#""mode": "destructive""#, "mode", "annotated"),
    (r#""mode": "annotated""#, "mode", "none"),
    (
        r#""requireAssurance": "inbox-passphrase""#,
        "requireAssurance",
        "inbox-session",
    ),
    (r#""engines": ["inbox"]"#, "engines", r#"["elicitation"]"#),
    (
        r#""engines": ["inbox"]"#,
        "engines",
        r#"["inbox", "elicitation"]"#,
    ),
    (r#""timeoutAction": "deny""#, "timeoutAction", "park"),
    (
        r#""timeoutAction": "park""#,
        "defaultTimeoutAction",
        "approve",
    ),
    // What every floor forbids, even an empty one.
    ("", "allow", "delete_*"),
    ("", "alwaysAllow", r#"["delete_user"]"#),
    ("", "allowPatterns", r#"["*"]"#),
    ("", "timeoutAction", "approve"),
    ("", "dryRun", "true"),
    ("", "auditBestEffort", "true"),
    ("", "insecureNoAuth", "true"),
    ("", "approvalTtlSeconds", "1"),
    ("", "approvalDedupeKeyFields", r#"["server", "tool"]"#),
    ("", "approvalDedupeKeyFields", r#"["risk"]"#),
    ("", "approvalDedupeArgKeys", r#"["id"]"#),
    ("", "approvalDedupeArgKeys", "[]"),
    ("", "customAnnotations", r#"{"a": {"readOnlyHint": true}}"#),
    (
        "",
        "customAnnotations",
        r#"{"a": {"destructiveHint": false, "readOnlyHint": false}}"#,
    ),
    (
        "",
        "engines",
        r#"[{"type": "command", "command": "/bin/true"}]"#,
    ),
    ("", "approvalAuthToken", "s3cr3t-12345678"),
    ("", "approvalAllowInsecureHttp", "true"),
    // The proxy would send a file that the project chooses.
    ("", "approvalAuthTokenFile", "/proc/self/environ"),
    (
        r#""inboxKey": "sha256:0000000000000000000000000000000000000000000000000000000000000000""#,
        "inboxKey",
        "sha256:1111111111111111111111111111111111111111111111111111111111111111",
    ),
];

#[test]
fn no_source_below_a_floor_adds_a_recipient() {
    let user =
        r##"{"floor": {}, "approvalProxy": {"allowedRecipients": ["#ops", "a@b.example"]}}"##;
    for (user, value, is_allowed) in [
        (user, r##"["#ops"]"##, true),
        (user, "[]", true),
        (user, r##"["#ops", "mallory@evil.example"]"##, false),
        (r#"{"floor": {}}"#, r##"["#ops"]"##, false),
        ("{}", r#"["mallory@evil.example"]"#, true),
    ] {
        let world = World::new().with_user(user);
        let (world, place) = Way::Proxy.says(world, "allowedRecipients", value).unwrap();
        match is_allowed {
            true => drop(world.load().unwrap()),
            false => world.refused(&[&place, "does not allow"]),
        }
    }
}

#[test]
fn no_source_below_a_floor_says_where_the_page_of_the_user_is() {
    let page = |url: &str| format!(r#"{{"pageUrl": "{url}"}}"#);
    let (own, other) = (page("http://localhost:1"), page("http://localhost:2"));
    let user = format!(r#"{{"floor": {{}}, "approvalProxy": {{"inbox": {own}}}}}"#);
    for (user, value, is_allowed) in [
        (&*user, &own, true),
        (&*user, &other, false),
        (r#"{"floor": {}}"#, &own, false),
        ("{}", &other, true),
    ] {
        for way in [Way::Variable, Way::Proxy] {
            let world = World::new().with_user(user);
            let (world, place) = way.says(world, "inbox", value).unwrap();
            match is_allowed {
                true => drop(world.load().unwrap()),
                false => world.refused(&[&place, "another page"]),
            }
        }
    }
}

#[test]
fn no_weaker_source_gets_below_a_floor() {
    for (floor, name, value) in BELOW {
        let mut tried = 0;
        for way in WAYS {
            let world = World::new().with_floor(floor);
            // A comma list is what a flag takes.
            let text = match (way, value.strip_prefix('[')) {
                (Way::Flag, Some(list)) if !value.contains('{') => {
                    list.trim_end_matches(']').replace(['"', ' '], "")
                }
                _ => value.to_owned(),
            };
            if matches!(way, Way::Flag) && (text.is_empty() || value.contains("[{")) {
                continue;
            }
            let Some((world, place)) = way.says(world, name, &text) else {
                continue;
            };
            tried += 1;
            world.refused(&[&place, "home/.config/approval-proxy/config.json: /floor"]);
            assert!(!world.load().unwrap_err().contains("s3cr3t"));
        }
        assert!(tried > 0, "{name} {value}");
    }
}

#[test]
fn what_is_as_strict_or_stricter_is_fine() {
    for (floor, name, value) in [
        (r#""mode": "destructive""#, "mode", "destructive"),
        (r#""mode": "none""#, "mode", "annotated"),
        (
            r#""requireAssurance": "inbox-terminal""#,
            "requireAssurance",
            "inbox-session",
        ),
        (
            r#""requireAssurance": "caller-relayed""#,
            "requireAssurance",
            "inbox-passphrase",
        ),
        (
            r#""engines": ["elicitation", "inbox"]"#,
            "engines",
            r#"["inbox"]"#,
        ),
        (
            r#""engines": ["elicitation", "inbox"]"#,
            "engines",
            r#"[{"type": "inbox", "timeout": 5}]"#,
        ),
        (r#""timeoutAction": "park""#, "timeoutAction", "deny"),
        ("", "timeoutAction", "park"),
        ("", "alwaysDeny", r#"["a"]"#),
        ("", "approvalTtlSeconds", "0"),
        (
            "",
            "approvalDedupeKeyFields",
            r#"["server", "tool", "args", "risk"]"#,
        ),
        (
            "",
            "customAnnotations",
            r#"{"a": {"destructiveHint": true, "readOnlyHint": false, "title": "A"}}"#,
        ),
        ("", "explainDecisions", "true"),
        ("", "highRiskRequiresDoubleConfirmation", "true"),
        ("", "timeout", "5"),
        ("", "dryRun", "false"),
    ] {
        for way in [Way::Variable, Way::Rules, Way::Proxy] {
            if let Some((world, place)) = way.says(World::new().with_floor(floor), name, value) {
                world
                    .load()
                    .unwrap_or_else(|error| panic!("{place} {value}: {error}"));
            }
        }
    }
}

#[test]
fn the_floor_holds_where_nothing_else_is_said() {
    let found = World::new()
        .with_floor(
            r#""mode": "all", "alwaysDeny": ["rm"], "denyPatterns": ["drop_*"], "requireAssurance": "inbox-session",
               "engines": ["inbox"], "timeoutAction": "park""#,
        )
        .load()
        .unwrap();
    assert_eq!(found.policy.mode(), Mode::All);
    assert_eq!(found.rules.deny, ["rm", "drop_*"]);
    assert_eq!(found.settings.timeout_action, TimeoutAction::Park);
    let engines: Vec<Engine> = found
        .settings
        .channels
        .iter()
        .map(|channel| channel.engine)
        .collect();
    assert_eq!(engines, [Engine::INBOX]);
    assert_eq!(
        found.settings.require_assurance.unwrap().to_string(),
        "inbox-session"
    );
    // A floor may also be lower than the default.
    let lower = World::new()
        .with_floor(r#""mode": "annotated""#)
        .load()
        .unwrap();
    assert_eq!(lower.policy.mode(), Mode::Annotated);
    assert_eq!(lower.warnings, [""; 0]);
}

#[test]
fn the_users_own_rules_are_raised_to_the_floor_with_a_warning() {
    let world = World::new().with_user(
        r#"{"servers": {"files": {"mode": "none", "timeoutAction": "approve", "alwaysAllow": ["a"]}},
            "approvalProxy": {"engines": ["elicitation", "inbox"], "requireAssurance": "caller-relayed"},
            "floor": {"mode": "cautious", "timeoutAction": "deny", "engines": ["inbox"], "requireAssurance": "inbox-session"}}"#,
    );
    let found = world.load().unwrap();
    assert_eq!(found.policy.mode(), Mode::Cautious);
    assert_eq!(found.settings.timeout_action, TimeoutAction::Deny);
    assert_eq!(found.settings.channels.len(), 1);
    assert_eq!(found.rules.allow, ["a"]);
    let raised = |key: &str| {
        let mut warnings = found.warnings.iter();
        warnings.any(|warning| warning.contains(&format!("`{key}`")) && warning.contains("raised"))
    };
    for key in ["mode", "timeoutAction", "engines", "requireAssurance"] {
        assert!(raised(key), "{key}: {:?}", found.warnings);
    }
}

// Otherwise calls would run that the floor denies.
#[test]
fn a_dry_run_of_the_users_own_configuration_is_an_error_under_any_floor() {
    let dry = r#""approvalProxy": {"dryRun": true}"#;
    let place = "home/.config/approval-proxy/config.json: /approvalProxy/dryRun";
    let own = World::new().with_user(&format!(r#"{{{dry}, "floor": {{"alwaysDeny": ["x"]}}}}"#));
    own.refused(&[place]);
    let machines = World::new()
        .with_user(&format!("{{{dry}}}"))
        .with_file("etc/config.json", r#"{"floor": {}}"#);
    machines.refused(&[place, "etc/config.json: /floor"]);
    let alone = World::new().with_user(&format!("{{{dry}}}"));
    assert!(alone.load().unwrap().settings.dry_run);
}

#[test]
fn a_baseline_of_the_user_is_what_a_project_may_not_undercut() {
    let user = r#"{"approvalProxy": {"approvalTtlSeconds": 60, "approvalDedupeKeyFields": ["server", "tool"],
        "approvalDedupeArgKeys": ["id", "path"], "highRiskRequiresDoubleConfirmation": true}, "floor": {}}"#;
    let rules = |rules: &str| World::new().with_user(user).with_project(rules, "");
    for (fine, below) in [
        (r#""approvalTtlSeconds": 60"#, r#""approvalTtlSeconds": 61"#),
        (
            r#""approvalDedupeKeyFields": ["tool", "server", "risk"]"#,
            r#""approvalDedupeKeyFields": ["tool"]"#,
        ),
        (
            r#""approvalDedupeArgKeys": ["path", "id", "x"]"#,
            r#""approvalDedupeArgKeys": ["id"]"#,
        ),
        (
            r#""highRiskRequiresDoubleConfirmation": true"#,
            r#""highRiskRequiresDoubleConfirmation": false"#,
        ),
    ] {
        rules(fine)
            .load()
            .unwrap_or_else(|error| panic!("{fine}: {error}"));
        rules(below).refused(&["up.json: /mcpServers/files/approvalRules/"]);
    }
}

// A project that overrules the user's hints about one tool with its own about another, or with weaker ones, would lower
// a decision without any hint that lowers.
#[test]
fn a_project_sends_questions_to_no_host_that_the_user_does_not_allow() {
    let world = |rules: &str| {
        let user = r#"{"floor": {}, "approvalProxy": {"approvalAllowInsecureHttp": true,
            "approvalAllowedHosts": ["a.example", "b.example"]}}"#;
        World::new().with_user(user).with_project(rules, "")
    };
    for wider in [
        r#"["evil.example"]"#,
        r#"["a.example", "evil.example"]"#,
        "[]",
    ] {
        let world = world(&format!(r#""approvalAllowedHosts": {wider}"#));
        world.refused(&["approvalRules/approvalAllowedHosts", "does not allow"]);
    }
    let narrower = r#""approvalAllowInsecureHttp": true, "approvalAllowedHosts": ["B.example"]"#;
    let found = world(narrower).load().unwrap();
    assert_eq!(found.engine_transport.allowed_hosts, ["b.example"]);
    // Whoever allows all hosts may be limited.
    let limited = World::new().with_floor("");
    let limited = limited.with_project(r#""approvalAllowedHosts": ["a.example"]"#, "");
    assert!(limited.load().is_ok());
}

#[test]
fn no_server_gets_a_secret_of_an_engine() {
    const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
    let world = |floor: &str, entry: &str| {
        let user = format!(
            r#"{{{floor} "servers": {{"other": {{"engines": [{{"type": "webhook", "url": "https://a/",
                "secret": "${{OPS_KEY}}", "headers": {{"X-Team": "${{TEAM}}"}}}}]}}}}}}"#
        );
        let project = format!(r#"{{"mcpServers": {{"files": {{{entry}}}}}}}"#);
        let world = World::new()
            .with_user(&user)
            .with_file("project/up.json", &project);
        let world = world.with_variable("OPS_KEY", SECRET);
        let world = world.with_variable("APPROVAL_AUTH_TOKEN", SECRET);
        world.with_variable("TEAM", "blue")
    };
    for (entry, place) in [
        (r#""command": "c", "env": {"K": "${OPS_KEY}"}"#, "/env/K"),
        (r#""command": "c", "env": {"K": "${OPS_KEY:-}"}"#, "/env/K"),
        (
            r#""command": "c", "args": ["-k", "x=${OPS_KEY}"]"#,
            "/args/1",
        ),
        (r#""url": "https://evil/${OPS_KEY}""#, "/url"),
        (
            r#""url": "https://evil/", "headers": {"x": "${OPS_KEY}"}"#,
            "/headers/x",
        ),
        (
            r#""command": "c", "env": {"K": "${APPROVAL_AUTH_TOKEN}"}"#,
            "/env/K",
        ),
    ] {
        let held = world(r#""floor": {},"#, entry);
        held.refused(&[&format!("/mcpServers/files{place}"), "approve calls"]);
        assert!(!held.load().unwrap_err().contains("MDEy"));
        // Without a floor, whoever writes the entry decides.
        assert!(world("", entry).load().is_ok(), "{entry}");
    }
    for harmless in [
        r#""command": "c", "env": {"K": "${TEAM}", "H": "${HOME}", "P": "$${OPS_KEY}"}"#,
        r#""command": "c", "env": {"K": "OPS_KEY"}"#,
    ] {
        assert!(
            world(r#""floor": {},"#, harmless).load().is_ok(),
            "{harmless}"
        );
    }
}

#[test]
fn a_projects_hints_add_to_the_users_and_take_nothing_away() {
    let found = World::new()
        .with_user(
            r#"{"servers": {"*": {"customAnnotations": {"get_all": {"destructiveHint": true}}}}, "floor": {}}"#,
        )
        .with_project(r#""customAnnotations": {"x": {"destructiveHint": true}, "get_all": {"title": "T"}}"#, "")
        .load()
        .unwrap();
    let decision = found.policy.decide("get_all", Listing::Listed(None));
    assert_eq!(decision.action, Action::Ask);
    assert_eq!(found.rules.custom_annotations.len(), 2);
}

#[test]
fn all_floors_apply_whatever_home_and_flags_say() {
    let world = World::new()
        .with_file("etc/config.json", r#"{"floor": {"mode": "annotated", "alwaysDeny": ["e"], "engines": ["inbox", "elicitation"]}}"#)
        .with_floor(r#""mode": "cautious", "alwaysDeny": ["h"]"#)
        .with_file("project/mine.json", r#"{"floor": {"mode": "destructive", "alwaysDeny": ["m"], "engines": ["inbox"]}}"#);
    let mine = world.path("project/mine.json");
    let elsewhere = world.path("project");
    let world = world
        .with_flag("config", &mine)
        .with_variable("HOME", &elsewhere)
        .with_variable("XDG_CONFIG_HOME", &elsewhere);
    let found = world.load().unwrap();
    assert_eq!(found.policy.mode(), Mode::Cautious);
    let mut denied = found.rules.deny.clone();
    denied.sort();
    assert_eq!(denied, ["e", "h", "m"]);
    assert_eq!(found.settings.channels.len(), 1);
    world.with_flag("mode", "destructive").refused(&[
        "`--mode`",
        "home/.config/approval-proxy/config.json: /floor/mode",
    ]);
}

#[test]
fn a_configuration_that_a_flag_puts_in_the_place_of_the_users_own_is_held_to_the_floors_of_others()
{
    for (evil, place) in [
        (
            r#"{"servers": {"*": {"alwaysAllow": ["*"]}}}"#,
            "/servers/*/alwaysAllow",
        ),
        (
            r#"{"servers": {"files": {"mode": "none"}}}"#,
            "/servers/files/mode",
        ),
        (
            r#"{"approvalProxy": {"dryRun": true}, "floor": {}}"#,
            "/approvalProxy/dryRun",
        ),
    ] {
        let world = World::new()
            .with_floor(r#""mode": "all""#)
            .with_file("project/evil.json", evil);
        let path = world.path("project/evil.json");
        world
            .with_flag("config", &path)
            .refused(&["evil.json: ", place]);
        let world = World::new()
            .with_floor(r#""mode": "all""#)
            .with_file("project/evil.json", evil);
        let path = world.path("project/evil.json");
        world
            .with_variable("APPROVAL_CONFIG", &path)
            .refused(&["evil.json: ", place]);
    }
}

#[test]
fn floors_that_no_run_can_meet_are_errors() {
    let key = |digit: &str| format!(r#""inboxKey": "sha256:{}""#, digit.repeat(64));
    let world = |etc: &str, home: &str| {
        World::new()
            .with_file("etc/config.json", &format!(r#"{{"floor": {{{etc}}}}}"#))
            .with_floor(home)
    };
    world(&key("0"), &key("1")).refused(&["another key", "etc/config.json"]);
    world(&key("0"), &key("0")).load().unwrap();
    world(r#""engines": ["inbox"]"#, r#""engines": ["elicitation"]"#)
        .refused(&["engines", "no configured engine"]);
}

#[test]
fn an_engine_that_a_project_only_names_is_the_users() {
    let defined = r#"{"type": "command", "command": "/bin/true"}"#;
    let user = |floor: &str| {
        World::new().with_user(&format!(
            r#"{{"approvalProxy": {{"engines": [{defined}, "inbox"]}}{floor}}}"#
        ))
    };
    for floor in [
        "",
        r#", "floor": {}"#,
        r#", "floor": {"engines": ["command", "inbox"]}"#,
    ] {
        let found = user(floor)
            .with_project(r#""engines": ["command"]"#, "")
            .load()
            .unwrap();
        let couriers = found
            .engines
            .list
            .iter()
            .filter(|engine| engine.courier.is_some());
        assert_eq!(couriers.count(), 1);
    }
    let nobody = World::new()
        .with_project(r#""engines": ["command"]"#, "")
        .load()
        .unwrap_err();
    assert!(
        nobody.contains("the engine `command` is named without its options"),
        "{nobody}"
    );
}

#[test]
fn what_stands_in_the_place_of_a_floors_file_and_cannot_be_read_is_an_error() {
    type Place = fn(&Path);
    let places: [(&str, Place); 4] = [
        ("a folder", |file| fs::create_dir(file).unwrap()),
        ("a pipe", |file| {
            let made = std::process::Command::new("mkfifo").arg(file).status();
            assert!(made.unwrap().success());
        }),
        ("a link that leads nowhere", |file| {
            symlink("nowhere", file).unwrap();
        }),
        ("a loop of links", |file| {
            symlink("config.json", file).unwrap()
        }),
    ];
    for (what, place) in places {
        for floor in ["home/.config/approval-proxy/config.json", "etc/config.json"] {
            let world = World::new();
            place(Path::new(&world.path(floor)));
            let error = world.load().err();
            let error = error.unwrap_or_else(|| panic!("{floor}: {what}"));
            assert!(
                error.contains(floor) && error.contains("cannot be read"),
                "{what}: {error}"
            );
        }
    }
}

#[test]
fn a_configuration_that_a_flag_chooses_defines_no_engine() {
    const EVIL: &str = r#"{"type": "command", "command": "/evil"}"#;
    for (home, evil, says) in [
        // Where it guards another server.
        (
            r#""floor": {}"#,
            format!(r#"{{"servers": {{"other": {{"engines": [{EVIL}]}}}}}}"#),
            &["the engine `command` is named without its options"][..],
        ),
        (
            r#""floor": {}"#,
            format!(r#"{{"approvalProxy": {{"engines": [{EVIL}]}}}}"#),
            &["evil.json: /approvalProxy/engines", "defines an engine"],
        ),
        // In a floor of its own.
        (
            r#""floor": {}"#,
            format!(r#"{{"floor": {{"engines": [{EVIL}]}}}}"#),
            &["evil.json: /floor/engines", "home/.config"],
        ),
        (
            r#""approvalProxy": {"engines": [{"type": "command", "command": "/mine"}]}, "floor": {"engines": ["command"]}"#,
            format!(r#"{{"floor": {{"engines": [{EVIL}]}}}}"#),
            &["evil.json: /floor/engines", "home/.config"],
        ),
    ] {
        let world = World::new()
            .with_user(&format!("{{{home}}}"))
            .with_file("project/evil.json", &evil)
            .with_project(r#""engines": ["command"]"#, "");
        let path = world.path("project/evil.json");
        let error = world.with_flag("config", &path).load();
        let error = error.map(|found| found.engines).expect_err(&evil);
        for words in says {
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}

#[test]
fn an_engine_that_a_floor_defines_is_the_one_of_the_floor() {
    let defined =
        |command: &str| format!(r#"[{{"type": "command", "command": "{command}"}}, "inbox"]"#);
    let floor = format!(r#"{{"floor": {{"engines": {}}}}}"#, defined("/admins"));
    for user in [
        format!(
            r#"{{"approvalProxy": {{"engines": {}}}}}"#,
            defined("/users")
        ),
        format!(
            r#"{{"servers": {{"files": {{"engines": {}}}}}}}"#,
            defined("/users")
        ),
        format!(r#"{{"floor": {{"engines": {}}}}}"#, defined("/users")),
        r#"{"approvalProxy": {"engines": ["command"]}}"#.to_owned(),
        "{}".to_owned(),
    ] {
        let world = World::new().with_file("etc/config.json", &floor);
        let found = world.with_user(&user).load().unwrap();
        let couriers = format!("{:?}", found.engines);
        assert!(couriers.contains("/admins"), "{user}: {couriers}");
        let is_raised = found.warnings.iter().any(|it| it.contains("`engines`"));
        assert_eq!(
            is_raised,
            user.contains("/users") && !user.contains("floor"),
            "{user}"
        );
    }
}

// In a container, the user may be a number that the user database does not know.
#[test]
fn a_chosen_configuration_is_held_to_floors_for_a_user_without_a_home_too() {
    for variable in ["HOME", "XDG_CONFIG_HOME", "APPROVAL_CONFIG"] {
        let mut world = World::new()
            .with_file("etc/config.json", r#"{"floor": {"mode": "all"}}"#)
            .with_user(r#"{"servers": {"*": {"alwaysAllow": ["*"]}}}"#);
        world.is_in_database = false;
        let value = world.path(match variable {
            "HOME" => "home",
            "XDG_CONFIG_HOME" => "home/.config",
            _ => "home/.config/approval-proxy/config.json",
        });
        world
            .with_variable(variable, &value)
            .refused(&["/servers/*/alwaysAllow", "etc/config.json"]);
    }
}

#[test]
fn the_users_own_configuration_is_their_own_by_every_name() {
    let world =
        || World::new().with_user(r#"{"servers": {"*": {"alwaysAllow": ["a"]}}, "floor": {}}"#);
    const OWN: &str = "home/.config/approval-proxy/config.json";
    type Said = fn(&World) -> String;
    let ways: [(&str, Said); 7] = [
        ("APPROVAL_CONFIG", |world| world.path(OWN)),
        ("APPROVAL_CONFIG", |world| {
            let link = world.path("project/link.json");
            symlink(world.path(OWN), &link).unwrap();
            link
        }),
        ("APPROVAL_CONFIG", |_| String::new()),
        ("XDG_CONFIG_HOME", |_| String::new()),
        ("XDG_CONFIG_HOME", |_| "project".to_owned()),
        ("XDG_CONFIG_HOME", |world| {
            world.path("home/../home/.config/")
        }),
        ("HOME", |_| String::new()),
    ];
    for (variable, value) in ways {
        let world = world();
        let value = value(&world);
        let found = world.with_variable(variable, &value).load();
        assert_eq!(found.unwrap().rules.allow, ["a"], "{variable}={value}");
    }
}

#[test]
fn a_passphrase_of_another_state_folder_does_not_meet_a_floor_unless_the_key_is_pinned() {
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = elsewhere.path().to_str().unwrap();
    let key =
        r#""inboxKey": "sha256:0000000000000000000000000000000000000000000000000000000000000000""#;
    let passphrase = r#""requireAssurance": "inbox-passphrase""#;
    let with = |floor: &str, variable: &str| {
        let world = World::new().with_floor(floor);
        match variable {
            "--state-dir" => world.with_flag("stateDir", elsewhere),
            "" => world,
            variable => world.with_variable(variable, elsewhere),
        }
    };
    for variable in [
        "--state-dir",
        "APPROVAL_STATE_DIR",
        "XDG_STATE_HOME",
        "HOME",
    ] {
        with(passphrase, variable).refused(&[elsewhere, "/floor/requireAssurance", "inboxKey"]);
        with(&format!("{passphrase}, {key}"), variable)
            .load()
            .unwrap();
        with(r#""requireAssurance": "inbox-session""#, variable)
            .load()
            .unwrap();
    }
    with(passphrase, "").load().unwrap();
    let mut nobody = with(passphrase, "");
    nobody.is_in_database = false;
    nobody.refused(&["/floor/requireAssurance"]);
}

fn mode() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["all", "cautious", "destructive", "annotated", "none"])
}

fn engines() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        r#"["inbox"]"#,
        r#"["elicitation"]"#,
        r#"["elicitation","inbox"]"#,
    ])
}

fn action() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["deny", "park", "approve"])
}

/// The members of a floor or of rules, of those that matter here.
fn members() -> impl Strategy<Value = String> {
    let some = |key: &'static str| {
        move |value: &'static str| match value.starts_with('[') {
            true => format!("\"{key}\": {value}"),
            false => format!("\"{key}\": \"{value}\""),
        }
    };
    let parts = (
        prop::option::of(mode().prop_map(some("mode"))),
        prop::option::of(engines().prop_map(some("engines"))),
        prop::option::of(action().prop_map(some("timeoutAction"))),
        prop::option::of(
            prop::sample::select(vec![r#""alwaysDeny": ["a"]"#, r#""alwaysDeny": ["b"]"#])
                .prop_map(str::to_owned),
        ),
    );
    parts.prop_map(|(mode, engines, action, deny)| {
        let all: Vec<String> = [mode, engines, action, deny]
            .into_iter()
            .flatten()
            .collect();
        all.join(", ")
    })
}

proptest! {
    // INVARIANT: whatever the sources say, a run that starts is nowhere below any floor.
    #[test]
    fn a_run_that_starts_is_below_no_floor(
        etc in prop::option::of(members()), home in prop::option::of(members()), mine in prop::option::of(members()),
        users in members(), star in members(), rules in members(), allow in any::<bool>(), flag in prop::option::of(mode()),
        variable in prop::option::of(mode()),
    ) {
        let floor = |floor: &Option<String>| floor.as_ref().map_or(String::new(), |floor| format!(r#", "floor": {{{floor}}}"#));
        let mut world = World::new()
            .with_file("etc/config.json", &format!(r#"{{"approvalProxy": {{}}{}}}"#, floor(&etc)))
            .with_user(&format!(
                r#"{{"servers": {{"files": {{{users}}}, "*": {{{star}}}}}{}}}"#, floor(&home)
            ))
            .with_file("project/mine.json", &format!(r#"{{"approvalProxy": {{}}{}}}"#, floor(&mine)))
            .with_project(
                &match (allow, rules.is_empty()) {
                    (false, _) => rules.clone(),
                    (true, true) => r#""alwaysAllow": ["x"]"#.to_owned(),
                    (true, false) => format!(r#"{rules}, "alwaysAllow": ["x"]"#),
                },
                "",
            );
        if mine.is_some() {
            let path = world.path("project/mine.json");
            world = world.with_flag("config", &path);
        }
        if let Some(mode) = flag {
            world = world.with_flag("mode", mode);
        }
        if let Some(mode) = variable {
            world = world.with_variable("APPROVAL_MODE", mode);
        }
        let floors: Vec<Layer> = [&etc, &home, &mine].into_iter().flatten().map(|floor| read_floor(floor)).collect();
        let Ok(found) = world.load() else {
            prop_assert!(!floors.is_empty());
            return Ok(());
        };
        prop_assert!(floors.is_empty() || !allow);
        for floor in &floors {
            prop_assert!(floor.mode.is_none_or(|least| strength(found.policy.mode()) >= strength(least)));
            prop_assert!(
                floor.timeout_action.is_none_or(|least| severity(found.settings.timeout_action) >= severity(least))
            );
            for pattern in &floor.deny {
                prop_assert!(found.rules.deny.contains(&pattern.clone().into_string()));
            }
            if let Some(allowed) = &floor.engines {
                for engine in &found.engines.list {
                    prop_assert!(allowed.has(engine.kind));
                }
            }
        }
    }

    // What `lowers_any` lets through lowers nothing, whatever the server says.
    #[test]
    fn hints_that_only_raise_never_lower_a_decision(
        tool in "(get|list|delete|send|frob|run)_(user|all|x)",
        destructive in prop::option::of(Just(true)), read_only in prop::option::of(Just(false)),
        server in prop::option::of((any::<Option<bool>>(), any::<Option<bool>>())),
        mode in prop::sample::select(vec![Mode::All, Mode::Cautious, Mode::Destructive, Mode::Annotated, Mode::None]),
    ) {
        let server = server.map(|(destructive, read_only)| ToolAnnotations {
            destructive_hint: destructive, read_only_hint: read_only, ..ToolAnnotations::default()
        });
        let hints = ToolAnnotations { destructive_hint: destructive, read_only_hint: read_only, ..ToolAnnotations::default() };
        let action = |hints: Option<ToolAnnotations>| {
            let custom_annotations = hints.into_iter().map(|hints| (tool.clone(), hints)).collect();
            let policy = Policy::new(Rules { mode, custom_annotations, ..Rules::default() }).unwrap();
            policy.decide(&tool, Listing::Listed(server.as_ref())).action
        };
        if action(None) == Action::Ask {
            prop_assert_eq!(action(Some(hints)), Action::Ask);
        }
    }
}

fn read_floor(members: &str) -> Layer {
    let text = format!(r#"{{"floor": {{{members}}}}}"#);
    let config = UserConfig::parse(Path::new("f"), text.as_bytes());
    config.unwrap().floor.unwrap()
}
