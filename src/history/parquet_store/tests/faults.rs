//! Tests of failing stores: history is incomplete, the status reports the failure, and writing resumes afterwards.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use futures::{FutureExt as _, StreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

use super::*;
use crate::history::tests::{KEY, Lab, lab};

/// A store with a disk that may be full or read-only. Listing may fail or hang, and files may be denied or unreadable.
#[derive(Debug)]
pub(super) struct Faulty {
    store: Arc<dyn ObjectStore>,
    pub(super) full: AtomicBool,
    pub(super) read_only: AtomicBool,
    hidden: AtomicBool,
    silent: AtomicBool,
    /// Suffix of the path of a file to which access is denied.
    pub(super) denied: Mutex<Option<String>>,
    /// Suffix of the path of a file that the disk fails to return.
    pub(super) broken: Mutex<Option<String>>,
    pub(super) after_list: Mutex<Option<Hook>>,
}

/// A function that runs once, between the listing of files and its use.
pub(super) struct Hook(pub(super) Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty")
    }
}

impl Faulty {
    /// Replaces the store of an archive.
    pub(super) fn of(history_store: &ParquetStore) -> Arc<Self> {
        let (store, [full, read_only, hidden, silent]) = (history_store.store().unwrap(), Default::default());
        let (denied, broken, after_list) = Default::default();
        let faulty = Arc::new(Self { store, full, read_only, hidden, silent, denied, broken, after_list });
        *history_store.store.lock() = Some(Arc::<Self>::clone(&faulty) as _);
        faulty
    }

    fn check(&self, fault: &AtomicBool, error: i32) -> Result<()> {
        let source = std::io::Error::from_raw_os_error(error);
        match fault.load(Ordering::Relaxed) {
            true => Err(Error::Generic { store: "Faulty", source: source.into() }),
            false => Ok(()),
        }
    }
}

const ENOSPC: i32 = 28;
const EACCES: i32 = 13;
const EIO: i32 = 5;
const EROFS: i32 = 30;

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.check(&self.full, ENOSPC)?;
        self.check(&self.read_only, EROFS)?;
        self.store.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.check(&self.read_only, EROFS)?;
        let upload = self.store.put_multipart_opts(path, options).await?;
        Ok(Box::new(FaultyUpload { upload, is_full: self.full.load(Ordering::Relaxed) }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        for (ends, error) in [(&self.denied, EACCES), (&self.broken, EIO)] {
            let is_it = ends.lock().as_ref().is_some_and(|end| path.as_ref().ends_with(end));
            self.check(&AtomicBool::new(is_it), error)?;
        }
        self.store.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.check(&self.read_only, EROFS) {
            Ok(()) => self.store.delete_stream(paths),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.silent.load(Ordering::Relaxed) {
            return futures::stream::pending().boxed();
        }
        match self.check(&self.hidden, EACCES) {
            Ok(()) => {
                let (entries, hook) = (self.store.list(prefix), self.after_list.lock().take());
                let run = move || {
                    hook.into_iter().for_each(|hook| (hook.0)());
                    futures::stream::empty()
                };
                entries.chain(futures::stream::once(async move { run() }).flatten()).boxed()
            }
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

/// An upload to a disk that is full after a few bytes.
#[derive(Debug)]
struct FaultyUpload {
    upload: Box<dyn MultipartUpload>,
    is_full: bool,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> object_store::UploadPart {
        if !self.is_full {
            return self.upload.put_part(data);
        }
        let part = self.upload.put_part(PutPayload::from_static(b"PAR1"));
        let source = std::io::Error::from_raw_os_error(ENOSPC);
        async move {
            part.await?;
            Err(Error::Generic { store: "Faulty", source: source.into() })
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

/// A cluster and the archive that stores its samples.
struct SampledCluster {
    lab: Lab,
    history_store: Arc<ParquetStore>,
    writer: SampleWriter,
    offset: i64,
}

impl SampledCluster {
    fn new(history_store: Arc<ParquetStore>) -> Self {
        let lab = lab(usize::MAX);
        lab.cluster().set_history_store(Box::new(Arc::clone(&history_store)));
        let writer = SampleWriter::new(Arc::clone(&history_store), Arc::clone(&lab.store));
        Self { lab, history_store, writer, offset: 0 }
    }

    /// Commits, takes a sample and runs the writer, a minute later. Returns the status of the archive.
    fn minute(&mut self) -> HistoryStoreStatus {
        self.offset += 1;
        self.lab.commit("g", KEY, self.offset);
        self.lab.clock.advance(50_000);
        self.lab.sample();
        self.history_store.runtime().unwrap().block_on(self.writer.run_due());
        assert_eq!(
            self.lab.committed("g", KEY).last(),
            Some(&Some(self.offset)),
            "memory does not depend on the store"
        );
        self.history_store.status()
    }

    fn error(&mut self) -> String {
        self.minute().last_error.unwrap()
    }

    /// Returns the committed offsets in the store.
    fn stored(&self) -> Vec<Option<i64>> {
        let source = self.lab.cluster().own.id.clone();
        let read = read(&self.history_store, SampleRequest { source, ..request(0..=Millis::MAX) });
        read.into_iter().next().map(|(_, _, values)| values).unwrap_or_default()
    }
}

#[test]
fn a_full_disk_is_reported_and_writing_resumes() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    let (store, mut sampled) = (Faulty::of(&history_store), SampledCluster::new(history_store));
    assert_eq!(sampled.minute().last_error, None);
    store.full.store(true, Ordering::Relaxed);
    let error = sampled.error();
    assert!(error.starts_with("writing default: ") && error.contains("No space left"), "{error}");
    sampled.minute();
    let status = sampled.history_store.status();
    assert_eq!((status.files, status.failures), (1, 2));
    store.full.store(false, Ordering::Relaxed);
    let status = sampled.minute();
    assert_eq!((status.last_error, status.files), (None, 2));
    assert_eq!(sampled.stored(), [Some(1), Some(4)], "the store has no samples of the time at which it failed");
}

#[test]
fn a_failure_is_reported_until_the_same_operation_succeeds() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    let (store, mut sampled) = (Faulty::of(&history_store), SampledCluster::new(history_store));
    store.hidden.store(true, Ordering::Relaxed);
    let status = sampled.minute();
    let error = status.last_error.unwrap();
    assert!(error.starts_with("merging and deleting default: ") && error.contains("denied"), "{error}");
    assert_eq!(status.files, 1, "writing still works");
    let source = sampled.lab.cluster().own.id.clone();
    assert!(sampled.history_store.read(SampleRequest { source, ..request(0..=Millis::MAX) }).unwrap().is_none());
    store.full.store(true, Ordering::Relaxed);
    let error = sampled.error();
    for work in ["reading default: ", "writing default: ", "merging and deleting default: "] {
        assert!(error.contains(work), "{error}");
    }
    store.full.store(false, Ordering::Relaxed);
    store.hidden.store(false, Ordering::Relaxed);
    let error = sampled.error();
    assert!(
        error.starts_with("reading default: ") && !error.contains(';'),
        "only reading was not retried yet: {error}"
    );
    assert_eq!(sampled.stored().len(), 2);
    assert_eq!(sampled.minute().last_error, None);
}

#[test]
fn a_folder_that_disappears_and_returns_is_written_again() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("history");
    let mut sampled = SampledCluster::new(history_store(&folder));
    assert_eq!(sampled.minute().last_error, None);
    fs::rename(&folder, dir.path().join("away")).unwrap();
    fs::write(&folder, "").unwrap();
    assert!(sampled.error().starts_with("writing default: "));
    fs::remove_file(&folder).unwrap();
    fs::rename(dir.path().join("away"), &folder).unwrap();
    assert_eq!(sampled.minute().last_error, None);
    assert_eq!(sampled.stored(), [Some(1), Some(3)]);
}

#[test]
fn a_hanging_store_does_not_exceed_the_deadline() {
    let dir = TempDir::new().unwrap();
    let history_store = history_store(dir.path());
    Faulty::of(&history_store).silent.store(true, Ordering::Relaxed);
    let bounds = Bounds { cancel: CancelHandle::within(Duration::from_millis(50)), budget: None };
    let stopped = history_store.read(SampleRequest { bounds, ..request(0..=1) });
    assert_eq!(stopped.map(drop), Err(ReadError::Stopped));
}

#[test]
fn rejected_credentials_are_reported_without_their_secret() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut head) = (stream.unwrap(), [0; 4096]);
            let body = "<Error><Code>InvalidAccessKeyId</Code></Error>";
            let _ = stream.read(&mut head);
            let _ = write!(
                stream,
                "HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("credentials");
    fs::write(&file, "access_key_id = \"a\"\nsecret_access_key = \"hunter2\"\n").unwrap();
    let settings = config::History {
        store: "s3://bucket/prefix".to_owned(),
        s3_endpoint: endpoint,
        s3_region: "here".to_owned(),
        s3_credentials: Some(file),
        ..history_store(dir.path()).settings.clone()
    };
    let mut sampled = SampledCluster::new(ParquetStore::new(settings).unwrap().unwrap());
    let error = sampled.error();
    assert!(error.contains("writing") && error.contains("403") && !error.contains("hunter2"), "{error}");
}
