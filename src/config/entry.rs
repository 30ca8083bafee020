//! The entry of one server, and the upstream that it describes.
//!
//! Entries belong to other clients too: keys that are not ours are left alone. It starts nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::environment::Environment;
use super::error::{Fault, Problem};
use super::expand::expand;
use super::json::{Node, Object};
use super::keys::Section;
use super::layer::Layer;
use super::nearest::edits;
use super::pointer::Pointer;
use super::value::Value;
use super::word::Word;
use crate::audit::redact::looks_secret;
use crate::secret::Secret;

/// The server that is guarded, and how it is reached.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its name in the config; `upstream` for a file that is one entry.
    pub name: String,
    /// How it is reached.
    pub target: Target,
}

/// How a server is reached.
#[derive(Debug, Clone)]
pub enum Target {
    /// It is started, and spoken to over its stdin and stdout.
    Command(CommandTarget),
    /// It runs somewhere, and is spoken to over HTTP.
    Url(UrlTarget),
}

/// A server that is started.
///
/// `Debug` shows neither arguments nor values of the environment, since both may be secret.
#[derive(Clone)]
pub struct CommandTarget {
    /// The program; not empty, variables expanded, looked up in `PATH` by whoever starts it.
    pub command: String,
    /// Its arguments, variables expanded.
    pub args: Vec<String>,
    /// What its environment holds beside ours, variables expanded.
    pub env: BTreeMap<String, Secret>,
    /// Where it runs; a relative path counts from our own working directory, as with other
    /// clients.
    pub cwd: Option<PathBuf>,
}

impl fmt::Debug for CommandTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandTarget")
            .field("command", &self.command)
            .field("args", &format_args!("[{} hidden]", self.args.len()))
            .field("env", &self.env)
            .field("cwd", &self.cwd)
            .finish()
    }
}

/// A server somewhere else.
#[derive(Debug, Clone)]
pub struct UrlTarget {
    /// Where; variables expanded. It may hold a secret.
    pub url: Secret,
    /// What is sent with every request, variables expanded.
    pub headers: BTreeMap<String, Secret>,
    /// Whether it speaks HTTP+SSE of 2024-11-05 instead of streamable HTTP.
    pub is_sse: bool,
}

/// A server of the config file: its rules are checked, the rest is read when it is chosen.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) rules: Layer,
    /// Where the entry stands in the file.
    at: Pointer,
    object: Object,
}

impl Entry {
    /// Takes the object at `at` as the entry of the server `name`.
    ///
    /// # Errors
    /// Something that is no object, or bad `approvalRules`.
    pub(super) fn new(name: String, at: Pointer, node: Node) -> Result<Entry, Fault> {
        let Node::Object(object) = node else {
            let fault = Fault::from(Problem::Unexpected {
                expected: "the entry of a server, an object with a `command` or a `url`".to_owned(),
                found: node.kind().to_owned(),
            });
            return Err(fault.within(&at));
        };
        let rules = Section::Rules.read_from(&object);
        let rules = rules.map_err(|fault| fault.within(&at))?;
        Ok(Entry {
            name,
            rules,
            at,
            object,
        })
    }

    /// The upstream, with the variables of `environment`. Only the server that is chosen is read
    /// so: what another one lacks is no concern of this run.
    ///
    /// # Errors
    /// A [`Fault`] for a missing command or url, a wrong type, or an unset variable.
    pub(super) fn into_upstream(self, environment: &Environment) -> Result<Upstream, Fault> {
        let at = self.at.clone();
        self.read(environment).map_err(|fault| fault.within(&at))
    }

    fn read(self, environment: &Environment) -> Result<Upstream, Fault> {
        let target = match self.kind(environment)? {
            Kind::Stdio => Target::Command(self.command_target(environment)?),
            Kind::Http => Target::Url(self.url_target(environment, false)?),
            Kind::Sse => Target::Url(self.url_target(environment, true)?),
        };
        Ok(Upstream {
            target,
            name: self.name,
        })
    }

    fn command_target(&self, environment: &Environment) -> Result<CommandTarget, Fault> {
        let command = self.text("command")?.ok_or_else(|| self.lacks("command"))?;
        let command = expand(&command, environment).map_err(under("command"))?;
        if command.trim().is_empty() {
            let empty = Problem::Unexpected {
                expected: "the program to start".to_owned(),
                found: "an empty string".to_owned(),
            };
            return Err(under("command")(empty));
        }
        Ok(CommandTarget {
            command,
            args: self.args(environment)?,
            env: self.env(environment)?,
            cwd: self.cwd()?,
        })
    }

    fn url_target(&self, environment: &Environment, is_sse: bool) -> Result<UrlTarget, Fault> {
        let url = self.text("url")?.ok_or_else(|| self.lacks("url"))?;
        let url = expand(&url, environment).map_err(under("url"))?;
        let lower = url.trim().to_ascii_lowercase();
        let is_web = ["http://", "https://"]
            .iter()
            .any(|scheme| lower.starts_with(scheme));
        let parsed = reqwest::Url::parse(url.trim());
        let is_web = is_web && parsed.is_ok_and(|url| url.has_host());
        if !is_web {
            let problem = Problem::Unexpected {
                expected: "a URL that begins with `http://` or `https://`".to_owned(),
                found: "another text".to_owned(),
            };
            return Err(under("url")(problem));
        }
        Ok(UrlTarget {
            url: Secret::new(url.trim().to_owned()),
            headers: self.headers(environment)?,
            is_sse,
        })
    }

    fn headers(&self, environment: &Environment) -> Result<BTreeMap<String, Secret>, Fault> {
        let Some(node) = self.object.get("headers")? else {
            return Ok(BTreeMap::new());
        };
        let headers = BTreeMap::<String, String>::from_node(node);
        let headers = headers.map_err(|fault| fault.under("headers"))?;
        let expanded = headers.into_iter().map(|(name, value)| {
            let value = expand(&value, environment).and_then(|value| {
                if looks_secret(&name) && holds_no_credentials(&value) {
                    return Err(Problem::EmptySecret);
                }
                let is_header = reqwest::header::HeaderName::try_from(&name).is_ok()
                    && reqwest::header::HeaderValue::try_from(&value).is_ok();
                let bad = || Problem::Unexpected {
                    expected: "the name and the value of an HTTP header".to_owned(),
                    found: "characters that no header may hold".to_owned(),
                };
                is_header.then_some(value).ok_or_else(bad)
            });
            match value {
                Ok(value) => Ok((name, Secret::new(value))),
                Err(problem) => Err(Fault::from(problem).under(name).under("headers")),
            }
        });
        expanded.collect()
    }

    /// What `type` or `transport` says, or else what there is: a `command`, or a `url`, which is
    /// HTTP+SSE where its path ends in `/sse` once its variables are expanded.
    fn kind(&self, environment: &Environment) -> Result<Kind, Fault> {
        let command = self.text("command")?;
        let url = self.text("url")?;
        let said = match self.object.get("type")? {
            Some(node) => Some(Kind::from_node(node).map_err(|fault| fault.under("type"))?),
            None => self.transport()?,
        };
        match (said, command, url) {
            (Some(Kind::Stdio), None, _) => Err(self.lacks("command").into()),
            (Some(Kind::Http | Kind::Sse), _, None) => Err(self.lacks("url").into()),
            (Some(kind), _, _) => Ok(kind),
            (None, Some(_), Some(_)) => Err(Problem::TwoTargets.into()),
            (None, Some(_), None) => Ok(Kind::Stdio),
            (None, None, Some(url)) => {
                let url = expand(&url, environment).map_err(under("url"))?;
                match names_sse(&url) {
                    true => Ok(Kind::Sse),
                    false => Ok(Kind::Http),
                }
            }
            (None, None, None) => {
                let slips = ["command", "url"];
                let meant = slips.into_iter().find(|key| self.slip(key).is_some());
                Err(meant
                    .map_or(Problem::NoTargetAtAll, |key| self.lacks(key))
                    .into())
            }
        }
    }

    /// What `transport` says, as some clients write it. It is theirs: other values mean nothing here.
    fn transport(&self) -> Result<Option<Kind>, Fault> {
        let Some(Node::Text(text)) = self.object.get("transport")? else {
            return Ok(None);
        };
        let text = text.to_ascii_lowercase().replace('_', "-");
        let known = Kind::WORDS.iter().find(|(word, _)| *word == text);
        Ok(known.map(|(_, kind)| *kind))
    }

    fn lacks(&self, missing: &'static str) -> Problem {
        Problem::NoTarget {
            missing,
            found: self.slip(missing).map(str::to_owned),
        }
    }

    /// A key that only a slip tells from `wanted`.
    fn slip(&self, wanted: &str) -> Option<&str> {
        let mut keys = self.object.members().map(|(key, _)| key);
        keys.find(|key| edits(key, wanted) <= wanted.len() / 3)
    }

    fn args(&self, environment: &Environment) -> Result<Vec<String>, Fault> {
        let Some(node) = self.object.get("args")? else {
            return Ok(Vec::new());
        };
        let args = Vec::<String>::from_node(node).map_err(|fault| fault.under("args"))?;
        let expanded = args.iter().enumerate().map(|(index, arg)| {
            let fault = |problem| Fault::from(problem).under(index.to_string()).under("args");
            expand(arg, environment).map_err(fault)
        });
        expanded.collect()
    }

    fn env(&self, environment: &Environment) -> Result<BTreeMap<String, Secret>, Fault> {
        let Some(node) = self.object.get("env")? else {
            return Ok(BTreeMap::new());
        };
        let env = BTreeMap::<String, String>::from_node(node);
        let env = env.map_err(|fault| fault.under("env"))?;
        let expanded = env.into_iter().map(|(name, value)| {
            let value = match name.contains(['=', '\0']) || name.is_empty() {
                true => Err(Problem::Unexpected {
                    expected: "the name of a variable, without `=` and NUL".to_owned(),
                    found: "another key".to_owned(),
                }),
                false => expand(&value, environment),
            };
            match value {
                Ok(value) => Ok((name, Secret::new(value))),
                Err(problem) => Err(Fault::from(problem).under(name).under("env")),
            }
        });
        expanded.collect()
    }

    /// Not expanded, as the contract names other keys; empty is what some clients write for none.
    fn cwd(&self) -> Result<Option<PathBuf>, Fault> {
        match self.text("cwd")?.as_deref() {
            None | Some("") => Ok(None),
            Some(cwd) => PathBuf::from_text(cwd)
                .map(Some)
                .map_err(|fault| fault.under("cwd")),
        }
    }

    fn text(&self, key: &str) -> Result<Option<String>, Fault> {
        let node = self.object.get(key)?;
        let text = node.map(String::from_node).transpose();
        text.map_err(|fault| fault.under(key))
    }
}

/// Whether a header's value is blank, or an authentication scheme with nothing behind it, as
/// `Bearer ${TOKEN}` becomes where `TOKEN` is empty.
fn holds_no_credentials(value: &str) -> bool {
    const SCHEMES: [&str; 5] = ["bearer", "basic", "token", "digest", "apikey"];
    let value = value.trim();
    value.is_empty()
        || SCHEMES
            .iter()
            .any(|scheme| scheme.eq_ignore_ascii_case(value))
}

/// Whether a URL is that of an HTTP+SSE server by convention, whatever query it has.
fn names_sse(url: &str) -> bool {
    reqwest::Url::parse(url.trim()).is_ok_and(|url| {
        let path = url.path().trim_end_matches('/');
        path.ends_with("/sse")
    })
}

fn under(key: &str) -> impl Fn(Problem) -> Fault {
    move |problem| Fault::from(problem).under(key)
}

/// How a server is reached.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Stdio,
    Http,
    Sse,
}

impl Word for Kind {
    const WORDS: &'static [(&'static str, Kind)] = &[
        ("stdio", Kind::Stdio),
        ("http", Kind::Http),
        ("sse", Kind::Sse),
        ("streamable-http", Kind::Http),
    ];
}

#[cfg(test)]
mod tests;
