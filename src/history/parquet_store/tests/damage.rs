//! Tests of files that are damaged, foreign, or hold other content than their name claims. No row of another file is
//! lost, and none of these files is changed.

use std::sync::atomic::Ordering;

use super::{
    faults::{Faulty, Hook},
    *,
};

/// The states of a folder: before any merge, with merged files next to their parts, and with merged files only.
const STATES: usize = 3;
/// The second day has begun and is not over.
const NOW: Millis = START + 25 * HOUR + HOUR / 2;

fn sample(hours: Millis, minutes: Millis) -> Vec<Row> {
    let at = START + hours * HOUR + minutes * 60_000;
    (0..3).map(|group| row(&format!("g{group}"), 0, at, Some(at / 1000 + group))).collect()
}

/// Returns a folder with samples of a day and of the first hours after it.
fn folder(state: usize) -> TempDir {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    for (hours, minutes) in [(0, 0), (0, 30), (5, 0), (5, 30), (24, 0), (24, 30), (25, 0)] {
        store(&history_store, &sample(hours, minutes));
    }
    (0..state).for_each(|_| tidy(&history_store, NOW).unwrap());
    dir
}

fn foreign() -> Vec<u8> {
    let field = arrow::datatypes::Field::new("x", arrow::datatypes::DataType::Int32, true);
    let schema = Arc::new(arrow::datatypes::Schema::new(vec![field]));
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), schema, None).unwrap();
    writer.flush().unwrap();
    writer.into_inner().unwrap()
}

/// Returns the times in the name of a file.
fn times_of_name(file: &str) -> [Millis; 2] {
    let (from, to) = file.rsplit('/').next().unwrap().strip_suffix(".parquet").unwrap().split_once('-').unwrap();
    [from, to].map(|at| at.parse().unwrap())
}

/// When a damage is detected.
#[derive(PartialEq)]
enum Shows {
    WhenOpened,
    WhenRead,
    /// Never: the file is valid.
    Never,
}

/// Returns possible contents of a damaged file, each with a description.
fn damages(file: &str, good: &[u8]) -> Vec<(&'static str, Vec<u8>, Shows)> {
    let flipped = |mut bytes: Vec<u8>| {
        let end = bytes.len() / 3;
        bytes.iter_mut().take(end).skip(4).for_each(|byte| *byte ^= 0x5a);
        bytes
    };
    let mut times = times_of_name(file).to_vec();
    times.dedup();
    let elsewhere = [row("lie", 0, START - 1, Some(1))];
    vec![
        ("empty", vec![], Shows::WhenOpened),
        ("half of it", good[..good.len() / 2].to_vec(), Shows::WhenOpened),
        ("all but the last byte", good[..good.len() - 1].to_vec(), Shows::WhenOpened),
        ("its first bytes", good[..4].to_vec(), Shows::WhenOpened),
        ("zeros", vec![0; good.len()], Shows::WhenOpened),
        ("a text", b"hello".to_vec(), Shows::WhenOpened),
        ("a foreign table", foreign(), Shows::WhenOpened),
        ("samples of other times", file::write(SOURCE_KAFKA, &elsewhere, &[START - 1]).unwrap(), Shows::WhenOpened),
        ("rows of other times", file::write(SOURCE_KAFKA, &elsewhere, &times).unwrap(), Shows::WhenRead),
        ("damaged pages", flipped(good.to_vec()), Shows::WhenRead),
        ("no rows", file::write(SOURCE_KAFKA, &[], &times).unwrap(), Shows::Never),
    ]
}

#[test]
fn a_damaged_file_affects_no_other_file_and_is_not_changed() {
    for state in 0..STATES {
        let dir = folder(state);
        for file in files(dir.path()) {
            let expected = all_rows(&history_store(copy(dir.path(), Some(&file)).path()));
            let good = fs::read(dir.path().join(&file)).unwrap();
            for (damage, bytes, shows) in damages(&file, &good) {
                let case = format!("state {state}: {file} holds {damage}");
                let copy = copy(dir.path(), None);
                fs::write(copy.path().join(&file), &bytes).unwrap();
                // The server starts and runs several rounds.
                let history_store = history_store(copy.path());
                (0..3).for_each(|_| drop(tidy(&history_store, NOW)));
                let ours = |rows: Vec<Row>| rows.into_iter().filter(|row| &*row.group != "lie").collect::<Vec<_>>();
                // A damaged page may be readable with other rows, so only the expected rows are compared.
                let found = ours(all_rows(&history_store));
                assert!(expected.iter().all(|row| found.contains(row)), "{case}: rows are missing");
                assert_eq!(ours(all_rows(&history_store)).len(), expected.len(), "{case}: rows are made up");
                let is_as_it_was = fs::read(copy.path().join(&file)).is_ok_and(|found| found == bytes);
                assert!(is_as_it_was || shows == Shows::Never, "{case}: the file was changed");
                let status = history_store.status();
                assert_eq!(status.skipped.contains_key(&file), shows != Shows::Never, "{case}: {status:?}");
            }
        }
    }
}

#[test]
fn a_foreign_file_that_claims_all_times_deletes_no_other_file() {
    let foreign_path = |folder: &str| format!("cluster=c/{folder}0-99999999999999.parquet");
    for path in ["date=1970-01-01/", "date=2026-01-01/", ""].map(foreign_path) {
        for state in 0..STATES {
            let dir = folder(state);
            let (history_before, all) = (history_store(dir.path()), files(dir.path()));
            let expected = all_rows(&history_before);
            for bytes in [vec![], fs::read(dir.path().join(&all[0])).unwrap()] {
                let dir = copy(dir.path(), None);
                fs::create_dir_all(dir.path().join(&path).parent().unwrap()).unwrap();
                fs::write(dir.path().join(&path), &bytes).unwrap();
                let history_store = history_store(dir.path());
                assert_eq!(all_rows(&history_store), expected, "{path}: before the first round");
                (0..3).for_each(|_| tidy(&history_store, NOW).unwrap());
                assert_eq!(all_rows(&history_store), expected, "{path}");
                assert_eq!(fs::read(dir.path().join(&path)).unwrap(), bytes);
                assert!(history_store.status().skipped.contains_key(&path), "{:?}", history_store.status());
            }
        }
    }
}

#[test]
fn a_denied_file_is_named_and_read_once_allowed() {
    for state in 0..STATES {
        let dir = folder(state);
        for file in files(dir.path()) {
            let (dir, history_store) = (copy(dir.path(), None), history_store(dir.path()));
            let expected = all_rows(&history_store);
            let history_store = super::history_store(dir.path());
            let store = Faulty::of(&history_store);
            *store.denied.lock() = Some(file.clone());
            (0..3).for_each(|_| drop(tidy(&history_store, NOW)));
            assert!(history_store.status().skipped[&file].contains("denied"), "{:?}", history_store.status());
            assert!(dir.path().join(&file).exists());
            let without = all_rows(&super::history_store(copy(dir.path(), Some(&file)).path()));
            assert_eq!(all_rows(&history_store), without, "the other files are read");
            *store.denied.lock() = None;
            (0..3).for_each(|_| tidy(&history_store, NOW).unwrap());
            assert_eq!(all_rows(&history_store), expected, "state {state}: {file}");
            assert_eq!(history_store.status().unreadable, 0);
        }
    }
}

#[test]
fn a_file_with_disk_errors_is_reported_and_does_not_block_others() {
    for state in 0..STATES {
        let dir = folder(state);
        for file in files(dir.path()) {
            let dir = copy(dir.path(), None);
            let history_store = history_store(dir.path());
            let (expected, store) = (all_rows(&history_store), Faulty::of(&history_store));
            *store.broken.lock() = Some(file.clone());
            for _ in 0..3 {
                assert!(tidy(&history_store, NOW).unwrap_err().to_string().contains("Input/output error"));
            }
            assert!(history_store.status().skipped[&file].contains("Input/output error"));
            let (without, found) = (copy(dir.path(), Some(&file)), all_rows(&history_store));
            assert_eq!(found, all_rows(&super::history_store(without.path())), "the other files are read");
            assert!(history_store.status().last_error.unwrap().starts_with("reading c: "));
            // The disk works again.
            *store.broken.lock() = None;
            assert_eq!(all_rows(&history_store), expected, "state {state}: {file}");
            (0..3).for_each(|_| tidy(&history_store, NOW).unwrap());
            assert_eq!((all_rows(&history_store), history_store.status().unreadable), (expected, 0));
        }
    }
}

#[test]
fn many_unreadable_files_are_neither_merged_nor_deleted() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    store(&history_store, &sample(0, 0));
    store(&history_store, &sample(0, 50));
    let expected = all_rows(&history_store);
    for minute in 1..=i64::try_from(MAX_NAMED_FILES).unwrap() + 10 {
        let at = START + minute * 60_000;
        fs::write(dir.path().join(format!("cluster=c/date=2026-01-01/{at}-{at}.parquet")), "").unwrap();
    }
    (0..3).for_each(|_| tidy(&history_store, NOW).unwrap());
    assert_eq!(all_rows(&history_store), expected);
    let status = history_store.status();
    assert_eq!((status.skipped.len(), status.unreadable), (MAX_NAMED_FILES, MAX_NAMED_FILES as u64 + 10));
    assert_eq!(files(dir.path()).len(), MAX_NAMED_FILES + 10 + 1, "the readable files are merged");
}

/// Stores one sample a day. Returns the time of the last one.
fn days(history_store: &Arc<ParquetStore>, days: Millis) -> Millis {
    (0..days).for_each(|day| store(history_store, &sample(24 * day, 0)));
    START + (days - 1) * DAY
}

#[test]
fn expired_days_are_deleted_once_enough_later_days_exist() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    let now = days(&history_store, 10);
    tidy(&history_store, now).unwrap();
    assert_eq!(all_rows(&history_store).iter().map(|row| row.at).min(), Some(START + 2 * DAY), "keep_for is 7 days");
}

#[test]
fn a_file_with_an_old_name_and_new_rows_does_not_expire() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    let now = days(&history_store, 10);
    tidy(&history_store, now).unwrap();
    let (expected, all) = (all_rows(&history_store), files(dir.path()));
    let old = format!("cluster=c/date=2026-01-01/{START}-{START}.parquet");
    fs::copy(dir.path().join(all.last().unwrap()), dir.path().join(&old)).unwrap();
    tidy(&history_store, now).unwrap();
    assert!(dir.path().join(&old).exists() && history_store.status().skipped.contains_key(&old));
    assert_eq!(all_rows(&history_store), expected);
}

#[test]
fn a_clock_ten_years_ahead_deletes_no_retained_day() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    let now = days(&history_store, 8);
    tidy(&history_store, now).unwrap();
    let expected = all_rows(&history_store);
    let ahead = 3650;
    for day in 0..3 {
        tidy(&history_store, now + (ahead + day) * DAY).unwrap();
        let found = all_rows(&history_store);
        let of_the_time = expected.iter().filter(|row| row.at >= START + day * DAY);
        assert!(of_the_time.clone().all(|row| found.contains(row)), "after {day} days of wrong samples");
        store(&history_store, &sample(24 * (7 + ahead + day), 0));
    }
    // The clock is right again, and a day passes.
    tidy(&history_store, now + DAY).unwrap();
    let found = all_rows(&history_store);
    assert!(expected.iter().filter(|row| row.at >= START + 3 * DAY).all(|row| found.contains(row)));
}

#[test]
fn a_full_disk_blocks_only_the_merge() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    let store = Faulty::of(&history_store);
    let now = days(&history_store, 10) + 2 * HOUR;
    super::store(&history_store, &sample(24 * 9, 30));
    store.full.store(true, Ordering::Relaxed);
    let kept = |row: &Row| row.at >= START + 2 * DAY;
    let expected: Vec<Row> = all_rows(&history_store).into_iter().filter(kept).collect();
    for _ in 0..3 {
        assert!(tidy(&history_store, now).unwrap_err().to_string().contains("No space left"));
        assert_eq!(all_rows(&history_store), expected, "only expired files are deleted");
        assert_eq!(files(dir.path()).len(), 9, "the merge leaves no file");
    }
    store.full.store(false, Ordering::Relaxed);
    (0..2).for_each(|_| tidy(&history_store, now).unwrap());
    assert_eq!((all_rows(&history_store), files(dir.path()).len()), (expected, 8));
}

#[test]
fn a_read_only_folder_is_read_and_reported() {
    for state in 0..STATES {
        let dir = folder(state);
        let (before, history_store) = (files(dir.path()), history_store(dir.path()));
        let expected = all_rows(&history_store);
        let store = Faulty::of(&history_store);
        store.read_only.store(true, Ordering::Relaxed);
        let reported = tidy(&history_store, NOW);
        assert!(state == STATES - 1 || reported.unwrap_err().to_string().contains("Read-only"), "state {state}");
        assert_eq!((all_rows(&history_store), files(dir.path())), (expected.clone(), before));
        store.read_only.store(false, Ordering::Relaxed);
        (0..3).for_each(|_| tidy(&history_store, NOW).unwrap());
        assert_eq!(all_rows(&history_store), expected);
    }
}

#[test]
fn two_servers_on_one_folder_lose_no_row() {
    let dir = folder(0);
    let expected = all_rows(&history_store(dir.path()));
    let servers = [history_store(dir.path()), history_store(dir.path())];
    std::thread::scope(|scope| {
        for history_store in &servers {
            // A file deleted by one server may be missed by the other, which then reports an error and retries.
            scope.spawn(move || (0..5).for_each(|_| drop(tidy(history_store, NOW))));
        }
        for _ in 0..10 {
            assert_eq!(all_rows(&servers[0]), expected);
        }
    });
    for history_store in &servers {
        (0..3).for_each(|_| tidy(history_store, NOW).unwrap());
        assert_eq!(all_rows(history_store), expected);
    }
    assert_eq!(files(dir.path()).len(), 3, "one file each for a day, an hour and a sample");
}

#[test]
fn differing_files_of_another_server_are_kept() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    store(&history_store, &sample(0, 0));
    store(&history_store, &sample(0, 30));
    let merged: Vec<Row> = [0, 30].into_iter().flat_map(|minutes| sample(0, minutes)).collect();
    let mut other: Vec<Row> = merged.into_iter().filter(|row| &*row.group != "g1").collect();
    other.sort_by(|left, right| left.group.cmp(&right.group));
    store(&history_store, &other);
    let expected = all_rows(&history_store);
    (0..3).for_each(|_| tidy(&history_store, NOW).unwrap());
    assert_eq!((all_rows(&history_store), files(dir.path()).len()), (expected, 3), "the longer file lacks a group");
}

#[test]
fn files_merged_after_the_listing_are_read_from_the_merged_file() {
    let dir = folder(0);
    let history_store = history_store(dir.path());
    let expected = all_rows(&history_store);
    let (store, other) = (Faulty::of(&history_store), super::history_store(dir.path()));
    let merge = move || {
        let merging = std::thread::spawn(move || (0..2).for_each(|_| tidy(&other, NOW).unwrap()));
        merging.join().unwrap();
    };
    *store.after_list.lock() = Some(Hook(Box::new(merge)));
    assert_eq!(all_rows(&history_store), expected);
    assert_eq!((history_store.status().last_error, files(dir.path()).len()), (None, 3));
}

#[test]
fn a_read_continues_when_its_files_are_merged_and_deleted() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    for minute in 0..2 {
        // More than are read at a time.
        let rows = |group| row(&format!("g{group:06}"), 0, START + minute * 60_000, Some(minute));
        store(&history_store, &(0..file::ROW_GROUP + 1000).map(rows).collect::<Vec<_>>());
    }
    let expected = all_rows(&history_store);
    let mut keys = read_samples(&history_store, request(0..=Millis::MAX)).1;
    let mut rows: Vec<Row> = Row::of(&keys.next().unwrap()).collect();
    let other = super::history_store(dir.path());
    (0..2).for_each(|_| tidy(&other, START + 2 * HOUR).unwrap());
    assert_eq!(files(dir.path()).len(), 1);
    rows.extend(keys.flat_map(|key| Row::of(&key).collect::<Vec<_>>()));
    assert!(rows == expected, "{} rows of {}", rows.len(), expected.len());
    assert_eq!(history_store.status().last_error, None);
}

#[test]
fn foreign_objects_in_the_folder_hide_no_samples() {
    let dir = folder(1);
    let expected = all_rows(&history_store(dir.path()));
    let date = dir.path().join("cluster=c/date=2026-01-01");
    fs::create_dir_all(date.join("deeper/1-2.parquet")).unwrap();
    fs::create_dir_all(date.join(format!("{0}-{0}.parquet", START + 7))).unwrap();
    std::os::unix::fs::symlink(&date, date.join("loop")).unwrap();
    std::os::unix::fs::symlink("nowhere", date.join("nothing")).unwrap();
    let odd = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"odd\xff.parquet");
    fs::write(date.join(odd), "").unwrap();
    let history_store = history_store(dir.path());
    (0..3).for_each(|_| tidy(&history_store, NOW).unwrap());
    assert_eq!(all_rows(&history_store), expected);
    let status = history_store.status();
    assert_eq!((status.last_error, status.unreadable), (None, 4), "{:?}", status.skipped);
}
