//! The decoder with hostile input: its memory use, and records that were tampered with.

pub(crate) mod allocation;
mod fuzz;
