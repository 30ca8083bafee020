//! Builds the programs that the demo needs, in the folder where cargo built the demo.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, REPOSITORY};

/// Where cargo put this program, and where it puts the others.
pub(crate) struct Build {
    pub(crate) target_dir: PathBuf,
    /// The folder of the profile in `target_dir`, such as `release`.
    profile: String,
}

impl Build {
    /// Reads both from the path of this program: `<target>/<profile>/examples/guarded_notes`.
    pub(crate) fn of_this_program() -> Result<Self, Failure> {
        let program = env::current_exe()?;
        let profile_dir = program.parent().and_then(Path::parent);
        let profile = profile_dir.and_then(Path::file_name);
        match (profile_dir.and_then(Path::parent), profile) {
            (Some(target_dir), Some(profile)) => Ok(Self {
                target_dir: target_dir.to_owned(),
                profile: profile.to_string_lossy().into_owned(),
            }),
            _ => Err("this program is not where cargo puts its examples".into()),
        }
    }

    pub(crate) fn proxy(&self) -> PathBuf {
        let name = format!("approval-proxy{}", env::consts::EXE_SUFFIX);
        self.target_dir.join(&self.profile).join(name)
    }

    /// Builds both now. If the server's build started with the proxy, nobody would see it.
    pub(crate) fn proxy_and_server(&self) -> Result<(), Failure> {
        let proxy = ["--bin", "approval-proxy"];
        // `proxy.example.json` uses `--release`, independent of our own profile.
        let server = ["--release", "--example", "notes_server"];
        match self.profile.as_str() {
            "release" => self.cargo_build(&[proxy.as_slice(), &server].concat()),
            other => {
                let profile = if other == "debug" { "dev" } else { other };
                self.cargo_build(&[&proxy, ["--profile", profile].as_slice()].concat())?;
                self.cargo_build(&server)
            }
        }
    }

    fn cargo_build(&self, what: &[&str]) -> Result<(), Failure> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        forget_this_package(&mut command);
        let status = command
            .arg("build")
            .args(what)
            .current_dir(REPOSITORY)
            .env("CARGO_TARGET_DIR", &self.target_dir)
            .status()
            .map_err(|error| format!("cannot start cargo: {error}"))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("`cargo build {}` failed", what.join(" ")).into())
        }
    }
}

/// Removes the environment variables that `cargo run` sets for its program. Build scripts of some crates depend on
/// them, so an inner cargo would rebuild these crates and everything that depends on them.
pub(crate) fn forget_this_package(command: &mut Command) {
    const ONES: [&str; 3] = [
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
    ];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let tells = text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_");
        if tells || ONES.contains(&&*text) {
            command.env_remove(name);
        }
    }
}
