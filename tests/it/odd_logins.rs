//! Authorization servers that are odd like real ones: the login works, or the error quotes them.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use reqwest::Url;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{
    OddServer, ProxyTest, Request, Session, eventually, plain_response, response,
};

const JSON: (&str, &str) = ("content-type", "application/json");
const DOCUMENT: &str = "https://client.example/approval-proxy.json";

/// A server that requires a login, with the authorization server on the same port.
struct Home {
    server: OddServer,
    dir: TempDir,
}

impl Home {
    /// `odd` may respond to a request; if it returns `None`, the response is the usual one.
    fn new(odd: impl Fn(&Request) -> Option<String> + Send + Sync + 'static) -> Home {
        let server =
            OddServer::start(move |request| odd(request).unwrap_or_else(|| usual(request)));
        let dir = tempfile::tempdir().unwrap();
        let browser = dir.path().join("browser");
        let script = "#!/bin/sh\nprintf %s \"$1\" > \"$0.new\" && mv \"$0.new\" \"$0.page\"\n";
        fs::write(&browser, script).unwrap();
        fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).unwrap();
        Home { server, dir }
    }

    fn run(&self, entry: Value, section: Value) -> Session {
        let mut entry = entry;
        entry["url"] = json!(self.server.url("/mcp"));
        let test = ProxyTest::new()
            .config(json!({"mcpServers": {"box": entry}, "approvalProxy": section}))
            .env("APPROVAL_STATE_DIR", "")
            .env("XDG_STATE_HOME", self.dir.path().to_str().unwrap())
            .env("BROWSER", self.dir.path().join("browser").to_str().unwrap());
        test.start()
    }

    /// Logs in.
    fn log_in(&self) {
        let file = self.dir.path().join("browser.page");
        eventually("a browser", || file.exists());
        let page = fs::read_to_string(&file).unwrap();
        fs::remove_file(file).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let browser = reqwest::Client::builder().no_proxy().build().unwrap();
        runtime.block_on(browser.get(page).send()).unwrap();
    }

    fn browser_was_opened(&self) -> bool {
        self.dir.path().join("browser.page").exists()
    }

    /// Logs in and makes a call.
    fn works(&self, section: Value) -> Session {
        let mut session = self.run(json!({}), section);
        let id = ask(&mut session);
        self.log_in();
        let answer = session.response(id);
        assert_eq!(answer["result"]["serverInfo"]["name"], "odd", "{answer}");
        session.notify("notifications/initialized", json!({}));
        session.passes("read", json!({}));
        session
    }

    /// Returns the client's error when the login is impossible or fails.
    fn error(&self, logs_in: bool) -> String {
        let mut session = self.run(json!({}), json!({}));
        let id = ask(&mut session);
        if logs_in {
            self.log_in();
        }
        let answer = session.response(id);
        let error = answer["error"]["message"].as_str();
        let error = error.unwrap_or_else(|| panic!("{answer}")).to_owned();
        assert!(!self.browser_was_opened());
        session.finish();
        error
    }

    /// Returns the forms that were posted to a path.
    fn forms(&self, path: &str) -> Vec<HashMap<String, String>> {
        let seen = self.server.seen().into_iter();
        let posted = seen.filter(|request| request.path == path && request.method == "POST");
        posted.map(|request| pairs(&request.text)).collect()
    }

    fn posted(&self, path: &str) -> Vec<Request> {
        let mut seen = self.server.seen();
        seen.retain(|request| request.path == path && request.method == "POST");
        seen
    }

    /// Returns the query of the login page.
    fn page(&self) -> HashMap<String, String> {
        let seen = self.server.seen().into_iter();
        let mut pages = seen.filter(|request| request.path.starts_with("/authorize?"));
        let page = pages.next().expect("a page").path;
        pairs(page.split_once('?').unwrap().1)
    }
}

fn ask(session: &mut Session) -> u64 {
    let client = json!({"name": "test", "version": "0"});
    session.request(
        "initialize",
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}),
    )
}

fn pairs(query: &str) -> HashMap<String, String> {
    let url = Url::parse(&format!("http://x/?{query}")).unwrap();
    url.query_pairs().into_owned().collect()
}

fn origin(request: &Request) -> String {
    format!("http://{}", request.header("host").unwrap())
}

/// The metadata of the authorization server.
fn metadata(request: &Request) -> Value {
    let at = |path: &str| format!("{}{path}", origin(request));
    json!({"issuer": origin(request), "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"), "registration_endpoint": at("/register"),
        "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", BASIC, POST]})
}

const BASIC: &str = "client_secret_basic";
const POST: &str = "client_secret_post";
const METADATA: &str = "/.well-known/oauth-authorization-server";
const RESOURCE: &str = "/.well-known/oauth-protected-resource/mcp";

fn json_response(body: Value) -> String {
    response(200, &[JSON], &body.to_string())
}

fn token() -> Value {
    json!({"access_token": "access-secret", "token_type": "Bearer", "expires_in": 3600,
           "refresh_token": "refresh-secret"})
}

fn usual(request: &Request) -> String {
    match request.path.split('?').next().unwrap() {
        RESOURCE => {
            let resource = format!("{}/mcp", origin(request));
            json_response(json!({"resource": resource, "authorization_servers": [origin(request)]}))
        }
        METADATA => json_response(metadata(request)),
        "/register" => {
            let redirects = request.message()["redirect_uris"].clone();
            json_response(json!({"client_id": "cid", "redirect_uris": redirects}))
        }
        "/authorize" => goes_back(request, &[("code", "code-secret")]),
        "/token" => json_response(token()),
        "/mcp" if request.header("authorization") == Some("Bearer access-secret") => {
            plain_response(request)
        }
        "/mcp" => {
            let challenge = format!("Bearer resource_metadata=\"{}{RESOURCE}\"", origin(request));
            response(401, &[("www-authenticate", &challenge)], "who are you?")
        }
        _ => response(404, &[], "no such thing"),
    }
}

/// Redirects the browser back with these parameters.
fn goes_back(request: &Request, with: &[(&str, &str)]) -> String {
    let query = pairs(request.path.split_once('?').unwrap().1);
    let mut back = Url::parse(&query["redirect_uri"]).unwrap();
    back.query_pairs_mut()
        .append_pair("state", &query["state"])
        .extend_pairs(with);
    response(302, &[("location", back.as_str())], "")
}

#[test]
fn a_client_authenticates_as_its_registration_says() {
    for method in [Some(POST), Some(BASIC), Some("none"), None] {
        let home = Home::new(move |request| match &*request.path {
            "/register" => Some(json_response(
                json!({"client_id": "cid", "client_secret": "client-secret",
                "token_endpoint_auth_method": method}),
            )),
            "/token" => {
                let form = pairs(&request.text);
                let basic = "Basic Y2lkOmNsaWVudC1zZWNyZXQ=";
                let is_basic = request.header("authorization") == Some(basic);
                let is_post = form
                    .get("client_secret")
                    .is_some_and(|it| it == "client-secret");
                let is_right = match method {
                    Some(POST) => is_post && !is_basic,
                    Some("none") => !is_post && request.header("authorization").is_none(),
                    Some(_) | None => is_basic && !is_post,
                };
                let error = json!({"error": "invalid_client"}).to_string();
                // The token is about to expire, so the next request refreshes it.
                let mut token = token();
                token["expires_in"] = json!("1");
                Some(match is_right {
                    true => json_response(token),
                    false => response(401, &[JSON], &error),
                })
            }
            _ => None,
        });
        home.works(json!({})).finish();
        let forms = home.forms("/token");
        assert!(
            forms
                .iter()
                .any(|form| form["grant_type"] == "refresh_token")
        );
        // The next run refreshes it, too.
        let before = forms.len();
        let mut again = home.run(json!({}), json!({}));
        again.handshake();
        again.passes("read", json!({}));
        again.finish();
        assert!(home.forms("/token").len() > before);
        assert_eq!(home.posted("/register").len(), 1, "{method:?}");
    }
}

#[test]
fn a_registration_asks_for_a_supported_authentication_method() {
    for (methods, wanted) in [
        (json!([POST]), POST),
        (json!([BASIC, POST]), BASIC),
        (json!(["none", POST]), "none"),
        (Value::Null, "none"),
        (json!(["private_key_jwt"]), "none"),
    ] {
        let home = Home::new({
            let methods = methods.clone();
            move |request| {
                let mut metadata = metadata(request);
                metadata["token_endpoint_auth_methods_supported"] = methods.clone();
                (request.path == METADATA).then(|| json_response(metadata))
            }
        });
        home.works(json!({})).finish();
        let registration = home.posted("/register").remove(0).message();
        assert_eq!(
            registration["token_endpoint_auth_method"], wanted,
            "{methods}"
        );
    }
}

#[test]
fn a_resource_may_end_with_a_slash() {
    for end in ["/mcp/", "/mcp//", "/mcp", "/", ""] {
        let home = Home::new(move |request| {
            let resource = format!("{}{end}", origin(request));
            let servers = json!([origin(request)]);
            (request.path == RESOURCE).then(|| {
                json_response(json!({"resource": resource, "authorization_servers": servers}))
            })
        });
        home.works(json!({})).finish();
        // The authorization server gets the resource as the server wrote it.
        let stated = home.server.url(end);
        assert_eq!(home.page()["resource"], stated);
        assert_eq!(home.forms("/token")[0]["resource"], stated);
    }
    // Anything else is another server.
    let home = Home::new(|request| {
        let resource = origin(request).replace("127.0.0.1", "localhost") + "/mcp";
        let servers = json!([origin(request)]);
        (request.path == RESOURCE)
            .then(|| json_response(json!({"resource": resource, "authorization_servers": servers})))
    });
    let error = home.error(false);
    assert!(
        error.contains("describes the resource `http://localhost:"),
        "{error}"
    );
    assert!(home.posted("/register").is_empty());
}

#[test]
fn a_token_response_may_have_its_lifetime_as_text_and_no_token_type() {
    for (life, stored) in [
        (json!("3600"), json!(3600)),
        (json!(3600.0), json!(3600)),
        (json!("for ever"), Value::Null),
    ] {
        let home = Home::new(move |request| {
            let mut token = token();
            token["expires_in"] = life.clone();
            token.as_object_mut().unwrap().remove("token_type");
            (request.path == "/token").then(|| json_response(token))
        });
        home.works(json!({})).finish();
        let files = fs::read_dir(home.dir.path().join("approval-proxy")).unwrap();
        let mut files = files.map(|file| file.unwrap().path());
        let file = files.find(|file| file.extension().is_some_and(|end| end == "json"));
        let kept: Value = serde_json::from_slice(&fs::read(file.unwrap()).unwrap()).unwrap();
        assert_eq!(kept["credentials"]["token_response"]["expires_in"], stored);
    }
}

#[test]
fn errors_of_the_authorization_server_reach_the_client() {
    let long = format!("{}\u{1b}[31m\r\nsee https://a.example", "no ".repeat(500));
    let said = json!({"error": "invalid_client_metadata", "error_description": long});
    for (path, status, logs_in, start) in [
        (
            "/register",
            403,
            false,
            "does not let approval-proxy register: ",
        ),
        ("/token", 400, true, "the login gave no token: "),
        // GitHub sends errors with status 200.
        ("/token", 200, true, "the login gave no token: "),
    ] {
        let body = said.to_string();
        let home = Home::new(move |request| {
            (request.path == path).then(|| response(status, &[JSON], &body))
        });
        let error = home.error(logs_in);
        let wanted = format!("{start}\"invalid_client_metadata\", \"no no no");
        assert!(error.contains(&wanted), "{error}");
        assert!(error.len() < 600 && !error.contains('\u{1b}'), "{error}");
    }
    let home = Home::new(|request| {
        let with = [
            ("error", "access_denied"),
            ("error_description", "not\u{7} you"),
        ];
        request
            .path
            .starts_with("/authorize")
            .then(|| goes_back(request, &with))
    });
    let error = home.error(true);
    let wanted = "the login was refused: \"access_denied\", \"not you\"; try again";
    assert!(error.contains(wanted), "{error}");
    // A response that is not an OAuth error.
    let home = Home::new(|request| {
        (request.path == "/register").then(|| response(500, &[], "<h1>out of order</h1>"))
    });
    let error = home.error(false);
    let wanted = format!("`{}` answered 500", home.server.url("/register"));
    assert!(
        error.contains(&wanted) && error.contains("out of order"),
        "{error}"
    );
}

#[test]
fn no_error_of_a_login_repeats_a_secret() {
    let home = Home::new(|request| match &*request.path {
        "/register" => Some(json_response(
            json!({"client_id": "cid", "client_secret": "client-secret",
            "token_endpoint_auth_method": POST}),
        )),
        "/token" => {
            let error = json!({"error": "invalid_grant", "error_description": request.text});
            Some(response(400, &[JSON], &error.to_string()))
        }
        _ => None,
    });
    let error = home.error(true);
    let form = home.forms("/token").remove(0);
    for name in ["code", "code_verifier", "client_secret"] {
        assert!(!error.contains(&form[name]), "{name} in {error}");
    }
    assert!(error.contains("invalid_grant"), "{error}");
    // A response that is not JSON may contain a token.
    let home = Home::new(|request| {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let body = "access_token=access-secret&token_type=bearer";
        (request.path == "/token").then(|| response(200, &form, body))
    });
    let error = home.error(true);
    assert!(
        error.contains("x-www-form-urlencoded") && !error.contains("secret"),
        "{error}"
    );
    // The state in the callback is a secret, too.
    let home = Home::new(|request| {
        let state = pairs(request.path.split_once('?')?.1).remove("state")?;
        Some(goes_back(
            request,
            &[("error", "server_error"), ("error_description", &state)],
        ))
    });
    let error = home.error(true);
    assert!(!error.contains(&home.page()["state"]), "{error}");
}

#[test]
fn the_error_says_that_a_server_offers_no_oauth() {
    for challenge in [None, Some("Bearer realm=\"x\""), Some("Basic realm=\"x\"")] {
        let home = Home::new(move |request| {
            let challenge: Vec<_> = challenge
                .map(|it| ("www-authenticate", it))
                .into_iter()
                .collect();
            Some(match &*request.path {
                "/mcp" => response(401, &challenge, "an API key, please"),
                _ => response(404, &[], ""),
            })
        });
        let error = home.error(false);
        for part in [
            "the server answered 401",
            "it said: \"an API key, please\"",
            "it does not offer an OAuth login, so configure an `Authorization` header for it",
        ] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("register"), "{error}");
    }
}

// SPEC 2025-11-25, basic/authorization, "Client ID Metadata Documents".
#[test]
fn a_client_metadata_document_replaces_a_registration_if_supported() {
    let reads = |has_registration: bool| {
        move |request: &Request| {
            let mut metadata = metadata(request);
            metadata["client_id_metadata_document_supported"] = json!(true);
            if !has_registration {
                metadata
                    .as_object_mut()
                    .unwrap()
                    .remove("registration_endpoint");
            }
            (request.path == METADATA).then(|| json_response(metadata))
        }
    };
    let section = json!({"clientIdMetadataUrl": DOCUMENT});
    for has_registration in [true, false] {
        let home = Home::new(reads(has_registration));
        home.works(section.clone()).finish();
        assert_eq!(home.page()["client_id"], DOCUMENT);
        assert!(home.page()["redirect_uri"].starts_with("http://127.0.0.1:"));
        let form = home.forms("/token").remove(0);
        assert_eq!(form["client_id"], DOCUMENT);
        assert!(!form.contains_key("client_secret"));
        assert!(home.posted("/register").is_empty());
    }
    // If the server does not support such a document, or the configuration has none, the proxy registers.
    for (home, section) in [
        (Home::new(|_| None), section),
        (Home::new(reads(true)), json!({})),
    ] {
        home.works(section).finish();
        assert_eq!(home.page()["client_id"], "cid");
        assert_eq!(home.posted("/register").len(), 1);
    }
    let error = Home::new(reads(false)).error(false);
    assert!(
        error.contains("set its URL as `clientIdMetadataUrl`"),
        "{error}"
    );
    let home = Home::new(|request| {
        let mut metadata = metadata(request);
        metadata
            .as_object_mut()
            .unwrap()
            .remove("registration_endpoint");
        (request.path == METADATA).then(|| json_response(metadata))
    });
    let error = home.error(false);
    assert!(
        error.contains("does not let approval-proxy register"),
        "{error}"
    );
}

#[test]
fn every_request_of_a_login_names_the_proxy() {
    let ours = format!("approval-proxy/{}", env!("CARGO_PKG_VERSION"));
    let home = Home::new(|_| None);
    home.works(json!({})).finish();
    let mut seen = home.server.seen();
    // The browser sends these.
    seen.retain(|request| !request.path.starts_with("/authorize"));
    for path in [RESOURCE, METADATA, "/register", "/token", "/mcp"] {
        assert!(seen.iter().any(|request| request.path == path), "{path}");
    }
    for request in seen {
        assert_eq!(request.header("user-agent"), Some(&*ours), "{request:?}");
    }
}
