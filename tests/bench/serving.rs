//! The performance that clients see on a million committed offsets: export over Flight SQL compared with prebuilt
//! batches, and point queries while other clients run SQL and a writer commits.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::server::FlightSqlService;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt, SqlInfo, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use futures::{StreamExt, TryStreamExt, stream};
use offsetd::model::Millis;
use offsetd::rpc::proto::offset_service_client::OffsetServiceClient;
use offsetd::rpc::proto::string_filter::Match;
use offsetd::rpc::proto::{
    GetActiveConsumerRequest, GetConsumerRequest, GetOffsetRequest, OffsetFilter, QueryRequest, SqlRequest,
    StringFilter, WatchRequest,
};
use offsetd::rpc::{self, Service};
use offsetd::sql::{Engine, Statement};
use offsetd::store::Store;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::measure::{Goal, Report, quantile};
use crate::sql::million;
use crate::synthetic::{self, Committed};

const EXPORT: &str = "SELECT * FROM offsets";
const CLIENTS: usize = 16;
const COMMITS_PER_SECOND: u64 = 50_000;
/// Interval of each client's point queries: a steady rate, as of dashboards and alerts.
const QUERY_INTERVAL: Duration = Duration::from_millis(10);
const MIXED_FOR: Duration = Duration::from_secs(5);

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn serve(router: axum::Router) -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Endpoint::from_shared(format!("http://{address}")).unwrap().tcp_nodelay(true).connect().await.unwrap()
}

fn service(store: &Arc<Store>) -> (Arc<Engine>, axum::Router) {
    let config = synthetic::config();
    let engine = Arc::new(Engine::new(Arc::clone(store), config.sql).unwrap());
    let service = Service::new(Arc::clone(&engine), config.server, config.history.step, CancellationToken::new());
    (engine, rpc::routes(service).unwrap().0)
}

/// A service that returns prebuilt batches.
#[derive(Clone)]
struct Prebuilt(Arc<Vec<RecordBatch>>);

#[tonic::async_trait]
impl FlightSqlService for Prebuilt {
    type FlightService = Self;

    async fn get_flight_info_statement(
        &self,
        _: CommandStatementQuery,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = TicketStatementQuery { statement_handle: "x".into() };
        let ticket = Ticket::new(ticket.as_any().encode_to_vec());
        let info = FlightInfo::new().try_with_schema(&self.0[0].schema()).unwrap();
        Ok(Response::new(info.with_endpoint(FlightEndpoint::new().with_ticket(ticket))))
    }

    async fn do_get_statement(
        &self,
        _: TicketStatementQuery,
        _: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let batches = Arc::clone(&self.0);
        let batches = stream::iter((0..batches.len()).map(move |at| Ok(batches[at].clone())));
        let data = FlightDataEncoderBuilder::new().with_schema(self.0[0].schema()).build(batches);
        Ok(Response::new(Box::pin(data.map_err(Status::from))))
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}

async fn export(channel: &Channel) -> usize {
    let mut client = FlightSqlServiceClient::new(channel.clone());
    let info = client.execute(EXPORT.to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let batches = client.do_get(ticket).await.unwrap();
    batches.map(|batch| batch.unwrap().num_rows()).fold(0, async |sum, rows| sum + rows).await
}

pub(crate) fn exports(report: &mut Report) {
    let runtime = runtime();
    let (engine, router) = service(&million());
    let batches = runtime.block_on(async {
        let statement = Statement { sql: EXPORT.to_owned(), ..Statement::default() };
        let mut answer = engine.run(statement).await.unwrap();
        let mut batches = vec![];
        while let Some(batch) = answer.next().await {
            batches.push(batch.unwrap());
        }
        batches
    });
    let (ours, prebuilt) = runtime.block_on(async {
        let prebuilt = tonic::service::Routes::new(FlightServiceServer::new(Prebuilt(Arc::new(batches))));
        (serve(router).await, serve(prebuilt.into_axum_router()).await)
    });
    let rows = runtime.block_on(export(&prebuilt));
    report.faster(
        "export over Flight SQL vs prebuilt batches",
        Goal::AtLeast(0.8),
        || assert_eq!(runtime.block_on(export(&ours)), rows),
        || assert_eq!(runtime.block_on(export(&prebuilt)), rows),
    );
}

/// Commits at a steady rate until `stop`; returns the number of commits.
fn write(store: &Arc<Store>, stop: &AtomicBool) -> u64 {
    let cluster = &store.clusters()[0];
    let (started, mut written) = (Instant::now(), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        let due = u64::try_from(started.elapsed().as_millis()).unwrap() * COMMITS_PER_SECOND / 1000;
        let now: Millis = store.clock.now();
        let commits: Vec<Committed> = (written..due.min(written + 5000))
            .map(|number| Committed {
                group: format!("service-{}-consumer", number * 7919 % 10_000),
                topic: "live".to_owned(),
                partition: 0,
                offset: i64::try_from(number).unwrap(),
                at: now,
                metadata: "",
            })
            .collect();
        written += u64::try_from(commits.len()).unwrap();
        if commits.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        } else {
            synthetic::commit(store, cluster, &commits, true);
        }
    }
    written
}

/// Returns the latencies of all clients' point queries during this time.
async fn query(channel: &Channel, length: Duration) -> Vec<Duration> {
    let until = Instant::now() + length;
    let clients = (0..CLIENTS).map(|client| {
        let mut stub = OffsetServiceClient::new(channel.clone());
        tokio::spawn(async move {
            let mut latencies = vec![];
            let mut interval = tokio::time::interval(QUERY_INTERVAL);
            let mut number = client;
            while Instant::now() < until {
                interval.tick().await;
                number = (number * 31 + 7) % 10_000;
                let request = QueryRequest {
                    group_id: format!("service-{number}-consumer"),
                    topic: "live".to_owned(),
                    ..QueryRequest::default()
                };
                let start = Instant::now();
                let answer = stub.query(request).await;
                latencies.push(start.elapsed());
                assert!(answer.is_ok() || answer.unwrap_err().code() == tonic::Code::NotFound);
            }
            latencies
        })
    });
    let all = futures::future::join_all(clients.collect::<Vec<_>>()).await;
    all.into_iter().flat_map(Result::unwrap).collect()
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs statements one after another until `stop`.
fn ask(channel: Channel, client: usize, stop: Arc<AtomicBool>, asked: Arc<AtomicU64>) -> Task {
    const STATEMENTS: [&str; 4] = [
        "SELECT topic, sum(lag), max(lag) FROM lag GROUP BY topic ORDER BY 2 DESC LIMIT 20",
        "SELECT * FROM lag WHERE group_id = 'service-77-consumer'",
        "SELECT group_id, lag, status FROM groups ORDER BY lag DESC LIMIT 50",
        "SELECT * FROM offsets LIMIT 1000",
    ];
    Box::pin(async move {
        let mut stub = OffsetServiceClient::new(channel).max_decoding_message_size(64 << 20);
        let mut number = client;
        while !stop.load(Ordering::Relaxed) {
            let statement = STATEMENTS[number % STATEMENTS.len()].to_owned();
            number += 1;
            let mut answer = stub.sql(SqlRequest { statement, ..SqlRequest::default() }).await.unwrap().into_inner();
            while answer.message().await.unwrap().is_some() {}
            asked.fetch_add(1, Ordering::Relaxed);
        }
    })
}

pub(crate) fn mixed(report: &mut Report) {
    if !report.wants("Query p99 with 16 SQL clients") {
        return;
    }
    let store = million();
    // The clients have their own threads and connections.
    let (server, clients) = (runtime(), runtime());
    let (_engine, router) = service(&store);
    let queries = server.block_on(serve(router.clone()));
    let statements = server.block_on(serve(router));
    let (stop_writer, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = {
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop_writer));
        std::thread::spawn(move || write(&store, &stop))
    };
    let started = Instant::now();
    let (mut alone, mut reference) = (vec![], vec![]);
    for _ in 0..3 {
        alone.extend(clients.block_on(query(&queries, MIXED_FOR)));
        let stop = Arc::new(AtomicBool::new(false));
        let ask = |client| clients.spawn(ask(statements.clone(), client, Arc::clone(&stop), Arc::clone(&asked)));
        let tasks: Vec<_> = (0..CLIENTS).map(ask).collect();
        reference.extend(clients.block_on(query(&queries, MIXED_FOR)));
        stop.store(true, Ordering::Relaxed);
        clients.block_on(futures::future::join_all(tasks)).into_iter().for_each(Result::unwrap);
    }
    stop_writer.store(true, Ordering::Relaxed);
    let rate = writer.join().unwrap() as f64 / started.elapsed().as_secs_f64();
    println!(
        "  ({} and {} queries, {} statements, {rate:.0} commits/s)",
        alone.len(),
        reference.len(),
        asked.load(Ordering::Relaxed)
    );
    for (what, part, goal) in [("p50", 0.5, Goal::None), ("p99", 0.99, Goal::AtMost(3.0))] {
        let (alone, reference) =
            (quantile(&mut alone, part).as_secs_f64(), quantile(&mut reference, part).as_secs_f64());
        report.row(
            &format!("Query {what} with 16 SQL clients vs alone"),
            "s",
            reference,
            alone,
            reference / alone,
            goal,
        );
    }
}

/// Requests pages one after another until `stop`.
fn page(channel: Channel, client: usize, stop: Arc<AtomicBool>, asked: Arc<AtomicU64>) -> Task {
    Box::pin(async move {
        let mut stub = OffsetServiceClient::new(channel).max_decoding_message_size(64 << 20);
        let mut number = client;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            // Each page has a different order or filter, so that no earlier call has computed it.
            let search = format!("service-{}", number % 1000);
            let answered = match number % 3 {
                0 => stub.get_offset(GetOffsetRequest { page_size: 10_000, ..Default::default() }).await.map(drop),
                1 => {
                    let request = GetConsumerRequest { search, order_by: "lag desc".to_owned(), ..Default::default() };
                    stub.get_consumer(request).await.map(drop)
                }
                _ => {
                    stub.get_active_consumer(GetActiveConsumerRequest { search, ..Default::default() }).await.map(drop)
                }
            };
            assert!(answered.is_ok() || answered.unwrap_err().code() == tonic::Code::ResourceExhausted);
            asked.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// Point queries next to clients that request pages continuously, and clients that do not read their responses.
pub(crate) fn heavy(report: &mut Report) {
    if !report.wants(&format!("Query p99 with {HEAVY}")) {
        return;
    }
    let store = million();
    let (server, clients) = (runtime(), runtime());
    let (_engine, router) = service(&store);
    let queries = server.block_on(serve(router.clone()));
    let pages = server.block_on(serve(router.clone()));
    let unread: Vec<Channel> = (0..5).map(|_| server.block_on(serve(router.clone()))).collect();
    let (mut alone, mut reference, asked) = (vec![], vec![], Arc::new(AtomicU64::new(0)));
    for _ in 0..3 {
        alone.extend(clients.block_on(query(&queries, MIXED_FOR)));
        let not_read = clients.block_on(async {
            let mut statements = vec![];
            for channel in &unread[1..] {
                let statement = "SELECT * FROM lag".to_owned();
                let mut stub = OffsetServiceClient::new(channel.clone());
                statements.push(stub.sql(SqlRequest { statement, ..SqlRequest::default() }).await.unwrap());
            }
            let request = WatchRequest { include_current: true, ..WatchRequest::default() };
            (statements, OffsetServiceClient::new(unread[0].clone()).watch(request).await.unwrap())
        });
        let stop = Arc::new(AtomicBool::new(false));
        let ask = |client| clients.spawn(page(pages.clone(), client, Arc::clone(&stop), Arc::clone(&asked)));
        let tasks: Vec<_> = (0..CLIENTS).map(ask).collect();
        reference.extend(clients.block_on(query(&queries, MIXED_FOR)));
        stop.store(true, Ordering::Relaxed);
        clients.block_on(futures::future::join_all(tasks)).into_iter().for_each(Result::unwrap);
        drop(not_read);
    }
    println!("  ({} and {} queries, {} pages)", alone.len(), reference.len(), asked.load(Ordering::Relaxed));
    for (what, part, goal) in [("p50", 0.5, Goal::None), ("p99", 0.99, Goal::AtMost(3.0))] {
        let (alone, reference) =
            (quantile(&mut alone, part).as_secs_f64(), quantile(&mut reference, part).as_secs_f64());
        report.row(&format!("Query {what} with {HEAVY} vs alone"), "s", reference, alone, reference / alone, goal);
    }
}

const HEAVY: &str = "16 clients of pages, 4 unread statements and an unread watch";

/// Watches of one group, which all receive each change.
struct Readers {
    runtime: Runtime,
    told: Arc<AtomicU64>,
    all: Arc<tokio::sync::Notify>,
    count: u64,
}

impl Readers {
    async fn watch(channel: Channel, told: Arc<AtomicU64>, all: Arc<tokio::sync::Notify>, count: u64) {
        let exact = StringFilter { r#match: Some(Match::Exact("watched".to_owned())) };
        let filter = OffsetFilter { group_id: Some(exact), ..OffsetFilter::default() };
        let request = WatchRequest { filter: Some(filter), ..WatchRequest::default() };
        let mut changes = OffsetServiceClient::new(channel).watch(request).await.unwrap().into_inner();
        while let Ok(Some(message)) = changes.message().await {
            for _ in message.changes {
                if (told.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(count) {
                    all.notify_one();
                }
            }
        }
    }

    /// Waits until all watches have received a change.
    fn new(store: &Arc<Store>, channels: &[Channel], count: u64) -> Self {
        let (runtime, told, all) = (runtime(), Arc::new(AtomicU64::new(0)), Arc::default());
        let readers = Self { runtime, told, all, count };
        for channel in channels.iter().cycle().take(usize::try_from(count).unwrap()) {
            let (told, all) = (Arc::clone(&readers.told), Arc::clone(&readers.all));
            readers.runtime.spawn(Self::watch(channel.clone(), told, all, count));
        }
        let mut before = u64::MAX;
        while readers.told.swap(0, Ordering::Relaxed) != count || before != count {
            before = count;
            change(store);
            std::thread::sleep(Duration::from_millis(500));
        }
        // Discards a notification of an earlier change.
        let _ = readers
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_millis(1), readers.all.notified()).await });
        readers
    }

    fn tell(&self, store: &Arc<Store>) {
        change(store);
        self.runtime.block_on(self.all.notified());
        assert_eq!(self.told.swap(0, Ordering::Relaxed), self.count);
    }
}

fn change(store: &Arc<Store>) {
    let at = store.clock.now();
    let commit =
        Committed { group: "watched".to_owned(), topic: "live".to_owned(), partition: 0, offset: at, at, metadata: "" };
    synthetic::commit(store, &store.clusters()[0], &[commit], true);
}

/// One change, until the last of a thousand watches has it, compared with one watch.
pub(crate) fn fan_out(report: &mut Report) {
    const WHAT: &str = "Watch: a change, to the last of 1,000 readers vs one reader";
    if !report.wants(WHAT) {
        return;
    }
    let store = million();
    let server = runtime();
    let (_engine, router) = service(&store);
    let channels: Vec<Channel> = (0..10).map(|_| server.block_on(serve(router.clone()))).collect();
    let mut took = [1000, 1].map(|count| {
        let readers = Readers::new(&store, &channels, count);
        let times: Vec<f64> = (0..200)
            .map(|_| {
                let started = Instant::now();
                readers.tell(&store);
                started.elapsed().as_secs_f64()
            })
            .collect();
        readers.runtime.shutdown_timeout(Duration::from_secs(5));
        times
    });
    let [many, one] = &mut took;
    report.pair(WHAT, "s", many, one, Goal::None);
}
