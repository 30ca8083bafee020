//! Edits one entry: puts approval-proxy in front of a server, changes its options, takes it away again.
//!
//! `server` says what an entry is; `plan` decides which entries to edit.

use std::borrow::Cow;
use std::path::Path;

use super::client::Form;
use super::edits::Edits;
use super::server::{HEADER_KEYS, Kind, Server, URL_KEYS, UrlOf, Words};
use super::syntax::{Member, Node, Value};
use crate::config::{UrlType, Word as _, names_sse};

/// What to write in front of a server.
#[derive(Debug, Clone)]
pub(super) struct Guard<'g> {
    /// The program, as a client is to start it.
    pub(super) program: &'g str,
    /// `--mode`.
    pub(super) mode: Option<&'g str>,
}

/// What happened to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edited {
    /// The edits are made.
    Yes,
    /// There is nothing to do. Holds the reason.
    No(String),
}

impl Guard<'_> {
    /// Puts us in front of a server, or changes the options of one that we guard.
    pub(super) fn wrap(&self, server: &Server<'_>, form: &Form, edits: &mut Edits<'_>) -> Edited {
        if server.name().trim().is_empty() {
            return Edited::No("it has no name".to_owned());
        }
        match &server.kind {
            Kind::Kept(why) => Edited::No(why.clone()),
            Kind::Guarded(words) => self.change(words, edits),
            Kind::Stdio(words) => {
                self.wrap_command(server.name(), words, edits);
                Edited::Yes
            }
            Kind::Url(url) => {
                self.wrap_url(server, *url, form, edits);
                Edited::Yes
            }
        }
    }

    fn options(&self, name: &str) -> Vec<String> {
        let mut options = match name.starts_with('-') {
            true => vec![format!("--name={name}")],
            false => vec!["--name".to_owned(), name.to_owned()],
        };
        if let Some(mode) = self.mode {
            options.extend(["--mode".to_owned(), mode.to_owned()]);
        }
        options
    }

    fn wrap_command(&self, name: &str, words: &Words<'_>, edits: &mut Edits<'_>) {
        let syntax = edits.syntax();
        let mut new: Vec<String> = self.options(name);
        new.push("--".to_owned());
        let mut new: Vec<String> = new.iter().map(|word| syntax.literal(word)).collect();
        if words.is_array() {
            new.insert(0, syntax.literal(self.program));
            return edits.insert_before(words.program, &new);
        }
        new.push(edits.raw(words.program).to_owned());
        edits.replace_by_text(words.program, self.program);
        match words.list {
            None => {
                let list = edits.list(&new);
                edits.insert_after(words.command, &[("args", list)]);
            }
            Some(list) if list.node.elements().is_some() => edits.prepend(&list.node, &new),
            Some(list) => {
                let text = edits.list(&new);
                edits.replace(list.node.at.clone(), text);
            }
        }
    }

    fn wrap_url(&self, server: &Server<'_>, url: UrlOf<'_>, form: &Form, edits: &mut Edits<'_>) {
        let UrlOf {
            member: url,
            url_type,
        } = url;
        let entry = &server.member.node;
        let syntax = edits.syntax();
        let mut words = self.options(server.name());
        let mut variables = Variables::default();
        // What other headers and the login come from is set by somebody else.
        for (_, variable) in by_name(entry) {
            variables.0.push(variable.to_owned());
        }
        variables.0.extend(bearer_of(entry).map(str::to_owned));
        let mut made = Vec::new();
        let text = url.node.text().unwrap_or_default();
        if may_be_secret(text) {
            let variable = variables.name("MCP_SERVER_URL");
            words.extend(["--url-env".to_owned(), variable.clone()]);
            made.push((variable, edits.raw(&url.node).to_owned()));
        } else {
            words.extend(["--url".to_owned(), text.to_owned()]);
        }
        if let Some(kind) = url_type {
            words.extend(["--url-type".to_owned(), kind.word().to_owned()]);
        }
        let mut forwarded = Vec::new();
        let mut headers = HEADER_KEYS.iter().filter_map(|key| entry.get(key));
        let headers = headers.find(|member| !member.node.members().is_empty());
        for header in headers.iter().flat_map(|member| member.node.members()) {
            let variable = variables.name(&format!("MCP_HEADER_{}", as_variable(&header.key)));
            words.extend([
                "--header-env".to_owned(),
                format!("{}={variable}", header.key),
            ]);
            edits.rename(header, &variable);
        }
        for (header, variable) in by_name(entry) {
            words.extend(["--header-env".to_owned(), format!("{header}={variable}")]);
            forwarded.push(variable.to_owned());
        }
        if let Some(variable) = bearer_of(entry) {
            words.extend(["--bearer-env".to_owned(), variable.to_owned()]);
            forwarded.push(variable.to_owned());
        }
        let literals = |words: &[String]| -> Vec<String> {
            words.iter().map(|word| syntax.literal(word)).collect()
        };
        let mut new = match form.is_array {
            true => {
                words.insert(0, self.program.to_owned());
                vec![("command", edits.list(&literals(&words)))]
            }
            false => vec![
                ("command", syntax.literal(self.program)),
                ("args", edits.list(&literals(&words))),
            ],
        };
        if !forwarded.is_empty() {
            forwarded.sort();
            forwarded.dedup();
            new.push(("env_vars", edits.list(&literals(&forwarded))));
        }
        match headers {
            Some(member) => {
                edits.rename(member, form.env);
                let made = made
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.clone()));
                let made: Vec<_> = made.collect();
                edits.append_to_renamed(member, form.env, &made);
            }
            None => {
                for (variable, value) in &made {
                    let key = syntax.key(variable);
                    let text = format!("{{ {key}{}{value} }}", syntax.assignment());
                    new.push((form.env, text));
                }
            }
        }
        edits.replace_member(url, &new);
        for key in ["type", "transport"] {
            if let Some(member) = entry.get(key) {
                edits.replace_by_text(&member.node, form.stdio);
            }
        }
        let is_kept = |member: &Member| {
            headers.is_some_and(|headers| headers.key == member.key) || member.key == url.key
        };
        edits.remove(entry.members(), |member| {
            !is_kept(member) && is_taken(&member.key, form)
        });
    }

    /// Changes the options of an entry that we guard already.
    fn change(&self, words: &Words<'_>, edits: &mut Edits<'_>) -> Edited {
        let program = words.program.text().unwrap_or_default();
        let path = Path::new(program);
        let is_gone = path.is_absolute() && program != self.program && !path.exists();
        if is_gone {
            edits.replace_by_text(words.program, self.program);
        }
        match self.change_mode(words, edits) {
            Edited::No(_) if is_gone => Edited::Yes,
            done @ (Edited::Yes | Edited::No(_)) => done,
        }
    }

    fn change_mode(&self, words: &Words<'_>, edits: &mut Edits<'_>) -> Edited {
        let Some(mode) = self.mode else {
            return Edited::No(DONE.to_owned());
        };
        let texts = words.texts();
        let Some(options) = Options::read(&texts) else {
            return Edited::No(
                "it is guarded already, by a file of its own; set `mode` in that file".to_owned(),
            );
        };
        let literal = edits.syntax().literal(mode);
        match (
            options.mode,
            options.mode_at.and_then(|at| words.args.get(at)),
        ) {
            (Some(known), _) if known == mode => return Edited::No(DONE.to_owned()),
            (Some(_), Some(node))
                if node.text().is_some_and(|text| text.starts_with("--mode=")) =>
            {
                edits.replace_by_text(node, &format!("--mode={mode}"));
            }
            (Some(_), Some(node)) => edits.replace(node.at.clone(), literal),
            _ => {
                let new = [edits.syntax().literal("--mode"), literal];
                match words.args.first() {
                    Some(first) => edits.insert_before(first, &new),
                    None => return Edited::No(DONE.to_owned()),
                }
            }
        }
        Edited::Yes
    }
}

/// The headers of an entry of Codex whose values are those of variables, each with its variable.
fn by_name(entry: &Node) -> impl Iterator<Item = (&str, &str)> {
    let headers = entry.get("env_http_headers").into_iter();
    let headers = headers.flat_map(|member| member.node.members());
    headers.filter_map(|header| Some((header.key.as_str(), header.node.text()?)))
}

/// The variable of Codex that holds the token.
fn bearer_of(entry: &Node) -> Option<&str> {
    entry.get("bearer_token_env_var")?.node.text()
}

/// An entry from before it was guarded.
#[derive(Debug)]
pub(super) struct Original<'o> {
    /// A text that contains it.
    pub(super) text: Cow<'o, str>,
    pub(super) entry: Node,
}

/// Takes us away from an entry that we guard. `original` is the entry from before, if it is known: it says what the
/// client called its keys.
pub(super) fn unwrap(
    server: &Server<'_>,
    form: &Form,
    original: Option<&Original<'_>>,
    edits: &mut Edits<'_>,
) -> Edited {
    let Kind::Guarded(words) = &server.kind else {
        return Edited::No("it is not guarded".to_owned());
    };
    let texts = words.texts();
    let Some(options) = Options::read(&texts) else {
        return Edited::No(
            "it runs approval-proxy with a file of its own; put the server of that file here"
                .to_owned(),
        );
    };
    match options.target {
        Target::Command(at) => unwrap_command(server, words, at, original, edits),
        Target::Url(url) => unwrap_url(server, words, &options, url, form, original, edits),
        Target::UrlOf(variable) => {
            let entry = &server.member.node;
            let env = env_of(entry);
            let value = env.and_then(|env| env.node.get(variable));
            match value.map(|value| edits.raw(&value.node).to_owned()) {
                Some(literal) => unwrap_url_literal(
                    server,
                    words,
                    &options,
                    literal,
                    Some(variable),
                    form,
                    original,
                    edits,
                ),
                None => Edited::No(format!(
                    "its URL is in the variable `{variable}`, which the entry does not set"
                )),
            }
        }
    }
}

fn unwrap_command(
    server: &Server<'_>,
    words: &Words<'_>,
    at: usize,
    original: Option<&Original<'_>>,
    edits: &mut Edits<'_>,
) -> Edited {
    let Some(program) = words.args.get(at + 1) else {
        return Edited::No("there is no command behind `--`".to_owned());
    };
    if words.is_array() {
        let elements = words.command.node.elements().unwrap_or_default();
        // Our program, and everything up to `--`.
        edits.remove_first(elements, at + 2);
        return Edited::Yes;
    }
    let raw = edits.raw(program).to_owned();
    edits.replace(words.program.at.clone(), raw);
    let original_args = original.and_then(|original| {
        let entry = &original.entry;
        let inner = entry.get("command").map(|command| &command.node);
        let mut places = [Some(entry), inner].into_iter().flatten();
        places.find_map(|place| place.get("args"))
    });
    match (words.args.len() > at + 2, original_args, words.list) {
        (true, ..) => edits.remove_first(words.args, at + 2),
        (false, Some(args), Some(list)) => {
            let empty = match args.node.value == Value::Null {
                true => "null",
                false => "[]",
            };
            edits.clear(&list.node, empty);
        }
        // We wrote the list.
        (false, ..) => {
            let entry = &server.member.node;
            let members = match entry.get("args") {
                Some(_) => entry.members(),
                None => entry
                    .get("command")
                    .map_or(&[][..], |command| command.node.members()),
            };
            edits.remove(members, |member| member.key == "args");
        }
    }
    Edited::Yes
}

fn unwrap_url(
    server: &Server<'_>,
    words: &Words<'_>,
    options: &Options<'_>,
    url: &str,
    form: &Form,
    original: Option<&Original<'_>>,
    edits: &mut Edits<'_>,
) -> Edited {
    let literal = edits.syntax().literal(url);
    unwrap_url_literal(server, words, options, literal, None, form, original, edits)
}

#[expect(
    clippy::too_many_arguments,
    reason = "one caller for a URL in an argument, one for a URL in a variable"
)]
fn unwrap_url_literal(
    server: &Server<'_>,
    words: &Words<'_>,
    options: &Options<'_>,
    literal: String,
    url_variable: Option<&str>,
    form: &Form,
    original: Option<&Original<'_>>,
    edits: &mut Edits<'_>,
) -> Edited {
    let entry = &server.member.node;
    let syntax = edits.syntax();
    let url = match url_variable {
        Some(variable) => env_of(entry)
            .and_then(|env| env.node.get(variable)?.node.text())
            .unwrap_or_default(),
        None => options.url().unwrap_or_default(),
    };
    let had = |keys: &[&'static str]| {
        let original = original?;
        keys.iter()
            .copied()
            .find(|key| original.entry.get(key).is_some())
    };
    let is_sse = match options.url_type {
        Some(kind) => kind == UrlType::Sse.word(),
        None => names_sse(url),
    };
    let usual_key = match is_sse && form.is_url_sse {
        true => "url",
        false => form.remote.url,
    };
    let url_key = had(&URL_KEYS).unwrap_or(usual_key);
    let headers_key = had(&HEADER_KEYS).unwrap_or(form.remote.headers);
    let env = env_of(entry);
    let set = |variable: &str| env.and_then(|env| env.node.get(variable));
    let mut new = vec![(url_key, literal)];
    let mut by_name = Vec::new();
    let mut ours: Vec<(&str, &Member)> = Vec::new();
    for (header, variable) in &options.headers {
        match set(variable) {
            Some(member) => ours.push((header, member)),
            None => by_name.push(format!(
                "{}{}{}",
                syntax.key(header),
                syntax.assignment(),
                syntax.literal(variable)
            )),
        }
    }
    if !by_name.is_empty() {
        new.push(("env_http_headers", format!("{{ {} }}", by_name.join(", "))));
    }
    if let Some(variable) = options.bearer {
        new.push(("bearer_token_env_var", syntax.literal(variable)));
    }
    let is_ours = |member: &Member| {
        ours.iter().any(|(_, our)| our.key == member.key)
            || Some(member.key.as_str()) == url_variable
    };
    let mut removes_env = false;
    let mut renames_env = false;
    if let Some(env) = env {
        if env.node.members().iter().all(is_ours) {
            removes_env = ours.is_empty();
            renames_env = !removes_env;
            if renames_env {
                edits.rename(env, headers_key);
                for (header, member) in &ours {
                    edits.rename(member, header);
                }
                edits.remove(env.node.members(), |member| {
                    Some(member.key.as_str()) == url_variable
                });
            }
        } else {
            let headers: Vec<String> = ours
                .iter()
                .map(|(header, member)| {
                    let value = edits.raw(&member.node);
                    format!("{}{}{value}", syntax.key(header), syntax.assignment())
                })
                .collect();
            if !headers.is_empty() {
                new.push((headers_key, format!("{{ {} }}", headers.join(", "))));
            }
            edits.remove(env.node.members(), is_ours);
        }
    }
    let usual = match form.remote.kind {
        Some("remote") => "remote",
        _ if is_sse => "sse",
        usual => usual.unwrap_or("http"),
    };
    let kinds = ["type", "transport"];
    for member in kinds.iter().filter_map(|key| entry.get(key)) {
        let word = original.and_then(|original| original.entry.get(&member.key)?.node.text());
        edits.replace_by_text(&member.node, word.unwrap_or(usual));
    }
    let is_named = kinds.iter().any(|key| entry.get(key).is_some());
    if original.is_none() && !is_named && form.remote.kind.is_some() {
        new.push(("type", syntax.literal(usual)));
    }
    let forwards = options.bearer.is_some() || !by_name.is_empty();
    let goes = |member: &Member| {
        member.key == "args"
            || member.key == "env_vars" && forwards
            || removes_env && env.is_some_and(|env| env.key == member.key)
            || member.key == words.command.key
    };
    if let Some(original) = original.filter(|original| has_url(original, url)) {
        let taken = original.entry.members().iter().filter(|member| {
            let key = member.key.as_str();
            let stays = |member: &Member| {
                let is_env = env.is_some_and(|env| env.key == member.key);
                !(goes(member) || renames_env && is_env)
            };
            let is_there = entry.get(key).is_some_and(stays)
                || new.iter().any(|(new, _)| *new == key)
                || key == headers_key && !ours.is_empty();
            !is_there && is_taken(key, form)
        });
        let taken = taken.map(|member| {
            let value = syntax.in_one_line(&original.text, &member.node);
            (member.key.as_str(), value)
        });
        new.extend(taken.collect::<Vec<_>>());
    }
    edits.replace_member(words.command, &new);
    edits.remove(entry.members(), |member| {
        goes(member) && member.key != words.command.key
    });
    Edited::Yes
}

/// Returns true if an entry is that of the server at `url`: what a guard took from it belongs to that server.
fn has_url(original: &Original<'_>, url: &str) -> bool {
    let urls = URL_KEYS.iter().filter_map(|key| original.entry.get(key));
    urls.into_iter().any(|known| known.node.text() == Some(url))
}

/// Returns true if a remote entry loses this key when it is guarded.
fn is_taken(key: &str, form: &Form) -> bool {
    form.remote_only.contains(&key) || REMOTE_KEYS.contains(&key)
}

fn env_of(entry: &Node) -> Option<&Member> {
    let env = ["env", "environment"].iter().find_map(|key| entry.get(key));
    env.filter(|env| env.node.is_map())
}

/// Our own options in an entry.
#[derive(Debug)]
struct Options<'w> {
    mode: Option<&'w str>,
    /// Which argument holds the mode.
    mode_at: Option<usize>,
    headers: Vec<(&'w str, &'w str)>,
    bearer: Option<&'w str>,
    url_type: Option<&'w str>,
    target: Target<'w>,
}

#[derive(Debug, Clone, Copy)]
enum Target<'w> {
    /// Which argument is `--`.
    Command(usize),
    Url(&'w str),
    /// The variable that holds the URL.
    UrlOf(&'w str),
}

impl<'w> Options<'w> {
    /// Returns the URL of `--url`.
    fn url(&self) -> Option<&'w str> {
        match self.target {
            Target::Url(url) => Some(url),
            Target::Command(_) | Target::UrlOf(_) => None,
        }
    }

    /// Reads the arguments of an entry; `None` if they name no server, so a file does.
    fn read(words: &[&'w str]) -> Option<Options<'w>> {
        let (mut mode, mut mode_at, mut bearer, mut target) = (None, None, None, None);
        let mut url_type = None;
        let mut headers = Vec::new();
        let mut at = 0;
        while let Some(&word) = words.get(at) {
            if word == "--" {
                target = Some(Target::Command(at));
                break;
            }
            let (flag, value, value_at) = match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag, Some(value), at),
                Some(_) | None => (word, words.get(at + 1).copied(), at + 1),
            };
            at += 1;
            let Some(value) = value else { continue };
            match flag {
                "--mode" | "-m" => (mode, mode_at) = (Some(value), Some(value_at)),
                "--header-env" => headers.extend(value.split_once('=')),
                "--bearer-env" => bearer = Some(value),
                "--url-type" => url_type = Some(value),
                "--url" => target = Some(Target::Url(value)),
                "--url-env" => target = Some(Target::UrlOf(value)),
                "--name" => {}
                _ => continue,
            }
            at = value_at + 1;
        }
        Some(Options {
            mode,
            mode_at,
            headers,
            bearer,
            url_type,
            target: target?,
        })
    }
}

const DONE: &str = "it is guarded already";

/// Names of environment variables that are not used yet.
#[derive(Debug, Default)]
struct Variables(Vec<String>);

impl Variables {
    fn name(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut number = 2;
        while self.0.contains(&name) {
            name = format!("{wanted}_{number}");
            number += 1;
        }
        self.0.push(name.clone());
        name
    }
}

fn as_variable(header: &str) -> String {
    let upper = header.chars().map(|c| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_uppercase(),
        false => '_',
    });
    upper.collect()
}

/// Returns true for a URL that must not stand in an argument, which every user of the machine can read. The client may
/// put anything in the place of a variable.
fn may_be_secret(url: &str) -> bool {
    let has_variable = url.contains(['$', '{']);
    let parsed = reqwest::Url::parse(url.trim());
    has_variable
        || parsed.is_ok_and(|url| {
            url.query().is_some()
                || url.fragment().is_some()
                || !url.username().is_empty()
                || url.password().is_some()
        })
}

/// Returns true if the client may log in at the server of this entry by itself, which it does not do for a server over
/// stdio.
pub(super) fn uses_login_of_client(server: &Server<'_>) -> bool {
    let entry = &server.member.node;
    let has_key = entry.get("bearer_token_env_var").is_some()
        || HEADER_KEYS
            .iter()
            .filter_map(|key| entry.get(key))
            .any(|headers| {
                let mut headers = headers.node.members().iter();
                headers.any(|header| header.key.eq_ignore_ascii_case("authorization"))
            });
    matches!(server.kind, Kind::Url(_)) && !has_key
}

/// Keys of a remote entry that go, and those that another kind of entry has with an empty value.
const REMOTE_KEYS: [&str; 12] = [
    "url",
    "serverUrl",
    "httpUrl",
    "headers",
    "http_headers",
    "env_http_headers",
    "bearer_token_env_var",
    "command",
    "args",
    "env",
    "environment",
    "env_vars",
];
