//! Reads secrets: from variables, from files, or as they are written, if nobody else can read them there.
//!
//! Does not know which option of an engine is a secret; `engines` does.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::environment::Environment;
use super::error::ConfigError;
use super::expand::{expand, has_default, variables_of};
use super::floor::Source;
use super::resolve::Sources;
use super::settings::Layer;
use crate::sys::permissions::readable_by_others;
use crate::sys::secret::Secret;

/// The end of the key that names a file with the secret.
pub(super) const FILE: &str = "File";
/// The largest file with a secret, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// Reads secrets from variables and files.
pub(super) struct SecretReader<'a> {
    pub(super) environment: &'a Environment,
    /// Where they were written.
    pub(super) source: Option<&'a Source>,
}

impl<'a> SecretReader<'a> {
    /// Creates a reader of the secret that the strongest source sets for which `is_set` holds.
    fn of(
        sources: &'a Sources,
        environment: &'a Environment,
        is_set: impl Fn(&Layer) -> bool,
    ) -> SecretReader<'a> {
        let mut sources = sources.iter();
        let source = sources.find(|(_, layer)| is_set(layer));
        SecretReader {
            environment,
            source: source.map(|(source, _)| source),
        }
    }

    /// Returns a secret that was written as `text` under `key`.
    pub(super) fn text(&self, key: &str, text: &str) -> Result<String, String> {
        // A default is as literal as a text without a variable.
        if variables_of(text).next().is_none() || has_default(text) {
            self.refuse_readable(key)?;
        }
        let value = self.plain(key, text)?;
        match value.is_empty() {
            false => Ok(value),
            true => Err(match variables_of(text).next() {
                Some(variable) => format!("`{key}` is empty, because the variable `{variable}` is"),
                None => format!("`{key}` is empty"),
            }),
        }
    }

    /// Returns `text` with its variables replaced.
    pub(super) fn plain(&self, key: &str, text: &str) -> Result<String, String> {
        expand(text, self.environment).map_err(|bad| format!("`{key}`: {bad}"))
    }

    /// Returns the secret in the file that `path` names.
    pub(super) fn file(&self, key: &str, path: &Path) -> Result<String, String> {
        let path = self.environment.in_home(path.to_owned());
        let path = path.map_err(|error| format!("`{key}`: {error}"))?;
        let unreadable =
            |error: std::io::Error| format!("`{key}`: cannot read `{}`: {error}", path.display());
        let mut text = String::new();
        let file = File::open(&path).map_err(unreadable)?;
        // Of the opened file, in case the path is a link.
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_file()
            && let Some(exposure) = readable_by_others(&metadata)
        {
            return Err(format!(
                "`{key}`: other users may read `{}` ({exposure}); `chmod go-r` it",
                path.display()
            ));
        }
        let mut file = file.take(MAX_SECRET + 1);
        file.read_to_string(&mut text).map_err(unreadable)?;
        let secret = text.trim_end_matches(['\n', '\r']);
        let is_too_long = text.len() as u64 > MAX_SECRET;
        match secret {
            _ if is_too_long => Err(format!(
                "`{key}`: `{}` is larger than {MAX_SECRET} bytes",
                path.display()
            )),
            "" => Err(format!("`{key}`: `{}` is empty", path.display())),
            secret => Ok(secret.to_owned()),
        }
    }

    /// Refuses a secret in a file that others may read.
    fn refuse_readable(&self, key: &str) -> Result<(), String> {
        let Some(Source::File { file, .. }) = self.source else {
            return Ok(());
        };
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file);
        match metadata.and_then(|metadata| readable_by_others(&metadata)) {
            None => Ok(()),
            Some(exposure) => {
                // A header has no such key.
                let file = match key.contains('/') {
                    true => String::new(),
                    false => format!(" or `{key}{FILE}`"),
                };
                Err(format!(
                    "`{key}` is a secret, and other users may read this file ({exposure}); `chmod go-r` it, or write \
                     `${{VARIABLE}}`{file} instead"
                ))
            }
        }
    }
}

/// Reads the secret that signs decisions about approvals that agents ask for.
///
/// # Errors
/// A secret that cannot be read.
pub(super) fn decision_secret(
    layer: &Layer,
    sources: &Sources,
    environment: &Environment,
) -> Result<Option<Secret>, ConfigError> {
    const KEY: &str = "decisionSecret";
    let reader = SecretReader::of(sources, environment, |layer| {
        layer.decision_secret.is_some()
    });
    let text = layer.decision_secret.as_ref();
    read(KEY, text.map(|text| reader.text(KEY, text.as_written())))
}

/// Reads the token that is sent with questions.
///
/// # Errors
/// A token that cannot be read, or that is written twice.
pub(super) fn question_token(
    layer: &Layer,
    sources: &Sources,
    environment: &Environment,
) -> Result<Option<Secret>, ConfigError> {
    const KEY: &str = "approvalAuthToken";
    let reader = SecretReader::of(sources, environment, |layer| layer.question_token.is_some());
    let text = match (&layer.question_token, &layer.question_token_file) {
        (None, None) => None,
        (Some(_), Some(_)) => Some(Err(format!(
            "`{KEY}` and `{KEY}{FILE}` are both set; keep one"
        ))),
        (Some(text), None) => Some(reader.text(KEY, text.as_written())),
        (None, Some(path)) => Some(reader.file(&format!("{KEY}{FILE}"), path)),
    };
    read(KEY, text)
}

fn read(
    key: &'static str,
    text: Option<Result<String, String>>,
) -> Result<Option<Secret>, ConfigError> {
    let text = text.transpose();
    let text = text.map_err(|why| ConfigError::Secret { key, why })?;
    Ok(text.map(Secret::new))
}
