//! Finds secrets inside a text: after a name, in a URL, or by their own form.
//!
//! It returns their positions; `redact` decides what replaces them.
//!
//! Nearly no text contains one, and this search must not slow down the record of a passed call. So it looks for the
//! bytes near which a secret can be, with vector instructions, and inspects only their surroundings.

use std::ops::Range;

use super::tokens;

/// Returns true if a name's value is a secret.
pub(super) type IsSecret<'f> = &'f dyn Fn(&str) -> bool;

/// Appends the positions of secrets in a text. They may overlap.
///
/// If `is_cut`, the text continues beyond what we see, and anything at its end that could be the beginning of a secret
/// counts as one.
pub(super) fn find(
    text: &str,
    is_cut: bool,
    is_secret: IsSecret<'_>,
    found: &mut Vec<Range<usize>>,
) {
    if text.len() < SHORTEST {
        return;
    }
    let scan = Scan {
        text,
        bytes: text.as_bytes(),
        is_cut,
        is_secret,
    };
    let mut end = 0;
    for at in memchr::memchr3_iter(b':', b'=', b'>', scan.bytes) {
        // Anything inside a secret is hidden already.
        if at >= end
            && let Some(secret) = scan.at_separator(at, 1)
        {
            end = secret.end;
            found.push(secret);
        }
    }
    if text.len() < tokens::SHORTEST {
        return;
    }
    for at in memchr::memchr3_iter(b'_', b'-', b'.', scan.bytes) {
        let before = scan.byte_before(at);
        found.extend(match scan.byte(at) {
            b'-' if before == b'-' => None,
            b'-' if scan.byte(at + 1) == b'-' => {
                scan.after_flag(at).or_else(|| tokens::pem(&scan, at))
            }
            b'-' if !before.is_ascii_alphanumeric() => scan.after_flag(at),
            _ => tokens::behind(&scan, at),
        });
    }
    tokens::each_trigger(text, |at| {
        found.extend(match scan.byte(at) {
            // A `=` in a URL inside a URL.
            b'%' => scan.at_separator(at, 3),
            _ => tokens::at(&scan, at),
        });
    });
}

/// The length of `pw=x`.
const SHORTEST: usize = 4;

/// The text being searched.
pub(super) struct Scan<'t> {
    pub(super) text: &'t str,
    pub(super) bytes: &'t [u8],
    pub(super) is_cut: bool,
    is_secret: IsSecret<'t>,
}

impl Scan<'_> {
    /// Finds the secret at a separator `:`, `=`, `>` or `%3D`, which is `length` bytes long.
    fn at_separator(&self, at: usize, length: usize) -> Option<Range<usize>> {
        if self.byte(at) == b':' {
            if self.starts_with(at, "://") {
                return self.userinfo(at + 3);
            }
            // A path in a program, or a cast: `password::hash`.
            if self.byte(at + 1) == b':' || self.byte_before(at) == b':' {
                return None;
            }
            // In prose, words have white space between them.
            if !self.byte(at + 1).is_ascii_whitespace()
                && let Some(found) = self.user_and_password(at)
            {
                return Some(found);
            }
        }
        let label = self.label(at)?;
        let value = at + length;
        if !self.names_secret(&label, value) {
            return None;
        }
        self.value(&label, value, at)
    }

    /// Finds the name before a separator.
    fn label(&self, separator: usize) -> Option<Label> {
        let mut end = self.back_over(separator, |b| {
            matches!(b, b' ' | b'\t' | b':' | b'?' | b'!')
        });
        if self.byte_before(end) == b']' {
            // `headers["password"] = …`
            end -= 1;
        }
        let quote = self.byte_before(end);
        let is_quoted = matches!(quote, b'"' | b'\'' | b'`');
        if is_quoted {
            end = self.back_over(end - 1, |b| b == b'\\');
        }
        let mut start = self.back_over_at_most(end, MAX_LABEL, is_in_label);
        // `%3Ftoken%3D…`, and `\nPassword: …` with the line break still escaped.
        let before = self.byte_before(start);
        let is_escaped_end = before == b'\\' && matches!(self.byte(start), b'n' | b'r' | b't');
        if before == b'%' {
            start = (start + 2).min(end);
        } else if is_escaped_end {
            start += 1;
        }
        (start < end).then_some(Label {
            start,
            end,
            is_quoted,
            is_first_in_line: is_escaped_end || self.is_first_in_line(start),
        })
    }

    /// Returns true if the name before it makes the value at `value` a secret.
    fn names_secret(&self, label: &Label, value: usize) -> bool {
        let Some(name) = self.text.get(label.start..label.end) else {
            return false;
        };
        let before = self.byte_before(label.start);
        if (self.is_secret)(name) {
            let is_tag = self.byte_before(value) == b'>' && self.byte_before(value - 1) != b'=';
            return !is_tag || matches!(before, b'<' | b':');
        }
        let is_one_of = |words: &[&str]| words.iter().any(|word| name.eq_ignore_ascii_case(word));
        // `API key: …`
        if before == b' '
            && is_one_of(&[
                "key", "code", "string", "id", "phrase", "answer", "number", "header",
            ])
        {
            let start = self.back_over_at_most(label.start - 1, MAX_LABEL, is_in_label);
            let both = self.text.get(start..label.end);
            return start < label.start - 1 && both.is_some_and(self.is_secret);
        }
        // Names that are harmless elsewhere but grant access in a URL.
        let is_grant = match before {
            b'?' | b'&' | b'#' | b';' => is_one_of(&[
                "key",
                "code",
                "sig",
                "signature",
                "x-amz-signature",
                "x-goog-signature",
            ]),
            _ => is_one_of(&["sig", "signature"]),
        };
        is_grant && tokens::is_like_token(self.run(value, tokens::is_in_parameter))
    }

    /// Finds the secret value that starts at or after `at`.
    fn value(&self, label: &Label, at: usize, separator: usize) -> Option<Range<usize>> {
        let is_tag = self.byte(separator) == b'>' && self.byte_before(separator) != b'=';
        if is_tag {
            let inside = self.until(at, |b| b == b'<')?;
            let is_closed = self.starts_with(inside.end, "</");
            return (is_closed || (self.is_cut && inside.end == self.bytes.len()))
                .then_some(inside);
        }
        // `==`, `=>`, `:=`, and white space.
        let start = self.over(at, |b| matches!(b, b'=' | b'>' | b'~'));
        let start = self.over(start, |b| matches!(b, b' ' | b'\t'));
        let opening = self.over(start, |b| b == b'\\');
        match self.byte(opening) {
            quote @ (b'"' | b'\'' | b'`') => {
                return self.quoted(opening + 1, quote, opening - start);
            }
            b'{' | b'[' if opening == start => return self.bracketed(start),
            _ => {}
        }
        // `-H "Authorization: …"`, `-d "password=…&a=b"`
        let around = self.byte_before(label.start);
        let is_field = self.byte(separator) == b':' && !label.is_quoted;
        if !label.is_quoted && matches!(around, b'"' | b'\'' | b'`') {
            let ends = |b| b == around || matches!(b, b'\n' | b'\r') || (b == b'&' && !is_field);
            return self.until(start, ends);
        }
        let name = self.text.get(label.start..label.end).unwrap_or_default();
        let has_several = name.to_ascii_lowercase().ends_with("cookie");
        if is_field && (label.is_first_in_line || has_several) {
            return self.line(start);
        }
        let is_parameter = matches!(self.byte_before(label.start), b'?' | b'&');
        self.word(start, is_parameter)
    }

    /// Finds a quoted value whose content begins at `start`, with `escapes` backslashes before each quote.
    fn quoted(&self, start: usize, quote: u8, escapes: usize) -> Option<Range<usize>> {
        let mut at = start;
        loop {
            let next = self.over_until(at, |b| b == quote || b == b'\\');
            let backslashes = self.over(next, |b| b == b'\\') - next;
            let end = next + backslashes;
            if next >= self.bytes.len() {
                return non_empty(start..next);
            }
            // Fewer backslashes than at the opening quote cannot end the value; more belong to its content.
            if self.byte(end) == quote && backslashes <= escapes {
                return non_empty(start..next);
            }
            // The value `\\"` ends with a backslash.
            if self.byte(end) == quote && escapes == 0 && backslashes.is_multiple_of(2) {
                return non_empty(start..end);
            }
            at = end + 1;
        }
    }

    /// Finds an array or object, including its brackets.
    fn bracketed(&self, start: usize) -> Option<Range<usize>> {
        let mut depth = 0_usize;
        for (offset, byte) in self.bytes.get(start..)?.iter().enumerate() {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth <= 1 => return Some(start..start + offset + 1),
                b'}' | b']' => depth -= 1,
                _ => {}
            }
        }
        Some(start..self.bytes.len())
    }

    /// Finds the rest of a line, whose line break may still be escaped.
    fn line(&self, start: usize) -> Option<Range<usize>> {
        let rest = self.bytes.get(start..)?;
        let ends = |i: usize, b: u8| {
            matches!(b, b'\n' | b'\r')
                || (b == b'\\' && matches!(rest.get(i + 1), Some(b'n' | b'r')))
        };
        let length = rest.iter().enumerate().position(|(i, b)| ends(i, *b));
        let end = start + length.unwrap_or(rest.len());
        let end = self.back_over_at_most(end, end - start, |b| matches!(b, b' ' | b'\t'));
        self.unless_literal(start..end)
    }

    /// Finds a value without quotes, as in `password=hunter2, user=bob` or in a URL.
    fn word(&self, start: usize, is_parameter: bool) -> Option<Range<usize>> {
        let scheme = self.run(start, |b| b.is_ascii_alphabetic());
        let behind = self.over(start + scheme.len(), |b| b == b' ');
        let is_scheme = behind > start + scheme.len() && tokens::is_scheme(scheme);
        // The credentials after `Bearer` are part of the value.
        let mut end = if is_scheme { behind } else { start };
        loop {
            end = self.over_until(end, |b| {
                b.is_ascii_whitespace()
                    || matches!(
                        b,
                        b'&' | b';'
                            | b'"'
                            | b'\''
                            | b'`'
                            | b'<'
                            | b'>'
                            | b'|'
                            | b','
                            | b'\\'
                            | b'%'
                            | b'#'
                    )
            });
            let is_inside = match self.byte(end) {
                // A comma belongs to the value unless a space, the end, a name or a quote follows it.
                b',' => {
                    let next = self.over(end + 1, |b| b == b' ');
                    let behind = self.over(next, is_in_label);
                    let is_more = next == end + 1 && next < self.bytes.len();
                    is_more && !matches!(self.byte(behind), b'=' | b':' | b'"' | b'\'')
                }
                b'%' => !["%26", "%3B", "%3b", "%22", "%20"]
                    .iter()
                    .any(|end_of| self.starts_with(end, end_of)),
                b'\\' => !matches!(self.byte(end + 1), b'n' | b'r' | b't' | b'"' | b'\''),
                b'#' => !is_parameter,
                _ => false,
            };
            if !is_inside || end >= self.bytes.len() {
                break;
            }
            end += 1;
        }
        self.unless_literal(start..self.without_closers(start, end))
    }

    /// Returns the end of a value without trailing brackets that close earlier ones.
    fn without_closers(&self, start: usize, mut end: usize) -> usize {
        while start < end {
            let opener = match self.byte(end - 1) {
                b')' => b'(',
                b']' => b'[',
                b'}' => b'{',
                b',' => b',',
                _ => break,
            };
            let inside = self.bytes.get(start..end - 1).unwrap_or_default();
            if opener != b',' && inside.contains(&opener) {
                break;
            }
            end -= 1;
        }
        end
    }

    /// Returns `None` also for the null values of JSON and similar languages.
    fn unless_literal(&self, range: Range<usize>) -> Option<Range<usize>> {
        let value = self.text.get(range.clone())?;
        let is_literal = ["null", "true", "false", "none", "nil", "undefined"];
        let is_literal = is_literal
            .iter()
            .any(|literal| value.eq_ignore_ascii_case(literal));
        non_empty(range).filter(|_| !is_literal)
    }

    /// Finds the password in `user:password@host`, or a token in its place. The authority begins at `start`.
    fn userinfo(&self, start: usize) -> Option<Range<usize>> {
        // Most URLs have none, and this finds out quickly.
        let is_any = memchr::memchr(b'@', self.bytes.get(start..)?).is_some();
        if !is_any && !self.is_cut {
            return None;
        }
        let end = self.over_until(start, |b| {
            b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'`' | b'<' | b'>' | b'|' | b'\\')
        });
        let run = self.bytes.get(start..end)?;
        let authority = run.iter().position(|b| matches!(b, b'/' | b'?' | b'#'));
        let is_open = authority.is_none() && end == self.bytes.len() && self.is_cut;
        let authority = run.get(..authority.unwrap_or(run.len()))?;
        let colon = memchr::memchr(b':', authority);
        if let Some(at) = memchr::memrchr(b'@', authority) {
            return match colon.filter(|colon| *colon < at) {
                Some(colon) => non_empty(start + colon + 1..start + at),
                // `https://TOKEN@host`
                None => {
                    let user = self.text.get(start..start + at)?;
                    (tokens::is_like_token(user)).then_some(start..start + at)
                }
            };
        }
        // A password that contains `/`, `?` or `#`, which lenient readers accept.
        let colon = colon.filter(|_| authority.first() != Some(&b'['))?;
        let port = authority.get(colon + 1..)?;
        let is_port = port.iter().all(u8::is_ascii_digit);
        match memchr::memrchr(b'@', run) {
            Some(at) if !is_port => Some(start + colon + 1..start + at),
            None if !is_port && is_open => Some(start + colon + 1..end),
            _ => None,
        }
    }

    /// Finds `user:password` after `-u`, in a database driver's address, or in a bot's token.
    fn user_and_password(&self, colon: usize) -> Option<Range<usize>> {
        let is_end = |b: u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'`' | b'=');
        let start = self.back_over_at_most(colon, MAX_LABEL, |b| !is_end(b));
        let user = self
            .text
            .get(start..colon)
            .filter(|user| !user.is_empty())?;
        let are_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        // A Telegram bot's token.
        let number = user.trim_start_matches(|c: char| !c.is_ascii_digit());
        if number.len() >= 6 && are_digits(number) {
            let token = self.run(colon + 1, tokens::is_in_token);
            if token.len() >= 30 {
                return non_empty(colon + 1..colon + 1 + token.len());
            }
        }
        let password = |ends: &dyn Fn(u8) -> bool| self.until(colon + 1, ends);
        if self.follows_user_flag(start) {
            let password = match self.byte_before(start) {
                quote @ (b'"' | b'\'' | b'`') => password(&|b| b == quote)?,
                _ => password(&|b| b.is_ascii_whitespace())?,
            };
            // `docker run -u 1000:1000`
            let is_numeric = are_digits(user) && are_digits(self.text.get(password.clone())?);
            return (!is_numeric).then_some(password);
        }
        // `user:password@tcp(host:port)/database`
        memchr::memchr(b'@', self.bytes.get(colon..)?)?;
        let password = password(&|b| b.is_ascii_whitespace() || matches!(b, b'(' | b'/'))?;
        let mut drivers = ["@tcp", "@unix"].iter();
        let inside = self.text.get(password.clone())?;
        let inside = drivers.find_map(|driver| inside.strip_suffix(driver))?;
        let is_address = self.byte(password.end) == b'(';
        non_empty(password.start..password.start + inside.len()).filter(|_| is_address)
    }

    /// Returns true if the value of a flag that takes `user:password` begins at `start`.
    fn follows_user_flag(&self, start: usize) -> bool {
        let before = self.back_over(start, |b| matches!(b, b'"' | b'\'' | b'`'));
        let before = self.back_over(before, |b| matches!(b, b' ' | b'='));
        let flag = self.back_over(before, |b| b == b'-' || b.is_ascii_alphabetic());
        let name = self.text.get(flag..before).unwrap_or_default();
        before < start && matches!(name, "-u" | "-U" | "--user" | "--proxy-user")
    }

    /// Finds the value after `--password ` or `-password `. With a `=`, the separator finds it.
    fn after_flag(&self, at: usize) -> Option<Range<usize>> {
        let before = self.byte_before(at);
        if !(before == 0 || before.is_ascii_whitespace() || matches!(before, b'"' | b'\'' | b'`')) {
            return None;
        }
        let end = self.over(at, is_in_label);
        let name = self.text.get(at..end)?;
        if self.byte(end) != b' ' || !is_secret_flag(name, self.is_secret) {
            return None;
        }
        let start = self.over(end, |b| b == b' ');
        match self.byte(start) {
            quote @ (b'"' | b'\'' | b'`') => self.quoted(start + 1, quote, 0),
            b'-' => None,
            _ => self.word(start, false),
        }
    }

    /// Returns true if only the beginning of a line comes before this.
    fn is_first_in_line(&self, at: usize) -> bool {
        let start = self.back_over_at_most(at, 16, |b| {
            matches!(b, b' ' | b'\t' | b'-' | b'>' | b'<' | b'*' | b'#')
        });
        start == 0 || matches!(self.byte_before(start), b'\n' | b'\r')
    }

    /// Returns NUL outside the text, which matches nothing.
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or_default()
    }

    pub(super) fn byte_before(&self, at: usize) -> u8 {
        at.checked_sub(1).map_or(0, |at| self.byte(at))
    }

    pub(super) fn starts_with(&self, at: usize, text: &str) -> bool {
        let rest = self.bytes.get(at..).unwrap_or_default();
        rest.starts_with(text.as_bytes())
    }

    /// Returns the end of a run of such bytes.
    pub(super) fn over(&self, at: usize, is_like: impl Fn(u8) -> bool) -> usize {
        self.over_until(at, |b| !is_like(b))
    }

    fn over_until(&self, at: usize, ends: impl Fn(u8) -> bool) -> usize {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let length = rest.iter().position(|b| ends(*b));
        at.min(self.bytes.len()) + length.unwrap_or(rest.len())
    }

    fn until(&self, at: usize, ends: impl Fn(u8) -> bool) -> Option<Range<usize>> {
        non_empty(at..self.over_until(at, ends))
    }

    /// Returns the longest text from here that has only such bytes, which are ASCII.
    pub(super) fn run(&self, at: usize, is_like: impl Fn(u8) -> bool) -> &str {
        self.text
            .get(at..self.over(at, is_like))
            .unwrap_or_default()
    }

    fn back_over(&self, at: usize, is_like: impl Fn(u8) -> bool) -> usize {
        self.back_over_at_most(at, 16, is_like)
    }

    /// Returns the start of a run of such bytes that ends here.
    pub(super) fn back_over_at_most(
        &self,
        at: usize,
        most: usize,
        is_like: impl Fn(u8) -> bool,
    ) -> usize {
        let before = self.bytes.get(..at).unwrap_or_default();
        at - before
            .iter()
            .rev()
            .take(most)
            .take_while(|b| is_like(**b))
            .count()
    }
}

/// A name before a separator.
struct Label {
    start: usize,
    end: usize,
    /// Whether it is in quotes.
    is_quoted: bool,
    is_first_in_line: bool,
}

/// Maximum length of a name before a value, in bytes.
const MAX_LABEL: usize = 64;

/// Returns true if a command-line flag takes a secret. `--no-password` takes nothing.
pub(super) fn is_secret_flag(name: &str, is_secret: IsSecret<'_>) -> bool {
    let name = name.trim_start_matches('-');
    let takes_none = [
        "no-", "ask-", "prompt-", "without-", "skip-", "disable-", "show-", "hide-",
    ];
    !takes_none.iter().any(|none| name.starts_with(none)) && is_secret(name)
}

fn is_in_label(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.') || b >= 0x80
}

fn non_empty(range: Range<usize>) -> Option<Range<usize>> {
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests;
