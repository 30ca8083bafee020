//! Finds the programs that the tests start.
//!
//! Builds the examples if cargo has not, as with `cargo test --test it`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The binary under test.
pub(crate) fn proxy() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_approval-proxy"))
}

/// The server that records its input.
pub(crate) fn scripted_upstream() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| example("scripted_upstream", "tests/it/support/scripted_upstream.rs"))
}

/// The real example server.
pub(crate) fn notes_server() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| example("notes_server", "examples/notes_server.rs"))
}

/// Returns the path of an example. `cargo test` builds all examples, `cargo test --test it` none.
fn example(name: &str, source: &str) -> PathBuf {
    let folder = proxy().parent().unwrap().to_owned();
    let program = folder.join("examples").join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let modified = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    if modified(&program) < modified(&source) {
        let profile = match folder.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--profile", profile, "--example", name])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("CARGO_TARGET_DIR", folder.parent().unwrap())
            .status();
        assert!(status.unwrap().success(), "cargo could not build {name}");
    }
    assert!(program.is_file(), "{} is missing", program.display());
    program
}
