//! The approver's name for the record, which a person enters once and which is kept with the login.
//!
//! Nobody verifies it, so every place that shows it says that it is self-declared.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::call::NAME_LIMIT;
use super::card::name;
use super::error::PageError;
use super::form::Form;
use super::html::Html;
use super::layout::Tab;
use super::login::{Session, see_other};
use super::routes::is_id;
use super::{App, held};
use crate::approval::item::{Assurance, BadApprover, Verdict, read_approver};

/// The most names that we remember. There are at most as many logins.
const MOST: usize = 1_000;

/// The names of the logins. They stay in this process: a program that can write to the store must not be
/// able to choose the name in another person's signature.
#[derive(Debug, Default)]
pub(super) struct Names(VecDeque<([u8; 32], String)>);

impl Names {
    /// Returns the name of the login with this hash.
    pub(super) fn of(&self, session: &[u8; 32]) -> Option<String> {
        let found = self.0.iter().find(|(known, _)| known == session);
        found.map(|(_, name)| name.clone())
    }

    /// Sets or removes the name of a login.
    pub(super) fn set(&mut self, session: [u8; 32], name: Option<String>) {
        self.0.retain(|(known, _)| *known != session);
        self.0.extend(name.map(|name| (session, name)));
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }
}

/// Shown in place of a missing name.
const NO_NAME: &str = "Your name";

/// Appends the field for the name. It is folded, and opens over the page.
pub(super) fn field(tab: Tab<'_>, session: &Session, html: &mut Html) {
    html.raw("<details class=\"me\" id=\"me\"><summary title=\"Recorded with your decisions\"><bdi id=\"approver\">");
    match &session.approver {
        Some(name) => html.text(name),
        None => html.raw(NO_NAME),
    };
    html.raw("</bdi></summary><form id=\"name-form\" method=\"post\" action=\"/name\"><input type=\"hidden\" name=\"csrf\" value=\"")
        .value(&session.csrf);
    html.raw("\"><input type=\"hidden\" name=\"back\" value=\"");
    match tab {
        Tab::Waiting | Tab::None => html.raw("/"),
        Tab::History => html.raw("/history"),
        Tab::Item(id) => html.raw("/item/").value(id),
    };
    html.raw("\"><label class=\"field\"><span>Your name, for the record (optional)</span><input type=\"text\" name=\"name\" maxlength=\"64\" autocomplete=\"name\" value=\"")
        .value(session.approver.as_deref().unwrap_or_default());
    html.raw("\"></label><p class=\"quiet\">Recorded with your decisions until you log out. Nobody checks it.</p><button class=\"button\">Save</button></form></details>");
}

/// `POST /name`
pub(super) async fn set(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, PageError> {
    let (session, form) = app.form(request).await?;
    let name = match form.filled("name").map(read_approver) {
        None | Some(Err(BadApprover::Empty)) => None,
        Some(Ok(name)) => Some(name),
        Some(Err(BadApprover::TooLong(_))) => {
            return Err(PageError::Form(
                "A name can have at most 64 characters. Your name was not changed.",
            ));
        }
        Some(Err(BadApprover::Unseen(_))) => {
            return Err(PageError::Form(
                "A name cannot contain invisible characters. Your name was not changed.",
            ));
        }
    };
    held(&app.names).set(session.hash, name.clone());
    // The other tabs show the name too.
    app.changes.notify();
    Ok(app.remember_name(see_other(back(&form)), name.as_deref()))
}

/// Returns the page that the form was on, if it is one of ours.
fn back(form: &Form) -> &str {
    let back = form.get("back");
    let is_ours = back == "/history" || back.strip_prefix("/item/").is_some_and(is_id);
    if is_ours { back } else { "/" }
}

/// Appends who decided.
pub(super) fn approver(verdict: &Verdict, html: &mut Html) {
    let Some(given) = &verdict.approver else {
        html.raw(match verdict.assurance {
            Assurance::CallerRelayed => "somebody at the client",
            Assurance::SharedSecret => "somebody through another program",
            Assurance::InboxSession => "you, logged in here",
            Assurance::InboxTerminal => "somebody in a terminal",
            Assurance::ChannelAuthenticated => "somebody in a chat",
            Assurance::InboxPassphrase => "you, with the passphrase",
        });
        return;
    };
    name(given, NAME_LIMIT, html);
    html.raw(match verdict.assurance {
        Assurance::ChannelAuthenticated => ", by their account in a chat",
        Assurance::CallerRelayed => " (self-declared), at the client",
        Assurance::SharedSecret => " (self-declared), through another program",
        Assurance::InboxSession => " (self-declared), logged in here",
        Assurance::InboxTerminal => " (self-declared), in a terminal",
        Assurance::InboxPassphrase => " (self-declared), with the passphrase",
    });
}

/// Appends the approver's name as a claim, if there is one.
pub(super) fn claim(verdict: &Verdict, html: &mut Html) {
    if let Some(given) = &verdict.approver {
        html.raw("<p>The approver gave the name ");
        name(given, NAME_LIMIT, html);
        html.raw(" (self-declared, not verified).</p>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_names_the_oldest_is_forgotten() {
        let mut names = Names::default();
        let session = |number: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_be_bytes());
            hash
        };
        for number in 0..=MOST {
            names.set(session(number), Some(number.to_string()));
        }
        assert_eq!(names.of(&session(0)), None);
        assert_eq!(names.of(&session(1)).as_deref(), Some("1"));
        names.set(session(1), Some("one".to_owned()));
        names.set(session(2), None);
        assert_eq!(names.of(&session(1)).as_deref(), Some("one"));
        assert_eq!(names.of(&session(2)), None);
        assert_eq!(names.0.len(), MOST - 1);
    }
}
