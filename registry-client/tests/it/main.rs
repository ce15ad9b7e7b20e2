//! The registry client against Debian's registry, and against a server that has bad days.

#![expect(
    clippy::print_stderr,
    reason = "a skipped test says so, and the speed is shown"
)]

mod authentication;
mod debian;
mod debian_registry;
mod download;
mod fake;
mod growing;
mod mirrors;
mod resolve;
mod upload;
