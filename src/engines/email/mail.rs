//! What the mails say, and how they are written: a question, and how it ended.
//!
//! `approval::render` writes the call, and `lettre` headers and parts (RFC 5322, MIME). Sends nothing.

use std::time::{Duration, SystemTime};

use lettre::address::{AddressError, Envelope};
use lettre::message::header::{self, Header, HeaderName, HeaderValue, Headers};
use lettre::message::{Mailbox, Mailboxes, MultiPart};
use lettre::{Address, Message};
use reqwest::Url;

use crate::approval::display::quoted_text;
use crate::approval::item::Item;
use crate::approval::render::{Card, Markup, after_question, card, in_span};
use crate::engines::chat::Outcome;
use crate::engines::disclosure::Disclosure;
use crate::mcp::json::JsonError;

/// The longest text of a question, in bytes, and the same as HTML. Some services hide the end of longer mails.
const MAX_TEXT: usize = 20_000;
const MAX_HTML: usize = 60_000;
/// The longest subject, in bytes.
const MAX_SUBJECT: usize = 200;
/// How much of a name the subject shows, in characters.
const MAX_NAME: usize = 60;
/// How much is shown of who decided, and of a reason, in characters.
const MAX_WHO: usize = 64;
const MAX_REASON: usize = 500;
/// The longest address, in bytes (RFC 5321 section 4.5.3.1.3, without the angle brackets).
const MAX_ADDRESS: usize = 254;
/// The longest name before an address, in bytes.
const MAX_DISPLAY_NAME: usize = 200;
/// Mails cannot name a later time: the end of the year 9999, in milliseconds since 1970.
const LATEST_MS: u64 = 253_402_300_799_000;

/// What a mail says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Letter {
    subject: String,
    text: String,
    html: String,
}

/// Who writes to whom.
#[derive(Debug, Clone)]
pub(super) struct Parties {
    pub(super) from: Mailbox,
    pub(super) to: Vec<Mailbox>,
}

/// The ids of one question's mails, as in `Message-ID`.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    /// Of this mail.
    pub(super) own: String,
    /// Of the mail that it answers.
    pub(super) answers: Option<String>,
}

/// A mail as it is sent.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) from: String,
    pub(super) to: Vec<String>,
    /// Lines as in `DATA`, without the one that ends it.
    pub(super) data: Vec<u8>,
}

impl Letter {
    /// Writes a question. `link` is the item's page. Takes long if the call is large.
    ///
    /// # Errors
    /// If the call is not JSON.
    pub(super) fn question(disclosure: &Disclosure<'_>, link: &str) -> Result<Letter, JsonError> {
        let (item, call) = (disclosure.item(), disclosure.call());
        let written = |markup, max| {
            let look = Card {
                markup,
                max,
                call,
                can_deny: false,
                cut_notice: CUT,
            };
            // The first line says that the call has not run, and mails stay.
            card(item, &look).map(|message| after_question(&message.text).to_owned())
        };
        let (text, html) = (
            written(Markup::Plain, MAX_TEXT)?,
            written(Markup::Html, MAX_HTML)?,
        );
        let words = |text| Markup::Html.words(text);
        let question = &item.question;
        let (link_html, question_html) = (words(link), words(question));
        Ok(Letter {
            subject: subject(item),
            text: format!("{question}\nDecide here: {link}\n{OPENING}\n\n{text}\n\n{FOOT}\n"),
            html: page(&format!(
                "<p><b>{question_html}</b></p>\n<p>Decide here: <a href=\"{link_html}\">{link_html}</a><br>\n{}</p>\n\
                 <div>{html}</div>\n<p>{}</p>",
                words(OPENING),
                words(FOOT)
            )),
        })
    }

    /// Writes how a question ended. Its subject is `subject`.
    pub(super) fn ending(subject: &Subject, outcome: &Outcome<'_>) -> Letter {
        let lines = |markup: Markup| {
            let span = |text, limit| in_span(markup, text, limit);
            let mut first = outcome.what.to_owned();
            if let Some(approver) = outcome.approver {
                first.push_str(&format!(" by {}", span(approver, MAX_WHO)));
            }
            if let Some(engine) = outcome.engine {
                first.push_str(&format!(" through {}", span(engine, MAX_WHO)));
            }
            let reason = outcome
                .reason
                .map(|reason| format!("Reason: {}", span(reason, MAX_REASON)));
            let call = format!(
                "The call: {} on {}, risk {}",
                span(&subject.tool, MAX_NAME),
                span(&subject.server, MAX_NAME),
                subject.risk
            );
            let note = outcome.note.map(|note| markup.words(note).into_owned());
            let end = markup.words(DONE).into_owned();
            let lines = [Some(first), note, reason, Some(call), Some(end)];
            lines.into_iter().flatten().collect::<Vec<String>>()
        };
        Letter {
            subject: format!("Re: {}", subject.line),
            text: format!("{}\n", lines(Markup::Plain).join("\n")),
            html: page(&format!("<p>{}</p>", lines(Markup::Html).join("<br>\n"))),
        }
    }

    /// Writes the mail.
    ///
    /// # Errors
    /// If it cannot be written, with the reason.
    pub(super) fn mail(
        &self,
        parties: &Parties,
        ids: &Ids,
        unix_ms: i64,
    ) -> Result<Mail, lettre::error::Error> {
        let since_1970 = u64::try_from(unix_ms).unwrap_or(0).min(LATEST_MS);
        let date = SystemTime::UNIX_EPOCH + Duration::from_millis(since_1970);
        let to = parties.to.iter().map(|to| to.email.clone()).collect();
        let mut message = Message::builder()
            // Otherwise it is read from the headers, and not every address can be.
            .envelope(Envelope::new(Some(parties.from.email.clone()), to)?)
            .from(parties.from.clone())
            .subject(self.subject.as_str())
            .date(date)
            .message_id(Some(ids.own.clone()))
            .header(AutoSubmitted)
            .header(Recipients(parties.to.clone()));
        if let Some(answers) = &ids.answers {
            message = message
                .in_reply_to(answers.clone())
                .references(answers.clone());
        }
        let parts = MultiPart::alternative_plain_html(self.text.clone(), self.html.clone());
        let message = message.multipart(parts)?;
        Ok(Mail {
            from: parties.from.email.to_string(),
            to: parties.to.iter().map(|to| to.email.to_string()).collect(),
            data: as_data(&message.formatted()),
        })
    }
}

/// What the mails of one question are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    line: String,
    tool: String,
    server: String,
    risk: &'static str,
}

impl Subject {
    /// Takes it from the item.
    pub(super) fn of(item: &Item) -> Subject {
        Subject {
            line: subject(item),
            tool: item.tool.clone(),
            server: item.server.clone(),
            risk: item.risk.as_str(),
        }
    }
}

/// What is said beside the link.
const OPENING: &str = "The page opens on a paired device, or in a browser that is logged in. Opening it decides \
    nothing. This is the only link from approval-proxy in this mail.";
/// What is said at the end.
const FOOT: &str =
    "Sent by approval-proxy. Nobody reads answers to this mail, and none decides anything.";
/// What is said about a question that is over.
const DONE: &str = "There is nothing left to do.";
/// What is said about a call that is too long for the mail.
const CUT: &str = "Not everything is shown in this mail. The page shows all of it.";

/// Returns the subject: never an argument, because subjects show on locked screens.
fn subject(item: &Item) -> String {
    let (tool, server) = (
        quoted_text(&item.tool, MAX_NAME),
        quoted_text(&item.server, MAX_NAME),
    );
    let mut subject = format!("Risk {}: {tool} on {server}", item.risk.as_str());
    let mut end = MAX_SUBJECT.min(subject.len());
    while !subject.is_char_boundary(end) {
        end -= 1;
    }
    subject.truncate(end);
    subject
}

/// Returns a whole page, which loads nothing. Long lines do not make it wider than a phone.
fn page(body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\n\
         <style>body {{ overflow-wrap: anywhere }} pre {{ white-space: pre-wrap }}</style></head>\n\
         <body>\n{body}\n</body>\n</html>\n"
    )
}

/// The header `To`, with a line for each address: 20 of them can be longer than a line may be (RFC 5322 section 2.1.1).
///
/// lettre's own writes them on one line. If they are added one by one, it reads the line again for each, and forgets all
/// that came before an address with quotes or in brackets.
#[derive(Debug, Clone)]
struct Recipients(Vec<Mailbox>);

impl Header for Recipients {
    fn name() -> HeaderName {
        header::To::name()
    }

    fn parse(_: &str) -> Result<Recipients, Box<dyn std::error::Error + Send + Sync>> {
        Err("it is only written".into())
    }

    fn display(&self) -> HeaderValue {
        let written = self.0.iter().map(|to| {
            let mut headers = Headers::new();
            headers.set(header::To::from(Mailboxes::from(to.clone())));
            let line = headers.to_string();
            line.trim_start_matches("To:").trim().to_owned()
        });
        let written = written.collect::<Vec<String>>().join(",\r\n ");
        let raw = self.0.iter().map(Mailbox::to_string);
        let raw = raw.collect::<Vec<String>>().join(", ");
        HeaderValue::dangerous_new_pre_encoded(Recipients::name(), raw, written)
    }
}

/// Tells programs not to answer (RFC 3834 section 5).
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<AutoSubmitted, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AutoSubmitted)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(AutoSubmitted::name(), "auto-generated".to_owned())
    }
}

/// Returns a mail's lines as they are sent: each ends with CRLF, and begins with one more dot if it begins with one (RFC
/// 5321 section 4.5.2). So no line of the mail can end it, whatever ends a line in the server's view.
fn as_data(mail: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(mail.len() + mail.len() / 64);
    let mut rest = mail;
    while !rest.is_empty() {
        let end = rest.iter().position(|b| matches!(b, b'\r' | b'\n'));
        let (line, after) = match end {
            None => (rest, &[][..]),
            Some(at) => {
                let after = rest.get(at..).unwrap_or_default();
                let length = if after.starts_with(b"\r\n") { 2 } else { 1 };
                (
                    rest.get(..at).unwrap_or_default(),
                    after.get(length..).unwrap_or_default(),
                )
            }
        };
        if line.starts_with(b".") {
            data.push(b'.');
        }
        data.extend_from_slice(line);
        data.extend_from_slice(b"\r\n");
        rest = after;
    }
    data
}

/// Reads an address, with or without a name before it. A domain of other letters is written as servers know it.
///
/// # Errors
/// Says what is wrong, as the rest of a sentence about it.
pub(super) fn mailbox(text: &str) -> Result<Mailbox, &'static str> {
    if text.chars().any(char::is_control) {
        return Err("has a control character, such as a line break");
    }
    let no_address = "is not an address, such as `approvals@mail.example` or `Approvals <approvals@mail.example>`";
    // Longest form: a name, and an address in brackets.
    if text.len() > MAX_DISPLAY_NAME + MAX_ADDRESS {
        return Err("is too long");
    }
    // The parser of mailboxes knows no quotes before the `@`.
    let read = text.parse().or_else(|_| {
        let email: Address = text.parse()?;
        Ok::<Mailbox, AddressError>(Mailbox { name: None, email })
    });
    let Mailbox { name, email } = read.map_err(|_| no_address)?;
    if !email.user().is_ascii() {
        return Err(
            "has other letters than ASCII before its `@`; not every mail server takes such an address",
        );
    }
    let domain = ascii_domain(email.domain()).ok_or(no_address)?;
    let email = Address::new(email.user(), domain).map_err(|_| no_address)?;
    if email.to_string().len() > MAX_ADDRESS {
        return Err("is too long");
    }
    Ok(Mailbox { name, email })
}

/// Reads the address of the sender. Its header is read again when a mail is written, which not every address allows.
///
/// # Errors
/// As [`mailbox`].
pub(super) fn sender(text: &str) -> Result<Mailbox, &'static str> {
    let sender = mailbox(text)?;
    match sender.to_string().parse::<Mailbox>() {
        Ok(_) => Ok(sender),
        Err(_) => {
            Err("has quotes before its `@`, or brackets behind it, which a sender cannot have")
        }
    }
}

fn ascii_domain(domain: &str) -> Option<String> {
    if domain.is_ascii() {
        return Some(domain.to_owned());
    }
    let url = Url::parse(&format!("https://{domain}/")).ok()?;
    url.host_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;
