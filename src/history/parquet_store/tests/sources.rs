//! Tests of files of several sources in the folder of one cluster.

use arrow::{array::RecordBatch, datatypes::Schema};
use futures::{FutureExt as _, future::BoxFuture};
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};

use super::*;
use crate::{
    history::{
        self, Sampler,
        joined::{JoinedReader, SampleQuery},
        tests::{config, lab},
    },
    model::Revision,
    store::{
        event::{Event, EventKind},
        group::Commit,
        latest::{LatestOffsets, Scope, SourceError},
        source::{Kind, Source},
        writer::SourceWriter,
    },
};

fn redis() -> SourceId {
    SourceId { name: "redis".into(), ..source() }
}

/// Stores a file with rows of a source, one per sample.
fn put_of(history_store: &Arc<ParquetStore>, source: &SourceId, content: &str, rows: &[Row]) {
    let times: Vec<Millis> = rows.iter().map(|row| row.at).collect();
    let file = folder::SampleFile::new(source, times[0], *times.last().unwrap());
    put_bytes(history_store, &file, file::write(content, rows, &times).unwrap());
}

fn put_bytes(history_store: &Arc<ParquetStore>, file: &folder::SampleFile, bytes: Vec<u8>) {
    let store = history_store.store().unwrap();
    history_store.runtime().unwrap().block_on(put_file(&*store, &file.path, bytes)).unwrap();
}

fn committed(history_store: &Arc<ParquetStore>, source: SourceId) -> Vec<Option<i64>> {
    let read = read(history_store, SampleRequest { source, ..request(0..=Millis::MAX) });
    read.into_iter().flat_map(|(.., values)| values).collect()
}

#[test]
fn files_of_sources_are_read_merged_and_deleted_separately() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    for minute in 0..3 {
        let at = START + minute * 60_000;
        put_of(&history_store, &source(), SOURCE_KAFKA, &[row("g", 0, at, Some(minute))]);
        put_of(&history_store, &redis(), "redis", &[row("g", 0, at, Some(100 + minute))]);
    }
    let (own, other) = ([Some(0), Some(1), Some(2)], [Some(100), Some(101), Some(102)]);
    for round in 0..3 {
        assert_eq!(
            (committed(&history_store, source()), committed(&history_store, redis())),
            (own.to_vec(), other.to_vec())
        );
        compact(&history_store, START + HOUR + 300_000 + round);
    }
    let name = format!("cluster=c/date=2026-01-01/{START}-{}", START + 120_000);
    assert_eq!(files(dir.path()), [format!("{name}.parquet"), format!("{name}.redis.parquet")]);
    assert_eq!(history_store.status().unreadable, 0);
    assert_eq!(committed(&history_store, SourceId { name: "etl".into(), ..source() }), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn each_source_reads_only_its_own_rows(
        rows in any_rows(),
        of_others in prop::collection::vec((any::<bool>(), any::<bool>()), 60),
    ) {
        let dir = TempDir::new().unwrap();
        let history_store = history_store(dir.path());
        let mut expected = vec![];
        for of in [source(), redis()] {
            let of_redis = *of.name == *"redis";
            let own = rows.iter().zip(&of_others).filter(|(_, (here, both))| *both || *here == of_redis);
            let own: Vec<Row> = own.map(|(row, _)| row.clone()).collect();
            // One file per sample, with its keys in order.
            for at in START..START + 5 {
                let at_once: Vec<Row> = own.iter().filter(|row| row.at == at).cloned().collect();
                let file = folder::SampleFile::new(&of, at, at);
                put_bytes(&history_store, &file, file::write(&of.name, &at_once, &[at]).unwrap());
            }
            expected.push((of, own));
        }
        for round in 0..3 {
            for (source, own) in &expected {
                let source = source.clone();
                let found = read_samples(&history_store, SampleRequest { source, ..request(START..=START + 10) }).1;
                prop_assert_eq!(&found.flat_map(|key| Row::of(&key).collect::<Vec<_>>()).collect::<Vec<_>>(), own);
            }
            compact(&history_store, START + HOUR + 300_000 + round);
        }
        prop_assert_eq!((files(dir.path()).len(), history_store.status().unreadable), (2, 0));
    }
}

#[test]
fn a_file_with_rows_of_another_source_is_not_read() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    put_of(&history_store, &redis(), SOURCE_KAFKA, &[row("g", 0, START, Some(1))]);
    assert_eq!(committed(&history_store, redis()), []);
    assert_eq!(history_store.status().unreadable, 1);
}

#[test]
fn a_file_without_the_source_column_belongs_to_the_cluster() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    let rows = [row("g", 0, START, Some(1)), row("h", 0, START, Some(2))];
    let whole = file::write(SOURCE_KAFKA, &rows, &[START]).unwrap();
    let without = |bytes: Vec<u8>| {
        let batches =
            ParquetRecordBatchReaderBuilder::try_new(prost::bytes::Bytes::from(bytes)).unwrap().build().unwrap();
        let places: Vec<usize> = (1..8).collect();
        let batches: Vec<RecordBatch> = batches.map(|batch| batch.unwrap().project(&places).unwrap()).collect();
        let metadata = [("offsetd.samples".to_owned(), START.to_string())].into();
        let schema = Arc::new(Schema::clone(&batches[0].schema()).with_metadata(metadata));
        let mut writer = ArrowWriter::try_new(vec![], Arc::clone(&schema), None).unwrap();
        for batch in batches {
            writer.write(&batch.with_schema(Arc::clone(&schema)).unwrap()).unwrap();
        }
        writer.into_inner().unwrap()
    };
    put_bytes(&history_store, &folder::SampleFile::new(&source(), START, START), without(whole.clone()));
    put_bytes(&history_store, &folder::SampleFile::new(&redis(), START, START), without(whole));
    assert_eq!(committed(&history_store, source()), [Some(1), Some(2)]);
    let groups = Some(vec!["h".to_owned()]);
    let read = read(&history_store, SampleRequest { groups, ..request(START..=START) });
    assert_eq!(read, [("h".to_owned(), 0, vec![Some(2)])], "its columns have other indexes");
    assert_eq!(committed(&history_store, redis()), []);
    assert_eq!(history_store.status().unreadable, 1, "without the column, the file is not of the source in its name");
}

#[derive(Debug)]
struct Silent;

impl LatestOffsets for Silent {
    fn required_revisions<'a>(&'a self, _: &'a Scope) -> BoxFuture<'a, Result<Vec<(i32, Revision)>, SourceError>> {
        async { Ok(vec![]) }.boxed()
    }
}

#[test]
fn samples_of_each_source_are_stored_separately() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    let mut lab = lab(usize::MAX);
    let cluster = lab.cluster();
    cluster.set_history_store(Box::new(Arc::clone(&history_store)));
    let id = SourceId { cluster: Name::clone(&cluster.name), name: "redis".into() };
    let added = Arc::new(Source::new((id, "redis".into()), Kind::Table, Arc::new(Silent), &lab.clock));
    lab.store.add_source(&cluster, Arc::clone(&added));
    added.set_health(|health| (health.ready, health.reachable) = (true, true));
    let door = SourceWriter::new(&lab.store, &cluster, &added);
    let shard = door.new_shard(0);
    door.publish(&shard);
    let config = config();
    let settings = history::Settings::new(&config.history, &config.lag);
    let mut sampler = Sampler::new(Arc::clone(&lab.store), (Arc::clone(&cluster), Arc::clone(&added)), settings);
    let mut writer = SampleWriter::new(Arc::clone(&history_store), Arc::clone(&lab.store));
    lab.commit("g", ("orders", 0), 5);
    let commit = Commit {
        committed_offset: 7,
        committed_at: 0,
        leader_epoch: -1,
        metadata: "",
        expires_at: None,
        topic_id: None,
        first_seen_at: None,
    };
    let kind = EventKind::Commit { topic: "orders", partition: 0, commit };
    shard.apply(&[Event { revision: Revision(0), at: lab.clock.now(), group: "g", kind }], Revision(0));
    lab.sample();
    sampler.sample();
    history_store.runtime().unwrap().block_on(writer.run_due());
    assert_eq!((history_store.status().files, history_store.status().last_error), (2, None));
    // Long after, when memory no longer has the sample.
    let then = lab.clock.now();
    lab.clock.advance(2 * HOUR);
    lab.sample();
    sampler.sample();
    let cut = lab.store.cut("", false).unwrap();
    let stored: Vec<(&str, i64)> = cut
        .sources
        .iter()
        .map(|of| {
            let mut joined =
                JoinedReader::new(of, SampleQuery::all(0..=then), |_| true, |sample_refs| sample_refs).unwrap();
            let (_, key) = joined.next_key(|_, _| true).unwrap().unwrap();
            (&*of.source.id.name, key.at(joined.sample_refs[0]).unwrap().committed_offset)
        })
        .collect();
    assert_eq!(stored, [("kafka", 5), ("redis", 7)]);
}
