//! MariaDB: filled by its own client.
