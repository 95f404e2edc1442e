//! The `smongo` program: the server, and tools that work on its data.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
