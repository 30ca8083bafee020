//! Compares the schema with what the proxy reads.

use boon::{Compiler, SchemaIndex, Schemas};

use super::*;
use crate::config::jsonc;
use crate::config::section::tests::SAMPLES;
use crate::config::settings::tests::documents::pages;

struct Checker(Schemas, SchemaIndex);

impl Checker {
    fn of_user_configurations() -> Checker {
        Checker::compile(user_schema())
    }

    fn new() -> Checker {
        Checker::compile(schema())
    }

    fn compile(schema: Json) -> Checker {
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.add_resource("mem://config", schema).unwrap();
        let compiled = compiler.compile("mem://config", &mut schemas).unwrap();
        Checker(schemas, compiled)
    }

    /// Returns why `file` does not match the schema.
    fn fault(&self, file: &Json) -> Option<String> {
        let fault = self.0.validate(file, self.1).err();
        fault.map(|error| error.to_string())
    }
}

fn file(section: Section, member: &str) -> Json {
    let (rules, proxy) = match section {
        Section::Rules => (member, ""),
        Section::Proxy => ("", member),
        Section::Floor => panic!("a config file has no floor"),
    };
    let text = format!(
        r#"{{"mcpServers":{{"s":{{"command":"c","approvalRules":{{{rules}}}}}}},"approvalProxy":{{{proxy}}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

/// Returns the JSON of a page's code blocks in one of `languages`.
fn examples(page: &str, languages: [&str; 2]) -> Vec<Json> {
    let mut found = Vec::new();
    for language in languages {
        for block in page.split(&format!("```{language}\n")).skip(1) {
            let text = block.split("```").next().unwrap();
            let text = jsonc::to_json(text.as_bytes()).unwrap_or_else(|_| panic!("{text}"));
            let text = String::from_utf8(text).unwrap();
            // Some examples show one member of a file.
            let whole = serde_json::from_str(&text);
            let read = whole.or_else(|_| serde_json::from_str(&format!("{{{text}}}")));
            // Records are JSON, too, but not a config.
            found.extend(read.ok().filter(|read: &Json| read.get("seq").is_none()));
        }
    }
    found
}

#[test]
fn the_examples_fit() {
    let checker = Checker::new();
    let mut files = Vec::new();
    for (_, page) in pages() {
        let page = page.replace("sha256:…", &format!("sha256:{}", "0".repeat(64)));
        files.extend(examples(&page, ["jsonc", "json"]));
    }
    assert!(files.len() > 6, "{}", files.len());
    let example = include_str!("../../../proxy.example.json");
    files.push(serde_json::from_str(example).unwrap());
    for file in files {
        assert_eq!(checker.fault(&file), None, "{file}");
    }
}

#[test]
fn every_good_value_fits_and_a_bad_one_is_refused_if_a_schema_can_tell() {
    let checker = Checker::new();
    // A schema cannot check the syntax of a glob or a regular expression.
    const NOT_CHECKED: [&str; 2] = [r#"["[a"]"#, r#"{"patterns":["("]}"#];
    for sample in SAMPLES {
        let is_its = |row: &&Setting| row.key() == Some(sample.key);
        let setting = SETTINGS.iter().find(is_its).unwrap();
        for section in [Section::Rules, Section::Proxy] {
            let with =
                |json: &str| checker.fault(&file(section, &format!(r#""{}":{json}"#, sample.key)));
            let good = with(sample.json);
            assert_eq!(
                good.is_none(),
                section.takes(setting),
                "{}: {good:?}",
                sample.key
            );
            for bad in sample.bad.iter().filter(|bad| !NOT_CHECKED.contains(bad)) {
                assert!(with(bad).is_some(), "{}: {bad}", sample.key);
            }
        }
    }
}

#[test]
fn every_default_fits_its_own_schema() {
    let checker = Checker::new();
    for setting in SETTINGS {
        let (Some(key), Fallback::Value(_)) = (setting.key(), setting.fallback) else {
            continue;
        };
        let default = default_of(setting, &setting.schema()).unwrap();
        let sections = [Section::Rules, Section::Proxy];
        let section = sections.into_iter().find(|section| section.takes(setting));
        let file = file(section.unwrap(), &format!(r#""{key}":{default}"#));
        assert_eq!(checker.fault(&file), None, "{file}");
    }
}

#[test]
fn every_form_of_a_file_fits_and_keys_of_others_are_left_alone() {
    let checker = Checker::new();
    for file in [
        json!({"command": "c", "approvalRules": {"mode": "all"}}),
        json!([{"name": "a", "command": "c", "approvalRules": {"mode": "all"}}]),
        json!({"servers": {"a": {"url": "http://x", "timeout": "1m"}, "//": "a comment"}}),
        json!({"context_servers": [{"name": "a", "command": "c"}], "theme": {"mode": 1}}),
        json!({"mcpServers": {}, "approvalProxy": null}),
    ] {
        assert_eq!(checker.fault(&file), None, "{file}");
    }
    for file in [
        json!({"command": "c", "approvalRules": {"Mode": "all"}}),
        json!([{"command": "c", "approvalRules": {"dryRun": true}}]),
        json!({"servers": {"a": {"approvalRules": []}}}),
        json!({"mcpServers": {}, "approvalProxy": {"mode": "all"}}),
    ] {
        assert!(checker.fault(&file).is_some(), "{file}");
    }
}

#[test]
fn the_schema_of_user_configurations_takes_and_refuses_what_the_proxy_does() {
    use std::path::Path;

    use crate::config::user_config::UserConfig;

    let checker = Checker::of_user_configurations();
    for (text, is_good) in [
        (r#"{}"#, true),
        (
            r#"{"$schema": "x", "approvalProxy": {"auditLog": "a"}}"#,
            true,
        ),
        (
            r#"{"servers": {"*": {"mode": "all"}, "files": {"alwaysAllow": ["x"]}}}"#,
            true,
        ),
        (
            r#"{"floor": {"mode": "all", "denyPatterns": ["x_*"], "engines": ["inbox"]}}"#,
            true,
        ),
        (r#"{"server": {}}"#, false),
        (r#"{"servers": {"files": {"dryRun": true}}}"#, false),
        (r#"{"approvalProxy": {"mode": "all"}}"#, false),
        (r#"{"floor": {"alwaysAllow": ["x"]}}"#, false),
        (r#"{"floor": {"mode": "sometimes"}}"#, false),
        (r#"[]"#, false),
    ] {
        let read = UserConfig::parse(Path::new("config.json"), text.as_bytes());
        assert_eq!(read.is_ok(), is_good, "{text}");
        let file = serde_json::from_str(text).unwrap();
        let fault = checker.fault(&file);
        assert_eq!(fault.is_none(), is_good, "{text}: {fault:?}");
    }
}
