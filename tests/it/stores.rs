//! Offsets that applications keep in other stores, on the real servers.

mod redis;
