//! A slow client, or one that requests much data, delays no other client.

use std::time::Duration;

use offsetd::rpc::proto::offset_service_client::OffsetServiceClient;
use offsetd::rpc::proto::{
    GetActiveConsumerRequest, GetConsumerRequest, GetOffsetRequest, QueryRequest, SqlRequest, SqlResponse,
    WatchRequest, WatchResponse,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

use crate::mock::MockKafka;
use crate::support::{Client, LIMIT, Lab, Setup, kafka, until};

const GROUPS: usize = 200;
const PARTITIONS: i32 = 60;

fn group(number: usize) -> String {
    format!("group-{number:03}")
}

fn commit(lab: &Lab, offset: i64) {
    for number in 0..GROUPS {
        (0..PARTITIONS).for_each(|partition| lab.commit(&group(number), "orders", partition, offset));
    }
    lab.settle();
}

/// Starts a server with many offsets.
fn filled(setup: Setup, kafka: &MockKafka) -> Lab {
    let lab = setup.ready(kafka);
    commit(&lab, 5);
    lab
}

fn clients() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Connects a client with a small window: it buffers a few KiB that the application has not read.
async fn connect(lab: &Lab) -> Client {
    let endpoint = Endpoint::from_shared(lab.url("")).unwrap().initial_stream_window_size(16_384);
    OffsetServiceClient::new(endpoint.connect().await.unwrap()).max_decoding_message_size(64 << 20)
}

/// Starts a statement with a long answer, and reads nothing of it.
async fn unread_statement(lab: &Lab) -> Streaming<SqlResponse> {
    let statement = "SELECT a.* FROM lag a CROSS JOIN (VALUES (1), (2), (3), (4)) AS b".to_owned();
    connect(lab).await.sql(SqlRequest { statement, ..SqlRequest::default() }).await.unwrap().into_inner()
}

async fn unread_watch(lab: &Lab) -> Streaming<WatchResponse> {
    let request = WatchRequest { include_current: true, ..WatchRequest::default() };
    connect(lab).await.watch(request).await.unwrap().into_inner()
}

/// Sends a request over HTTP/1.1, and reads nothing of the response.
async fn unread_page(lab: &Lab, path: &str) -> TcpStream {
    let address = lab.url("").trim_start_matches("http://").to_owned();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Returns a value of the server's own metrics. The page is requested over HTTP, so it needs no query slot.
fn metric(lab: &Lab, name: &str) -> u64 {
    let page = lab.get("/metrics?group=%5Enone%24");
    let line = page.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

fn work(lab: &Lab, what: &str, kind: &str) -> u64 {
    metric(lab, &format!("offsetd_work_{what}{{kind=\"{kind}\"}}"))
}

/// Asserts that all other requests are answered.
fn assert_answers(lab: &Lab) {
    for page in ["/livez", "/readyz"] {
        assert_eq!(lab.get(page).status, 200, "{page}");
    }
    assert_eq!(lab.entry(&group(7), "orders", 3).committed_offset, 5);
    assert_eq!(lab.sql("SELECT 1").rows.len(), 1);
}

/// Returns the number of threads of the process, without those of Kafka clients, which the servers of other tests leave
/// behind.
fn threads() -> usize {
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
    let names = std::fs::read_dir("/proc/self/task").unwrap().filter_map(|task| name(task.ok()?));
    names.filter(|name| !name.starts_with("rdk:")).count()
}

#[test]
fn clients_that_do_not_read_delay_no_other() {
    let setup = Setup::default()
        .with("SQL_QUEUE", "4")
        .with("SQL_TIMEOUT", "10min")
        .with("SQL_STALL_TIMEOUT", "10min")
        .with("SQL_MAX_UNREAD_BYTES", "64KiB")
        .with("SERVER_CALL_TIMEOUT", "10min")
        .with("SERVER_STALL_TIMEOUT", "10min")
        .with("SERVER_LIMITS_WRITE_TIMEOUT", "10min");
    let (kafka, clients) = (kafka(4), clients());
    let lab = filled(setup, &kafka);
    let (mut statements, mut scrapes) = (vec![], vec![]);
    for number in 1..=4 {
        clients.block_on(async {
            statements.push(unread_statement(&lab).await);
            scrapes.push(unread_page(&lab, "/metrics").await);
        });
        until("an answer that waits for its client", || {
            (work(&lab, "unread", "statement"), work(&lab, "unread", "scrape")) == (number, number)
        });
        assert_answers(&lab);
    }
    let watch = clients.block_on(unread_watch(&lab));
    until("the watch to be open", || metric(&lab, "offsetd_watches") == 1);
    assert_answers(&lab);
    // One batch of each statement may be larger than the limit. The complete answers have more than 60 MiB.
    let unread = metric(&lab, "offsetd_unread_bytes");
    assert!(unread < 24 << 20, "unread bytes are bounded: {unread}");
    assert_eq!(work(&lab, "running", "statement"), 0);
    drop((statements, scrapes, watch));
    until("them to end with their connections", || {
        work(&lab, "unread", "statement") + work(&lab, "unread", "scrape") + metric(&lab, "offsetd_watches") == 0
    });
}

#[test]
fn many_pages_at_once_delay_no_other_and_end_with_their_connections() {
    let setup = Setup::default().with("SERVER_CONCURRENT_PAGES", "2").with("SERVER_CALL_QUEUE", "300");
    let (kafka, clients) = (kafka(4), clients());
    let lab = filled(setup, &kafka);
    assert_answers(&lab);
    let before = threads();
    let many: Vec<_> = (0..300)
        .map(|number| {
            let connecting = connect(&lab);
            let mut client = clients.block_on(connecting);
            clients.spawn(async move {
                let search = format!("group-{:02}", number % 20);
                let answered: Result<(), Status> = match number % 3 {
                    0 => {
                        client.get_offset(GetOffsetRequest { page_size: 10_000, ..Default::default() }).await.map(drop)
                    }
                    1 => {
                        let request =
                            GetConsumerRequest { search, order_by: "max_lag_seconds".into(), ..Default::default() };
                        client.get_consumer(request).await.map(drop)
                    }
                    _ => {
                        let request = GetActiveConsumerRequest { search: "group".into(), ..Default::default() };
                        client.get_active_consumer(request).await.map(drop)
                    }
                };
                answered
            })
        })
        .collect();
    let mut rounds = 0;
    while work(&lab, "waiting", "page") > 50 || rounds == 0 {
        assert!(work(&lab, "running", "page") <= 2);
        assert_answers(&lab);
        rounds += 1;
    }
    assert!(threads() <= before + 60, "{before} threads became {}", threads());
    let failed = many.iter().filter(|call| call.is_finished()).count();
    assert!(failed < 300, "some still wait");
    many.iter().for_each(tokio::task::JoinHandle::abort);
    drop(clients);
    until("the calls to end with their connections", || {
        work(&lab, "running", "page") + work(&lab, "waiting", "page") == 0
    });
}

/// Returns the status with which a watch ended, after its client reads again.
fn told(clients: &Runtime, mut watch: Streaming<WatchResponse>) -> Status {
    clients.block_on(async {
        let end = async {
            loop {
                if let Err(status) = watch.message().await {
                    return status;
                }
            }
        };
        tokio::time::timeout(LIMIT, end).await.expect("the watch ends")
    })
}

#[test]
fn a_watch_that_is_not_read_gives_its_state_back_in_time() {
    let (kafka, clients) = (kafka(1), clients());
    let lab = filled(
        Setup::default().with("SERVER_STALL_TIMEOUT", "2s").with("SERVER_LIMITS_WRITE_TIMEOUT", "10min"),
        &kafka,
    );
    let watch = clients.block_on(unread_watch(&lab));
    until("the watch to be open", || metric(&lab, "offsetd_watches") == 1);
    commit(&lab, 6);
    until("it to be ended", || metric(&lab, "offsetd_watches") == 0);
    until("its state to be released", || metric(&lab, "offsetd_held_bytes") == 0);
    let status = told(&clients, watch);
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("server.stall_timeout"), "{status}");
}

#[test]
fn a_watch_that_retains_too_much_is_ended_and_no_other_reader() {
    let setup = Setup::default()
        .with("SERVER_STALL_TIMEOUT", "10min")
        .with("SERVER_LIMITS_WRITE_TIMEOUT", "10min")
        .with("SQL_MAX_HELD_BYTES", "100KiB");
    let (kafka, clients) = (kafka(1), clients());
    let lab = filled(setup, &kafka);
    let watch = clients.block_on(unread_watch(&lab));
    until("the watch to be open", || metric(&lab, "offsetd_watches") == 1);
    for number in 0..GROUPS {
        lab.commit(&group(number), "orders", 0, 6);
        // Each statement reads the changed state and retains it while it runs.
        if number % 20 == 0 {
            lab.settle();
            assert_eq!(lab.sql("SELECT count(*) AS n FROM lag").rows[0]["n"], 12_000);
        }
    }
    until("it to be ended", || metric(&lab, "offsetd_watches") == 0);
    until("its state to be released", || metric(&lab, "offsetd_held_bytes") == 0);
    let status = told(&clients, watch);
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("sql.max_held_bytes"), "{status}");
}

#[test]
fn a_point_query_takes_no_turn() {
    let (kafka, clients) = (kafka(1), clients());
    let lab = Setup::default().with("SERVER_CONCURRENT_PAGES", "1").with("SERVER_CALL_QUEUE", "0").ready(&kafka);
    lab.commit("g", "t", 0, 5);
    lab.settle();
    let queries: Vec<_> = (0..50)
        .map(|_| {
            let mut client = lab.client();
            let request = QueryRequest { group_id: "g".into(), topic: "t".into(), ..QueryRequest::default() };
            clients.spawn(async move { tokio::time::timeout(Duration::from_secs(60), client.query(request)).await })
        })
        .collect();
    for query in queries {
        clients.block_on(query).unwrap().unwrap().unwrap();
    }
}
