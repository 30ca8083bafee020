//! Web Push on the remote page: devices subscribe, and hear of calls that wait.
//!
//! `engines::inbox::push` encrypts and sends. A push message is a courtesy: without it, the call still waits on the page.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use tokio::sync::mpsc;

use super::error::PageError;
use super::routes::own_file;
use super::{App, held};
use crate::engines::HttpRuntime;
use crate::engines::inbox::push::{ApplicationServerKey, Notice, Sender, Subscription};
use crate::engines::inbox::remote::PageUrl;
use crate::engines::inbox::store::{Entry, StoreError};
use crate::gate::Retry;
use crate::sys::with_causes;

/// How many waiting items are looked at. With more of them, another message helps nobody.
const LOOKED_AT: usize = 100;
/// Items that are older than this, in milliseconds, are not new to a page that has just started: the page before it has
/// told of them.
const NEW_MS: i64 = 60 * 1000;
/// How many ended subscriptions may wait to be forgotten. Each will be noticed again.
const MAX_GONE: usize = 64;

/// What sends push messages to the devices of a page.
pub struct Push {
    sender: Sender,
    /// The items that devices were told of and that still wait; `None` before the first look.
    told: Mutex<Option<HashSet<String>>>,
    /// Devices whose subscription has ended.
    gone: Mutex<mpsc::Receiver<(String, Subscription)>>,
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").finish_non_exhaustive()
    }
}

impl Push {
    /// Creates what sends for the page at this URL. Connects to nothing before the first message.
    #[must_use]
    pub fn new(key: ApplicationServerKey, page: PageUrl) -> Push {
        let (sender, gone) = mpsc::channel(MAX_GONE);
        let forget = move |device: &str, subscription: &Subscription| {
            // If the channel is full, the next message finds the subscription gone again.
            let _ = sender.try_send((device.to_owned(), subscription.clone()));
        };
        let runtime = Arc::new(HttpRuntime::default());
        Push::with(
            Sender::new(runtime, key, page, Retry::default(), Box::new(forget)),
            gone,
        )
    }

    pub(super) fn with(sender: Sender, gone: mpsc::Receiver<(String, Subscription)>) -> Push {
        Push {
            sender,
            told: Mutex::default(),
            gone: Mutex::new(gone),
        }
    }

    /// Returns the key with which browsers subscribe.
    pub(super) fn public_key(&self) -> String {
        self.sender.public_key()
    }

    /// Sends nothing more to a device that is no longer paired.
    pub(super) fn forget(&self, device: &str) {
        self.sender.forget(device);
    }

    /// Returns the items that devices have not been told of, and drops messages about those that no longer wait.
    fn news<'e>(&self, waiting: &'e [Entry], now_ms: i64) -> Vec<&'e Entry> {
        let ids: HashSet<String> = waiting.iter().map(|entry| entry.item.id.clone()).collect();
        let before = held(&self.told).replace(ids);
        let is_new = |entry: &&Entry| match &before {
            Some(told) => !told.contains(&entry.item.id),
            None => now_ms.saturating_sub(entry.item.asked_ms) < NEW_MS,
        };
        let told = held(&self.told);
        for item in before.iter().flatten() {
            if !told.as_ref().is_some_and(|told| told.contains(item)) {
                self.sender.withdraw(item);
            }
        }
        waiting.iter().filter(is_new).collect()
    }
}

impl App {
    fn push(&self) -> Option<&Push> {
        self.remote.as_ref()?.push()
    }

    /// Returns the key with which devices subscribe, if they can.
    pub(super) fn push_key(&self) -> Option<String> {
        self.push().map(Push::public_key)
    }

    /// Returns true if devices may have to hear of changes.
    pub(super) fn pushes(&self) -> bool {
        self.push().is_some()
    }

    /// Tells subscribed devices of the items that are new since the last look.
    pub(super) fn tell_devices(&self) {
        if let Err(error) = self.try_to_tell() {
            // The next change tries again.
            tracing::warn!("no push message is sent: {}", with_causes(&error));
        }
    }

    fn try_to_tell(&self) -> Result<(), StoreError> {
        let (Some(remote), Some(push)) = (&self.remote, self.push()) else {
            return Ok(());
        };
        while let Ok((device, subscription)) = held(&push.gone).try_recv() {
            remote.unsubscribe(&device, &subscription)?;
        }
        let now_ms = self.now().unix_ms;
        let (waiting, _) = self.store(|store| store.waiting(LOOKED_AT))?;
        // Before the items count as told of: if this fails, the next change tells of them.
        let subscriptions = remote.devices(|devices| devices.subscriptions(now_ms))?;
        let news = push.news(&waiting, now_ms);
        for (device, json) in subscriptions {
            // Another program may have written anything there.
            let Ok(subscription) = Subscription::from_json(json.as_bytes()) else {
                continue;
            };
            for entry in &news {
                push.sender
                    .send(&device, &subscription, Notice::about(&entry.item, now_ms));
            }
        }
        Ok(())
    }
}

/// `POST /push`: sets the device's subscription to what `PushSubscription.toJSON()` returns, or removes it.
pub(super) async fn subscribe(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, PageError> {
    let (session, form) = app.form(request).await?;
    let (Some(remote), Some(push), Some(device)) = (&app.remote, app.push(), session.device) else {
        return Err(PageError::NotFound);
    };
    let json = match form.filled("subscription") {
        None => {
            push.forget(&device);
            None
        }
        Some(text) => {
            let read = Subscription::from_json(text.as_bytes());
            let subscription = read.map_err(|error| {
                tracing::warn!("a device cannot subscribe to notifications: {error}");
                PageError::Form("This browser's push service cannot be used.")
            })?;
            Some(subscription.to_json())
        }
    };
    remote.devices(|devices| devices.subscribe(&device, json.as_deref()))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// `GET /sw.js`: the service worker, at the root so that it may act for the whole page.
pub(super) async fn service_worker() -> Response {
    own_file(
        "text/javascript; charset=utf-8",
        include_bytes!("assets/sw.js"),
    )
}
