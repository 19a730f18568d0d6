//! The whole server in the process of the test, on a mock Kafka that the test writes to.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use offsetd::app::{App, AppError, Reload};
use offsetd::clock::Clock;
use offsetd::config::{Config, ConfigErrors, Flags, Layers, LoadContext, LoadedConfig};
use offsetd::demo::cluster::adapt_config;
use offsetd::rpc::proto::offset_service_client::OffsetServiceClient;
use offsetd::rpc::proto::{
    GetOffsetRequest, GetStatusResponse, OffsetEntry, QueryRequest, QueryResponse, SqlFormat, SqlRequest, SqlSchema,
    SqlStats, sql_response::Message,
};
use offsetd::{source, sql};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::mock::{Commit, GroupDescription, Member, MockKafka, assignment, subscription};
use crate::process::wait_for;

/// Generous, for a debug build next to other tests on two cores.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Waits until the condition holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, LIMIT, || if holds() { Ok(()) } else { Err("not yet".to_owned()) });
}

pub(crate) type Client = OffsetServiceClient<Channel>;

/// Starts a mock Kafka of one broker, with `__consumer_offsets` of this many partitions.
pub(crate) fn kafka(log_partitions: i32) -> MockKafka {
    let kafka = MockKafka::start(1).unwrap();
    kafka.create_offsets_topic(log_partitions).unwrap();
    kafka
}

/// The settings of a [`Lab`]'s server.
pub(crate) struct Setup {
    /// Settings by their environment variables, without the prefix `OFFSETD_`.
    pub(crate) settings: Vec<(&'static str, String)>,
    pub(crate) clock: Clock,
    /// Configuration file, which replaces the single cluster of the lab.
    pub(crate) config_file: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        let quick = [
            ("LAG_POLL_INTERVAL", "100ms"),
            ("LAG_START_INTERVAL", "200ms"),
            ("LAG_METADATA_INTERVAL", "200ms"),
            ("LAG_REQUEST_TIMEOUT", "2s"),
            ("LAG_SAMPLE_INTERVAL", "200ms"),
            ("SQL_THREADS", "2"),
        ];
        let settings = quick.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        Self { settings, clock: Clock::system(), config_file: None }
    }
}

impl Setup {
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.to_owned()));
        self
    }

    /// Starts the server, without waiting until it is ready.
    pub(crate) fn start(self, kafka: &MockKafka) -> Lab {
        let load = self.loader(kafka.bootstrap_servers());
        let loaded = load(None).unwrap_or_else(|errors| panic!("{errors}"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stop = CancellationToken::new();
        let build = App::build(loaded.config, self.clock.clone(), stop.clone());
        let mut app = runtime.block_on(build).unwrap_or_else(|error| panic!("{error}"));
        if let Some(path) = self.config_file {
            let text = std::fs::read_to_string(&path).unwrap();
            let load = Arc::new(move |text: &str| load(Some(text)));
            app = app.with_reload(Reload { path, text, effective: loaded.effective, load });
        }
        let address = app.address();
        let app = runtime.spawn(app.run());
        // With small windows, a client that stops reading blocks the server soon.
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().initial_stream_window_size(16_384);
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        let client = OffsetServiceClient::new(channel.clone()).max_decoding_message_size(64 << 20);
        let http =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(LIMIT)).build().new_agent();
        let lab = Lab {
            kafka: kafka.clone(),
            writer: kafka.writer(),
            clock: self.clock,
            address,
            client,
            channel,
            http,
            stop,
            app: Some(app),
            runtime: Some(runtime),
        };
        until("the server to answer", || lab.try_get("/livez").is_ok());
        lab
    }

    /// Starts the server and waits until it has loaded.
    pub(crate) fn ready(self, kafka: &MockKafka) -> Lab {
        let lab = self.start(kafka);
        lab.wait_ready();
        lab
    }

    /// Returns a function that builds the configuration, from the text of the file if there is one.
    fn loader(&self, bootstrap_servers: &str) -> impl Fn(Option<&str>) -> Result<LoadedConfig, ConfigErrors> + use<> {
        let env: BTreeMap<String, String> =
            self.settings.iter().map(|(name, value)| (format!("OFFSETD_{name}"), value.clone())).collect();
        let own = self.config_file.is_none().then(|| bootstrap_servers.to_owned());
        let flags = Flags {
            bootstrap_servers: own,
            config: self.config_file.clone(),
            listen: Some("127.0.0.1:0".to_owned()),
            ..Flags::default()
        };
        move |text| {
            let context = LoadContext { kinds: &source::kinds(), check_statement: Some(sql::check_syntax), file: text };
            let mut loaded = Config::load_with(Layers { flags: &flags, env: &env, check_property: None }, context)?;
            adapt_config(&mut loaded.config, "10");
            for cluster in &mut loaded.config.clusters {
                cluster.kafka.insert("reconnect.backoff.max.ms".to_owned(), "200".to_owned());
            }
            Ok(loaded)
        }
    }
}

/// A server, the Kafka that it reads, and clients.
pub(crate) struct Lab {
    pub(crate) kafka: MockKafka,
    pub(crate) writer: MockKafka,
    pub(crate) clock: Clock,
    address: SocketAddr,
    client: Client,
    channel: Channel,
    http: ureq::Agent,
    stop: CancellationToken,
    app: Option<JoinHandle<Result<(), AppError>>>,
    runtime: Option<Runtime>,
}

/// Status, headers and body of a response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn read(mut answer: ureq::http::Response<ureq::Body>) -> Self {
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.body_mut().with_config().limit(64 << 20).read_to_vec().unwrap();
        Self { status, headers, body }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A complete answer of the Sql call in JSON.
#[derive(Debug)]
pub(crate) struct SqlAnswer {
    pub(crate) schema: SqlSchema,
    pub(crate) rows: Vec<Value>,
    pub(crate) stats: SqlStats,
}

impl Lab {
    /// Starts a ready server with short intervals, on a Kafka with this many log partitions.
    pub(crate) fn new(log_partitions: i32) -> Self {
        Setup::default().ready(&kafka(log_partitions))
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.as_ref().unwrap().block_on(future)
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn http(&self) -> &ureq::Agent {
        &self.http
    }

    fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        self.http.get(self.url(path)).call().map(Answer::read)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap()
    }

    pub(crate) fn wait_ready(&self) {
        wait_for("/readyz to return 200", LIMIT, || {
            let answer = self.get("/readyz");
            if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }

    /// Commits an offset now, without waiting until it is visible.
    pub(crate) fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        self.writer.commit(&Commit::new(group, topic, partition, offset, self.clock.now())).unwrap();
    }

    /// Waits until the server has applied everything that was written.
    pub(crate) fn settle(&self) {
        self.writer.flush().unwrap();
        self.block_on(async {
            let request = GetOffsetRequest { page_size: 1, freshness: 2, ..GetOffsetRequest::default() };
            let mut request = tonic::Request::new(request);
            request.set_timeout(LIMIT);
            self.client().get_offset(request).await.unwrap();
        });
    }

    pub(crate) fn query(&self, group: &str, topic: &str, partition: i32) -> Result<QueryResponse, Status> {
        let request =
            QueryRequest { group_id: group.into(), topic: topic.into(), partition, ..QueryRequest::default() };
        self.block_on(self.client().query(request)).map(tonic::Response::into_inner)
    }

    pub(crate) fn entry(&self, group: &str, topic: &str, partition: i32) -> OffsetEntry {
        self.query(group, topic, partition).unwrap().entry.unwrap()
    }

    /// Waits for an entry that `accepts` accepts.
    pub(crate) fn wait_entry(
        &self,
        (group, topic, partition): (&str, &str, i32),
        accepts: impl Fn(&OffsetEntry) -> bool,
    ) -> OffsetEntry {
        wait_for("an entry", LIMIT, || {
            let answer = self.query(group, topic, partition).map_err(|status| status.to_string())?;
            let entry = answer.entry.unwrap();
            if accepts(&entry) { Ok(entry) } else { Err(format!("{entry:?}")) }
        })
    }

    pub(crate) fn status(&self) -> GetStatusResponse {
        self.block_on(self.client().get_status(offsetd::rpc::proto::GetStatusRequest {})).unwrap().into_inner()
    }

    /// Runs a statement to its end.
    pub(crate) fn try_sql(&self, request: SqlRequest) -> Result<SqlAnswer, Status> {
        self.block_on(async {
            let request = SqlRequest { format: SqlFormat::Json.into(), ..request };
            let mut stream = self.client().sql(request).await?.into_inner();
            let (mut schema, mut rows, mut stats) = (None, vec![], None);
            while let Some(message) = stream.message().await? {
                assert!(stats.is_none(), "stats come last");
                match message.message.unwrap() {
                    Message::Schema(first) => assert!(schema.replace(first).is_none() && rows.is_empty()),
                    Message::Batch(batch) => {
                        assert_eq!(usize::try_from(batch.rows).unwrap(), batch.json_rows.len());
                        rows.extend(batch.json_rows.iter().map(|row| serde_json::from_str::<Value>(row).unwrap()));
                    }
                    Message::Stats(last) => stats = Some(last),
                }
            }
            Ok(SqlAnswer { schema: schema.unwrap(), rows, stats: stats.unwrap() })
        })
    }

    /// Runs a statement in the background until it is aborted; returns once it has begun.
    pub(crate) fn spawn_sql(&self, request: SqlRequest) -> JoinHandle<()> {
        let mut answer = self.block_on(self.client().sql(request)).unwrap().into_inner();
        self.block_on(answer.message()).unwrap().expect("the schema");
        self.runtime.as_ref().unwrap().spawn(async move { while let Ok(Some(_)) = answer.message().await {} })
    }

    pub(crate) fn sql(&self, statement: &str) -> SqlAnswer {
        let request = SqlRequest { statement: statement.to_owned(), ..SqlRequest::default() };
        self.try_sql(request).unwrap_or_else(|status| panic!("{statement}\n{status}"))
    }

    /// Returns the code and the text with which a statement fails.
    pub(crate) fn sql_error(&self, statement: &str) -> (Code, String) {
        let request = SqlRequest { statement: statement.to_owned(), ..SqlRequest::default() };
        let status = self.try_sql(request).expect_err(statement);
        (status.code(), status.message().to_owned())
    }

    /// Requests a stop as a signal would; running streams continue to their end.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Stops, and asserts that the stop was clean.
    pub(crate) fn stop_cleanly(mut self) {
        self.ask_to_stop();
        let app = self.app.take().unwrap();
        let ended = self.block_on(async { tokio::time::timeout(LIMIT, app).await });
        ended.expect("the server ends").expect("no panic").expect("a clean stop");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
        let runtime = self.runtime.take().unwrap();
        if let Some(app) = self.app.take() {
            // Stops before Kafka does, since its threads would log errors.
            let _ = runtime.block_on(async { tokio::time::timeout(LIMIT, app).await });
        }
        runtime.shutdown_background();
    }
}

/// Topic and partitions.
pub(crate) type Assigned<'a> = (&'a str, &'a [i32]);

/// Returns a classic group of the consumer protocol, with members that own these partitions.
pub(crate) fn stable_group(group: &str, generation: i32, members: &[(&str, &[Assigned<'_>])]) -> GroupDescription {
    let member = |(number, (client, assigned)): (usize, &(&str, &[Assigned<'_>]))| {
        let topics: Vec<&str> = assigned.iter().map(|(topic, _)| *topic).collect();
        Member {
            id: format!("{client}-id"),
            instance_id: (number == 0).then(|| format!("{client}-instance")),
            client_id: (*client).to_owned(),
            client_host: format!("/10.0.0.{}", number + 1),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription: subscription(3, &topics),
            assignment: assignment(3, assigned),
        }
    };
    let members: Vec<Member> = members.iter().enumerate().map(member).collect();
    GroupDescription {
        group: group.to_owned(),
        protocol_type: "consumer".to_owned(),
        generation,
        protocol: (!members.is_empty()).then(|| "range".to_owned()),
        leader: members.first().map(|leader| leader.id.clone()),
        at: 1_700_000_000_000,
        members,
    }
}
