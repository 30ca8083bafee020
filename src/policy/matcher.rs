//! Finds the allow or deny entry that covers a tool's name.
//!
//! `decide` applies the result.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::Chars;

use globset::{GlobBuilder, GlobSet};

use super::PolicyError;
use crate::mcp::lenient;

/// Returns true if a person can read the name and distinguish it from every other name.
pub(super) fn is_readable(name: &str) -> bool {
    name.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Returns the form in which names are compared if a match lets a call pass.
///
/// Only ASCII letters lose their case, and only in plain ASCII names. Unicode folding would turn
/// the Kelvin sign into a `k`, and an entry would allow a tool that it does not name.
pub(super) fn trusted_key(name: &str) -> Cow<'_, str> {
    if is_readable(name) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Entries whose tools pass. If in doubt, they do not match.
#[derive(Debug, Clone)]
pub(super) struct AllowList {
    exact: BTreeMap<String, String>,
    globs: Globs,
}

impl AllowList {
    pub(super) fn new(entries: &[String]) -> Result<AllowList, PolicyError> {
        let mut exact = BTreeMap::new();
        let mut globs = Vec::new();
        for entry in non_empty(entries) {
            if is_glob(entry) {
                globs.push((entry, translate(entry)?));
            } else {
                let key = trusted_key(entry).into_owned();
                exact.entry(key).or_insert_with(|| entry.clone());
            }
        }
        Ok(AllowList {
            exact,
            globs: Globs::new(globs)?,
        })
    }

    /// Returns the entry that covers the tool: an exact one, else the first glob.
    pub(super) fn find(&self, tool: &str) -> Option<&str> {
        if !self.exact.is_empty()
            && let Some(entry) = self.exact.get(trusted_key(tool).as_ref())
        {
            return Some(entry);
        }
        // The author of `get_*` did not mean names that only look like `get_user`.
        if !is_readable(tool) || tool.trim() != tool {
            return None;
        }
        self.globs.find(tool)
    }
}

/// Entries whose tools are blocked. If in doubt, they match.
#[derive(Debug, Clone)]
pub(super) struct DenyList {
    exact: BTreeMap<String, String>,
    /// The exact entries by the name that a lenient server would read.
    lenient: BTreeMap<String, String>,
    globs: Globs,
}

impl DenyList {
    pub(super) fn new(entries: &[String]) -> Result<DenyList, PolicyError> {
        let (mut exact, mut lenient) = (BTreeMap::new(), BTreeMap::new());
        let mut globs = Vec::new();
        for entry in non_empty(entries) {
            let left = lenient::fold(entry);
            lenient.entry(left).or_insert_with(|| entry.clone());
            // A glob is also looked up as a name: `get[1]` blocks a tool with exactly this name.
            exact.entry(fold(entry)).or_insert_with(|| entry.clone());
            if is_glob(entry) {
                let pattern = translate(entry)?;
                let folded = translate(&fold_beyond_ascii(entry))?;
                if folded != pattern {
                    globs.push((entry, folded));
                }
                globs.push((entry, pattern));
            }
        }
        Ok(DenyList {
            exact,
            lenient,
            globs: Globs::new(globs)?,
        })
    }

    /// Returns the entry that covers the tool: an exact one, else the first glob.
    pub(super) fn find(&self, tool: &str) -> Option<&str> {
        if !self.exact.is_empty()
            && let Some(entry) = self.exact.get(&fold(tool))
        {
            return Some(entry);
        }
        let as_written = self.globs.find(&flatten(tool));
        if as_written.is_some() || tool.bytes().all(|b| b.is_ascii_graphic()) {
            return as_written;
        }
        // A server may trim `delete_user `, or read full-width letters as plain ones.
        let left = lenient::fold(tool);
        let is_meant = self.lenient.get(&left).map(String::as_str);
        is_meant
            .or_else(|| self.globs.find(&flatten(&fold(tool))))
            .or_else(|| self.globs.find(&flatten(&left)))
    }
}

/// The globs of one list, compiled together.
#[derive(Clone)]
struct Globs {
    set: GlobSet,
    /// The globs as the operator wrote them, at their index in `set`.
    entries: Vec<String>,
}

impl Globs {
    fn new(globs: Vec<(&String, String)>) -> Result<Globs, PolicyError> {
        let mut builder = GlobSet::builder();
        for (entry, pattern) in &globs {
            builder.add(compile(pattern).map_err(|source| glob_error(entry, source))?);
        }
        let set = match builder.build() {
            Ok(set) => set,
            Err(source) => return Err(find_bad_glob(&globs, source)),
        };
        let entries = globs.into_iter().map(|(entry, _)| entry.clone()).collect();
        Ok(Globs { set, entries })
    }

    fn find(&self, name: &str) -> Option<&str> {
        // Most calls match nothing, and `is_match` finds that without allocating.
        if !self.set.is_match(name) {
            return None;
        }
        let first = *self.set.matches(name).first()?;
        self.entries.get(first).map(String::as_str)
    }
}

/// The derived implementation would print the compiled automaton, thousands of lines long.
impl fmt::Debug for Globs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.entries).finish()
    }
}

fn compile(pattern: &str) -> Result<globset::Glob, globset::Error> {
    GlobBuilder::new(pattern).case_insensitive(true).build()
}

/// Finds the glob that does not compile. The compiler rejects a set without naming it.
fn find_bad_glob(globs: &[(&String, String)], source: globset::Error) -> PolicyError {
    for (entry, pattern) in globs {
        let alone = compile(pattern).and_then(|glob| GlobSet::new([glob]));
        if let Err(source) = alone {
            return glob_error(entry, source);
        }
    }
    PolicyError::TooManyGlobs {
        count: globs.len(),
        source,
    }
}

fn glob_error(entry: &str, source: globset::Error) -> PolicyError {
    PolicyError::Glob {
        pattern: entry.to_owned(),
        source,
    }
}

/// Skips empty entries, which may come from the environment. They name no tool.
fn non_empty(entries: &[String]) -> impl Iterator<Item = &String> {
    entries.iter().filter(|entry| !entry.is_empty())
}

fn is_glob(entry: &str) -> bool {
    entry.contains(['*', '?', '['])
}

/// Translates a glob from our syntax to one that globset reads the same way.
///
/// In globset, `{`, `}`, `\` and `**` have meanings that they do not have here, and `[a-c-e]`
/// becomes `a-e`. It also matches bytes, so characters beyond ASCII are replaced as in `flatten`.
fn translate(glob: &str) -> Result<String, PolicyError> {
    let mut pattern = String::with_capacity(glob.len());
    let mut chars = glob.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' if pattern.ends_with('*') => {}
            '{' => pattern.push_str("[{]"),
            '}' => pattern.push_str("[}]"),
            '\\' => pattern.push_str("[\\]"),
            '[' => translate_class(&mut chars, &mut pattern).map_err(|fault| match fault {
                ClassFault::Unclosed => PolicyError::UnclosedClass(glob.to_owned()),
                ClassFault::Range => PolicyError::BadRange(glob.to_owned()),
                ClassFault::Unreadable => PolicyError::UnreadableClass(glob.to_owned()),
            })?,
            c => pattern.push(stand_in(c)),
        }
    }
    Ok(pattern)
}

enum ClassFault {
    Unclosed,
    Range,
    Unreadable,
}

/// Copies a class after its `[`, if globset and a person read it the same way.
fn translate_class(chars: &mut Chars<'_>, pattern: &mut String) -> Result<(), ClassFault> {
    pattern.push('[');
    if chars.as_str().starts_with(['!', '^']) {
        pattern.push('!');
        chars.next();
    }
    let mut first = true;
    loop {
        let low = class_char(chars)?;
        pattern.push(low);
        if low == ']' && !first {
            return Ok(());
        }
        first = false;
        if is_range_ahead(chars) {
            chars.next();
            let high = class_char(chars)?;
            // globset would read `[a-c-e]` as `[a-e]`, more than intended.
            if high < low || is_range_ahead(chars) {
                return Err(ClassFault::Range);
            }
            pattern.push('-');
            pattern.push(high);
        }
    }
}

fn class_char(chars: &mut Chars<'_>) -> Result<char, ClassFault> {
    match chars.next() {
        Some(c @ ' '..='~') => Ok(c),
        Some(_) => Err(ClassFault::Unreadable),
        None => Err(ClassFault::Unclosed),
    }
}

/// A `-` at the end of a class is a member of it.
fn is_range_ahead(chars: &Chars<'_>) -> bool {
    let rest = chars.as_str();
    rest.starts_with('-') && !rest.starts_with("-]")
}

/// Maps each character to one byte, so that `?` and `[!x]` count characters in every name.
///
/// All characters beyond ASCII map to the same byte. A deny glob with such a character may block
/// too much, but never too little.
fn flatten(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(name.chars().map(stand_in).collect())
    }
}

fn stand_in(c: char) -> char {
    if c.is_ascii() { c } else { '\u{7f}' }
}

/// Folds case in any script; `ß` becomes `ss` and the Kelvin sign `k`.
fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    name.chars().flat_map(fold_char).collect()
}

/// ASCII stays unchanged: in a class, `[A-_]` is a valid range and `[a-_]` is not.
fn fold_beyond_ascii(glob: &str) -> String {
    let mut folded = String::with_capacity(glob.len());
    for c in glob.chars() {
        if c.is_ascii() {
            folded.push(c);
        } else {
            folded.extend(fold_char(c));
        }
    }
    folded
}

fn fold_char(c: char) -> impl Iterator<Item = char> {
    // Lower case first: only the small `ß` has an upper-case form `SS`, `ẞ` has none.
    c.to_lowercase()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
}

#[cfg(test)]
mod tests;
