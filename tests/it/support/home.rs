//! An empty home folder, in which a command runs without the variables of the tests.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::proxy;

/// A home folder with files of clients.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Home {
        let dir = tempfile::tempdir().unwrap();
        Home { dir }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", "/usr/bin:/bin")
            .current_dir(self.path());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        let mut command = self.command(&proxy());
        command.args(words).stdin(Stdio::null()).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn succeeds(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts an entry as a client does. Returns the answers to these requests.
    pub(crate) fn ask(&self, entry: &Value, requests: &[Value]) -> Vec<Value> {
        let texts = |key: &str| {
            let texts = entry[key].as_array().unwrap();
            let texts = texts.iter().map(|text| text.as_str().unwrap().to_owned());
            texts.collect::<Vec<_>>()
        };
        let env = entry["env"].as_object().into_iter().flatten();
        let mut child = self
            .command(Path::new(entry["command"].as_str().unwrap()))
            .args(texts("args"))
            .envs(env.map(|(name, value)| (name, value.as_str().unwrap())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut answers = Vec::new();
        for request in requests {
            writeln!(stdin, "{request}").unwrap();
            if request.get("id").is_some() {
                let answer = lines.next().unwrap().unwrap();
                answers.push(serde_json::from_str(&answer).unwrap());
            }
        }
        drop(stdin);
        child.wait().unwrap();
        answers
    }
}
