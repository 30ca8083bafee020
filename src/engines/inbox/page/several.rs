//! Decides several items at once: first a page that lists them, then the verdicts.
//!
//! Each item gets its own verdict, signed for what was shown of it. This file checks what may be approved
//! together; the script checks that the person has seen it in the list.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::App;
use super::call::{self, Folding, HeadingLevel, NAME_LIMIT};
use super::card::{self, MAX_LISTED, Message, calls};
use super::decide::{NotSigned, signatures, verdict};
use super::error::PageError;
use super::form::Form;
use super::html::Html;
use super::layout::{Tab, answer, page};
use super::login::{Session, see_other};
use super::routes::is_id;
use crate::approval::item::Choice;
use crate::engines::inbox::store::{Decided, Entry, SignedVerdict};
use crate::policy::Risk;

/// The most items in one decision.
const MOST: usize = 100;

/// Appends the bar that starts a decision about the selected items.
pub(super) fn bar(session: &Session, html: &mut Html) {
    html.raw("<form id=\"batch\" class=\"batch\" method=\"post\" action=\"/decide\"><input type=\"hidden\" name=\"csrf\" value=\"")
        .value(&session.csrf);
    html.raw("\"><p class=\"picked\" id=\"picked\" role=\"status\" aria-live=\"polite\">Select calls to decide several at once.</p><button type=\"button\" class=\"plain needs-script\" id=\"pick-all\" hidden>Select all</button><button type=\"button\" class=\"plain needs-script\" id=\"unpick\" hidden>Select none</button><button class=\"button no\" name=\"choice\" value=\"deny\">Deny selected …</button><button class=\"button\" name=\"choice\" value=\"approve\">Approve selected …</button></form>");
}

/// `POST /decide`
pub(super) async fn decide(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, PageError> {
    let (session, form) = app.form(request).await?;
    let verdict = verdict(&form, &session, app.now().unix_ms)?;
    let picked = picked(&form)?;
    let (mut open, mut late) = (Vec::new(), 0);
    for (id, shown) in &picked {
        let entry = app.store(|store| store.find(id))?;
        let Some(entry) = entry.filter(|entry| entry.state.is_open()) else {
            late += 1;
            continue;
        };
        // The form must have shown exactly this item.
        if *shown != entry.item.fingerprint() {
            return Err(PageError::Form(CHANGED));
        }
        if verdict.choice == Choice::Approve {
            may_approve(&entry)?;
        }
        open.push(entry);
    }
    if form.get("confirm") != "yes" {
        return confirmation(&app, &session, &form, verdict.choice, &open, late, None);
    }
    let mut verdict = verdict;
    // Only an approval of a single call may cover later ones.
    verdict.cover = std::time::Duration::ZERO;
    let items: Vec<_> = open
        .iter()
        .map(|entry| (entry.item.id.clone(), entry.item.fingerprint()))
        .collect();
    let choice = verdict.choice;
    let signed = signatures(&app, &session, &form, &items, &mut verdict).await;
    let signatures = match signed {
        Ok(signatures) => signatures,
        Err(not) => {
            let message = match not {
                NotSigned::Wrong => Message::WrongPassphrase,
                NotSigned::TooOften => Message::TooManyPassphrases,
            };
            return confirmation(&app, &session, &form, choice, &open, late, Some(message));
        }
    };
    let mut done = 0;
    for ((id, _), signature) in items.iter().zip(signatures) {
        let verdict = verdict.clone();
        let signed = SignedVerdict {
            verdict,
            signature,
            engine: None,
        };
        match app.store(|store| store.decide(id, &signed))? {
            Decided::Recorded => done += 1,
            Decided::TooLate(_) | Decided::Unknown => late += 1,
        }
    }
    app.changes.notify();
    let choice = choice.as_str();
    Ok(see_other(&format!(
        "/?said=several&choice={choice}&done={done}&late={late}"
    )))
}

const CHANGED: &str =
    "One of the calls is not what was shown. Nothing was decided; go back and select again.";
const RISKY: &str = "High-risk calls must be approved one by one. Nothing was decided.";
const LARGE: &str =
    "A call that is too large for the list must be approved on its own page. Nothing was decided.";

const WITH_FORM: &str =
    "A call with a form to fill in must be approved by itself. Nothing was decided.";

/// Reads the items that a form selects, and the fingerprint of what was shown of each.
fn picked(form: &Form) -> Result<Vec<(String, String)>, PageError> {
    let picked: Vec<_> = form
        .beginning("pick-")
        .map(|(id, shown)| (id.to_owned(), shown.to_owned()))
        .collect();
    if picked.is_empty() {
        return Err(PageError::Form("No call is selected. Nothing was decided."));
    }
    if picked.len() > MOST {
        return Err(PageError::Form(
            "At most 100 calls can be decided at once. Nothing was decided.",
        ));
    }
    match picked.iter().all(|(id, _)| is_id(id)) {
        true => Ok(picked),
        false => Err(PageError::NotFound),
    }
}

/// Checks whether a call may be approved together with others.
fn may_approve(entry: &Entry) -> Result<(), PageError> {
    if entry.item.risk == Risk::High {
        return Err(PageError::Form(RISKY));
    }
    if entry.item.form.is_some() {
        return Err(PageError::Form(WITH_FORM));
    }
    if entry.item.call.len() > MAX_LISTED {
        return Err(PageError::Form(LARGE));
    }
    Ok(())
}

/// Returns the page that lists the calls before the decision. For approvals, it shows each in full and unfolded.
fn confirmation(
    app: &App,
    session: &Session,
    form: &Form,
    choice: Choice,
    entries: &[Entry],
    late: usize,
    message: Option<Message>,
) -> Result<Response, PageError> {
    let (_, count) = app.store(|store| store.waiting(0))?;
    let mut html = Html::new();
    html.raw("<p class=\"crumb\"><a href=\"/\">← All approvals</a></p>");
    let status = match message {
        Some(message) => {
            card::notice(
                message,
                crate::engines::inbox::store::State::Waiting,
                &mut html,
            );
            if message == Message::TooManyPassphrases {
                StatusCode::TOO_MANY_REQUESTS
            } else {
                StatusCode::FORBIDDEN
            }
        }
        None => StatusCode::OK,
    };
    html.raw("<article class=\"card single several\" tabindex=\"-1\" id=\"several\"><h1>")
        .raw(match choice {
            Choice::Approve => "Approve ",
            Choice::Deny => "Deny ",
        });
    html.text(&calls(entries.len())).raw("?</h1>");
    if late > 0 {
        html.raw("<p class=\"warning\">Left out because they no longer wait: ")
            .text(&calls(late))
            .raw(".</p>");
    }
    html.raw("<ol class=\"each\">");
    let context = app.context(session);
    for entry in entries {
        let item = &entry.item;
        html.raw("<li>");
        card::top(entry, context.now_ms, &mut html);
        card::remarks(entry, &mut html);
        html.raw("<h2>");
        card::name(&item.tool, NAME_LIMIT, &mut html);
        html.raw("</h2>");
        match choice {
            Choice::Approve => {
                call::show(
                    &item.call,
                    &item.tool,
                    HeadingLevel::H2,
                    Folding::None,
                    &mut html,
                );
            }
            Choice::Deny => {
                html.raw("<p class=\"begin\">");
                call::preview(&item.call, &mut html);
                html.raw("</p>");
            }
        }
        html.raw("</li>");
    }
    html.raw("</ol>");
    if !entries.is_empty() {
        buttons(
            session,
            form,
            choice,
            entries,
            context.needs_passphrase,
            &mut html,
        );
    }
    html.raw(
        "</article><p class=\"status\" id=\"status\" role=\"status\" aria-live=\"polite\"></p>",
    );
    let page = page(
        "Several calls · Approvals",
        Tab::None,
        session,
        count,
        &html,
    );
    Ok(answer(status, page))
}

fn buttons(
    session: &Session,
    form: &Form,
    choice: Choice,
    entries: &[Entry],
    needs_passphrase: bool,
    html: &mut Html,
) {
    html.raw("<form class=\"actions\" method=\"post\" action=\"/decide\"><input type=\"hidden\" name=\"csrf\" value=\"")
        .value(&session.csrf);
    html.raw("\"><input type=\"hidden\" name=\"confirm\" value=\"yes\">");
    for entry in entries {
        html.raw("<input type=\"hidden\" name=\"pick-")
            .value(&entry.item.id);
        html.raw("\" value=\"")
            .value(&entry.item.fingerprint())
            .raw("\">");
    }
    if needs_passphrase {
        card::passphrase(html);
    }
    html.raw("<label class=\"field\"><span>Reason (optional)</span><input type=\"text\" placeholder=\"the agents see it\" name=\"reason\" maxlength=\"4000\" autocomplete=\"off\" value=\"")
        .value(form.get("reason"));
    html.raw("\"></label><div class=\"approve\"><a class=\"button\" href=\"/\">Back</a>");
    html.raw(match choice {
        Choice::Approve => "<button class=\"button primary\" name=\"choice\" value=\"approve\" aria-describedby=\"hint-several\">Approve all ",
        Choice::Deny => "<button class=\"button no\" name=\"choice\" value=\"deny\" aria-describedby=\"hint-several\">Deny all ",
    });
    html.text(&entries.len().to_string())
        .raw("</button></div><p class=\"hint\" id=\"hint-several\"></p></form>");
}
