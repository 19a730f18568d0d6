//! Where offsets come from.

pub mod kafka;
