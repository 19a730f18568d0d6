//! The cost of one record and of one call.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use offsetd::decode::{Record, decode};
use offsetd::model::Revision;
use offsetd::rpc::Service;
use offsetd::rpc::proto::offset_service_server::OffsetService as _;
use offsetd::rpc::proto::{GetOffsetRequest, QueryRequest};
use prost::Message as _;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tonic::Request;

use super::{Keys, empty, engine, event, rows};
use crate::measure::Report;
use crate::recorded::{self, records};
use crate::synthetic;

const GROUPS: usize = 1000;
const PARTITIONS: usize = 100;
/// Repetitions of a record, for costs of nanoseconds.
const TIMES: usize = 10_000;
const PAGE: i32 = 10_000;

pub(crate) fn run(report: &mut Report) {
    decoding(report);
    applying(report);
    pinning(report);
    reading(report);
}

/// Decodes each record type of the fixtures.
fn decoding(report: &mut Report) {
    let mut by_type: BTreeMap<(i16, String), Vec<recorded::Record>> = BTreeMap::new();
    for (key, value) in records() {
        if let (Ok(record), Some(_)) = (decode(Some(&key), value.as_deref()), &value) {
            let name = format!("{record:?}").split([' ', '{']).next().unwrap_or_default().to_owned();
            if !matches!(record, Record::Unknown { .. }) {
                by_type.entry((record.kind(), name)).or_default().push((key, value));
            }
        }
    }
    assert!(by_type.len() > 15, "{} types", by_type.len());
    for ((kind, name), records) in by_type {
        let bytes = records.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum::<usize>();
        let what = format!("decode type {kind}, {name}, {} bytes", bytes / records.len());
        report.each(&what, TIMES * records.len(), || {
            for (key, value) in std::iter::repeat_n(&records, TIMES).flatten() {
                drop(black_box(decode(black_box(Some(key)), value.as_deref())));
            }
        });
    }
}

fn applying(report: &mut Report) {
    let keys = Keys::new(GROUPS, PARTITIONS);
    let (_store, shard) = empty();
    report.each_of("apply a commit of a new key", keys.len(), || keys.commit(&shard, 0), || keys.delete(&shard, 0));
    keys.commit(&shard, 0);
    report.each("apply a commit of a known key", keys.len(), || keys.commit(&shard, 1));
    report.each_of("apply a tombstone", keys.len(), || keys.delete(&shard, 1), || keys.commit(&shard, 0));
}

/// A reader that pins a version makes the writer copy what it changes next.
fn pinning(report: &mut Report) {
    let keys = Keys::new(GROUPS, PARTITIONS);
    let (_store, shard) = empty();
    keys.commit(&shard, 0);
    for (what, is_new) in [("a commit, and a pin of 1,000 groups", true), ("the same pin again", false)] {
        report.each(what, TIMES, || {
            for number in 0..TIMES {
                if is_new {
                    shard.apply(&[event(&keys.groups[number % GROUPS], "orders", 0, 7)], Revision(0));
                }
                black_box(shard.pin());
            }
        });
    }
    for (what, held) in
        [("a commit without readers", false), ("a commit after a pin, which copies what it changes", true)]
    {
        report.each(what, TIMES, || {
            for number in 0..TIMES {
                let pinned = held.then(|| shard.pin());
                let group = &keys.groups[number % GROUPS];
                shard.apply(&[event(group, "orders", number % PARTITIONS, 7)], Revision(0));
                drop(black_box(pinned));
            }
        });
    }
}

fn reading(report: &mut Report) {
    let keys = Keys::new(GROUPS, PARTITIONS);
    let (store, shard) = empty();
    keys.commit(&shard, 0);
    synthetic::ends(&store.clusters()[0], &[("orders".to_owned(), PARTITIONS)], |_, _| 1 << 40, &store.clock);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let sql = Arc::new(engine(&store, 1));
    for table in ["offsets", "lag"] {
        let statement = format!("SELECT * FROM {table}");
        let scan = || assert_eq!(rows(&runtime, &sql, &statement), keys.len());
        report.each(&format!("a row of {table}, all columns, to Arrow"), keys.len(), scan);
    }
    let config = synthetic::config();
    let service = Service::new(sql, config.server, config.history.step, CancellationToken::new());
    calls(report, &runtime, &service, &keys);
}

fn calls(report: &mut Report, runtime: &Runtime, service: &Service, keys: &Keys) {
    let request = |number: usize| QueryRequest {
        group_id: keys.groups[number * 7919 % GROUPS].clone(),
        topic: "orders".to_owned(),
        partition: i32::try_from(number % PARTITIONS).unwrap(),
        ..QueryRequest::default()
    };
    report.each("Query, with its message encoded", TIMES, || {
        for number in 0..TIMES {
            let answer = runtime.block_on(service.query(Request::new(request(number)))).unwrap();
            black_box(answer.into_inner().encode_to_vec());
        }
    });
    let page = || GetOffsetRequest { page_size: PAGE, ..GetOffsetRequest::default() };
    let entries = usize::try_from(PAGE).unwrap();
    report.each("an entry of a page of GetOffset", entries, || {
        let answer = runtime.block_on(service.get_offset(Request::new(page()))).unwrap().into_inner();
        assert_eq!(answer.entries.len(), entries);
        black_box(answer);
    });
    let answer = runtime.block_on(service.get_offset(Request::new(page()))).unwrap().into_inner();
    report.each("an entry of a page, encoded", entries, || drop(black_box(answer.encode_to_vec())));
}
