//! What `doctor` found: its findings, and their form for people and for programs.
//!
//! The checks decide what a finding is.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::approvals::escape_json;
use super::super::columns::Layout;
use crate::clients::{Client, FoundFile, FoundServer, Scope};
use crate::config::escaped;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// It works.
    Ok,
    /// It works, and could be better.
    Advice,
    /// It does not work.
    Problem,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Check {
    State,
    Configuration,
    Inbox,
    Passphrase,
    Engines,
    Audit,
    Browser,
    Clients,
}

impl Check {
    /// The heading in the report for people. Clients have a heading for each file.
    fn title(self) -> &'static str {
        match self {
            Check::State => "State folder",
            Check::Configuration => "User configuration",
            Check::Inbox => "Inbox page",
            Check::Passphrase => "Passphrase",
            Check::Engines => "Engines",
            Check::Audit => "Audit log",
            Check::Browser => "Browser",
            Check::Clients => "Clients",
        }
    }
}

/// One sentence about one thing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Finding {
    pub(super) check: Check,
    pub(super) level: Level,
    /// The sentence.
    pub(super) what: String,
    /// What to do about it; `None` if it works.
    pub(super) fix: Option<String>,
    #[serde(flatten)]
    pub(super) place: Option<Place>,
}

/// The file, and the server in it, that a finding is about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Place {
    pub(super) client: &'static str,
    pub(super) file: String,
    #[serde(skip)]
    heading: String,
    /// Where it stands: the file, then the server in it.
    #[serde(skip)]
    order: (usize, usize),
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) project: Option<String>,
}

impl Place {
    /// A whole file, the one with this `number`. `shown` is its path for people.
    pub(super) fn file(client: &Client, file: &FoundFile, shown: &str, number: usize) -> Place {
        Place {
            client: client.name,
            file: file.path.display().to_string(),
            heading: format!("{} ({}): {shown}", client.title, client.name),
            order: (number, 0),
            server: None,
            project: None,
        }
    }

    /// A server in it, the one with this `number`.
    pub(super) fn server(&self, server: &FoundServer, number: usize) -> Place {
        Place {
            order: (self.order.0, number),
            server: Some(server.name.clone()),
            project: server.project.clone(),
            ..self.clone()
        }
    }
}

impl Finding {
    pub(super) fn ok(check: Check, what: impl Into<String>) -> Finding {
        Finding {
            check,
            level: Level::Ok,
            what: what.into(),
            fix: None,
            place: None,
        }
    }

    pub(super) fn advice(check: Check, what: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding {
            level: Level::Advice,
            fix: Some(fix.into()),
            ..Finding::ok(check, what)
        }
    }

    pub(super) fn problem(
        check: Check,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        Finding {
            level: Level::Problem,
            ..Finding::advice(check, what, fix)
        }
    }

    /// A problem that an error of ours describes. Such a text ends with what to do.
    pub(super) fn of_error(check: Check, error: &str) -> Finding {
        match error.rsplit_once("; ") {
            Some((what, fix)) => Finding::problem(check, what, fix),
            None => Finding::problem(
                check,
                error,
                "correct it, then run `approval-proxy doctor` again",
            ),
        }
    }

    pub(super) fn at(self, place: &Place) -> Finding {
        Finding {
            place: Some(place.clone()),
            ..self
        }
    }
}

/// A server, for programs.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ServerReport {
    pub(super) client: &'static str,
    pub(super) file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) project: Option<String>,
    pub(super) scope: &'static str,
    pub(super) name: String,
    pub(super) kind: Option<&'static str>,
    pub(super) guarded: bool,
    pub(super) disabled: bool,
    pub(super) status: Status,
    /// How long it took to start and to list its tools.
    pub(super) seconds: Option<f64>,
    /// The names of its tools; `null` if it has not listed them.
    pub(super) tools: Option<Vec<String>>,
    /// The tools that a person would be asked about; `null` if nobody can know.
    pub(super) asked: Option<Vec<String>>,
    /// The tools that would be refused.
    pub(super) blocked: Option<Vec<String>>,
}

/// What became of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Status {
    /// It has listed its tools.
    #[serde(rename = "works")]
    Works,
    /// It cannot work, or was started and has not listed its tools.
    #[serde(rename = "fails")]
    Fails,
    /// It was not started.
    #[serde(rename = "not started")]
    NotStarted,
}

impl ServerReport {
    pub(super) fn new(file: &FoundFile, server: &FoundServer) -> ServerReport {
        ServerReport {
            client: file.client.name,
            file: file.path.display().to_string(),
            project: server.project.clone(),
            scope: match file.scope {
                Scope::User => "user",
                Scope::Project => "project",
                Scope::Other => "other",
                Scope::Kept(_) => "kept",
            },
            name: server.name.clone(),
            kind: server.kind.map(|kind| kind.as_str()),
            guarded: server.is_guarded,
            disabled: server.is_disabled,
            status: Status::NotStarted,
            seconds: None,
            tools: None,
            asked: None,
            blocked: None,
        }
    }
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
    pub(super) servers: Vec<ServerReport>,
}

impl Report {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Puts what was found last about a server before the rest about it, and all of it in the order of the files.
    pub(super) fn add_results(&mut self, results: Vec<Finding>) {
        self.findings.splice(0..0, results);
        let order = |finding: &Finding| finding.place.as_ref().map(|place| place.order);
        self.findings.sort_by_key(order);
    }

    /// Returns true if nothing that was checked fails.
    pub(super) fn is_sound(&self) -> bool {
        self.count(Level::Problem) == 0
    }

    fn count(&self, level: Level) -> usize {
        let findings = self.findings.iter();
        findings.filter(|finding| finding.level == level).count()
    }

    /// Returns the report for programs.
    pub(super) fn as_json(&self) -> Result<String, serde_json::Error> {
        #[derive(Serialize)]
        struct Json<'r> {
            version: &'static str,
            ok: bool,
            problems: usize,
            advice: usize,
            findings: &'r [Finding],
            servers: &'r [ServerReport],
        }
        let json = Json {
            version: env!("CARGO_PKG_VERSION"),
            ok: self.is_sound(),
            problems: self.count(Level::Problem),
            advice: self.count(Level::Advice),
            findings: &self.findings,
            servers: &self.servers,
        };
        Ok(escape_json(&serde_json::to_string_pretty(&json)?))
    }

    /// Returns the report for people: under a heading for each subject, the findings about it.
    pub(super) fn as_text(&self, layout: Layout) -> String {
        let mut lines = Vec::new();
        let mut headings = BTreeSet::new();
        for finding in &self.findings {
            let heading = heading(finding);
            if !headings.insert(heading.clone()) {
                continue;
            }
            if !lines.is_empty() {
                lines.push(String::new());
            }
            lines.push(layout.heading(&escaped(&heading)));
            let same = self.findings.iter();
            for finding in same.filter(|finding| self::heading(finding) == heading) {
                lines.extend(shown(finding, layout));
            }
        }
        lines.push(String::new());
        lines.push(self.summary());
        lines.join("\n")
    }

    fn summary(&self) -> String {
        let advice = match self.count(Level::Advice) {
            0 => "no advice".to_owned(),
            1 => "1 piece of advice".to_owned(),
            many => format!("{many} pieces of advice"),
        };
        match self.count(Level::Problem) {
            0 => format!("Everything that was checked works; {advice}."),
            1 => format!("1 problem; {advice}."),
            many => format!("{many} problems; {advice}."),
        }
    }
}

fn heading(finding: &Finding) -> String {
    match &finding.place {
        Some(place) => place.heading.clone(),
        None => finding.check.title().to_owned(),
    }
}

fn shown(finding: &Finding, layout: Layout) -> Vec<String> {
    let (word, colour) = match finding.level {
        Level::Ok => ("ok", "32"),
        Level::Advice => ("advice", "33"),
        Level::Problem => ("problem", "1;31"),
    };
    let subject = match finding.place.as_ref() {
        Some(Place {
            server: Some(server),
            project,
            ..
        }) => match project {
            Some(project) => format!("{} (project {}): ", escaped(server), escaped(project)),
            None => format!("{}: ", escaped(server)),
        },
        Some(_) | None => String::new(),
    };
    let level = layout.coloured(&format!("{word:7}"), colour);
    let mut lines = vec![format!("  {level}  {subject}{}", escaped(&finding.what))];
    lines.extend((finding.fix.as_ref()).map(|fix| format!("           fix: {}", escaped(fix))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_grouped_and_escaped_in_both_forms() {
        let mut report = Report::default();
        report.add(Finding::ok(Check::State, "it is there"));
        report.add(Finding::advice(
            Check::Browser,
            "no\u{1b}[31m browser",
            "install\none",
        ));
        report.add(Finding::problem(Check::State, "it is full", "make room"));
        let text = report.as_text(Layout::PLAIN);
        let wanted = "State folder\n  ok       it is there\n  problem  it is full\n           fix: make room\n\n\
                      Browser\n  advice   no\\u{1b}[31m browser\n           fix: install\\none\n\n\
                      1 problem; 1 piece of advice.";
        assert_eq!(text, wanted);
        let json = report.as_json().unwrap();
        assert!(!json.contains('\u{1b}'), "{json}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!(json["findings"][2]["level"], "problem");
        assert_eq!(json["findings"][1]["what"], "no\u{1b}[31m browser");
    }

    #[test]
    fn the_end_of_an_error_is_the_fix() {
        let finding = Finding::of_error(Check::Configuration, "f: /a: bad; or worse; write 1");
        assert_eq!(finding.what, "f: /a: bad; or worse");
        assert_eq!(finding.fix.as_deref(), Some("write 1"));
        assert!(Finding::of_error(Check::Audit, "bad").fix.is_some());
    }
}
