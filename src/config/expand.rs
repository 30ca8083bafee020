//! `${NAME}` and `${NAME:-default}` in the texts of a server's entry.
//!
//! Runs no command and reads no file. Values are inserted as they are and never expanded again. `entry` and
//! `environment` expand a leading `~/`.

use super::environment::Environment;
use super::error::Problem;
use super::foreign_variables;

/// Returns `text` with its variables replaced.
///
/// `$NAME` is plain text, because passwords and shell scripts contain it. `$${` stands for `${`. A default
/// ends at the brace that closes it and is not expanded. As in a shell, an empty variable takes its
/// default; without one, the result is empty.
///
/// # Errors
/// An unset variable without a default, a value that is not UTF-8, `${` that begins neither form, a
/// variable in another program's syntax, a NUL. No error contains a value.
pub(super) fn expand(text: &str, environment: &Environment) -> Result<String, Problem> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, body) = rest.split_at_checked(start).unwrap_or((rest, ""));
        let body = body.get(2..).unwrap_or_default();
        foreign_variables::check_text(before)?;
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = body;
        } else {
            expanded.push_str(before);
            let (value, tail) = braced(body, environment)?;
            expanded.push_str(value);
            rest = tail;
        }
    }
    foreign_variables::check_text(rest)?;
    expanded.push_str(rest);
    if expanded.contains('\0') {
        return Err(Problem::Nul);
    }
    Ok(expanded)
}

/// Splits the text after a `${` into the variable's value and the rest.
fn braced<'a>(body: &'a str, environment: &'a Environment) -> Result<(&'a str, &'a str), Problem> {
    let (name, operator) = split_name(body);
    if let Some(default) = operator.strip_prefix(":-")
        && !name.is_empty()
    {
        let (default, tail) = to_closing_brace(default).ok_or(Problem::BadExpansion)?;
        // A variable in a default is not expanded. Refuse it rather than pass it on as text.
        if default.contains("${") {
            return Err(Problem::NestedExpansion);
        }
        let value = match environment.get(name)? {
            None | Some("") => default,
            Some(value) => value,
        };
        return Ok((value, tail));
    }
    let (inner, tail) = body.split_once('}').ok_or(Problem::BadExpansion)?;
    if name.is_empty() || inner != name {
        return Err(foreign_variables::in_braces(inner));
    }
    let value = environment.get(name)?;
    let value = value.ok_or_else(|| foreign_variables::unset(name))?;
    Ok((value, tail))
}

/// Splits `text` at the brace that closes a default. Braces in a default come in pairs, as in
/// `${LABELS:-{}}`; if they do not, the first closing brace ends it, as in a shell.
fn to_closing_brace(text: &str) -> Option<(&str, &str)> {
    let mut open = 0_usize;
    // This default ends before the next variable.
    let before_next = text.split("${").next().unwrap_or_default();
    let end = before_next.find(|character| {
        match character {
            '{' => open += 1,
            '}' if open == 0 => return true,
            '}' => open -= 1,
            _ => {}
        }
        false
    });
    match end.and_then(|end| text.split_at_checked(end)) {
        Some((default, tail)) => Some((default, tail.get(1..)?)),
        None => text.split_once('}'),
    }
}

/// Splits `text` into the name at its start, which may be empty, and the rest.
pub(super) fn split_name(text: &str) -> (&str, &str) {
    let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric();
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return ("", text);
    }
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or(("", text))
}

/// Returns the names of the variables in a text, as [`expand`] reads it.
pub(super) fn variables_of(text: &str) -> impl Iterator<Item = &str> {
    variables_with_rest(text).map(|(name, _)| name)
}

/// Returns true if a variable in a text has a default that is not empty.
pub(super) fn has_default(text: &str) -> bool {
    let mut rests = variables_with_rest(text).map(|(_, rest)| rest);
    rests.any(|rest| rest.starts_with(":-") && !rest.starts_with(":-}"))
}

/// Returns each variable in a text, with what follows its name.
fn variables_with_rest(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let starts = text.match_indices("${");
    // `$${` is plain text.
    let starts = starts.filter(|(at, _)| !text.get(..*at).is_some_and(|text| text.ends_with('$')));
    let variables = starts.map(|(at, _)| split_name(text.get(at + 2..).unwrap_or_default()));
    variables.filter(|(name, _)| !name.is_empty())
}

#[cfg(test)]
mod tests;
