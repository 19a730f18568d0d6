//! The performance that clients see, compared with an empty RPC of the same server: its health check.

use std::sync::Arc;
use std::time::{Duration, Instant};

use offsetd::rpc::proto::offset_service_client::OffsetServiceClient;
use offsetd::rpc::proto::{GetConsumerRequest, GetOffsetRequest, QueryRequest};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::fill::Load;
use crate::measure::{Goal, Report, quantile};

/// Number of concurrent calls, for throughput.
const CALLERS: usize = 32;
const ROUND: Duration = Duration::from_secs(2);
/// Number of consecutive calls, for latency.
const CALLS: usize = 400;
/// Number of different point queries.
const QUERIES: usize = 100_000;

pub(super) struct Clients {
    pub(super) runtime: Runtime,
    channel: Channel,
}

type Stub = OffsetServiceClient<Channel>;

impl Clients {
    pub(super) fn new(address: &str) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().tcp_nodelay(true);
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        Self { runtime, channel }
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(super) fn stub(&self) -> Stub {
        OffsetServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    /// Returns the calls per second of many concurrent callers.
    fn rate<F>(&self, call: impl Fn(Channel, usize) -> F + Clone + Send + 'static) -> f64
    where
        F: Future<Output = ()> + Send,
    {
        let until = Instant::now() + ROUND;
        let caller = |number: usize| {
            let (channel, call) = (self.channel.clone(), call.clone());
            self.runtime.spawn(async move {
                let mut count = 0_u32;
                while Instant::now() < until {
                    call(channel.clone(), number + usize::try_from(count).unwrap() * CALLERS).await;
                    count += 1;
                }
                f64::from(count)
            })
        };
        let callers: Vec<_> = (0..CALLERS).map(caller).collect();
        let counts = self.runtime.block_on(futures::future::join_all(callers));
        counts.into_iter().map(Result::unwrap).sum::<f64>() / ROUND.as_secs_f64()
    }

    /// Returns the durations of consecutive calls.
    fn latencies<F: Future<Output = ()> + Send>(&self, call: impl Fn(Channel, usize) -> F) -> Vec<Duration> {
        let timed = async |number| {
            let started = Instant::now();
            call(self.channel.clone(), number).await;
            started.elapsed()
        };
        self.runtime.block_on(async {
            let mut latencies = Vec::with_capacity(CALLS);
            for number in 0..CALLS {
                latencies.push(timed(number).await);
            }
            latencies
        })
    }
}

pub(super) async fn nothing(channel: Channel, _: usize) {
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
}

/// Returns point queries of keys all over the load. They are built in advance, so that the client's work is not
/// measured.
fn queries(load: &Load) -> Vec<QueryRequest> {
    let query = |number: usize| {
        let group = number * 7919 % load.groups;
        let topic = load.topics_of(group).nth(number % load.topics_read).unwrap();
        let partition = i32::try_from(number).unwrap() % load.partitions;
        QueryRequest { group_id: Load::group(group), topic: Load::topic(topic), partition, ..QueryRequest::default() }
    };
    (0..QUERIES).map(query).collect()
}

async fn query(channel: Channel, request: QueryRequest) {
    let answer = OffsetServiceClient::new(channel).query(request).await.unwrap();
    assert!(answer.into_inner().entry.unwrap().lag.is_some());
}

/// Measures throughput and latency of RPCs.
pub(crate) fn run(report: &mut Report, load: &Load, address: &str) {
    let clients = Clients::new(address);
    let of = |what: &str| format!("{}: {what}", load.name);
    let queries = Arc::new(queries(load));
    let calls = move |channel, number: usize| query(channel, queries[number % QUERIES].clone());
    let (mut ours, mut empty) = (vec![], vec![]);
    for _ in 0..report.few_rounds() {
        empty.push(clients.rate(nothing));
        ours.push(clients.rate(calls.clone()));
    }
    report.pair(&of("Query vs an empty RPC"), "1/s", &mut ours, &mut empty, Goal::AtLeast(0.9));
    // A page sums up its groups, and here and there a group is as large as a cluster.
    let many_groups = if load.groups > 1000 { Goal::AtMost(20.0) } else { Goal::None };
    let mut quiet = clients.latencies(nothing);
    for (what, order_by, search) in
        [("first page", "", ""), ("search", "", "group-777"), ("order_by lag desc", "lag desc", "")]
    {
        let request = GetConsumerRequest {
            order_by: order_by.to_owned(),
            search: search.to_owned(),
            page_size: 100,
            ..GetConsumerRequest::default()
        };
        let mut page = clients.latencies(|channel, _| {
            let request = request.clone();
            async move { drop(OffsetServiceClient::new(channel).get_consumer(request).await.unwrap()) }
        });
        let (page, quiet) = (quantile(&mut page, 0.99).as_secs_f64(), quantile(&mut quiet, 0.99).as_secs_f64());
        report.row(
            &of(&format!("GetConsumer {what}, p99 vs an empty RPC")),
            "s",
            page,
            quiet,
            page / quiet,
            many_groups,
        );
    }
    let (entries, took) = walk(&clients);
    assert_eq!(entries as u64, load.keys());
    report.limit(&of("GetOffset, all pages of 10,000"), "1/s", entries as f64 / took.as_secs_f64(), Goal::None);
}

/// Reads all pages of all offsets; returns the number of entries and the duration.
fn walk(clients: &Clients) -> (usize, Duration) {
    let mut stub = clients.stub();
    clients.runtime.block_on(async {
        let (started, mut entries) = (Instant::now(), 0);
        let mut request = GetOffsetRequest { page_size: 10_000, ..GetOffsetRequest::default() };
        loop {
            let page = stub.get_offset(request.clone()).await.unwrap().into_inner();
            entries += page.entries.len();
            if page.next_page_token.is_empty() {
                return (entries, started.elapsed());
            }
            request.page_token = page.next_page_token;
        }
    })
}
