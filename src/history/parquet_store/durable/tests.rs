use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tempfile::TempDir;

use super::*;

/// The folder of a day.
const DATE: &str = "cluster=c/date=2026-01-01";

fn day(dir: &TempDir) -> PathBuf {
    let date = dir.path().join(DATE);
    fs::create_dir_all(&date).unwrap();
    date
}

#[test]
fn a_listing_has_a_file_or_its_replacement() {
    let dir = TempDir::new().unwrap();
    let date = day(&dir);
    let name = |number: u32| date.join(format!("{number}-{number}.parquet"));
    let is_over = AtomicBool::new(false);
    fs::write(name(0), "").unwrap();
    let lists = thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..5000 {
                fs::write(name(number), "").unwrap();
                fs::remove_file(name(number - 1)).unwrap();
            }
            is_over.store(true, Ordering::Release);
        });
        let mut lists = 0;
        while !is_over.load(Ordering::Acquire) {
            // The folder may change too often.
            if let Ok(found) = Folder::list_consistently(dir.path(), &Path::from("cluster=c")) {
                lists += 1;
                assert!((1..=2).contains(&found.len()), "{found:?}");
            }
        }
        lists
    });
    assert!(lists > 0);
}

#[test]
fn cleaning_deletes_no_file_that_another_server_writes() {
    let dir = TempDir::new().unwrap();
    let date = day(&dir);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                clean(&dir.path().join("cluster=c")).unwrap();
            }
        });
        let write = |at: i64| {
            let name = date.join(format!("{0}-{0}.parquet", 1_767_225_600_000 + at));
            let mut temporary = TemporaryFile::create(name.clone())?;
            temporary.write(0, &PutPayload::from_static(b"PAR1"))?;
            temporary.publish()?;
            fs::read(name)
        };
        let written: io::Result<Vec<_>> = (0..300).map(write).collect();
        is_over.store(true, Ordering::Release);
        assert!(written.unwrap().iter().all(|bytes| bytes == b"PAR1"));
    });
}
