//! Applies the inbox's key to a run: whether it is the pinned one, and which assurance each engine can reach.

use std::ffi::OsString;
use std::sync::Arc;

use crate::approval::item::Assurance;
use crate::config::Resolved;
use crate::engines::inbox::handle::ConfiguredCourier;
use crate::engines::inbox::passphrase::{KeyFingerprint, PublicKey, Signer};
use crate::engines::{Callbacks, CourierContext, PageLinks, Rows};
use crate::gate::{Channel, Client, Engine, Patience};
use crate::sys::state_dir::suggested_command;

/// The key that verdicts of the inbox must be signed with; `None` if no passphrase is set, an error message
/// if the key cannot be read.
pub(super) type InboxKey = Result<Option<PublicKey>, String>;

/// The key is not the one that the configuration pins.
#[derive(Debug, thiserror::Error)]
#[error(
    "`inboxKey` pins the key {pinned}, but {found}; if you have set a new passphrase, pin its key \
     (`{show_key}` prints it); if not, somebody else has changed it"
)]
pub struct WrongKey {
    pinned: KeyFingerprint,
    found: String,
    /// The command that prints the key.
    show_key: String,
}

/// Returns the engines that need a courier. Nothing of them starts yet. With `signer`, they sign the verdicts that they
/// receive for other processes.
pub(super) fn couriers(config: &Resolved, signer: Option<Signer>) -> Vec<ConfiguredCourier> {
    let transport = Arc::new(config.engine_transport.clone());
    let withheld: Arc<[OsString]> = config.engines.withheld.clone().into();
    let runtime = Arc::default();
    let page = match &config.inbox.page_url {
        Some(url) => PageLinks::fixed(url.address()),
        None => PageLinks::default(),
    };
    let rows = Rows::new(
        config.inbox.state_dir.clone(),
        config.settings.redaction.clone(),
        signer,
    );
    let engines = config.engines.list.iter().filter_map(|engine| {
        let Engine::OutOfBand(name) = engine.channel.engine else {
            return None;
        };
        let timeout = match engine.channel.patience {
            Patience::Default => config.settings.timeout,
            Patience::Own(timeout) => timeout,
        };
        Some(ConfiguredCourier {
            context: CourierContext {
                name,
                show: engine.show,
                timeout,
                transport: Arc::clone(&transport),
                redaction: config.settings.redaction.clone(),
                withheld: Arc::clone(&withheld),
                runtime: Arc::clone(&runtime),
                page: page.clone(),
                rows: rows.with_reach(engine.channel.reach),
            },
            reach: engine.channel.reach,
            settings: Arc::clone(engine.courier.as_ref()?),
        })
    });
    engines.collect()
}

/// Returns what receives the answers that services send to the page.
pub(super) fn callbacks(couriers: &[ConfiguredCourier]) -> Callbacks {
    let callbacks = couriers.iter().filter_map(|courier| {
        let callback = courier.settings.callback(&courier.context)?;
        Some((courier.context.name.name().to_owned(), callback))
    });
    callbacks.collect()
}

/// Returns the assurance that verdicts from a channel can reach. `is_signed` says whether a passphrase is set.
#[must_use]
pub fn assurance_of(channel: &Channel, is_signed: bool) -> Assurance {
    match channel.engine == Engine::INBOX && is_signed {
        true => Assurance::InboxPassphrase,
        false => channel.reach,
    }
}

/// Compares the key with the one that the configuration pins, and sets the assurance that the engines of
/// `config` can reach. Warns if an approval needs less than the operator may believe.
///
/// # Errors
/// A key other than the pinned one, or none.
pub(super) fn apply_key(config: &mut Resolved, key: &InboxKey) -> Result<(), WrongKey> {
    if let Some(pinned) = &config.inbox_key {
        let found = match key {
            Ok(Some(key)) if key.fingerprint() == *pinned => None,
            Ok(Some(key)) => Some(format!("the inbox has the key {}", key.fingerprint())),
            Ok(None) => Some("no passphrase is set for the inbox".to_owned()),
            Err(why) => Some(format!("the inbox's key cannot be read: {why}")),
        };
        if let Some(found) = found {
            return Err(WrongKey {
                pinned: pinned.clone(),
                found,
                show_key: suggested_command("inbox --show-key", config.inbox.state_dir.as_deref()),
            });
        }
    }
    let settings = &mut config.settings;
    let key = key.as_ref().ok().and_then(Option::as_ref);
    settings.inbox_key = key.map(|key| key.fingerprint().to_string());
    for channel in &mut settings.channels {
        channel.reach = assurance_of(channel, key.is_some());
    }
    let is_asked = |engine| {
        let mut channels = settings.channels.iter();
        channels.any(|channel| channel.engine == engine && settings.counts(channel.reach))
    };
    let asks_client = is_asked(Engine::Elicitation) && settings.client == Client::Known;
    if key.is_some() && asks_client {
        tracing::warn!(
            "a passphrase is set, but an approval given in the client does not need it; to require it \
             always, set `requireAssurance` to `inbox-passphrase`, or `engines` to `inbox`"
        );
    }
    if let Some(required) = settings.require_assurance
        && !settings
            .channels
            .iter()
            .any(|channel| settings.counts(channel.reach))
    {
        tracing::warn!(
            "`requireAssurance` is `{required}`, which no engine of `engines` can reach, so every call \
             that needs an approval is refused; add `inbox` to `engines` and set a passphrase with \
             `{}`, or require less",
            suggested_command("inbox --set-passphrase", config.inbox.state_dir.as_deref())
        );
    }
    Ok(())
}
