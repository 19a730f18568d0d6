//! Reads samples from the files of the history store. It selects the files by time, then the pages that can contain a
//! requested group, then the rows, and merges the rows of all files by key.
//!
//! Each file is read by its own task, which reads a few rows ahead. An unreadable file, or one on which the Parquet
//! reader panics, is skipped and named in the status. While a merged file and its parts both exist, both are read;
//! equal rows count once.
//!
//! The budget of a read is charged with the metadata of each file, its largest row group as stored, and the rows read
//! ahead. The number of rows read ahead of all files together is limited.

use std::{cmp::Reverse, collections::BinaryHeap, pin::pin, sync::Arc};

use futures::StreamExt as _;
use object_store::ObjectStore;
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ArrowPredicateFn, RowFilter},
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
};

use super::{
    Operation, ParquetStore, ParquetStoreError, ROW_HOLDS_FOR, Row,
    error::{Damage, ReadFailure},
    file::{self, ColumnIndexes},
    file_states::FileState,
    filter::ReadFilter,
    folder::{self, SampleFile},
    inspect::{self, RowCheck},
};
use crate::{
    model::{Millis, Name, SourceId},
    store::history_store::{ArchivedKey, Bounds, HistorySamples, Point, ReadError, Reserved, SampleRequest},
};

/// Minimum and maximum number of rows of a file read at a time.
const BATCH_ROWS: (usize, usize) = (64, 2048);
/// Number of rows of all files together read at a time.
const TOTAL_BATCH_ROWS: usize = 1 << 18;
/// Maximum number of files opened concurrently.
const MAX_OPENING: usize = 32;
/// Maximum number of files read concurrently. There are far fewer if hours and days are merged.
const MAX_FILES: usize = 4096;
/// Maximum number of listings for one read. Files are listed again if one was deleted before it was read to its end.
const MAX_LISTINGS: usize = 10;

/// A message of the task that reads a file. The times of the samples come first.
enum FileMessage {
    Times(Arc<[Millis]>),
    Rows(Vec<Row>, Reserved),
    Failed(ReadFailure),
}

/// A file that is being read.
struct Cursor {
    file: SampleFile,
    receiver: mpsc::Receiver<FileMessage>,
    rows: std::vec::IntoIter<Row>,
    /// The memory of `rows`.
    reserved: Reserved,
    head: Option<Row>,
}

/// Key of a cursor's next row (group, topic, partition), and the index of the cursor.
type CursorHead = Reverse<(Name, Name, i32, usize)>;

/// The state of a read.
struct ReadState {
    history_store: Arc<ParquetStore>,
    source: SourceId,
    handle: Handle,
    bounds: Bounds,
    /// Whether failures are reported in the status, and deleted files are searched again among the merged ones.
    reports_status: bool,
    failed: Option<String>,
    /// Whether a file was deleted before it was read to its end.
    is_outdated: bool,
    /// How often the files were listed.
    lists: usize,
}

impl ReadState {
    /// Blocks the current thread until a future completes or the read is cancelled. The thread may belong to a runtime.
    fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, ReadError> {
        let done = tokio::task::block_in_place(|| self.handle.block_on(self.bounds.cancel.run_until_ended(work)));
        done.map_err(|_| ReadError::Stopped)
    }

    /// Records that a file could not be read to its end.
    fn fail(&mut self, file: &SampleFile, failure: ReadFailure) -> Result<(), ReadError> {
        if self.reports_status && self.lists < MAX_LISTINGS && matches!(failure, ReadFailure::Gone(_)) {
            self.is_outdated = true;
            return Ok(());
        }
        let why = failure.to_string();
        let note = |found| self.history_store.record_file(&file.path, file.version, found);
        match failure {
            ReadFailure::Gone(_) | ReadFailure::Store(_) | ReadFailure::Cancelled(_) => self.report(&why),
            ReadFailure::Denied(_) => note(FileState::Denied(why.clone())),
            ReadFailure::Damaged(_) => note(FileState::Damaged(why.clone())),
            ReadFailure::Read(error) => return Err(error),
        }
        self.failed.get_or_insert(why);
        Ok(())
    }

    /// Records that the remaining files could not be read.
    fn fail_all(&mut self, why: &str) {
        self.is_outdated = false;
        self.report(why);
        self.failed.get_or_insert(why.to_owned());
    }

    fn report(&self, error: &str) {
        if self.reports_status {
            self.history_store.record_failure(&self.source, Operation::Read, &error);
        }
    }

    /// Takes the next row of a file as the head of its cursor; `None` at the end.
    fn advance(&mut self, cursor: &mut Cursor) -> Result<(), ReadError> {
        cursor.head = loop {
            if let Some(row) = cursor.rows.next() {
                break Some(row);
            }
            match self.wait(cursor.receiver.recv())? {
                Some(FileMessage::Rows(rows, reserved)) => {
                    (cursor.rows, cursor.reserved) = (rows.into_iter(), reserved)
                }
                Some(FileMessage::Times(_)) => {}
                Some(FileMessage::Failed(failure)) => {
                    self.fail(&cursor.file, failure)?;
                    break None;
                }
                None => break None,
            }
        };
        Ok(())
    }
}

/// Iterator over the keys of several files, in order.
pub(super) struct MergedKeys {
    state: ReadState,
    store: Arc<dyn ObjectStore>,
    filter: Arc<ReadFilter>,
    cursors: Vec<Cursor>,
    /// The keys at the heads of the cursors; the lowest is next.
    heads: BinaryHeap<CursorHead>,
    /// Times of the samples of all files, in order.
    pub(super) times: Vec<Millis>,
    has_ended: bool,
}

impl MergedKeys {
    fn new(state: ReadState, store: Arc<dyn ObjectStore>, request: SampleRequest) -> Self {
        let (cursors, heads, times) = Default::default();
        Self { state, store, filter: Arc::new(ReadFilter(request)), cursors, heads, times, has_ended: false }
    }

    /// Opens the files that can contain requested rows. Repeats if one of them was deleted before it was opened.
    fn open_listed(&mut self) -> Result<(), ParquetStoreError> {
        loop {
            self.state.is_outdated = false;
            self.state.lists += 1;
            let history_store = Arc::clone(&self.state.history_store);
            self.open(history_store.files(&self.state, &self.store, &self.filter)?)?;
            if !self.state.is_outdated {
                return Ok(());
            }
        }
    }

    fn open(&mut self, files: Vec<SampleFile>) -> Result<(), ReadError> {
        let opening = Arc::new(Semaphore::new(MAX_OPENING));
        let batch_rows = (TOTAL_BATCH_ROWS / files.len().max(1)).clamp(BATCH_ROWS.0, BATCH_ROWS.1);
        let open = |file: SampleFile| {
            let (sender, receiver) = mpsc::channel(1);
            let (store, filter, opening) = (Arc::clone(&self.store), Arc::clone(&self.filter), Arc::clone(&opening));
            let task = FileReader { store, file: file.clone(), filter, opening, batch_rows, sender };
            self.state.handle.spawn(task.run());
            Cursor { file, receiver, rows: vec![].into_iter(), reserved: Reserved::default(), head: None }
        };
        self.heads.clear();
        self.times.clear();
        self.cursors = files.into_iter().map(open).collect();
        for cursor in &mut self.cursors {
            match self.state.wait(cursor.receiver.recv())? {
                Some(FileMessage::Times(more)) => {
                    self.times.extend(&*more);
                    self.state.advance(cursor)?;
                }
                Some(FileMessage::Failed(failure)) => self.state.fail(&cursor.file, failure)?,
                Some(FileMessage::Rows(..)) | None => {}
            }
        }
        self.times.sort_unstable();
        self.times.dedup();
        (0..self.cursors.len()).for_each(|index| self.push_head(index));
        Ok(())
    }

    /// Fails if a file could not be read to its end.
    pub(super) fn check_complete(&self) -> Result<(), ParquetStoreError> {
        self.state.failed.as_ref().map_or(Ok(()), |why| Err(ParquetStoreError::Unread(why.clone())))
    }

    /// Reads all remaining keys.
    pub(super) fn read_all(mut self) -> Result<(), ParquetStoreError> {
        self.try_for_each(|key| key.map(drop))?;
        self.check_complete()
    }

    /// Adds the head of a cursor to the merge.
    fn push_head(&mut self, index: usize) {
        let head = self.cursors.get(index).and_then(|cursor| cursor.head.as_ref());
        let key = head.map(|row| (Name::clone(&row.group), Name::clone(&row.topic), row.partition, index));
        self.heads.extend(key.map(Reverse));
    }

    /// Returns the next key. If a file was deleted meanwhile, this and the following keys are read from the current
    /// files.
    fn next_key(&mut self) -> Result<Option<ArchivedKey>, ReadError> {
        let mut next = self.merge_next()?;
        let is_outdated = self.state.is_outdated;
        let Some(from) = next.as_ref().filter(|_| is_outdated).map(key) else { return Ok(next) };
        let first = from.0.to_string();
        self.filter = Arc::new(ReadFilter(SampleRequest { first, ..self.filter.0.clone() }));
        while self.state.is_outdated {
            match self.open_listed() {
                Ok(()) => {}
                Err(ParquetStoreError::Read(error)) => return Err(error),
                Err(error) => {
                    self.state.fail_all(&error.to_string());
                    break;
                }
            }
            // Skip the keys that were returned already.
            next = self.merge_next()?;
            while !self.state.is_outdated && next.as_ref().is_some_and(|next| key(next) < from) {
                next = self.merge_next()?;
            }
        }
        Ok(next)
    }

    fn merge_next(&mut self) -> Result<Option<ArchivedKey>, ReadError> {
        self.state.bounds.check()?;
        let Some(Reverse((group, topic, partition, _))) = self.heads.peek().cloned() else { return Ok(None) };
        let (mut rows, mut reserved) = (vec![], self.state.bounds.reserve(0)?);
        while let Some(Reverse(head)) = self.heads.peek()
            && (&head.0, &head.1, head.2) == (&group, &topic, partition)
        {
            let index = head.3;
            self.heads.pop();
            let Some(cursor) = self.cursors.get_mut(index) else { continue };
            let is_it = |row: &Row| row.group == group && row.topic == topic && row.partition == partition;
            while let Some(row) = cursor.head.take_if(|row| is_it(row)) {
                rows.push((row.at, row.point));
                self.state.advance(cursor)?;
            }
            reserved.resize(rows.capacity() * size_of::<(Millis, Option<Point>)>())?;
            self.push_head(index);
        }
        rows.sort_by_key(|(at, _)| *at);
        rows.dedup_by_key(|(at, _)| *at);
        Ok(Some(ArchivedKey { group, topic, partition, rows, valid_for: ROW_HOLDS_FOR, reserved }))
    }
}

fn key(of: &ArchivedKey) -> (Name, Name, i32) {
    (Name::clone(&of.group), Name::clone(&of.topic), of.partition)
}

impl Iterator for MergedKeys {
    type Item = Result<ArchivedKey, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let next = self.next_key().transpose();
        self.has_ended = !matches!(next, Some(Ok(_)));
        if next.is_none() && self.state.reports_status && self.state.failed.is_none() {
            self.state.history_store.record_success(&self.state.source, Operation::Read);
        }
        next
    }
}

impl ParquetStore {
    /// Returns the requested keys and their samples. Blocks; must not be called from async code.
    ///
    /// # Errors
    /// The store cannot be listed, or the read ended early.
    pub(super) fn read_keys(self: &Arc<Self>, request: SampleRequest) -> Result<HistorySamples, ParquetStoreError> {
        let times = request.times.clone();
        let mut keys = MergedKeys::new(self.read_state(&request, true)?, self.store()?, request);
        keys.open_listed()?;
        keys.times.retain(|at| times.contains(at));
        Ok(HistorySamples { times: std::mem::take(&mut keys.times), keys: Box::new(keys) })
    }

    /// Returns the readable files that can contain requested rows.
    fn files(
        &self,
        state: &ReadState,
        store: &Arc<dyn ObjectStore>,
        filter: &ReadFilter,
    ) -> Result<Vec<SampleFile>, ParquetStoreError> {
        let SourceId { cluster, name } = &filter.0.source;
        let listed = state.wait(folder::list(&**store, cluster))??;
        self.record_listing(cluster, &listed);
        let (from, to) = (filter.earliest(), *filter.0.times.end());
        let is_in_time = |file: &SampleFile| file.to >= from && file.from <= to;
        let is_wanted = |file: &SampleFile| file.source == *name && is_in_time(file) && !self.is_unreadable(file);
        let wanted: Vec<SampleFile> = listed.files.into_iter().filter(is_wanted).collect();
        if wanted.len() > MAX_FILES {
            return Err(ParquetStoreError::TooManyFiles { count: wanted.len(), most: MAX_FILES });
        }
        Ok(wanted)
    }

    /// Returns all keys of some files of a source, for merging and deleting. Blocks; must not be called from async
    /// code.
    ///
    /// # Errors
    /// The runtime has stopped, or the read ended early.
    pub(super) fn read_files(
        self: &Arc<Self>,
        store: &Arc<dyn ObjectStore>,
        source: SourceId,
        files: Vec<SampleFile>,
        bounds: Bounds,
    ) -> Result<MergedKeys, ParquetStoreError> {
        let times = Millis::MIN..=Millis::MAX;
        let (groups, prefix, first) = Default::default();
        let request = SampleRequest { source, times, groups, prefix, first, bounds };
        let mut keys = MergedKeys::new(self.read_state(&request, false)?, Arc::clone(store), request);
        keys.open(files)?;
        Ok(keys)
    }

    fn read_state(
        self: &Arc<Self>,
        request: &SampleRequest,
        reports_status: bool,
    ) -> Result<ReadState, ParquetStoreError> {
        Ok(ReadState {
            history_store: Arc::clone(self),
            source: request.source.clone(),
            handle: self.runtime()?.handle().clone(),
            bounds: request.bounds.clone(),
            reports_status,
            failed: None,
            is_outdated: false,
            lists: 0,
        })
    }
}

/// Task that reads one file.
#[derive(Clone)]
struct FileReader {
    store: Arc<dyn ObjectStore>,
    file: SampleFile,
    filter: Arc<ReadFilter>,
    opening: Arc<Semaphore>,
    /// Number of rows read at a time.
    batch_rows: usize,
    sender: mpsc::Sender<FileMessage>,
}

impl FileReader {
    /// Reads the file in a nested task, so that a panic becomes an error. Stops when the receiver is dropped.
    async fn run(self) {
        let mut task = tokio::spawn(self.clone().read());
        let failure = tokio::select! {
            read = &mut task => match read {
                Ok(Ok(())) => return,
                Ok(Err(failure)) => failure,
                Err(error) => error.into(),
            },
            () = self.sender.closed() => return task.abort(),
        };
        // If the receiver is dropped, the failure does not matter.
        let _ = self.sender.send(FileMessage::Failed(failure)).await;
    }

    /// Sends the content of the file, until its end or until the receiver is dropped.
    async fn read(self) -> Result<(), ReadFailure> {
        let Self { store, file, filter, opening, batch_rows, sender } = self;
        let permit = opening.acquire().await;
        let (mut builder, times) = inspect::open(&store, &file).await?;
        drop(permit);
        let bounds = filter.0.bounds.clone();
        let _metadata = bounds.reserve(builder.metadata().memory_size())?;
        let columns = ColumnIndexes::of(builder.schema());
        let mut check = RowCheck::new(Arc::clone(&times));
        if sender.send(FileMessage::Times(times)).await.is_err() {
            return Ok(());
        }
        let failure = |error| ReadFailure::of(&file.path, error);
        let groups = filter.row_groups(&mut builder).await.map_err(failure)?;
        let sizes =
            groups.iter().filter_map(|at| builder.metadata().row_groups().get(*at)?.compressed_size().try_into().ok());
        let _row_group = bounds.reserve(sizes.max().unwrap_or(0))?;
        if let Some(pages) = filter.pages(builder.metadata(), columns.group, &groups) {
            builder = builder.with_row_selection(pages);
        }
        let mask = ProjectionMask::leaves(builder.parquet_schema(), [columns.group, columns.time]);
        let filter = RowFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, move |batch| Ok(filter.rows(&batch))))]);
        let rows = builder.with_row_groups(groups).with_row_filter(filter).with_batch_size(batch_rows);
        let mut rows = pin!(rows.build().map_err(failure)?);
        while let Some(batch) = rows.next().await {
            let rows = file::rows(&file.source, &batch.map_err(failure)?).ok_or(Damage::Foreign)?;
            check.check(&rows)?;
            let reserved = bounds.reserve(file::memory(&rows))?;
            if sender.send(FileMessage::Rows(rows, reserved)).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}
