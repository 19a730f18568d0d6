use std::collections::BTreeMap;

use super::{super::super::client::Connector, *};
use crate::{
    clock::Clock,
    config::{Config, Flags, Layers},
    source::kafka::Log,
    store::{Store, cut::Settings},
};

/// Makes a reader of a cluster without reachable brokers.
fn reader() -> PollReader {
    let flags = Flags { bootstrap_servers: Some("127.0.0.1:1".to_owned()), ..Flags::default() };
    let layers = Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
    let config = Config::load(layers).unwrap().config.clusters.remove(0);
    let clock = Clock::manual(0);
    let client = Connector::new(&config, CancellationToken::new()).connect().unwrap();
    let (cluster, _) = Log::open(config, &clock);
    let settings = Settings { window: 1, active_within: 1, commits_kept: 1, watch_queue: 1 };
    let store = Arc::new(Store::new(vec![Arc::clone(&cluster)], clock, settings));
    let identity = Arc::new(Identity::new(CancellationToken::new()));
    PollReader::new(
        SourceWriter::own(&store, &cluster),
        (client, identity),
        mpsc::sync_channel(1).1,
        ReplacedLogs::default(),
    )
    .unwrap()
}

#[test]
fn a_partition_that_failed_to_start_is_retried_until_it_starts() {
    let (mut reader, start) = (reader(), now());
    let load = |reader: &PollReader, log_partition| {
        let shard = reader.writer.new_shard(log_partition);
        Load { shard, live_from: Revision(0), is_replacement: false }
    };
    // librdkafka cannot start a partition with a negative number.
    let bad = load(&reader, -1);
    reader.start(bad.clone(), start);
    reader.start(load(&reader, 0), start);
    assert!(bad.shard.progress.last_error().is_some());
    let waiting = |reader: &PollReader| reader.failed.iter().map(|(number, at)| (*number, *at)).collect::<Vec<_>>();
    assert_eq!(waiting(&reader), [(-1, start + RETRY)]);
    reader.retry_failed(start + RETRY / 2);
    assert_eq!(waiting(&reader), [(-1, start + RETRY)], "not due yet");
    reader.retry_failed(start + RETRY);
    assert_eq!(waiting(&reader), [(-1, start + 2 * RETRY)], "tried again, and failed again");
    // A partition that has started meanwhile is not retried.
    let good = Load { shard: load(&reader, 1).shard, ..bad };
    reader.start(good, start);
    reader.failed.insert(1, start);
    reader.retry_failed(start);
    assert_eq!(waiting(&reader), [(-1, start + 2 * RETRY)]);
}
