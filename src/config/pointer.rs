//! Writes JSON pointers (RFC 6901), and escapes untrusted text for a terminal.

use std::fmt;

/// The place of a value in a JSON document. The empty pointer means the whole document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// Returns the pointer to the member or element `segment` of this place.
    #[must_use]
    pub fn child(&self, segment: impl Into<String>) -> Pointer {
        let mut segments = self.0.clone();
        segments.push(segment.into());
        Pointer(segments)
    }

    /// Puts `outer` in front.
    #[must_use]
    pub fn within(self, outer: &Pointer) -> Pointer {
        Pointer(outer.0.iter().cloned().chain(self.0).collect())
    }

    /// Returns true if the first segment is `key`.
    #[must_use]
    pub fn begins_with(&self, key: &str) -> bool {
        self.0.first().is_some_and(|first| first == key)
    }

    /// Returns true if the last segment is `name`.
    #[must_use]
    pub fn ends_with(&self, name: &str) -> bool {
        self.0.last().is_some_and(|last| last == name)
    }

    /// Returns true if this is the whole document.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            let escaped = segment.replace('~', "~0").replace('/', "~1");
            write!(f, "/{}", shown(&escaped))?;
        }
        Ok(())
    }
}

/// Returns the first 80 characters of `text`, [`escaped`].
#[must_use]
pub fn shown(text: &str) -> String {
    let mut start: String = text.chars().take(LONGEST).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    escaped(&start)
}

/// Returns `text` as one line, with control, bidi and zero-width characters escaped.
///
/// A config file may come from somebody else. Its text must not control the operator's terminal.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars() {
        // `escape_debug` would escape these, but they are printable and common in paths.
        if matches!(character, '"' | '\'' | '\\') {
            line.push(character);
        } else {
            line.extend(character.escape_debug());
        }
    }
    line
}

const LONGEST: usize = 80;

#[cfg(test)]
mod tests {
    use super::{Pointer, shown};

    #[test]
    fn a_pointer_escapes_tilde_and_slash_as_rfc_6901_says() {
        let pointer = Pointer::default().child("mcpServers").child("a/b~c");
        assert_eq!(pointer.to_string(), "/mcpServers/a~1b~0c");
    }

    #[test]
    fn a_pointer_within_another_follows_it() {
        let outer = Pointer::default().child("a").child("b");
        let inner = Pointer::default().child("c");
        assert_eq!(inner.within(&outer).to_string(), "/a/b/c");
        assert!(Pointer::default().is_root());
        assert!(!outer.is_root());
    }

    #[test]
    fn untrusted_text_cannot_control_the_terminal() {
        let text = "\u{1b}[31m\n\u{202e}x\u{200b}";
        assert_eq!(shown(text), r"\u{1b}[31m\n\u{202e}x\u{200b}");
        let pointer = Pointer::default().child("\u{1b}[2J");
        assert_eq!(pointer.to_string(), r"/\u{1b}[2J");
    }

    #[test]
    fn printable_text_is_shown_as_it_is() {
        assert_eq!(shown(r#"C:\a "b" 'c' ü"#), r#"C:\a "b" 'c' ü"#);
    }

    #[test]
    fn long_text_is_cut_after_eighty_characters() {
        assert_eq!(shown(&"ü".repeat(80)), "ü".repeat(80));
        assert_eq!(shown(&"ü".repeat(81)), format!("{}…", "ü".repeat(80)));
    }
}
