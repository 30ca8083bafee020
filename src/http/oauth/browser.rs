//! Opens a page in the user's browser.
//!
//! Whether anybody looks at it is found out elsewhere.

use std::ffi::OsStr;
use std::process::Stdio;

use reqwest::Url;
use tokio::process::Command;

/// Opens `url` with the first of `browsers` that starts, in the words of `$BROWSER`: commands
/// parted by colons, in which `%s` is the URL. Else with `xdg-open`.
///
/// No shell reads the URL, which a server has had a say in.
pub(super) fn open(browsers: Option<&OsStr>, url: &Url) {
    let browsers = browsers.and_then(OsStr::to_str).unwrap_or_default();
    let commands = browsers.split(':').chain(["xdg-open"]);
    for command in commands {
        if start(command, url) {
            return;
        }
    }
}

fn start(command: &str, url: &Url) -> bool {
    let mut words = command.split_whitespace();
    let Some(program) = words.next() else {
        return false;
    };
    let mut command_line = Command::new(program);
    let mut is_named = false;
    for word in words {
        is_named |= word.contains("%s");
        command_line.arg(word.replace("%s", url.as_str()));
    }
    if !is_named {
        command_line.arg(url.as_str());
    }
    // stdout is the wire; and whoever stops the proxy does not mean the browser.
    let command_line = command_line
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let Ok(mut child) = command_line.spawn() else {
        return false;
    };
    tokio::spawn(async move {
        // How it ends says nothing: many hand the page to one that runs already.
        let _ = child.wait().await;
    });
    true
}
