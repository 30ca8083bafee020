//! Edits of a text: ranges with what replaces them. All other bytes stay as they are.
//!
//! It does not know about servers; `guard` does.

use std::ops::Range;

use super::syntax::{Layout, Member, Node, Syntax, line_end, line_start};

/// Edits that are collected, then applied at once.
#[derive(Debug)]
pub(super) struct Edits<'t> {
    text: &'t str,
    syntax: Syntax,
    list: Vec<(Range<usize>, String)>,
    /// Where the entry starts that is being edited.
    entry: usize,
}

impl<'t> Edits<'t> {
    pub(super) fn new(text: &'t str, syntax: Syntax) -> Edits<'t> {
        Edits {
            text,
            syntax,
            list: Vec::new(),
            entry: 0,
        }
    }

    /// Says which entry is edited next: the one at these bytes.
    pub(super) fn enter(&mut self, entry: &Range<usize>) {
        self.entry = entry.start;
    }

    /// The language of the text.
    pub(super) fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// The bytes of a value, as they are written.
    pub(super) fn raw(&self, node: &Node) -> &'t str {
        self.slice(node.at.clone())
    }

    /// Replaces a range.
    pub(super) fn replace(&mut self, at: Range<usize>, with: impl Into<String>) {
        self.list.push((at, with.into()));
    }

    /// Replaces a value by a string.
    pub(super) fn replace_by_text(&mut self, node: &Node, text: &str) {
        let literal = self.syntax.literal(text);
        self.replace(node.at.clone(), literal);
    }

    /// Gives a member another key.
    pub(super) fn rename(&mut self, member: &Member, key: &str) {
        let key = self.syntax.key(key);
        match &member.layout {
            Layout::Dotted(places) => {
                for place in places.clone() {
                    self.replace(place, key.clone());
                }
            }
            Layout::Braces | Layout::Line | Layout::Table => {
                self.replace(member.key_at.clone(), key);
            }
        }
    }

    /// Replaces a member by others, each a key with its value as it is to be written.
    pub(super) fn replace_member(&mut self, member: &Member, by: &[(&str, String)]) {
        let written = self.written(member, by);
        let separator = self.separator(member);
        // A comment at the end of the line stays with the first.
        if member.layout == Layout::Line
            && let [first, rest @ ..] = written.as_slice()
        {
            self.replace(member.at(), first.as_str());
            self.insert_lines(member, rest);
            return;
        }
        let comments = self.comments(member.key_at.end..member.node.at.start);
        let written = written.join(&separator);
        self.replace(member.at(), format!("{comments}{written}"));
    }

    /// Returns the comments in a part of a text with braces, so that they can stand there alone.
    fn comments(&self, part: Range<usize>) -> String {
        let newline = self.newline_at(part.start);
        let comments = self.syntax.comments(self.slice(part)).into_iter();
        let comments = comments.map(|comment| match comment.starts_with("/*") {
            true => format!("{comment} "),
            false => format!("{comment}{newline}"),
        });
        comments.collect()
    }

    /// Adds members behind one.
    pub(super) fn insert_after(&mut self, member: &Member, new: &[(&str, String)]) {
        let written = self.written(member, new);
        if member.layout == Layout::Line {
            return self.insert_lines(member, &written);
        }
        let separator = self.separator(member);
        let end = member.at().end;
        for one in written {
            self.replace(end..end, format!("{separator}{one}"));
        }
    }

    /// Adds members behind the last one of a map that gets another key.
    pub(super) fn append_to_renamed(&mut self, map: &Member, key: &str, new: &[(&str, String)]) {
        let Some(last) = map.node.members().last() else {
            return;
        };
        let Some(place) = self.last_place(map) else {
            return self.insert_after(last, new);
        };
        // The new lines begin as the last one, but with the new key.
        let end = line_end(self.text, last.at().end);
        let start = line_start(self.text, last.key_at.start);
        let beginning = [
            self.newline_at(start),
            self.slice(start..place.start),
            &self.syntax.key(key),
            self.slice(place.end..last.key_at.start),
        ];
        let beginning = beginning.concat();
        for one in self.written(last, new) {
            self.replace(end..end, format!("{beginning}{one}"));
        }
    }

    /// Returns where the key of a map stands in front of that of its last member.
    fn last_place(&self, map: &Member) -> Option<Range<usize>> {
        let last = map.node.members().last()?;
        let Layout::Dotted(places) = &map.layout else {
            return None;
        };
        let mut before = places.iter().filter(|place| place.end <= last.key_at.start);
        before.next_back().cloned()
    }

    fn insert_lines(&mut self, member: &Member, written: &[String]) {
        let end = line_end(self.text, member.at().end);
        let separator = self.separator(member);
        for one in written {
            self.replace(end..end, format!("{separator}{one}"));
        }
    }

    fn written(&self, member: &Member, new: &[(&str, String)]) -> Vec<String> {
        let assignment = self.assignment(member);
        let written = new
            .iter()
            .map(|(key, value)| format!("{}{assignment}{value}", self.syntax.key(key)));
        written.collect()
    }

    /// Returns what stands between the key and the value of a member, unless there is a comment.
    fn assignment(&self, member: &Member) -> &'t str {
        let between = self.slice(member.key_at.end..member.node.at.start);
        let is_plain = |c: char| matches!(c, ' ' | ':' | '=');
        match !between.is_empty() && between.chars().all(is_plain) {
            true => between,
            false => self.syntax.assignment(),
        }
    }

    /// Returns what separates a new member from the one beside it.
    fn separator(&self, member: &Member) -> String {
        let start = member.key_at.start;
        match member.layout {
            Layout::Braces => format!(",{}", self.gap(start)),
            // Behind a dotted key stands another one with the same beginning.
            Layout::Line | Layout::Table | Layout::Dotted(_) => {
                let line = line_start(self.text, start);
                format!("{}{}", self.newline_at(start), self.slice(line..start))
            }
        }
    }

    /// Returns the blanks in front of an element or key: what separates those behind it too.
    fn gap(&self, start: usize) -> String {
        let before = self.slice(0..start);
        let rest = before.trim_end_matches([' ', '\t', '\r', '\n']);
        let gap = before.get(rest.len()..).unwrap_or_default();
        match gap.contains('\n') {
            true => {
                let from = gap.rfind('\n').unwrap_or_default();
                let indent = gap.get(from + 1..).unwrap_or_default();
                format!("{}{indent}", self.newline_at(rest.len()))
            }
            // A comment stands in front of it.
            false if rest.ends_with("*/") => " ".to_owned(),
            // `{ "a": 1 }` and `{"a": 1}` both have a blank behind the comma, `{"a":1}` has none.
            false if rest.ends_with(['{', '[']) => self.blank().to_owned(),
            false => gap.to_owned(),
        }
    }

    /// Returns the blank that this file writes behind commas.
    fn blank(&self) -> &'static str {
        let is_dense =
            self.syntax == Syntax::Json && self.text.contains("\":") && !self.text.contains("\": ");
        match is_dense {
            true => "",
            false => " ",
        }
    }

    /// Returns the line break at the end of the line that contains the byte `at`; of the last line, that of the file.
    fn newline_at(&self, at: usize) -> &'static str {
        let rest = self.slice(line_end(self.text, at)..self.text.len());
        let is_windows = match rest.is_empty() {
            true => self.text.contains("\r\n"),
            false => rest.starts_with('\r'),
        };
        match is_windows {
            true => "\r\n",
            false => "\n",
        }
    }

    /// Writes a list on one line.
    pub(super) fn list(&self, literals: &[String]) -> String {
        format!("[{}]", literals.join(&format!(",{}", self.blank())))
    }

    /// Puts new elements in front of all others.
    pub(super) fn prepend(&mut self, list: &Node, literals: &[String]) {
        match list.elements().and_then(<[Node]>::first) {
            Some(first) => self.insert_before(first, literals),
            None => {
                let inside = list.at.start + 1;
                let literals = literals.join(&format!(",{}", self.blank()));
                self.replace(inside..inside, literals);
            }
        }
    }

    /// Puts new elements in front of one.
    pub(super) fn insert_before(&mut self, element: &Node, literals: &[String]) {
        let start = element.at.start;
        let separator = format!(",{}", self.gap(start));
        let new: String = literals
            .iter()
            .map(|literal| format!("{literal}{separator}"))
            .collect();
        self.replace(start..start, new);
    }

    /// Removes all elements of a list, and writes `with` for it unless there are comments in it.
    pub(super) fn clear(&mut self, list: &Node, with: &str) {
        let elements = list.elements().unwrap_or_default();
        let (Some(first), Some(last)) = (elements.first(), elements.last()) else {
            return;
        };
        let before = self.slice(list.at.start + 1..first.at.start);
        let behind = self.slice(last.at.end..list.at.end.saturating_sub(1));
        let is_blank = |c: char| c.is_whitespace() || c == ',';
        match before.chars().chain(behind.chars()).all(is_blank) {
            true => self.replace(list.at.clone(), with),
            false => self.remove_first(elements, elements.len()),
        }
    }

    /// Removes the first `count` elements of a list.
    pub(super) fn remove_first(&mut self, elements: &[Node], count: usize) {
        let (Some(first), Some(last)) = (elements.first(), elements.get(count.saturating_sub(1)))
        else {
            return;
        };
        let end = match elements.get(count) {
            Some(next) => next.at.start,
            None => self
                .comma(last.at.end)
                .map_or(last.at.end, |comma| comma + 1),
        };
        self.replace(first.at.start..end, "");
    }

    /// Removes members of one map.
    pub(super) fn remove(&mut self, members: &[Member], is_removed: impl Fn(&Member) -> bool) {
        let mut kept: Option<&Member> = None;
        for member in members {
            if !is_removed(member) {
                kept = Some(member);
                continue;
            }
            match member.layout {
                Layout::Line | Layout::Table | Layout::Dotted(_) => self.remove_lines(member),
                Layout::Braces => self.remove_in_braces(member, kept),
            }
        }
    }

    fn remove_lines(&mut self, member: &Member) {
        if let Layout::Dotted(_) = member.layout {
            // Other keys may stand between its lines.
            let members = member.node.members().iter();
            return members.for_each(|member| self.remove_lines(member));
        }
        let at = member.at();
        let start = line_start(self.text, at.start);
        let end = line_end(self.text, at.end);
        let comments = self.syntax.comments(self.slice(start..end));
        if !comments.is_empty() {
            let line = self.slice(start..end);
            let indent = line.len() - line.trim_start().len();
            let separator = format!(
                "{}{}",
                self.newline_at(start),
                self.slice(start..start + indent)
            );
            self.replace(start + indent..end, comments.join(&separator));
            return;
        }
        if start <= self.entry {
            // The line break behind it, so that nothing in front of the entry changes.
            let end = end + self.newline_at(start).len();
            return self.replace(start..end.min(self.text.len()), "");
        }
        // The line break in front of it, so that nothing behind the entry changes.
        let before = self.slice(0..start);
        let before = before.strip_suffix('\n').unwrap_or(before);
        let before = before.strip_suffix('\r').unwrap_or(before);
        self.replace(before.len()..end, "");
    }

    fn remove_in_braces(&mut self, member: &Member, kept: Option<&Member>) {
        let at = member.at();
        let comments = self.comments(at.clone());
        let Some(comma) = self.comma(at.end) else {
            // The last one: the comma in front of it goes.
            let comma = kept.and_then(|kept| self.comma(kept.at().end));
            let blank = self.slice(0..at.start).trim_end().len();
            match comma {
                Some(comma) if comma + 1 == blank && comments.is_empty() => {
                    self.replace(comma..at.end, "");
                }
                Some(comma) => {
                    self.replace(comma..comma + 1, "");
                    self.replace(at, comments);
                }
                None => self.replace(at, comments),
            }
            return;
        };
        if !comments.is_empty() {
            self.replace(comma..comma + 1, "");
            return self.replace(at, comments);
        }
        let start = line_start(self.text, at.start);
        let is_alone = self.slice(start..at.start).trim().is_empty();
        let rest = self.slice(comma + 1..self.text.len());
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let behind = rest.get(blanks..).unwrap_or_default();
        let line_break = match () {
            () if behind.starts_with("\r\n") => 2,
            () if behind.starts_with('\n') => 1,
            () => 0,
        };
        match is_alone && line_break > 0 && comma == at.end {
            true => self.replace(start..comma + 1 + blanks + line_break, ""),
            false if comma == at.end => self.replace(at.start..comma + 1 + blanks, ""),
            false => {
                self.replace(comma..comma + 1, "");
                self.replace(at, "");
            }
        }
    }

    /// Returns the place of the next comma, if only blanks and comments stand in front of it.
    fn comma(&self, from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            let rest = self.text.get(at..)?;
            let blanks = rest.len() - rest.trim_start().len();
            at += blanks;
            let rest = self.text.get(at..)?;
            let is_line = rest.starts_with("//") || rest.starts_with('#');
            at += match (is_line, rest.strip_prefix("/*")) {
                (true, _) => rest.find('\n')?,
                (false, Some(body)) => body.find("*/")? + 4,
                (false, None) => return rest.starts_with(',').then_some(at),
            };
        }
    }

    /// Returns the text with all edits. Of overlapping edits, only the first counts.
    pub(super) fn apply(&mut self) -> String {
        self.list.sort_by_key(|(at, _)| (at.start, at.end));
        let mut done = 0;
        self.list.retain(|(at, _)| {
            let counts = at.start >= done;
            done = done.max(at.end);
            counts
        });
        let mut out = String::with_capacity(self.text.len() + 256);
        let mut done = 0;
        for (at, with) in &self.list {
            out.push_str(self.slice(done..at.start));
            out.push_str(with);
            done = at.end;
        }
        out.push_str(self.slice(done..self.text.len()));
        out
    }

    /// Returns how long a part of the text is now that the edits are applied. No edit crosses its ends.
    pub(super) fn new_length(&self, part: &Range<usize>) -> usize {
        let inside = self
            .list
            .iter()
            .filter(|(at, _)| part.start <= at.start && at.end <= part.end);
        let (removed, added) = inside.fold((0, 0), |(removed, added), (at, with)| {
            (removed + at.len(), added + with.len())
        });
        (part.len() + added).saturating_sub(removed)
    }

    fn slice(&self, at: Range<usize>) -> &'t str {
        self.text.get(at).unwrap_or_default()
    }
}
