//! Decides what of a call an engine may send, as its option `show` says.
//!
//! `approval::render` writes it for people, `request` for programs.

use std::borrow::Cow;

use crate::approval::item::Item;
use crate::approval::render::{Show, ShownCall};
use crate::evidence::redact::Redaction;
use crate::mcp::json::JsonError;

/// What an engine may send of an item.
#[derive(Debug)]
pub(super) struct Disclosure<'a> {
    item: Cow<'a, Item>,
    /// Of the item as it is, with its secrets.
    fingerprint: String,
    /// The call with its secrets replaced, if it has any.
    redacted: Option<String>,
    show: Show,
    /// Whether the answer can fill in the item's form.
    takes_forms: bool,
}

impl<'a> Disclosure<'a> {
    /// Takes long if the call is large.
    ///
    /// # Errors
    /// If the call is not JSON.
    pub(super) fn new(
        item: &'a Item,
        show: Show,
        redaction: &Redaction,
    ) -> Result<Disclosure<'a>, JsonError> {
        let mut disclosure = Disclosure {
            item: Cow::Borrowed(item),
            fingerprint: item.fingerprint(),
            redacted: None,
            show,
            takes_forms: false,
        };
        if show != Show::Full {
            let hide = |text: &Option<String>| {
                let text = text.as_deref()?;
                Some(redaction.text(text).into_owned())
            };
            let (title, description) = (hide(&item.title), hide(&item.description));
            disclosure.item = Cow::Owned(Item {
                title,
                description,
                ..item.clone()
            });
            disclosure.redacted = redaction.whole(&item.call)?;
        }
        Ok(disclosure)
    }

    /// The answer can fill in the item's form.
    pub(super) fn with_forms(self) -> Disclosure<'a> {
        Disclosure {
            takes_forms: true,
            ..self
        }
    }

    /// Returns the item. Only [`Disclosure::call`] says what may be sent of its call.
    pub(super) fn item(&self) -> &Item {
        &self.item
    }

    /// Returns the item's fingerprint. A verdict is about this, whatever was shown.
    pub(super) fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    /// Returns what may be sent of the call.
    pub(super) fn call(&self) -> ShownCall<'_> {
        match (self.show, &self.redacted) {
            (Show::Full, _) | (Show::Redacted, None) => match self.item.form.is_some() {
                true if !self.takes_forms => ShownCall::WithForm,
                true | false => ShownCall::Whole,
            },
            (Show::Redacted, Some(redacted)) => ShownCall::Redacted(redacted),
            (Show::Summary, _) => ShownCall::Hidden,
        }
    }

    /// Returns true if a person who is shown all of it may approve the call there.
    pub(super) fn is_approvable(&self) -> bool {
        self.call() == ShownCall::Whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::for_test::item;

    fn disclosed(call: &str, show: Show) -> (bool, String) {
        let item = Item {
            call: call.to_owned(),
            description: Some("token: ghp_0123456789abcdefghijklmnopqrstuvwxyzAB".to_owned()),
            ..item("1")
        };
        let disclosure = Disclosure::new(&item, show, &Redaction::default()).unwrap();
        let text = format!(
            "{:?} {:?}",
            disclosure.item().description,
            disclosure.call()
        );
        (disclosure.is_approvable(), text)
    }

    #[test]
    fn a_redacted_call_is_approvable_only_if_nothing_was_hidden() {
        let secret = r#"{"name":"x","arguments":{"password":"hunter2-XK","n":1.50}}"#;
        let (is_approvable, text) = disclosed(secret, Show::Redacted);
        assert!(!is_approvable);
        assert!(
            !text.contains("hunter2-XK") && !text.contains("ghp_"),
            "{text}"
        );
        assert!(text.contains("1.50"), "{text}");
        let long = "y".repeat(9_000);
        let plain = format!(r#"{{"name":"x","arguments":{{"blob":"{long}"}}}}"#);
        assert!(disclosed(&plain, Show::Redacted).0);
        // Nothing else of a long call is lost when one secret is replaced.
        let both = format!(r#"{{"name":"x","arguments":{{"blob":"{long}","api_key":"k-123"}}}}"#);
        let (is_approvable, text) = disclosed(&both, Show::Redacted);
        assert!(!is_approvable && text.contains(&long) && !text.contains("k-123"));
    }

    #[test]
    fn full_shows_everything_and_summary_no_arguments() {
        let secret = r#"{"name":"x","arguments":{"password":"hunter2-XK"}}"#;
        let (is_approvable, _) = disclosed(secret, Show::Full);
        assert!(is_approvable);
        let (is_approvable, text) = disclosed(r#"{"name":"x","arguments":{"a":1}}"#, Show::Summary);
        assert!(!is_approvable && text.contains("Hidden"), "{text}");
    }

    #[test]
    fn only_an_engine_that_takes_forms_can_approve_a_call_with_one() {
        let item = Item {
            form: Some("{}".to_owned()),
            ..item("1")
        };
        for show in [Show::Full, Show::Redacted] {
            let disclosure = Disclosure::new(&item, show, &Redaction::default()).unwrap();
            assert_eq!(disclosure.call(), ShownCall::WithForm);
            assert!(!disclosure.is_approvable());
            assert!(disclosure.with_forms().is_approvable());
        }
    }
}
