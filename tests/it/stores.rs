//! Offsets that applications keep in other stores, read from real servers.

mod database;
mod hbase;
mod import;
mod redis;
mod tutorials;
mod zookeeper;
