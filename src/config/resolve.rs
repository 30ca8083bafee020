//! Merges the sources of the settings, strongest first.
//!
//! `cli`, `file` and `environment` read the sources.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::approval_form::ApprovalForm;
use super::approver::ApproverName;
use super::audit_log::AuditLog;
use super::document::DocumentUrl;
use super::engines::{ConfiguredEngines, EngineContext, Engines};
use super::entry::{Target, UpstreamConfig, UrlTarget};
use super::environment::{AUTH_TOKEN, Environment};
use super::error::ConfigError;
use super::floor::{Floors, Source};
use super::guarded::{Guarded, ServerChoice};
use super::host_name::HostName;
use super::inbox_page::InboxPage;
use super::number::{Multiplier, Seconds, Whole};
use super::pattern::Pattern;
use super::pointer::{Pointer, shown};
use super::recipient::Recipient;
use super::secrets::{decision_secret, question_token};
use super::settings::Layer;
use super::size::ByteSize;
use super::token::{BEARER_TOKEN, bearer_token};
use super::user_config::{ANY, UserConfig};
use super::withheld::Withheld;
use super::word::{DedupeFields, Word};
use crate::engines::TransportSettings;
use crate::engines::inbox::passphrase::KeyFingerprint;
use crate::engines::inbox::remote::{PageUrl, Protection, RemotePage};
use crate::gate::{Channel, Client, Engine, Retry, Settings, TimeoutAction};
use crate::http::inbound::Serving;
use crate::policy::{Mode, Policy, Rules};
use crate::sys::net::is_loopback;
use crate::sys::permissions::readable_by_others;
use crate::sys::secret::Secret;
use crate::sys::state_dir::{StateDir, StoredToken};

/// The command line.
#[derive(Debug, Clone)]
pub struct Flags {
    /// Which server to guard.
    pub server: ServerChoice,
    /// The settings.
    pub layer: Layer,
}

impl Flags {
    /// Returns flags with only `--upstream` set.
    #[must_use]
    pub fn new(upstream: PathBuf) -> Flags {
        Flags {
            server: ServerChoice::File {
                upstream,
                server: None,
            },
            layer: Layer::default(),
        }
    }
}

/// The user configurations of a run.
#[derive(Debug, Default)]
pub(super) struct UserConfigs {
    /// The one in use.
    pub(super) in_use: Option<UserConfig>,
    /// The floors that hold the one in use, too: those of other files, if a flag or a variable has put it in the place of
    /// the one in the user's home folder.
    pub(super) above: Floors,
    /// The floors of all of them, the machine's last.
    pub(super) floors: Floors,
    /// Those that are not in use. Other runs may use them.
    pub(super) others: Vec<UserConfig>,
}

/// How clients reach the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// Over stdin and stdout. The default.
    #[default]
    Stdio,
    /// Over HTTP+SSE of 2024-11-05, at `/sse`.
    Sse,
    /// Over streamable HTTP, at `/mcp`. Either value serves both endpoints.
    StreamableHttp,
}

impl Word for Transport {
    const WORDS: &'static [(&'static str, Transport)] = &[
        ("stdio", Transport::Stdio),
        ("sse", Transport::Sse),
        ("streamable-http", Transport::StreamableHttp),
    ];
    // Most clients call it `http`.
    const ALIASES: &'static [(&'static str, &'static str)] = &[("http", "streamable-http")];
}

/// The checked configuration of a run.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The server to start or connect to.
    pub server: UpstreamConfig,
    /// The merged rules, as written.
    pub rules: Rules,
    /// The same rules, compiled.
    pub policy: Policy,
    /// The settings of the gate.
    pub settings: Settings,
    /// Where records are written.
    pub audit_log: AuditLog,
    /// The largest message in either direction, in bytes.
    pub max_message_size: usize,
    /// How to serve HTTP clients; `None` for one client over stdin and stdout.
    pub http: Option<Serving>,
    /// The settings of the inbox, in case it is needed.
    pub inbox: InboxSettings,
    /// The engines, in their order.
    pub engines: ConfiguredEngines,
    /// How engines send.
    pub engine_transport: TransportSettings,
    /// The recipients that agents may name.
    pub allowed_recipients: Vec<String>,
    /// What people fill in when they approve what agents of another product ask.
    pub approval_form: Option<serde_json::Value>,
    /// Signs decisions about approvals that agents ask for.
    pub decision_secret: Option<Secret>,
    /// The key that must sign the inbox's verdicts. With another key, or none, the proxy does not start.
    pub inbox_key: Option<KeyFingerprint>,
    /// The URL of a document about this proxy, for logins.
    pub client_id_metadata_url: Option<DocumentUrl>,
    /// The config file as it was named, if the server is one of a file.
    pub config_path: Option<PathBuf>,
    /// Warnings for the operator, one line each.
    pub warnings: Vec<String>,
}

/// Merges the sources. From strongest to weakest: flags, the server's `approvalRules`, `approvalProxy` of its file, the
/// environment, then the user configuration (`servers.NAME`, `servers.*`, `approvalProxy`), and the defaults. The result is
/// not below any floor.
///
/// # Errors
/// See [`ConfigError`].
pub(super) fn resolve(
    mut layer: Layer,
    guarded: Guarded,
    user: UserConfigs,
    environment: &Environment,
) -> Result<Resolved, ConfigError> {
    let mut inbox = InboxSettings::resolve(&layer, environment)?;
    let token = environment.auth_token()?;
    let mut warnings = guarded.warnings.clone();
    warnings.extend(without_http(&layer, token.is_some()));
    layer.auth_token_file = in_home(layer.auth_token_file.take(), environment)?;
    let process = layer.clone().over(Layer::defaults());
    let http = serving(&process, token, inbox.state_dir.as_deref())?;
    let mut withheld = user.withheld();
    for (place, name) in &guarded.variables {
        if withheld.is_secret(name) || name == AUTH_TOKEN {
            user.floors.forbid_secret(place, name)?;
        }
    }
    let (mut layer, raised, sources) = merged(layer, &guarded, &user, environment)?;
    let of_this_server = sources.iter().map(|(_, layer)| layer);
    of_this_server
        .chain(&guarded.others)
        .for_each(|layer| withheld.add(layer));
    warnings.extend(raised);
    let usual = environment.home_state_dir();
    user.floors
        .check_state_dir(inbox.state_dir.as_deref(), usual.as_deref())?;
    let (server, is_any) = (guarded.upstream, guarded.is_any);
    if let Target::Url(target) = &server.target {
        warnings.extend(overwritten(target));
    }

    if http.is_some() && layer.timeout_action == Some(TimeoutAction::Approve) {
        let warning = "`timeoutAction` `approve` has no effect over HTTP, because the proxy cannot know \
                       who has seen a prompt; a call that is not answered in time is refused";
        warnings.push(warning.to_owned());
    }
    warnings.extend(environment.warnings());
    let rules = rules_of(&layer);
    warnings.extend(literal(&rules));
    warnings.extend(open_gates(&layer));
    let policy = Policy::new(rules.clone())?;
    let audit_log = AuditLog::named(in_home(layer.audit_log.clone(), environment)?);
    inbox.set_page(layer.inbox.take(), environment)?;
    let inbox_key = layer.inbox_key.clone();
    let client_id_metadata_url = layer.client_id_metadata_url.clone();
    let recipients = layer.allowed_recipients.take().unwrap_or_default();
    let approval_form = layer.approval_form.take();
    if let Some(required) = layer.require_assurance
        && layer.timeout_action == Some(TimeoutAction::Approve)
    {
        warnings.push(format!(
            "`timeoutAction` `approve` has no effect, because silence does not meet `requireAssurance` \
             `{required}`; a call that is not answered in time is refused"
        ));
    }
    let decision_secret = decision_secret(&layer, &sources, environment)?;
    let (mut engines, engine_transport) =
        engines_of(&mut layer, &sources, inbox.page_url.clone(), environment)?;
    engines.withheld = withheld.into_names();
    let max_message_size = max_message_size(&layer);
    let is_open = layer.insecure_no_auth == Some(true);
    let mut settings = settings_of(layer);
    settings.channels = engines.list.iter().map(|engine| engine.channel).collect();
    if http.as_ref().is_some_and(|http| http.token.is_none()) && !is_open {
        settings.client = Client::Anonymous;
        // Without a server, nothing asks clients anyway.
        warnings.extend(not_asked(&settings.channels).filter(|_| is_any));
    }
    let mut channels = settings.channels.iter();
    if settings.timeout_action == TimeoutAction::Park
        && !channels.any(|channel| channel.engine == Engine::INBOX)
    {
        let warning = "`timeoutAction` `park` has no effect, because `engines` does not include `inbox`; \
                       a call that is not answered in time is refused";
        warnings.push(warning.to_owned());
    }
    Ok(Resolved {
        rules,
        policy,
        settings: Settings {
            server: server.name.as_str().into(),
            ..settings
        },
        server,
        audit_log,
        http,
        inbox,
        engines,
        engine_transport,
        approval_form: approval_form.map(ApprovalForm::into_json),
        allowed_recipients: recipients.into_iter().map(Recipient::into_string).collect(),
        decision_secret,
        inbox_key,
        client_id_metadata_url,
        max_message_size,
        config_path: guarded.file,
        warnings,
    })
}

/// What each source of the server says, the strongest first.
pub(super) type Sources = Vec<(Source, Layer)>;

/// Reads the options of the engines, with their secrets, and how they send.
///
/// # Errors
/// An engine that cannot work as it is configured.
fn engines_of(
    layer: &mut Layer,
    sources: &Sources,
    page_url: Option<PageUrl>,
    environment: &Environment,
) -> Result<(ConfiguredEngines, TransportSettings), ConfigError> {
    let default = TransportSettings::default();
    let token = question_token(layer, sources, environment)?;
    let statuses = layer.retryable_status_codes.take();
    let hosts = layer.question_hosts.take().unwrap_or_default();
    let transport = TransportSettings {
        retry: retry_of(layer),
        retryable_statuses: statuses.map_or(default.retryable_statuses, |statuses| {
            let statuses = statuses
                .into_iter()
                .map(|status| u16::try_from(status.get()));
            statuses.filter_map(Result::ok).collect()
        }),
        allow_insecure_http: layer.allow_insecure_http == Some(true),
        allowed_hosts: hosts
            .iter()
            .map(|host| host.as_str().to_ascii_lowercase())
            .collect(),
        auth_token: token,
        page_url,
    };
    let engines = layer.engines.take().unwrap_or_else(Engines::usual);
    let engines = engines.configured(&EngineContext {
        environment,
        transport: &transport,
        order: layer.ask.unwrap_or_default(),
        on_timeout: layer.on_timeout,
        on_transport_error: layer.on_transport_error,
    })?;
    Ok((engines, transport))
}

/// Returns the settings of the inbox for commands that guard no server. From strongest to weakest: flags, the environment,
/// `approvalProxy` of the user configuration, and the defaults.
///
/// # Errors
/// As [`resolve`], of these sources.
pub(super) fn resolve_inbox(
    flags: &Layer,
    user: &UserConfigs,
    environment: &Environment,
) -> Result<InboxSettings, ConfigError> {
    let mut inbox = InboxSettings::resolve(flags, environment)?;
    let defaults = Layer::defaults();
    let variables = environment.layer()?;
    let users_own = user.layer(ANY, &defaults)?;
    let baseline = users_own.clone().over(defaults);
    user.floors
        .check(&Source::Environment, &variables, &baseline)?;
    inbox.set_page(variables.over(users_own).inbox, environment)?;
    Ok(inbox)
}

/// Merges all sources into one layer. Returns a warning for each setting that a floor has raised, and what each source
/// of the server says, the strongest first.
fn merged(
    flags: Layer,
    guarded: &Guarded,
    user: &UserConfigs,
    environment: &Environment,
) -> Result<(Layer, Vec<String>, Sources), ConfigError> {
    let defaults = Layer::defaults();
    let variables = environment.layer()?;
    let users_own = user.layer(&guarded.upstream.name, &defaults)?;
    let baseline = users_own.clone().over(defaults.clone());
    let mut sources = vec![
        (Source::Flags, flags),
        (guarded.rules_at.clone(), guarded.rules.clone()),
        (guarded.proxy_at.clone(), guarded.proxy.clone()),
        (Source::Environment, variables),
    ];
    for (source, layer) in &mut sources {
        user.floors.check(source, layer, &baseline)?;
        if let Some(engines) = &mut layer.engines {
            engines.are_from(source);
        }
    }
    let layer = sources.iter().map(|(_, layer)| layer.clone());
    let layer = layer.reduce(Layer::over).unwrap_or_default();
    let layer = layer.over(users_own);
    let (mut layer, raised) = user.floors.raise(layer, defaults)?;
    if let Some(engines) = layer.engines.take() {
        let defined: Vec<Engines> = user.engines();
        layer.engines = Some(engines.defined_by(&defined)?);
    }
    sources.extend(user.said_for(&guarded.upstream.name));
    Ok((layer, raised, sources))
}

impl UserConfigs {
    /// What the user configuration in use says about the server called `name`. It may not be weaker than the floors above
    /// it.
    fn layer(&self, name: &str, defaults: &Layer) -> Result<Layer, ConfigError> {
        let Some(config) = &self.in_use else {
            return Ok(Layer::default());
        };
        let mut all = Layer::default();
        for (source, layer) in self.said_for(name) {
            self.above.check(&source, &layer, defaults)?;
            all = all.over(layer);
        }
        if let Some(floor) = &config.floor {
            let source = Source::File {
                file: config.file.clone(),
                at: Pointer::default().child("floor"),
            };
            self.above.check_floor(&source, floor)?;
        }
        if all.dry_run == Some(true) {
            let source = Source::File {
                file: config.file.clone(),
                at: Pointer::default().child("approvalProxy"),
            };
            self.floors.forbid_dry_run(&source)?;
        }
        Ok(all)
    }

    /// What the user configuration in use says about the server called `name`, the strongest first.
    fn said_for(&self, name: &str) -> Vec<(Source, Layer)> {
        let Some(config) = &self.in_use else {
            return Vec::new();
        };
        let at = Pointer::default().child("approvalProxy");
        let said = config.rules_for(name).chain([(at, &config.proxy)]);
        let said = said.map(|(at, layer)| {
            let source = config.source(at);
            let mut layer = layer.clone();
            if let Some(engines) = &mut layer.engines {
                engines.are_from(&source);
            }
            (source, layer)
        });
        said.collect()
    }

    /// The variables that the options of engines in any of these files expand.
    fn withheld(&self) -> Withheld {
        let mut withheld = Withheld::default();
        for config in self.in_use.iter().chain(&self.others) {
            let layers = config.layers_at().map(|(_, layer)| layer);
            layers
                .chain(&config.floor)
                .for_each(|layer| withheld.add(layer));
        }
        withheld
    }

    /// The engines that the user's own files define; the first definition of one counts.
    fn engines(&self) -> Vec<Engines> {
        let own = self.in_use.iter().filter(|_| self.above.is_empty());
        let own = own.flat_map(|config| {
            let layers = config.layers_at().map(|(at, layer)| {
                let mut engines = layer.engines.clone()?;
                engines.are_from(&config.source(at));
                Some(engines)
            });
            layers.flatten()
        });
        self.floors.engines().chain(own).collect()
    }
}

/// The folder of the inbox, and how to serve its page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxSettings {
    /// The folder that all proxies of a user share; `None` if no flag or variable says where it is.
    pub state_dir: Option<PathBuf>,
    /// The port to try first for the page, if one was given.
    pub port: Option<u16>,
    /// Whether the proxy may open a browser.
    pub opens_browser: bool,
    /// The name to record with this user's verdicts. Nobody has verified it.
    pub approver: Option<String>,
    /// What links to the page say; `None` for its address on this machine.
    pub page_url: Option<PageUrl>,
    /// The page for paired devices, if there is one.
    pub remote: Option<RemotePage>,
}

impl InboxSettings {
    /// Merges the flags, the environment and the defaults.
    ///
    /// # Errors
    /// A variable that is not UTF-8 or not a valid name, or `~/` without `HOME`.
    pub fn resolve(flags: &Layer, environment: &Environment) -> Result<InboxSettings, ConfigError> {
        let state_dir = match &flags.state_dir {
            Some(folder) => Some(folder.clone()),
            None => environment.state_dir()?,
        };
        let approver = match &flags.approver {
            Some(name) => Some(name.clone()),
            None => environment.approver()?,
        };
        Ok(InboxSettings {
            approver: approver.map(ApproverName::into_string),
            state_dir: in_home(state_dir, environment)?,
            port: flags.inbox_port.and_then(Whole::port),
            opens_browser: flags.no_browser != Some(true),
            page_url: None,
            remote: None,
        })
    }

    /// Sets where the page is reached from elsewhere. The paths may begin with `~/`.
    ///
    /// # Errors
    /// `~/` without `HOME`.
    fn set_page(
        &mut self,
        page: Option<InboxPage>,
        environment: &Environment,
    ) -> Result<(), ConfigError> {
        let page = page.unwrap_or_default();
        self.page_url = page.url;
        self.remote = page.remote;
        if let Some(remote) = &mut self.remote
            && let Protection::Tls { cert, key } = &mut remote.protection
        {
            for file in [cert, key] {
                *file = environment.in_home(std::mem::take(file))?;
            }
        }
        Ok(())
    }
}

/// Returns how to serve HTTP clients, if the transport is HTTP. `token` is that of the environment.
fn serving(
    process: &Layer,
    token: Option<Secret>,
    state_dir: Option<&Path>,
) -> Result<Option<Serving>, ConfigError> {
    match process.transport.unwrap_or_default() {
        Transport::Stdio => return Ok(None),
        Transport::Sse | Transport::StreamableHttp => {}
    }
    let mut stored = None;
    let token = match &process.auth_token_file {
        Some(file) if file.as_os_str() == AUTO => {
            let made = stored_token(state_dir)?;
            let token = bearer_token(made.text.expose());
            let token = token.ok_or_else(|| ConfigError::BadToken(made.path.clone()))?;
            stored = Some(made.path);
            Some(token)
        }
        Some(file) => Some(read_token(file)?),
        None => token,
    };
    let host = process.host.as_ref().map_or("", HostName::as_str);
    if !is_loopback(host) && token.is_none() && process.insecure_no_auth != Some(true) {
        return Err(ConfigError::OpenToAll(host.to_owned()));
    }
    let names = process.allowed_hosts.iter().map(HostName::as_str);
    Ok(Some(Serving {
        host: host.to_owned(),
        port: process.port.and_then(Whole::port).unwrap_or_default(),
        token,
        stored_token: stored,
        allowed_hosts: names.map(str::to_ascii_lowercase).collect(),
        max_message: max_message_size(process),
    }))
}

/// Returns the largest message size in bytes.
fn max_message_size(process: &Layer) -> usize {
    process.max_message_size.map_or(0, ByteSize::bytes)
}

/// The value of `--auth-token-file` that means a token of our own in the state folder.
const AUTO: &str = "auto";

fn stored_token(state_dir: Option<&Path>) -> Result<StoredToken, ConfigError> {
    let folder = state_dir.ok_or(ConfigError::NoStateDir)?;
    let token = StateDir::open(folder).and_then(|folder| folder.auth_token());
    token.map_err(ConfigError::NoStoredToken)
}

/// Returns a warning if `engines` includes the client, which is not asked.
fn not_asked(channels: &[Channel]) -> Option<String> {
    let has = |engine| channels.iter().any(|channel| channel.engine == engine);
    if !has(Engine::Elicitation) {
        return None;
    }
    let mut engines = channels.iter().map(|channel| channel.engine);
    let instead = match engines.find(|engine| *engine != Engine::Elicitation) {
        Some(Engine::INBOX) => "questions go to the inbox instead",
        Some(_) => "questions go to the next engine instead",
        None => "`engines` has no other engine, so calls that need an approval are refused",
    };
    Some(format!(
        "HTTP clients are not asked for approvals, because without a token any program on this machine \
         could connect and approve its own calls; {instead}; to ask clients, require a token with \
         `--auth-token-file auto`"
    ))
}

fn read_token(path: &Path) -> Result<Secret, ConfigError> {
    let unreadable = |cause| ConfigError::NoToken {
        file: path.to_owned(),
        cause,
    };
    let file = File::open(path).map_err(unreadable)?;
    // Of the opened file, in case the path is a link.
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_file()
        && let Some(exposure) = readable_by_others(&metadata)
    {
        return Err(ConfigError::ExposedToken {
            file: path.to_owned(),
            exposure,
        });
    }
    let mut text = String::new();
    file.take(*BEARER_TOKEN.end() as u64 + 2)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    bearer_token(&text).ok_or_else(|| ConfigError::BadToken(path.to_owned()))
}

/// Returns warnings about settings for HTTP clients if the transport is stdio.
fn without_http(flags: &Layer, has_token: bool) -> Vec<String> {
    if flags.transport.unwrap_or_default() != Transport::Stdio {
        return Vec::new();
    }
    let given = [
        ("--host", flags.host.is_some()),
        ("--port", flags.port.is_some()),
        ("--auth-token-file", flags.auth_token_file.is_some()),
        ("--insecure-no-auth", flags.insecure_no_auth == Some(true)),
        ("--allowed-host", !flags.allowed_hosts.is_empty()),
        (AUTH_TOKEN, has_token),
    ];
    let given = given.iter().filter(|(_, given)| *given);
    given
        .map(|(name, _)| {
            format!(
                "`{name}` has no effect over stdio; serve HTTP with `--transport streamable-http`"
            )
        })
        .collect()
}

/// Returns a warning for each header that the protocol overwrites.
fn overwritten(target: &UrlTarget) -> impl Iterator<Item = String> {
    const OURS: [(&str, &str); 6] = [
        ("accept", "application/json, text/event-stream"),
        ("content-type", "application/json"),
        ("mcp-session-id", ""),
        ("mcp-protocol-version", ""),
        ("mcp-method", ""),
        ("mcp-name", ""),
    ];
    let is_overwritten = |name: &str, value: &str| {
        let ours = OURS
            .iter()
            .find(|(ours, _)| name.eq_ignore_ascii_case(ours));
        ours.is_some_and(|(_, ours)| *ours != value.trim())
    };
    let headers = target.headers.iter();
    let overwritten = headers.filter(move |(name, value)| is_overwritten(name, value.expose()));
    overwritten.map(|(name, _)| {
        format!(
            "`{}` in `headers` is not sent, because the protocol sets this header for each message",
            shown(name)
        )
    })
}

fn in_home(
    path: Option<PathBuf>,
    environment: &Environment,
) -> Result<Option<PathBuf>, ConfigError> {
    path.map(|path| environment.in_home(path)).transpose()
}

/// Returns a warning for each pattern that was probably meant as alternatives or an escape.
fn literal(rules: &Rules) -> impl Iterator<Item = String> {
    let patterns = rules.deny.iter().chain(&rules.allow);
    let taken_for_syntax = patterns.filter(|pattern| pattern.contains(['{', '}', '\\']));
    taken_for_syntax.map(|pattern| {
        format!(
            "pattern `{}`: `{{`, `}}` and `\\` are plain characters; write one pattern for each \
             alternative",
            shown(pattern)
        )
    })
}

/// Returns warnings about settings that let calls run without an approval. They may come from a file or a
/// variable that the reader of the log has never seen.
fn open_gates(layer: &Layer) -> impl Iterator<Item = String> {
    let warnings = [
        (
            layer.dry_run == Some(true),
            "dry run: calls run without an approval, and are only recorded",
        ),
        (
            layer.mode == Some(Mode::None),
            "mode `none`: no call needs an approval; only deny patterns refuse calls",
        ),
    ];
    let warnings = warnings.into_iter().filter(|(applies, _)| *applies);
    warnings.map(|(_, warning)| warning.to_owned())
}

fn rules_of(layer: &Layer) -> Rules {
    let texts = |patterns: &[Pattern]| patterns.iter().cloned().map(Pattern::into_string).collect();
    let annotations = layer.custom_annotations.clone();
    Rules {
        mode: layer.mode.unwrap_or_default(),
        allow: texts(&layer.allow),
        deny: texts(&layer.deny),
        custom_annotations: annotations.into_map(),
    }
}

/// Converts a layer, which includes the defaults, to the settings of the gate.
fn settings_of(layer: Layer) -> Settings {
    let default = Settings::default();
    Settings {
        timeout: layer.timeout.map_or(default.timeout, Seconds::limit),
        timeout_action: layer.timeout_action.unwrap_or(default.timeout_action),
        require_assurance: layer.require_assurance,
        park_for: layer.park.map_or(default.park_for, |seconds| {
            Duration::from_secs(seconds.get().into())
        }),
        instant_decline: layer
            .instant_decline_ms
            .map_or(default.instant_decline, |ms| {
                Duration::from_millis(ms.get().into())
            }),
        also_inbox_after: span(layer.also_inbox_after, default.also_inbox_after),
        deny_memory: span(layer.deny_memory, default.deny_memory),
        approval_ttl: span(layer.approval_ttl, default.approval_ttl),
        explain: layer.explain.unwrap_or(default.explain),
        double_confirm: layer.double_confirm.unwrap_or(default.double_confirm),
        dry_run: layer.dry_run.unwrap_or(default.dry_run),
        retry: retry_of(&layer),
        dedupe_fields: (layer.dedupe_fields).map_or(default.dedupe_fields, DedupeFields::into_vec),
        dedupe_arg_keys: layer.dedupe_arg_keys.unwrap_or(default.dedupe_arg_keys),
        max_pending: (layer.max_pending).map_or(default.max_pending, |most| most.get() as usize),
        audit_best_effort: (layer.audit_best_effort).unwrap_or(default.audit_best_effort),
        redaction: layer.audit_redact.into_redaction(),
        ..default
    }
}

fn retry_of(layer: &Layer) -> Retry {
    let default = Retry::default();
    Retry {
        attempts: layer.retry_attempts.map_or(default.attempts, Whole::get),
        initial_backoff: span(layer.retry_initial_backoff, default.initial_backoff),
        max_backoff: span(layer.retry_max_backoff, default.max_backoff),
        multiplier: (layer.retry_multiplier).map_or(default.multiplier, Multiplier::get),
    }
}

fn span(seconds: Option<Seconds>, default: Duration) -> Duration {
    seconds.map_or(default, Seconds::duration)
}

#[cfg(test)]
mod tests;
