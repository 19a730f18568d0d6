//! Offsets that applications keep in other stores, read from real servers.

mod helper;
mod redis;
mod spark;
