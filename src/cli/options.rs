//! Flags that several commands share, generated from the table of settings.
//!
//! `config` defines what the settings mean.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{
    PathBufValueParser, PossibleValue, PossibleValuesParser, TypedValueParser as _, ValueParser,
};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{
    Fallback, Fault, Flags, Form, Layer, Place, SETTINGS, ServerChoice, Setting, UPSTREAM,
    UrlChoice, UrlType, Word as _,
};

/// The options of the proxy itself.
#[derive(Debug, Clone, Args)]
pub(super) struct ProxyOptions {
    /// Read the MCP servers from this config file
    ///
    /// A config file of Claude Desktop or Claude Code works as it is
    #[arg(short, long, value_name = "FILE", help_heading = UPSTREAM)]
    pub(super) upstream: Option<PathBuf>,

    /// Start this server of the file [default: the first]
    #[arg(short, long, value_name = "NAME", help_heading = UPSTREAM)]
    server: Option<String>,

    /// Guard the server at this URL
    ///
    /// All users of this machine can read arguments. Give a URL that holds a secret with --url-env
    #[arg(long, value_name = "URL", help_heading = UPSTREAM)]
    url: Option<String>,

    /// Guard the server whose URL is in this environment variable
    #[arg(long, value_name = "VARIABLE", help_heading = UPSTREAM, hide_short_help = true)]
    url_env: Option<String>,

    /// Speak this protocol with the server of --url: http (streamable HTTP) or sse (HTTP+SSE)
    ///
    /// By default, it is sse if the path of the URL ends in /sse
    #[arg(long, value_name = "TYPE", help_heading = UPSTREAM, hide_short_help = true, value_parser = url_types())]
    url_type: Option<String>,

    /// Send this header to the server of --url, with the value of this environment variable; repeatable
    ///
    /// For example X-Api-Key=NOTES_KEY. A variable that is not set or empty is an error
    #[arg(long, value_name = "HEADER=VARIABLE", help_heading = UPSTREAM, hide_short_help = true)]
    header_env: Vec<String>,

    /// Send the server of --url the bearer token in this environment variable
    #[arg(long, value_name = "VARIABLE", help_heading = UPSTREAM, hide_short_help = true)]
    bearer_env: Option<String>,

    /// Name the server of -- or --url [default: derived from its command, or the host of the URL]
    ///
    /// The user configuration has rules by this name, and the audit log is named after it
    #[arg(long, value_name = "NAME", help_heading = UPSTREAM, value_parser = server_name)]
    name: Option<String>,

    #[command(flatten)]
    settings: AllSettings,

    /// Guard the server that this command starts, given after --
    ///
    /// It starts exactly as written: nothing in it is expanded
    #[arg(last = true, value_name = "COMMAND", help_heading = UPSTREAM)]
    command: Vec<OsString>,
}

impl ProxyOptions {
    /// Returns the flags in the form that `config` takes.
    #[must_use]
    pub(super) fn into_flags(self) -> Flags {
        let url = match (self.url, self.url_env) {
            (Some(url), _) => Some(UrlChoice::Argument(url)),
            (None, Some(variable)) => Some(UrlChoice::Variable(variable)),
            (None, None) => None,
        };
        let mut command = self.command.into_iter();
        let server = match (command.next(), url) {
            (Some(program), _) => ServerChoice::Command {
                program,
                args: command.collect(),
                name: self.name,
            },
            (None, Some(url)) => ServerChoice::Url {
                url,
                // `check_server` lets no others out.
                headers: (self
                    .header_env
                    .iter()
                    .filter_map(|text| header_variable(text)))
                .collect(),
                bearer: self.bearer_env,
                url_type: self.url_type.as_deref().and_then(url_type),
                name: self.name,
            },
            // `Args::read` lets no options out without one of the three; an empty path cannot be opened either.
            (None, None) => ServerChoice::File {
                upstream: self.upstream.unwrap_or_default(),
                server: self.server,
            },
        };
        Flags {
            server,
            layer: *self.settings.0,
        }
    }

    /// Why these options do not name exactly one server, or say something that has no effect on it.
    pub(super) fn check_server(&self) -> Result<(), &'static str> {
        let is_url = self.url.is_some() || self.url_env.is_some();
        let is_command = !self.command.is_empty();
        let given = [
            self.upstream.is_some(),
            self.url.is_some(),
            self.url_env.is_some(),
            is_command,
        ];
        match given.iter().filter(|given| **given).count() {
            0 => return Err(NO_SERVER),
            1 => {}
            _ => return Err(SEVERAL_SERVERS),
        }
        if self.upstream.is_none() && self.server.is_some() {
            return Err(
                "`--server` chooses from the file of `--upstream`; use `--name` to name this server",
            );
        }
        if self.upstream.is_some() && self.name.is_some() {
            return Err(
                "`--name` is for a server given by `-- COMMAND` or `--url`; the file of `--upstream` names its own",
            );
        }
        if !is_url && (!self.header_env.is_empty() || self.bearer_env.is_some()) {
            return Err("`--header-env` and `--bearer-env` need `--url` or `--url-env`");
        }
        if !is_url && self.url_type.is_some() {
            return Err("`--url-type` needs `--url` or `--url-env`");
        }
        // Not clap's parser, whose error quotes the text: it may be the header itself, with a secret in it.
        let mut headers = self.header_env.iter();
        if headers.any(|text| header_variable(text).is_none()) {
            return Err(
                "`--header-env` takes `HEADER=VARIABLE`, such as `X-Api-Key=MY_KEY`; the value is read from that variable",
            );
        }
        Ok(())
    }
}

fn url_types() -> PossibleValuesParser {
    PossibleValuesParser::new(UrlType::WORDS.iter().map(|(word, _)| *word))
}

fn url_type(word: &str) -> Option<UrlType> {
    let mut words = UrlType::WORDS.iter();
    words
        .find(|(known, _)| *known == word)
        .map(|(_, kind)| *kind)
}

/// The flags of all settings.
#[derive(Debug, Clone)]
pub(super) struct AllSettings(pub(super) Box<Layer>);

/// The flags of the inbox: its folder, and how to serve its page.
#[derive(Debug, Clone)]
pub(super) struct InboxOptions(pub(super) Box<Layer>);

/// Only the folder of the inbox, before or after the name of a subcommand.
#[derive(Debug, Clone)]
pub(super) struct StateDirOption(pub(super) Box<Layer>);

/// Makes clap read the flags of the settings for which `$wanted` is true.
macro_rules! flags {
    ($name:ident, $wanted:expr, $change:expr) => {
        impl Args for $name {
            fn augment_args(command: Command) -> Command {
                command.args(arguments($wanted).map($change))
            }

            fn augment_args_for_update(command: Command) -> Command {
                $name::augment_args(command)
            }
        }

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<$name, clap::Error> {
                given(matches, $wanted).map(Box::new).map($name)
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = $name::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

flags!(AllSettings, |_| true, |argument| argument);
flags!(
    InboxOptions,
    |setting| setting.place == Place::Inbox,
    |argument| argument
);
flags!(
    StateDirOption,
    |setting| setting.name == "stateDir",
    |argument| argument.global(true).help_heading(None)
);

/// The `wanted` settings that have a flag, each with the flag's name.
fn flagged(wanted: fn(&Setting) -> bool) -> impl Iterator<Item = (&'static str, &'static Setting)> {
    let wanted = SETTINGS.iter().filter(move |setting| wanted(setting));
    wanted.filter_map(|setting| Some((setting.flag?.long, setting)))
}

fn arguments(wanted: fn(&Setting) -> bool) -> impl Iterator<Item = Arg> {
    flagged(wanted).filter_map(|(_, setting)| argument(setting))
}

/// The flag of a setting. It parses its value into a [`Layer`] that sets nothing else.
fn argument(setting: &'static Setting) -> Option<Arg> {
    let flag = setting.flag?;
    let help = help(setting);
    let argument = Arg::new(flag.long)
        .long(flag.long)
        .short(setting.short)
        .help_heading(flag.heading)
        .hide_short_help(setting.is_rare)
        .allow_negative_numbers(setting.form == Form::Number);
    let argument = match setting.more() {
        Some(more) => argument.long_help(format!("{help}\n\n{more}")),
        None => argument,
    };
    let argument = argument.help(help);
    if setting.form == Form::Switch {
        return Some(argument.action(ArgAction::SetTrue));
    }
    let argument = argument
        .value_name(flag.metavar)
        .value_parser(parser(setting));
    Some(argument.action(match setting.adds_up {
        true => ArgAction::Append,
        false => ArgAction::Set,
    }))
}

/// The help text of a setting.
fn help(setting: &Setting) -> String {
    let about = setting.about();
    match setting.fallback {
        Fallback::None => about,
        Fallback::Value(default) | Fallback::Words(default) => {
            format!("{about} [default: {default}]")
        }
    }
}

fn parser(setting: &'static Setting) -> ValueParser {
    let words = (setting.words)();
    if !words.is_empty() {
        let words = words.into_iter();
        let words = words.map(|(word, aliases)| PossibleValue::new(word).aliases(aliases));
        let parser = PossibleValuesParser::new(words);
        return parser.try_map(|text| setting.read_argument(&text)).into();
    }
    match setting.form {
        Form::Path => {
            let parser = PathBufValueParser::new();
            parser.try_map(|path| setting.read_path(&path)).into()
        }
        Form::Text | Form::Number | Form::Switch => {
            let read = |text: &str| -> Result<Layer, Fault> { setting.read_argument(text) };
            ValueParser::new(read)
        }
    }
}

/// Combines the `wanted` flags that were given.
fn given(matches: &ArgMatches, wanted: fn(&Setting) -> bool) -> Result<Layer, clap::Error> {
    let mut layer = Layer::default();
    for (long, setting) in flagged(wanted) {
        if setting.form == Form::Switch {
            if matches.get_flag(long) {
                let is_on = setting.read_argument("true");
                let is_on = is_on.map_err(|fault| clap::Error::raw(ErrorKind::InvalidValue, fault));
                layer = layer.over(is_on?);
            }
        } else {
            let values = matches.get_many::<Layer>(long).into_iter().flatten();
            layer = values.cloned().fold(layer, Layer::over);
        }
    }
    Ok(layer)
}

const NO_SERVER: &str = "no server is given; name the file that lists your MCP servers with `--upstream FILE`, or give the \
                         server's own command after `--`, or its URL with `--url`";
const SEVERAL_SERVERS: &str =
    "give one of `--upstream`, `--url`, `--url-env` and `-- COMMAND`: a proxy guards one server";

/// The name of a header, and that of the variable that holds its value.
fn header_variable(text: &str) -> Option<(String, String)> {
    let (header, variable) = text.split_once('=')?;
    let (header, variable) = (header.trim(), variable.trim());
    let is_whole = !header.is_empty() && !variable.is_empty();
    is_whole.then(|| (header.to_owned(), variable.to_owned()))
}

fn server_name(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected a name".to_owned()),
        name => Ok(name.to_owned()),
    }
}
