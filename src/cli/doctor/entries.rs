//! The entries of clients' files: what is wrong with one can often be said without starting its server.
//!
//! What remains is a [`Job`] for `servers`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::super::args::{Args, usage_line};
use super::super::options::ProxyOptions;
use super::configuration::of_warning;
use super::lookup::{Lookup, find};
use super::report::{Check, Finding, Level, Place};
use super::{audit, engines, named_config};
use crate::app::probe;
use crate::clients::{CommandLaunch, FoundFile, FoundServer, Launch, Scope, UrlLaunch};
use crate::config::{
    AuditLog, Environment, Flags, ServerChoice, Target, Transport, Word as _, load,
};
use crate::policy::Policy;
use crate::sys::permissions::readable_by_others;
use crate::sys::state_dir::quoted_for_shell;
use crate::sys::with_causes;

/// What the checks of all entries need.
#[derive(Debug)]
pub(super) struct Context<'c> {
    pub(super) environment: &'c Environment,
    /// Our own executable.
    pub(super) program: PathBuf,
    /// Whether to start the servers of the project that we stand in.
    pub(super) starts_projects: bool,
}

/// A server to start.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) place: Place,
    /// Its index in the report.
    pub(super) report: usize,
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) cwd: Option<PathBuf>,
    /// What decides about its calls, if that is known.
    pub(super) policy: Option<Policy>,
    pub(super) kind: JobKind,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JobKind {
    /// approval-proxy, in front of the server. Holds its path if it is another program than this one.
    Guarded(Option<PathBuf>),
    /// The server.
    Server,
    /// A server behind a URL, which this program asks.
    Url,
}

/// The server behind a guarded entry: those of one name share a log and rules.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Behind {
    pub(super) name: String,
    /// What is started or asked. May hold secrets.
    target: String,
    /// Where its log is, unless that is the default.
    log: Option<String>,
}

/// What came of an entry.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) findings: Vec<Finding>,
    pub(super) job: Option<Job>,
    pub(super) behind: Option<Behind>,
}

impl Prepared {
    fn of(finding: Finding) -> Prepared {
        Prepared {
            findings: vec![finding],
            ..Prepared::default()
        }
    }

    /// Returns true if the server cannot work.
    pub(super) fn fails(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.level == Level::Problem)
    }
}

/// Checks what one file is, apart from its entries.
pub(super) fn check_file(file: &FoundFile, place: &Place) -> Vec<Finding> {
    let servers = match &file.servers {
        Err(error) => {
            let finding = Finding::of_error(Check::Clients, &with_causes(error));
            let what = format!("the file cannot be read: {}", finding.what);
            return vec![Finding { what, ..finding }.at(place)];
        }
        Ok(servers) => servers,
    };
    let mut findings = Vec::new();
    if let Scope::Kept(why) = file.scope {
        let what = format!("{why}, so nothing of it was started");
        findings.push(Finding::ok(Check::Clients, what).at(place));
    } else if servers.is_empty() {
        findings.push(Finding::ok(Check::Clients, "it lists no servers").at(place));
    }
    if servers.iter().any(|server| server.holds_values)
        && let Ok(metadata) = file.path.metadata()
        && let Some(exposure) = readable_by_others(&metadata)
        && is_reachable(&file.path)
        && file.scope == Scope::User
    {
        let what =
            format!("other users can read the values of variables and headers in it ({exposure})");
        let fix = format!("chmod go-rwx {}", quoted_for_shell(&file.path));
        findings.push(Finding::advice(Check::Clients, what, fix).at(place));
    }
    findings
}

/// Returns true if other users may enter all folders above a file.
fn is_reachable(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    path.ancestors().skip(1).all(|folder| {
        let mode = folder
            .metadata()
            .map(|metadata| metadata.permissions().mode());
        mode.is_ok_and(|mode| mode & 0o011 != 0)
    })
}

/// Checks an entry, up to starting its server. `report` is its index in the report.
pub(super) fn prepare(
    file: &FoundFile,
    server: &FoundServer,
    place: &Place,
    report: usize,
    context: &Context<'_>,
) -> Prepared {
    let entry = Entry {
        file,
        server,
        report,
        context,
    };
    let mut prepared = entry.prepare(place);
    for finding in &mut prepared.findings {
        finding.place = Some(place.clone());
    }
    prepared
}

struct Entry<'e> {
    file: &'e FoundFile,
    server: &'e FoundServer,
    report: usize,
    context: &'e Context<'e>,
}

impl Entry<'_> {
    fn prepare(&self, place: &Place) -> Prepared {
        let server = self.server;
        if matches!(self.file.scope, Scope::Kept(_)) {
            return Prepared::default();
        }
        if server.is_disabled {
            return Prepared::of(Finding::ok(
                Check::Clients,
                "it is disabled, so it was not started",
            ));
        }
        let mut findings: Vec<Finding> = self.unguarded().into_iter().collect();
        let mut prepared = match &server.launch {
            _ if self.file.scope == Scope::Project && !self.context.starts_projects => {
                Prepared::of(not_started(
                    "it comes with the project in this folder, which somebody else may have written",
                    "read the file; if you trust it, run `approval-proxy doctor --project`",
                ))
            }
            // Said with the reason why it is not guarded.
            Launch::Unknown(_) if server.kept.is_some() => Prepared::default(),
            Launch::Unknown(why) => Prepared::of(not_started(why, "check it in the client")),
            Launch::Url(launch) => self.url(launch, place),
            Launch::Command(launch) => self.command(launch, place),
        };
        findings.append(&mut prepared.findings);
        Prepared {
            findings,
            ..prepared
        }
    }

    fn unguarded(&self) -> Option<Finding> {
        if self.server.is_guarded {
            return None;
        }
        Some(match &self.server.kept {
            Some(why) => Finding::advice(
                Check::Clients,
                format!("it is not guarded and was not started: {why}"),
                "if it has a command or a URL, write the entry by hand; docs/configuration.md shows how",
            ),
            None => Finding::advice(
                Check::Clients,
                "it is not guarded: nobody is asked about its calls",
                self.wrap("wrap"),
            ),
        })
    }

    /// The command that guards the servers of the file, or takes the guards away.
    fn wrap(&self, verb: &str) -> String {
        let file = match self.file.scope {
            Scope::User => self.file.client.name.to_owned(),
            Scope::Project | Scope::Other | Scope::Kept(_) => quoted_for_shell(&self.file.path),
        };
        format!("approval-proxy {verb} {file} --write")
    }

    fn policy(&self) -> Option<Policy> {
        let config = named_config(&self.server.name, self.context.environment);
        config.ok().map(|config| config.policy)
    }

    fn url(&self, launch: &UrlLaunch, place: &Place) -> Prepared {
        const URL: &str = "MCP_SERVER_URL";
        // We ask the URL as a proxy does, which needs a valid configuration.
        let Some(policy) = self.policy() else {
            return Prepared::of(not_started(
                "the configuration of approval-proxy is not valid",
                "correct the configuration first; see above",
            ));
        };
        let mut args: Vec<OsString> = vec!["--url-env".into(), URL.into()];
        if let Some(kind) = launch.url_type {
            args.extend(["--url-type".into(), kind.word().into()]);
        }
        let mut env = BTreeMap::from([(URL.to_owned(), launch.url.expose().to_owned())]);
        for (number, (header, value)) in launch.headers.iter().enumerate() {
            let variable = format!("MCP_HEADER_{number}");
            args.extend(["--header-env".into(), format!("{header}={variable}").into()]);
            env.insert(variable, value.expose().to_owned());
        }
        env.insert(probe::VARIABLE.to_owned(), "1".to_owned());
        Prepared {
            job: Some(Job {
                place: place.clone(),
                report: self.report,
                program: self.context.program.clone().into_os_string(),
                args,
                env,
                cwd: None,
                policy: Some(policy),
                kind: JobKind::Url,
            }),
            ..Prepared::default()
        }
    }

    fn command(&self, launch: &CommandLaunch, place: &Place) -> Prepared {
        let mut prepared = Prepared::default();
        let found = match self.find_program(launch) {
            Ok(found) => found,
            Err(finding) => {
                prepared.findings.push(*finding);
                return prepared;
            }
        };
        let mut env: BTreeMap<String, String> = (launch.env.iter())
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect();
        let (policy, kind) = match self.server.is_guarded {
            false => (self.policy(), JobKind::Server),
            true => {
                let Some(policy) = self.guarded(launch, &mut prepared) else {
                    return prepared;
                };
                // The entry's own variables win, as for the client.
                for (name, value) in self.context.environment.ours() {
                    env.entry(name.to_owned())
                        .or_insert_with(|| value.expose().to_owned());
                }
                env.insert(probe::VARIABLE.to_owned(), "1".to_owned());
                let is_other = found
                    .canonicalize()
                    .is_ok_and(|found| found != self.context.program);
                (Some(policy), JobKind::Guarded(is_other.then_some(found)))
            }
        };
        prepared.job = Some(Job {
            place: place.clone(),
            report: self.report,
            program: launch.program.clone().into(),
            args: launch.args.iter().map(OsString::from).collect(),
            env,
            cwd: launch.cwd.clone(),
            policy,
            kind,
        });
        prepared
    }

    /// Finds the program that the client would start.
    fn find_program(&self, launch: &CommandLaunch) -> Result<PathBuf, Box<Finding>> {
        if let Some(cwd) = launch.cwd.as_deref().filter(|cwd| !cwd.is_dir()) {
            let cwd = cwd.display();
            return Err(Box::new(match self.server.project {
                Some(_) => not_started(
                    &format!("the folder of its project, `{cwd}`, is gone"),
                    "remove the project in the client",
                ),
                None => problem(
                    format!("its `cwd`, `{cwd}`, is not a folder"),
                    "correct `cwd`",
                ),
            }));
        }
        let program = launch.program.as_str();
        if program.contains('/') && !program.starts_with('/') && launch.cwd.is_none() {
            let why = format!(
                "its command `{program}` is relative to the folder in which the client starts it, which only the client knows"
            );
            return Err(Box::new(not_started(&why, "write the full path")));
        }
        let own = launch.env.get("PATH").map(|path| path.expose());
        let path = own.or_else(|| self.context.environment.of_another_program("PATH"));
        let cwd = launch.cwd.as_deref().unwrap_or(Path::new("."));
        let found = found(program.as_ref(), path, cwd);
        found.map_err(|why| {
            let fix = match (self.server.is_guarded, program.starts_with('/')) {
                (true, true) => self.wrap("wrap"),
                (true, false) => {
                    "write the full path of approval-proxy, or put it into a folder of `PATH`"
                        .into()
                }
                (false, _) => "install it, or correct `command`".into(),
            };
            Box::new(problem(format!("its command {why}"), fix))
        })
    }

    /// Checks what approval-proxy is told. Returns its policy, unless it cannot start.
    fn guarded(&self, launch: &CommandLaunch, prepared: &mut Prepared) -> Option<Policy> {
        let environment = self.context.environment.with(&launch.env);
        let options = match self.options(launch) {
            Ok(options) => options,
            Err(finding) => {
                prepared.findings.push(*finding);
                return None;
            }
        };
        let flags = options.into_flags();
        prepared.findings.extend(relative(&flags));
        let config = match load(flags, &environment) {
            Ok(config) => config,
            Err(error) => {
                prepared
                    .findings
                    .push(Finding::of_error(Check::Clients, &with_causes(&error)));
                return None;
            }
        };
        let findings = &mut prepared.findings;
        findings.extend(self.server.short_limit.map(|advice| {
            let (what, fix) = advice.rsplit_once("; ").unwrap_or((advice, "raise it"));
            Finding::advice(Check::Clients, what, fix)
        }));
        findings.extend(config.warnings.iter().map(|warning| of_warning(warning)));
        findings.extend(engines::opens_gate(&config));
        findings.extend(engines::out_of_reach(
            &config,
            engines::is_signed(&config.inbox),
        ));
        if let AuditLog::File(log) = &config.audit_log {
            let log = audit::file(log).into_iter();
            findings.extend(log.filter(|finding| finding.level != Level::Ok));
        }
        let target = match &config.server.target {
            Target::Url(target) => target.url.expose().to_owned(),
            Target::Command(target) => {
                let own = target.env.get("PATH").or(launch.env.get("PATH"));
                let own = own.map(|path| path.expose());
                let path = own.or_else(|| environment.of_another_program("PATH"));
                let cwd = target.cwd.as_deref().or(launch.cwd.as_deref());
                let found = found(&target.command, path, cwd.unwrap_or(Path::new(".")));
                match found {
                    Err(why) => findings.push(problem(
                        format!("the command of its server {why}"),
                        format!(
                            "install it, or correct what stands behind `--` in {}",
                            self.file.path.display()
                        ),
                    )),
                    Ok(found) if self.is_ours(&found) => findings.push(Finding::advice(
                        Check::Clients,
                        "it is guarded twice: the server behind approval-proxy is approval-proxy",
                        "remove one of the two from `args`, so that nobody is asked twice",
                    )),
                    Ok(_) => {}
                }
                format!("{:?} {:?}", target.command, target.args)
            }
        };
        prepared.behind = Some(Behind {
            name: config.server.name.clone(),
            target,
            log: match &config.audit_log {
                AuditLog::File(path) => Some(path.display().to_string()),
                AuditLog::StateFolder | AuditLog::Stderr => None,
            },
        });
        (!prepared.fails()).then_some(config.policy)
    }

    /// Reads the options of approval-proxy in an entry.
    fn options(&self, launch: &CommandLaunch) -> Result<ProxyOptions, Box<Finding>> {
        let words = std::iter::once(&launch.program).chain(&launch.args);
        let args = Args::read(words).map_err(|error| {
            let line = usage_line(&error);
            let line = line.trim_end_matches("; see --help");
            let (what, fix) = match line.split_once("; ") {
                Some((what, fix)) => (what, fix.to_owned()),
                None => (line, CORRECT_ARGS.to_owned()),
            };
            let what = format!("approval-proxy does not understand its arguments: {what}");
            Box::new(problem(what, fix))
        })?;
        if args.command.is_some() {
            let what = "it runs a command of approval-proxy that guards no server";
            return Err(Box::new(problem(what, CORRECT_ARGS)));
        }
        let flags = args.options.clone().into_flags();
        match flags.layer.transport.unwrap_or_default() {
            Transport::Stdio => Ok(args.options),
            Transport::Sse | Transport::StreamableHttp => Err(Box::new(problem(
                "its approval-proxy serves HTTP clients, and this client starts it over stdio",
                "remove `--transport` from `args`",
            ))),
        }
    }

    fn is_ours(&self, found: &Path) -> bool {
        let is_named = found.file_name() == Some(OsStr::new("approval-proxy"));
        is_named
            || found
                .canonicalize()
                .is_ok_and(|found| found == self.context.program)
    }
}

/// Advice about paths that mean something else in the folder where the client starts approval-proxy.
fn relative(flags: &Flags) -> Option<Finding> {
    let upstream = match &flags.server {
        ServerChoice::File { upstream, .. } => Some(("--upstream", upstream)),
        ServerChoice::Command { .. } | ServerChoice::Url { .. } | ServerChoice::None { .. } => None,
    };
    let config = flags.layer.config.as_ref().map(|path| ("--config", path));
    let mut paths = upstream.into_iter().chain(config);
    let (flag, path) = paths.find(|(_, path)| path.is_relative() && !path.starts_with("~"))?;
    Some(Finding::advice(
        Check::Clients,
        format!(
            "the path behind `{flag}`, `{}`, is relative to the folder in which the client starts it",
            path.display()
        ),
        "write the full path, or begin it with `~/`",
    ))
}

/// Finds a program. The error says why it cannot be started.
fn found(program: &OsStr, path: Option<&str>, cwd: &Path) -> Result<PathBuf, String> {
    let name = program.to_string_lossy();
    match find(program, path, cwd) {
        Lookup::Found(path) => Ok(path),
        Lookup::Missing if name.contains('/') => Err(format!("`{name}` does not exist")),
        Lookup::Missing => Err(format!("`{name}` is in no folder of `PATH`")),
        Lookup::Folder(path) => Err(format!("`{}` is a folder", path.display())),
        Lookup::NotExecutable(path) => Err(format!(
            "`{}` is not executable; `chmod +x` it",
            path.display()
        )),
    }
}

const CORRECT_ARGS: &str = "correct `args`; docs/configuration.md shows what they look like";

fn not_started(why: &str, fix: &str) -> Finding {
    Finding::advice(Check::Clients, format!("it was not started: {why}"), fix)
}

fn problem(what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding::problem(Check::Clients, what, fix)
}

/// Advice about servers of one name that are not the same, each with its place.
pub(super) fn check_names(all: &[(Place, Behind)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, (place, behind)) in all.iter().enumerate() {
        let earlier = all.get(..at).unwrap_or_default();
        let shares = |other: &Behind| {
            other.name == behind.name && other.log == behind.log && other.target != behind.target
        };
        let other = earlier.iter().find(|(_, other)| shares(other));
        findings.extend(other.map(|(other, _)| {
            let what = format!(
                "another server is called `{}` too ({}), so both have one audit log and the same rules",
                behind.name, other.file
            );
            let fix = "give one of them another name with `--name` in `args`";
            Finding::advice(Check::Clients, what, fix).at(place)
        }));
    }
    findings
}
