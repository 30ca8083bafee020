//! The fields of an item's form, which a yes must fill in: shows them, and reads what was typed.
//!
//! `approval::form` says what fits. Everything here is the agent's words, and goes back to the agent.

use serde_json::Map;

use super::form::Form as Sent;
use super::html::Html;
use crate::approval::form::{BadAnswer, Field, Form, Format, Kind};
use crate::approval::item::Item;

/// How much of a label, a choice or a name is shown, in characters.
const LABEL_LIMIT: usize = 120;
/// How much of a description is shown, in characters.
const DESCRIPTION_LIMIT: usize = 400;

/// Appends the fields of the item's form, if it has one. `sent` is what was typed before.
pub(super) fn fields(item: &Item, sent: Option<&Sent>, html: &mut Html) {
    let Some(form) = &item.form else {
        return;
    };
    html.raw("<fieldset class=\"answers\"><legend>To approve, fill this in</legend>");
    html.raw("<p class=\"note\">The agent wrote these questions and gets your answers. Enter no passphrase here.</p>");
    match Form::parse(form) {
        Some(form) => {
            for (at, one) in form.fields().iter().enumerate() {
                field(at, one, sent, html);
            }
        }
        None => {
            html.raw(
                "<p class=\"warning\">The form cannot be read, so this can only be denied.</p>",
            );
        }
    }
    html.raw("</fieldset>");
}

fn field(at: usize, field: &Field, sent: Option<&Sent>, html: &mut Html) {
    let name = format!("field-{at}");
    let typed = |name: &str| sent.map(|sent| sent.get(name).to_owned());
    if let Kind::Several { choices, .. } = &field.kind {
        html.raw("<fieldset class=\"field\"><legend>");
        label(field, html);
        html.raw("</legend>");
        let default = field
            .default
            .as_ref()
            .and_then(|default| default.as_array());
        for (number, choice) in choices.iter().enumerate() {
            let name = format!("{name}-{number}");
            let is_default = default.is_some_and(|all| all.contains(&choice.value.as_str().into()));
            let is_on = typed(&name).map_or(is_default, |typed| !typed.is_empty());
            html.raw("<label class=\"box\"><input type=\"checkbox\" name=\"")
                .value(&name);
            html.raw(if is_on { "\" checked>" } else { "\">" });
            html.quoted(&choice.title, LABEL_LIMIT, "left out")
                .raw("</label>");
        }
        html.raw("</fieldset>");
        return;
    }
    let default = field.default.as_ref();
    let default = default.map(|default| match default.as_str() {
        Some(text) => text.to_owned(),
        None => default.to_string(),
    });
    html.raw("<label class=\"field\"><span>");
    label(field, html);
    html.raw("</span>");
    match &field.kind {
        Kind::One(choices) => {
            let values = choices
                .iter()
                .map(|choice| (&*choice.value, &*choice.title));
            let place =
                default.and_then(|default| choices.iter().position(|it| it.value == default));
            let chosen = typed(&name).or(place.map(|place| place.to_string()));
            select(
                &name,
                values.map(|(_, title)| title),
                chosen.as_deref(),
                field.is_required,
                html,
            );
        }
        Kind::Boolean => {
            let place = default.map(|default| if default == "true" { "0" } else { "1" }.to_owned());
            let chosen = typed(&name).or(place);
            select(
                &name,
                ["Yes", "No"].into_iter(),
                chosen.as_deref(),
                field.is_required,
                html,
            );
        }
        Kind::Text { .. } | Kind::Number { .. } | Kind::Several { .. } => {
            html.raw("<input name=\"")
                .value(&name)
                .raw("\" autocomplete=\"off\" value=\"");
            html.value(&typed(&name).or(default).unwrap_or_default());
            html.raw(if field.is_required {
                "\" required"
            } else {
                "\""
            });
            bounds(&field.kind, html);
            html.raw(">");
        }
    }
    html.raw("</label>");
}

fn label(field: &Field, html: &mut Html) {
    html.raw("<bdi class=\"name\">")
        .quoted(field.label(), LABEL_LIMIT, "left out")
        .raw("</bdi>");
    html.raw(if field.is_required { "" } else { " (optional)" });
    if let Some(description) = &field.description {
        html.raw(" <small>")
            .quoted(description, DESCRIPTION_LIMIT, "left out")
            .raw("</small>");
    }
    html.raw(" <small class=\"quiet\">")
        .text(&field.expected())
        .raw("</small>");
}

/// Appends a list to choose from. The values are the places of the titles.
fn select<'a>(
    name: &str,
    titles: impl Iterator<Item = &'a str>,
    chosen: Option<&str>,
    is_required: bool,
    html: &mut Html,
) {
    html.raw("<select name=\"").value(name);
    html.raw(if is_required { "\" required>" } else { "\">" });
    html.raw("<option value=\"\">–</option>");
    for (place, title) in titles.enumerate() {
        let place = place.to_string();
        html.raw("<option value=\"").value(&place);
        html.raw(if chosen == Some(&*place) {
            "\" selected>"
        } else {
            "\">"
        });
        html.quoted(title, LABEL_LIMIT, "left out").raw("</option>");
    }
    html.raw("</select>");
}

/// Appends the attributes that let a browser check what is typed.
fn bounds(kind: &Kind, html: &mut Html) {
    match kind {
        Kind::Text { length, format } => {
            html.raw(match format {
                Some(Format::Date) => " type=\"date\"",
                Some(Format::Email) => " type=\"text\" inputmode=\"email\"",
                Some(Format::Uri) => " type=\"text\" inputmode=\"url\"",
                Some(Format::DateTime) | None => " type=\"text\"",
            });
            // Browsers count in UTF-16, and so at least as many.
            html.raw(" minlength=\"").number(count(*length.start()));
            html.raw("\" maxlength=\"")
                .number(count(*length.end()).saturating_mul(2))
                .raw("\"");
        }
        Kind::Number {
            is_integer,
            minimum,
            maximum,
        } => {
            html.raw(" type=\"number\" step=\"");
            html.raw(if *is_integer { "1\"" } else { "any\"" });
            for (attribute, bound) in [(" min=\"", minimum), (" max=\"", maximum)] {
                if let Some(bound) = bound {
                    html.raw(attribute).value(&bound.to_string()).raw("\"");
                }
            }
        }
        Kind::Boolean | Kind::One(_) | Kind::Several { .. } => {}
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// Reads the answers to the item's form, as a JSON object. `None` if it has no form.
///
/// # Errors
/// [`BadAnswer`]: the first answer that does not fit.
pub(super) fn read(item: &Item, sent: &Sent) -> Result<Option<String>, BadAnswer> {
    let Some(form) = &item.form else {
        return Ok(None);
    };
    let form = Form::parse(form).ok_or_else(|| BadAnswer {
        name: "form".to_owned(),
        problem: "cannot be read".to_owned(),
    })?;
    let mut answers = Map::new();
    for (at, field) in form.fields().iter().enumerate() {
        let name = format!("field-{at}");
        let place = sent.get(&name);
        let chosen = |places: &[String]| -> Vec<String> {
            let places = places
                .iter()
                .filter_map(|place| place.parse::<usize>().ok());
            let choices = places.filter_map(|place| field.choices().get(place));
            choices.map(|choice| choice.value.clone()).collect()
        };
        let typed: Vec<String> = match &field.kind {
            Kind::Several { choices, .. } => {
                let places = (0..choices.len()).map(|number| number.to_string());
                let is_on = |place: &String| !sent.get(&format!("{name}-{place}")).is_empty();
                chosen(&places.filter(is_on).collect::<Vec<_>>())
            }
            Kind::One(_) => chosen(&[place.to_owned()]),
            Kind::Boolean => match place {
                "0" => vec!["true".to_owned()],
                "1" => vec!["false".to_owned()],
                _ => Vec::new(),
            },
            Kind::Text { .. } | Kind::Number { .. } => vec![place.to_owned()],
        };
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        answers.extend(
            field
                .value_of(&typed)
                .map(|value| (field.name.clone(), value)),
        );
    }
    form.check(&answers)?;
    Ok(serde_json::to_string(&answers).ok())
}
