//! An HTTP server that requires a login, and the authorization server that issues its tokens.
//!
//! It checks what the specifications require of a client, and counts requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

/// Both servers, on one port of the loopback address.
pub(crate) struct LoginServer {
    pub(crate) url: String,
    pub(crate) runtime: Runtime,
    shared: Arc<Shared>,
}

struct Shared {
    origin: String,
    state: Mutex<Seen>,
}

/// What the servers have seen, and how they behave.
#[derive(Default)]
pub(crate) struct Seen {
    /// Only tool calls need a token.
    pub(crate) only_calls_need_login: bool,
    /// No response says where to log in.
    pub(crate) names_no_login: bool,
    /// No token is accepted.
    pub(crate) refuses_every_token: bool,
    /// The person denies the login.
    pub(crate) refuses_logins: bool,
    pub(crate) registrations: u32,
    pub(crate) authorizations: u32,
    pub(crate) refreshes: u32,
    /// Codes that a client tried to exchange and that no login has issued.
    pub(crate) unknown_codes: Vec<String>,
    /// The valid access token, and the refresh token for the next one.
    pub(crate) access: String,
    pub(crate) refresh: String,
    /// Every token and code that was issued.
    pub(crate) secrets: Vec<String>,
    /// The challenge and redirect URI of each code.
    codes: HashMap<String, (String, String)>,
    count: u32,
    pub(crate) authorization_headers: Vec<String>,
}

impl LoginServer {
    pub(crate) fn start() -> LoginServer {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listen = tokio::net::TcpListener::bind(("127.0.0.1", 0));
        let listener = runtime.block_on(listen).unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            origin: origin.clone(),
            state: Mutex::default(),
        });
        let router = Router::new()
            .route("/.well-known/oauth-protected-resource/mcp", get(resource))
            .route("/.well-known/oauth-authorization-server", get(metadata))
            .route("/register", post(register))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/mcp", post(mcp).get(no_stream).delete(no_stream))
            .with_state(Arc::clone(&shared));
        runtime.spawn(async { axum::serve(listener, router).await });
        LoginServer {
            url: format!("{origin}/mcp"),
            runtime,
            shared,
        }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.state.lock().unwrap()
    }

    /// Opens a page and follows its redirects like a browser; returns the last status.
    pub(crate) fn browse(&self, url: &str) -> u16 {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = self.runtime.block_on(client.get(url).send()).unwrap();
        response.status().as_u16()
    }
}

impl Seen {
    fn new_token(&mut self, kind: &str) -> String {
        self.count += 1;
        let token = format!("{kind}-token-{}-is-secret", self.count);
        self.secrets.push(token.clone());
        token
    }
}

async fn resource(State(shared): State<Arc<Shared>>) -> Response {
    let origin = &shared.origin;
    if shared.state.lock().unwrap().names_no_login {
        return StatusCode::NOT_FOUND.into_response();
    }
    json_response(
        json!({"resource": format!("{origin}/mcp"), "authorization_servers": [origin],
                "scopes_supported": ["notes"]}),
    )
}

async fn metadata(State(shared): State<Arc<Shared>>) -> Response {
    let origin = &shared.origin;
    if shared.state.lock().unwrap().names_no_login {
        return StatusCode::NOT_FOUND.into_response();
    }
    json_response(json!({
        "issuer": origin, "authorization_endpoint": format!("{origin}/authorize"),
        "token_endpoint": format!("{origin}/token"), "registration_endpoint": format!("{origin}/register"),
        "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true}))
}

async fn register(State(shared): State<Arc<Shared>>, body: String) -> Response {
    let mut seen = shared.state.lock().unwrap();
    if seen.names_no_login {
        return StatusCode::NOT_FOUND.into_response();
    }
    seen.registrations += 1;
    let asked: Value = serde_json::from_str(&body).unwrap();
    json_response(json!({"client_id": "client", "redirect_uris": asked["redirect_uris"]}))
}

/// Logs the person in at once, and sends the browser back.
async fn authorize(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let mut seen = shared.state.lock().unwrap();
    let query = pairs(uri.query().unwrap());
    assert_eq!(query["resource"], format!("{}/mcp", shared.origin));
    assert_eq!(query["code_challenge_method"], "S256");
    assert_eq!(query["scope"], "notes");
    seen.authorizations += 1;
    let mut back = Url::parse(&query["redirect_uri"]).unwrap();
    back.query_pairs_mut().append_pair("state", &query["state"]);
    if seen.refuses_logins {
        back.query_pairs_mut().append_pair("error", "access_denied");
    } else {
        let code = seen.new_token("code");
        let known = (
            query["code_challenge"].clone(),
            query["redirect_uri"].clone(),
        );
        seen.codes.insert(code.clone(), known);
        back.query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("iss", &shared.origin);
    }
    (StatusCode::FOUND, [(LOCATION, back.to_string())]).into_response()
}

async fn token(State(shared): State<Arc<Shared>>, body: String) -> Response {
    let mut seen = shared.state.lock().unwrap();
    let form = pairs(&body);
    assert_eq!(form["client_id"], "client");
    assert_eq!(form["resource"], format!("{}/mcp", shared.origin));
    let is_good = if form["grant_type"] == "authorization_code" {
        let Some((challenge, redirect)) = seen.codes.remove(&form["code"]) else {
            seen.unknown_codes.push(form["code"].clone());
            return StatusCode::BAD_REQUEST.into_response();
        };
        let verifier = Sha256::digest(&form["code_verifier"]);
        redirect == form["redirect_uri"] && BASE64_URL_SAFE_NO_PAD.encode(verifier) == challenge
    } else {
        seen.refreshes += 1;
        form["refresh_token"] == seen.refresh
    };
    if !is_good {
        let error = json!({"error": "invalid_grant"}).to_string();
        let headers = [(CONTENT_TYPE, "application/json")];
        return (StatusCode::BAD_REQUEST, headers, error).into_response();
    }
    seen.access = seen.new_token("access");
    // A refresh token can be used once.
    seen.refresh = seen.new_token("refresh");
    json_response(
        json!({"access_token": seen.access, "refresh_token": seen.refresh,
                "token_type": "Bearer", "expires_in": 3600}),
    )
}

async fn mcp(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let mut seen = shared.state.lock().unwrap();
    let message: Value = serde_json::from_str(&body).unwrap();
    let given = headers
        .get(AUTHORIZATION)
        .map(|value| value.to_str().unwrap());
    seen.authorization_headers.extend(given.map(str::to_owned));
    let needs_token = !seen.only_calls_need_login || message["method"] == "tools/call";
    let is_good = given.is_some_and(|given| given == format!("Bearer {}", seen.access));
    let is_good = is_good && !seen.refuses_every_token;
    if needs_token && !is_good {
        let metadata = format!("{}/.well-known/oauth-protected-resource/mcp", shared.origin);
        let challenge = match seen.names_no_login {
            true => "Bearer".to_owned(),
            false => format!("Bearer resource_metadata=\"{metadata}\""),
        };
        return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response();
    }
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => json!({"protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}}, "serverInfo": {"name": "login", "version": "0"}}),
        "tools/list" => json!({"tools": [{"name": "read", "inputSchema": {"type": "object"}}]}),
        "tools/call" => json!({"content": [{"type": "text", "text": "read ran"}]}),
        _ if message.get("id").is_none() => return StatusCode::ACCEPTED.into_response(),
        _ => json!({}),
    };
    json_response(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
}

async fn no_stream() -> StatusCode {
    StatusCode::METHOD_NOT_ALLOWED
}

fn json_response(body: Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn pairs(query: &str) -> HashMap<String, String> {
    let url = Url::parse(&format!("http://x/?{query}")).unwrap();
    url.query_pairs().into_owned().collect()
}
