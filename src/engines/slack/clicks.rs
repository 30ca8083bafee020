//! What a click counts for, and what people are told about clicks that do not count.
//!
//! A verdict never waits for a note: notes are sent beside it, and dropped if there are too many.

use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::api::{Api, Token};
use super::connection::Hub;
use super::interaction::{Click, Interaction, Reason, Target};
use super::message::{note, reason_modal};
use crate::approval::item::{Choice, Item};
use crate::engines::chat::{
    Carried, ELSEWHERE, NOT_APPROVER, NOT_SHOWN, NOT_THIS, Standing, too_late, was_in_state,
};
use crate::engines::inbox::store::Decided;
use crate::engines::{CarriedVerdict, CourierContext};
use crate::gate::Failure;

/// How long we try to tell somebody something.
const NOTE_TIME: Duration = Duration::from_secs(30);
/// How long a click may open a modal.
const MODAL_TIME: Duration = Duration::from_secs(3);
/// How many notes and modals may be on their way at once.
const MAX_TOLD: usize = 64;

/// What the courier, its tasks and the connection share.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) api: Arc<Api>,
    pub(super) channel: String,
    /// Ids of users.
    pub(super) approvers: Arc<[String]>,
    pub(super) context: CourierContext,
    pub(super) carried: Carried,
    /// How many questions have a task that sends and edits their message.
    pub(super) asked: watch::Sender<usize>,
    pub(super) hub: Arc<Hub>,
}

/// How many notes and modals may still be sent.
#[derive(Debug)]
pub(super) struct Telling(Arc<Semaphore>);

impl Default for Telling {
    fn default() -> Telling {
        Telling(Arc::new(Semaphore::new(MAX_TOLD)))
    }
}

impl Telling {
    /// Returns leave to send one; `None` if there are too many.
    fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}

/// Why a click does not count, as people are told.
type Told = &'static str;

/// Acts on what somebody did. Never waits for Slack: verdicts about this process's items are delivered before it
/// returns.
pub(super) fn act(engines: &[Arc<Engine>], interaction: Interaction) {
    match interaction {
        Interaction::Click(click) => click_on(engines, click),
        Interaction::Reason(reason) => submit(engines, reason),
    }
}

fn click_on(engines: &[Arc<Engine>], click: Click) {
    let Some(any) = engines.first() else {
        return;
    };
    let channel = click.channel.clone().unwrap_or_else(|| any.channel.clone());
    let Some(target) = Target::of(&click.value) else {
        return any.tell(&channel, &click.user, ELSEWHERE);
    };
    let Some(engine) = responsible(engines, &target, &click.user) else {
        return any.tell(&channel, &click.user, NOT_APPROVER);
    };
    match click.choice {
        Choice::Approve => {
            let verdict = verdict(Choice::Approve, &click.user, None);
            decide(engines, engine, target, verdict, channel, click.user);
        }
        Choice::Deny => ask_for_reason(engines, engine, target, channel, click),
    }
}

/// Takes the reason from the modal, and denies.
fn submit(engines: &[Arc<Engine>], reason: Reason) {
    let Some(target) = Target::of(&reason.value) else {
        return;
    };
    let Some(any) = engines.first() else {
        return;
    };
    let channel = target.channel.clone();
    let channel = channel.unwrap_or_else(|| any.channel.clone());
    let Some(engine) = responsible(engines, &target, &reason.user) else {
        return any.tell(&channel, &reason.user, NOT_APPROVER);
    };
    let verdict = verdict(Choice::Deny, &reason.user, reason.reason);
    decide(engines, engine, target, verdict, channel, reason.user);
}

/// Returns the engine that may take this person's click.
///
/// INVARIANT 8: only people whom the operator has named. If the engine that asked is only configured in another process,
/// that process compares the name with its own list, too.
fn responsible<'a>(
    engines: &'a [Arc<Engine>],
    target: &Target,
    user: &str,
) -> Option<&'a Arc<Engine>> {
    let knows = |engine: &&Arc<Engine>| engine.approvers.iter().any(|known| known == user);
    let named = |engine: &&Arc<Engine>| engine.context.name.name() == target.engine;
    match engines.iter().find(named) {
        Some(engine) => Some(engine).filter(knows),
        None => engines.iter().find(knows),
    }
}

fn verdict(choice: Choice, user: &str, reason: Option<String>) -> CarriedVerdict {
    CarriedVerdict {
        fields: None,
        choice,
        reason,
        approver: Some(format!("slack:{user}")),
    }
}

/// Delivers a verdict, here or through the store.
fn decide(
    engines: &[Arc<Engine>],
    engine: &Arc<Engine>,
    target: Target,
    verdict: CarriedVerdict,
    channel: String,
    user: String,
) {
    let Target {
        item, fingerprint, ..
    } = &target;
    let here = carrier(engines, &target);
    let standing = here.map(|here| here.carried.decide(item, fingerprint, verdict.clone()));
    let standing = standing.unwrap_or(Standing::Elsewhere);
    if standing != Standing::Elsewhere {
        if let Some(told) = told_about(&standing) {
            engine.tell(&channel, &user, told);
        }
        return;
    }
    let deciding = Arc::clone(engine);
    let work = async move {
        if let Some(told) = deciding.decide_elsewhere(&target, verdict).await {
            deciding.say(&channel, &user, &told).await;
        }
    };
    // Not a note: it must not be dropped because there are too many of those.
    if let Err(failure) = engine.context.runtime.spawn_detached(work) {
        engine.warn("a click was lost", &failure);
    }
}

/// Opens the modal for a reason, if the question still waits.
fn ask_for_reason(
    engines: &[Arc<Engine>],
    engine: &Arc<Engine>,
    target: Target,
    channel: String,
    click: Click,
) {
    let Target {
        item, fingerprint, ..
    } = &target;
    let here = carrier(engines, &target).cloned();
    let standing = here.as_ref().map_or(Standing::Elsewhere, |here| {
        here.carried.standing(item, fingerprint, Choice::Deny)
    });
    if let Some(told) = told_about(&standing) {
        return engine.tell(&channel, &click.user, told);
    }
    let asking = Arc::clone(engine);
    let work = async move {
        if standing == Standing::Elsewhere
            && let Err(told) = asking.open_elsewhere(&target).await
        {
            return asking.say(&channel, &click.user, &told).await;
        }
        let with_channel = Target {
            channel: Some(channel.clone()),
            ..target.clone()
        };
        let modal = reason_modal(&with_channel);
        let opened = asking.open_modal(click.trigger.as_deref(), modal).await;
        let Err(failure) = opened else {
            return;
        };
        // Somebody said no. That they cannot say why does not make it less of a no.
        asking.warn("no modal for a reason, so it denies without one", &failure);
        let verdict = verdict(Choice::Deny, &click.user, None);
        let told = match here.filter(|_| standing == Standing::Open) {
            Some(here) => {
                let (item, fingerprint) = (&target.item, &target.fingerprint);
                let standing = here.carried.decide(item, fingerprint, verdict);
                told_about(&standing).map(str::to_owned)
            }
            None => asking.decide_elsewhere(&target, verdict).await,
        };
        if let Some(told) = told {
            asking.say(&channel, &click.user, &told).await;
        }
    };
    if let Err(failure) = engine.context.runtime.spawn_detached(work) {
        engine.warn("a click was lost", &failure);
    }
}

/// Returns the engine of this process that carries the item.
fn carrier<'a>(engines: &'a [Arc<Engine>], target: &Target) -> Option<&'a Arc<Engine>> {
    // Two engines may carry the same item, each with its own message.
    let mut engines = engines.iter();
    engines.find(|engine| engine.context.name.name() == target.engine)
}

fn told_about(standing: &Standing) -> Option<Told> {
    match standing {
        Standing::Open | Standing::Elsewhere => None,
        Standing::Over(ending) => Some(too_late(ending.as_ref())),
        Standing::Changed => Some(NOT_THIS),
        Standing::NotShown => Some(NOT_SHOWN),
    }
}

impl Engine {
    /// Records a verdict about another process's item. Returns what to tell the person, if it does not count.
    async fn decide_elsewhere(&self, target: &Target, verdict: CarriedVerdict) -> Option<String> {
        let item = match self.open_elsewhere(target).await {
            Ok(item) => item,
            Err(told) => return Some(told),
        };
        let rows = &self.context.rows;
        match rows.decide(&item, &target.engine, verdict).await {
            Ok(Decided::Recorded) => None,
            Ok(Decided::TooLate(state)) => {
                Some(was_in_state(state).unwrap_or(ELSEWHERE).to_owned())
            }
            Ok(Decided::Unknown) => Some(ELSEWHERE.to_owned()),
            Err(failure) => Some(self.lost(&failure)),
        }
    }

    /// Returns another process's item that waits for a verdict about exactly this.
    ///
    /// # Errors
    /// What to tell the person.
    async fn open_elsewhere(&self, target: &Target) -> Result<Item, String> {
        let row = match self.context.rows.find(&target.item).await {
            Ok(Some(row)) => row,
            Ok(None) => return Err(ELSEWHERE.to_owned()),
            Err(failure) => return Err(self.lost(&failure)),
        };
        // A settled item keeps no call, so its fingerprint may be another one.
        if let Some(told) = was_in_state(row.state) {
            return Err(told.to_owned());
        }
        // INVARIANT 2: what the person saw, not what the store says now.
        match row.item.fingerprint() == target.fingerprint {
            true => Ok(row.item),
            false => Err(NOT_THIS.to_owned()),
        }
    }

    fn lost(&self, failure: &Failure) -> String {
        self.warn("a click was lost", failure);
        "approval-proxy could not record your click, so it does not count. Try again.".to_owned()
    }

    async fn open_modal(&self, trigger: Option<&str>, modal: Value) -> Result<(), Failure> {
        let Some(trigger) = trigger else {
            return Err(Failure::unreachable("the click cannot open one"));
        };
        let body = json!({"trigger_id": trigger, "view": modal});
        let exchange = self.api.exchange(&self.context, Some(MODAL_TIME));
        let call = self
            .api
            .call::<IgnoredAny>(&exchange, "views.open", Token::Bot, &body);
        match tokio::time::timeout(MODAL_TIME * 2, call).await {
            Ok(Some(opened)) => opened.map(|_| ()),
            Ok(None) | Err(_) => Err(Failure::unreachable("Slack did not open it in time")),
        }
    }

    /// Tells one person something, beside everything else.
    pub(super) fn tell(self: &Arc<Self>, channel: &str, user: &str, text: &str) {
        let Some(permit) = self.hub.telling().permit() else {
            return tracing::debug!("too many notes at once, so one is dropped");
        };
        let engine = Arc::clone(self);
        let (channel, user, text) = (channel.to_owned(), user.to_owned(), text.to_owned());
        let work = async move {
            engine.say(&channel, &user, &text).await;
            drop(permit);
        };
        if let Err(failure) = self.context.runtime.spawn_detached(work) {
            tracing::debug!("a note is dropped: {}", failure.why);
        }
    }

    /// Tells an approver something, named as in the records. If it is none of ours, tells all of ours.
    pub(super) fn tell_approver(self: &Arc<Self>, approver: Option<&str>, text: &str) {
        let user = approver.and_then(|name| name.strip_prefix("slack:"));
        let is_ours = |known: &&String| user.is_none_or(|user| user == *known);
        let told: Vec<&String> = self.approvers.iter().filter(is_ours).collect();
        let all = || self.approvers.iter().collect();
        for user in if told.is_empty() { all() } else { told } {
            self.tell(&self.channel, user, text);
        }
    }

    async fn say(&self, channel: &str, user: &str, text: &str) {
        let mut body = note(text);
        if let Some(body) = body.as_object_mut() {
            body.insert("channel".to_owned(), channel.into());
            body.insert("user".to_owned(), user.into());
        }
        let exchange = self.api.exchange(&self.context, Some(NOTE_TIME));
        let call = self
            .api
            .call::<IgnoredAny>(&exchange, "chat.postEphemeral", Token::Bot, &body);
        if let Some(Err(failure)) = call.await {
            // They may not be in the channel.
            tracing::debug!("a note was not delivered: {}", failure.why);
        }
    }

    fn warn(&self, what: &str, failure: &Failure) {
        tracing::warn!(
            "the engine `{}`: {what}: {}",
            self.context.name.name(),
            failure.why
        );
    }
}
