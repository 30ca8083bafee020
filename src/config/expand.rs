//! `$VAR`, `${VAR}` and `${VAR:-default}` in the texts of a server's entry.
//!
//! It runs no command and reads no file; values are put in as they are, never expanded again.

use super::environment::Environment;
use super::error::Problem;

/// `text` with its variables replaced.
///
/// A `$` that no name and no `{` follows is a `$` (`$5`, `$$`, a lone `$`). A default is taken as
/// it stands, so `${DOLLAR:-$}` writes a `$` before a name. As in a shell, an empty variable
/// takes its default, and without one it is empty.
///
/// # Errors
/// A variable that is not set and has no default, a value that is not UTF-8, `${` that begins
/// none of the forms, a NUL. None of them tells a value.
pub(super) fn expand(text: &str, environment: &Environment) -> Result<String, Problem> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (value, tail) = match after.strip_prefix('{') {
            Some(body) => braced(body, environment)?,
            None => plain(after, environment)?,
        };
        expanded.push_str(value);
        rest = tail;
    }
    expanded.push_str(rest);
    if expanded.contains('\0') {
        return Err(Problem::Nul);
    }
    Ok(expanded)
}

/// The value and what is left, behind a `$`.
fn plain<'a>(after: &'a str, environment: &'a Environment) -> Result<(&'a str, &'a str), Problem> {
    let (name, tail) = split_name(after);
    match name {
        "" => Ok(("$", after)),
        _ => Ok((set(name, environment)?, tail)),
    }
}

/// The value and what is left, behind a `${`.
fn braced<'a>(body: &'a str, environment: &'a Environment) -> Result<(&'a str, &'a str), Problem> {
    let (inner, tail) = body.split_once('}').ok_or(Problem::BadExpansion)?;
    let (name, operator) = split_name(inner);
    let value = match operator.strip_prefix(":-") {
        _ if name.is_empty() => return Err(Problem::BadExpansion),
        None if operator.is_empty() => set(name, environment)?,
        None => return Err(Problem::BadExpansion),
        // A nested variable would end at the wrong brace; better say so than pass half of it.
        Some(default) if default.contains("${") => return Err(Problem::BadExpansion),
        Some(default) => match environment.get(name)? {
            None | Some("") => default,
            Some(value) => value,
        },
    };
    Ok((value, tail))
}

fn set<'a>(name: &str, environment: &'a Environment) -> Result<&'a str, Problem> {
    let value = environment.get(name)?;
    value.ok_or_else(|| Problem::Unset(name.to_owned()))
}

/// The name that `text` begins with, which may be empty, and what follows it.
fn split_name(text: &str) -> (&str, &str) {
    let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric();
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return ("", text);
    }
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or(("", text))
}

#[cfg(test)]
mod tests;
