//! The `approval-proxy` command. All of its code is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(approval_proxy::cli::run_program(
        std::env::args_os(),
        std::env::vars_os(),
    ))
}
