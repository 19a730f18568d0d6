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
    let archive = archive(dir.path());
    for (hours, minutes) in [(0, 0), (0, 30), (5, 0), (5, 30), (24, 0), (24, 30), (25, 0)] {
        store(&archive, &sample(hours, minutes));
    }
    (0..state).for_each(|_| tidy(&archive, NOW).unwrap());
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
fn name_of(file: &str) -> [Millis; 2] {
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
    let mut times = name_of(file).to_vec();
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
fn a_damaged_file_costs_no_row_of_another_and_stays_as_it_is() {
    for state in 0..STATES {
        let dir = folder(state);
        for file in files(dir.path()) {
            let expected = all_rows(&archive(copy(dir.path(), Some(&file)).path()));
            let good = fs::read(dir.path().join(&file)).unwrap();
            for (damage, bytes, shows) in damages(&file, &good) {
                let case = format!("state {state}: {file} holds {damage}");
                let copy = copy(dir.path(), None);
                fs::write(copy.path().join(&file), &bytes).unwrap();
                // The server starts and runs several rounds.
                let archive = archive(copy.path());
                (0..3).for_each(|_| drop(tidy(&archive, NOW)));
                let ours = |rows: Vec<Row>| rows.into_iter().filter(|row| &*row.group != "lie").collect::<Vec<_>>();
                // A damaged page may be readable with other rows, so only the expected rows are compared.
                let found = ours(all_rows(&archive));
                assert!(expected.iter().all(|row| found.contains(row)), "{case}: rows are missing");
                assert_eq!(ours(all_rows(&archive)).len(), expected.len(), "{case}: rows are made up");
                let is_as_it_was = fs::read(copy.path().join(&file)).is_ok_and(|found| found == bytes);
                assert!(is_as_it_was || shows == Shows::Never, "{case}: the file was changed");
                let status = archive.status();
                assert_eq!(status.skipped.contains_key(&file), shows != Shows::Never, "{case}: {status:?}");
            }
        }
    }
}

#[test]
fn a_stray_file_whose_name_spans_all_times_deletes_nothing_and_is_named() {
    let stray = |folder: &str| format!("cluster=c/{folder}0-99999999999999.parquet");
    for path in ["date=1970-01-01/", "date=2026-01-01/", ""].map(stray) {
        for state in 0..STATES {
            let dir = folder(state);
            let (archive_before, all) = (archive(dir.path()), files(dir.path()));
            let expected = all_rows(&archive_before);
            for bytes in [vec![], fs::read(dir.path().join(&all[0])).unwrap()] {
                let dir = copy(dir.path(), None);
                fs::create_dir_all(dir.path().join(&path).parent().unwrap()).unwrap();
                fs::write(dir.path().join(&path), &bytes).unwrap();
                let archive = archive(dir.path());
                assert_eq!(all_rows(&archive), expected, "{path}: before the first round");
                (0..3).for_each(|_| tidy(&archive, NOW).unwrap());
                assert_eq!(all_rows(&archive), expected, "{path}");
                assert_eq!(fs::read(dir.path().join(&path)).unwrap(), bytes);
                assert!(archive.status().skipped.contains_key(&path), "{:?}", archive.status());
            }
        }
    }
}

#[test]
fn a_file_that_must_not_be_read_is_named_and_read_again_once_it_may() {
    for state in 0..STATES {
        let dir = folder(state);
        for file in files(dir.path()) {
            let (dir, archive) = (copy(dir.path(), None), archive(dir.path()));
            let expected = all_rows(&archive);
            let archive = super::archive(dir.path());
            let store = Faulty::of(&archive);
            *store.denied.lock() = Some(file.clone());
            (0..3).for_each(|_| drop(tidy(&archive, NOW)));
            assert!(archive.status().skipped[&file].contains("denied"), "{:?}", archive.status());
            assert!(dir.path().join(&file).exists());
            let without = all_rows(&super::archive(copy(dir.path(), Some(&file)).path()));
            assert_eq!(all_rows(&archive), without, "the other files are read");
            *store.denied.lock() = None;
            (0..3).for_each(|_| tidy(&archive, NOW).unwrap());
            assert_eq!(all_rows(&archive), expected, "state {state}: {file}");
            assert_eq!(archive.status().unreadable, 0);
        }
    }
}

#[test]
fn a_file_that_the_disk_does_not_return_is_told_and_keeps_the_others_from_nothing() {
    for state in 0..STATES {
        let dir = folder(state);
        for file in files(dir.path()) {
            let dir = copy(dir.path(), None);
            let archive = archive(dir.path());
            let (expected, store) = (all_rows(&archive), Faulty::of(&archive));
            *store.broken.lock() = Some(file.clone());
            for _ in 0..3 {
                assert!(tidy(&archive, NOW).unwrap_err().to_string().contains("Input/output error"));
            }
            assert!(archive.status().skipped[&file].contains("Input/output error"));
            let (without, found) = (copy(dir.path(), Some(&file)), all_rows(&archive));
            assert_eq!(found, all_rows(&super::archive(without.path())), "the other files are read");
            assert!(archive.status().last_error.unwrap().starts_with("reading c: "));
            // The disk works again.
            *store.broken.lock() = None;
            assert_eq!(all_rows(&archive), expected, "state {state}: {file}");
            (0..3).for_each(|_| tidy(&archive, NOW).unwrap());
            assert_eq!((all_rows(&archive), archive.status().unreadable), (expected, 0));
        }
    }
}

#[test]
fn more_files_than_are_named_cannot_be_read_and_none_of_them_is_merged_or_deleted() {
    let dir = TempDir::new().unwrap();
    let archive = archive(dir.path());
    store(&archive, &sample(0, 0));
    store(&archive, &sample(0, 50));
    let expected = all_rows(&archive);
    for minute in 1..=i64::try_from(NAMED).unwrap() + 10 {
        let at = START + minute * 60_000;
        fs::write(dir.path().join(format!("cluster=c/date=2026-01-01/{at}-{at}.parquet")), "").unwrap();
    }
    (0..3).for_each(|_| tidy(&archive, NOW).unwrap());
    assert_eq!(all_rows(&archive), expected);
    let status = archive.status();
    assert_eq!((status.skipped.len(), status.unreadable), (NAMED, NAMED as u64 + 10));
    assert_eq!(files(dir.path()).len(), NAMED + 10 + 1, "the readable files are merged");
}

/// Stores one sample a day. Returns the time of the last one.
fn days(archive: &Arc<Archive>, days: Millis) -> Millis {
    (0..days).for_each(|day| store(archive, &sample(24 * day, 0)));
    START + (days - 1) * DAY
}

#[test]
fn days_that_are_too_old_are_deleted_once_as_many_later_ones_are_there() {
    let dir = TempDir::new().unwrap();
    let archive = archive(dir.path());
    let now = days(&archive, 10);
    tidy(&archive, now).unwrap();
    assert_eq!(all_rows(&archive).iter().map(|row| row.at).min(), Some(START + 2 * DAY), "keep_for is 7 days");
}

#[test]
fn a_file_with_an_old_name_and_new_rows_is_not_too_old() {
    let dir = TempDir::new().unwrap();
    let archive = archive(dir.path());
    let now = days(&archive, 10);
    tidy(&archive, now).unwrap();
    let (expected, all) = (all_rows(&archive), files(dir.path()));
    let old = format!("cluster=c/date=2026-01-01/{START}-{START}.parquet");
    fs::copy(dir.path().join(all.last().unwrap()), dir.path().join(&old)).unwrap();
    tidy(&archive, now).unwrap();
    assert!(dir.path().join(&old).exists() && archive.status().skipped.contains_key(&old));
    assert_eq!(all_rows(&archive), expected);
}

#[test]
fn a_clock_that_is_ten_years_ahead_deletes_none_of_the_days_that_are_kept() {
    let dir = TempDir::new().unwrap();
    let archive = archive(dir.path());
    let now = days(&archive, 8);
    tidy(&archive, now).unwrap();
    let expected = all_rows(&archive);
    let ahead = 3650;
    for day in 0..3 {
        tidy(&archive, now + (ahead + day) * DAY).unwrap();
        let found = all_rows(&archive);
        let of_the_time = expected.iter().filter(|row| row.at >= START + day * DAY);
        assert!(of_the_time.clone().all(|row| found.contains(row)), "after {day} days of wrong samples");
        store(&archive, &sample(24 * (7 + ahead + day), 0));
    }
    // The clock is right again, and a day passes.
    tidy(&archive, now + DAY).unwrap();
    let found = all_rows(&archive);
    assert!(expected.iter().filter(|row| row.at >= START + 3 * DAY).all(|row| found.contains(row)));
}

#[test]
fn a_full_disk_keeps_a_merge_from_nothing_but_itself() {
    let dir = TempDir::new().unwrap();
    let archive = archive(dir.path());
    let store = Faulty::of(&archive);
    let now = days(&archive, 10) + 2 * HOUR;
    super::store(&archive, &sample(24 * 9, 30));
    store.full.store(true, Ordering::Relaxed);
    let kept = |row: &Row| row.at >= START + 2 * DAY;
    let expected: Vec<Row> = all_rows(&archive).into_iter().filter(kept).collect();
    for _ in 0..3 {
        assert!(tidy(&archive, now).unwrap_err().to_string().contains("No space left"));
        assert_eq!(all_rows(&archive), expected, "only expired files are deleted");
        assert_eq!(files(dir.path()).len(), 9, "the merge leaves no file");
    }
    store.full.store(false, Ordering::Relaxed);
    (0..2).for_each(|_| tidy(&archive, now).unwrap());
    assert_eq!((all_rows(&archive), files(dir.path()).len()), (expected, 8));
}

#[test]
fn a_folder_that_can_only_be_read_is_read_and_told() {
    for state in 0..STATES {
        let dir = folder(state);
        let (before, archive) = (files(dir.path()), archive(dir.path()));
        let expected = all_rows(&archive);
        let store = Faulty::of(&archive);
        store.read_only.store(true, Ordering::Relaxed);
        let told = tidy(&archive, NOW);
        assert!(state == STATES - 1 || told.unwrap_err().to_string().contains("Read-only"), "state {state}");
        assert_eq!((all_rows(&archive), files(dir.path())), (expected.clone(), before));
        store.read_only.store(false, Ordering::Relaxed);
        (0..3).for_each(|_| tidy(&archive, NOW).unwrap());
        assert_eq!(all_rows(&archive), expected);
    }
}

#[test]
fn two_servers_that_tidy_one_folder_lose_nothing() {
    let dir = folder(0);
    let expected = all_rows(&archive(dir.path()));
    let servers = [archive(dir.path()), archive(dir.path())];
    std::thread::scope(|scope| {
        for archive in &servers {
            // A file deleted by one server may be missed by the other, which then reports an error and retries.
            scope.spawn(move || (0..5).for_each(|_| drop(tidy(archive, NOW))));
        }
        for _ in 0..10 {
            assert_eq!(all_rows(&servers[0]), expected);
        }
    });
    for archive in &servers {
        (0..3).for_each(|_| tidy(archive, NOW).unwrap());
        assert_eq!(all_rows(archive), expected);
    }
    assert_eq!(files(dir.path()).len(), 3, "one file each for a day, an hour and a sample");
}

#[test]
fn files_that_another_server_wrote_for_the_same_samples_are_kept_if_they_say_something_else() {
    let dir = TempDir::new().unwrap();
    let archive = archive(dir.path());
    store(&archive, &sample(0, 0));
    store(&archive, &sample(0, 30));
    let merged: Vec<Row> = [0, 30].into_iter().flat_map(|minutes| sample(0, minutes)).collect();
    let mut other: Vec<Row> = merged.into_iter().filter(|row| &*row.group != "g1").collect();
    other.sort_by(|left, right| left.group.cmp(&right.group));
    store(&archive, &other);
    let expected = all_rows(&archive);
    (0..3).for_each(|_| tidy(&archive, NOW).unwrap());
    assert_eq!((all_rows(&archive), files(dir.path()).len()), (expected, 3), "the longer file lacks a group");
}

#[test]
fn files_that_are_merged_between_listing_and_opening_are_read_where_they_are_now() {
    let dir = folder(0);
    let archive = archive(dir.path());
    let expected = all_rows(&archive);
    let (store, other) = (Faulty::of(&archive), super::archive(dir.path()));
    let merge = move || {
        let merging = std::thread::spawn(move || (0..2).for_each(|_| tidy(&other, NOW).unwrap()));
        merging.join().unwrap();
    };
    *store.after_list.lock() = Some(Hook(Box::new(merge)));
    assert_eq!(all_rows(&archive), expected);
    assert_eq!((archive.status().last_error, files(dir.path()).len()), (None, 3));
}

#[test]
fn a_read_goes_on_where_it_was_when_its_files_are_merged_and_deleted_meanwhile() {
    let dir = TempDir::new().unwrap();
    let archive = archive(dir.path());
    for minute in 0..2 {
        // More than are read at a time.
        let rows = |group| row(&format!("g{group:06}"), 0, START + minute * 60_000, Some(minute));
        store(&archive, &(0..file::ROW_GROUP + 1000).map(rows).collect::<Vec<_>>());
    }
    let expected = all_rows(&archive);
    let mut keys = ask(&archive, question(0..=Millis::MAX)).1;
    let mut rows: Vec<Row> = Row::of(&keys.next().unwrap()).collect();
    let other = super::archive(dir.path());
    (0..2).for_each(|_| tidy(&other, START + 2 * HOUR).unwrap());
    assert_eq!(files(dir.path()).len(), 1);
    rows.extend(keys.flat_map(|key| Row::of(&key).collect::<Vec<_>>()));
    assert!(rows == expected, "{} rows of {}", rows.len(), expected.len());
    assert_eq!(archive.status().last_error, None);
}

#[test]
fn what_else_lies_in_the_folder_hides_no_history() {
    let dir = folder(1);
    let expected = all_rows(&archive(dir.path()));
    let date = dir.path().join("cluster=c/date=2026-01-01");
    fs::create_dir_all(date.join("deeper/1-2.parquet")).unwrap();
    fs::create_dir_all(date.join(format!("{0}-{0}.parquet", START + 7))).unwrap();
    std::os::unix::fs::symlink(&date, date.join("loop")).unwrap();
    std::os::unix::fs::symlink("nowhere", date.join("nothing")).unwrap();
    let odd = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"odd\xff.parquet");
    fs::write(date.join(odd), "").unwrap();
    let archive = archive(dir.path());
    (0..3).for_each(|_| tidy(&archive, NOW).unwrap());
    assert_eq!(all_rows(&archive), expected);
    let status = archive.status();
    assert_eq!((status.last_error, status.unreadable), (None, 4), "{:?}", status.skipped);
}
