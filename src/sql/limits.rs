//! Limits of a statement on text size, planning work, run time and memory, and the code that enforces them.

pub(super) mod functions;
pub(super) mod memory;
pub(super) mod planning;
pub(super) mod reading;
pub(super) mod statement;
pub(super) mod tokens;

pub(super) mod account;
mod guard;
mod holding;
mod operators;
mod width;

pub(super) use operators::Guards;
pub(super) use reading::{Memory, Reading, check};
