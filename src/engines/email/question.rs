//! The mails of one question: one that asks, and one that says how it ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Shared;
use super::connection::Taken;
use super::mail::{Ids, Letter, Mail, Subject};
use super::mailer::Sent;
use crate::approval::item::Item;
use crate::engines::chat::{Ended, outcome};
use crate::engines::disclosure::Disclosure;
use crate::engines::http::Exchange;
use crate::engines::{CourierContext, Ending};
use crate::gate::{Failure, FailureKind};
use crate::sys::clock::{random_hex, unix_ms};

/// How long it is tried to ask, if a question has no limit of its own.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long it is tried to say how a question ended.
const ENDING_TIME: Duration = Duration::from_secs(5 * 60);
/// How many random bytes an id has.
const ID: usize = 16;

/// A question on its way.
pub(super) struct Question {
    pub(super) shared: Arc<Shared>,
    pub(super) item: Item,
}

impl Question {
    /// Asks, and says how the question ended once it has.
    pub(super) async fn run(self, mut ended: oneshot::Receiver<Ended>) {
        let Question { shared, item } = self;
        let (id, subject) = (item.id.clone(), Subject::of(&item));
        let (context, scrub) = (&shared.context, &shared.settings.scrub);
        let exchange = Exchange::about(Some(&item), context, scrub, LONGEST);
        let written = ids(&shared, None).and_then(|ids| {
            let mail = write(&shared, item, &ids)?;
            Ok((mail, ids))
        });
        let (mail, ids) = match written {
            Ok(written) => written,
            Err(failure) => return shared.carried.fail(&id, failure),
        };
        match shared.mailer.send(&exchange, &mail, &mut ended).await {
            Sent::Taken(taken) => shared.warn_of_refused(&taken),
            // The gate has the same limit, and says what follows.
            Sent::Dropped => return,
            Sent::Failed(failure) => return shared.carried.fail(&id, failure),
        }
        drop(mail);
        // The mail decides nothing. Until somebody has decided elsewhere, there is nothing to do.
        if let Ok(Ended::Settled(ending)) = ended.await {
            shared.tell(&subject, ids.own, &ending).await;
        }
    }
}

impl Shared {
    /// Sends the second mail.
    async fn tell(&self, subject: &Subject, answers: String, ending: &Ending) {
        let ending = clean(ending, self);
        let letter = Letter::ending(subject, &outcome(&ending));
        let written = ids(self, Some(answers)).and_then(|ids| self.mail(&letter, &ids));
        let sent = match written {
            Ok(mail) => {
                let scrub = &self.settings.scrub;
                let exchange = Exchange::new(&self.context, scrub, Some(ENDING_TIME));
                let mut never = std::future::pending::<()>();
                self.mailer.send(&exchange, &mail, &mut never).await
            }
            Err(failure) => Sent::Failed(failure),
        };
        match sent {
            // Those whom the first mail did not reach miss nothing.
            Sent::Taken(_) | Sent::Dropped => {}
            Sent::Failed(failure) => {
                let engine = self.context.name.name();
                tracing::warn!(
                    "the engine `{engine}` cannot say how a question ended: {}",
                    failure.why
                );
            }
        }
    }

    fn mail(&self, letter: &Letter, ids: &Ids) -> Result<Mail, Failure> {
        let written = letter.mail(&self.settings.parties, ids, unix_ms());
        written.map_err(|error| rejected(&format!("the mail cannot be written: {error}")))
    }

    /// Somebody got the mail, so the question is asked. But those who did not get it should not wait for it.
    fn warn_of_refused(&self, taken: &Taken) {
        for refused in &taken.refused {
            let engine = self.context.name.name();
            let peer = self.settings.server.peer();
            tracing::warn!("the engine `{engine}` did not reach {refused} ({peer})");
        }
    }
}

/// Writes a question. Takes long if the call is large.
fn write(shared: &Shared, item: Item, ids: &Ids) -> Result<Mail, Failure> {
    let CourierContext {
        show, redaction, ..
    } = &shared.context;
    let link = shared.settings.page_url.of_item(&item.id);
    let letter = Disclosure::new(&item, *show, redaction)
        .and_then(|disclosure| Letter::question(&disclosure, &link));
    let letter =
        letter.map_err(|error| rejected(&format!("the request cannot be written: {error}")));
    shared.mail(&letter?, ids)
}

/// Returns the ids of a mail.
fn ids(shared: &Shared, answers: Option<String>) -> Result<Ids, Failure> {
    let random = random_hex(ID)
        .map_err(|error| Failure::unreachable(format!("the system has no randomness: {error}")))?;
    let domain = shared.settings.parties.from.email.domain();
    Ok(Ids {
        own: format!("<{random}@{domain}>"),
        answers,
    })
}

/// Returns how it ended, without secrets. A person's reason may repeat what they were asked about.
fn clean(ending: &Ending, shared: &Shared) -> Ending {
    let mut ending = ending.clone();
    if let Ending::Decided {
        reason: Some(reason),
        ..
    } = &mut ending
    {
        let text = shared.settings.scrub.clean(reason);
        *reason = shared.context.redaction.text(&text).into_owned();
    }
    ending
}

fn rejected(why: &str) -> Failure {
    Failure {
        kind: FailureKind::Rejected,
        why: why.to_owned(),
    }
}
