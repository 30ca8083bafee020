//! What a button carries: what it does, which question it is about, and what was shown there.
//!
//! `callback_data` takes 64 bytes (<https://core.telegram.org/bots/api#inlinekeyboardbutton>). The token leads to the
//! item; the store has that mapping, and other programs of the user could change it. So the button also carries the
//! beginning of the item's fingerprint.

use serde_json::{Value, json};

use crate::sys::clock::random_hex;

/// The length of a token in hexadecimal digits: 120 random bits.
const TOKEN: usize = 30;
/// How many digits of the fingerprint a button carries: 128 bits.
const SEEN: usize = 32;

/// What a button does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Approves.
    Approve,
    /// Denies, with a reason if there is one.
    Deny,
    /// Denies without a reason.
    DenyNow,
}

impl Action {
    const ALL: [(Action, char); 3] = [
        (Action::Approve, 'a'),
        (Action::Deny, 'd'),
        (Action::DenyNow, 'n'),
    ];
}

/// The buttons of one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Buttons {
    /// Leads to the item. Nobody can guess it.
    pub(super) token: String,
    /// The beginning of the fingerprint of what was shown.
    seen: String,
}

impl Buttons {
    /// Creates the buttons of a question with this fingerprint.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub(super) fn new(fingerprint: &str) -> Result<Buttons, getrandom::Error> {
        Ok(Buttons {
            token: random_hex(TOKEN / 2)?,
            seen: fingerprint.chars().take(SEEN).collect(),
        })
    }

    /// Returns the `callback_data` of a button.
    pub(super) fn data(&self, action: Action) -> String {
        let mut all = Action::ALL.iter();
        let letter = all.find(|(known, _)| *known == action);
        let letter = letter.map_or('d', |(_, letter)| *letter);
        format!("{letter}{}{}", self.token, self.seen)
    }

    /// Reads the `callback_data` of a button. `None` if it is none of ours.
    pub(super) fn read(data: &str) -> Option<(Action, Buttons)> {
        let letter = data.chars().next()?;
        let (action, _) = Action::ALL.iter().find(|(_, known)| *known == letter)?;
        let digits = data.get(1..)?;
        let is_ours = digits.len() == TOKEN + SEEN
            && digits
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let (token, seen) = digits.split_at_checked(TOKEN)?;
        is_ours.then(|| {
            let (token, seen) = (token.to_owned(), seen.to_owned());
            (*action, Buttons { token, seen })
        })
    }

    /// Returns the buttons below a question, as `reply_markup`.
    pub(super) fn of_question(&self) -> Value {
        self.row(&[("✅ Approve", Action::Approve), ("❌ Deny", Action::Deny)])
    }

    /// Returns the button below a question while the reason of a denial is awaited.
    pub(super) fn of_denial(&self) -> Value {
        self.row(&[("❌ Deny without a reason", Action::DenyNow)])
    }

    fn row(&self, row: &[(&str, Action)]) -> Value {
        let button = |(text, action): &(&str, Action)| json!({"text": text, "callback_data": self.data(*action)});
        let row: Vec<Value> = row.iter().map(button).collect();
        json!({"inline_keyboard": [row]})
    }

    /// Returns true if these buttons stood below what has this fingerprint.
    pub(super) fn are_of(&self, fingerprint: &str) -> bool {
        // INVARIANT 2: `seen` has all of its digits, as `new` and `read` make it.
        self.seen.len() == SEEN && fingerprint.starts_with(&self.seen)
    }
}

/// Returns what takes the buttons away.
pub(super) fn no_buttons() -> Value {
    json!({"inline_keyboard": []})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_button_is_random_short_and_bound_to_what_was_shown() {
        let fingerprint = "0123456789abcdef".repeat(4);
        let buttons = Buttons::new(&fingerprint).unwrap();
        assert_ne!(buttons.token, Buttons::new(&fingerprint).unwrap().token);
        for (action, _) in Action::ALL {
            let data = buttons.data(action);
            assert!(data.len() <= 64, "{data}");
            assert_eq!(Buttons::read(&data), Some((action, buttons.clone())));
        }
        assert!(buttons.are_of(&fingerprint));
        assert!(!buttons.are_of(&format!("1{fingerprint}")));
        assert!(!buttons.are_of(""));
    }

    #[test]
    fn other_data_is_no_button_of_ours() {
        let good = Buttons::new(&"a".repeat(64)).unwrap().data(Action::Approve);
        let mut shorter = good.clone();
        shorter.pop();
        let digits = good.strip_prefix('a').unwrap();
        for bad in [
            "",
            "approve",
            digits,
            &shorter,
            &format!("{good}0"),
            &format!("x{digits}"),
            &good.replace('a', "A"),
            &"x".repeat(63),
            &"ä".repeat(31),
        ] {
            assert_eq!(Buttons::read(bad), None, "{bad}");
        }
    }
}
