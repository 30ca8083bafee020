//! Derives the identity of a run's user and server from its configuration.
//!
//! `engines::inbox::identity` decides which parts must match for a parked question to be resumed.

use crate::config::{Resolved, Target};
use crate::engines::inbox::identity::{Credentials, Identity, ServerIdentity};
use crate::gate::Engine;

/// Returns the identity of the user and the server, for parked questions that outlive their session. `None` if no
/// question may outlive its session: there is no inbox or no state folder, or any process can connect as a client.
pub(super) fn identity(config: &Resolved) -> Option<Identity> {
    let mut channels = config.settings.channels.iter();
    channels.find(|channel| channel.engine == Engine::INBOX)?;
    config.inbox.state_dir.as_ref()?;
    let credentials = match &config.http {
        None => Credentials::Stdio,
        Some(serving) => Credentials::Token(serving.token.clone()?),
    };
    let server = match &config.server.target {
        Target::Command(target) => ServerIdentity::Command {
            command: target.command.clone(),
            args: target.args.clone(),
            env: target.env.clone(),
            cwd: target.cwd.clone(),
        },
        Target::Url(target) => ServerIdentity::Url {
            url: target.url.clone(),
            headers: target.headers.clone(),
            is_sse: target.is_sse,
        },
    };
    Some(Identity {
        credentials,
        server,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags, Transport, load};

    const COMMAND: &str = r#""command": "srv", "args": ["a"], "cwd": "sub", "env": {"K": "v"}"#;

    fn config(
        server: &str,
        flags: impl FnOnce(&mut Flags),
        variables: &[(&str, &str)],
    ) -> Resolved {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        let json = format!(r#"{{"mcpServers": {{"s": {{{server}}}}}}}"#);
        std::fs::write(&file, json).unwrap();
        let mut all = Flags::new(file);
        flags(&mut all);
        let environment: Environment = variables.iter().copied().collect();
        load(all, &environment).unwrap()
    }

    fn over_http(flags: &mut Flags) {
        flags.layer.transport = Some(Transport::StreamableHttp);
    }

    #[test]
    fn a_client_over_stdio_is_the_users_and_its_server_is_the_whole_entry() {
        let found = config(COMMAND, |_| {}, &[("HOME", "/home/u")]);
        let Identity {
            credentials,
            server,
        } = identity(&found).unwrap();
        assert!(matches!(credentials, Credentials::Stdio));
        let ServerIdentity::Command {
            command,
            args,
            env,
            cwd,
        } = server
        else {
            panic!("it is started");
        };
        assert_eq!(
            (command.to_str().unwrap(), &args[..]),
            ("srv", &["a".into()][..])
        );
        assert_eq!(env["K"].expose(), "v");
        assert_eq!(cwd.unwrap(), std::path::Path::new("sub"));

        let remote = r#""url": "https://a/mcp", "headers": {"X-Key": "v"}"#;
        let found = config(remote, |_| {}, &[("HOME", "/home/u")]);
        let ServerIdentity::Url {
            url,
            headers,
            is_sse,
        } = identity(&found).unwrap().server
        else {
            panic!("it runs somewhere");
        };
        assert_eq!((url.expose(), is_sse), ("https://a/mcp", false));
        assert_eq!(headers["X-Key"].expose(), "v");
    }

    #[test]
    fn a_client_over_http_is_the_users_only_if_it_needs_a_token() {
        let home = ("HOME", "/home/u");
        let token = "0123456789abcdef0123456789abcdef";
        let found = config(COMMAND, over_http, &[home, ("APPROVAL_AUTH_TOKEN", token)]);
        let credentials = identity(&found).unwrap().credentials;
        assert!(matches!(credentials, Credentials::Token(it) if it.expose() == token));
        let open = config(COMMAND, over_http, &[home]);
        assert!(identity(&open).is_none());
    }

    #[test]
    fn without_the_inbox_or_a_folder_there_is_no_identity() {
        let server = format!(r#"{COMMAND}, "approvalRules": {{"engines": ["elicitation"]}}"#);
        let found = config(&server, |_| {}, &[("HOME", "/home/u")]);
        assert!(identity(&found).is_none());
        let homeless = config(COMMAND, |_| {}, &[]);
        assert!(identity(&homeless).is_none());
    }
}
