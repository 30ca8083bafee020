//! A login and a refresh, in rmcp's words.
//!
//! It neither stores tokens nor decides when they are needed.

use std::time::Duration;

use reqwest::Url;
use rmcp::transport::auth::{
    AuthError, AuthorizationManager, AuthorizationMetadata, CredentialStore as _,
    InMemoryCredentialStore, OAuthClientConfig,
};

use super::LoginError;
use super::redirect::Redirect;
use super::store::{Stored, VERSION};
use crate::secret::Secret;

/// What the login page calls us.
const NAME: &str = "approval-proxy";

/// Has somebody log in, for the server at `url`. `ask` shows them the page; they have `limit`.
pub(super) async fn log_in(
    url: &Url,
    challenge: Option<&str>,
    limit: Duration,
    ask: impl FnOnce(&Url),
) -> Result<Stored, LoginError> {
    let redirect = Redirect::listen().await.map_err(|_| LoginError::System)?;
    let Found {
        mut manager,
        tokens,
        ..
    } = discover(url, challenge).await?;
    let scopes = manager.select_initial_scopes(&[]).await;
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let client = manager.register_client(NAME, redirect.uri(), &scopes);
    let client = client.await.map_err(|_| LoginError::Unregistered)?;
    let page = manager.get_authorization_url(&scopes).await;
    let page = Url::parse(&page.map_err(|_| LoginError::NotFound)?);
    let page = page.map_err(|_| LoginError::NotFound)?;
    let state = page.query_pairs().find(|(name, _)| name == "state");
    let state = state.map(|(_, state)| Secret::new(state.into_owned()));
    let state = state.ok_or(LoginError::NotFound)?;
    ask(&page);
    let answer = redirect.answer(state.clone(), limit).await?;
    let issuer = answer.issuer.as_deref();
    manager
        .exchange_code_for_token_with_issuer(answer.code.expose(), state.expose(), issuer)
        .await
        .map_err(|_| LoginError::NoToken)?;
    let credentials = tokens.load().await.ok().flatten();
    let stored = Stored {
        version: VERSION,
        credentials: credentials.ok_or(LoginError::NoToken)?,
        client_secret: client.client_secret,
        challenge: challenge.map(str::to_owned),
    };
    Ok(stored)
}

/// Another token for an old one; `None` where somebody has to log in.
pub(super) async fn refresh(url: &Url, old: &Stored) -> Option<Stored> {
    match try_refresh(url, old).await {
        Ok(new) => new,
        Err(error) => {
            // Not what the server answered: it may be anything.
            let what = match matches!(error, AuthError::TokenRefreshRejected(_)) {
                true => "is over",
                false => "could not be renewed",
            };
            tracing::warn!("the stored login {what}");
            None
        }
    }
}

async fn try_refresh(url: &Url, old: &Stored) -> Result<Option<Stored>, AuthError> {
    let Ok(found) = discover(url, old.challenge.as_deref()).await else {
        return Err(AuthError::NoAuthorizationSupport);
    };
    let Found {
        mut manager,
        tokens,
        issuer,
    } = found;
    // Else a server could have the token of one authorization server sent to another.
    if issuer != old.credentials.issuer {
        return Ok(None);
    }
    tokens.save(old.credentials.clone()).await?;
    if !manager.initialize_from_store().await? {
        return Ok(None);
    }
    if let Some(secret) = &old.client_secret {
        let client = OAuthClientConfig::new(&old.credentials.client_id, url.as_str());
        manager.configure_client(client.with_client_secret(secret))?;
    }
    manager.refresh_token().await?;
    let credentials = tokens.load().await?;
    Ok(credentials.map(|credentials| Stored {
        credentials,
        ..old.clone()
    }))
}

/// Where to log in.
struct Found {
    manager: AuthorizationManager,
    /// Where the manager leaves its tokens.
    tokens: InMemoryCredentialStore,
    issuer: Option<String>,
}

async fn discover(url: &Url, challenge: Option<&str>) -> Result<Found, LoginError> {
    if !is_secure(url.as_str()) {
        return Err(LoginError::Insecure);
    }
    let manager = AuthorizationManager::new(url.clone()).await;
    let mut manager = manager.map_err(|_| LoginError::System)?;
    let tokens = InMemoryCredentialStore::new();
    manager.set_credential_store(tokens.clone());
    let found = manager.resolve_metadata_from_challenge(challenge).await;
    let found = found.map_err(|_| LoginError::NotFound)?;
    if !are_secure(&found.metadata, url) {
        return Err(LoginError::Insecure);
    }
    let issuer = found.metadata.issuer.clone();
    manager.set_metadata(found.metadata);
    Ok(Found {
        manager,
        tokens,
        issuer,
    })
}

/// SPEC 2025-11-25, "Communication Security": "All authorization server endpoints MUST be served
/// over HTTPS." The page is opened in a browser too, which would do other things with other schemes.
fn are_secure(metadata: &AuthorizationMetadata, server: &Url) -> bool {
    let registration = metadata.registration_endpoint.as_deref();
    [&*metadata.authorization_endpoint, &metadata.token_endpoint]
        .into_iter()
        .chain(registration)
        .all(|endpoint| may_be_sent_to(endpoint, server))
}

/// Whether a server may have us speak to this endpoint. A server elsewhere must not reach through us
/// what it cannot reach itself: what listens on this machine, or has no name but an address.
pub(super) fn may_be_sent_to(endpoint: &str, server: &Url) -> bool {
    let is_same_host = |url: &Url| url.host() == server.host();
    is_secure(endpoint)
        && Url::parse(endpoint).is_ok_and(|url| {
            let is_named = url.domain().is_some_and(|name| !is_here(name));
            is_named || is_same_host(&url) || (is_local(&url) && is_local(server))
        })
}

/// What does not leave this machine needs no TLS.
pub(super) fn is_secure(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| match url.scheme() {
        "https" => url.has_host(),
        "http" => is_local(&url),
        _ => false,
    })
}

fn is_local(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// Whether a name is one of this machine's own (RFC 6761, section 6.3).
fn is_here(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}
