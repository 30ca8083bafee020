//! Prints the demo's output to stdout: this program is a client, not a server.

use std::fmt::Display;
use std::io::{self, Write};

/// Returns `text` after `title`, or indented below it if it has several lines.
pub(crate) fn quoted(title: &str, text: &str) -> String {
    if !text.contains('\n') {
        return format!("{title}{text}");
    }
    let mut block = title.trim_end().to_owned();
    for line in text.lines() {
        block.push_str("\n     | ");
        block.push_str(line);
    }
    block
}

/// Prints a line. A closed reader (`… | head`) must not stop the demo.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints a question and leaves the cursor after it.
pub(crate) fn ask_for(question: &str) {
    let mut stdout = io::stdout();
    let _ = write!(stdout, "{question}");
    let _ = stdout.flush();
}
