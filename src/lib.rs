//! offsetd answers any question about Kafka consumer offsets, live: it tails the compacted topic
//! `__consumer_offsets`, keeps an exact snapshot in memory, joins it with the log ends, and serves
//! it as SQL tables, gRPC, HTTP and Prometheus metrics.
//!
//! # The map
//!
//! ```text
//! __consumer_offsets ─► source::kafka ─► decode ─► store ─► cut ─┬─► facts ─┬─► sql ─┬─► rpc, cli
//!  (poll threads)        ::listener       pure     a shard per   │   lag    │        └─► web
//!                                                  log partition │          └─► metrics
//! behind transactions ─► source::kafka::overlay ► store ────────┤
//! log ends, topic ids ─► source::kafka::poller ─► store::ends ───┘
//! samples of commits ──► history ───────────────► store::windows, ::samples
//!          of an hour ago ► history::archive ────► Parquet, and back by store::older
//! ```
//!
//! Offsets come from **sources**: each Kafka cluster has its own, a log, and may have others beside it, whose stores are
//! listed again and again ([`source::polled`]). A group is named by (cluster, source, group_id). A source has **shards**,
//! each ordered by **revisions**. A group's records all lie in one partition of `__consumer_offsets`, so a shard of the log
//! is one of its partitions and a revision the offset of a record; a listed source has one shard, and numbers the changes
//! that it finds. A source that does not know who reads takes owners from the group of the same id that the cluster
//! itself keeps; the two stay two groups. Where the log may not be read, the cluster's own source is such a table, filled
//! by Kafka's Admin API (`source::kafka::admin`). The thread that fetched a batch decodes it from borrowed bytes and
//! applies it to its own shards; there is no queue between. Readers take a **cut**: one prefix of each shard and one
//! version of the log ends, immutable, for the whole statement or call.
//!
//! Clusters and sources come and go with the configuration file, which is read again while the server runs ([`app`]). What
//! does not change in it keeps its shards; what is removed goes with its rows, and no deletions are told.
//!
//! # Invariants
//!
//! 1. Decoding never does I/O, never panics, allocates nothing that grows with what a record
//!    claims, and one bad record never stops a partition.
//! 2. A shard has one reader and moves only forward in its revisions; the highest revision wins: a fact below one that
//!    was applied is dropped, whichever reader brings it. The store does not know what a source is: it is written through
//!    [`store::writer::SourceWriter`] alone.
//!    What lies behind an open transaction may be shown early, as the group's coordinator tells it;
//!    once the reader has passed the record, the log alone decides.
//! 3. A query sees one cut. Its two tables never disagree, and `now()` is the cut's time.
//! 4. Unknown is never 0: it is NULL, an unset field or no sample, with the reason beside it.
//! 5. How far a partition is applied is published after a batch is: the larger of last record + 1
//!    and the end-of-partition offset, so that control records, compacted tails and empty
//!    partitions count. A cluster is ready when each reached the end captured once at the start.
//! 6. Memory is bounded by the number of live keys plus fixed budgets.
//! 7. A slow or hostile client costs only itself. All work that walks many rows passes one admission ([`work`]), which is
//!    bounded, fair to each client, and runs on threads that give way to all others. A reader that keeps old data too
//!    long, or too much of it, is ended itself; a watch that lags gets a resync and catches up.
//! 8. A part of the server, or of the only cluster, that ends, ends the process with its name and exit code 70; a part of one
//!    cluster among several, or of a source beside a cluster's own, is started again, and its source shown failing. A
//!    cluster that cannot be reached is shown failing, retried, and its data marked stale; so is one whose log may not be
//!    read, until it is loaded in another way, aside: then all that is shown is replaced in one step, without commits or
//!    deletions. When another
//!    Kafka cluster answers at the same addresses, all that is known of the one before is dropped.
//! 9. Nothing is deleted by guess: tombstones decide, and retention is the broker's business. Where a group has records in
//!    a log partition that its id does not give, coordinators tell whether they are shown ([`store::homes`]). A listing
//!    deletes what it does not show only if it is complete; a group that brokers list no longer, only if its coordinator
//!    knows no offsets of it.
//! 10. Nothing is written to the clusters: no group, no commit, no topic; and to a disk only where a folder is set.
//! 11. What the store of older samples does, or fails to do, is felt by history alone.
//! 12. A file of samples is deleted only after it, and the file that replaces it, was read to its end; what cannot be read
//!     stays. Names of files are claims, and a clock may be wrong.
//!
//! # The modules, in the order of the flow
//!
//! A module uses only those above it; a test reads the `use` lines. `rdkafka` occurs only in
//! [`source::kafka`] and [`demo`], `tonic` only in [`rpc`] and [`cli`], `unsafe` only in
//! `source/kafka/ffi.rs`. A new SQL table is a file in `sql/tables/`, a view an entry of
//! `sql/views/definitions.rs`; a new record type is a schema in [`decode::schema`]; a new offset store is a file in
//! `source/` that implements [`source::polled::Listing`] or [`source::Source`], and a line in the list of kinds there.
//!
//! | module | what |
//! |---|---|
//! | [`model`] | vocabulary: names, ids, times, why something is not known |
//! | [`clock`] | time, injected |
//! | [`call`] | the call that a task works for: its id and its span |
//! | [`decode`] | bytes → typed records |
//! | [`config`] | settings: flag > environment > file > default |
//! | [`work`] | admission of work that walks many rows: turns, threads, cancellation |
//! | [`store`] | shards, log ends, cuts |
//! | [`source`] | where offsets come from |
//! | [`lag`] | commit × log end → lag, time lag, status |
//! | [`history`] | samples of commits and log ends over time: in memory, and older ones in Parquet |
//! | [`facts`] | what is derived from a cut, the same for SQL, RPCs and metrics |
//! | [`status`] | progress and readiness of the server itself |
//! | [`freshness`] | reading one's own writes |
//! | [`audit`] | compares what is shown with what coordinators say |
//! | [`sql`] | text → stream of batches |
//! | [`error`] | public errors and their codes |
//! | [`rpc`], [`metrics`], [`web`] | gRPC, Prometheus, HTTP |
//! | [`access`] | who may ask: tokens, TLS, web origins |
//! | [`listen`] | connections: accepted within limits, with or without TLS, and their requests |
//! | [`app`] | the server: built, run and stopped in order |
//! | [`demo`] | an embedded Kafka with a workload |
//! | [`cli`] | the command line |

pub mod model;
pub mod clock;
pub mod call;
pub mod decode;
pub mod config;
pub mod work;
pub mod store;
pub mod source;
pub mod lag;
pub mod history;
pub mod facts;
pub mod status;
pub mod freshness;
pub mod audit;
pub mod sql;
pub mod error;
pub mod rpc;
pub mod metrics;
pub mod web;
pub mod access;
pub mod listen;
pub mod app;
pub mod demo;
pub mod cli;
