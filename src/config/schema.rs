//! A JSON Schema of the config file for editors, generated from the table of settings.
//!
//! The proxy itself checks what a schema cannot express, such as the syntax of a glob.

use serde_json::{Map, Value as Json, json};

use super::engines::MinRisk;
use super::file::LISTS;
use super::number::Seconds;
use super::secrets::FILE;
use super::section::Section;
use super::setting::{Fallback, Setting};
use super::settings::SETTINGS;
use super::value::Value as _;
use crate::approval::render::Show;
use crate::engines::registry;
use crate::gate::OnFailure;

/// Returns a JSON Schema (2020-12) of a config file. It knows our keys; keys of other clients may hold anything.
#[must_use]
pub fn schema() -> Json {
    let entry = json!({"$ref": "#/$defs/entry"});
    // Anything that is not an object is not a server.
    let servers =
        json!({"additionalProperties": {"if": {"type": "object"}, "then": entry}, "items": entry});
    let mut file = Map::new();
    for list in LISTS {
        file.insert(list.to_owned(), servers.clone());
    }
    file.insert(Section::Rules.name().to_owned(), reference(Section::Rules));
    file.insert(Section::Proxy.name().to_owned(), reference(Section::Proxy));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Config file of approval-proxy",
        "type": ["object", "array"],
        "properties": file,
        "items": entry,
        "$defs": {
            "entry": {
                "type": "object",
                "properties": {Section::Rules.name(): reference(Section::Rules)},
            },
            Section::Rules.name(): keys(Section::Rules),
            Section::Proxy.name(): keys(Section::Proxy),
        },
    })
}

/// A JSON Schema (2020-12) of a user configuration.
#[must_use]
pub fn user_schema() -> Json {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "User configuration of approval-proxy",
        "type": "object",
        "properties": {
            "$schema": {"type": "string"},
            Section::Proxy.name(): reference(Section::Proxy),
            "servers": {"type": "object", "additionalProperties": reference(Section::Rules)},
            Section::Floor.name(): reference(Section::Floor),
        },
        "additionalProperties": false,
        "$defs": {
            Section::Rules.name(): keys(Section::Rules),
            Section::Proxy.name(): keys(Section::Proxy),
            Section::Floor.name(): keys(Section::Floor),
        },
    })
}

fn reference(section: Section) -> Json {
    json!({"$ref": format!("#/$defs/{}", section.name())})
}

/// The schema of one section, which allows no other keys.
fn keys(section: Section) -> Json {
    let settings = SETTINGS.iter().filter(|setting| section.takes(setting));
    let keys: Map<String, Json> = settings
        .map(|setting| (setting.name.to_owned(), described(setting)))
        .collect();
    json!({"type": ["object", "null"], "properties": keys, "additionalProperties": false})
}

/// The schema of a setting's value, with the row's documentation and default.
fn described(setting: &Setting) -> Json {
    let about = match setting.more() {
        Some(more) => format!("{}. {more}", setting.about()),
        None => setting.about(),
    };
    let mut schema = setting.schema();
    let default = default_of(setting, &schema);
    if let Json::Object(schema) = &mut schema {
        schema.insert("description".to_owned(), about.into());
        schema.extend(default.map(|default| ("default".to_owned(), default)));
    }
    schema
}

/// The default as JSON. The table holds it as the text of a variable.
fn default_of(setting: &Setting, schema: &Json) -> Option<Json> {
    let text = match setting.fallback {
        Fallback::Value(text) => text,
        Fallback::None | Fallback::Words(_) => return None,
    };
    Some(match schema.get("type").and_then(Json::as_str) {
        Some("array") => {
            let items = text.split(',');
            // Of numbers or of texts.
            items
                .map(|item| item.parse().map_or_else(|_| item.into(), Json::Number))
                .collect()
        }
        Some("number" | "integer" | "boolean") => serde_json::from_str(text).unwrap_or_default(),
        Some(_) | None => text.into(),
    })
}

/// The schema of `engines`: each element is an engine's name, or an object with its options.
pub(super) fn engines() -> Json {
    let words: Vec<&str> = super::engines::words().collect();
    let name = json!({"type": "string", "pattern": "^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$"});
    let common = [
        ("name", name.clone()),
        ("after", Seconds::schema()),
        ("timeout", Seconds::schema()),
        ("onTimeout", OnFailure::schema()),
        ("onTransportError", OnFailure::schema()),
        ("minRisk", MinRisk::schema()),
        ("show", Show::schema()),
    ];
    let common = || {
        let common = common.iter().cloned();
        common.map(|(key, schema)| (key.to_owned(), schema))
    };
    let named: Map<String, Json> = common().collect();
    let mut forms = vec![
        name.clone(),
        json!({
            "type": "object",
            "properties": named,
            "required": ["name"],
            "additionalProperties": false,
        }),
    ];
    for word in words {
        let mut properties = Map::from_iter([("type".to_owned(), json!({"const": word}))]);
        properties.extend(common());
        let options = registry::find(word)
            .into_iter()
            .flat_map(|engine| engine.options);
        for option in options {
            properties.insert(option.key.to_owned(), (option.schema)());
            if option.is_secret {
                let file = json!({"type": "string", "minLength": 1});
                properties.insert(format!("{}{FILE}", option.key), file);
            }
        }
        forms.push(json!({
            "type": "object",
            "properties": properties,
            "required": ["type"],
            "additionalProperties": false,
        }));
    }
    json!({"type": "array", "items": {"anyOf": forms}, "minItems": 1})
}

#[cfg(test)]
mod tests;
