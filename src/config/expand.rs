//! `${NAME}` and `${NAME:-default}` in the texts of a server's entry.
//!
//! It runs no command and reads no file; values are put in as they are, never expanded again.

use super::environment::Environment;
use super::error::Problem;
use super::foreign_variables;

/// `text` with its variables replaced.
///
/// `$NAME` is text, since passwords and shell scripts hold it. `$${` writes `${`. A default is taken as
/// it stands, up to the brace that closes it. As in a shell, an empty variable takes its default, and
/// without one it is empty.
///
/// # Errors
/// A variable that is not set and has no default, a value that is not UTF-8, `${` that begins
/// neither form, a variable as another program writes it, a NUL. None of them tells a value.
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

/// The value and what is left, behind a `${`.
fn braced<'a>(body: &'a str, environment: &'a Environment) -> Result<(&'a str, &'a str), Problem> {
    let (name, operator) = split_name(body);
    if let Some(default) = operator.strip_prefix(":-")
        && !name.is_empty()
    {
        let (default, tail) = to_closing_brace(default).ok_or(Problem::BadExpansion)?;
        // Another variable in a default is not expanded; better say so than pass it on as text.
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

/// What stands before the brace that closes a default, and behind it. Braces in a default come in
/// pairs, as in `${LABELS:-{}}`; where they do not, the first one closes it, as in a shell.
fn to_closing_brace(text: &str) -> Option<(&str, &str)> {
    let mut open = 0_usize;
    // Behind the next variable there is nothing of this default.
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

/// The name that `text` begins with, which may be empty, and what follows it.
pub(super) fn split_name(text: &str) -> (&str, &str) {
    let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric();
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return ("", text);
    }
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or(("", text))
}

#[cfg(test)]
mod tests;
