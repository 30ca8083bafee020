//! Performs a login or a refresh with rmcp.
//!
//! `oauth` decides when they are needed, and `store` keeps the tokens.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;
use rmcp::transport::auth::{
    AuthError, AuthorizationManager, AuthorizationMetadata, AuthorizationMetadataSource,
    CredentialStore as _, InMemoryCredentialStore, OAuthClientConfig,
    ProtectedResourceMetadataInvalidReason,
};
use serde_json::{Value, json};

use super::client::LoginClient;
use super::redirect::Redirect;
use super::store::{Stored, VERSION};
use super::{LoginError, Registration};
use crate::http::outbound::server_error::{quoted, shown_url};
use crate::sys::net::is_loopback;
use crate::sys::secret::Secret;

/// Our name on the login page.
const NAME: &str = "approval-proxy";
/// The metadata field with the authentication methods for the token endpoint.
const METHODS: &str = "token_endpoint_auth_methods_supported";
const POST: &str = "client_secret_post";
const BASIC: &str = "client_secret_basic";

/// How we identify ourselves.
#[derive(Debug, Default)]
pub(super) struct Identity {
    /// The operator's `User-Agent`, for the server itself.
    pub(super) user_agent: Option<HeaderValue>,
    /// The URL of our metadata document, for authorization servers that read it.
    pub(super) document: Option<String>,
}

/// Has a person log in to the server at `url` within `limit`. `open` shows the person the login page.
pub(super) async fn log_in(
    url: &Url,
    identity: &Identity,
    challenge: Option<&str>,
    limit: Duration,
    open: impl FnOnce(&Url),
) -> Result<Stored, LoginError> {
    let redirect = Redirect::listen().await.map_err(|_| LoginError::System)?;
    let mut found = discover(url, identity, challenge).await?;
    let scopes = found.manager.select_initial_scopes(&[]).await;
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let (client, auth_method) = found.register(identity, redirect.uri(), &scopes).await?;
    let page = found.manager.get_authorization_url(&scopes).await;
    let page = page.map_err(|error| LoginError::NotFound(why(&error, &found.client)))?;
    let page = Url::parse(&page);
    let page = page.map_err(|_| LoginError::NotFound("its address is not a URL".to_owned()))?;
    let state = page.query_pairs().find(|(name, _)| name == "state");
    let state = state.map(|(_, state)| Secret::new(state.into_owned()));
    let state = state.ok_or(LoginError::System)?;
    open(&found.client.with_resource(page));
    let answer = redirect.answer(state.clone(), limit).await?;
    let issuer = answer.issuer.as_deref();
    found
        .manager
        .exchange_code_for_token_with_issuer(answer.code.expose(), state.expose(), issuer)
        .await
        .map_err(|error| LoginError::NoToken(why(&error, &found.client)))?;
    let credentials = found.tokens.load().await.ok().flatten();
    let stored = Stored {
        version: VERSION,
        credentials: credentials.ok_or(LoginError::System)?,
        client_secret: client.client_secret,
        auth_method,
        challenge: challenge.map(str::to_owned),
    };
    Ok(stored)
}

/// Refreshes a token; `None` if a person has to log in.
pub(super) async fn refresh(url: &Url, identity: &Identity, old: &Stored) -> Option<Stored> {
    let (what, why) = match try_refresh(url, identity, old).await {
        Ok(new) => return new,
        Err(RefreshError::Rejected(why)) => ("is no longer valid", why),
        Err(RefreshError::Failed(why)) => ("could not be renewed", why),
    };
    tracing::warn!("the stored login {what}: {why}");
    None
}

enum RefreshError {
    /// The token is no longer valid.
    Rejected(String),
    Failed(String),
}

async fn try_refresh(
    url: &Url,
    identity: &Identity,
    old: &Stored,
) -> Result<Option<Stored>, RefreshError> {
    let found = discover(url, identity, old.challenge.as_deref()).await;
    let mut found = found.map_err(|error| RefreshError::Failed(error.to_string()))?;
    // Otherwise a server could make us send the token of one authorization server to another.
    if found.metadata.issuer != old.credentials.issuer {
        return Ok(None);
    }
    match found.refresh(url, old).await {
        Ok(None) => Ok(None),
        Ok(Some(credentials)) => Ok(Some(Stored {
            credentials,
            ..old.clone()
        })),
        Err(error) => {
            let why = why(&error, &found.client);
            Err(match matches!(error, AuthError::TokenRefreshRejected(_)) {
                true => RefreshError::Rejected(why),
                false => RefreshError::Failed(why),
            })
        }
    }
}

/// The login of a server.
struct FoundLogin {
    manager: AuthorizationManager,
    /// Receives the manager's tokens.
    tokens: InMemoryCredentialStore,
    client: Arc<LoginClient>,
    metadata: AuthorizationMetadata,
    /// True if the server names this login. Otherwise it is at the legacy default address.
    is_stated: bool,
}

async fn discover(
    url: &Url,
    identity: &Identity,
    challenge: Option<&str>,
) -> Result<FoundLogin, LoginError> {
    if !is_secure(url.as_str()) {
        return Err(LoginError::Insecure);
    }
    let client = Arc::new(LoginClient::new(url, identity.user_agent.clone())?);
    let manager =
        AuthorizationManager::new_with_oauth_http_client(url.clone(), Arc::clone(&client) as _);
    let mut manager = manager.await.map_err(|_| LoginError::System)?;
    let tokens = InMemoryCredentialStore::new();
    manager.set_credential_store(tokens.clone());
    let found = manager.resolve_metadata_from_challenge(challenge).await;
    let found = found.map_err(|error| LoginError::NotFound(why(&error, &client)))?;
    if !are_secure(&found.metadata, url) {
        return Err(LoginError::Insecure);
    }
    manager.set_metadata(found.metadata.clone());
    Ok(FoundLogin {
        manager,
        tokens,
        client,
        metadata: found.metadata,
        is_stated: found.source != AuthorizationMetadataSource::LegacyEndpointFallback,
    })
}

impl FoundLogin {
    /// Becomes a client of the authorization server, with our metadata document or by registration.
    /// Also returns how the client authenticates at the token endpoint, if the registration says so.
    ///
    /// SPEC 2025-11-25, basic/authorization, "Client Registration Approaches": "Use Client ID Metadata
    /// Documents if the Authorization Server indicates if the server supports it (via
    /// `client_id_metadata_document_supported` in OAuth Authorization Server Metadata)", then "Use
    /// Dynamic Client Registration as a fallback". 2026-07-28 says the same in
    /// basic/authorization/client-registration.
    async fn register(
        &mut self,
        identity: &Identity,
        redirect: &str,
        scopes: &[&str],
    ) -> Result<(OAuthClientConfig, Option<String>), LoginError> {
        let fields = &self.metadata.additional_fields;
        let reads_documents =
            fields.get("client_id_metadata_document_supported") == Some(&Value::Bool(true));
        if let Some(document) = identity.document.as_ref().filter(|_| reads_documents) {
            let config = OAuthClientConfig::new(document, redirect)
                .with_scopes(scopes.iter().map(|&scope| scope.to_owned()).collect());
            let done = self.manager.configure_client(config.clone());
            done.map_err(|error| LoginError::NotFound(why(&error, &self.client)))?;
            return Ok((config, None));
        }
        if self.metadata.registration_endpoint.is_none() {
            return Err(LoginError::Unregistered(match reads_documents {
                true => Registration::NeedsDocument,
                false => Registration::None,
            }));
        }
        self.client.want_method(method_to_request(&self.metadata));
        let registered = self.manager.register_client(NAME, redirect, scopes).await;
        let config = registered.map_err(|error| match self.is_stated {
            true => LoginError::Unregistered(Registration::Refused(why(&error, &self.client))),
            // There is no login at the default address, and the server did not name another one.
            false => LoginError::NoOAuth,
        })?;
        let method = self.client.method();
        let config = self.authenticate_by(method.as_deref(), config)?;
        Ok((config, method))
    }

    /// Makes the client authenticate with the method that its registration has set.
    ///
    /// SPEC RFC 7591, section 2, `token_endpoint_auth_method`.
    fn authenticate_by(
        &mut self,
        method: Option<&str>,
        mut config: OAuthClientConfig,
    ) -> Result<OAuthClientConfig, LoginError> {
        match method {
            // rmcp chooses from what the authorization server supports.
            None => return Ok(config),
            Some("none") => config.client_secret = None,
            Some(method @ (POST | BASIC)) => {
                let mut metadata = self.metadata.clone();
                let methods = json!([method]);
                metadata
                    .additional_fields
                    .insert(METHODS.to_owned(), methods);
                self.manager.set_metadata(metadata);
            }
            Some(other) => {
                let other = quoted(other.as_bytes(), &[]).unwrap_or_default();
                return Err(LoginError::Unregistered(Registration::Refused(format!(
                    "it requires the authentication method {other}, which approval-proxy does not \
                     support"
                ))));
            }
        }
        let done = self.manager.configure_client(config.clone());
        done.map_err(|error| LoginError::NotFound(why(&error, &self.client)))?;
        Ok(config)
    }

    async fn refresh(
        &mut self,
        url: &Url,
        old: &Stored,
    ) -> Result<Option<rmcp::transport::auth::StoredCredentials>, AuthError> {
        self.tokens.save(old.credentials.clone()).await?;
        if !self.manager.initialize_from_store().await? {
            return Ok(None);
        }
        if let Some(secret) = &old.client_secret {
            let client = OAuthClientConfig::new(&old.credentials.client_id, url.as_str());
            let client = client.with_client_secret(secret);
            self.manager.configure_client(client.clone())?;
            let done = self.authenticate_by(old.auth_method.as_deref(), client);
            done.map_err(|error| AuthError::InternalError(error.to_string()))?;
        }
        self.manager.refresh_token().await?;
        self.tokens.load().await
    }
}

/// Returns the authentication method to request, if the server does not support public clients.
fn method_to_request(metadata: &AuthorizationMetadata) -> Option<String> {
    let methods = metadata.additional_fields.get(METHODS)?.as_array()?;
    let supports = |method: &&str| methods.iter().any(|known| known == *method);
    let method = ["none", BASIC, POST].into_iter().find(supports)?;
    (method != "none").then(|| method.to_owned())
}

/// Describes an error in a text of bounded length. Quotes of the authorization server come from our own
/// client, which has cleaned them.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rmcp may add variants, and the texts of most contain server output"
)]
fn why(error: &AuthError, client: &LoginClient) -> String {
    let text = |text: &str| quoted(text.as_bytes(), &[]).unwrap_or_else(|| "nothing".to_owned());
    let url = |text: &str| match Url::parse(text) {
        Ok(url) => shown_url(&url, &[]),
        Err(_) => quoted(text.as_bytes(), &[]).unwrap_or_default(),
    };
    match error {
        AuthError::ProtectedResourceMetadataInvalid { url, reason } => {
            let at = shown_url(url, &[]);
            match &**reason {
                ProtectedResourceMetadataInvalidReason::ResourceMismatch {
                    reference,
                    permitted,
                } => format!(
                    "{at} describes the resource {}, not {}; if both are the same server, use that \
                     URL",
                    shown_url(permitted, &[]),
                    shown_url(reference, &[])
                ),
                ProtectedResourceMetadataInvalidReason::ResourceNotAUrl { resource } => {
                    format!(
                        "{at} describes the resource {}, which is not a URL",
                        text(resource)
                    )
                }
                _ => format!("{at} does not name its resource"),
            }
        }
        AuthError::AuthorizationServersUnavailable {
            authorization_servers,
            ..
        } => {
            let named: Vec<String> = authorization_servers
                .iter()
                .take(MAX_NAMED)
                .map(|server| url(server))
                .collect();
            let named = named.join(", ");
            format!("cannot read metadata of the authorization server {named}")
        }
        AuthError::AuthorizationServerMismatch {
            expected_issuer,
            received_issuer,
        } => format!(
            "the authorization server {} calls itself {}",
            url(expected_issuer),
            url(received_issuer)
        ),
        AuthError::AuthorizationServerMissingIssuer { expected_issuer } => format!(
            "the authorization server {} does not name itself (`issuer`)",
            url(expected_issuer)
        ),
        AuthError::PkceUnsupported => {
            "the authorization server does not support PKCE with S256".to_owned()
        }
        AuthError::InvalidScope(_) => {
            "the authorization server does not support authorization codes".to_owned()
        }
        AuthError::DiscoveryRequestFailed { url, .. } => client
            .last_error()
            .unwrap_or_else(|| format!("{} cannot be read", shown_url(url, &[]))),
        // Their texts may contain whole answers.
        _ => client
            .last_error()
            .unwrap_or_else(|| "the authorization server's answer is unusable".to_owned()),
    }
}

/// How many authorization servers an error names.
const MAX_NAMED: usize = 3;

/// SPEC 2025-11-25, "Communication Security": "All authorization server endpoints MUST be served
/// over HTTPS." A browser opens the page, too, and would do other things with other schemes.
fn are_secure(metadata: &AuthorizationMetadata, server: &Url) -> bool {
    let registration = metadata.registration_endpoint.as_deref();
    [&*metadata.authorization_endpoint, &metadata.token_endpoint]
        .into_iter()
        .chain(registration)
        .all(|endpoint| may_be_sent_to(endpoint, server))
}

/// Returns true if a server may make us send requests to this endpoint. A remote server must not use us
/// to reach what it cannot reach itself: listeners on this machine, and hosts without a name.
pub(super) fn may_be_sent_to(endpoint: &str, server: &Url) -> bool {
    let is_same_host = |url: &Url| url.host() == server.host();
    is_secure(endpoint)
        && Url::parse(endpoint).is_ok_and(|url| {
            let is_named = url.domain().is_some_and(|name| !is_here(name));
            is_named || is_same_host(&url) || (is_local(&url) && is_local(server))
        })
}

/// Returns true if a URL uses TLS, or does not leave this machine.
pub(super) fn is_secure(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| match url.scheme() {
        "https" => url.has_host(),
        "http" => is_local(&url),
        _ => false,
    })
}

fn is_local(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback)
}

/// Returns true if this is a name of this machine (RFC 6761, section 6.3).
pub(super) fn is_here(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}
