//! Pairs devices with the remote page: exchanges a code that works once for a session of 30 days.
//!
//! `approval-proxy inbox --pair` makes the code; the store counts wrong ones.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{HeaderMap, USER_AGENT};
use axum::response::Response;

use super::error::{NotPaired, PageError, how_to_pair};
use super::form::Form;
use super::html::Html;
use super::layout::{answer, bare};
use super::login::Session;
use super::{App, Push, access, held, keyed};
use crate::approval::item::read_approver;
use crate::engines::inbox::log::{DeviceEvent, InboxLog};
use crate::engines::inbox::push::Subscription;
use crate::engines::inbox::remote::PageUrl;
use crate::engines::inbox::store::{DEVICE_MS, Device, Devices, Paired, StoreError};
use crate::sys::clock::{random_hex, random_seed};
use crate::sys::with_causes;

/// How long a code is valid, in milliseconds: five minutes.
pub const CODE_LIFE: i64 = 5 * 60 * 1000;
/// How long a device's session lasts.
pub(super) const SESSION: Duration = Duration::from_millis(DEVICE_MS.unsigned_abs());
/// How often a device's last use is stored, at most, in milliseconds.
const NOTE_EVERY: i64 = 60 * 1000;

/// What makes a page the remote one.
pub struct Remote {
    url: PageUrl,
    devices: Mutex<Box<dyn Devices>>,
    log: InboxLog,
    /// `None` if devices cannot subscribe to notifications.
    push: Option<Push>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Remote {
    /// Creates the remote page's part at this URL, for these devices. What happens to devices goes to `log`.
    #[must_use]
    pub fn new(url: PageUrl, devices: Box<dyn Devices>, log: InboxLog) -> Remote {
        Remote {
            url,
            devices: Mutex::new(devices),
            log,
            push: None,
        }
    }

    /// Lets devices subscribe to notifications.
    #[must_use]
    pub fn with_push(self, push: Push) -> Remote {
        Remote {
            push: Some(push),
            ..self
        }
    }

    pub(super) fn push(&self) -> Option<&Push> {
        self.push.as_ref()
    }

    /// Forgets a device's subscription that has ended, unless the device has another one by now.
    pub(super) fn unsubscribe(&self, device: &str, ended: &Subscription) -> Result<(), StoreError> {
        self.devices(|devices| {
            let known = devices.subscriptions(0)?;
            let ended = ended.to_json();
            match known
                .iter()
                .any(|(id, json)| id == device && *json == ended)
            {
                true => devices.subscribe(device, None),
                false => Ok(()),
            }
        })
    }

    pub(super) fn url(&self) -> &PageUrl {
        &self.url
    }

    /// Calls `work` with the devices.
    pub(super) fn devices<T>(
        &self,
        work: impl FnOnce(&mut dyn Devices) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        work(&mut **held(&self.devices))
    }

    /// Returns the id of the device whose session has this hash, and notes that it was used.
    pub(super) fn device(
        &self,
        session: &[u8; 32],
        now_ms: i64,
    ) -> Result<Option<String>, StoreError> {
        self.devices(|devices| {
            let Some(device) = devices.device(session, now_ms)? else {
                return Ok(None);
            };
            // A full disk or a locked store must not keep a person from reading.
            if now_ms.saturating_sub(device.used_ms) >= NOTE_EVERY
                && let Err(error) = devices.used(&device.id, now_ms)
            {
                tracing::debug!(
                    "the last use of a device is not noted: {}",
                    with_causes(&error)
                );
            }
            Ok(Some(device.id))
        })
    }

    /// Returns true if a device has this session. That is no use of the device: an open page asks by itself.
    pub(super) fn is_paired(&self, session: &[u8; 32], now_ms: i64) -> Result<bool, StoreError> {
        self.devices(|devices| Ok(devices.device(session, now_ms)?.is_some()))
    }

    /// Ends the pairing of the device that has this session.
    pub(super) fn leave(&self, session: &Session, now_ms: i64) -> Result<(), PageError> {
        let device = self.devices(|devices| {
            let device = devices.device(&session.hash, now_ms)?;
            if let Some(device) = &device {
                devices.revoke(&device.id)?;
            }
            Ok(device)
        })?;
        if let Some(device) = device {
            if let Some(push) = &self.push {
                push.forget(&device.id);
            }
            self.record(DeviceEvent::Revoked, &device)?;
        }
        Ok(())
    }

    fn record(&self, event: DeviceEvent, device: &Device) -> Result<(), PageError> {
        let recorded = self.log.record(event, &device.id, &device.name, "page");
        recorded.map_err(|error| {
            tracing::error!("{}", with_causes(&error));
            PageError::Unrecorded(event)
        })
    }
}

/// Returns the key that the sessions of devices are bound to. They outlive this process, so it belongs to the state
/// folder.
pub(super) fn key(secret: &[u8; 32]) -> [u8; 32] {
    *keyed(secret, "devices", b"").as_bytes()
}

/// A code that pairs a device: eight letters and digits that nobody confuses, about 40 bits.
#[derive(Clone)]
pub struct PairingCode(String);

/// Without I, L, O, 0 and 1.
const LETTERS: &[u8; 31] = b"ABCDEFGHJKMNPQRSTUVWXYZ23456789";
const LENGTH: usize = 8;

impl fmt::Debug for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairingCode")
    }
}

impl PairingCode {
    /// Makes a random code.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn random() -> Result<PairingCode, getrandom::Error> {
        let mut code = String::new();
        while code.len() < LENGTH {
            let seed = random_seed()?;
            // Drops what would make some letters likelier than others.
            let letters = seed.iter().filter_map(|byte| {
                let most = (256 / LETTERS.len()) * LETTERS.len();
                let at = usize::from(*byte);
                LETTERS.get(at % LETTERS.len()).filter(|_| at < most)
            });
            code.extend(letters.map(|letter| char::from(*letter)));
        }
        code.truncate(LENGTH);
        Ok(PairingCode(code))
    }

    /// Reads a code as a person types it.
    fn typed(text: &str) -> PairingCode {
        let letters = text.chars().filter(char::is_ascii_alphanumeric);
        // More is no code; it must not become one by being cut.
        let letters = letters.take(LENGTH + 1);
        PairingCode(letters.map(|letter| letter.to_ascii_uppercase()).collect())
    }

    /// Returns the code in two groups, as people read it.
    #[must_use]
    pub fn shown(&self) -> String {
        let (first, second) = self.0.split_at_checked(LENGTH / 2).unwrap_or((&self.0, ""));
        format!("{first}-{second}")
    }

    /// Returns the link that a phone opens, with the code where no server and no log sees it.
    #[must_use]
    pub fn link(&self, page: &PageUrl) -> String {
        format!("{}pair#{}", page.address(), self.shown())
    }

    /// Returns the code's hash for the store of the folder with this secret.
    #[must_use]
    pub fn hash(&self, secret: &[u8; 32]) -> [u8; 32] {
        *keyed(secret, "pairing code", self.0.as_bytes()).as_bytes()
    }
}

/// `GET /login` of the remote page: how to pair.
pub(super) async fn how() -> Response {
    let mut body = Html::new();
    body.raw("<section class=\"notice\"><h1>Pair this device to see your approvals</h1>");
    how_to_pair(&mut body);
    body.raw("</section>");
    answer(StatusCode::OK, bare("Pair", None, &body))
}

/// `GET /pair`: a form for the code. The script fills in what the link has after `#`.
pub(super) async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let mut body = Html::new();
    body.raw("<section class=\"notice\"><h1>Pair this device</h1>");
    if app.session(&headers, None).is_ok() {
        body.raw("<p>This device is paired. <a class=\"button\" href=\"/\">Open the inbox</a></p>");
    }
    body.raw(
        "<p>Enter the code that <code>approval-proxy inbox --pair</code> shows. It works once, for five minutes.</p>\
         <form id=\"pair\" method=\"post\" action=\"/pair\">\
         <label class=\"field\"><span>Code</span><input id=\"code\" name=\"code\" type=\"text\" autocomplete=\"one-time-code\" autocapitalize=\"characters\" spellcheck=\"false\" maxlength=\"16\" placeholder=\"XXXX-XXXX\" required></label>\
         <label class=\"field\"><span>Name of this device</span><input name=\"name\" type=\"text\" maxlength=\"64\" autocomplete=\"off\" value=\"",
    );
    let agent = access::only(&headers, &USER_AGENT).unwrap_or_default();
    body.value(usual_name(agent));
    body.raw(
        "\"></label><button class=\"button primary\">Pair this device</button></form></section>",
    );
    answer(StatusCode::OK, bare("Pair", None, &body))
}

/// `POST /pair`
pub(super) async fn pair(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, PageError> {
    let Some(remote) = &app.remote else {
        return Err(PageError::NotFound);
    };
    let agent = access::only(request.headers(), &USER_AGENT).unwrap_or_default();
    let usual = usual_name(agent);
    let form = Form::read(request.into_body()).await?;
    let name = match form.filled("name").map(read_approver) {
        None => usual.to_owned(),
        Some(Ok(name)) => name,
        Some(Err(_)) => {
            return Err(PageError::Form(
                "A name has at most 64 characters, all of them visible. The device was not paired.",
            ));
        }
    };
    let now_ms = app.now().unix_ms;
    let (session, hash) = app.new_session()?;
    let device = Device {
        id: random_hex(4).map_err(|_| PageError::NoRandom)?,
        name,
        paired_ms: now_ms,
        used_ms: now_ms,
        until_ms: now_ms.saturating_add(DEVICE_MS),
    };
    let code = PairingCode::typed(form.get("code")).hash(&app.secret);
    let mut recorded = Ok(());
    let mut record = || {
        recorded = remote.record(DeviceEvent::Paired, &device);
        recorded.is_ok()
    };
    let paired = remote.devices(|devices| devices.pair(&code, &device, &hash, &mut record))?;
    match paired {
        Paired::Done => {}
        Paired::WrongCode => return Err(PageError::NotPaired(NotPaired::WrongCode)),
        Paired::NoCode => return Err(PageError::NotPaired(NotPaired::NoCode)),
        Paired::TooMany => return Err(PageError::NotPaired(NotPaired::TooMany)),
        Paired::Unrecorded => {}
    }
    recorded?;
    Ok(app.logged_in(&session, SESSION))
}

/// Returns what people call a device with this user agent.
fn usual_name(agent: &str) -> &'static str {
    let known = [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android phone"),
        ("Macintosh", "Mac"),
        ("Windows", "Windows PC"),
        ("Linux", "Linux PC"),
    ];
    let mut known = known.into_iter();
    let found = known.find(|(part, _)| agent.contains(part));
    found.map_or("Device", |(_, name)| name)
}
