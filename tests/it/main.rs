//! The single integration test binary: tests of the real binary, of the mock cluster, and of real Kafka.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking; the exceptions in .clippy.toml apply only to functions marked as tests"
)]

mod access;
mod bounds;
mod connections;
mod consistency;
mod cookbook;
mod decode;
mod errors;
mod grafana;
mod hostile;
mod http;
mod kafka;
mod language;
mod layers;
mod live;
#[path = "../mock.rs"]
mod mock;
#[path = "../synthetic.rs"]
mod synthetic;
mod memory;
mod overflow;
mod process;
mod program;
mod prompt;
mod pushdown;
mod replan;
#[path = "../recorded.rs"]
mod recorded;
mod rpc;
mod script;
mod server;
mod sources;
mod sql;
mod stores;
mod support;
mod types;
