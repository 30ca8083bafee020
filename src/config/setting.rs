//! One row of the table of settings: where a value may stand, how it is read, and what documents it.
//!
//! The rows themselves are in `settings`.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use heck::ToShoutySnakeCase;
use serde_json::Value as Json;

use super::error::{Fault, Problem};
use super::settings::Layer;
use super::value::{Form, Input, Value};

/// Where a setting may stand, beside its flag. Whatever may stand in a config file may be a variable, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In `approvalRules`, in the entry of a server.
    Rules,
    /// In `approvalProxy`, once in a file.
    Proxy,
    /// In either.
    Both,
    /// In no config file, since commands without one need it too: where the inbox is.
    Inbox,
    /// In no config file: how this process runs.
    Process,
}

/// Whether this version does something with the value, or only checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Now,
    Later,
}

/// What holds where no source says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// Nothing, or what the sentence says.
    None,
    /// This value.
    Value(&'static str),
    /// What these words say: it is no value that could be written.
    Words(&'static str),
}

/// A flag of the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// The name behind `--`.
    pub(crate) long: &'static str,
    /// What stands for the value in help texts; empty for a switch.
    pub(crate) metavar: &'static str,
    /// Under which heading the help lists it.
    pub(crate) heading: &'static str,
}

/// One row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    /// In camelCase: the key of a config file, if it may stand in one.
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    has_variable: bool,
    pub(crate) flag: Option<Flag>,
    /// The flag in one letter.
    pub(crate) short: Option<char>,
    /// Whether `-h` leaves the flag out.
    pub(crate) is_rare: bool,
    /// Whether the flag takes one element of a list at a time, and no comma list.
    takes_one: bool,
    pub(crate) fallback: Fallback,
    pub(crate) effect: Effect,
    /// Whether the value is a secret, which must not be empty.
    pub(crate) is_secret: bool,
    docs: &'static [&'static str],
    /// How the value looks, whatever it means.
    pub(crate) form: Form,
    /// Whether the values of all sources count together. Else the strongest source wins.
    pub(crate) adds_up: bool,
    /// The words that the value is one of, each with its aliases; empty where it is something else.
    pub(crate) words: fn() -> Vec<(&'static str, Vec<&'static str>)>,
    /// A JSON Schema of the value.
    schema: Option<fn() -> Json>,
    said: fn(Input<'_>) -> Result<Layer, Fault>,
}

/// A key of `approvalRules`, and its variable.
pub(super) const fn rules(name: &'static str) -> Setting {
    Setting::new(name, Place::Rules, true)
}

/// A key of `approvalProxy`, and its variable.
pub(super) const fn proxy(name: &'static str) -> Setting {
    Setting::new(name, Place::Proxy, true)
}

/// A key of both objects, and its variable.
pub(super) const fn both(name: &'static str) -> Setting {
    Setting::new(name, Place::Both, true)
}

/// A setting of the inbox, which has no key.
pub(super) const fn inbox(name: &'static str) -> Setting {
    Setting::new(name, Place::Inbox, false)
}

/// A setting of this process, which has no key.
pub(super) const fn process(name: &'static str) -> Setting {
    Setting::new(name, Place::Process, false)
}

/// What a row is made of; `settings` names it all.
impl Setting {
    const fn new(name: &'static str, place: Place, has_variable: bool) -> Setting {
        Setting {
            name,
            place,
            has_variable,
            flag: None,
            short: None,
            is_rare: false,
            takes_one: false,
            fallback: Fallback::None,
            effect: Effect::Now,
            is_secret: false,
            docs: &[],
            form: Form::Text,
            adds_up: false,
            words: Vec::new,
            schema: None,
            said: |_| Ok(Layer::default()),
        }
    }

    /// A flag `--long METAVAR`.
    pub(super) const fn flag(
        mut self,
        heading: &'static str,
        long: &'static str,
        metavar: &'static str,
    ) -> Setting {
        self.flag = Some(Flag {
            long,
            metavar,
            heading,
        });
        self
    }

    /// A flag `--long`, which stands for `true`.
    pub(super) const fn switch(self, heading: &'static str, long: &'static str) -> Setting {
        self.flag(heading, long, "")
    }

    /// The flag has a short form, too.
    pub(super) const fn short(mut self, short: char) -> Setting {
        self.short = Some(short);
        self
    }

    /// `-h` leaves the flag out.
    pub(super) const fn rare(mut self) -> Setting {
        self.is_rare = true;
        self
    }

    /// The flag takes one element of a list at a time, and no comma list.
    pub(super) const fn one_at_a_time(mut self) -> Setting {
        self.takes_one = true;
        self
    }

    /// A variable, although it has no key.
    pub(super) const fn variable_too(mut self) -> Setting {
        self.has_variable = true;
        self
    }

    /// The value that holds where no source says anything.
    pub(super) const fn default(mut self, text: &'static str) -> Setting {
        self.fallback = Fallback::Value(text);
        self
    }

    /// What holds where no source says anything, in words.
    pub(super) const fn otherwise(mut self, words: &'static str) -> Setting {
        self.fallback = Fallback::Words(words);
        self
    }

    /// Only checked for now.
    pub(super) const fn later(mut self) -> Setting {
        self.effect = Effect::Later;
        self
    }

    /// A secret, which must not be empty where it is set.
    pub(super) const fn secret(mut self) -> Setting {
        self.is_secret = true;
        self
    }

    /// Another schema than that of the value's type.
    pub(super) const fn described_by(mut self, schema: fn() -> Json) -> Setting {
        self.schema = Some(schema);
        self
    }

    /// Takes over what follows from the type of the field that the value goes into.
    pub(super) const fn of<F: Field>(
        mut self,
        docs: &'static [&'static str],
        said: fn(Input<'_>) -> Result<Layer, Fault>,
    ) -> Setting {
        self.docs = docs;
        self.said = said;
        self.form = F::Value::FORM;
        self.adds_up = F::ADDS_UP;
        self.words = F::Value::words;
        if self.schema.is_none() {
            self.schema = Some(F::Value::schema);
        }
        self
    }
}

/// What follows from a row.
impl Setting {
    /// The key of a config file.
    pub(crate) fn key(&self) -> Option<&'static str> {
        match self.place {
            Place::Rules | Place::Proxy | Place::Both => Some(self.name),
            Place::Inbox | Place::Process => None,
        }
    }

    /// The environment variable: `APPROVAL_` and the name in SCREAMING_SNAKE.
    pub(crate) fn variable(&self) -> Option<String> {
        let name = || format!("{PREFIX}{}", self.name.to_shouty_snake_case());
        self.has_variable.then(name)
    }

    /// The first paragraph of the documentation: what the setting is.
    pub(crate) fn about(&self) -> String {
        let lines = self.docs.iter().map(|line| line.trim());
        let paragraph: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
        paragraph.join(" ")
    }

    /// The documentation behind the first paragraph.
    pub(crate) fn more(&self) -> Option<String> {
        let lines = self.docs.iter().map(|line| line.trim());
        let rest: Vec<&str> = lines.skip_while(|line| !line.is_empty()).skip(1).collect();
        (!rest.is_empty()).then(|| rest.join(" "))
    }

    /// A JSON Schema of the value.
    pub(crate) fn schema(&self) -> Json {
        self.schema.map_or(Json::Bool(true), |schema| schema())
    }

    /// A layer that says nothing but this value, which was found under the name `spelled`.
    pub(super) fn read(&self, spelled: &str, input: Input<'_>) -> Result<Layer, Fault> {
        let mut layer = (self.said)(input)?;
        layer.given.add(self.name);
        if self.effect == Effect::Later {
            layer.without_effect.push(spelled.to_owned());
        }
        Ok(layer)
    }

    /// A layer that says nothing but what stands behind the flag.
    ///
    /// # Errors
    /// A bad value.
    pub(crate) fn read_argument(&self, text: &str) -> Result<Layer, Fault> {
        let input = match self.takes_one {
            true => Input::Element(text),
            false => Input::Argument(text),
        };
        self.read(self.name, input)
    }

    /// The same for a flag with a path, which need not be UTF-8.
    ///
    /// # Errors
    /// A bad value.
    pub(crate) fn read_path(&self, path: &Path) -> Result<Layer, Fault> {
        self.read(self.name, Input::Path(path))
    }
}

/// What a layer holds about a setting. The type of the field decides how values of several sources go together.
pub(super) trait Field: Default {
    /// What is read.
    type Value: Value;
    /// Whether the values of all sources count together.
    const ADDS_UP: bool;

    /// The field of a source that says this.
    fn read(input: Input<'_>) -> Result<Self, Fault>;

    /// What this and a weaker source say together.
    fn over(self, weaker: Self) -> Self;
}

/// The strongest source that says something wins.
impl<T: Value> Field for Option<T> {
    type Value = T;
    const ADDS_UP: bool = false;

    fn read(input: Input<'_>) -> Result<Option<T>, Fault> {
        input.read().map(Some)
    }

    fn over(self, weaker: Option<T>) -> Option<T> {
        self.or(weaker)
    }
}

/// Lists of all sources are united.
impl<T: Value> Field for Vec<T> {
    type Value = Vec<T>;
    const ADDS_UP: bool = true;

    fn read(input: Input<'_>) -> Result<Vec<T>, Fault> {
        let list: Vec<T> = match input {
            Input::Element(_) => vec![input.read()?],
            Input::Node(_) | Input::Text(_) | Input::Argument(_) | Input::Path(_) => {
                input.read()?
            }
        };
        // A variable that is not set leaves `--deny ""`, and an operator who believes that it counts.
        match list.is_empty() && matches!(input, Input::Argument(_)) {
            true => Err(Fault::from(Problem::Unexpected {
                expected: T::expected(),
                found: "none".to_owned(),
            })),
            false => Ok(list),
        }
    }

    fn over(mut self, weaker: Vec<T>) -> Vec<T> {
        self.extend(weaker);
        self
    }
}

/// A value that is checked where it is written, and not kept.
pub struct Checked<T>(PhantomData<fn() -> T>);

impl<T: Value> Field for Checked<T> {
    type Value = T;
    const ADDS_UP: bool = false;

    fn read(input: Input<'_>) -> Result<Checked<T>, Fault> {
        input.read::<T>().map(|_| Checked::default())
    }

    fn over(self, _weaker: Checked<T>) -> Checked<T> {
        self
    }
}

// What is derived would ask the same of the value, which may be a secret.
impl<T> Default for Checked<T> {
    fn default() -> Checked<T> {
        Checked(PhantomData)
    }
}

impl<T> Clone for Checked<T> {
    fn clone(&self) -> Checked<T> {
        Checked::default()
    }
}

impl<T> PartialEq for Checked<T> {
    fn eq(&self, _other: &Checked<T>) -> bool {
        true
    }
}

impl<T> fmt::Debug for Checked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checked")
    }
}

/// The settings that a layer says something about, by name: the source of a value can be named where it is refused.
///
/// Two layers that say the same are equal, whatever names their values go by.
#[derive(Debug, Clone, Default)]
pub struct Given(Vec<&'static str>);

impl Given {
    /// The names, in the order in which they were read.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.0
    }

    /// The first of `names` that something was said under.
    pub(super) fn first_of(&self, names: &[&'static str]) -> Option<&'static str> {
        self.0.iter().find(|name| names.contains(name)).copied()
    }

    /// Notes that something was said under `name`.
    pub(super) fn add(&mut self, name: &'static str) {
        self.0.push(name);
    }

    /// Both.
    #[must_use]
    pub(super) fn over(mut self, weaker: Given) -> Given {
        self.0.extend(weaker.0);
        self
    }
}

impl PartialEq for Given {
    fn eq(&self, _other: &Given) -> bool {
        true
    }
}

/// What the names of our variables begin with.
pub(super) const PREFIX: &str = "APPROVAL_";
