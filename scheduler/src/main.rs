//! The `egret` command.

use std::process::ExitCode;

use clap::Parser;
use egret_scheduler::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}
