//! One question in Slack: sends its message, and edits it when nobody waits for the verdict any more.
//!
//! The verdict arrives elsewhere, in `clicks`.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::api::Token;
use super::clicks::Engine;
use super::connection::Wanted;
use super::interaction::Target;
use super::message::{Buttons, Question};
use crate::approval::item::Item;
use crate::approval::render::Show;
use crate::engines::Answer;
use crate::engines::chat::{Ended, has_failed, outcome};
use crate::engines::disclosure::Disclosure;
use crate::engines::http::Exchange;
use crate::gate::{Failure, FailureKind};

/// How long the tries to send one question may go on, if it has no limit of its own.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// How long we wait for a message on its way whose question has just ended, so that it can be edited.
const ON_ITS_WAY: Duration = Duration::from_secs(10);
/// How long we try to edit a message.
const EDIT_TIME: Duration = Duration::from_secs(60);

/// Where a message is.
#[derive(Deserialize)]
struct Posted {
    channel: String,
    ts: String,
}

/// Shows an item to people.
pub(super) fn carry(engine: &Arc<Engine>, item: &Item, answer: Answer) {
    let ended = match engine.carried.insert(item, answer) {
        Ok(ended) => ended,
        Err((answer, failure)) => return answer.send(Err(failure)),
    };
    let wanted = match Arc::clone(&engine.hub).connect() {
        Ok(wanted) => wanted,
        Err(failure) => return engine.carried.fail(&item.id, failure),
    };
    engine.asked.send_modify(|asked| *asked += 1);
    let asked = Asked {
        engine: Arc::clone(engine),
        item: item.clone(),
    };
    let work = async move {
        if let Err(failure) = asked.run(ended, &wanted).await {
            asked.engine.carried.fail(&asked.item.id, failure);
        }
    };
    // It ends by itself, soon after the item does.
    if let Err(failure) = engine.context.runtime.spawn_detached(work) {
        engine.carried.fail(&item.id, failure);
    }
}

/// One item that is asked about. Its engine counts these.
struct Asked {
    engine: Arc<Engine>,
    item: Item,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let asked = &self.engine.asked;
        asked.send_modify(|asked| *asked = asked.saturating_sub(1));
    }
}

impl Asked {
    /// Asks, and waits until nobody waits for the verdict any more. Clicks are received as long as `_wanted` is there.
    ///
    /// # Errors
    /// If people cannot be asked.
    async fn run(
        &self,
        mut ended: oneshot::Receiver<Ended>,
        _wanted: &Wanted,
    ) -> Result<(), Failure> {
        let question = self.write().await?;
        let mut early = None;
        let posted = {
            let mut posting = pin!(self.post(&question));
            tokio::select! {
                posted = &mut posting => posted,
                over = &mut ended => match over {
                    // The process is ending.
                    Err(_) => None,
                    Ok(_) => {
                        early = Some(over);
                        timeout(ON_ITS_WAY, posting).await.unwrap_or_default()
                    }
                },
            }
        };
        // If there is no message, the question's time is up: the gate has the same limit, and says what follows.
        let Some(posted) = posted.transpose()? else {
            return Ok(());
        };
        let over = match early {
            Some(over) => over,
            None => {
                if let Some(Err(failure)) = self.complete(&question, &posted).await {
                    self.engine.carried.fail(&self.item.id, failure);
                }
                ended.await
            }
        };
        // Otherwise the process is ending.
        if let Ok(ended) = over {
            self.settle(&question, &posted, &ended).await;
        }
        Ok(())
    }

    /// Writes the message, without what may not leave this machine.
    async fn write(&self) -> Result<Question, Failure> {
        let context = &self.engine.context;
        let rejected = |error: &dyn fmt::Display| Failure {
            kind: FailureKind::Rejected,
            why: format!("the request cannot be written: {error}"),
        };
        let question = {
            let disclosure = Disclosure::new(&self.item, context.show, &context.redaction);
            let disclosure = disclosure.map_err(|error| rejected(&error))?;
            Question::new(&disclosure, context.show == Show::Full)
        };
        let question = question.map_err(|error| rejected(&error))?;
        Ok(match question.buttons {
            Buttons::Open => question.with_page(context.page.soon(&self.item.id).await),
            Buttons::Decide | Buttons::DecideAfterReplies => question,
        })
    }

    /// Sends the message. Returns `None` if the question's time is up before.
    async fn post(&self, question: &Question) -> Option<Result<Posted, Failure>> {
        let message = match question.buttons {
            Buttons::Decide => {
                self.engine.carried.is_shown(&self.item.id);
                question.asking(Some(&self.target()))
            }
            Buttons::Open => question.asking(None),
            Buttons::DecideAfterReplies => question.announced(),
        };
        self.send(&self.asking(), message, None).await
    }

    /// Shows the whole call in the message's thread, if it needs one, and then the buttons.
    async fn complete(&self, question: &Question, posted: &Posted) -> Option<Result<(), Failure>> {
        if question.buttons != Buttons::DecideAfterReplies {
            return Some(Ok(()));
        }
        let exchange = self.asking();
        for reply in &question.replies {
            if let Err(failure) = self.send(&exchange, reply.clone(), Some(posted)).await? {
                return Some(Err(failure));
            }
        }
        // INVARIANT 2: only now has the whole call been shown.
        self.engine.carried.is_shown(&self.item.id);
        let asking = question.asking(Some(&self.target()));
        self.edit(&exchange, posted, asking).await
    }

    /// Says in the message what became of the question, and takes its buttons away.
    async fn settle(&self, question: &Question, posted: &Posted, ended: &Ended) {
        let outcome = match ended {
            Ended::Settled(ending) => outcome(ending),
            Ended::Failed => has_failed(),
        };
        let engine = &self.engine;
        let exchange = engine.api.exchange(&engine.context, Some(EDIT_TIME));
        let edited = self.edit(&exchange, posted, question.settled(&outcome));
        if let Some(Err(failure)) = edited.await {
            // Somebody may have deleted it. The verdict does not depend on it.
            tracing::debug!(
                "the engine `{}` cannot edit a message: {}",
                engine.context.name.name(),
                failure.why
            );
        }
    }

    fn target(&self) -> Target {
        Target {
            item: self.item.id.clone(),
            fingerprint: self.item.fingerprint(),
            engine: self.engine.context.name.name().to_owned(),
            channel: None,
        }
    }

    async fn send(
        &self,
        exchange: &Exchange,
        mut message: Value,
        thread: Option<&Posted>,
    ) -> Option<Result<Posted, Failure>> {
        let engine = &self.engine;
        if let Some(message) = message.as_object_mut() {
            message.insert("channel".to_owned(), engine.channel.clone().into());
            if let Some(thread) = thread {
                message.insert("thread_ts".to_owned(), thread.ts.clone().into());
            }
        }
        let sent = engine
            .api
            .call(exchange, "chat.postMessage", Token::Bot, &message)
            .await?;
        Some(sent.map(|sent| sent.value))
    }

    async fn edit(
        &self,
        exchange: &Exchange,
        posted: &Posted,
        mut message: Value,
    ) -> Option<Result<(), Failure>> {
        if let Some(message) = message.as_object_mut() {
            message.insert("channel".to_owned(), posted.channel.clone().into());
            message.insert("ts".to_owned(), posted.ts.clone().into());
        }
        let api = &self.engine.api;
        let edited = api
            .call::<IgnoredAny>(exchange, "chat.update", Token::Bot, &message)
            .await?;
        Some(edited.map(|_| ()))
    }

    /// Returns what sends while the question is open.
    fn asking(&self) -> Exchange {
        let (api, context) = (&self.engine.api, &self.engine.context);
        Exchange::about(Some(&self.item), context, &api.scrub, LONGEST)
    }
}
