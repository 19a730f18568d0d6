//! The definitions of all settings: one struct per section, one field per setting.
//!
//! A field has the meaning and unit of the setting, the kind of its value (see `value.rs`), its default and the reason
//! for the default. The parser, the environment variables, `check-config` and the example file are derived from it.

use std::{path::PathBuf, time::Duration};

use regex::Regex;

use super::{kafka::Properties, oauth::Oauth, resolve::SectionValues, section::section, value::ReadMode};

section! {
    /// `[server]`: the listener, and limits of the process.
    #[derive(Clone, Debug)]
    pub struct Server {
        /// Address that gRPC, SQL and HTTP are served on, as host:port. Port 0 selects a free port.
        pub listen: String = Address("127.0.0.1:8088"), "other machines can connect only if the operator allows it";
        /// File to which the bound address is written as host:port, once connections are accepted. Empty: none.
        pub address_file: Option<PathBuf> = OptionalPath(""), "only scripts that listen on port 0 need it";
        /// Time after SIGINT or SIGTERM in which running requests may end.
        pub shutdown_grace: Duration = Time("10s"), "less than the 30 s after which Kubernetes kills a container";
        /// Number of changes per log partition that are buffered for watches. A watch that lags further behind gets a
        /// resync instead. All watches share the buffer.
        pub watch_queue: usize = Positive("4096"), "several seconds of a busy log partition; less than 1 MiB per partition";
        /// Maximum number of concurrent watches.
        pub max_watches: usize = Positive("1000"), "each watch filters every change";
        /// Bytes of messages that are buffered for one watch until its client reads them.
        pub watch_bytes: usize = Bytes("64KiB"), "a few hundred changes; 1,000 watches with clients that do not read take less than 256 MiB";
        /// Maximum number of GetOffset, GetConsumer and GetActiveConsumer calls that run concurrently. More calls wait
        /// in a queue.
        pub concurrent_pages: usize = Positive("2"), "each call keeps a core busy, and most calls take milliseconds";
        /// Maximum number of GetHistory calls that run concurrently. More calls wait in a queue.
        pub concurrent_histories: usize = Positive("4"), "such calls may wait for the history store";
        /// Maximum number of scrapes of /metrics that run concurrently. More scrapes wait in a queue.
        pub concurrent_scrapes: usize = Positive("2"), "each scrape keeps a core busy; Prometheus scrapes every 15 s or so";
        /// Maximum number of waiting calls of each of these three kinds. If the queue is full, a call of the client
        /// with the most waiting calls is refused.
        pub call_queue: usize = Count("1000"), "a waiting call takes a few KiB";
        /// Bytes of pages that one client address may leave unread. Above it, further calls from the address wait.
        pub max_unread_bytes: usize = Bytes("32MiB"), "ten of the largest pages";
        /// Maximum duration of each of these calls.
        pub call_timeout: Duration = Time("60s"), "most clients have a shorter timeout";
        /// Time that a client may read nothing while data is retained for it that has changed since: the current
        /// entries of a watch, or a scrape. Then the call ends.
        pub stall_timeout: Duration = Time("60s"), "a client that works reads something every second";
        /// Time after which readiness no longer waits for a failing cluster, unless the cluster is `required`.
        pub ready_after: Duration = Time("30s"), "one unreachable cluster must not keep nine healthy ones out of service";
        /// Number of commits of a cluster that the SQL table `commits` holds. Each log partition has an equal part of
        /// it, one fiftieth.
        pub commits_kept: usize = Positive("1000000"), "a minute of 16,000 commits per second, in at most 100 MiB";
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
        /// File of accepted tokens, one per line, each of 16 to 512 visible ASCII characters. Empty: any client that
        /// can reach the port may read everything.
        pub tokens_file: Option<PathBuf> = OptionalPath(""), "the default address, 127.0.0.1, can be reached only from this machine";
    }
}

section! {
    /// `[server.tls]`: encryption and client certificates. The files are read again when they change.
    #[derive(Clone, Debug, Default)]
    pub struct Tls {
        /// PEM file with the certificate of the server, followed by the intermediate certificates. Empty: no TLS.
        pub cert: Option<PathBuf> = OptionalPath(""), "there is no default certificate";
        /// PEM file with the private key of the certificate.
        pub key: Option<PathBuf> = OptionalPath(""), "as for cert";
        /// PEM file of CA certificates. If set, clients must present a certificate that one of these CAs has signed.
        /// Empty: client certificates are not required.
        pub client_ca: Option<PathBuf> = OptionalPath(""), "few clients have a certificate; a token is sufficient";
    }
}

section! {
    /// `[server.http]`: requests of browsers.
    #[derive(Clone, Debug, Default)]
    pub struct Http {
        /// Origins of other web pages that may send requests and read the responses. Requests from pages of all other
        /// origins get status 403.
        pub allowed_origins: Vec<String> = Origins(""), "otherwise any web page could query this server through the browser of a user with access";
        /// Host names that requests may be sent to, in addition to IP addresses, names of this machine, names without a
        /// dot and names under .localhost, .local, .internal and .svc. Requests to other names get status 421. The name
        /// is not checked if tokens are required, or over HTTP/2 without TLS.
        pub allowed_hosts: Vec<String> = Hosts(""), "otherwise a web page could point its own host name at this server and read the responses (DNS rebinding)";
        /// Origins of other web pages that may show the dashboard in a frame. `?embed=1` shows a page of the dashboard
        /// without its navigation.
        pub frame_ancestors: Vec<String> = Origins(""), "otherwise any web page could show the dashboard in a frame and make users click in it (clickjacking)";
    }
}

section! {
    /// `[server.limits]`: limits on connections and on their requests.
    #[derive(Clone, Debug, Default)]
    pub struct Limits {
        /// Maximum number of connections. One more connection closes the oldest idle one; if none is idle, the new
        /// connection is closed.
        pub max_connections: usize = Positive("2000"), "an idle connection takes 25 KiB, and a client uses one for all its calls";
        /// Maximum number of connections of one client address, or of one /64 network of IPv6, with the same rules as
        /// max_connections.
        pub max_connections_per_address: usize = Positive("1000"), "one address leaves half of the connections to others";
        /// Number of file descriptors that connections leave free. If fewer are free, a new connection closes the
        /// oldest idle one.
        pub reserved_descriptors: usize = Count("64"), "connections to brokers and files of history, tokens and certificates need some";
        /// Maximum time from the start of the connection, or from the first byte of a later request, to the end of the
        /// request header. It includes the TLS handshake and the HTTP/2 preface.
        pub header_timeout: Duration = Time("10s"), "a header is one packet; slow networks need a few round trips";
        /// Maximum size of a request header, at least 8KiB.
        pub max_header_bytes: usize = Bytes("32KiB"), "tokens are short, and cookies of other servers of the same host name fit";
        /// Maximum time to receive the body of a request; for gRPC, the maximum time between two parts of it.
        pub body_timeout: Duration = Time("30s"), "4 MiB at 1 Mbit/s";
        /// Maximum time of a connection without a request.
        pub idle_timeout: Duration = Time("2min"), "longer than the usual scrape interval of Prometheus";
        /// Maximum time in which the client must read the next part of a response. Then the response is aborted.
        pub write_timeout: Duration = Time("60s"), "unread responses take memory";
        /// Maximum number of concurrent HTTP/2 streams of a connection.
        pub http2_max_streams: usize = Positive("100"), "the minimum that RFC 9113 recommends";
        /// Maximum number of HTTP/2 streams of a connection that the client may cancel per second. One more closes the
        /// connection.
        pub http2_max_resets: usize = Positive("100"), "clients cancel a few calls; a rapid reset attack cancels thousands";
        /// Time between two pings of an HTTP/2 connection.
        pub http2_ping_interval: Duration = Time("30s"), "detects disconnected clients while a Watch sends nothing";
        /// Maximum time until the response to a ping. Then the connection is closed.
        pub http2_ping_timeout: Duration = Time("20s"), "the default of gRPC";
        /// Maximum number of concurrent TLS handshakes. One client address gets at most half of them.
        pub max_handshakes: usize = Positive("256"), "a handshake takes a millisecond of CPU time; too many at a time delay all of them";
    }
}

section! {
    /// `[clusters.NAME]`: a Kafka cluster to watch.
    #[derive(Clone, Debug)]
    pub struct Cluster {
        /// Kafka brokers to connect to first, as host:port,host:port.
        pub bootstrap_servers: String = Servers(""), "there is no default; it must be set";
        /// Mode in which committed offsets are read: log reads the topic __consumer_offsets; admin polls Kafka's Admin
        /// API, group by group; auto reads the log, or uses the Admin API if Kafka refuses the log.
        pub mode: ReadMode = Mode("auto"), "the log has all details immediately, but managed Kafka services do not allow it to be read";
        /// Whether readiness waits for this cluster even if it keeps failing.
        pub required: bool = Flag("false"), "one unreachable cluster must not keep nine healthy ones out of service";
        /// Number of threads that read __consumer_offsets. 0: one per core, at most 4.
        pub poll_threads: usize = Count("0"), "more than 4 threads only wait for the network";
        /// Duration of an interruption, of the connection to the cluster or of the process, after which
        /// __consumer_offsets is read from its start again. Must be less than delete.retention.ms of that topic.
        pub reload_after: Duration = Time("12h"), "half of Kafka's default of delete.retention.ms, after which brokers remove tombstones";
        /// Whether topic ids are polled, to detect that a topic was deleted and created again after a commit.
        pub topic_ids: bool = Flag("true"), "commits contain no topic id on brokers up to at least 4.1";
    }
    sections {
        /// The groups that are shown.
        pub groups: NameFilter,
        /// The topics that are shown.
        pub topics: NameFilter,
        /// The use of the Admin API.
        pub admin: Admin,
        /// The login by OAUTHBEARER.
        pub oauth: Oauth,
    }
    with {
        /// The name: 1 to 64 characters of `[A-Za-z0-9_.-]`.
        pub name: String,
        /// The properties of librdkafka that the operator sets.
        pub kafka: Properties,
        /// All values of the section, to detect changes.
        pub values: SectionValues,
    }
}

section! {
    /// `[clusters.NAME.admin]`: the use of Kafka's Admin API in the mode "admin".
    #[derive(Clone, Debug)]
    pub struct Admin {
        /// Maximum number of requests per second to the coordinators of groups.
        pub calls_per_second: usize = Positive("50"), "1,000 groups in a round of 20 s; a small load for any broker";
        /// Time between two listings of the groups.
        pub list_interval: Duration = Time("5s"), "new and deleted groups are seen at a listing, which takes one request per broker";
        /// Longest time between two polls of a group without new commits. It is longer if calls_per_second does
        /// not allow it.
        pub max_interval: Duration = Time("60s"), "groups with new commits are polled every second";
        /// Time between two attempts to read the log, if Kafka has refused it and `mode` is "auto".
        pub log_interval: Duration = Time("10min"), "rights change rarely; once the log can be read, it is used";
    }
}

section! {
    /// `[clusters.NAME.groups]` and `[clusters.NAME.topics]`: the names that are shown.
    #[derive(Clone, Debug, Default)]
    pub struct NameFilter {
        /// Regular expression of the names to include. It matches anywhere in a name; use ^ and $ to match the whole
        /// name. Empty: all names.
        pub allow: Option<Regex> = Pattern(""), "any group and topic may be of interest";
        /// Regular expression of the names to exclude, even if `allow` matches them. Empty: none.
        pub deny: Option<Regex> = Pattern(""), "as for allow";
    }
}

impl NameFilter {
    /// Returns whether the filter includes a name.
    #[must_use]
    pub fn accepts(&self, name: &str) -> bool {
        self.allow.as_ref().is_none_or(|allow| allow.is_match(name))
            && !self.deny.as_ref().is_some_and(|deny| deny.is_match(name))
    }
}

section! {
    /// `[sql]`: limits of a statement and of all statements together.
    #[derive(Clone, Debug)]
    pub struct Sql {
        /// Maximum duration of a statement, including planning.
        pub timeout: Duration = Time("60s"), "dashboards have shorter timeouts, and reports rarely need more";
        /// Time that a client may read no rows while rows are ready. Then the statement is ended, since its snapshot
        /// must be retained meanwhile.
        pub stall_timeout: Duration = Time("60s"), "a client that works reads rows every second";
        /// Memory of replaced data that is retained for statements, calls, scrapes and watches that still read it.
        /// Above it, the reader that retains the most is ended.
        pub max_held_bytes: usize = Bytes("256MiB"), "3 million committed offsets, all of which change during one statement";
        /// Maximum length of a statement in bytes.
        pub max_statement_bytes: usize = Bytes("64KiB"), "statements are shorter, and parsing takes time before any other limit applies";
        /// Maximum number of SQL tokens in a statement.
        pub max_tokens: usize = Positive("20000"), "an IN list of thousands of groups fits";
        /// Maximum number of operators in a statement, such as AND, +, LIKE and WHEN. An IN list counts as one.
        pub max_operators: usize = Positive("500"), "planning a chain of 1,000 operators takes seconds, and one of 20,000 overflows the stack";
        /// Maximum number of UNION, INTERSECT and EXCEPT in a statement.
        pub max_set_operations: usize = Positive("200"), "as for max_operators";
        /// Maximum number of JOINs in a statement.
        pub max_joins: usize = Positive("64"), "there are fewer tables";
        /// Maximum number of tables that a statement reads. A common table expression (WITH) counts each time it is
        /// used.
        pub max_relations: usize = Positive("200"), "each use of a common table expression is a copy, so a chain of them doubles with each step";
        /// Maximum number of nodes of a query plan.
        pub max_plan_nodes: usize = Positive("2000"), "the time of the optimiser grows faster than the plan";
        /// Maximum number of row pairs that a join without an equality may compare.
        pub max_join_product: usize = Positive("1000000000"), "about what one core can compare within the timeout";
        /// Maximum length in bytes of a text that a function returns.
        pub max_value_bytes: usize = Bytes("1MiB"), "the memory that functions allocate is not limited by memory_per_query";
        /// Maximum number of rows of a result.
        pub max_rows: usize = Positive("10000000"), "all committed offsets of a very large site fit";
        /// Maximum size of a result in bytes.
        pub max_bytes: usize = Bytes("1GiB"), "a larger result is rarely intended";
        /// Memory of one statement for sorts, joins and aggregations.
        pub memory_per_query: usize = Bytes("256MiB"), "enough to sort a million rows of lag";
        /// Memory of all statements together. Must not be less than memory_per_query.
        pub memory_total: usize = Bytes("1GiB"), "concurrency times memory_per_query";
        /// Maximum number of statements that run concurrently. More statements wait in a queue.
        pub concurrency: usize = Positive("4"), "more statements at a time are slower than one after the other";
        /// Maximum number of waiting statements. One more is refused.
        pub queue: usize = Count("64"), "a dashboard with many panels sends all its statements together";
        /// Bytes of a result that are buffered until the client reads them.
        pub max_unread_bytes: usize = Bytes("4MiB"), "two usual batches; the statement then waits for its client, and other statements run";
        /// Number of threads of each running statement or call. 0: one per core, at most target_partitions.
        pub threads: usize = Count("0"), "they have a lower priority than the threads that read Kafka and answer point queries and probes";
        /// Number of parts into which a scan is split.
        pub target_partitions: usize = Positive("2"), "statements are short, so that a finer split costs more than it gains";
    }
}

section! {
    /// `[queries.NAME]`: a statement that the operator offers to all users, in the SQL table `queries` and on the SQL page.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct NamedQuery {
        /// One SQL statement. Only its syntax is checked when the configuration is loaded.
        pub statement: String = SqlText(""), "there is no default; it must be set";
        /// Meaning of its rows. Empty: none.
        pub description: String = Text(""), "the name may be sufficient";
    }
    with {
        /// The name: 1 to 64 characters of `[A-Za-z0-9_.-]`.
        pub name: String,
    }
}

section! {
    /// `[lag]`: how often Kafka is polled, and how the status of groups is computed.
    #[derive(Clone, Debug)]
    pub struct Lag {
        /// Time between two polls of the log ends of all partitions.
        pub poll_interval: Duration = Time("1s"), "one request per broker; lag is at most this old";
        /// Time between two polls of the log starts and last stable offsets.
        pub start_interval: Duration = Time("30s"), "they change with retention and transactions, and matter less than the log ends";
        /// Time between two polls of topics and partitions.
        pub metadata_interval: Duration = Time("10s"), "a topic counts as deleted when two polls in a row do not return it";
        /// Time between two polls of topic ids. If a topic is deleted and created again between two polls, and the same
        /// group commits to it, the lag of the old commit may be computed with the new topic until the next poll.
        pub topic_id_interval: Duration = Time("30s"), "one request per poll; topics are rarely created again within this time";
        /// Timeout of a ListOffsets request.
        pub request_timeout: Duration = Time("5s"), "a slow broker delays only its own partitions";
        /// Whether the last few records of a partition are fetched if a group has stopped just before the log end, to
        /// detect trailing transaction markers, which contain nothing to consume. Needs READ on the topic; otherwise
        /// nothing is fetched from it.
        pub look_for_markers: bool = Flag("true"), "a trailing marker would make the lag at least 1 permanently; at most 10 fetches per second";
        /// Time between two samples of a committed offset and its lag.
        pub sample_interval: Duration = Time("10s"), "multiplied by window, it is the time that a problem must last to change the status";
        /// Number of samples from which the status is computed.
        pub window: usize = Positive("10"), "as in Burrow";
        /// Time since its last commit within which a group is active.
        pub active_within: Duration = Time("5min"), "the default of auto.commit.interval.ms is 5 s, but batch jobs commit less often";
    }
}

section! {
    /// `[history]`: samples of committed offsets and log ends over time.
    #[derive(Clone, Debug)]
    pub struct History {
        /// Time between two samples. Must not be less than lag.sample_interval, which determines when samples are
        /// taken.
        pub step: Duration = Time("10s"), "a chart of one hour has room for 360 samples";
        /// Time for which samples are kept in memory.
        pub memory_for: Duration = Time("1h"), "most questions during an incident are about the last hour";
        /// Memory of all samples of a cluster. Above it, the oldest samples are dropped and counted
        /// (`offsetd_history_dropped_samples_total`).
        pub max_bytes: usize = Bytes("256MiB"), "one hour of a million committed offsets, most of which do not change";
        /// Location of the history store, which holds older samples in Parquet: a local directory or S3. Each server
        /// needs its own. Empty: older samples are dropped.
        pub store: String = Folder(""), "a server writes to a disk only if the operator configures it";
        /// Time between two samples in the history store.
        pub store_step: Duration = Time("1min"), "a chart of one day has room for fewer; a crash loses at most the samples of this time";
        /// Time for which the history store keeps samples, in whole days. A day is deleted only if the store also has
        /// samples of more later days than this, since the clock may be wrong.
        pub keep_for: Duration = Time("7days"), "allows a comparison with last week";
        /// Endpoint of S3, for example http://127.0.0.1:9000. Empty: AWS.
        pub s3_endpoint: String = Text(""), "only stores other than AWS need it";
        /// Region of S3. Empty: AWS_REGION.
        pub s3_region: String = Text(""), "the usual AWS variables apply to all settings that are empty";
        /// TOML file with the keys access_key_id, secret_access_key and, if needed, session_token. Empty: the usual AWS
        /// variables, or the role of the machine.
        pub s3_credentials: Option<PathBuf> = OptionalPath(""), "a configuration file should contain no secrets";
    }
}

section! {
    /// `[transactions]`: commits behind open transactions.
    #[derive(Clone, Debug)]
    pub struct Transactions {
        /// Whether commits that lie behind an open transaction are shown.
        pub enabled: bool = Flag("true"), "Kafka's own tools show these commits, too";
        /// Maximum number of requests per second and cluster to the coordinators of groups that commit behind an open
        /// transaction.
        pub calls_per_second: usize = Positive("50"), "a small load for any broker, even if a transaction hangs for a long time";
    }
}

section! {
    /// `[audit]`: compares the shown offsets with those that Kafka's group coordinators return, group by group.
    #[derive(Clone, Debug)]
    pub struct Audit {
        /// Whether the audit runs.
        pub enabled: bool = Flag("true"), "the audit detects an error of offsetd before its users do";
        /// Time between two audits of all groups of a cluster.
        pub interval: Duration = Time("10min"), "a wrong offset stays wrong until it is detected";
        /// Maximum number of requests per second to the coordinators of one cluster.
        pub calls_per_second: usize = Positive("5"), "5,000 groups in a round of 17 minutes, with a small load for the brokers";
    }
    with {
        /// Why the audit cannot run, if it was not turned off by the setting `enabled`.
        pub off_reason: Option<&'static str>,
    }
}
