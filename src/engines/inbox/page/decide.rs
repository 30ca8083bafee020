//! Takes a verdict from a form: checks it, signs it if there is a passphrase, and stores it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::answers;
use super::card::{Message, Typed};
use super::error::PageError;
use super::form::Form;
use super::login::{Session, see_other};
use super::routes::item_page;
use super::{App, held};
use crate::approval::item::{Assurance, Choice, Verdict};
use crate::engines::inbox::store::{Decided, SignedVerdict, State as ItemState, cut_reason};

/// The minutes for which an approval may cover the same call again; 0 means this call only.
pub(super) const MINUTES: [u64; 4] = [0, 5, 15, 60];

/// `POST /item/{id}/decide`
pub(super) async fn decide(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, PageError> {
    let (session, form) = app.form(request).await?;
    let entry = app.store(|store| store.find(&id))?;
    let entry = entry.ok_or(PageError::NotFound)?;
    if !entry.state.is_open() {
        return Ok(too_late(&id, &form, entry.state));
    }
    let mut verdict = verdict(&form, &session, app.now().unix_ms)?;
    let typed = Typed {
        reason: form.get("reason"),
        minutes: form.get("minutes"),
        sent: Some(&form),
        problem: None,
    };
    let refuse = |status, message| item_page(&app, &session, &entry, Some(message), &typed, status);
    // The form must have shown exactly this item.
    if form.get("shown") != entry.item.fingerprint() {
        return refuse(StatusCode::CONFLICT, Message::Changed);
    }
    if verdict.choice == Choice::Approve {
        match answers::read(&entry.item, &form) {
            Ok(fields) => verdict.fields = fields,
            Err(problem) => {
                let problem = Some(&problem);
                let typed = Typed { problem, ..typed };
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                return item_page(&app, &session, &entry, None, &typed, status);
            }
        }
    }
    let item = [(id.clone(), entry.item.fingerprint())];
    let signature = match signatures(&app, &session, &form, &item, &mut verdict).await {
        Ok(signatures) => signatures.into_iter().next().flatten(),
        Err(NotSigned::Wrong) => return refuse(StatusCode::FORBIDDEN, Message::WrongPassphrase),
        Err(NotSigned::TooOften) => {
            return refuse(StatusCode::TOO_MANY_REQUESTS, Message::TooManyPassphrases);
        }
    };
    let choice = verdict.choice;
    let signed = SignedVerdict {
        verdict,
        signature,
        engine: None,
    };
    let decided = app.store(|store| store.decide(&id, &signed))?;
    app.changes.notify();
    match decided {
        Decided::Recorded => Ok(done(&id, &form, choice)),
        Decided::TooLate(state) => Ok(too_late(&id, &form, state)),
        Decided::Unknown => Err(PageError::NotFound),
    }
}

pub(super) fn verdict(form: &Form, session: &Session, now_ms: i64) -> Result<Verdict, PageError> {
    let choice = match form.get("choice") {
        "approve" => Choice::Approve,
        "deny" => Choice::Deny,
        _ => {
            return Err(PageError::Form(
                "The form neither approves nor denies. Nothing was decided.",
            ));
        }
    };
    let minutes = form.filled("minutes").unwrap_or("0").parse().ok();
    let minutes = minutes.filter(|minutes| MINUTES.contains(minutes));
    let minutes = minutes.ok_or(PageError::Form(
        "An approval covers this call only, or 5, 15 or 60 minutes. Nothing was decided.",
    ))?;
    let minutes = if choice == Choice::Approve {
        minutes
    } else {
        0
    };
    Ok(Verdict {
        fields: None,
        choice,
        reason: form
            .filled("reason")
            .map(|reason| cut_reason(reason).to_owned()),
        cover: Duration::from_secs(minutes * 60),
        assurance: Assurance::InboxSession,
        approver: session.approver.clone(),
        decided_ms: now_ms,
    })
}

/// Why a verdict was not signed.
pub(super) enum NotSigned {
    /// The passphrase is wrong.
    Wrong,
    /// The passphrase was wrong too often.
    TooOften,
}

/// Signs the verdict for each item if there is a passphrase, and raises the verdict's assurance.
pub(super) async fn signatures(
    app: &Arc<App>,
    session: &Session,
    form: &Form,
    items: &[(String, String)],
    verdict: &mut Verdict,
) -> Result<Vec<Option<Vec<u8>>>, NotSigned> {
    let Some(passphrase) = app.passphrase.clone() else {
        return Ok(vec![None; items.len()]);
    };
    verdict.assurance = Assurance::InboxPassphrase;
    let session = session.hash;
    let turn = app.passphrase_queue.wait(session).await;
    if !held(&app.wrong_passphrases).take(session, app.now().elapsed) {
        return Err(NotSigned::TooOften);
    }
    let given = form.get("passphrase").to_owned();
    let (items, verdict) = (items.to_vec(), verdict.clone());
    let app = Arc::clone(app);
    let work = move || {
        let signed = passphrase.sign_all(&given, &items, &verdict);
        if signed.is_ok() {
            held(&app.wrong_passphrases).give_back(session);
        }
        // The turn ends here, not with the request: this work continues even if the client disconnects.
        drop(turn);
        signed
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(signatures)) => Ok(signatures.into_iter().map(Some).collect()),
        Ok(Err(_)) | Err(_) => Err(NotSigned::Wrong),
    }
}

fn done(id: &str, form: &Form, choice: Choice) -> Response {
    let said = match choice {
        Choice::Approve => "approved",
        Choice::Deny => "denied",
    };
    match form.get("from") {
        "item" => see_other(&format!("/item/{id}?said={said}")),
        _ => see_other(&format!("/?said={said}&item={id}")),
    }
}

fn too_late(id: &str, form: &Form, state: ItemState) -> Response {
    let state = state.as_str();
    match form.get("from") {
        "item" => see_other(&format!("/item/{id}?said=late")),
        _ => see_other(&format!("/?said=late&state={state}&item={id}")),
    }
}
