//! Tests of a server that is killed while it writes, merges or deletes. After the next start each row exists once, and
//! no temporary file is left.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use super::*;

/// How much of the operation at which the server is killed is performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Nothing,
    /// Half of the bytes, if the operation writes any.
    Half,
    All,
}

/// Whether a server is still running.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Alive,
    Dying,
    Dead,
}

/// The store of a server that is killed at an operation. All later operations fail.
#[derive(Debug)]
struct Mortal {
    store: Arc<dyn ObjectStore>,
    life: Arc<LifeTime>,
}

#[derive(Debug)]
struct LifeTime {
    operations: AtomicUsize,
    most: usize,
    done: Done,
}

fn killed() -> Error {
    Error::Generic { store: "Mortal", source: "killed".into() }
}

impl LifeTime {
    fn next(&self) -> Life {
        match self.operations.fetch_add(1, Ordering::Relaxed).cmp(&self.most) {
            std::cmp::Ordering::Less => Life::Alive,
            std::cmp::Ordering::Equal => Life::Dying,
            std::cmp::Ordering::Greater => Life::Dead,
        }
    }

    async fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.next() {
            Life::Alive => work.await,
            Life::Dying if self.done == Done::All => work.await.and_then(|_| Err(killed())),
            Life::Dying | Life::Dead => Err(killed()),
        }
    }

    fn is_over(&self) -> bool {
        self.operations.load(Ordering::Relaxed) > self.most
    }
}

impl std::fmt::Display for Mortal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mortal")
    }
}

#[derive(Debug)]
struct MortalUpload {
    upload: Box<dyn MultipartUpload>,
    life: Arc<LifeTime>,
}

#[async_trait]
impl MultipartUpload for MortalUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let life = self.life.next();
        if life == Life::Alive {
            return self.upload.put_part(data);
        }
        let bytes: Vec<u8> = data.iter().flat_map(|bytes| bytes.to_vec()).collect();
        let length = match self.life.done {
            Done::Nothing => 0,
            Done::Half => bytes.len() / 2,
            Done::All => bytes.len(),
        };
        let part = (life == Life::Dying).then(|| self.upload.put_part(bytes[..length].to_vec().into()));
        async move {
            if let Some(part) = part {
                part.await?;
            }
            Err(killed())
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let life = Arc::clone(&self.life);
        life.run(self.upload.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        let life = Arc::clone(&self.life);
        life.run(self.upload.abort()).await
    }
}

#[async_trait]
impl ObjectStore for Mortal {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.life.run(self.store.put_opts(path, payload, options)).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.life.run(self.store.put_multipart_opts(path, options)).await?;
        Ok(Box::new(MortalUpload { upload, life: Arc::clone(&self.life) }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.life.run(self.store.get_opts(path, options)).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (life, store) = (Arc::clone(&self.life), Arc::clone(&self.store));
        let delete = move |path: Result<Path>| {
            let (life, store) = (Arc::clone(&life), Arc::clone(&store));
            async move {
                let path = path?;
                life.run(store.delete(&path)).await?;
                Ok(path)
            }
        };
        paths.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (life, entries) = (Arc::clone(&self.life), self.store.list(prefix));
        futures::stream::once(async move { life.run(async { Ok(entries) }).await }).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.life.run(self.store.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.life.run(self.store.copy_opts(from, to, options)).await
    }
}

/// Starts a server on a folder, and kills it at an operation. Returns whether it was killed before its work was done.
fn kill(folder: &FilePath, most: usize, done: Done, work: impl FnOnce(&Arc<ParquetStore>)) -> bool {
    let history_store = history_store(folder);
    let life = Arc::new(LifeTime { operations: AtomicUsize::new(0), most, done });
    let mortal = Mortal { store: history_store.store().unwrap(), life: Arc::clone(&life) };
    *history_store.store.lock() = Some(Arc::new(mortal));
    work(&history_store);
    life.is_over()
}

/// Kills a server at each operation of its work and restarts it. All rows must then exist, in `left` files.
fn kill_at_each_operation(prepared: &FilePath, now: Millis, left: usize) {
    let expected = all_rows(&history_store(prepared));
    for done in [Done::Nothing, Done::Half, Done::All] {
        let mut most = 0;
        loop {
            let dir = copy(prepared, None);
            let was_killed =
                kill(dir.path(), most, done, |history_store| (0..3).for_each(|_| drop(tidy(history_store, now))));
            let case = format!("killed at operation {most}, performed: {done:?}");
            let history_store = history_store(dir.path());
            assert_eq!(all_rows(&history_store), expected, "{case}: before the first round");
            (0..3).for_each(|_| tidy(&history_store, now).unwrap());
            assert_eq!(all_rows(&history_store), expected, "{case}");
            let found = files(dir.path());
            assert_eq!(found.len(), left, "{case}: {found:?}");
            assert_eq!(history_store.status().skipped, BTreeMap::new(), "{case}");
            if !was_killed {
                break;
            }
            most += 1;
        }
        assert!(most > 10, "the work has {most} operations");
    }
}

fn sample(at: Millis) -> [Row; 2] {
    ["a", "b"].map(|group| row(group, 0, at, Some(at)))
}

#[test]
fn a_kill_while_merging_an_hour_loses_no_row_and_leaves_no_file() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    (0..3).for_each(|minute| store(&history_store, &sample(START + minute * 60_000)));
    kill_at_each_operation(dir.path(), START + 2 * HOUR, 1);
}

#[test]
fn a_kill_while_merging_a_day_loses_no_row_and_leaves_no_file() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    (0..4).for_each(|half| store(&history_store, &sample(START + half * HOUR / 2)));
    (0..2).for_each(|_| tidy(&history_store, START + 3 * HOUR).unwrap());
    assert_eq!(files(dir.path()).len(), 2, "two hours");
    kill_at_each_operation(dir.path(), START + 2 * DAY, 1);
}

/// Returns a folder with a sample, its archive, and a function that returns the path of a file in it.
fn with_sample() -> (TempDir, Arc<ParquetStore>, impl Fn(&str) -> std::path::PathBuf) {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    store(&history_store, &sample(START));
    let folder = dir.path().join("cluster=c");
    (dir, history_store, move |name: &str| folder.join(name))
}

#[test]
fn temporary_files_of_a_killed_server_are_deleted_at_the_next_start() {
    let (dir, history_store, path) = with_sample();
    let (before, expected) = (files(dir.path()), all_rows(&history_store));
    for number in 1..=11 {
        let name = format!("date=2026-01-01/{START}-{}.parquet#{number}", START + HOUR);
        fs::write(path(&name), vec![0; 1000 * number]).unwrap();
    }
    // A file of another day, and one of a server that was killed when the file already had its final name.
    fs::create_dir(path("date=2026-01-02")).unwrap();
    fs::write(path(&format!("date=2026-01-02/{0}-{0}.parquet#7", START + DAY)), "").unwrap();
    let named = path(&format!("date=2026-01-01/{START}-{START}.parquet"));
    fs::hard_link(&named, path(&format!("date=2026-01-01/{START}-{START}.parquet#1"))).unwrap();
    let history_store = super::history_store(dir.path());
    tidy(&history_store, START).unwrap();
    assert_eq!((files(dir.path()), all_rows(&history_store)), (before, expected));
}

#[test]
fn only_abandoned_temporary_files_of_offsetd_are_deleted() {
    let (dir, history_store, path) = with_sample();
    let name = |number: u32| format!("date=2026-01-01/{START}-{START}.parquet#{number}");
    // Another server is writing this file.
    let writing = fs::File::create(path(&name(1))).unwrap();
    writing.lock().unwrap();
    fs::create_dir(path(&name(2))).unwrap();
    std::os::unix::fs::symlink(path("date=2026-01-01"), path(&name(3))).unwrap();
    fs::create_dir(path("date=2026-01-02")).unwrap();
    for foreign in [
        "date=2026-01-01/notes#1".to_owned(),
        "date=2026-01-01/notes.parquet#1".to_owned(),
        format!("date=2026-01-01/{START}-{START}.parquet#x"),
        format!("date=2026-01-01/{START}-{START}.parquet#"),
        format!("date=2026-01-01/0{START}-{START}.parquet#1"),
        // Not the folder of a file of these times.
        format!("date=2026-01-02/{START}-{START}.parquet#1"),
        format!("{START}-{START}.parquet#1"),
    ] {
        fs::write(path(&foreign), "").unwrap();
    }
    let before = files(dir.path());
    tidy(&history_store, START).unwrap();
    assert_eq!(files(dir.path()), before);
    drop(writing);
    tidy(&history_store, START).unwrap();
    assert_eq!(files(dir.path()).len(), before.len() - 1, "its writer has exited");
}

#[test]
fn a_server_stopped_during_a_merge_aborts_it() {
    let (dir, history_store, _) = with_sample();
    store(&history_store, &sample(START + 60_000));
    let (before, expected) = (files(dir.path()), all_rows(&history_store));
    let stop = CancellationToken::new();
    stop.cancel();
    let runtime = history_store.runtime().unwrap();
    let reported = runtime.block_on(history_store.tidy(&"c".into(), START + 2 * HOUR, &stop)).unwrap_err();
    let is_stopped = |error: &ParquetStoreError| matches!(error, ParquetStoreError::Read(ReadError::Stopped));
    assert!(matches!(&reported, ParquetStoreError::Several(errors) if errors.iter().any(is_stopped)), "{reported}");
    assert_eq!((files(dir.path()), all_rows(&history_store)), (before, expected));
}

#[test]
fn an_existing_file_is_never_replaced() {
    let (dir, history_store, _) = with_sample();
    let (before, path) = (all_rows(&history_store), folder::SampleFile::new(&source(), START, START).path);
    let (store, runtime) = (history_store.store().unwrap(), history_store.runtime().unwrap());
    assert!(runtime.block_on(put_file(&*store, &path, b"PAR1".to_vec())).is_err());
    assert!(runtime.block_on(store.put_multipart(&path)).is_err());
    assert_eq!((all_rows(&history_store), files(dir.path()).len()), (before, 1));
}
