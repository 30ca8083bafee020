//! `email`: a mail for each question, with a link to its page, and a second one that says how it ended.
//!
//! A mail decides nothing: people decide on the page. docs/engines/email.md describes how to set it up. `server` reads
//! which server takes the mails, `mail` writes them, `mailer` sends them over a `connection`, and `question` says when.

mod connection;
#[cfg(test)]
mod for_test;
mod mail;
mod mailer;
mod question;
mod reply;
mod server;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use self::connection::Peer;
use self::mail::{Parties, mailbox, sender};
use self::mailer::Mailer;
use self::question::Question;
use self::server::{Security, Server};
use super::chat::Carried;
use super::courier::{Answer, Courier, CourierContext, CourierSettings, Ending};
use super::http::{Scrub, TransportSettings};
use super::inbox::remote::PageUrl;
use super::registry::{BadOptions, EngineOption, Registration, for_courier, text};
use crate::approval::item::{Assurance, Item};
use crate::gate::{EngineId, Failure};

/// The entry in the registry. Verdicts come through the page, so the level is that of the page.
pub(super) const REGISTRATION: Registration = Registration::new(
    EngineId::new("email"),
    Assurance::InboxSession,
    &[
        EngineOption::required("smtp").secret(),
        EngineOption::required("from"),
        EngineOption::required("to").with_schema(addresses_schema),
    ],
    read,
);

/// The most addresses in `to`.
const MAX_RECIPIENTS: usize = 20;
/// How long the end of the process waits for mails that are being sent.
const LAST_MAILS: Duration = Duration::from_millis(1_500);

fn addresses_schema() -> Value {
    let list = json!({"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_RECIPIENTS});
    json!({"anyOf": [{"type": "string"}, list]})
}

/// The options, checked.
#[derive(Clone)]
struct EmailSettings {
    server: Server,
    parties: Parties,
    page_url: PageUrl,
    scrub: Arc<Scrub>,
}

fn read(
    _: EngineId,
    options: &Map<String, Value>,
    transport: &TransportSettings,
) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions> {
    for_courier(settings(options, transport))
}

fn settings(
    options: &Map<String, Value>,
    transport: &TransportSettings,
) -> Result<EmailSettings, BadOptions> {
    let mut scrub = Scrub::default();
    let smtp = text(options, "smtp")?.unwrap_or_default();
    let server = Server::read(smtp, transport, &mut scrub)?;
    let bad = |key: &str, why: &str| BadOptions(format!("`{key}` {why}"));
    let from = sender(text(options, "from")?.unwrap_or_default());
    let from = from.map_err(|why| bad("from", why))?;
    let to = recipients(options.get("to"))?;
    let to: Result<Vec<_>, _> = to.into_iter().map(mailbox).collect();
    let to = to.map_err(|why| bad("to", why))?;
    let page_url = transport.page_url.clone().ok_or_else(|| {
        BadOptions(
            "it needs `approvalProxy.inbox.pageUrl`, which links in mails lead to, such as `https://phone.example`"
                .to_owned(),
        )
    })?;
    Ok(EmailSettings {
        server,
        parties: Parties { from, to },
        page_url,
        scrub: Arc::new(scrub),
    })
}

/// Reads the option `to`: an address, or a list of them.
fn recipients(to: Option<&Value>) -> Result<Vec<&str>, BadOptions> {
    let all = match to {
        Some(Value::String(one)) => Some(vec![one.trim()]),
        Some(Value::Array(list)) => list.iter().map(|one| one.as_str().map(str::trim)).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => None,
    };
    match all {
        Some(all) if (1..=MAX_RECIPIENTS).contains(&all.len()) => Ok(all),
        Some(_) | None => Err(BadOptions(format!(
            "`to` must be an address, or a list of 1 to {MAX_RECIPIENTS} addresses"
        ))),
    }
}

impl fmt::Debug for EmailSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailSettings")
            .field("server", &self.server)
            .field("parties", &self.parties)
            .field("page_url", &self.page_url)
            .finish_non_exhaustive()
    }
}

impl EmailSettings {
    fn shared(&self, context: &CourierContext) -> Arc<Shared> {
        let peer = Peer {
            name: self.server.peer(),
            scrub: Arc::clone(&self.scrub),
            redaction: context.redaction.clone(),
        };
        Arc::new(Shared {
            settings: self.clone(),
            context: context.clone(),
            carried: Carried::default(),
            mailer: Mailer::new(self.server.clone(), peer),
            running: watch::Sender::new(0),
        })
    }
}

impl CourierSettings for EmailSettings {
    fn courier(&self, context: &CourierContext) -> Box<dyn Courier> {
        Box::new(EmailCourier(self.shared(context)))
    }

    fn needs_page(&self, _: &CourierContext) -> bool {
        true
    }

    fn addressed(&self, recipient: &str) -> Option<Arc<dyn CourierSettings>> {
        let to = recipient.contains('@').then(|| mailbox(recipient).ok())??;
        Some(Arc::new(EmailSettings {
            parties: Parties {
                to: vec![to],
                ..self.parties.clone()
            },
            ..self.clone()
        }))
    }

    fn recognizes(&self, _: &str) -> bool {
        // Nobody decides by mail.
        false
    }

    fn test(&self, context: &CourierContext, deadline: Duration) -> Result<String, Failure> {
        let shared = self.shared(context);
        let runtime = Arc::clone(&context.runtime);
        runtime.wait(deadline, async move { shared.mailer.test().await })??;
        let over = match self.server.security {
            Security::Tls(_) | Security::StartTls(_) => " over TLS",
            Security::Loopback => "",
        };
        let login = match self.server.login {
            Some(_) => " and accepts the login",
            None => "",
        };
        Ok(format!(
            "{} answers{over}{login}; only a question can show whether it takes mails from `from` to `to`",
            self.server.peer()
        ))
    }
}

/// What the tasks of one courier share.
struct Shared {
    settings: EmailSettings,
    context: CourierContext,
    carried: Carried,
    mailer: Mailer,
    /// How many questions have a task.
    running: watch::Sender<usize>,
}

/// Counts the task of a question.
struct Running(Arc<Shared>);

impl Running {
    fn new(shared: &Arc<Shared>) -> Running {
        shared.running.send_modify(|count| *count += 1);
        Running(Arc::clone(shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0
            .running
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// Sends the questions.
struct EmailCourier(Arc<Shared>);

impl Courier for EmailCourier {
    fn carry(&mut self, item: &Item, answer: Answer) {
        let shared = &self.0;
        let running = Running::new(shared);
        let question = Question {
            shared: Arc::clone(shared),
            item: item.clone(),
        };
        let runtime = &shared.context.runtime;
        shared
            .carried
            .carry(item, answer, runtime, |ended| async move {
                question.run(ended).await;
                drop(running);
            });
    }

    fn withdraw(&mut self, item: &str, ending: &Ending) {
        self.0.carried.settle(item, ending);
    }
}

impl Drop for EmailCourier {
    /// The process is ending. Mails that are being sent, or that say how a question has just ended, still go out.
    fn drop(&mut self) {
        self.0.carried.clear();
        let mut running = self.0.running.subscribe();
        if *running.borrow_and_update() > 0 {
            let sent = async move {
                // Cannot fail: each task holds the sender.
                let _ = running.wait_for(|running| *running == 0).await;
            };
            // What takes longer is not sent.
            let _ = self.0.context.runtime.wait(LAST_MAILS, sent);
        }
    }
}

#[cfg(test)]
mod tests;
