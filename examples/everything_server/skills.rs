//! A skill (skills extension, SEP-2640): a folder of files that clients list and read as resources.

use rmcp::ErrorData;
use rmcp::model::{
    DIRECTORY_MIME_TYPE, Resource, ResourceContents, Skill, SkillFrontmatter, SkillResource,
    SkillResources,
};
use serde_json::json;

const NAME: &str = "short-notes";
const DESCRIPTION: &str = "How to write a note that is read";
const FOLDER: &str = "skill://short-notes";
const SUBFOLDER: &str = "skill://short-notes/examples";
/// The URI of the skill.
const MAIN_FILE: &str = "skill://short-notes/SKILL.md";
const EXAMPLE_FILE: &str = "skill://short-notes/examples/good.md";
/// Its front matter must equal [`NAME`] and [`DESCRIPTION`]: the suite compares them.
const MAIN_TEXT: &str = "---\nname: short-notes\ndescription: How to write a note that is read\n\
                         ---\n\nSay the one thing first. Then stop.\n";
const EXAMPLE_TEXT: &str = "Milk is out.\n";

/// Answers `skills/list`.
pub(crate) fn all() -> Vec<Skill> {
    let files = vec![
        SkillResource::from_bytes(MAIN_FILE, MAIN_TEXT.as_bytes()),
        SkillResource::from_bytes(EXAMPLE_FILE, EXAMPLE_TEXT.as_bytes()),
    ];
    vec![Skill::new(
        MAIN_FILE,
        SkillFrontmatter::new(NAME, DESCRIPTION),
        SkillResources::Files(files),
    )]
}

/// Answers `skills/get`.
pub(crate) fn get(uri: &str) -> Result<Skill, ErrorData> {
    all()
        .into_iter()
        .find(|skill| skill.uri == uri)
        .ok_or_else(|| unknown("no such skill", uri))
}

/// Answers `resources/directory/read`.
pub(crate) fn folder(uri: &str) -> Result<Vec<Resource>, ErrorData> {
    match uri {
        FOLDER => Ok(vec![
            main_file(),
            Resource::new(SUBFOLDER, "examples").with_mime_type(DIRECTORY_MIME_TYPE),
        ]),
        SUBFOLDER => Ok(vec![
            Resource::new(EXAMPLE_FILE, "good.md").with_mime_type(MARKDOWN),
        ]),
        _ => Err(unknown("no such folder", uri)),
    }
}

/// The only file of the skill that is listed among the resources.
pub(crate) fn main_file() -> Resource {
    Resource::new(MAIN_FILE, NAME)
        .with_description(DESCRIPTION)
        .with_mime_type(MARKDOWN)
}

/// A file of the skill.
pub(crate) fn read(uri: &str) -> Option<ResourceContents> {
    let text = match uri {
        MAIN_FILE => MAIN_TEXT,
        EXAMPLE_FILE => EXAMPLE_TEXT,
        _ => return None,
    };
    Some(ResourceContents::text(text, uri).with_mime_type(MARKDOWN))
}

fn unknown(what: &'static str, uri: &str) -> ErrorData {
    ErrorData::invalid_params(what, Some(json!({ "uri": uri })))
}

const MARKDOWN: &str = "text/markdown";
