//! Offsets that applications keep in other stores, read from real servers.

mod database;
mod hbase;
mod helper;
mod import;
mod redis;
mod spark;
mod tutorials;
mod zookeeper;
