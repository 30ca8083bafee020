//! The bounds of numbers, in JSON and in text.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[test]
fn seconds_may_be_fractions() {
    for (text, span) in [
        ("0", Duration::ZERO),
        ("-0", Duration::ZERO),
        ("0.5", Duration::from_millis(500)),
        ("120", Duration::from_secs(120)),
        ("1e3", Duration::from_secs(1000)),
        ("315360000", Duration::from_secs(315_360_000)),
    ] {
        assert_eq!(Seconds::from_text(text).unwrap().duration(), span, "{text}");
        let node = Node::Number(text.parse().unwrap());
        assert_eq!(
            Seconds::from_node(&node).unwrap().duration(),
            span,
            "{text}"
        );
    }
}

#[test]
fn seconds_out_of_bounds_are_refused() {
    for text in [
        "-1",
        "-0.001",
        "NaN",
        "inf",
        "-inf",
        "315360000.1",
        "1e300",
        "1e999",
        "2m",
        "",
    ] {
        assert_eq!(
            Seconds::from_text(text).unwrap_err().to_string(),
            format!("expected seconds from 0 to 315360000 (ten years), found `{text}`"),
        );
    }
    for number in [-1.0, f64::NAN, f64::INFINITY, 315_360_001.0] {
        assert!(Seconds::from_node(&Node::Number(number)).is_err());
    }
}

#[test]
fn a_negative_number_in_json_is_named() {
    assert_eq!(
        Seconds::from_node(&Node::Number(-3.0))
            .unwrap_err()
            .to_string(),
        "expected seconds from 0 to 315360000 (ten years), found `-3`",
    );
}

// contract.md, "Command line": "how long a person has; 0 = no limit".
#[test]
fn zero_seconds_mean_no_limit_and_a_tiny_duration_is_a_limit() {
    assert_eq!(Seconds::from_text("0").unwrap().limit(), None);
    let tiny = Seconds::from_text("1e-30").unwrap();
    assert_eq!(tiny.limit(), Some(Duration::from_nanos(1)));
}

#[test]
fn whole_numbers_keep_their_bounds() {
    type Small = Whole<1, 10>;
    for (text, number) in [("1", 1), ("10", 10), ("3.0", 3)] {
        assert_eq!(Small::from_text(text).unwrap().get(), number);
    }
    for text in ["0", "11", "-1", "2.5", "NaN", "inf", "x", ""] {
        assert_eq!(
            Small::from_text(text).unwrap_err().to_string(),
            format!("expected a whole number from 1 to 10, found `{text}`"),
        );
    }
    assert_eq!(Small::from_node(&Node::Number(10.0)).unwrap().get(), 10);
    assert!(Small::from_node(&Node::Number(10.5)).is_err());
    assert!(Small::from_node(&Node::Text("3".to_owned())).is_err());
}

#[test]
fn a_multiplier_is_at_least_one_and_finite() {
    for (text, number) in [("1", 1.0), ("2.5", 2.5), ("1000", 1000.0)] {
        assert_eq!(Multiplier::from_text(text).unwrap().get(), number);
        assert_eq!(
            Multiplier::from_node(&Node::Number(number)).unwrap().get(),
            number
        );
    }
    for text in ["0.99", "0", "-2", "NaN", "inf", "1001"] {
        assert_eq!(
            Multiplier::from_text(text).unwrap_err().to_string(),
            format!("expected a number from 1 to 1000, found `{text}`"),
        );
    }
}

#[test]
fn a_string_is_not_a_number_in_json() {
    assert_eq!(
        Seconds::from_node(&Node::Text("120".to_owned()))
            .unwrap_err()
            .to_string(),
        "expected seconds from 0 to 315360000 (ten years), found a string",
    );
    assert!(Multiplier::from_node(&Node::Bool(true)).is_err());
}

proptest! {
    #[test]
    fn no_number_makes_a_duration_panic(number: f64) {
        if let Ok(seconds) = Seconds::from_node(&Node::Number(number)) {
            prop_assert!(seconds.duration() <= Duration::from_secs(315_360_000));
            prop_assert_eq!(seconds.limit().is_none(), number == 0.0);
        }
    }
}
