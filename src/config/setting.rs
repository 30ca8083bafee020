//! A row of the table of settings: where the value may be set, how it is read, and its documentation.
//!
//! The rows are in `settings`.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use heck::ToShoutySnakeCase;
use serde_json::Value as Json;

use super::error::{Fault, Problem};
use super::settings::Layer;
use super::value::{Form, Input, Value};

/// Where a setting may be set, other than by its flag. Every key of a config file is also a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In `approvalRules`, in the entry of a server.
    Rules,
    /// In `approvalProxy`, once per file.
    Proxy,
    /// In either.
    Both,
    /// Not in a config file: a setting of the inbox, which commands without a config file need too.
    Inbox,
    /// Not in a config file: a setting of this process.
    Process,
}

/// What applies if no source sets a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// Nothing, or what the help text says.
    None,
    /// This value.
    Value(&'static str),
    /// The default described in words, because it is not a value that a person could write.
    Words(&'static str),
}

/// A flag of the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// The name after `--`.
    pub(crate) long: &'static str,
    /// The placeholder for the value in help texts; empty for a switch.
    pub(crate) metavar: &'static str,
    /// The heading that lists it in the help.
    pub(crate) heading: &'static str,
}

/// One row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    /// In camelCase. This is the key in a config file, if the setting may be set there.
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    has_variable: bool,
    pub(crate) flag: Option<Flag>,
    /// The flag's short form.
    pub(crate) short: Option<char>,
    /// Whether `-h` omits the flag.
    pub(crate) is_rare: bool,
    /// Whether the flag takes one element of a list at a time, not a comma list.
    takes_one: bool,
    pub(crate) fallback: Fallback,
    /// Whether the value is a secret, which must not be empty.
    pub(crate) is_secret: bool,
    docs: &'static [&'static str],
    /// The value's form on a command line.
    pub(crate) form: Form,
    /// Whether the values of all sources are combined. Otherwise the strongest source wins.
    pub(crate) adds_up: bool,
    /// The words that the value can be, each with its aliases; empty if it is not a word.
    pub(crate) words: fn() -> Vec<(&'static str, Vec<&'static str>)>,
    /// A JSON Schema of the value.
    schema: Option<fn() -> Json>,
    parse: fn(Input<'_>) -> Result<Layer, Fault>,
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

/// A setting of the inbox, without a key.
pub(super) const fn inbox(name: &'static str) -> Setting {
    Setting::new(name, Place::Inbox, false)
}

/// A setting of this process, without a key.
pub(super) const fn process(name: &'static str) -> Setting {
    Setting::new(name, Place::Process, false)
}

/// Builds a row; `settings` calls these.
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
            is_secret: false,
            docs: &[],
            form: Form::Text,
            adds_up: false,
            words: Vec::new,
            schema: None,
            parse: |_| Ok(Layer::default()),
        }
    }

    /// Adds a flag `--long METAVAR`.
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

    /// Adds a flag `--long`, which means `true`.
    pub(super) const fn switch(self, heading: &'static str, long: &'static str) -> Setting {
        self.flag(heading, long, "")
    }

    /// Gives the flag a short form.
    pub(super) const fn short(mut self, short: char) -> Setting {
        self.short = Some(short);
        self
    }

    /// Omits the flag from `-h`.
    pub(super) const fn rare(mut self) -> Setting {
        self.is_rare = true;
        self
    }

    /// Makes the flag take one element of a list at a time, not a comma list.
    pub(super) const fn one_at_a_time(mut self) -> Setting {
        self.takes_one = true;
        self
    }

    /// Adds a variable to a setting without a key.
    pub(super) const fn variable_too(mut self) -> Setting {
        self.has_variable = true;
        self
    }

    /// Sets the value that applies if no source sets one.
    pub(super) const fn default(mut self, text: &'static str) -> Setting {
        self.fallback = Fallback::Value(text);
        self
    }

    /// Describes in words what applies if no source sets a value.
    pub(super) const fn otherwise(mut self, words: &'static str) -> Setting {
        self.fallback = Fallback::Words(words);
        self
    }

    /// Marks a secret, which must not be empty if it is set.
    pub(super) const fn secret(mut self) -> Setting {
        self.is_secret = true;
        self
    }

    /// Replaces the schema of the value's type.
    pub(super) const fn described_by(mut self, schema: fn() -> Json) -> Setting {
        self.schema = Some(schema);
        self
    }

    /// Sets the documentation and the parser, and everything that follows from the field's type.
    pub(super) const fn of<F: Field>(
        mut self,
        docs: &'static [&'static str],
        parse: fn(Input<'_>) -> Result<Layer, Fault>,
    ) -> Setting {
        self.docs = docs;
        self.parse = parse;
        self.form = F::Value::FORM;
        self.adds_up = F::ADDS_UP;
        self.words = F::Value::words;
        if self.schema.is_none() {
            self.schema = Some(F::Value::schema);
        }
        self
    }
}

/// Reads a row.
impl Setting {
    /// Returns the key in a config file, if there is one.
    pub(crate) fn key(&self) -> Option<&'static str> {
        match self.place {
            Place::Rules | Place::Proxy | Place::Both => Some(self.name),
            Place::Inbox | Place::Process => None,
        }
    }

    /// Returns the environment variable, if there is one: `APPROVAL_` and the name in SCREAMING_SNAKE.
    pub(crate) fn variable(&self) -> Option<String> {
        let name = || format!("{PREFIX}{}", self.name.to_shouty_snake_case());
        self.has_variable.then(name)
    }

    /// Returns the first paragraph of the documentation.
    pub(crate) fn about(&self) -> String {
        let lines = self.docs.iter().map(|line| line.trim());
        let paragraph: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
        paragraph.join(" ")
    }

    /// Returns the documentation after the first paragraph, if there is any.
    pub(crate) fn more(&self) -> Option<String> {
        let lines = self.docs.iter().map(|line| line.trim());
        let rest: Vec<&str> = lines.skip_while(|line| !line.is_empty()).skip(1).collect();
        (!rest.is_empty()).then(|| rest.join(" "))
    }

    /// Returns a JSON Schema of the value.
    pub(crate) fn schema(&self) -> Json {
        self.schema.map_or(Json::Bool(true), |schema| schema())
    }

    /// Reads a value into a layer that holds nothing else.
    pub(super) fn read(&self, input: Input<'_>) -> Result<Layer, Fault> {
        let mut layer = (self.parse)(input)?;
        layer.given.add(self.name);
        Ok(layer)
    }

    /// Reads the value of the flag into a layer that holds nothing else.
    ///
    /// # Errors
    /// A bad value.
    pub(crate) fn read_argument(&self, text: &str) -> Result<Layer, Fault> {
        let input = match self.takes_one {
            true => Input::Element(text),
            false => Input::Argument(text),
        };
        self.read(input)
    }

    /// Reads the value of a flag that takes a path, which need not be UTF-8.
    ///
    /// # Errors
    /// A bad value.
    pub(crate) fn read_path(&self, path: &Path) -> Result<Layer, Fault> {
        self.read(Input::Path(path))
    }
}

/// A field of a layer. Its type decides how the values of several sources combine.
pub(super) trait Field: Default {
    /// The type of the value.
    type Value: Value;
    /// Whether the values of all sources are combined.
    const ADDS_UP: bool;

    /// Reads the field from one source.
    fn read(input: Input<'_>) -> Result<Self, Fault>;

    /// Combines this field with that of a weaker source.
    fn over(self, weaker: Self) -> Self;
}

/// The strongest source wins.
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

/// The lists of all sources are joined.
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
        // `--deny "$UNSET"` becomes `--deny ""`. The operator believes that it denies something.
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

/// A value that is checked but not kept.
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

// Derived implementations would require the same traits of `T`, which may be a secret.
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

/// The prefix of our variables.
pub(super) const PREFIX: &str = "APPROVAL_";
