//! Flags that several commands share, generated from the table of settings.
//!
//! `config` defines what the settings mean.

use std::path::PathBuf;

use clap::builder::{
    PathBufValueParser, PossibleValue, PossibleValuesParser, TypedValueParser as _, ValueParser,
};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{Fallback, Fault, Flags, Form, Layer, Place, SETTINGS, Setting};

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

    #[command(flatten)]
    settings: AllSettings,
}

impl ProxyOptions {
    /// Returns the flags in the form that `config` takes.
    #[must_use]
    pub(super) fn into_flags(self) -> Flags {
        Flags {
            // `Args::read` has refused options without it. If not, opening the empty path fails.
            upstream: self.upstream.unwrap_or_default(),
            server: self.server,
            layer: *self.settings.0,
        }
    }
}

/// The flags of all settings.
#[derive(Debug, Clone)]
pub(super) struct AllSettings(Box<Layer>);

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

const UPSTREAM: &str = "Upstream";
