//! The decoder as a hostile log would see it: how much memory it takes, and bytes that were tampered with.

pub(crate) mod allocation;
mod fuzz;
