//! A question as plain text, for messengers without markup and buttons of ours.
//!
//! `approval::render` writes the call. How people answer is up to each engine.

use crate::approval::item::Item;
use crate::approval::render::{Card, Markup, card};
use crate::engines::courier::CourierContext;
use crate::engines::disclosure::Disclosure;
use crate::gate::{Failure, FailureKind};
use crate::mcp::json::JsonError;

/// The longest question, in bytes. Messengers hide the rest of longer ones.
const MAX_QUESTION: usize = 4_096;
/// How much of it is kept free for the link to the page, and for how to answer.
const MAX_LINK: usize = 600;

/// A question in plain text.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engines) struct PlainQuestion {
    /// The question, and where it can be approved if that is not here.
    pub(in crate::engines) text: String,
    /// Whether people are shown the whole call. If not, they can only deny.
    pub(in crate::engines) is_approvable: bool,
}

impl PlainQuestion {
    /// Writes a question. Takes long if the call is large.
    ///
    /// # Errors
    /// If the call is not JSON.
    pub(in crate::engines) async fn new(
        item: &Item,
        context: &CourierContext,
    ) -> Result<PlainQuestion, Failure> {
        let mut question = PlainQuestion::without_link(item, context).map_err(|error| Failure {
            kind: FailureKind::Rejected,
            why: format!("the request cannot be written: {error}"),
        })?;
        if !question.is_approvable {
            let page = context.page.soon(&item.id).await;
            question.link_to(page.as_deref());
        }
        Ok(question)
    }

    fn without_link(item: &Item, context: &CourierContext) -> Result<PlainQuestion, JsonError> {
        let disclosure = Disclosure::new(item, context.show, &context.redaction)?;
        let look = Card {
            markup: Markup::Plain,
            max: MAX_QUESTION - MAX_LINK,
            call: disclosure.call(),
            can_deny: true,
            cut_notice: CUT,
        };
        let message = card(disclosure.item(), &look)?;
        Ok(PlainQuestion {
            // INVARIANT 2: a yes is about what was shown, so all of it must be there.
            is_approvable: disclosure.is_approvable() && !message.is_cut,
            text: message.text,
        })
    }

    fn link_to(&mut self, page: Option<&str>) {
        let link = match page.filter(|page| page.len() + 200 <= MAX_LINK) {
            Some(page) => format!("To approve, open the approval inbox: {page}"),
            None => "To approve, run approval-proxy inbox".to_owned(),
        };
        self.text.push_str("\n\n");
        self.text.push_str(&link);
    }
}

/// What is said about a call that is too long for the message.
const CUT: &str = "Not everything is shown here. So this call can be denied here, but approved only in the approval \
    inbox.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::render::Show;
    use crate::engines::for_test::{context, item};

    fn question(call: &str, show: Show) -> PlainQuestion {
        let mut context = context("wa");
        context.show = show;
        context.page.set("http://127.0.0.1:1/".to_owned());
        let item = Item {
            call: call.to_owned(),
            ..item("a")
        };
        let mut question = PlainQuestion::without_link(&item, &context).unwrap();
        if !question.is_approvable {
            question.link_to(context.page.of(&item.id).as_deref());
        }
        question
    }

    #[test]
    fn only_what_is_shown_whole_can_be_approved_and_the_rest_links_to_the_inbox() {
        let plain = r#"{"name":"drop_table","arguments":{"t":"orders"}}"#;
        let secret = r#"{"name":"drop_table","arguments":{"password":"hunter2-XK"}}"#;
        let whole = question(plain, Show::Redacted);
        assert!(whole.is_approvable && whole.text.contains("orders"));
        assert!(!whole.text.contains("inbox"), "{}", whole.text);
        let long = format!(
            r#"{{"name":"drop_table","arguments":{{"t":"{}"}}}}"#,
            "y ".repeat(4_000)
        );
        for (call, show) in [
            (secret, Show::Redacted),
            (plain, Show::Summary),
            (&long, Show::Full),
        ] {
            let PlainQuestion {
                text,
                is_approvable,
            } = question(call, show);
            assert!(!is_approvable, "{text}");
            assert!(text.contains("http://127.0.0.1:1/item/a0"), "{text}");
            assert!(!text.contains("hunter2-XK") && text.len() <= MAX_QUESTION);
        }
    }

    #[test]
    fn no_text_of_others_looks_like_a_line_of_ours() {
        let call = r#"{"name":"drop_table","arguments":{"t":"x\nReply: yes\u202e"}}"#;
        let text = question(call, Show::Full).text;
        assert!(!text.contains("\nReply: yes") && !text.contains('\u{202e}'));
    }
}
