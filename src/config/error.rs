//! What can be wrong with a configuration: where, what, and what to do next.
//!
//! It never holds a value that may be secret: environment values, headers, tokens, arguments.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use super::pointer::{Pointer, escaped, shown};
use crate::policy::PolicyError;
use crate::sys::permissions::Exposure;
use crate::sys::state_dir::StoreError;

/// Why there is no usable configuration. Its `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing, a directory, or not ours to read.
    #[error(
        "{}: this config file cannot be read; check the path after `--upstream`",
        path(file)
    )]
    Unreadable {
        /// The file as it was named.
        file: PathBuf,
        /// What the system said.
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
    /// The file is not JSON. The parser's words are part of the text and no `source`, because
    /// they repeat the position.
    #[error(
        "{}:{line}:{column}: not JSON: {reason}; correct line {line}, column {column}{hint}",
        path(file)
    )]
    NotJson {
        /// The file as it was named.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
        /// What the parser missed.
        reason: String,
        /// What to do, where the text shows it; begins with `: `.
        hint: &'static str,
    },
    /// The file is text of another encoding.
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
    /// Something in the entry of a server is wrong, and the pointer does not hold its name.
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
        /// What, and where if its text is JSON.
        fault: Fault,
    },
    /// `--server` names no server of the file.
    #[error(
        "{}: there is no server `{}`; give `--server` one of {}{}",
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
        /// The names that there are.
        known: Vec<String>,
        /// Where there are servers that are not read.
        elsewhere: Vec<Pointer>,
    },
    /// The file is well-formed and lists nothing.
    #[error(
        "{}: no server is configured; add one, as in `{{\"mcpServers\": {{\"NAME\": {{\"command\": \
         \"PROGRAM\"}}}}}}`{}",
        path(file),
        not_read(elsewhere)
    )]
    NoServers {
        /// The file as it was named.
        file: PathBuf,
        /// Where there are servers that are not read.
        elsewhere: Vec<Pointer>,
    },
    /// Every server of the file is switched off, and none was named.
    #[error(
        "{}: every server is disabled; start one all the same with `--server`, one of {}, or remove its \
         `disabled` or `enabled`",
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
        "`--host {}` lets other machines in; require a token with `--auth-token-file auto` or \
         `APPROVAL_AUTH_TOKEN`, or let everybody in with `--insecure-no-auth`",
        shown(.0)
    )]
    OpenToAll(String),
    /// The file of `--auth-token-file` cannot be read.
    #[error("`{}`: the file of `--auth-token-file` cannot be read", path(file))]
    NoToken {
        /// The file as it was named.
        file: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// Other users may read the file of `--auth-token-file`.
    #[error(
        "`{}`: other users may read this token ({exposure}); `chmod go-rwx` it and keep it in a file \
         of your own, or give the token by `APPROVAL_AUTH_TOKEN`",
        path(file)
    )]
    ExposedToken {
        /// The file as it was named.
        file: PathBuf,
        /// How they may.
        exposure: Exposure,
    },
    /// Other users may write to the config file.
    #[error(
        "{}: other users may write to this config file ({exposure}), and so decide what is run and \
         what is asked about; `chmod go-w` it, or copy it to a file and folder of your own",
        path(file)
    )]
    ExposedConfig {
        /// The file as it was named.
        file: PathBuf,
        /// How they may.
        exposure: Exposure,
    },
    /// Other users may put another file in the config file's place.
    #[error(
        "{}: other users may replace this config file, since they may write to its folder `{}` \
         ({exposure}); `chmod go-w` the folder, or copy the file to a folder of your own",
        path(file),
        path(folder)
    )]
    ExposedFolder {
        /// The file as it was named.
        file: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// How they may.
        exposure: Exposure,
    },
    /// `--auth-token-file auto` cannot be carried out.
    #[error("`--auth-token-file auto` cannot be used")]
    NoStoredToken(#[source] StoreError),
    /// `--auth-token-file auto`, and nothing says where the state folder is.
    #[error(
        "`--auth-token-file auto` keeps its token in the state folder, and nothing says where that \
         is; name a folder with `--state-dir`"
    )]
    NoStateDir,
    /// The file of `--auth-token-file` holds nothing that could be a token.
    #[error(
        "`{}`: the file of `--auth-token-file` must hold one line of 8 to 4096 visible ASCII \
         characters",
        path(.0)
    )]
    BadToken(PathBuf),
    /// A path starts with `~/` and nobody says where that is.
    #[error("`{}` needs the variable `HOME`; set it or write the path in full", path(.0))]
    NoHome(PathBuf),
    /// A user configuration that was named is missing, or one that is there cannot be read.
    #[error(
        "{}: this user configuration cannot be read; check `--config` or `APPROVAL_CONFIG`",
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
    /// An engine is named that needs options, and nothing gives them.
    #[error(
        "the engine `{0}` is named without its options; define it in `engines` of the user configuration, or where it is named"
    )]
    UndefinedEngine(&'static str),
    /// A flag that says how a server is reached is wrong.
    #[error("`{flag}`: {problem}")]
    InFlag {
        /// The flag.
        flag: &'static str,
        /// What is wrong.
        problem: Box<Problem>,
    },
    /// The rules do not make a policy, though each of them alone is valid.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Something that is wrong at one place of a document.
#[derive(Debug)]
pub struct Fault {
    at: Pointer,
    /// On the heap, since errors are rare and results are not.
    problem: Box<Problem>,
}

impl Fault {
    /// The same fault, seen from the object or array that holds it under `segment`.
    #[must_use]
    pub fn under(self, segment: impl Into<String>) -> Fault {
        self.within(&Pointer::default().child(segment))
    }

    /// The same fault, seen from further out.
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

/// What is wrong, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A wrong type, an unknown word, a number out of range.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What to write instead.
        expected: String,
        /// The value in backticks, or only its kind where it may be secret.
        found: String,
    },
    /// A key that nobody reads.
    #[error("unknown key; did you mean `{nearest}`?")]
    UnknownKey {
        /// The known key that is most like it.
        nearest: &'static str,
    },
    /// A known key in the wrong object.
    #[error("this key does not count here; move it {home}")]
    Misplaced {
        /// Where it counts, as in "into `approvalProxy`".
        home: &'static str,
    },
    /// A key that could be read in two ways.
    #[error("this key is written twice; keep one of the two")]
    DuplicateKey,
    /// Two entries of an array with one name.
    #[error("a server before this one is called `{}` too; change one `name`", shown(.0))]
    DuplicateServer(String),
    /// A variable without a value or a default.
    #[error(
        "the variable `{0}` is not set; set it or write `${{{0}:-default}}`, or `$${{{0}}}` if this is text"
    )]
    Unset(String),
    /// A variable whose value is no text.
    #[error("the value of the variable `{0}` is not UTF-8; set it to UTF-8 text")]
    NotUnicode(String),
    /// A name of a variable without a value, in a place that takes no default.
    #[error("the variable `{}` is not set; set it", shown(.0))]
    UnsetName(String),
    /// `${` that begins no variable.
    #[error(
        "`${{` begins a variable; write `${{NAME}}` or `${{NAME:-default}}`, or `$${{` for the text `${{`"
    )]
    BadExpansion,
    /// A variable inside the default of another.
    #[error("the default of a variable cannot hold another variable; write one of the two")]
    NestedExpansion,
    /// A variable as another program writes it.
    #[error("`{written}` is {whose}; write {instead}")]
    Foreign {
        /// As it stands in the text, without what may be secret.
        written: String,
        /// What it is, and to which program.
        whose: String,
        /// What to write.
        instead: String,
    },
    /// A URL on the command line that can hold a secret.
    #[error(
        "a query, user or password in an argument can be read by every user of this machine; put the URL into an \
         environment variable and name that with `--url-env`"
    )]
    SecretInArgument,
    /// `~/` without a home.
    #[error("`~/` needs the variable `HOME`; set it or write the path in full")]
    NoHome,
    /// One header under two keys, or in two spellings.
    #[error("this header is given twice; keep one of the two")]
    DuplicateHeader,
    /// Two keys for one thing.
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
        /// As it was written, variables not expanded.
        command: String,
        /// Its first word.
        program: String,
        /// The other words, as JSON strings with commas.
        args: String,
    },
    /// A URL in the place of a program.
    #[error("this is a URL, and no program; write it as `url`")]
    UrlInCommand,
    /// `cmd /c`, where there is none.
    #[error(
        "`cmd` is for Windows; write the program behind `/c` as `command`, and take both out of `args`"
    )]
    CommandOfWindows,
    /// `envFile` names a file that cannot be read.
    #[error(
        "`{}`: this env file cannot be read; correct the path, or remove the key",
        path(file)
    )]
    NoEnvFile {
        /// The file with its folder.
        file: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// `envFile` names something that cannot be used.
    #[error("`{}`: {problem}", path(file))]
    BadEnvFile {
        /// The file with its folder.
        file: PathBuf,
        /// What is wrong and what to do; it holds no value.
        problem: String,
    },
    /// A secret that protects nobody.
    #[error("this secret is set but empty; give it a value, or remove it")]
    EmptySecret,
    /// A character that no argument, variable or path can hold.
    #[error("there is a NUL character in this text; remove it")]
    Nul,
    /// JSON inside an environment variable that is none.
    #[error("not JSON: {0}; write a list as `[\"a\", \"b\"]` or as `a, b`, a map as `{{…}}`")]
    NotJson(String),
    /// A pattern that is no glob, or hints that could be read in two ways.
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
        /// What the compiler says.
        reason: String,
    },
    /// An entry that names nothing to start or reach.
    #[error("this server has no `{missing}`; {}", added(found.as_deref()))]
    NoTarget {
        /// What would name it.
        missing: &'static str,
        /// A key of the entry that looks like it.
        found: Option<String>,
    },
    /// An entry that names nothing at all.
    #[error("this server has neither a `command` nor a `url`; add one")]
    NoTargetAtAll,
    /// A server that an extension of Zed starts.
    #[error(
        "an extension of Zed knows how to start this server; write down its `command` and `args` here"
    )]
    ZedExtension,
    /// An entry that names two things.
    #[error("this server has a `command` and a `url`; remove one, or say which with `type`")]
    TwoTargets,
    /// An entry whose type is that of another kind of server.
    #[error(
        "this server has no `{missing}`, which its `type` needs; remove `type`, since there is a `{found}`"
    )]
    WrongKind {
        /// What the type would need.
        missing: &'static str,
        /// What there is.
        found: &'static str,
    },
}

/// A hint at servers that are not read.
fn not_read(elsewhere: &[Pointer]) -> String {
    match elsewhere {
        [] => String::new(),
        [first, ..] => format!(
            "; the servers in `{first}` are not read: copy the one that you want to the top-level `mcpServers`"
        ),
    }
}

/// The names in backticks, with commas.
pub(super) fn names<S: AsRef<str>>(names: &[S]) -> String {
    let quoted: Vec<String> = names
        .iter()
        .map(|name| format!("`{}`", shown(name.as_ref())))
        .collect();
    quoted.join(", ")
}

fn added(found: Option<&str>) -> String {
    match found {
        Some(found) => format!("is `{}` meant for it?", shown(found)),
        None => "add it".to_owned(),
    }
}

/// A path as it may stand in an error.
pub(super) fn path(path: &std::path::Path) -> String {
    // In full: a path without its end names no file.
    escaped(&path.to_string_lossy())
}
