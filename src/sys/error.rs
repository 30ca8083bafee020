//! Errors with their causes, in words.

/// An error with its causes, on one line. What a cause of it says again is not said twice.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut said = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if said.last().is_some_and(|last| text.contains(last)) {
            said.pop();
        }
        said.push(text);
        cause = error.source();
    }
    said.join(": ")
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
    fn causes_are_told_in_order_and_none_twice() {
        for (texts, told) in [
            (&["a"][..], "a"),
            (&["a", "b", "c"], "a: b: c"),
            (&["a", "no file", "error 2: no file"], "a: error 2: no file"),
            (&["no file", "no file"], "no file"),
        ] {
            let texts = texts.iter().rev();
            let error = texts.fold(None, |source, text| Some(Box::new(Caused { text, source })));
            assert_eq!(with_causes(&*error.unwrap()), told);
        }
    }
}
