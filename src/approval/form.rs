//! A form that the approver fills in: a flat JSON Schema, as an MCP elicitation has it.
//!
//! Specification 2025-11-25 and 2026-07-28, "Elicitation", "Requested Schema". Pages and terminals show the fields and
//! turn what people type into values; the gate counts a yes only if its answers fit.

use std::fmt;
use std::ops::RangeInclusive;

use chrono::{DateTime, NaiveDate};
use serde_json::{Map, Value};

/// The most fields.
pub const MAX_FIELDS: usize = 32;
/// The longest name of a field, in characters.
const MAX_NAME: usize = 64;
/// The longest title, description or choice, in characters.
const MAX_TEXT: usize = 1_000;
/// The most choices of all fields together.
const MAX_CHOICES: usize = 64;
/// The longest answer in a text field, in characters.
pub const MAX_ANSWER: usize = 4_000;
/// The names that an approval's own answer uses.
const RESERVED: [&str; 2] = ["approved", "reason"];

/// A form.
#[derive(Debug, Clone, PartialEq)]
pub struct Form(Vec<Field>);

/// A field of a form.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The name of its value in the answers.
    pub name: String,
    /// What people see in place of the name.
    pub title: Option<String>,
    /// What people should know.
    pub description: Option<String>,
    /// Whether it must be filled in.
    pub is_required: bool,
    /// What it takes.
    pub kind: Kind,
    /// What it holds before anybody has typed.
    pub default: Option<Value>,
}

/// What a field takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A text.
    Text {
        /// How many characters it has.
        length: RangeInclusive<usize>,
        /// What it must be, if not any text.
        format: Option<Format>,
    },
    /// A number.
    Number {
        /// Whether it has no fraction.
        is_integer: bool,
        /// The least.
        minimum: Option<f64>,
        /// The greatest.
        maximum: Option<f64>,
    },
    /// Yes or no.
    Boolean,
    /// One of these.
    One(Vec<Choice>),
    /// Some of these.
    Several {
        /// All there are.
        choices: Vec<Choice>,
        /// How many.
        count: RangeInclusive<usize>,
    },
}

/// A choice of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What the answers hold.
    pub value: String,
    /// What people see.
    pub title: String,
}

/// A format of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A mail address.
    Email,
    /// An absolute URI.
    Uri,
    /// A day, such as `2026-12-01`.
    Date,
    /// A moment, such as `2026-12-01T09:30:00Z`.
    DateTime,
}

impl Format {
    const WORDS: [(&'static str, Format); 4] = [
        ("email", Format::Email),
        ("uri", Format::Uri),
        ("date", Format::Date),
        ("date-time", Format::DateTime),
    ];

    fn fits(self, text: &str) -> bool {
        let is_visible = |text: &str| !text.chars().any(|c| c.is_whitespace() || c.is_control());
        match self {
            Format::Email => {
                let parts = text.rsplit_once('@');
                is_visible(text)
                    && parts.is_some_and(|(who, host)| !who.is_empty() && !host.is_empty())
            }
            Format::Uri => {
                let scheme = text
                    .split_once(':')
                    .map(|(scheme, rest)| (scheme, !rest.is_empty()));
                is_visible(text)
                    && scheme.is_some_and(|(scheme, has_rest)| {
                        has_rest
                            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                            && scheme
                                .chars()
                                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                    })
            }
            // Chrono also takes `2026-7-1`.
            Format::Date => text.len() == 10 && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok(),
            Format::DateTime => DateTime::parse_from_rfc3339(text).is_ok(),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Format::Email => "a mail address",
            Format::Uri => "a URI, such as https://example.org",
            Format::Date => "a day, such as 2026-12-01",
            Format::DateTime => "a moment, such as 2026-12-01T09:30:00Z",
        }
    }
}

/// Why a schema is no form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{at}` of the form {problem}")]
pub struct BadForm {
    /// The JSON pointer of the fault.
    at: String,
    problem: String,
}

fn bad(at: &str, problem: impl Into<String>) -> BadForm {
    let at = match at {
        "" => "/".to_owned(),
        at => at.escape_debug().to_string(),
    };
    BadForm {
        at,
        problem: problem.into(),
    }
}

/// Why an answer does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the field {} {problem}", super::display::quoted_text(.name, MAX_NAME))]
pub struct BadAnswer {
    /// The field's name.
    pub name: String,
    /// What is wrong, to follow the name.
    pub problem: String,
}

impl Form {
    /// Reads a schema: an object whose properties are texts, numbers, booleans and choices. Bounds: [`MAX_FIELDS`] and
    /// the other constants of this module.
    ///
    /// # Errors
    /// [`BadForm`]: anything else, unknown keywords included, since nobody would keep to them.
    pub fn read(schema: &Value) -> Result<Form, BadForm> {
        let object = Keywords::new(schema, "")?;
        object.only(&[
            "$schema",
            "type",
            "properties",
            "required",
            "additionalProperties",
        ])?;
        object.is("type", "object")?;
        if !matches!(
            object.get("additionalProperties"),
            None | Some(Value::Bool(false))
        ) {
            return Err(bad("/additionalProperties", "must be false or missing"));
        }
        let properties = object.get("properties").and_then(Value::as_object);
        let properties = properties.ok_or_else(|| bad("/properties", "must be an object"))?;
        if properties.is_empty() || properties.len() > MAX_FIELDS {
            return Err(bad(
                "/properties",
                format!("must have 1 to {MAX_FIELDS} members"),
            ));
        }
        let required = object.texts("required")?.unwrap_or_default();
        if let Some(unknown) = required
            .iter()
            .find(|name| !properties.contains_key(**name))
        {
            return Err(bad(
                "/required",
                format!("names `{}`, which is no property", unknown.escape_debug()),
            ));
        }
        let fields = properties.iter().map(|(name, schema)| {
            let is_required = required.contains(&&**name);
            Field::read(name, schema, is_required)
        });
        let fields: Vec<Field> = fields.collect::<Result<_, _>>()?;
        let choices: usize = fields.iter().map(|field| field.choices().len()).sum();
        match choices <= MAX_CHOICES {
            true => Ok(Form(fields)),
            false => Err(bad(
                "/properties",
                format!("must have at most {MAX_CHOICES} choices in all"),
            )),
        }
    }

    /// Reads a schema from its text. `None` if it is no form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Form> {
        Form::read(&serde_json::from_str(text).ok()?).ok()
    }

    /// Returns the fields, in the order of their names.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.0
    }

    /// Checks answers.
    ///
    /// # Errors
    /// [`BadAnswer`]: the first one that is wrong, missing or unknown.
    pub fn check(&self, answers: &Map<String, Value>) -> Result<(), BadAnswer> {
        for field in &self.0 {
            let wrong = |problem: String| BadAnswer {
                name: field.name.clone(),
                problem,
            };
            match answers.get(&field.name) {
                Some(value) => field.check(value).map_err(wrong)?,
                None if field.is_required => return Err(wrong("must be filled in".to_owned())),
                None => {}
            }
        }
        let is_known = |name: &String| self.0.iter().any(|field| field.name == *name);
        match answers.keys().find(|name| !is_known(name)) {
            Some(name) => Err(BadAnswer {
                name: name.clone(),
                problem: "is not part of the form".to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Returns true if a yes with these answers, an object as text, counts.
    #[must_use]
    pub fn accepts(&self, answers: Option<&str>) -> bool {
        let answers = answers.and_then(|text| serde_json::from_str(text).ok());
        answers.is_some_and(|answers| self.check(&answers).is_ok())
    }
}

/// Returns true if a yes with these `answers` to this `form`, both as texts, counts. A form that cannot be read takes none.
#[must_use]
pub fn accepts(form: Option<&str>, answers: Option<&str>) -> bool {
    match form {
        Some(form) => Form::parse(form).is_some_and(|form| form.accepts(answers)),
        None => answers.is_none(),
    }
}

impl Field {
    fn read(name: &str, schema: &Value, is_required: bool) -> Result<Field, BadForm> {
        let at = format!("/properties/{}", name.replace('~', "~0").replace('/', "~1"));
        let is_hidden = |c: char| c.is_control() || super::display::is_invisible(c);
        let length = name.chars().count();
        if length == 0 || length > MAX_NAME || name.contains(is_hidden) {
            return Err(bad(
                &at,
                format!("must have a name of 1 to {MAX_NAME} visible characters"),
            ));
        }
        if RESERVED.contains(&name) {
            return Err(bad(
                &at,
                "has a name that the approval itself uses; call it otherwise",
            ));
        }
        let keywords = Keywords::new(schema, &at)?;
        let kind = Kind::read(&keywords)?;
        let field = Field {
            name: name.to_owned(),
            title: keywords.text("title")?,
            description: keywords.text("description")?,
            is_required,
            kind,
            default: keywords.get("default").cloned(),
        };
        match field.default.as_ref().map(|default| field.check(default)) {
            Some(Err(problem)) => Err(bad(&format!("{at}/default"), problem)),
            Some(Ok(())) | None => Ok(field),
        }
    }

    /// Returns what people call the field.
    #[must_use]
    pub fn label(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.name)
    }

    /// Returns the choices, if it has any.
    #[must_use]
    pub fn choices(&self) -> &[Choice] {
        match &self.kind {
            Kind::One(choices) | Kind::Several { choices, .. } => choices,
            Kind::Text { .. } | Kind::Number { .. } | Kind::Boolean => &[],
        }
    }

    /// Returns what the field takes, as words that follow "must be".
    #[must_use]
    pub fn expected(&self) -> String {
        match &self.kind {
            Kind::Text { length, format } => {
                let what = format.map_or("a text", Format::as_str);
                match (*length.start(), *length.end()) {
                    (0, MAX_ANSWER) => what.to_owned(),
                    (least, MAX_ANSWER) => format!("{what} of at least {}", characters(least)),
                    (0, most) => format!("{what} of at most {}", characters(most)),
                    (least, most) => format!("{what} of {least} to {}", characters(most)),
                }
            }
            Kind::Number {
                is_integer,
                minimum,
                maximum,
            } => {
                let what = if *is_integer {
                    "a whole number"
                } else {
                    "a number"
                };
                match (minimum, maximum) {
                    (None, None) => what.to_owned(),
                    (Some(least), None) => format!("{what}, at least {least}"),
                    (None, Some(most)) => format!("{what}, at most {most}"),
                    (Some(least), Some(most)) => format!("{what} from {least} to {most}"),
                }
            }
            Kind::Boolean => "true or false".to_owned(),
            Kind::One(_) => "one of the choices".to_owned(),
            Kind::Several { choices, count } => match (*count.start(), *count.end()) {
                (0, most) if most >= choices.len() => "some of the choices, or none".to_owned(),
                (least, most) if most >= choices.len() => {
                    format!("at least {least} of the choices")
                }
                (0, most) => format!("at most {most} of the choices"),
                (least, most) => format!("{least} to {most} of the choices"),
            },
        }
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        let is_choice = |value: &Value| {
            let mut choices = self.choices().iter();
            choices.any(|choice| value.as_str() == Some(&*choice.value))
        };
        let fits = match &self.kind {
            Kind::Text { length, format } => value.as_str().is_some_and(|text| {
                length.contains(&text.chars().count())
                    && format.is_none_or(|format| format.fits(text))
            }),
            Kind::Number {
                is_integer,
                minimum,
                maximum,
            } => value.as_f64().is_some_and(|number| {
                (!is_integer || number.fract() == 0.0)
                    && minimum.is_none_or(|least| number >= least)
                    && maximum.is_none_or(|most| number <= most)
            }),
            Kind::Boolean => value.is_boolean(),
            Kind::One(_) => is_choice(value),
            Kind::Several { count, .. } => value.as_array().is_some_and(|values| {
                let is_new = |(at, value)| !values.iter().take(at).any(|earlier| earlier == value);
                count.contains(&values.len())
                    && values.iter().all(is_choice)
                    && values.iter().enumerate().all(is_new)
            }),
        };
        match fits {
            true => Ok(()),
            false => Err(format!("must be {}", self.expected())),
        }
    }

    /// Turns what a person typed or picked into a value. `None` if that is nothing. The result may still not fit:
    /// [`Form::check`] says so.
    #[must_use]
    pub fn value_of(&self, typed: &[&str]) -> Option<Value> {
        let first = typed.first().copied().unwrap_or_default();
        match &self.kind {
            Kind::Several { .. } => {
                (!typed.is_empty() || self.is_required).then(|| Value::from(typed))
            }
            _ if typed.is_empty() || first.is_empty() => None,
            Kind::Text { .. } | Kind::One(_) => Some(first.into()),
            Kind::Boolean => Some(match first {
                "true" => true.into(),
                "false" => false.into(),
                other => other.into(),
            }),
            // JSON's own grammar, so that `0x10` and `1,5` are no numbers.
            Kind::Number { .. } => {
                let number = serde_json::from_str::<serde_json::Number>(first.trim());
                Some(number.map_or_else(|_| first.into(), Value::Number))
            }
        }
    }
}

fn characters(count: usize) -> String {
    match count {
        1 => "1 character".to_owned(),
        count => format!("{count} characters"),
    }
}

impl Kind {
    fn read(keywords: &Keywords<'_>) -> Result<Kind, BadForm> {
        const SHARED: [&str; 4] = ["type", "title", "description", "default"];
        let only = |own: &[&str]| keywords.only(&[&SHARED[..], own].concat());
        match keywords.get("type").and_then(Value::as_str) {
            Some("string") if keywords.get("enum").is_some() => {
                only(&["enum", "enumNames"])?;
                let values = keywords.texts("enum")?.unwrap_or_default();
                let titles = keywords
                    .texts("enumNames")?
                    .unwrap_or_else(|| values.clone());
                if titles.len() != values.len() {
                    return Err(keywords.bad("enumNames", "must have as many items as `enum`"));
                }
                let choices = values.iter().zip(titles);
                let choices = choices.map(|(value, title)| Choice::new(value, title));
                keywords.choices("enum", choices.collect()).map(Kind::One)
            }
            Some("string") if keywords.get("oneOf").is_some() => {
                only(&["oneOf"])?;
                keywords.titled("oneOf").map(Kind::One)
            }
            Some("string") => {
                only(&["minLength", "maxLength", "format"])?;
                let format = match keywords.get("format") {
                    None => None,
                    Some(word) => {
                        let mut known = Format::WORDS.iter();
                        let found = known.find(|(known, _)| word.as_str() == Some(known));
                        let wrong =
                            || keywords.bad("format", "must be email, uri, date or date-time");
                        Some(found.ok_or_else(wrong)?.1)
                    }
                };
                let length = keywords.range("minLength", "maxLength", MAX_ANSWER)?;
                Ok(Kind::Text { length, format })
            }
            Some(kind @ ("number" | "integer")) => {
                only(&["minimum", "maximum"])?;
                let (minimum, maximum) = (keywords.number("minimum")?, keywords.number("maximum")?);
                if minimum.is_some_and(|least| maximum.is_some_and(|most| least > most)) {
                    return Err(keywords.bad("minimum", "is greater than `maximum`"));
                }
                Ok(Kind::Number {
                    is_integer: kind == "integer",
                    minimum,
                    maximum,
                })
            }
            Some("boolean") => only(&[]).map(|()| Kind::Boolean),
            Some("array") => {
                only(&["items", "minItems", "maxItems"])?;
                let items = keywords.get("items").unwrap_or(&Value::Null);
                let items = Keywords::new(items, &format!("{}/items", keywords.at))?;
                let choices = match items.get("enum") {
                    Some(_) => {
                        items.only(&["type", "enum"])?;
                        items.is("type", "string")?;
                        let values = items.texts("enum")?.unwrap_or_default();
                        let choices = values.iter().map(|value| Choice::new(value, value));
                        items.choices("enum", choices.collect())?
                    }
                    None => {
                        items.only(&["anyOf"])?;
                        items.titled("anyOf")?
                    }
                };
                let count = keywords.range("minItems", "maxItems", choices.len())?;
                Ok(Kind::Several { choices, count })
            }
            _ => Err(keywords.bad(
                "type",
                "must be string, number, integer, boolean, or array with choices: a form is flat",
            )),
        }
    }
}

impl Choice {
    fn new(value: &str, title: &str) -> Choice {
        Choice {
            value: value.to_owned(),
            title: title.to_owned(),
        }
    }
}

/// The keywords of a schema.
struct Keywords<'a> {
    members: &'a Map<String, Value>,
    /// The JSON pointer of the schema.
    at: String,
}

impl<'a> Keywords<'a> {
    fn new(schema: &'a Value, at: &str) -> Result<Keywords<'a>, BadForm> {
        let members = schema
            .as_object()
            .ok_or_else(|| bad(at, "must be an object"))?;
        Ok(Keywords {
            members,
            at: at.to_owned(),
        })
    }

    fn bad(&self, keyword: &str, problem: impl fmt::Display) -> BadForm {
        bad(&format!("{}/{keyword}", self.at), problem.to_string())
    }

    fn get(&self, keyword: &str) -> Option<&'a Value> {
        self.members.get(keyword)
    }

    fn only(&self, known: &[&str]) -> Result<(), BadForm> {
        match self
            .members
            .keys()
            .find(|keyword| !known.contains(&&***keyword))
        {
            Some(other) => Err(self.bad(other, "is not a keyword that forms have here")),
            None => Ok(()),
        }
    }

    fn is(&self, keyword: &str, word: &str) -> Result<(), BadForm> {
        match self.get(keyword).and_then(Value::as_str) == Some(word) {
            true => Ok(()),
            false => Err(self.bad(keyword, format_args!("must be \"{word}\""))),
        }
    }

    fn text(&self, keyword: &str) -> Result<Option<String>, BadForm> {
        let fits = |text: &&str| text.chars().count() <= MAX_TEXT;
        match self.get(keyword) {
            None => Ok(None),
            Some(value) => match value.as_str().filter(fits) {
                Some(text) => Ok(Some(text.to_owned())),
                None => Err(self.bad(
                    keyword,
                    format_args!("must be a text of at most {MAX_TEXT} characters"),
                )),
            },
        }
    }

    fn texts(&self, keyword: &str) -> Result<Option<Vec<&'a str>>, BadForm> {
        let Some(value) = self.get(keyword) else {
            return Ok(None);
        };
        let texts = value
            .as_array()
            .and_then(|values| values.iter().map(Value::as_str).collect());
        texts
            .map(Some)
            .ok_or_else(|| self.bad(keyword, "must be a list of texts"))
    }

    fn number(&self, keyword: &str) -> Result<Option<f64>, BadForm> {
        match self.get(keyword) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.bad(keyword, "must be a number")),
            },
        }
    }

    /// Returns a range of sizes; from 0 to `most` if nothing is said.
    fn range(&self, from: &str, to: &str, most: usize) -> Result<RangeInclusive<usize>, BadForm> {
        let size = |keyword, usual: usize| match self.get(keyword) {
            None => Ok(usual),
            Some(value) => {
                // JSON Schema: a number without a fraction is an integer, however it is written.
                let size = value.as_f64().filter(|size| size.fract() == 0.0);
                let size = size.filter(|size| (0.0..=1e9).contains(size));
                size.map(|size| size as usize)
                    .ok_or_else(|| self.bad(keyword, "must be a whole number, at least 0"))
            }
        };
        let (least, most) = (size(from, 0)?, size(to, most)?.min(most));
        match least <= most {
            true => Ok(least..=most),
            false => Err(self.bad(from, format_args!("must be at most {most}"))),
        }
    }

    /// Returns choices with titles.
    fn titled(&self, keyword: &str) -> Result<Vec<Choice>, BadForm> {
        let wrong = || {
            self.bad(
                keyword,
                "must be a list of objects with `const` and `title`, both texts",
            )
        };
        let all = self
            .get(keyword)
            .and_then(Value::as_array)
            .ok_or_else(wrong)?;
        let choices = all.iter().map(|choice| {
            let text = |member: &str| choice.get(member).and_then(Value::as_str);
            let is_all = choice.as_object().is_some_and(|members| members.len() == 2);
            Some(Choice::new(text("const")?, text("title")?)).filter(|_| is_all)
        });
        let choices = choices.collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
        self.choices(keyword, choices)
    }

    fn choices(&self, keyword: &str, choices: Vec<Choice>) -> Result<Vec<Choice>, BadForm> {
        let mut values: Vec<&str> = choices.iter().map(|choice| &*choice.value).collect();
        values.sort_unstable();
        values.dedup();
        let fits = |text: &str| !text.is_empty() && text.chars().count() <= MAX_TEXT;
        let all_fit = choices
            .iter()
            .all(|choice| fits(&choice.value) && fits(&choice.title));
        match !choices.is_empty() && values.len() == choices.len() && all_fit {
            true => Ok(choices),
            false => Err(self.bad(
                keyword,
                format_args!("must be different texts of 1 to {MAX_TEXT} characters"),
            )),
        }
    }
}

#[cfg(test)]
mod tests;
