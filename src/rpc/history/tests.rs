use tokio_util::sync::CancellationToken;

use super::{super::Service, *};
use crate::{
    history::tests::{config, lab},
    sql::Engine,
    store::history_store::{ArchivedKey, HistorySamples, HistoryStore, HistoryStoreStatus, Reserved, SampleRequest},
};

fn request(from: Option<i64>, to: Option<i64>, step: Option<i64>) -> proto::GetHistoryRequest {
    let time = |at: i64| Timestamp { seconds: at, nanos: 0 };
    proto::GetHistoryRequest {
        from: from.map(time),
        to: to.map(time),
        step: step.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        ..proto::GetHistoryRequest::default()
    }
}

fn span(from: Option<i64>, to: Option<i64>, step: Option<i64>) -> Result<(Millis, Millis, Millis), Error> {
    let span = TimeSpan::new(&request(from, to, step), 10_000_000, Duration::from_secs(10), None);
    span.map(|span| (span.from, span.to, span.step))
}

#[test]
fn the_default_time_range_is_the_last_hour() {
    assert_eq!(span(None, None, None).unwrap(), (6_400_000, 10_000_000, 10_000));
    assert_eq!(span(Some(6401), None, None).unwrap(), (6_401_000, 10_000_000, 10_000));
    assert_eq!(span(None, Some(4000), Some(60)).unwrap(), (400_000, 4_000_000, 60_000));
    assert_eq!(span(Some(5), Some(5), None).unwrap(), (5000, 5000, 10_000));
    let week = span(Some(0), Some(604_800), None).unwrap();
    assert!(week.2 % 10_000 == 0 && 604_800_000 / week.2 <= 360, "{week:?}");
    assert_eq!(span(Some(6400), Some(10_000), None).unwrap().2, 10_000);
    let a_little_more = TimeSpan::new(&request(Some(6399), None, None), 10_000_000, Duration::from_secs(10), None);
    assert_eq!(a_little_more.unwrap().step, 10_000);
    // The range is a week, but samples exist for an hour only.
    let short = TimeSpan::new(&request(Some(0), None, None), 10_000_000, Duration::from_secs(10), Some(6_400_000));
    assert_eq!(short.unwrap().step, 10_000);
    let week = TimeSpan::new(&request(Some(0), None, None), 604_800_000, Duration::from_secs(10), Some(601_200_000));
    assert_eq!(week.unwrap().step, 10_000);
}

#[test]
fn invalid_time_ranges_are_rejected() {
    assert!(span(Some(6), Some(5), None).unwrap_err().to_string().contains("after to"));
    for step in [0, -1] {
        assert!(span(None, None, Some(step)).unwrap_err().to_string().contains("at least 1 ms"));
    }
    assert!(span(Some(0), Some(604_800), Some(1)).unwrap_err().to_string().contains("longer"));
    assert!(span(Some(i64::MAX), None, None).unwrap_err().to_string().contains("invalid time"));
}

/// A history store with an endless sequence of keys.
#[derive(Debug)]
struct Endless(CancellationToken);

impl HistoryStore for Endless {
    fn read(&self, _: SampleRequest) -> Result<Option<HistorySamples>, ReadError> {
        let asked = self.0.clone();
        let key = move |number: u64| {
            asked.cancel();
            let (group, topic) = (format!("{number:020}").into(), "t".into());
            let (rows, reserved) = (vec![], Reserved::default());
            Ok(ArchivedKey { group, topic, partition: 0, rows, valid_for: 1, reserved })
        };
        Ok(Some(HistorySamples { times: vec![0], keys: Box::new((0..).map(key)) }))
    }

    fn status(&self) -> HistoryStoreStatus {
        HistoryStoreStatus::default()
    }
}

fn service(store: &Arc<Store>) -> Service {
    let config = config();
    let server = crate::config::Server { concurrent_histories: 2, ..config.server };
    let engine = Arc::new(Engine::new(Arc::clone(store), config.sql).unwrap());
    Service::new(engine, server, config.history.step, CancellationToken::new())
}

fn running(service: &Service) -> usize {
    let load = service.shared.store().work().status().load;
    load.iter().find(|load| load.kind == WorkKind::History).unwrap().running
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_or_when_the_client_disconnects() {
    let lab = lab(usize::MAX);
    let reads = CancellationToken::new();
    lab.cluster().set_history_store(Box::new(Endless(reads.clone())));
    let service = service(&lab.store);
    let ask = |by: HistoryBy, millis: u64| {
        let (shared, request) = (Arc::clone(&service.shared), request(Some(0), Some(5), None));
        let request = proto::GetHistoryRequest { by: by.into(), ..request };
        async move { get_history(&shared, request, Some(Duration::from_millis(millis))).await }
    };
    for by in [HistoryBy::Partition, HistoryBy::Cluster] {
        let error = ask(by, 20).await.unwrap_err();
        assert!(matches!(&error, Error::Deadline(_)), "{error:?}");
    }
    let readers: Vec<_> = (0..2).map(|_| tokio::spawn(ask(HistoryBy::Cluster, 3_600_000))).collect();
    while running(&service) < 2 || !reads.is_cancelled() {
        tokio::task::yield_now().await;
    }
    // Both slots are in use, so the next call waits until its deadline.
    let error = ask(HistoryBy::Cluster, 20).await.unwrap_err();
    assert!(matches!(&error, Error::Deadline(_)), "{error:?}");
    readers.iter().for_each(tokio::task::JoinHandle::abort);
    while running(&service) > 0 {
        tokio::task::yield_now().await;
    }
}
