//! The table of settings: a struct for each section, a line for each setting.
//!
//! A line holds the field, its meaning and unit, its kind (see `value.rs`), its default, and
//! why that is the default. The parser, the names in the environment, `check-config` and the example file use it.

use std::{path::PathBuf, time::Duration};

use regex::Regex;

use super::{kafka::Properties, oauth::Oauth, resolve::Values, section::section, value::ReadMode};

section! {
    /// `[server]`: the listener, and limits of the process.
    #[derive(Clone, Debug)]
    pub struct Server {
        /// Address that gRPC, SQL and HTTP are served on, as host:port. Port 0 takes a free one.
        pub listen: String = Address("127.0.0.1:8088"), "other machines reach the server only if the operator allows it";
        /// File that receives the bound address as host:port, once connections are accepted. Empty: none.
        pub address_file: Option<PathBuf> = OptionalPath(""), "only scripts that listen on port 0 need it";
        /// Time that open requests are given to end after SIGINT or SIGTERM.
        pub shutdown_grace: Duration = Time("10s"), "below the 30 s after which Kubernetes kills";
        /// Changes of one log partition that a slow watcher may lag behind before it gets a resync instead. Watchers
        /// share them.
        pub watch_queue: usize = Positive("4096"), "seconds of a busy log partition; less than 1 MiB for each";
        /// Watches at a time.
        pub max_watches: usize = Positive("1000"), "each watch looks at every change";
        /// Bytes of messages that are ready for one watch and not read yet.
        pub watch_bytes: usize = Bytes("64KiB"), "a few hundred changes; 1,000 watches that do not read keep less than 256 MiB";
        /// GetOffset, GetConsumer and GetActiveConsumer calls that run at a time.
        pub concurrent_pages: usize = Positive("2"), "each keeps a core busy, and most are done within milliseconds";
        /// GetHistory calls that run at a time.
        pub concurrent_histories: usize = Positive("4"), "they may wait for the store of samples";
        /// Scrapes of /metrics that run at a time.
        pub concurrent_scrapes: usize = Positive("2"), "each keeps a core busy; Prometheus sends one each 15 s or so";
        /// Calls of each of these kinds that wait for their turn. When there are more, the client with the most waits in vain.
        pub call_queue: usize = Count("1000"), "a waiting call takes a few KiB";
        /// Bytes of pages that one client address may leave unread; its calls wait then.
        pub max_unread_bytes: usize = Bytes("32MiB"), "ten of the largest pages";
        /// Time that each of these calls may take.
        pub call_timeout: Duration = Time("60s"), "callers give up earlier";
        /// Time that a client may read nothing while data is kept for it that has changed since: the current entries of a
        /// watch, or a scrape.
        pub stall_timeout: Duration = Time("60s"), "a client that works reads some every second";
        /// Time after which a cluster that fails no longer holds back readiness, unless it is `required`.
        pub ready_after: Duration = Time("30s"), "one dead cluster must not keep nine healthy ones out of service";
        /// Commits that the SQL table `commits` remembers.
        pub commits_kept: usize = Positive("1000000"), "a minute of 16,000 commits a second, at most 100 MiB";
    }
    sections {
        /// Authentication.
        pub auth: Auth,
        /// Encryption.
        pub tls: Tls,
        /// Requests of browsers.
        pub http: Http,
        /// Limits on connections.
        pub limits: Limits,
    }
}

section! {
    /// `[server.auth]`: authentication. The file is read again when it changes.
    #[derive(Clone, Debug, Default)]
    pub struct Auth {
        /// File of accepted tokens, one a line, each of 16 to 512 visible ASCII characters. Empty: every client that
        /// reaches the port may read everything.
        pub tokens_file: Option<PathBuf> = OptionalPath(""), "only this machine reaches 127.0.0.1";
    }
}

section! {
    /// `[server.tls]`: encryption, and client certificates. The files are read again when they change.
    #[derive(Clone, Debug, Default)]
    pub struct Tls {
        /// PEM file of the server's certificate, followed by those between it and its root. Empty: no TLS.
        pub cert: Option<PathBuf> = OptionalPath(""), "there is no default certificate";
        /// PEM file of the certificate's private key.
        pub key: Option<PathBuf> = OptionalPath(""), "as for cert";
        /// PEM file of certificates: clients must show one that is signed by one of them. Empty: clients need none.
        pub client_ca: Option<PathBuf> = OptionalPath(""), "few clients have one; a token is enough";
    }
}

section! {
    /// `[server.http]`: requests of browsers.
    #[derive(Clone, Debug, Default)]
    pub struct Http {
        /// Origins of other web pages that may send requests and read the responses. Pages of other origins get 403.
        pub allowed_origins: Vec<String> = Origins(""), "a page of any site could query this server through the browser of a user who reaches it";
        /// Host names that requests may be sent to, beside addresses, names of this machine, names without a dot and names
        /// under .localhost, .local, .internal and .svc. Requests to other names get 421. Not checked where tokens are
        /// required, and over HTTP/2 without TLS.
        pub allowed_hosts: Vec<String> = Hosts(""), "a page could point its own name at this server and read the responses";
    }
}

section! {
    /// `[server.limits]`: limits on connections and on the requests that they carry.
    #[derive(Clone, Debug, Default)]
    pub struct Limits {
        /// Connections at a time. One more closes the oldest idle connection; if none is idle, it is closed itself.
        pub max_connections: usize = Positive("2000"), "an idle connection takes 25 KiB, and clients share one for all their calls";
        /// Connections of one client address (of an IPv6 address: of its /64 network) at a time, as max_connections.
        pub max_connections_per_address: usize = Positive("1000"), "one address leaves half of the connections to others";
        /// File descriptors that connections leave free. Below it, a new connection closes the oldest idle one.
        pub reserved_descriptors: usize = Count("64"), "connections to brokers, files of history, tokens and certificates need some";
        /// Time from the connection, or from the first byte of a later request, to the end of the request's header. A
        /// TLS handshake and the preface of HTTP/2 count.
        pub header_timeout: Duration = Time("10s"), "a header is one packet; slow networks need a few round trips";
        /// Bytes of a request's header. At least 8KiB.
        pub max_header_bytes: usize = Bytes("32KiB"), "tokens are short, and cookies of other servers fit";
        /// Time that the body of a request may take; of a gRPC call, the time between two parts of it.
        pub body_timeout: Duration = Time("30s"), "4 MiB at 1 Mbit/s";
        /// Time that a connection may be without a request.
        pub idle_timeout: Duration = Time("2min"), "longer than the usual scrape interval of Prometheus";
        /// Time in which a client must take the next part of a response. Then the response ends.
        pub write_timeout: Duration = Time("60s"), "memory is kept for what is not read";
        /// HTTP/2 streams of a connection at a time.
        pub http2_max_streams: usize = Positive("100"), "the least that RFC 9113 recommends";
        /// HTTP/2 streams of a connection that the client may cancel in a second. One more closes the connection.
        pub http2_max_resets: usize = Positive("100"), "clients cancel a few calls; an attack cancels thousands";
        /// Time between two pings of an HTTP/2 connection.
        pub http2_ping_interval: Duration = Time("30s"), "finds clients that are gone while a Watch sends nothing";
        /// Time in which a ping must be answered.
        pub http2_ping_timeout: Duration = Time("20s"), "as in gRPC";
        /// TLS handshakes at a time; one client address takes at most half of them.
        pub max_handshakes: usize = Positive("256"), "a handshake takes a millisecond of CPU; more at a time make all of them slow";
    }
}

section! {
    /// `[clusters.NAME]`: a Kafka cluster to watch.
    #[derive(Clone, Debug)]
    pub struct Cluster {
        /// Brokers to start from, as host:port,host:port.
        pub bootstrap_servers: String = Servers(""), "there is no default: it must be given";
        /// How committed offsets are read: log, by the topic __consumer_offsets; admin, by Kafka's Admin API, group by
        /// group; auto, by the log, and by the Admin API where the log may not be read.
        pub mode: ReadMode = Mode("auto"), "the log tells everything at once; managed Kafka hides it";
        /// Readiness waits for this cluster however long it fails.
        pub required: bool = Flag("false"), "one dead cluster must not keep nine healthy ones out of service";
        /// Threads that read __consumer_offsets. 0: as many as cores, at most 4.
        pub poll_threads: usize = Count("0"), "more than 4 wait for the network";
        /// Time without reading, since the cluster was out of reach or offsetd stood still, after which
        /// __consumer_offsets is read from its start again. Below delete.retention.ms of that topic.
        pub reload_after: Duration = Time("12h"), "half of Kafka's default: brokers forget tombstones after it";
        /// Ask brokers for topic ids, to tell a recreated topic from the one that was committed to.
        pub topic_ids: bool = Flag("true"), "commits carry no topic id on brokers up to at least 4.1";
    }
    sections {
        /// Groups to take in.
        pub groups: NameFilter,
        /// Topics to take in.
        pub topics: NameFilter,
        /// How the Admin API is used.
        pub admin: Admin,
        /// How to log in by OAUTHBEARER.
        pub oauth: Oauth,
    }
    with {
        /// `[A-Za-z0-9_.-]`, 1 to 64 of them.
        pub name: String,
        /// Properties of librdkafka, beyond those that offsetd sets itself.
        pub kafka: Properties,
        /// All values, to tell whether any has changed.
        pub values: Values,
    }
}

section! {
    /// `[clusters.NAME.admin]`: how Kafka's Admin API is used where committed offsets are read by it.
    #[derive(Clone, Debug)]
    pub struct Admin {
        /// Requests a second to the coordinators of groups.
        pub calls_per_second: usize = Positive("50"), "1,000 groups in a round of 20 s; a small broker does not notice it";
        /// Time between two listings of the groups.
        pub list_interval: Duration = Time("5s"), "one request a broker; new and deleted groups are seen then";
        /// The longest time between two looks at a group that does not move; longer where calls_per_second does not allow
        /// it.
        pub max_interval: Duration = Time("60s"), "a group that moves is looked at every second";
        /// Time between two tries to read the log, where it was refused and `mode` is "auto".
        pub log_interval: Duration = Time("10min"), "rights change seldom; once it can be read, it is";
    }
}

section! {
    /// `[clusters.NAME.groups]` and `.topics`: which names are taken in.
    #[derive(Clone, Debug, Default)]
    pub struct NameFilter {
        /// Only names that match this regular expression (anywhere; anchor it with ^ and $). Empty: all.
        pub allow: Option<Regex> = Pattern(""), "every group and topic may be of interest";
        /// No names that match this regular expression, whatever `allow` says. Empty: none.
        pub deny: Option<Regex> = Pattern(""), "as for allow";
    }
}

impl NameFilter {
    /// Returns whether the name is taken in.
    #[must_use]
    pub fn accepts(&self, name: &str) -> bool {
        self.allow.as_ref().is_none_or(|allow| allow.is_match(name))
            && !self.deny.as_ref().is_some_and(|deny| deny.is_match(name))
    }
}

section! {
    /// `[sql]`: limits of one statement and of all together.
    #[derive(Clone, Debug)]
    pub struct Sql {
        /// Time that a statement may take, planning included.
        pub timeout: Duration = Time("60s"), "dashboards give up earlier, reports rarely need more";
        /// Time that a reader may take no rows for while a statement has some. It reads an old state meanwhile, which
        /// must be kept for it.
        pub stall_timeout: Duration = Time("60s"), "a reader that works takes some every second";
        /// Memory of data that was replaced and is retained for statements, calls, scrapes and watches that still read it.
        /// Beyond it, the one that retains the most is ended.
        pub max_held_bytes: usize = Bytes("256MiB"), "all of 3 million committed offsets, changed under one statement";
        /// Length of a statement.
        pub max_statement_bytes: usize = Bytes("64KiB"), "people write less, and parsing costs before anything can be checked";
        /// SQL tokens in a statement.
        pub max_tokens: usize = Positive("20000"), "a list of thousands of groups still fits";
        /// Operators of a statement: AND, +, LIKE, WHEN and the like. A list after IN is one.
        pub max_operators: usize = Positive("500"), "planning a chain of 1,000 takes seconds, of 20,000 all of the stack";
        /// UNION, INTERSECT and EXCEPT in a statement.
        pub max_set_operations: usize = Positive("200"), "as for max_operators";
        /// JOINs in a statement.
        pub max_joins: usize = Positive("64"), "there are not that many tables";
        /// Tables that a statement reads. A name of WITH counts again wherever it is used.
        pub max_relations: usize = Positive("200"), "each use of a name of WITH is a copy: a chain of such names doubles with each step";
        /// Steps of a plan.
        pub max_plan_nodes: usize = Positive("2000"), "the optimiser takes more than linear time";
        /// Pairs of rows that a join without an equality may compare.
        pub max_join_product: usize = Positive("1000000000"), "about what a core compares within the timeout";
        /// Length of a text that a function makes.
        pub max_value_bytes: usize = Bytes("1MiB"), "functions allocate where no budget sees it";
        /// Rows of an answer.
        pub max_rows: usize = Positive("10000000"), "every committed offset of a very large site still fits";
        /// Bytes of an answer.
        pub max_bytes: usize = Bytes("1GiB"), "a larger answer is rarely what the client meant";
        /// Memory of one statement (sorts, joins, groupings).
        pub memory_per_query: usize = Bytes("256MiB"), "sorts a million rows of lag";
        /// Memory of all statements together. Not below memory_per_query.
        pub memory_total: usize = Bytes("1GiB"), "concurrency times memory_per_query";
        /// Statements that run at a time.
        pub concurrency: usize = Positive("4"), "more are slower together than one after the other";
        /// Statements that wait for their turn; one more is refused.
        pub queue: usize = Count("64"), "a dashboard with many panels asks all at once";
        /// Bytes of an answer that are ready and not read yet.
        pub max_unread_bytes: usize = Bytes("4MiB"), "two batches of usual rows; the statement waits for its client then, and others run";
        /// Threads of each statement or call that runs. 0: as many as cores, at most target_partitions.
        pub threads: usize = Count("0"), "they take what is idle: those that read Kafka and answer point queries and probes go first";
        /// Parts that a scan is split into.
        pub target_partitions: usize = Positive("2"), "statements are short: splitting finer costs more than it gains";
    }
}

section! {
    /// `[lag]`: how often Kafka is polled, and what lag is judged by.
    #[derive(Clone, Debug)]
    pub struct Lag {
        /// Time between two polls of the log ends of all partitions.
        pub poll_interval: Duration = Time("1s"), "one request a broker; lag is as fresh as this";
        /// Time between two polls of log starts and last stable offsets.
        pub start_interval: Duration = Time("30s"), "they move with retention, not with traffic";
        /// Time between two polls of topics and partitions.
        pub metadata_interval: Duration = Time("10s"), "a topic counts as deleted after two polls that miss it";
        /// Time between two polls of topic ids. A topic that is deleted and made again in between, and committed to
        /// by the same group, may show the lag of the old commit against the new topic until the next poll.
        pub topic_id_interval: Duration = Time("30s"), "one request; topics are seldom made again within it";
        /// Timeout of a ListOffsets request.
        pub request_timeout: Duration = Time("5s"), "a slow broker makes its own partitions late, no others";
        /// Fetch the last few records of a partition where a group has stopped just before the end: a transaction marker
        /// there holds nothing to read. Needs READ on the topic; without it, no record of the topic is fetched.
        pub look_for_markers: bool = Flag("true"), "behind a marker lag is 1 for ever; at most 10 fetches a second, one for each end";
        /// Time between two samples of a committed offset and its lag.
        pub sample_interval: Duration = Time("10s"), "with window: how long trouble must last to be called so";
        /// Samples that the status is judged by.
        pub window: usize = Positive("10"), "as in Burrow";
        /// Time since its last commit within which a group counts as active.
        pub active_within: Duration = Time("5min"), "the default of auto.commit.interval.ms is 5 s; batch jobs take longer";
    }
}

section! {
    /// `[history]`: how committed offsets and log ends moved.
    #[derive(Clone, Debug)]
    pub struct History {
        /// Time between two samples. Not less than lag.sample_interval, which decides when any are taken.
        pub step: Duration = Time("10s"), "a chart of an hour has room for 360 samples";
        /// Time that samples are kept in memory for.
        pub memory_for: Duration = Time("1h"), "most questions during an incident are about the last hour";
        /// Memory of all samples of a cluster. Beyond it the oldest are dropped, and counted
        /// (`offsetd_history_dropped_samples_total`).
        pub max_bytes: usize = Bytes("256MiB"), "an hour of a million committed offsets, most of which do not move";
        /// Folder of the history store: older samples as Parquet, local or on S3. Each server needs one of its own. Empty:
        /// older samples are dropped.
        pub store: String = Folder(""), "a server writes nothing to a disk unless it is told to";
        /// Time between two samples in the store.
        pub store_step: Duration = Time("1min"), "a chart of a day has room for fewer; a crash loses at most this";
        /// Time that the store keeps samples for, in whole days. A day is kept longer while the store has samples of fewer
        /// later days: the clock may be wrong.
        pub keep_for: Duration = Time("7days"), "last week beside this one";
        /// Endpoint of S3, as http://127.0.0.1:9000. Empty: that of AWS.
        pub s3_endpoint: String = Text(""), "only other stores than that of AWS need it";
        /// Region of S3. Empty: that of AWS_REGION.
        pub s3_region: String = Text(""), "the usual variables of AWS hold for what is not set here";
        /// File with lines access_key_id, secret_access_key and, if need be, session_token, as TOML. Empty: the usual
        /// variables of AWS, or the role of the machine.
        pub s3_credentials: Option<PathBuf> = OptionalPath(""), "a configuration file holds no secrets";
    }
}

section! {
    /// `[transactions]`: commits behind open transactions.
    #[derive(Clone, Debug)]
    pub struct Transactions {
        /// Show commits that lie behind an open transaction.
        pub enabled: bool = Flag("true"), "Kafka's own tools show these commits, too";
        /// Requests a second, for each cluster, to the coordinators of groups that commit behind an open transaction.
        pub calls_per_second: usize = Positive("50"), "a small broker does not notice them, however long a transaction hangs";
    }
}

section! {
    /// `[audit]`: compares what is shown with what Kafka's coordinators say, group by group.
    #[derive(Clone, Debug)]
    pub struct Audit {
        /// Audit at all.
        pub enabled: bool = Flag("true"), "the audit finds an error of offsetd before its users do";
        /// Time between two rounds over all groups of a cluster.
        pub interval: Duration = Time("10min"), "differences last, if there are any";
        /// Requests a second to the coordinators of one cluster.
        pub calls_per_second: usize = Positive("5"), "5,000 groups in a round of 17 minutes, unnoticed by brokers";
    }
}
