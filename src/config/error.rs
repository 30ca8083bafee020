//! The errors of a configuration: where, what, and what to do next.
//!
//! They never contain a value that may be secret: environment values, headers, tokens, arguments.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use super::pointer::{Pointer, escaped, shown};
use crate::approval::form::BadForm;
use crate::policy::PolicyError;
use crate::sys::permissions::Exposure;
use crate::sys::state_dir::StoreError;

/// Why there is no usable configuration. Its `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing, a directory, or not readable for us.
    #[error(
        "{}: cannot read this config file; check the path after `--upstream`",
        path(file)
    )]
    Unreadable {
        /// The file as it was named.
        file: PathBuf,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// The file is larger than a config can be.
    #[error(
        "{}: this file is larger than {limit} bytes; name the JSON file that lists your MCP servers",
        path(file)
    )]
    TooLarge {
        /// The file as it was named.
        file: PathBuf,
        /// The largest size in bytes.
        limit: u64,
    },
    /// The file is not JSON. The parser's message is part of the text, not a `source`, because it repeats
    /// the position.
    #[error(
        "{}:{line}:{column}: not JSON: {reason}; fix line {line}, column {column}{hint}",
        path(file)
    )]
    NotJson {
        /// The file as it was named.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
        /// The parser's message, without the position.
        reason: String,
        /// What to do, or empty if the text does not show it; begins with `: `.
        hint: &'static str,
    },
    /// The file has another encoding.
    #[error("{}: this file is UTF-16; save it as UTF-8", path(file))]
    Utf16 {
        /// The file as it was named.
        file: PathBuf,
    },
    /// Something in the file is wrong.
    #[error("{}: {fault}", path(file))]
    InFile {
        /// The file as it was named.
        file: PathBuf,
        /// Where and what.
        fault: Fault,
    },
    /// Something in a server's entry is wrong, and the pointer does not contain the server's name.
    #[error("{}: server `{}`: {fault}", path(file), shown(server))]
    InServer {
        /// The file as it was named.
        file: PathBuf,
        /// The server's name.
        server: String,
        /// Where and what.
        fault: Fault,
    },
    /// An environment variable of ours is wrong.
    #[error("environment variable `{variable}`: {fault}")]
    InEnvironment {
        /// The variable's name.
        variable: String,
        /// What, and where if the value is JSON.
        fault: Fault,
    },
    /// `--server` names no server of the file.
    #[error(
        "{}: there is no server `{}`; use `--server` with one of {}{}",
        path(file),
        shown(name),
        names(known),
        not_read(elsewhere)
    )]
    UnknownServer {
        /// The file as it was named.
        file: PathBuf,
        /// The name that was given.
        name: String,
        /// The names of the file's servers.
        known: Vec<String>,
        /// Places with servers that are not read.
        elsewhere: Vec<Pointer>,
    },
    /// The file is well-formed and lists no server.
    #[error(
        "{}: no server is configured; add one, as in `{{\"mcpServers\": {{\"NAME\": {{\"command\": \
         \"PROGRAM\"}}}}}}`{}",
        path(file),
        not_read(elsewhere)
    )]
    NoServers {
        /// The file as it was named.
        file: PathBuf,
        /// Places with servers that are not read.
        elsewhere: Vec<Pointer>,
    },
    /// Every server of the file is disabled, and `--server` was not given.
    #[error(
        "{}: every server is disabled; start one anyway with `--server` ({}), or remove its `disabled` or \
         `enabled` key",
        path(file),
        names(disabled)
    )]
    AllDisabled {
        /// The file as it was named.
        file: PathBuf,
        /// The names of the servers.
        disabled: Vec<String>,
    },
    /// Anyone on the network could use the proxy.
    #[error(
        "`--host {}` lets other machines connect; require a token with `--auth-token-file auto` or \
         `APPROVAL_AUTH_TOKEN`, or allow everybody with `--insecure-no-auth`",
        shown(.0)
    )]
    OpenToAll(String),
    /// The file of `--auth-token-file` cannot be read.
    #[error(
        "`{}`: cannot read this token file; check the path after `--auth-token-file`",
        path(file)
    )]
    NoToken {
        /// The file as it was named.
        file: PathBuf,
        /// The system's error.
        #[source]
        cause: std::io::Error,
    },
    /// Other users may read the file of `--auth-token-file`.
    #[error(
        "`{}`: other users may read this token ({exposure}); keep it in a file that you own and `chmod \
         go-rwx` it, or set `APPROVAL_AUTH_TOKEN` instead",
        path(file)
    )]
    ExposedToken {
        /// The file as it was named.
        file: PathBuf,
        /// What gives them access.
        exposure: Exposure,
    },
    /// Other users may write to the config file.
    #[error(
        "{}: other users may write to this config file ({exposure}) and change which programs run and \
         which calls need an approval; `chmod go-w` it, or copy it to a file and folder that you own",
        path(file)
    )]
    ExposedConfig {
        /// The file as it was named.
        file: PathBuf,
        /// What gives them access.
        exposure: Exposure,
    },
    /// Other users may replace the config file.
    #[error(
        "{}: other users may replace this config file, because they may write to its folder `{}` \
         ({exposure}); `chmod go-w` the folder, or copy the file to a folder that you own",
        path(file),
        path(folder)
    )]
    ExposedFolder {
        /// The file as it was named.
        file: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// What gives them access.
        exposure: Exposure,
    },
    /// The stored token of `--auth-token-file auto` cannot be read or written.
    #[error("`--auth-token-file auto` cannot be used")]
    NoStoredToken(#[source] StoreError),
    /// `--auth-token-file auto`, but there is no state folder.
    #[error(
        "`--auth-token-file auto` needs a state folder, but `HOME` is not set; name a folder with \
         `--state-dir`"
    )]
    NoStateDir,
    /// The file of `--auth-token-file` does not contain a valid token.
    #[error(
        "`{}`: the file of `--auth-token-file` must hold one line of 8 to 4096 visible ASCII \
         characters; write such a token, or use `--auth-token-file auto`",
        path(.0)
    )]
    BadToken(PathBuf),
    /// A path starts with `~/`, but `HOME` is not set.
    #[error("`{}` needs the variable `HOME`; set it or write the path in full", path(.0))]
    NoHome(PathBuf),
    /// A user configuration that was named is missing, or one that is there cannot be read.
    #[error(
        "{}: this user configuration cannot be read; make it a file that you can read, or check `--config` and \
         `APPROVAL_CONFIG`",
        path(file)
    )]
    UnreadableUserConfig {
        /// The file as it was named.
        file: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A source is weaker than a floor allows.
    #[error(
        "{place}: {problem}; this is below the floor in {}: /floor{}{key}; remove it, or change the floor",
        path(floor),
        if key.is_empty() { "" } else { "/" }
    )]
    BelowFloor {
        /// Where it is said: a flag, a variable, or a file with a pointer.
        place: String,
        /// What is weaker.
        problem: String,
        /// The file that holds the floor.
        floor: PathBuf,
        /// The key of the floor; empty if every floor forbids it.
        key: &'static str,
    },
    /// The floors allow no engine that both could use, or another one than is configured.
    #[error(
        "{}: /floor/engines: no configured engine is listed; add one to the floor",
        path(floor)
    )]
    NoEngineLeft {
        /// The file that holds the floor.
        floor: PathBuf,
    },
    /// Two floors pin different keys.
    #[error(
        "{}: /floor/inboxKey: another floor, in {}, names another key; keep one of the two",
        path(one),
        path(other)
    )]
    TwoKeys {
        /// A file with a floor.
        one: PathBuf,
        /// The other file.
        other: PathBuf,
    },
    /// An engine is named, and nothing says what it is or gives the options that it needs.
    #[error(
        "{}; define it in `engines` of the user configuration, or where it is named",
        match is_type {
            true => format!("the engine `{name}` is named without its options"),
            false => format!("the engine `{}` is not defined; known are `{known}`", shown(name)),
        }
    )]
    UndefinedEngine {
        /// Its name.
        name: String,
        /// Whether its name is a type of engine.
        is_type: bool,
        /// The names that could be meant.
        known: String,
    },
    /// An engine cannot work as it is configured.
    #[error(
        "{}the engine `{engine}`: {why}",
        place.as_ref().map_or_else(String::new, |place| format!("{place}: "))
    )]
    Engine {
        /// Where it is configured, if not on the command line.
        place: Option<String>,
        /// Its name.
        engine: String,
        /// What is missing or wrong. Never holds a secret.
        why: String,
    },
    /// A secret cannot be read.
    #[error("`{key}`: {why}")]
    Secret {
        /// Its key.
        key: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A flag that says how a server is reached is wrong.
    #[error("`{flag}`: {problem}")]
    InFlag {
        /// The flag.
        flag: &'static str,
        /// What is wrong.
        problem: Box<Problem>,
    },
    /// The rules are valid one by one, but do not make a policy together.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// A problem and its place in a document.
#[derive(Debug)]
pub struct Fault {
    at: Pointer,
    /// Boxed to keep `Result`s small: errors are rare.
    problem: Box<Problem>,
}

impl Fault {
    /// Puts the key or index `segment` in front of the place.
    #[must_use]
    pub fn under(self, segment: impl Into<String>) -> Fault {
        self.within(&Pointer::default().child(segment))
    }

    /// Puts `outer` in front of the place.
    #[must_use]
    pub fn within(self, outer: &Pointer) -> Fault {
        Fault {
            at: self.at.within(outer),
            problem: self.problem,
        }
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Fault {
        Fault {
            at: Pointer::default(),
            problem: Box::new(problem),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_root() {
            self.problem.fmt(f)
        } else {
            write!(f, "{}: {}", self.at, self.problem)
        }
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problem.source()
    }
}

/// What is wrong and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A wrong type, an unknown word, a number out of range.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What to write instead.
        expected: String,
        /// The value in backticks, or only its kind if it may be secret.
        found: String,
    },
    /// An unknown key in one of our objects.
    #[error("unknown key; did you mean `{nearest}`?")]
    UnknownKey {
        /// The most similar known key.
        nearest: &'static str,
    },
    /// An address of the inbox's page that cannot be used, as the rest of a sentence about its key.
    #[error("{0}")]
    Page(&'static str),
    /// A form that cannot be filled in.
    #[error("{0}")]
    Form(BadForm),
    /// An engine that is defined without something it needs.
    #[error("the engine `{engine}` needs `{key}`; set it")]
    MissingOption {
        /// The engine's type.
        engine: &'static str,
        /// What is missing.
        key: &'static str,
    },
    /// An answer by default that lets calls run.
    #[error(
        "`approve` would let calls run that nobody has approved, so approval-proxy does not have it; write `deny`, or \
         name in `alwaysAllow` the tools that need no approval"
    )]
    ApprovesUnasked,
    /// A known key in the wrong object.
    #[error("this key has no effect here; move it {home}")]
    Misplaced {
        /// Where it belongs, as in "into `approvalProxy`".
        home: &'static str,
    },
    /// A key that appears twice, so that its value is ambiguous.
    #[error("this key is written twice; keep one of the two")]
    DuplicateKey,
    /// Two entries of an array with the same name.
    #[error("two servers are called `{}`; change one `name`", shown(.0))]
    DuplicateServer(String),
    /// A variable without a value or a default.
    #[error(
        "the variable `{0}` is not set; set it or write `${{{0}:-default}}`, or `$${{{0}}}` for plain text"
    )]
    Unset(String),
    /// A variable whose value is not UTF-8.
    #[error("the value of the variable `{0}` is not UTF-8; set it to UTF-8 text")]
    NotUnicode(String),
    /// An unset variable, in a place that takes no default.
    #[error("the variable `{}` is not set; set it", shown(.0))]
    UnsetName(String),
    /// `${` without a variable after it.
    #[error(
        "`${{` begins a variable; write `${{NAME}}` or `${{NAME:-default}}`, or `$${{` for the text `${{`"
    )]
    BadExpansion,
    /// A variable inside the default of another.
    #[error("the default of a variable cannot contain another variable; remove one of the two")]
    NestedExpansion,
    /// A variable in another program's syntax.
    #[error("`{written}` is {meaning}; write {instead}")]
    Foreign {
        /// The text as written, without parts that may be secret.
        written: String,
        /// What it means, and in which program.
        meaning: String,
        /// What to write.
        instead: String,
    },
    /// A URL on the command line that can hold a secret.
    #[error(
        "a query, fragment, user or password in an argument can be read by every user of this machine; put the URL into an \
         environment variable and name that with `--url-env`"
    )]
    SecretInArgument,
    /// `~/`, but `HOME` is not set.
    #[error("`~/` needs the variable `HOME`; set it or write the path in full")]
    NoHome,
    /// The same header under two keys, or in two spellings.
    #[error("this header is given twice; keep one of the two")]
    DuplicateHeader,
    /// Two keys with the same meaning.
    #[error("`{one}` and `{other}` mean the same here; keep one of the two")]
    SameMeaning {
        /// A key.
        one: &'static str,
        /// Another key.
        other: &'static str,
    },
    /// A program and its arguments in one string.
    #[error(
        "no program is called `{}`; put its arguments into `args`: `\"command\": \"{}\", \"args\": [{}]`",
        shown(command),
        shown(program),
        shown(args)
    )]
    ArgsInCommand {
        /// As written, without variables expanded.
        command: String,
        /// Its first word.
        program: String,
        /// The other words, as JSON strings with commas.
        args: String,
    },
    /// A URL instead of a program.
    #[error("this is a URL, not a program; rename the key to `url`")]
    UrlInCommand,
    /// `cmd /c` on a system without `cmd`.
    #[error(
        "`cmd` is a Windows program; make the program after `/c` the `command`, and remove both from `args`"
    )]
    CommandOfWindows,
    /// `envFile` names a file that cannot be read.
    #[error(
        "`{}`: cannot read this env file; correct the path, or remove the key",
        path(file)
    )]
    NoEnvFile {
        /// The file with its folder.
        file: PathBuf,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// `envFile` names something that cannot be used.
    #[error("`{}`: {problem}", path(file))]
    BadEnvFile {
        /// The file with its folder.
        file: PathBuf,
        /// What is wrong and what to do; never contains a value.
        problem: String,
    },
    /// An empty secret, which protects nothing.
    #[error("this secret is set but empty; give it a value, or remove it")]
    EmptySecret,
    /// A character that no argument, variable or path can hold.
    #[error("there is a NUL character in this text; remove it")]
    Nul,
    /// The text of an environment variable or a flag that is not JSON.
    #[error("not JSON: {0}; write a list as `[\"a\", \"b\"]` or as `a, b`, an object as `{{…}}`")]
    NotJson(String),
    /// A pattern that is not a valid glob, or hints for two names that conflict.
    #[error("{}", escaped(&.0.to_string()))]
    Rule(PolicyError),
    /// A pattern that cannot be compiled.
    #[error(
        "`{}` is not a regular expression: {}; the syntax is that of the Rust crate `regex`",
        shown(pattern),
        escaped(reason)
    )]
    NotARegex {
        /// The pattern as it was written.
        pattern: String,
        /// The compiler's message.
        reason: String,
    },
    /// An entry without the key that says what to start or connect to.
    #[error("this server has no `{missing}`; {}", suggestion(missing, found.as_deref()))]
    NoTarget {
        /// The missing key.
        missing: &'static str,
        /// A key of the entry that looks like it.
        found: Option<String>,
    },
    /// An entry with neither key.
    #[error("this server has neither a `command` nor a `url`; add one")]
    NoTargetAtAll,
    /// A server that an extension of Zed starts.
    #[error("an extension of Zed starts this server; write its `command` and `args` here")]
    ZedExtension,
    /// An entry with both keys.
    #[error("this server has a `command` and a `url`; remove one, or choose with `type`")]
    TwoTargets,
    /// An entry whose `type` does not match its keys.
    #[error("the `type` of this server needs a `{missing}`, but it has a `{found}`; remove `type`")]
    WrongKind {
        /// The key that the type needs.
        missing: &'static str,
        /// The key that is there.
        found: &'static str,
    },
}

/// A hint about servers that are not read.
fn not_read(elsewhere: &[Pointer]) -> String {
    match elsewhere {
        [] => String::new(),
        [first, ..] => format!(
            "; the servers in `{first}` are not read: copy the one you want to the top-level `mcpServers`"
        ),
    }
}

/// Returns the names in backticks, separated by commas.
pub(super) fn names<S: AsRef<str>>(names: &[S]) -> String {
    let quoted: Vec<String> = names
        .iter()
        .map(|name| format!("`{}`", shown(name.as_ref())))
        .collect();
    quoted.join(", ")
}

fn suggestion(missing: &str, found: Option<&str>) -> String {
    match found {
        Some(found) => format!("should `{}` be `{missing}`?", shown(found)),
        None => "add it".to_owned(),
    }
}

/// Returns a path in a form that is safe in an error.
pub(super) fn path(path: &std::path::Path) -> String {
    // In full: a shortened path would not name the file.
    escaped(&path.to_string_lossy())
}
