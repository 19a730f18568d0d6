//! Offsets that applications keep in other stores, read from real servers.

mod database;
mod redis;
