//! The cost of reading a line's envelope.

use approval_proxy::mcp::json::line_text;
use approval_proxy::mcp::message::{peek_result_id, read_line, read_message};
use divan::{Bencher, black_box};

use crate::lines::{SIZES, call, result};

/// Everything that is read of a client's line before a decision.
#[divan::bench(name = "line_text + read_line, call of bytes", args = SIZES, sample_size = 100)]
fn line(bencher: Bencher<'_, '_>, size: usize) {
    let line = call("get_echo", size);
    bencher.bench_local(|| {
        let text = line_text(black_box(line.as_bytes())).unwrap();
        black_box(read_line(text).unwrap());
    });
}

#[divan::bench(name = "read_message, call of bytes", args = SIZES, sample_size = 100)]
fn message(bencher: Bencher<'_, '_>, size: usize) {
    let line = call("get_echo", size);
    bencher.bench_local(|| {
        black_box(read_message(black_box(&line)).unwrap());
    });
}

/// Everything that is read of most lines from the upstream.
#[divan::bench(name = "peek_result_id, result of bytes", args = SIZES, sample_size = 1_000)]
fn peek(bencher: Bencher<'_, '_>, size: usize) {
    let line = result(size);
    bencher.bench_local(|| {
        black_box(peek_result_id(black_box(line.as_bytes())).unwrap());
    });
}
