//! GetHistory and the table `history`, with a clock that the test controls.

use offsetd::clock::Clock;
use offsetd::rpc::proto::{
    GetHistoryRequest, GetHistoryResponse, HistoryBy, HistorySeries, OffsetFilter, StringFilter, WatchRequest,
    string_filter::Match,
};
use serde_json::json;
use tonic::{Code, Status};

use crate::support::{Lab, Setup, kafka, until};

/// 2026-01-01T00:00:00Z
const START: i64 = 1_767_225_600_000;
const STEPS: i64 = 6;

/// Starts a server with one group that reads 10 and 20 records per step in two partitions, another that does not
/// advance, and growing log ends.
fn lab() -> Lab {
    let kafka = kafka(2);
    kafka.create_topic("orders", 2).unwrap();
    let writer = kafka.writer();
    (0..2).for_each(|partition| writer.produce("orders", partition, 100).unwrap());
    let setup = Setup { clock: Clock::manual(START), ..Setup::default() };
    let lab = setup.ready(&kafka);
    // Commits after the first sample are in the next one.
    until("the first sample", || lab.status().clusters[0].history_since.is_some());
    lab.commit("idle", "orders", 0, 7);
    for step in 1..=STEPS {
        lab.commit("busy", "orders", 0, 10 * step);
        lab.commit("busy", "orders", 1, 20 * step);
        lab.settle();
        let ends = "SELECT count(*) AS n FROM partitions WHERE observed_at = now() AND topic = 'orders'";
        until("fresh log ends", || lab.sql(ends).rows == [json!({"n": 2})]);
        lab.clock.advance(10_000);
        until("a sample", || count(&lab) == step);
    }
    lab
}

fn count(lab: &Lab) -> i64 {
    let rows = lab.sql("SELECT count(DISTINCT sampled_at) AS n FROM history").rows;
    rows[0]["n"].as_i64().unwrap()
}

fn try_history(lab: &Lab, request: GetHistoryRequest) -> Result<GetHistoryResponse, Status> {
    lab.block_on(async { lab.client().get_history(request).await.map(tonic::Response::into_inner) })
}

fn history(lab: &Lab, request: GetHistoryRequest) -> Vec<HistorySeries> {
    try_history(lab, request).unwrap().series
}

fn committed(series: &HistorySeries) -> Vec<i64> {
    series.samples.iter().map(|sample| sample.committed_offset.unwrap()).collect()
}

fn by(by: HistoryBy) -> GetHistoryRequest {
    GetHistoryRequest { by: by.into(), ..GetHistoryRequest::default() }
}

#[test]
fn history_shows_how_offsets_moved_by_partition_topic_group_and_cluster() {
    let lab = lab();
    let all = history(&lab, GetHistoryRequest::default());
    let keys: Vec<_> = all.iter().map(|of| (of.group_id.as_str(), of.topic.as_str(), of.partition.unwrap())).collect();
    assert_eq!(keys, [("busy", "orders", 0), ("busy", "orders", 1), ("idle", "orders", 0)]);
    assert_eq!(committed(&all[1]), [20, 40, 60, 80, 100, 120]);
    assert_eq!(committed(&all[2]), [7; 6]);
    let sample = &all[1].samples[2];
    assert_eq!((sample.log_end_offset, sample.lag), (Some(100), Some(40)));
    assert_eq!((sample.consume_rate, sample.produce_rate), (Some(2.0), Some(0.0)));
    assert_eq!(all[1].samples[0].consume_rate, None);
    assert_eq!(sample.sampled_at.unwrap().seconds * 1000, START + 30_000);
    // Beyond the known log end: the lag is unknown.
    assert_eq!(all[1].samples[5].lag, None);
    let groups = history(&lab, by(HistoryBy::Group));
    assert_eq!(committed(&groups[0]), [30, 60, 90, 120, 150, 180]);
    assert_eq!((groups[0].topic.as_str(), groups[0].partition, groups[0].samples[0].lag), ("", None, Some(170)));
    let topics = history(&lab, by(HistoryBy::Topic));
    assert_eq!((topics[0].topic.as_str(), topics.len()), ("orders", 2));
    let clusters = history(&lab, by(HistoryBy::Cluster));
    assert_eq!(committed(&clusters[0]), [37, 67, 97, 127, 157, 187]);
    assert_eq!((clusters.len(), clusters[0].group_id.as_str()), (1, ""));
}

#[test]
fn history_is_filtered_thinned_and_paged() {
    let lab = lab();
    let exact = |text: &str| Some(StringFilter { r#match: Some(Match::Exact(text.to_owned())) });
    let filter = OffsetFilter { group_id: exact("busy"), partitions: vec![1], ..OffsetFilter::default() };
    let one = history(&lab, GetHistoryRequest { filter: Some(filter), ..GetHistoryRequest::default() });
    assert_eq!(one.len(), 1);
    let time = |seconds: i64| Some(prost_types::Timestamp { seconds: START / 1000 + seconds, nanos: 0 });
    let step = Some(prost_types::Duration { seconds: 20, nanos: 0 });
    let request = GetHistoryRequest { from: time(20), to: time(50), step, ..by(HistoryBy::Group) };
    let thinned = history(&lab, request.clone());
    assert_eq!(committed(&thinned[0]), [90, 150], "the last of each step");
    assert_eq!(thinned[0].samples[1].consume_rate, Some(3.0));
    let (mut seen, mut token) = (vec![], String::new());
    loop {
        let request =
            GetHistoryRequest { from: time(10), page_size: 1, page_token: token, ..GetHistoryRequest::default() };
        let page = try_history(&lab, request).unwrap();
        seen.extend(page.series);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        // Later pages keep the times of the first one.
        lab.clock.advance(60_000);
    }
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|series| series.samples.len() == 6), "{seen:?}");
}

#[test]
fn requests_for_history_that_make_no_sense_are_refused() {
    let lab = Lab::new(1);
    let filter = Some(OffsetFilter { with_lag_only: true, ..OffsetFilter::default() });
    let step = Some(prost_types::Duration { seconds: 0, nanos: 0 });
    let from = Some(prost_types::Timestamp { seconds: 9_000_000_000, nanos: 0 });
    for request in [
        GetHistoryRequest { filter, ..GetHistoryRequest::default() },
        GetHistoryRequest { step, ..GetHistoryRequest::default() },
        GetHistoryRequest { from, ..GetHistoryRequest::default() },
        GetHistoryRequest { page_size: -1, ..GetHistoryRequest::default() },
        GetHistoryRequest { by: 99, ..GetHistoryRequest::default() },
        GetHistoryRequest { page_token: "x".to_owned(), ..GetHistoryRequest::default() },
    ] {
        assert_eq!(try_history(&lab, request.clone()).unwrap_err().code(), Code::InvalidArgument, "{request:?}");
    }
    assert!(history(&lab, GetHistoryRequest::default()).is_empty());
}

#[test]
fn history_is_a_table() {
    let lab = lab();
    let rows =
        lab.sql("SELECT * FROM history WHERE group_id = 'busy' AND partition = 1 ORDER BY sampled_at LIMIT 1").rows;
    let expected = json!({
        "sampled_at": "2026-01-01T00:00:10Z", "cluster": "default", "source": "kafka", "group_id": "busy",
        "topic": "orders", "partition": 1, "committed_offset": 20, "log_end_offset": 100, "lag": 80,
        "lag_seconds": null,
    });
    assert_eq!(rows, [expected]);
    let count = |condition: &str| {
        let rows = lab.sql(&format!("SELECT count(*) AS n FROM history WHERE {condition}")).rows;
        rows[0]["n"].as_i64().unwrap()
    };
    assert_eq!(count("true"), 18);
    assert_eq!(count("sampled_at > '2026-01-01T00:00:20'"), 12);
    assert_eq!(count("sampled_at BETWEEN '2026-01-01T00:00:20' AND '2026-01-01T00:00:30'"), 6);
    assert_eq!(count("sampled_at >= now() - INTERVAL '15 seconds' AND group_id IN ('busy', 'missing')"), 4);
    assert_eq!(count("topic LIKE 'pay%' OR lag IS NULL"), 1);
    assert_eq!(lab.sql("SELECT lag FROM history LIMIT 5").rows.len(), 5);
    let status = lab.status().clusters.remove(0);
    assert_eq!(status.history_since.unwrap().seconds * 1000, START);
    assert!(status.history_bytes > 0 && status.history_dropped_samples == 0);
}

#[test]
fn changes_of_status_are_streamed_on_request_and_kept_in_a_table() {
    let kafka = kafka(1);
    kafka.create_topic("orders", 1).unwrap();
    kafka.writer().produce("orders", 0, 100).unwrap();
    let lab = Setup { clock: Clock::manual(START), ..Setup::default() }.ready(&kafka);
    lab.commit("g", "orders", 0, 50);
    lab.settle();
    let known = "SELECT count(*) AS n FROM lag WHERE status = 'ok' AND lag = 50 AND consume_rate IS NULL";
    until("a lag", || lab.sql(known).rows == [json!({"n": 1})]);
    lab.clock.advance(10_000);
    until("a sample", || count(&lab) > 0);
    let request = WatchRequest { include_status_changes: true, ..WatchRequest::default() };
    let mut watch = lab.block_on(lab.client().watch(request)).unwrap().into_inner();
    // Commits that do not advance.
    lab.clock.advance(60_000);
    lab.commit("g", "orders", 0, 50);
    let change = lab.block_on(async {
        loop {
            let mut message = watch.message().await.unwrap().unwrap();
            if let Some(change) = message.status_changes.pop() {
                break change;
            }
        }
    });
    assert_eq!((change.group_id.as_str(), change.from.as_str(), change.to.as_str()), ("g", "ok", "stalled"));
    let rows = lab.sql("SELECT cluster, group_id, from_status, to_status, at FROM status_changes").rows;
    let at = "2026-01-01T00:01:10Z";
    let expected =
        json!({"cluster": "default", "group_id": "g", "from_status": "ok", "to_status": "stalled", "at": at});
    assert_eq!(rows, [expected]);
}

#[test]
fn what_memory_forgets_is_read_from_the_store_and_nothing_comes_twice() {
    let dir = tempfile::TempDir::new().unwrap();
    let kafka = kafka(2);
    kafka.create_topic("orders", 1).unwrap();
    kafka.writer().produce("orders", 0, 100).unwrap();
    let setup = Setup { clock: Clock::manual(START), ..Setup::default() };
    let setup = setup.with("HISTORY_STORE", dir.path().to_str().unwrap()).with("HISTORY_MEMORY_FOR", "1min");
    let lab = setup.with("HISTORY_STORE_STEP", "10s").ready(&kafka);
    until("the first sample", || lab.status().clusters[0].history_since.is_some());
    let mut written = 0;
    for step in 1..=20 {
        lab.commit("g", "orders", 0, step);
        lab.settle();
        until("the previous sample to be stored", || {
            let store = lab.status().history_store.unwrap();
            assert_eq!(store.last_error, None);
            std::mem::replace(&mut written, store.written_to.map_or(0, |at| at.seconds * 1000))
                >= START + (step - 1) * 10_000
        });
        lab.clock.advance(10_000);
        let newest = format!("SELECT count(*) AS n FROM history WHERE committed_offset = {step}");
        until("a sample", || lab.sql(&newest).rows == [json!({"n": 1})]);
    }
    let oldest = lab.status().clusters[0].history_since.unwrap().seconds * 1000;
    assert!(oldest >= START + 130_000, "the memory begins later");
    let all = history(&lab, GetHistoryRequest::default());
    assert_eq!(all.len(), 1);
    assert_eq!(committed(&all[0]), (1..=20).collect::<Vec<i64>>());
    assert_eq!(all[0].samples[5].consume_rate, Some(0.1));
    assert_eq!(all[0].samples[19].lag, Some(80));
    let rows = lab.sql("SELECT committed_offset FROM history WHERE group_id = 'g' ORDER BY sampled_at").rows;
    assert_eq!(rows.len(), 20);
    assert_eq!(lab.sql("SELECT * FROM history WHERE group_id LIKE 'x%'").rows.len(), 0);
    assert!(lab.get("/metrics").text().contains("\noffsetd_history_store_up 1\n"));
}

#[test]
fn a_file_of_history_that_cannot_be_read_is_named_and_stays() {
    let dir = tempfile::TempDir::new().unwrap();
    let folder = dir.path().join("cluster=default/date=1970-01-01");
    std::fs::create_dir_all(&folder).unwrap();
    let stray = folder.join("0-99999999999999.parquet");
    std::fs::write(&stray, "").unwrap();
    let kafka = kafka(1);
    kafka.create_topic("orders", 1).unwrap();
    let setup = Setup { clock: Clock::manual(START), ..Setup::default() };
    let setup = setup.with("HISTORY_STORE", dir.path().to_str().unwrap());
    let lab = setup.with("HISTORY_STORE_STEP", "10s").ready(&kafka);
    let statement = "SELECT history_unreadable_files AS files, history_unreadable AS named FROM server";
    until("the file to be named", || lab.sql(statement).rows[0]["files"] == json!(1));
    let named = lab.sql(statement).rows[0]["named"].as_str().unwrap().to_owned();
    assert!(named.starts_with("cluster=default/date=1970-01-01/0-99999999999999.parquet: "), "{named}");
    assert!(lab.get("/metrics").text().contains("\noffsetd_history_store_skipped_files 1\n"));
    until("a sample to be stored", || lab.status().history_store.unwrap().files_written > 0);
    let told = lab.status().history_store.unwrap();
    assert_eq!((told.last_error, told.skipped.len()), (None, 1));
    assert_eq!(std::fs::read(&stray).unwrap(), b"");
}

#[test]
fn a_store_that_cannot_be_written_is_told_everywhere_until_it_can_and_live_answers_go_on() {
    let dir = tempfile::TempDir::new().unwrap();
    let in_the_way = dir.path().join("history");
    std::fs::write(&in_the_way, "").unwrap();
    let kafka = kafka(1);
    kafka.create_topic("orders", 1).unwrap();
    let setup = Setup { clock: Clock::manual(START), ..Setup::default() };
    let setup = setup.with("HISTORY_STORE", in_the_way.join("here").to_str().unwrap());
    let lab = setup.with("HISTORY_STORE_STEP", "10s").ready(&kafka);
    let error = || lab.status().history_store.unwrap().last_error;
    let step = |offset: i64| {
        lab.commit("g", "orders", 0, offset);
        lab.settle();
        lab.clock.advance(10_000);
        let newest = format!("SELECT count(*) AS n FROM history WHERE committed_offset = {offset}");
        until("a sample", || lab.sql(&newest).rows == [json!({"n": 1})]);
    };
    step(1);
    until("an error", || error().is_some_and(|error| error.contains("writing default: ")));
    assert!(lab.get("/metrics").text().contains("\noffsetd_history_store_up 0\n"));
    assert_eq!(lab.get("/readyz").status, 200);
    let told = lab.sql("SELECT history_error FROM clusters").rows;
    assert!(told[0]["history_error"].as_str().unwrap().contains("history"), "{told:?}");
    step(2);
    assert_eq!(lab.entry("g", "orders", 0).committed_offset, 2);
    let mut kept = committed(&history(&lab, GetHistoryRequest::default())[0]);
    kept.dedup();
    assert_eq!(kept, [1, 2]);
    std::fs::remove_file(&in_the_way).unwrap();
    let mut offset = 2;
    until("no error", || {
        offset += 1;
        step(offset);
        error().is_none_or(|error| !error.contains("writing"))
    });
    until("a file", || lab.status().history_store.unwrap().files_written > 0);
}
