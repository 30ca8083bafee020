//! A running `approval-proxy mcp` and the agent that holds its tools.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ProxyTest, Session, Terminal};

/// An agent over stdio.
pub(crate) struct Agent {
    pub(crate) session: Session,
    state: PathBuf,
}

impl Agent {
    /// Starts the server for a user with this state folder, whose only engine is the inbox.
    pub(crate) fn start(state: &Path, flags: &[&str]) -> Agent {
        Agent::of(ProxyTest::new(), state, flags)
    }

    /// The same, with more settings.
    pub(crate) fn of(test: ProxyTest, state: &Path, flags: &[&str]) -> Agent {
        let test = test.env("APPROVAL_ENGINES", "inbox").state(state);
        let mut agent = Agent {
            session: test.start_with(&[&["mcp", "--inbox-port", "0"], flags].concat()),
            state: state.to_owned(),
        };
        agent.session.handshake_as("2025-11-25", json!({}));
        agent
    }

    /// Starts the server for a user with this configuration and these variables, and nothing else.
    pub(crate) fn with_config(
        state: &Path,
        config: &Value,
        env: &[(&str, &str)],
        flags: &[&str],
    ) -> Agent {
        let mut agent = Agent {
            session: Agent::unmet(state, config, env, flags),
            state: state.to_owned(),
        };
        agent.session.handshake_as("2025-11-25", json!({}));
        agent
    }

    /// The same, before the client has said anything.
    pub(crate) fn unmet(
        state: &Path,
        config: &Value,
        env: &[(&str, &str)],
        flags: &[&str],
    ) -> Session {
        let file = state.join("user.json");
        std::fs::write(&file, json!({"approvalProxy": config}).to_string()).unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, private).unwrap();
        let mut test = ProxyTest::new().with_only_this_env();
        let usual = [
            ("HOME", "/nonexistent"),
            ("PATH", "/usr/bin:/bin"),
            ("BROWSER", ""),
        ];
        for (name, value) in usual.iter().chain(env) {
            test = test.env(name, value);
        }
        let test = test
            .env("APPROVAL_CONFIG", file.to_str().unwrap())
            .state(state);
        test.start_with(&[&["mcp", "--inbox-port", "0"], flags].concat())
    }

    /// The terminal of the person who decides.
    pub(crate) fn person(&self) -> Terminal {
        Terminal::at(&self.state)
    }

    /// Calls a tool and returns its result, which the text repeats.
    #[track_caller]
    pub(crate) fn uses(&mut self, tool: &str, arguments: Value) -> Value {
        let id = self.session.call(tool, arguments);
        self.result(id)
    }

    /// Asks without waiting. Returns the approval's id.
    #[track_caller]
    pub(crate) fn asks(&mut self, action: &str) -> String {
        let asked = self.uses(
            "request_approval",
            json!({"action": action, "wait_seconds": 0}),
        );
        assert_eq!(asked["status"], "pending", "{asked}");
        asked["approval_id"].as_str().unwrap().to_owned()
    }

    /// Asks and waits.
    pub(crate) fn begins(&mut self, action: &str) -> u64 {
        self.session.call(
            "request_approval",
            json!({"action": action, "wait_seconds": 300}),
        )
    }

    /// Returns how an approval stands now.
    #[track_caller]
    pub(crate) fn checks(&mut self, id: &str) -> Value {
        self.uses("check_approval", json!({"approval_id": id}))
    }

    /// Waits until an approval is no longer pending.
    #[track_caller]
    pub(crate) fn waits(&mut self, id: &str) -> Value {
        self.uses(
            "check_approval",
            json!({"approval_id": id, "wait_seconds": 15}),
        )
    }

    /// Waits for the result of a call.
    #[track_caller]
    pub(crate) fn result(&mut self, id: u64) -> Value {
        let response = self.session.response(id);
        let result = &response["result"];
        assert_ne!(result["isError"], true, "{response}");
        let text = result["content"][0]["text"].as_str().unwrap();
        let repeated: Value = serde_json::from_str(text).unwrap();
        assert_eq!(repeated, result["structuredContent"]);
        repeated
    }

    /// Calls a tool, which must fail, and returns what the agent reads.
    #[track_caller]
    pub(crate) fn fails(&mut self, tool: &str, arguments: Value) -> String {
        let id = self.session.call(tool, arguments);
        let response = self.session.response(id);
        if let Some(error) = response.get("error") {
            return error["message"].as_str().unwrap().to_owned();
        }
        assert_eq!(response["result"]["isError"], true, "{response}");
        response["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The records about one approval: their states.
    pub(crate) fn records(&self, id: &str) -> Vec<String> {
        let all = approval_records(&self.state);
        let of = all.iter().filter(|record| record["approval_id"] == id);
        of.map(|record| record["state"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// Returns a state folder.
pub(crate) fn state_folder() -> TempDir {
    let private = std::fs::Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().permissions(private).tempdir();
    folder.unwrap()
}

/// The records of approvals in a state folder.
pub(crate) fn approval_records(state: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(state.join("audit/mcp.jsonl")).unwrap_or_default();
    let all = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|record| record["event"] == "approval").collect()
}
