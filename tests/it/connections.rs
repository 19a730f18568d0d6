//! Limits on connections: the cost of slow, silent and hostile clients, and that other clients are served meanwhile.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use offsetd::rpc::proto::{GetConsumerRequest, QueryRequest, WatchRequest, offset_service_client::OffsetServiceClient};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::mock::{Commit, MockKafka};
use crate::process::wait_for;
use crate::server::Server;
use crate::support::{Answer, LIMIT, Lab, Setup, kafka, until};

const GET: &str = "GET /livez HTTP/1.1\r\nhost: localhost\r\n";

/// Writes a configuration with one cluster and the given sections; returns its path.
fn config(dir: &TempDir, kafka: &MockKafka, more: &str) -> String {
    let path = dir.path().join("offsetd.toml");
    let text = format!("{more}\n[clusters.a]\nbootstrap_servers = '{}'\n", kafka.bootstrap_servers());
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Starts a Kafka with one commit, and the server on it.
fn serve(more: &str) -> (MockKafka, Server, TempDir) {
    begin(more, "exec")
}

/// Shell commands that close the descriptors of other tests' mock clusters, which librdkafka lets child processes
/// inherit.
const CLOSE: &str = "for fd in /proc/$$/fd/*; do fd=${fd##*/}; ((fd < 3)) || exec {fd}>&-; done;";

/// Like [`serve`], but started by a shell that first runs `first`.
fn begin(more: &str, first: &str) -> (MockKafka, Server, TempDir) {
    begin_on(kafka(1), more, first)
}

fn begin_on(kafka: MockKafka, more: &str, first: &str) -> (MockKafka, Server, TempDir) {
    let dir = TempDir::new().unwrap();
    let writer = kafka.writer();
    writer.commit(&Commit::new("billing", "orders", 0, 90, 1_700_000_000_000)).unwrap();
    writer.flush().unwrap();
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{first} \"$@\""), "sh", env!("CARGO_BIN_EXE_offsetd"), "serve", "--config"]);
    command
        .arg(config(&dir, &kafka, more))
        .env("RUST_LOG", "info,librdkafka=error,offsetd::call=debug,offsetd::sql=debug");
    let mut server = Server::launch(command);
    server.wait_ready();
    (kafka, server, dir)
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address().parse::<SocketAddr>().unwrap()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Sends a request on a new connection, as probes do.
fn ask(server: &Server, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(server.address().parse::<SocketAddr>().unwrap())?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn get(server: &Server, path: &str) -> String {
    ask(server, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).unwrap()
}

/// Asserts that both probes and a point query are answered, each on a new connection.
fn assert_serves(server: &Server, runtime: &Runtime) {
    for path in ["/livez", "/readyz"] {
        let answer = get(server, path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let answer = runtime.block_on(async {
        let mut client = OffsetServiceClient::new(channel(server).await);
        let request = QueryRequest { group_id: "billing".into(), topic: "orders".into(), ..QueryRequest::default() };
        client.query(request).await.unwrap().into_inner()
    });
    assert_eq!(answer.entry.unwrap().committed_offset, 90);
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn channel(server: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address())).unwrap();
    endpoint.initial_stream_window_size(16_384).connect().await.unwrap()
}

/// Returns the value of a metric, by its name with labels.
fn metric(server: &Server, name: &str) -> f64 {
    let answer = server.get("/metrics");
    let line = answer.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

fn closed(server: &Server, reason: &str) -> f64 {
    metric(server, &format!("offsetd_connections_closed_total{{reason=\"{reason}\"}}"))
}

fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    match stream.read(&mut [0; 1024]) {
        Ok(0) => true,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        Ok(_) => false,
    }
}

/// Returns how many of the wanted connections this process and the server can open with their file descriptors.
fn affordable(wanted: usize) -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let limit: usize = line.split_whitespace().next().unwrap().parse().unwrap_or(usize::MAX);
    wanted.min(limit / 4)
}

#[test]
fn thousands_of_half_open_and_idle_connections_are_closed_in_time_and_keep_nobody_from_being_served() {
    let (_kafka, server, _dir) = serve("[server.limits]\nheader_timeout = '4s'\nidle_timeout = '4s'");
    let (runtime, each) = (runtime(), affordable(2_000));
    let halves = ["", "GET /liv", GET, "PRI * HTTP"];
    let mut all: Vec<TcpStream> = vec![];
    for number in 0..each {
        let mut stream = connect(&server);
        // The server may have closed this connection already, to make room.
        let _ = stream.write_all(halves[number % halves.len()].as_bytes());
        all.push(stream);
        if number % 500 == 0 {
            assert_serves(&server, &runtime);
        }
    }
    for number in 0..each {
        let mut stream = connect(&server);
        stream.write_all(format!("{GET}\r\n").as_bytes()).unwrap();
        assert_eq!(stream.read(&mut [0; 12]).unwrap(), 12, "a response");
        all.push(stream);
        if number % 500 == 0 {
            assert_serves(&server, &runtime);
        }
    }
    assert_serves(&server, &runtime);
    assert!(metric(&server, "offsetd_connections") <= 2_000.0);
    until("all to be closed", || {
        all.retain_mut(|stream| !is_closed(stream));
        all.is_empty()
    });
    assert!(closed(&server, "idle_timeout") + closed(&server, "header_timeout") > 0.0);
    assert_serves(&server, &runtime);
    server.stop_cleanly();
}

#[test]
fn descriptors_that_run_out_cost_idle_connections_and_nobody_else() {
    let (_kafka, server, _dir) = begin("", &format!("{CLOSE} ulimit -n 256 && exec"));
    let runtime = runtime();
    let mut silent: Vec<TcpStream> = (0..affordable(400)).map(|_| connect(&server)).collect();
    for _ in 0..3 {
        assert_serves(&server, &runtime);
    }
    assert!(server.log().contains("no room for a new connection"), "{}", server.log());
    assert!(metric(&server, "offsetd_descriptor_shortages_total") > 0.0);
    assert!(closed(&server, "made_room") > 0.0);
    until("the oldest to be closed", || is_closed(&mut silent[0]));
    drop(silent);
    let shortages = || metric(&server, "offsetd_descriptor_shortages_total");
    until("descriptors to be free", || {
        let before = shortages();
        assert_serves(&server, &runtime);
        (shortages() - before).abs() < f64::EPSILON
    });
    server.stop_cleanly();
}

/// Returns a value of the server's own metrics, from a page without groups.
fn own_metric(server: &Server, name: &str) -> f64 {
    let page = get(server, "/metrics?group=%5Enone%24");
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[test]
fn everything_at_once_keeps_no_probe_and_no_query_from_its_answer() {
    const GROUPS: i64 = 65_000;
    let (kafka, server, _dir) = begin_on(kafka(8), "", &format!("{CLOSE} ulimit -n 1024 && exec"));
    for number in 0..GROUPS {
        let group = format!("group-{number}");
        kafka.writer().commit(&Commit::new(&group, "orders", 0, number, 1_700_000_000_000)).unwrap();
    }
    kafka.writer().flush().unwrap();
    until("all groups", || own_metric(&server, "offsetd_groups{cluster=\"a\",source=\"kafka\"}") > 64_999.0);
    let (probing, clients) = (runtime(), runtime());
    // One unread watch, and 600 clients that continuously request all groups.
    let watch = clients.block_on(async {
        let request = WatchRequest { include_current: true, ..WatchRequest::default() };
        OffsetServiceClient::new(channel(&server).await).watch(request).await.unwrap()
    });
    let asking: Vec<_> = (0..600)
        .scan(None, |shared, number| {
            if number % 50 == 0 {
                *shared = Some(clients.block_on(channel(&server)));
            }
            shared.clone()
        })
        .map(|channel| {
            let mut client = OffsetServiceClient::new(channel);
            clients.spawn(async move {
                loop {
                    let request = GetConsumerRequest { order_by: "lag desc".into(), ..GetConsumerRequest::default() };
                    if let Err(status) = client.get_consumer(request).await {
                        // The queue was full, or the request waited too long in it.
                        let is_told = matches!(status.code(), Code::ResourceExhausted | Code::DeadlineExceeded);
                        assert!(is_told, "{status}");
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    until("pages to be computed, and many to wait", || {
        own_metric(&server, "offsetd_work_running{kind=\"page\"}") > 0.0
            && own_metric(&server, "offsetd_work_waiting{kind=\"page\"}") > 100.0
    });
    assert_serves(&server, &probing);
    // More connections than the process has file descriptors: half of them never complete a request, the others stay
    // idle after one.
    let mut silent = vec![];
    for number in 0..affordable(4_000) {
        let mut stream = connect(&server);
        let request = if number % 2 == 0 { GET.to_owned() } else { format!("{GET}\r\n") };
        // The server may have closed this connection already, to make room.
        let _ = stream.write_all(request.as_bytes());
        silent.push(stream);
        if number % 500 == 0 {
            assert_serves(&server, &probing);
        }
    }
    for _ in 0..3 {
        assert_serves(&server, &probing);
    }
    assert!(own_metric(&server, "offsetd_descriptor_shortages_total") > 0.0);
    assert!(asking.iter().all(|client| !client.is_finished()), "every client gets a page or a refusal");
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    drop((silent, watch, asking, clients));
    until("descriptors to be free, and all work to end", || {
        let before = own_metric(&server, "offsetd_descriptor_shortages_total");
        assert_serves(&server, &probing);
        let has_room = (own_metric(&server, "offsetd_descriptor_shortages_total") - before).abs() < f64::EPSILON;
        let work = ["offsetd_work_running{kind=\"page\"}", "offsetd_work_waiting{kind=\"page\"}", "offsetd_watches"];
        has_room && work.iter().all(|name| own_metric(&server, name) == 0.0)
    });
    server.stop_cleanly();
}

#[test]
fn a_body_that_does_not_come_and_a_header_that_does_not_end_are_answered() {
    let (_kafka, server, _dir) = serve("[server.limits]\nbody_timeout = '300ms'\nmax_header_bytes = '8KiB'");
    let head = "POST /v1/sql HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 100\r\n\r\n";
    let answer = ask(&server, &format!("{head}SELECT 1")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("server.limits.body_timeout"), "{answer}");
    assert!(metric(&server, "offsetd_requests_cut_total{reason=\"body_timeout\"}") > 0.0);
    let answer = ask(&server, &format!("{GET}x: {}", "y".repeat(10_000))).unwrap_or_default();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(closed(&server, "header_bytes") > 0.0);
    server.stop_cleanly();
}

#[test]
fn a_client_that_cancels_calls_without_end_loses_its_connection() {
    let (_kafka, server, _dir) = serve("[server.limits]\nhttp2_max_resets = 20");
    let runtime = runtime();
    until("the connection to be closed", || {
        runtime.block_on(async {
            let channel = channel(&server).await;
            for _ in 0..100 {
                // Dropped as soon as the call has begun.
                let _ = OffsetServiceClient::new(channel.clone()).watch(WatchRequest::default()).await;
            }
        });
        closed(&server, "resets") > 0.0
    });
    assert_serves(&server, &runtime);
    server.stop_cleanly();
}

/// Starts a server with a metrics page that is longer than the server's write buffer.
fn large() -> Lab {
    let lab = Setup::default().ready(&kafka(1));
    for number in 0..6_000 {
        lab.commit(&format!("a-group-with-a-long-name-{number}"), "orders", 0, number);
    }
    lab.settle();
    lab
}

#[test]
fn scrapes_that_nobody_reads_hold_no_place() {
    let lab = large();
    let unread: Vec<_> = (0..8)
        .map(|_| {
            let request = http::Request::get(lab.url("/metrics")).body(tonic::body::Body::empty()).unwrap();
            let response = lab.block_on(async {
                let mut channel = lab.channel();
                std::future::poll_fn(|cx| tower::Service::poll_ready(&mut channel, cx)).await.unwrap();
                tower::Service::call(&mut channel, request).await.unwrap()
            });
            assert_eq!(response.status().as_u16(), 200);
            response
        })
        .collect();
    for _ in 0..3 {
        let answer = lab.get("/metrics");
        assert!(answer.status == 200 && answer.body.len() > 2 << 20, "{} bytes", answer.body.len());
    }
    drop(unread);
    lab.stop_cleanly();
}

#[test]
fn a_response_that_nobody_reads_ends() {
    let (kafka, server, _dir) = serve("[server.limits]\nwrite_timeout = '500ms'");
    let writer = kafka.writer();
    for number in 0..3_000 {
        writer.commit(&Commit::new(&format!("group-{number}"), "orders", 0, number, 1_700_000_000_000)).unwrap();
    }
    writer.flush().unwrap();
    until("the commits", || get(&server, "/metrics").matches("group-").count() >= 3_000);
    let runtime = runtime();
    // Over HTTP/2, the flow-control window fills up long before the socket buffer does.
    let unread = runtime.block_on(async {
        let mut channel = channel(&server).await;
        let uri = format!("http://{}/metrics", server.address());
        std::future::poll_fn(|cx| tower::Service::poll_ready(&mut channel, cx)).await.unwrap();
        let request = http::Request::get(uri).body(tonic::body::Body::empty()).unwrap();
        tower::Service::call(&mut channel, request).await.unwrap()
    });
    until("the end of the response", || metric(&server, "offsetd_requests_cut_total{reason=\"write_timeout\"}") > 0.0);
    until("the end of the connection", || closed(&server, "write_timeout") > 0.0);
    drop(unread);
    server.stop_cleanly();
}

/// Opens connections that would never end on their own: half a request, a response that is not read, a Watch of gRPC's
/// health service.
fn stuck(server: &Server, runtime: &Runtime) -> impl Sized + use<> {
    let mut half = connect(server);
    half.write_all(b"POST /v1/sql HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nSELECT").unwrap();
    let mut unread = connect(server);
    let statement = "SELECT repeat('x', 100000) FROM columns a, columns b";
    let head = format!("POST /v1/sql HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", statement.len());
    unread.write_all(format!("{head}{statement}").as_bytes()).unwrap();
    unread.read_exact(&mut [0]).unwrap();
    let watch = runtime.block_on(async {
        let mut client = HealthClient::new(channel(server).await);
        let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        watch.message().await.unwrap().unwrap();
        (client, watch)
    });
    (half, unread, watch)
}

#[test]
fn a_stop_takes_one_grace_period_whatever_clients_do() {
    let (_kafka, mut server, _dir) = serve("[server]\nshutdown_grace = '2s'");
    let runtime = runtime();
    let _stuck = stuck(&server, &runtime);
    server.signal("TERM");
    assert_eq!(server.wait_exit().code(), Some(0));
    // Logged once: a part that was given up is not waited for again.
    let log = server.log();
    assert_eq!(log.matches("did not stop within the grace period").count(), 1, "{log}");
    assert!(log.contains("connections"), "{log}");
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let (_kafka, mut server, _dir) = serve("[server]\nshutdown_grace = '1h'");
    let runtime = runtime();
    let _stuck = stuck(&server, &runtime);
    server.signal("INT");
    wait_for("the stop to begin", LIMIT, || {
        let log = server.log();
        if log.contains("stopping") { Ok(()) } else { Err(log) }
    });
    server.signal("INT");
    assert_eq!(server.wait_exit().code(), Some(130));
}

#[test]
fn a_token_file_that_becomes_a_pipe_changes_nothing_and_lets_the_process_end() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tokens");
    fs::write(&path, "token-of-the-tests-1\n").unwrap();
    let (_kafka, server, _dir) = serve(&format!("[server.auth]\ntokens_file = '{}'", path.display()));
    replace_by_pipe(&path);
    wait_for("the warning in the log", LIMIT, || {
        let log = server.log();
        if log.contains("keeping the previous version") { Ok(()) } else { Err(log) }
    });
    assert!(server.log().contains("not a regular file"), "{}", server.log());
    let request = "GET /v1/query?group_id=billing&topic=orders&partition=0 HTTP/1.1\r\nhost: localhost\r\n\
                   connection: close\r\nauthorization: Bearer token-of-the-tests-1\r\n\r\n";
    assert!(ask(&server, request).unwrap().starts_with("HTTP/1.1 200"));
    server.stop_cleanly();
}

fn replace_by_pipe(path: &Path) {
    let aside = path.with_extension("pipe");
    assert!(Command::new("mkfifo").arg(&aside).status().unwrap().success());
    fs::rename(aside, path).unwrap();
}

#[test]
fn one_id_leads_from_a_response_to_the_lines_of_the_log() {
    let (_kafka, server, _dir) = serve("");
    let header = |answer: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix("offsetd-call: "));
        line.unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    let query = header(&get(&server, "/v1/query?cluster=a&group_id=billing&topic=orders&partition=0"));
    let sql = "/v1/sql HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 30\r\n\r\n";
    let sql = header(&ask(&server, &format!("POST {sql}SELECT * FROM offsets LIMIT 10")).unwrap());
    let wrong = "/v1/sql HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 15\r\n\r\n";
    let wrong = header(&ask(&server, &format!("POST {wrong}SELECT sum('x')")).unwrap());
    let bad = header(&get(&server, "/v1/query?group_id=billing&topic=orders&partition=x"));
    let rpc = runtime().block_on(async {
        let mut client = OffsetServiceClient::new(channel(&server).await);
        let request = QueryRequest { cluster: "a".into(), group_id: "none".into(), ..QueryRequest::default() };
        let status = client.query(request).await.unwrap_err();
        status.metadata().get("offsetd-call").unwrap().to_str().unwrap().to_owned()
    });
    for (id, of, fields) in [
        (&query, "call ended", ["GET /v1/query", "outcome=ok", "peer=127.0.0.1"]),
        (&sql, "call ended", ["POST /v1/sql", "outcome=ok", "rows=1"]),
        (&sql, "statement ended", ["method=\"SELECT * FROM offsets LIMIT 10\" cluster=\"a\"", "outcome=ok", "rows=1"]),
        // This line is written by a thread that runs statements.
        (&sql, "statement planned", ["POST /v1/sql", "statement{id=", "method=\"SELECT * FROM offsets LIMIT 10\""]),
        (&wrong, "statement ended", ["rows=0", "peer=127.0.0.1", "outcome=no function takes these arguments"]),
        (&bad, "call ended", ["GET /v1/query", "outcome=http 400", "duration_ms="]),
        (&rpc, "call ended", ["offsetd.v1.OffsetService/Query", "outcome=grpc 5", "cluster=\"a\""]),
    ] {
        let line = wait_for("a line of the log", LIMIT, || {
            let (log, id) = (server.log(), format!("id=\"{id}\""));
            let line = log.lines().find(|line| line.contains(&id) && line.contains(of)).map(str::to_owned);
            line.ok_or(log)
        });
        assert!(fields.iter().all(|field| line.contains(field)), "{fields:?}: {line}");
    }
    server.stop_cleanly();
}

/// Returns the name of the largest asset, and its size with gzip.
fn asset() -> (String, usize) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/web/dist/assets");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let largest = files.filter(|path| path.extension().is_some_and(|kind| kind == "gz"));
    let largest = largest.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let bytes = usize::try_from(largest.metadata().unwrap().len()).unwrap();
    (largest.file_stem().unwrap().to_str().unwrap().to_owned(), bytes)
}

#[test]
fn a_response_in_pieces_is_as_long_as_it_says() {
    let lab = Lab::new(1);
    let (name, bytes) = asset();
    assert!(bytes > 70_000, "{bytes}");
    let answer: Answer = lab.get(&format!("/assets/{name}"));
    assert_eq!((answer.status, answer.header("content-length")), (200, &*bytes.to_string()));
    assert_eq!(answer.body.len(), bytes);
}

#[test]
fn assets_that_nobody_reads_take_no_memory() {
    let (_kafka, server, _dir) = serve("");
    let (runtime, (name, bytes)) = (runtime(), asset());
    let before = server.peak_memory();
    let unread = runtime.block_on(async {
        let mut unread = vec![];
        for _ in 0..20 {
            let mut channel = channel(&server).await;
            for _ in 0..100 {
                let uri = format!("http://{}/assets/{name}", server.address());
                let request = http::Request::get(uri).body(tonic::body::Body::empty()).unwrap();
                std::future::poll_fn(|cx| tower::Service::poll_ready(&mut channel, cx)).await.unwrap();
                unread.push(tower::Service::call(&mut channel, request).await.unwrap());
            }
        }
        unread
    });
    let grown = server.peak_memory() - before;
    assert!(grown < unread.len() as u64 * bytes as u64 / 3, "{} MiB", grown >> 20);
    drop(unread);
    server.stop_cleanly();
}
