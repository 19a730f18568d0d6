use std::{collections::BTreeSet, fs, path::Path};

use serde::Deserialize;
use tempfile::TempDir;

use super::*;
use crate::{
    s3::S3Access,
    source::{
        rate_limit::RequestLimit,
        spark::{KAFKA_OFFSET, address::Address, tests::load},
    },
};

/// A row that Spark itself reported for a recorded checkpoint.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    query: String,
    topic: String,
    partition: i32,
    committed_offset: i64,
    #[serde(flatten)]
    metadata: Metadata,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Metadata {
    batch: Option<u64>,
    planned_batch: Option<u64>,
    planned_offset: Option<i64>,
}

/// A folder with checkpoints, and its reader.
struct Folder {
    folder: TempDir,
    storage: Storage,
    offset: Value,
    common: config::Source,
}

impl Folder {
    fn new() -> Self {
        let limit = RequestLimit::new(1_000_000);
        let s3 = S3Access { endpoint: "", region: "", credentials: None };
        let storage = Storage::open(&Address::parse("file:///x").unwrap(), s3, "", limit).unwrap();
        let offset = Value::parse(KAFKA_OFFSET, None).unwrap();
        let mut loaded = load("checkpoints = \"file:///x\"\n").unwrap();
        let common = loaded.config.sources.remove(0);
        Self { folder: TempDir::new().unwrap(), storage, offset, common }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().trim_start_matches('/').to_owned()
    }

    fn write(&self, file: &str, content: &str) {
        let file = self.folder.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.folder.path().join(file)).unwrap();
    }

    /// Writes a batch of the query `q`.
    fn batch(&self, log: &str, number: u64, offsets: &str) {
        self.write("q/metadata", r#"{"id":"query-1"}"#);
        self.write(&format!("q/{log}/{number}"), &format!("v1\n{{\"batchTimestampMs\":5}}\n{offsets}"));
    }

    async fn read_path(&self, path: &str, known: Option<&Checkpoint>) -> Checkpoint {
        let reader = CheckpointReader { storage: &self.storage, offset: &self.offset, common: &self.common };
        reader.read(path, known).await.unwrap()
    }

    async fn read(&self, known: Option<&Checkpoint>) -> Checkpoint {
        self.read_path(&self.path("q"), known).await
    }
}

fn rows(name: &str, checkpoint: &Checkpoint) -> Vec<Row> {
    let query = checkpoint.query.iter();
    let offsets = query.flat_map(Query::offsets).map(|(topic, partition, committed_offset, metadata)| Row {
        query: name.to_owned(),
        topic: topic.to_string(),
        partition,
        committed_offset,
        metadata: serde_json::from_str(&metadata).unwrap(),
    });
    offsets.collect()
}

/// Returns each topic and offset of the query `q`.
fn offsets(checkpoint: &Checkpoint) -> Vec<(String, i32, i64)> {
    rows("q", checkpoint).into_iter().map(|row| (row.topic, row.partition, row.committed_offset)).collect()
}

fn orders(offset: i64) -> Vec<(String, i32, i64)> {
    vec![("orders".to_owned(), 0, offset)]
}

fn rejected(checkpoint: &Checkpoint) -> (Rejected, &str) {
    let (why, place) = checkpoint.rejected.as_ref().unwrap();
    (*why, place)
}

#[tokio::test]
async fn recorded_checkpoints_show_the_offsets_that_spark_reported() {
    let folder = Folder::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spark");
    for version in ["3.5.7", "4.2.0"] {
        let recorded = fixtures.join(version);
        let expected = fs::read_to_string(fixtures.join(format!("{version}.json"))).unwrap();
        let expected: Vec<Row> = serde_json::from_str(&expected).unwrap();
        let queries: BTreeSet<&str> = expected.iter().map(|row| row.query.as_str()).collect();
        assert!(queries.len() >= 7, "{queries:?}");
        let mut found = vec![];
        for query in queries {
            let path = recorded.join(query).to_str().unwrap().trim_start_matches('/').to_owned();
            let checkpoint = folder.read_path(&path, None).await;
            let state = checkpoint.query.as_ref().unwrap();
            let committed = state.committed.as_ref().unwrap();
            assert_eq!(committed.foreign_sources, usize::from(query == "join-rate"), "{version} {query}");
            assert_eq!((committed.malformed, &checkpoint.rejected), (0, &None), "{version} {query}");
            assert_eq!(state.has_gaps, query == "async-progress", "{version} {query}");
            found.extend(rows(query, &checkpoint));
        }
        let sorted = |mut rows: Vec<Row>| {
            rows.sort();
            rows
        };
        assert_eq!(sorted(found), sorted(expected), "{version}");
    }
}

#[tokio::test]
async fn batches_are_followed_by_probes_and_full_reads() {
    let folder = Folder::new();
    folder.batch("offsets", 0, r#"{"orders":{"0":5}}"#);
    folder.write("q/sources/0/0", "\0v1\n{\"orders\":{\"0\":2}}");
    folder.write("q/sources/named/0", "\0v1\n{\"orders\":{\"0\":3}}");
    let mut checkpoint = folder.read(None).await;
    assert_eq!(offsets(&checkpoint), orders(2), "nothing is committed yet");
    assert_eq!(checkpoint.query.as_ref().unwrap().committed_at, None);
    for number in 0..20 {
        folder.batch("commits", number, "{}");
        folder.batch("offsets", number + 1, &format!(r#"{{"orders":{{"0":{}}}}}"#, 6 + number));
        // Several rounds without a change, so that the next one starts with a probe.
        for _ in 0..number {
            checkpoint = folder.read(Some(&checkpoint)).await;
        }
        checkpoint = folder.read(Some(&checkpoint)).await;
        let offset = i64::try_from(5 + number).unwrap();
        assert_eq!(offsets(&checkpoint), orders(offset));
        let metadata = rows("q", &checkpoint)[0].metadata.clone();
        let planned =
            Metadata { batch: Some(number), planned_batch: Some(number + 1), planned_offset: Some(offset + 1) };
        assert_eq!(metadata, planned);
    }
}

#[tokio::test]
async fn batches_that_are_missing_in_between_do_not_hide_later_ones() {
    let folder = Folder::new();
    for number in [0, 4, 9] {
        folder.batch("offsets", number, &format!(r#"{{"orders":{{"0":{number}}}}}"#));
        folder.batch("commits", number, "{}");
    }
    let mut checkpoint = folder.read(None).await;
    assert_eq!(offsets(&checkpoint), orders(9));
    for number in [12, 30] {
        checkpoint = folder.read(Some(&checkpoint)).await;
        folder.batch("offsets", number, &format!(r#"{{"orders":{{"0":{number}}}}}"#));
        folder.batch("commits", number, "{}");
        checkpoint = folder.read(Some(&checkpoint)).await;
        assert_eq!(offsets(&checkpoint), orders(i64::try_from(number).unwrap()));
    }
}

#[tokio::test]
async fn a_replaced_checkpoint_has_only_its_own_offsets() {
    let folder = Folder::new();
    folder.batch("offsets", 7, r#"{"orders":{"0":5},"gone":{"0":1}}"#);
    folder.batch("commits", 7, "{}");
    let mut checkpoint = folder.read(None).await;
    checkpoint = folder.read(Some(&checkpoint)).await;
    assert_eq!(offsets(&checkpoint).len(), 2);
    fs::remove_dir_all(folder.folder.path().join("q")).unwrap();
    folder.batch("offsets", 0, r#"{"orders":{"0":1}}"#);
    folder.batch("commits", 0, "{}");
    folder.write("q/metadata", r#"{"id":"query-2"}"#);
    checkpoint = folder.read(Some(&checkpoint)).await;
    assert_eq!(offsets(&checkpoint), orders(1));
    fs::remove_dir_all(folder.folder.path().join("q")).unwrap();
    checkpoint = folder.read(Some(&checkpoint)).await;
    assert!(checkpoint.query.is_none(), "a deleted checkpoint has no offsets");
    assert_eq!(rejected(&checkpoint).0, Rejected::Unmatched);
}

#[tokio::test]
async fn an_unreadable_file_keeps_the_last_offsets_and_is_named() {
    let folder = Folder::new();
    folder.batch("offsets", 0, r#"{"orders":{"0":5}}"#);
    folder.batch("commits", 0, "{}");
    let checkpoint = folder.read(None).await;
    folder.batch("commits", 1, "{}");
    for (content, reason) in [("v3\n{}\n{}", "/offsets/1: version 3 is unknown"), ("", "/offsets/1: no version")] {
        folder.write("q/offsets/1", content);
        let after = folder.read(Some(&checkpoint)).await;
        assert_eq!(offsets(&after), orders(5));
        let (why, place) = rejected(&after);
        assert!(why == Rejected::Malformed && place.starts_with("file:///") && place.contains(reason), "{place}");
    }
    // Spark keeps so few batches that the offsets of the committed one are already deleted.
    folder.remove("q/offsets/1");
    folder.remove("q/offsets/0");
    let after = folder.read(Some(&checkpoint)).await;
    assert_eq!(offsets(&after), orders(5));
    assert!(rejected(&after).1.contains("offsets/1: file is missing"), "{after:?}");
    // It recovers with the next batch.
    folder.batch("offsets", 2, r#"{"orders":{"0":8}}"#);
    folder.batch("commits", 2, "{}");
    let mut after = after;
    for _ in 0..=MAX_PROBES {
        after = folder.read(Some(&after)).await;
    }
    assert_eq!((offsets(&after), after.rejected), (orders(8), None));
}

#[tokio::test]
async fn bad_values_lose_only_themselves_and_the_lower_of_two_sources_counts() {
    let folder = Folder::new();
    let sources = [
        r#"{"orders":{"0":5,"1":-1,"2":"x","3":9223372036854775808,"4":1.5e3,"x":1,"5":null},"a/b":{"0":1},"list":[1]}"#,
        r#"{"orders":{"0":4,"6":7}}"#,
        r#"{"logOffset":3}"#,
        r#"{"sourceVersion":1,"reservoirId":"x","index":0}"#,
        "1796077084952",
        "{}",
        "not JSON",
    ];
    folder.batch("offsets", 3, &sources.join("\n"));
    folder.batch("commits", 3, "{}");
    let checkpoint = folder.read(None).await;
    assert_eq!(offsets(&checkpoint), [("orders".to_owned(), 0, 4), ("orders".to_owned(), 6, 7)]);
    let batch = checkpoint.query.as_ref().unwrap().committed.clone().unwrap();
    assert_eq!((batch.malformed, batch.foreign_sources), (8, 4));
}

#[tokio::test]
async fn a_folder_without_a_checkpoint_is_named_by_what_it_is() {
    let folder = Folder::new();
    folder.write("q/checkpoint-1700000000000", "\u{ac}\u{ed}");
    let checkpoint = folder.read(None).await;
    assert!(rejected(&checkpoint).1.ends_with("/q: checkpoint of DStreams; only Structured Streaming is supported"));
    folder.remove("q/checkpoint-1700000000000");
    folder.write("q/part-0.parquet", "PAR1");
    assert!(rejected(&folder.read(None).await).1.ends_with("/q: no checkpoint"));
    folder.write("q/offsets/0", "v1");
    assert_eq!(rejected(&folder.read(None).await).0, Rejected::Malformed);
    // A query that has just been started.
    folder.write("q/metadata", r#"{"id":"query-1"}"#);
    let mut known = folder.read(None).await;
    folder.remove("q/metadata");
    folder.remove("q/offsets/0");
    fs::remove_dir(folder.folder.path().join("q/offsets")).unwrap();
    known = folder.read(Some(&known)).await;
    folder.batch("offsets", 0, r#"{"orders":{"0":5}}"#);
    folder.batch("commits", 0, "{}");
    known = folder.read(Some(&known)).await;
    assert_eq!(offsets(&known), orders(5), "a probe sees the new checkpoint");
    folder.write("q/metadata", "{}");
    known = folder.read(Some(&known)).await;
    assert!(rejected(&known).1.contains("metadata: no id of a query"), "{known:?}");
}
