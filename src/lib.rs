//! offsetd answers questions about Kafka consumer offsets, live. It tails the compacted topic `__consumer_offsets`, keeps
//! an exact snapshot of it in memory, joins the snapshot with the log ends, and serves the result as SQL tables, over gRPC
//! and HTTP, and as Prometheus metrics.
//!
//! # The map
//!
//! ```text
//! __consumer_offsets ─► source::kafka ─► decode ─► store ─► cut ─┬─► facts ─┬─► sql ─┬─► rpc, cli
//!  (poll threads)        ::listener       pure     a shard per   │   lag    │        └─► web
//!                                                  log partition │          └─► metrics
//! open transactions ───► source::kafka::overlay ► store ────────┤
//! log ends, topic ids ─► source::kafka::poller ─► store::ends ───┘
//! samples of commits ──► history ───────────────► store::windows, ::samples
//!    older than an hour ► history::parquet_store ► Parquet, read back through store::history_store
//! ```
//!
//! Offsets come from **sources**. Each Kafka cluster has its own source, which is a log, and may have further sources, whose
//! stores are listed periodically ([`source::polled`]). A group is identified by (cluster, source, group_id). A source has
//! **shards**, and each shard is ordered by **revisions**. In the log, a shard is one partition of `__consumer_offsets` and a
//! revision is the offset of a record. A listed source has one shard and numbers the changes that it finds. A source that
//! does not know the owners of partitions takes them from the Kafka group of the same id; the two groups stay separate.
//! Where reading the log is not allowed, the cluster's own source is filled by Kafka's Admin API instead
//! (`source::kafka::admin`). The thread that fetched a batch decodes it from borrowed bytes and applies it to its own
//! shards; there is no queue in between. Readers take a **cut**: one prefix of each shard and one version of the log ends,
//! immutable for the whole statement or call.
//!
//! The configuration file is read again while the server runs, and clusters and sources are added, changed and removed
//! accordingly ([`app`]). An unchanged source keeps its shards. The rows of a removed source disappear without deletion
//! events.
//!
//! # Invariants
//!
//! 1. Decoding does no I/O and never panics. It allocates nothing in proportion to a length that a record merely claims.
//!    One malformed record never stops a partition.
//! 2. A shard has one writer and only moves forward. The highest revision wins: a fact below an applied revision is
//!    dropped, whichever thread brings it. The store knows nothing of Kafka; sources write through
//!    [`store::writer::SourceWriter`] alone. Commits behind an open transaction may be shown early, as the group's
//!    coordinator reports them; once the reader has passed the record, the log alone decides.
//! 3. A query sees one cut. Two tables of one query never disagree, and `now()` is the time of the cut.
//! 4. An unknown value is never 0. It is NULL, an unset field or a missing sample, and a reason is given with it.
//! 5. The applied position of a partition is published after its batch: the larger of last record + 1 and the
//!    end-of-partition offset, so that control records, compacted ends and empty partitions count. A cluster is ready when
//!    each partition has reached the end that was captured once at the start.
//! 6. Memory is bounded by the number of live keys plus fixed budgets.
//! 7. A slow or hostile client costs only itself. All work that walks many rows passes one admission ([`work`]), which is
//!    bounded, fair to each client, and runs on threads of lower priority. A reader that retains old data for too long, or
//!    too much of it, is itself ended. A watch that lags gets a resync and catches up.
//! 8. When a task of the server, or of its only cluster, exits unexpectedly, the process ends with the task's name and exit
//!    code 70. A task of one cluster among several, or of a further source, is restarted, and its source is shown as
//!    failing. An unreachable cluster is shown as failing and retried, and its data is marked stale. So is a cluster whose
//!    log becomes unreadable, until the Admin API has loaded its groups separately; then everything shown is replaced in one
//!    step, without commit or deletion events. When another Kafka cluster answers at the same addresses, all data of the
//!    previous one is dropped.
//! 9. Nothing is deleted by guess: tombstones decide, and retention is the broker's business. Where a group has records in
//!    a log partition that its id does not hash to, its coordinator decides whether they are shown ([`store::homes`]). A
//!    listing deletes what it does not show only if it is complete. A group that brokers no longer list is deleted only if
//!    its coordinator knows no offsets of it.
//! 10. offsetd writes nothing to a cluster: no group, no commit, no topic. It writes to disk only where a directory is
//!     configured.
//! 11. A failure of the history store affects history alone.
//! 12. A sample file is deleted only after it and the file that replaces it were both read to their ends. Unreadable files
//!     stay. File names are not trusted, and clocks may be wrong.
//!
//! # Glossary
//!
//! Code, SQL, protocol, settings and documentation use these words in these meanings.
//!
//! | term | meaning |
//! |---|---|
//! | source | a place where offsets are kept: `__consumer_offsets`, Kafka's Admin API, a Redis server, a Spark checkpoint, a file |
//! | log source, listed source | a source that is tailed; a source that is read as a whole, periodically |
//! | shard | the state of one partition of a source, written by one thread |
//! | revision | the position of a fact in the order of its source: log offset, or number of a found change |
//! | group, member, assignment | as in Kafka; a group is identified by (cluster, source, group_id) |
//! | committed offset | the offset of the next record that a group will read, as stored by its last commit |
//! | commit, deletion, tombstone | a write of a committed offset; its removal; the log record of a removal |
//! | log start, log end | the first offset of a partition; its high watermark |
//! | last stable offset (LSO) | the end of what a `read_committed` consumer may read |
//! | lag | log end minus committed offset, in records; the readable lag counts to the last stable offset |
//! | time lag | the age of the oldest record that the group has not read, in seconds |
//! | coordinator | the broker that manages a group |
//! | transaction overlay | commits shown ahead of an open transaction, as coordinators report them |
//! | trailing marker | a transaction marker at the end of a partition, which is no unread record |
//! | misplaced group | a group in a log partition that its id does not hash to, after the topic has grown |
//! | next-generation group | a consumer (KIP-848), share or streams group |
//! | extras | rare fields of a row, stored apart from it |
//! | event | a fact that a source hands to a shard: commit, deletion, group metadata |
//! | cut | one consistent, immutable view of all shards and log ends |
//! | pin | a reader's hold on the data of a cut, with a deadline |
//! | retained bytes | memory that is kept only for readers |
//! | snapshot | everything that offsetd knows at one time; a cut is a view of it |
//! | freshness | how recent an answer must be: the current snapshot, or one with everything acknowledged before the request |
//! | poll, refresh | a periodic request to a server; one that a caller asked for |
//! | listing, round | one complete read of a listed source; the changes that it made |
//! | request, call | one question to a broker or server; one RPC or HTTP request to offsetd |
//! | client, caller | a program that uses offsetd's API |
//! | statement | one SQL statement |
//! | scan request | the columns, filters and order that a statement wants of a table |
//! | query slot, queue | permission to run a statement; the statements that wait for one |
//! | cancel handle, deadline | the two ways in which running work is ended |
//! | task | a named, supervised part of the server, e.g. "east/listener" |
//! | mode | how a cluster's groups are read: `log` or `admin` |
//! | audit | the comparison of the snapshot with what coordinators report |
//! | sample | committed offset or log end of one partition at one time |
//! | history store | older samples, in Parquet files |
//! | layout | how offsets are written in the keys and values of a foreign store |
//! | scenario | the topics and groups of the demo, and its stores outside Kafka |
//!
//! # The modules, in the order of the flow
//!
//! A module uses only modules above it; a test checks the `use` lines. `rdkafka` occurs only in [`source::kafka`] and
//! [`demo`], `tonic` only in [`rpc`] and [`cli`], `unsafe` only in `source/kafka/ffi.rs`. A new SQL table is a file in
//! `sql/tables/`, a view is an entry in `sql/views/definitions.rs`, and a new record type is a schema in
//! [`decode::schema`]. A new offset store is a file in `source/` that implements [`source::polled::Listing`] or
//! [`source::Source`], and a line in the list of kinds there.
//!
//! | module | purpose |
//! |---|---|
//! | [`model`] | vocabulary: names, ids, times, reasons for unknown values |
//! | [`clock`] | time, injected |
//! | [`call`] | id and tracing span of the call that a task works for |
//! | [`decode`] | bytes → typed records |
//! | [`config`] | settings: flag > environment > file > default |
//! | [`work`] | admission of work that walks many rows: queue, threads, cancellation |
//! | [`s3`] | access to S3 |
//! | [`store`] | shards, log ends, cuts |
//! | [`source`] | the sources of offsets |
//! | [`lag`] | commit × log end → lag, time lag, status |
//! | [`history`] | samples of commits and log ends over time: recent ones in memory, older ones in Parquet |
//! | [`facts`] | values derived from a cut, the same for SQL, RPCs and metrics |
//! | [`status`] | progress and readiness of the server itself |
//! | [`freshness`] | read-your-writes |
//! | [`audit`] | comparison of the snapshot with what coordinators report |
//! | [`sql`] | statement → stream of record batches |
//! | [`error`] | public errors and their codes |
//! | [`rpc`], [`metrics`], [`web`] | gRPC, Prometheus, HTTP |
//! | [`access`] | authentication and encryption: tokens, TLS, web origins |
//! | [`listen`] | accepted connections and their limits |
//! | [`app`] | start, supervision, reload and stop of the server |
//! | [`demo`] | embedded Kafka clusters with a workload |
//! | [`cli`] | the command line |

pub mod model;
pub mod clock;
pub mod call;
pub mod decode;
pub mod config;
pub mod work;
pub mod s3;
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
