//! Errors with their causes, as text.

/// Returns an error with its causes on one line. Omits a text that the next cause repeats.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if texts.last().is_some_and(|last| text.contains(last)) {
            texts.pop();
        }
        texts.push(text);
        cause = error.source();
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Caused {
        text: &'static str,
        source: Option<Box<Caused>>,
    }

    #[test]
    fn causes_come_in_order_and_none_twice() {
        for (texts, expected) in [
            (&["a"][..], "a"),
            (&["a", "b", "c"], "a: b: c"),
            (&["a", "no file", "error 2: no file"], "a: error 2: no file"),
            (&["no file", "no file"], "no file"),
        ] {
            let texts = texts.iter().rev();
            let error = texts.fold(None, |source, text| Some(Box::new(Caused { text, source })));
            assert_eq!(with_causes(&*error.unwrap()), expected);
        }
    }
}
