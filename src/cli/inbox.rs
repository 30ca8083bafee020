//! `approval-proxy inbox`: serves the page without a proxy, sets the passphrase, and pairs devices.

mod devices;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::interval;

use self::devices::Pairing;
use super::approvals::NoItem;
use super::options::InboxOptions;
use super::{exit_code, passphrase};
use crate::app::{page_settings, receive_verdicts, shared_connections};
use crate::approval::form::BadAnswer;
use crate::config::{
    ApproverName, ConfigError, Environment, Flags, InboxSettings, Layer, ServerChoice, load,
    load_inbox,
};
use crate::engines::inbox::log::Unrecorded;
use crate::engines::inbox::page_server::{PageServer, PageServerError, address};
use crate::engines::inbox::passphrase::{MIN, PassphraseError, PublicKey, set, unlock};
use crate::engines::inbox::store::{self, DISREGARDED, Logins, Store, StoreError};
use crate::evidence::redact::Redaction;
use crate::sys::Stderr;
use crate::sys::clock::Clock;
use crate::sys::state_dir::{StateDir, suggested_command};
use crate::sys::with_causes;

/// How often to check that the page is served, and to close items that nobody waits for.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);

/// `approval-proxy inbox`.
#[derive(Debug, Clone, Args)]
pub struct InboxCommand {
    #[command(flatten)]
    inbox: InboxOptions,

    /// Set a passphrase that every verdict in the inbox needs from then on
    ///
    /// Asks for the current passphrase first, if there is one. Restart running proxies afterwards
    #[arg(long)]
    set_passphrase: bool,

    /// Print the fingerprint of the passphrase's key, for `inboxKey`
    #[arg(long, conflicts_with = "set_passphrase")]
    show_key: bool,

    /// Pair a phone with the page: show a code that signs it in, once, within five minutes
    ///
    /// Needs `inbox.pageUrl` and `inbox.listen` in the user configuration
    #[arg(long, conflicts_with_all = ["set_passphrase", "show_key", "devices"])]
    pair: bool,

    /// List the paired devices
    #[arg(long, conflicts_with_all = ["set_passphrase", "show_key"])]
    devices: bool,

    /// End the pairing with the device whose id is ID, or begins with it
    #[arg(long, value_name = "ID", requires = "devices")]
    revoke: Option<String>,

    /// Record NAME as the approver of verdicts from this browser
    ///
    /// Or set APPROVAL_APPROVER. Nobody checks the name, and the page can change it
    #[arg(long = "as", value_name = "NAME", value_parser = ApproverName::read)]
    #[arg(conflicts_with_all = ["set_passphrase", "show_key", "pair", "devices"])]
    approver: Option<ApproverName>,
}

/// Why a command about the inbox failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum InboxError {
    #[error(transparent)]
    Config(Box<ConfigError>),
    #[error("there is no state folder, because `HOME` is not set; name a folder with --state-dir")]
    NoFolder,
    #[error(
        "there is no folder `{}`; use --state-dir with the folder that your proxies use, or omit it",
        .0.display()
    )]
    NothingThere(PathBuf),
    #[error(transparent)]
    NoItem(#[from] NoItem),
    #[error("the verdict does not count, and item {0} is still waiting. {DISREGARDED}")]
    Disregarded(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    PageServer(#[from] PageServerError),
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    #[error(
        "no page for phones is configured; set `approvalProxy.inbox` with `pageUrl` and `listen` in your user configuration"
    )]
    NoRemotePage,
    #[error(
        "no paired device has the id `{0}`, or several ids begin with it; `approval-proxy inbox --devices` lists them"
    )]
    NoDevice(String),
    #[error("the device is revoked, but that is not recorded")]
    Unrecorded(#[source] Unrecorded),
    #[error("{0}; nothing was decided, and `approvals show` lists the form")]
    BadAnswer(#[from] BadAnswer),
    #[error("the two passphrases differ; nothing has changed")]
    Differ,
    #[error("{0}; nothing has changed")]
    Unanswered(&'static str),
    #[error("cannot use the terminal")]
    Terminal(#[source] io::Error),
    #[error("ended by signal {0}; nothing has changed")]
    Signal(i32),
    #[error("the system refused a resource that approval-proxy needs")]
    System(#[source] io::Error),
}

impl From<ConfigError> for InboxError {
    fn from(error: ConfigError) -> InboxError {
        InboxError::Config(Box::new(error))
    }
}

impl InboxError {
    /// Returns the exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            InboxError::Config(_)
            | InboxError::NoFolder
            | InboxError::NothingThere(_)
            | InboxError::NoRemotePage
            | InboxError::PageServer(
                PageServerError::Certificate(_) | PageServerError::Listen { .. },
            )
            | InboxError::Store(_)
            | InboxError::Passphrase(PassphraseError::Store(_) | PassphraseError::Damaged(_)) => {
                exit_code::CONFIG
            }
            InboxError::NoItem(_) | InboxError::NoDevice(_) => exit_code::NO_ITEM,
            InboxError::Unrecorded(_) => exit_code::AUDIT_LOG,
            InboxError::Differ
            | InboxError::BadAnswer(_)
            | InboxError::Disregarded(_)
            | InboxError::Unanswered(_)
            | InboxError::Passphrase(
                PassphraseError::Wrong
                | PassphraseError::TooShort
                | PassphraseError::NotSet
                | PassphraseError::AlreadySet,
            ) => exit_code::USAGE,
            InboxError::Signal(number) => exit_code::for_signal(*number),
            InboxError::PageServer(_)
            | InboxError::Passphrase(PassphraseError::Failed(_))
            | InboxError::Terminal(_)
            | InboxError::System(_) => exit_code::INTERNAL,
        }
    }
}

/// Opens the inbox's folder. Returns it with the settings of the inbox.
pub(super) fn open(
    flags: &Layer,
    environment: &Environment,
) -> Result<(InboxSettings, StateDir), InboxError> {
    let settings = InboxSettings::resolve(flags, environment)?;
    let folder: Option<PathBuf> = settings.state_dir.clone();
    let dir = StateDir::open(&folder.ok_or(InboxError::NoFolder)?)?;
    Ok((settings, dir))
}

pub(super) fn run(
    command: InboxCommand,
    environment: &Environment,
    stderr: &Stderr,
) -> Result<u8, InboxError> {
    let flags = Layer {
        approver: command.approver,
        ..*command.inbox.0
    };
    let (_, dir) = open(&flags, environment)?;
    if command.set_passphrase {
        return set_passphrase(&dir, stderr);
    }
    if command.show_key {
        return show_key(&dir);
    }
    if command.devices {
        let mut store = store::open(&dir, &Redaction::default())?;
        return match &command.revoke {
            None => devices::list(&mut *store.devices),
            Some(id) => devices::revoke(&dir, &mut *store.devices, id),
        };
    }
    let settings = load_inbox(&flags, environment)?;
    if command.pair {
        return pair(dir, &settings, stderr);
    }
    let receiving = receive(flags, &dir, environment, stderr)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(InboxError::System)?;
    let _inside = runtime.enter();
    let store = store::open(&dir, &Redaction::default())?;
    let page_server = PageServer::new(dir, page_settings(&settings))?;
    let served = serve(page_server, store, &settings, stderr);
    let ended = runtime.block_on(served);
    drop(receiving);
    ended
}

/// Pairs a device. Serves the page for it meanwhile if nobody else does, and then until a signal.
fn pair(dir: StateDir, settings: &InboxSettings, stderr: &Stderr) -> Result<u8, InboxError> {
    let page = settings.remote.as_ref().ok_or(InboxError::NoRemotePage)?;
    if PublicKey::load(&dir)?.is_some() {
        let [passphrase] = passphrase::ask(["Passphrase"])?;
        unlock(&dir, &passphrase)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(InboxError::System)?;
    let _inside = runtime.enter();
    let mut store = store::open(&dir, &Redaction::default())?;
    let mut page_server = PageServer::new(dir.clone(), page_settings(settings))?;
    page_server.find_or_serve_remote()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let pairing =
            devices::pair(&dir, &page.url, &mut page_server, &mut *store.devices, &mut signals);
        if let Pairing::Ended(code) = pairing.await? {
            return Ok(code);
        }
        if !page_server.is_serving_remote() {
            return Ok(exit_code::OK);
        }
        let address = page.url.address();
        let message = format!(
            "approval-proxy: this command serves the page at {address} until you stop it with Ctrl-C; \
             keep `approval-proxy inbox` running in its place\n"
        );
        stderr.send(message.into_bytes());
        Ok(exit_code::for_signal(signals.next().await))
    })
}

/// The signals that ask the command to end.
struct Signals([Signal; 3]);

impl Signals {
    fn listen() -> Result<Signals, InboxError> {
        let listen = |kind| signal(kind).map_err(InboxError::System);
        Ok(Signals([
            listen(SignalKind::terminate())?,
            listen(SignalKind::interrupt())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    /// Waits for the first signal. Returns its number. May be cancelled.
    async fn next(&mut self) -> i32 {
        let Signals([terminate, interrupt, hang_up]) = self;
        let kind = tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = hang_up.recv() => SignalKind::hangup(),
        };
        kind.as_raw_value()
    }
}

/// If a passphrase is set and an engine needs it, asks for it, and receives and signs the verdicts that the engine's
/// people give about any proxy's questions. Returns what does so until it is dropped.
fn receive(
    flags: Layer,
    dir: &StateDir,
    environment: &Environment,
    stderr: &Stderr,
) -> Result<Option<Box<dyn Send>>, InboxError> {
    if PublicKey::load(dir)?.is_none() {
        return Ok(None);
    }
    let server = ServerChoice::None {
        name: "server".to_owned(),
    };
    let config = match load(
        Flags {
            server,
            layer: flags,
        },
        environment,
    ) {
        Ok(config) => config,
        // The page works without it.
        Err(error) => {
            let why = with_causes(&error);
            tracing::warn!("the engines of the user configuration cannot be used: {why}");
            return Ok(None);
        }
    };
    let shared = shared_connections(&config);
    if shared.is_empty() {
        return Ok(None);
    }
    let engines = shared.join(", ");
    let question = format!("Passphrase, to sign answers given in {engines}");
    let passphrase = match passphrase::ask([&question]) {
        Ok([passphrase]) => passphrase,
        Err(InboxError::Unanswered(why)) => {
            tracing::warn!(
                "{why}, so answers given in {engines} count only in the proxy that receives them"
            );
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let signer = unlock(dir, &passphrase)?;
    let receiving = receive_verdicts(&config, signer);
    let message =
        format!("approval-proxy: answers given in {engines} are signed and count in every proxy\n");
    stderr.send(message.into_bytes());
    Ok(Some(receiving))
}

/// Serves the page until a signal. While another process serves it, stands by to take over.
async fn serve(
    mut page_server: PageServer,
    store: Store,
    settings: &InboxSettings,
    stderr: &Stderr,
) -> Result<u8, InboxError> {
    let opens_browser = settings.opens_browser;
    let mut signals = Signals::listen()?;
    let Store {
        mut requests,
        mut logins,
        ..
    } = store;
    let clock = Clock::start();
    let now_ms = clock.now().unix_ms;
    page_server.find_or_serve_remote()?;
    let port = page_server.find_or_serve(now_ms)?;
    let is_opened = opens_browser && page_server.open_browser(&mut *logins, port, now_ms)?;
    let by_others = match page_server.is_serving() {
        true => "",
        false => "; another approval-proxy serves it, and this one takes over when that one exits",
    };
    let no_browser = match (is_opened, opens_browser) {
        (true, _) => "",
        (false, true) => "; no browser could be opened here",
        (false, false) => "; no browser was opened because of `--no-browser`",
    };
    let (to_log_in, stop) = match io::stdout().is_terminal() {
        true => (String::new(), "Ctrl-C".to_owned()),
        false => {
            let list = suggested_command("approvals list", Some(page_server.folder()));
            let to_log_in = match is_opened {
                true => String::new(),
                false => format!(
                    ", and there is no terminal to show a login link in; use `{list}` to see the waiting \
                     calls, and `approvals approve` and `approvals deny` to decide"
                ),
            };
            (
                to_log_in,
                format!("`kill {}` or Ctrl-C", std::process::id()),
            )
        }
    };
    let message = format!(
        "approval-proxy: the approval inbox is at {}{by_others}{no_browser}{to_log_in}; stop with \
         {stop}\n",
        address(port)
    );
    stderr.send(message.into_bytes());
    if let Some(page) = &settings.remote {
        let address = page.url.address();
        let message = format!(
            "approval-proxy: for paired devices it is at {address}; pair one with `approval-proxy inbox --pair`\n"
        );
        stderr.send(message.into_bytes());
    }
    show_link(&page_server, &mut *logins, port, now_ms, is_opened)?;
    let mut ticks = interval(MAINTAIN_EVERY);
    let mut is_reported = false;
    loop {
        let number = tokio::select! {
            number = signals.next() => number,
            _ = ticks.tick() => {
                let now_ms = clock.now().unix_ms;
                let maintained = page_server
                    .find_or_serve(now_ms)
                    .and_then(|_| page_server.find_or_serve_remote())
                    .map_err(|error| with_causes(&error));
                let mut swept = || match page_server.is_serving() {
                    true => requests
                        .check()
                        .and_then(|()| requests.sweep(now_ms))
                        .and_then(|()| page_server.tidy_login_file(&mut *logins, now_ms))
                        .map_err(|error| with_causes(&error)),
                    false => page_server
                        .tidy_login_file(&mut *logins, now_ms)
                        .map_err(|error| with_causes(&error)),
                };
                match maintained.and_then(|()| swept()) {
                    Ok(()) => is_reported = false,
                    // Report a lasting error only once.
                    Err(_) if is_reported => {}
                    Err(why) => {
                        tracing::error!("{why}");
                        is_reported = true;
                    }
                }
                continue;
            }
        };
        return Ok(exit_code::for_signal(number));
    }
}

/// Prints a login link if stdout is a terminal, in case no browser opens or it cannot log in. The link
/// contains a secret, so it is printed nowhere else.
fn show_link(
    page_server: &PageServer,
    logins: &mut dyn Logins,
    port: u16,
    now_ms: i64,
    is_opened: bool,
) -> Result<(), InboxError> {
    let mut stdout = io::stdout();
    if stdout.is_terminal() {
        let link = page_server.login_link(logins, port, now_ms)?;
        let when = match is_opened {
            true => "A browser should open. If it does not, open",
            false => "Open",
        };
        let written = writeln!(
            stdout,
            "{when} this link within five minutes; it works once:\n{link}"
        );
        written.map_err(InboxError::Terminal)?;
    }
    Ok(())
}

fn set_passphrase(dir: &StateDir, stderr: &Stderr) -> Result<u8, InboxError> {
    let least = format!("A passphrase has at least {MIN} characters.\n");
    let (new, again) = ("New passphrase", "Repeat the new passphrase");
    // Somebody who does not know the current passphrase must not be able to replace it.
    let (current, [first, second]) = match PublicKey::load(dir)? {
        None => (None, passphrase::ask([&format!("{least}{new}"), again])?),
        Some(_) => {
            let asked = [&format!("{least}Current passphrase"), new, again];
            let [current, first, second] = passphrase::ask(asked)?;
            (Some(current), [first, second])
        }
    };
    if first.expose() != second.expose() {
        return Err(InboxError::Differ);
    }
    let key = set(dir, current.as_ref(), &first)?.fingerprint();
    let message = format!(
        "approval-proxy: from now on, every proxy and inbox that starts needs the passphrase for a \
         verdict; restart the running ones. The key is {key}; set it as `inboxKey` in the \
         configuration to accept no other key\n"
    );
    stderr.send(message.into_bytes());
    Ok(exit_code::OK)
}

/// Prints the fingerprint of the key, for `inboxKey`.
fn show_key(dir: &StateDir) -> Result<u8, InboxError> {
    let key = PublicKey::load(dir)?.ok_or(PassphraseError::NotSet)?;
    let written = writeln!(io::stdout(), "{}", key.fingerprint());
    written.map_err(InboxError::Terminal)?;
    Ok(exit_code::OK)
}
