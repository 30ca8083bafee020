//! The measured lines, the same that `bench/mcpload` and `bench/echo` exchange.

/// The sizes of arguments and results, in bytes.
pub(crate) const SIZES: [usize; 2] = [100, 1024 * 1024];

/// Returns a call with an argument of `size` bytes.
pub(crate) fn call(tool: &str, size: usize) -> String {
    let pad = "p".repeat(size);
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"pad":"{pad}","size":100}}}}}}"#
    )
}

/// Returns the answer to it, with `size` bytes of text in lines of 80.
pub(crate) fn result(size: usize) -> String {
    let mut text = (r"x".repeat(79) + r"\n").repeat(size / 80);
    text.push_str(&"x".repeat(size % 80));
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"result":{{"content":[{{"type":"text","text":"{text}"}}]}}}}"#
    )
}
