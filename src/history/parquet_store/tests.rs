//! Tests of the files of the history store in a local folder, and of foreign files in it.

use std::{fs, path::Path as FilePath};

use proptest::prelude::*;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    store::history_store::{Bounds, FixedBudget},
    work::CancelHandle,
};

mod damage;
mod faults;
mod kills;
mod sources;

const HOUR: Millis = 3_600_000;
const START: Millis = 1_767_225_600_000;

fn history_store(folder: &FilePath) -> Arc<ParquetStore> {
    let flags = config::Flags { bootstrap_servers: Some("127.0.0.1:9".to_owned()), ..Default::default() };
    let env = [("OFFSETD_HISTORY_STORE".to_owned(), folder.display().to_string())].into();
    let layers = config::Layers { flags: &flags, env: &env, check_property: None };
    ParquetStore::new(config::Config::load(layers).unwrap().config.history).unwrap().unwrap()
}

/// Returns the own source of the cluster of these tests.
fn source() -> SourceId {
    SourceId { cluster: "c".into(), name: SOURCE_KAFKA.into() }
}

fn row(group: &str, partition: i32, at: Millis, committed: Option<i64>) -> Row {
    let point = committed.map(|committed_offset| Point { committed_offset, log_end_offset: Some(9), lag: None });
    Row { group: group.into(), topic: "orders".into(), partition, at, point }
}

/// Stores a file with rows of one or several samples.
fn store(history_store: &Arc<ParquetStore>, rows: &[Row]) {
    store_with(history_store, rows, rows.iter().map(|row| row.at).collect());
}

/// Stores a file with rows and with the times of its samples.
fn store_with(history_store: &Arc<ParquetStore>, rows: &[Row], mut times: Vec<Millis>) {
    times.sort_unstable();
    times.dedup();
    let file = folder::SampleFile::new(&source(), times[0], *times.last().unwrap());
    let (bytes, store) = (file::write(SOURCE_KAFKA, rows, &times).unwrap(), history_store.store().unwrap());
    history_store.runtime().unwrap().block_on(put_file(&*store, &file.path, bytes)).unwrap();
}

fn tidy(history_store: &Arc<ParquetStore>, now: Millis) -> Result<(), ParquetStoreError> {
    history_store.runtime().unwrap().block_on(history_store.tidy(&"c".into(), now, &CancellationToken::new()))
}

/// Returns the samples of a store that does not fail.
fn read_samples(
    history_store: &Arc<ParquetStore>,
    request: SampleRequest,
) -> (Vec<Millis>, impl Iterator<Item = ArchivedKey>) {
    let stored = history_store.read(request).unwrap().unwrap();
    (stored.times, stored.keys.map(Result::unwrap))
}

fn compact(history_store: &Arc<ParquetStore>, now: Millis) {
    tidy(history_store, now).unwrap();
}

fn request(times: std::ops::RangeInclusive<Millis>) -> SampleRequest {
    let (groups, prefix, first, bounds) = Default::default();
    SampleRequest { source: source(), times, groups, prefix, first, bounds }
}

/// Returns the committed offsets of all keys at the times that were found.
fn read(history_store: &Arc<ParquetStore>, request: SampleRequest) -> Vec<(String, i32, Vec<Option<i64>>)> {
    let (times, keys) = read_samples(history_store, request);
    let keys = keys.map(|key| {
        let values = times.iter().map(|at| key.at(*at).map(|point| point.committed_offset)).collect();
        (key.group.to_string(), key.partition, values)
    });
    keys.collect()
}

fn files(folder: &FilePath) -> Vec<String> {
    let mut found = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path)
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string())
            }
        }
    }
    found.sort();
    found
}

/// Returns all rows of the store.
fn all_rows(history_store: &Arc<ParquetStore>) -> Vec<Row> {
    read_samples(history_store, request(0..=Millis::MAX)).1.flat_map(|key| Row::of(&key).collect::<Vec<_>>()).collect()
}

/// Copies the files of a folder, except one.
fn copy(from: &FilePath, without: Option<&str>) -> TempDir {
    let to = TempDir::new().unwrap();
    for file in files(from).iter().filter(|file| Some(file.as_str()) != without) {
        fs::create_dir_all(to.path().join(file).parent().unwrap()).unwrap();
        fs::copy(from.join(file), to.path().join(file)).unwrap();
    }
    to
}

#[test]
fn written_rows_hold_until_the_next_row() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    let at = |minute: i64| START + minute * 60_000;
    store(&history_store, &[row("a", 0, at(0), Some(1)), row("b", 0, at(0), Some(5)), row("b", 1, at(0), Some(6))]);
    store(&history_store, &[row("b", 0, at(1), Some(7))]);
    store(&history_store, &[row("b", 0, at(2), Some(8)), row("b", 1, at(2), None)]);
    assert_eq!(files(dir.path())[0], format!("cluster=c/date=2026-01-01/{0}-{0}.parquet", at(0)));
    let all = read(&history_store, request(at(0)..=at(2)));
    let expected = [
        ("a".to_owned(), 0, vec![Some(1), Some(1), Some(1)]),
        ("b".to_owned(), 0, vec![Some(5), Some(7), Some(8)]),
        ("b".to_owned(), 1, vec![Some(6), Some(6), None]),
    ];
    assert_eq!(all, expected);
    // The row of the minute before holds.
    assert_eq!(read(&history_store, request(at(1)..=at(1)))[0], ("a".to_owned(), 0, vec![Some(1)]));
    let of = |groups: &[&str]| Some(groups.iter().map(|group| (*group).to_owned()).collect());
    let one = read(&history_store, SampleRequest { groups: of(&["a", "x"]), ..request(at(0)..=at(2)) });
    assert_eq!(one, expected[..1]);
    assert_eq!(read(&history_store, SampleRequest { prefix: "b".to_owned(), ..request(at(0)..=at(2)) }), expected[1..]);
    assert!(read(&history_store, request(at(600)..=at(601))).is_empty(), "no row holds for hours");
}

#[test]
fn every_group_of_a_large_file_is_found() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    // Ids that are longer than the statistics keep, with the same first bytes; the rows fill several pages and row
    // groups.
    let id = |group: usize| format!("{}{group:03}", "x".repeat(if group < 175 { 100 } else { 1 }));
    let mut rows: Vec<Row> =
        (0..350).flat_map(|group| (0..200).map(move |at| row(&id(group), 0, START + at * 60_000, Some(at)))).collect();
    rows.sort_by(|left, right| left.group.cmp(&right.group));
    store(&history_store, &rows);
    for group in (0..350).step_by(23).chain([174, 175, 349]) {
        let groups = Some(vec![id(group)]);
        let (_, keys) = read_samples(&history_store, SampleRequest { groups, ..request(START..=START + 6 * HOUR) });
        let found: Vec<_> = keys.map(|key| (key.group.to_string(), key.rows.len())).collect();
        assert_eq!(found, [(id(group), 200)]);
    }
    let from = |first: String| {
        read_samples(&history_store, SampleRequest { first, ..request(START..=START + 6 * HOUR) }).1.count()
    };
    assert_eq!([from(id(175)), from(id(0)), from("y".to_owned())], [350, 175, 0]);
}

#[test]
fn merging_the_files_of_an_hour_keeps_their_rows() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    for minute in 0..90 {
        let at = START + minute * 60_000;
        store(&history_store, &[row("a", 0, at, Some(minute)), row("b", 3, at, Some(2 * minute))]);
    }
    let before = read(&history_store, request(START..=START + 2 * HOUR));
    compact(&history_store, START + HOUR + HOUR / 2);
    assert_eq!(files(dir.path()).len(), 91, "current readers still find the parts");
    assert_eq!(read(&history_store, request(START..=START + 2 * HOUR)), before);
    compact(&history_store, START + HOUR + HOUR / 2);
    assert_eq!(files(dir.path()).len(), 31, "one file for the hour that is over, thirty for the next");
    assert_eq!(read(&history_store, request(START..=START + 2 * HOUR)), before);
    assert_eq!(before[0].2.len(), 90);
}

#[test]
fn merging_the_files_of_a_day_keeps_unreadable_files() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    // Two files per hour over three days, of which the last is not over.
    for at in (0..104).map(|half| START + half * HOUR / 2) {
        let rows = |group: i64| row(&format!("g{group:02}"), 0, at, Some(at / 1000 + group));
        store(&history_store, &(0..20).map(rows).collect::<Vec<_>>());
    }
    let bad = format!("cluster=c/date=2026-01-01/{0}-{0}.parquet", START + 5 * HOUR + HOUR / 4);
    fs::write(dir.path().join(&bad), "PAR1").unwrap();
    let all = || read(&history_store, request(START..=START + 60 * HOUR));
    let before = all();
    assert!(history_store.status().skipped.contains_key(&bad));
    for _ in 0..3 {
        compact(&history_store, START + 52 * HOUR);
        assert_eq!(all(), before);
    }
    let found = files(dir.path());
    let of_day = |day: usize| found.iter().filter(|file| file.contains(&format!("date=2026-01-0{day}"))).count();
    // The merged day and the unreadable file; the merged day; the merged hours and the files of the current hour.
    assert_eq!([of_day(1), of_day(2), of_day(3)], [2, 1, 5], "{found:?}");
    assert_eq!(history_store.status().last_error, None);
}

#[test]
fn a_read_starts_at_the_requested_group_and_ends_when_cancelled() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    store(&history_store, &["a", "b", "c"].map(|group| row(group, 0, START, Some(1))));
    let groups = |request: SampleRequest| -> Vec<String> {
        read_samples(&history_store, request).1.map(|key| key.group.to_string()).collect()
    };
    assert_eq!(groups(SampleRequest { first: "b".to_owned(), ..request(START..=START) }), ["b", "c"]);
    let gone = CancellationToken::new();
    let bounds = Bounds { cancel: CancelHandle::with_token(gone.clone()), budget: None };
    let mut stored =
        history_store.read(SampleRequest { bounds: bounds.clone(), ..request(START..=START) }).unwrap().unwrap();
    assert_eq!(stored.times, [START]);
    gone.cancel();
    let next = stored.keys.next().unwrap();
    assert_eq!(next.map(drop), Err(ReadError::Stopped));
    assert!(stored.keys.next().is_none());
    assert!(bounds.check().is_err());
    let stopped = history_store.read(SampleRequest { bounds, ..request(START..=START) });
    assert_eq!(stopped.map(drop), Err(ReadError::Stopped));
    assert!(Bounds::default().check().is_ok());
}

#[test]
fn a_crash_between_merging_and_deleting_duplicates_no_row() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    let rows: Vec<Row> = (0..3).map(|minute| row("a", 0, START + minute * 60_000, Some(minute))).collect();
    rows.iter().for_each(|row| store(&history_store, std::slice::from_ref(row)));
    store(&history_store, &rows);
    assert_eq!(files(dir.path()).len(), 4);
    assert_eq!(
        read(&history_store, request(START..=START + HOUR)),
        [("a".to_owned(), 0, vec![Some(0), Some(1), Some(2)])]
    );
    compact(&history_store, START);
    assert_eq!(files(dir.path()).len(), 1, "the parts of the merged file are deleted");
}

#[test]
fn corrupt_and_foreign_files_are_skipped_and_named() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    store(&history_store, &[row("a", 0, START, Some(1))]);
    let folder = dir.path().join("cluster=c/date=2026-01-01");
    let good = fs::read(folder.join(format!("{START}-{START}.parquet"))).unwrap();
    fs::write(folder.join("notes.txt"), "hello").unwrap();
    let bad = |at: Millis, bytes: &[u8]| {
        let name = format!("{at}-{at}.parquet");
        fs::write(folder.join(&name), bytes).unwrap();
        name
    };
    let mut named = vec!["notes.txt".to_owned()];
    named.push(bad(START + 1, b"PAR1 but not really PAR1"));
    named.push(bad(START + 2, &good[..good.len() / 2]));
    named.push(bad(START + 3, b""));
    // Every byte of the first third is wrong, except the magic number; the footer is intact.
    let mut broken = good.clone();
    broken.iter_mut().take(good.len() / 3).skip(4).for_each(|byte| *byte ^= 0x5a);
    bad(START + 4, &broken);
    let mut foreign = parquet::arrow::ArrowWriter::try_new(
        Vec::new(),
        Arc::new(arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new(
            "x",
            arrow::datatypes::DataType::Int32,
            true,
        )])),
        None,
    )
    .unwrap();
    foreign.flush().unwrap();
    named.push(bad(START + 5, &foreign.into_inner().unwrap()));
    assert_eq!(read(&history_store, request(START..=START + 10))[0].2[0], Some(1));
    let skipped = history_store.status().skipped;
    for name in named {
        assert!(skipped.keys().any(|file| file.ends_with(&name)), "{name}: {skipped:?}");
    }
}

#[test]
fn an_unwritable_folder_is_reported() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let history_store = history_store(&file.join("folder"));
    assert!(history_store.read(request(0..=1)).unwrap().is_none());
    let status = history_store.status();
    assert_eq!(status.failures, 1);
    assert!(status.last_error.unwrap().contains("folder"));
}

#[test]
fn credentials_are_read_from_a_file_and_never_shown() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("credentials");
    let base = history_store(dir.path()).settings.clone();
    let settings = config::History {
        store: "s3://bucket/prefix".to_owned(),
        s3_endpoint: "http://127.0.0.1:9".to_owned(),
        s3_region: "here".to_owned(),
        s3_credentials: Some(file.clone()),
        ..base
    };
    let error = || connect(&settings).unwrap_err().to_string();
    assert!(error().contains("credentials"), "the file does not exist yet");
    fs::write(&file, "access_key_id = \"a\"\nsecret_access_key = \"hunter2\"\nmore = 1\n").unwrap();
    assert!(!error().contains("hunter2"));
    fs::write(&file, "access_key_id = \"a\"\nsecret_access_key = \"hunter2\"\n").unwrap();
    let store = connect(&settings).unwrap();
    assert!(!format!("{store:?}").contains("hunter2"));
}

fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    let number = prop::option::of(any::<i64>());
    let point = prop::option::of((any::<i64>(), number.clone(), number)).prop_map(|point| {
        point.map(|(committed_offset, log_end_offset, lag)| Point { committed_offset, log_end_offset, lag })
    });
    let key = ("[a-c\"\\n é]{0,3}", "[xy]", 0..3_i32, 0..5_i64);
    prop::collection::btree_map(key, point, 1..60).prop_map(|rows| {
        let row = |((group, topic, partition, at), point): ((String, String, i32, i64), Option<Point>)| Row {
            group: group.into(),
            topic: topic.into(),
            partition,
            at: START + at,
            point,
        };
        rows.into_iter().map(row).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_row_is_read_as_it_was_written(rows in any_rows()) {
        let dir = TempDir::new().unwrap();
        let history_store = history_store(dir.path());
        store(&history_store, &rows);
        let mut read = vec![];
        for key in read_samples(&history_store, request(START..=START + 10)).1 {
            read.extend(Row::of(&key));
        }
        prop_assert_eq!(read, rows);
    }

    #[test]
    fn files_are_merged_by_key_and_time(
        rows in any_rows(),
        places in prop::collection::vec((0..4_usize, any::<bool>()), 60),
    ) {
        let dir = TempDir::new().unwrap();
        let history_store = history_store(dir.path());
        let mut files = vec![vec![]; 4];
        for (row, (place, is_twice)) in rows.iter().zip(places) {
            files[place].push(row.clone());
            if is_twice {
                files[(place + 1) % 4].push(row.clone());
            }
        }
        for (rows, number) in files.iter().zip(1..) {
            // One more sample, so that no two files have the same name.
            store_with(&history_store, rows, rows.iter().map(|row| row.at).chain([START - number]).collect());
        }
        let found: Vec<Row> = read_samples(&history_store, request(START..=START + 10)).1.flat_map(|key| Row::of(&key).collect::<Vec<_>>()).collect();
        prop_assert_eq!(found, rows);
        prop_assert_eq!(history_store.status().unreadable, 0);
    }
}

/// Stores three samples of more groups than are read at a time, each sample in its own file. Returns the number of
/// groups.
fn many_groups(history_store: &Arc<ParquetStore>) -> usize {
    let groups = 3 * file::BATCH / 4;
    for minute in 0..3 {
        let rows = |group| row(&format!("g{group:05}"), 0, START + minute * 60_000, Some(minute));
        store(history_store, &(0..groups).map(rows).collect::<Vec<_>>());
    }
    groups
}

#[test]
fn a_read_of_the_store_exceeds_its_budget_or_releases_all_of_it() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    let groups = many_groups(&history_store);
    let read = |bytes: usize| -> std::result::Result<(usize, usize), ReadError> {
        let budget = Arc::new(FixedBudget::new(bytes));
        let bounds = Bounds { budget: Some(Arc::<FixedBudget>::clone(&budget) as _), ..Bounds::default() };
        let stored = history_store.read(SampleRequest { bounds, ..request(START..=START + HOUR) })?.unwrap();
        let (mut keys, mut most) = (0, 0);
        for key in stored.keys {
            key?;
            (keys, most) = (keys + 1, most.max(budget.used()));
        }
        // Tasks may still hold memory shortly after the last key.
        while budget.used() > 0 {
            std::thread::yield_now();
        }
        Ok((keys, most))
    };
    let (keys, most) = read(64 << 20).unwrap();
    assert_eq!(keys, groups);
    assert!((100_000..8 << 20).contains(&most), "{most}");
    for bytes in [0, 1000, 200_000] {
        assert_eq!(read(bytes), Err(ReadError::OverBudget), "{bytes}");
    }
    assert_eq!(history_store.status().last_error, None, "an exceeded budget is not a failure of the store");
}
