//! Bounded numbers: seconds, whole numbers, multipliers.
//!
//! Sizes in bytes are in `size`.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::error::Fault;
use super::json::Node;
use super::value::{Form, Value, wrong_text, wrong_type};

/// A duration from 0 to ten years. Fractions of a second are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(Duration);

impl Seconds {
    /// Returns the duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }

    /// Returns the duration as a time limit; 0 means no limit.
    #[must_use]
    pub fn limit(self) -> Option<Duration> {
        Some(self.0).filter(|span| !span.is_zero())
    }

    fn from_number(number: f64) -> Option<Seconds> {
        if !(0.0..=TEN_YEARS).contains(&number) {
            return None;
        }
        let span = Duration::try_from_secs_f64(number.abs()).ok()?;
        // 0 means "no limit", so a tiny duration must not be rounded down to it.
        let least = Duration::from_nanos(u64::from(number > 0.0));
        Some(Seconds(span.max(least)))
    }
}

impl Value for Seconds {
    const FORM: Form = Form::Number;

    fn expected() -> String {
        "seconds from 0 to 315360000 (ten years)".to_owned()
    }

    fn schema() -> Json {
        json!({"type": "number", "minimum": 0, "maximum": TEN_YEARS})
    }

    fn from_node(node: &Node) -> Result<Seconds, Fault> {
        number_in_node(node, Seconds::from_number)
    }

    fn from_text(text: &str) -> Result<Seconds, Fault> {
        number_in_text(text, Seconds::from_number)
    }
}

/// From one second to ten years. 0 is excluded because it could mean "no limit" or "at once".
pub type WholeSeconds = Whole<1, 315_360_000>;

/// A whole number from `LEAST` to `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole<const LEAST: u32, const MOST: u32>(u32);

impl<const LEAST: u32, const MOST: u32> Whole<LEAST, MOST> {
    /// Returns the number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// Returns the number as a port; `None` if it is too large.
    #[must_use]
    pub fn port(self) -> Option<u16> {
        u16::try_from(self.0).ok()
    }

    fn from_number(number: f64) -> Option<Self> {
        let fits = (f64::from(LEAST)..=f64::from(MOST)).contains(&number);
        // The cast is exact: the number is whole and within the bounds of a u32.
        (fits && number.fract() == 0.0).then_some(Whole(number as u32))
    }
}

impl<const LEAST: u32, const MOST: u32> Value for Whole<LEAST, MOST> {
    const FORM: Form = Form::Number;

    fn expected() -> String {
        format!("a whole number from {LEAST} to {MOST}")
    }

    fn schema() -> Json {
        json!({"type": "integer", "minimum": LEAST, "maximum": MOST})
    }

    fn from_node(node: &Node) -> Result<Self, Fault> {
        number_in_node(node, Self::from_number)
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        number_in_text(text, Self::from_number)
    }
}

/// The factor by which each pause is longer than the one before, from 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Multiplier(f64);

impl Multiplier {
    /// Returns the factor, which is finite.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    fn from_number(number: f64) -> Option<Multiplier> {
        (1.0..=1000.0)
            .contains(&number)
            .then_some(Multiplier(number))
    }
}

impl Value for Multiplier {
    const FORM: Form = Form::Number;

    fn expected() -> String {
        "a number from 1 to 1000".to_owned()
    }

    fn schema() -> Json {
        json!({"type": "number", "minimum": 1, "maximum": 1000})
    }

    fn from_node(node: &Node) -> Result<Multiplier, Fault> {
        number_in_node(node, Multiplier::from_number)
    }

    fn from_text(text: &str) -> Result<Multiplier, Fault> {
        number_in_text(text, Multiplier::from_number)
    }
}

/// Reads a number. `check` returns `None` if it is out of bounds, as NaN and infinity are.
fn number_in_node<T: Value>(node: &Node, check: fn(f64) -> Option<T>) -> Result<T, Fault> {
    let Node::Number(number) = node else {
        return Err(wrong_type::<T>(node));
    };
    check(*number).ok_or_else(|| wrong_text::<T>(&number.to_string()))
}

fn number_in_text<T: Value>(text: &str, check: fn(f64) -> Option<T>) -> Result<T, Fault> {
    let number = text.parse().ok().and_then(check);
    number.ok_or_else(|| wrong_text::<T>(text))
}

const TEN_YEARS: f64 = 315_360_000.0;

#[cfg(test)]
mod tests;
