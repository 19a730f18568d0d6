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
    Archive, ArchiveError, Row, STANDS_FOR, Work,
    asked::Asked,
    error::{Damage, Failure},
    file::{self, Places},
    folder::{self, Stored},
    inspect::{self, RowCheck},
    known::Found,
};
use crate::{
    model::{Millis, Name, SourceId},
    store::older::{Archived, Bounds, Older, Point, Question, ReadError, Reserved},
};

/// Minimum and maximum number of rows of a file read at a time.
const AT_ONCE: (usize, usize) = (64, 2048);
/// Number of rows of all files together read at a time.
const ALL_AT_ONCE: usize = 1 << 18;
/// Maximum number of files opened concurrently.
const OPENING: usize = 32;
/// Maximum number of files read concurrently. There are far fewer if hours and days are merged.
const MOST_FILES: usize = 4096;
/// Maximum number of listings for one read. Files are listed again if one was deleted before it was read to its end.
const MOST_LISTS: usize = 10;

/// A message of the task that reads a file. The times of the samples come first.
enum Told {
    Times(Arc<[Millis]>),
    Rows(Vec<Row>, Reserved),
    Failed(Failure),
}

/// A file that is being read.
struct Cursor {
    file: Stored,
    receiver: mpsc::Receiver<Told>,
    rows: std::vec::IntoIter<Row>,
    /// The memory of `rows`.
    reserved: Reserved,
    head: Option<Row>,
}

/// Key of a cursor's next row (group, topic, partition), and the index of the cursor.
type Head = Reverse<(Name, Name, i32, usize)>;

/// The state of a read.
struct Reading {
    archive: Arc<Archive>,
    source: SourceId,
    handle: Handle,
    bounds: Bounds,
    /// Whether failures are reported in the status, and deleted files are searched again among the merged ones.
    tells: bool,
    failed: Option<String>,
    /// Whether a file was deleted before it was read to its end.
    is_outdated: bool,
    /// How often the files were listed.
    lists: usize,
}

impl Reading {
    /// Blocks the current thread until a future completes or the read is cancelled. The thread may belong to a runtime.
    fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, ReadError> {
        let done = tokio::task::block_in_place(|| self.handle.block_on(self.bounds.cancel.in_time(work)));
        done.map_err(|_| ReadError::Stopped)
    }

    /// Records that a file could not be read to its end.
    fn fail(&mut self, file: &Stored, failure: Failure) -> Result<(), ReadError> {
        if self.tells && self.lists < MOST_LISTS && matches!(failure, Failure::Gone(_)) {
            self.is_outdated = true;
            return Ok(());
        }
        let why = failure.to_string();
        let note = |found| self.archive.note(&file.path, file.version, found);
        match failure {
            Failure::Gone(_) | Failure::Store(_) | Failure::Cancelled(_) => self.tell(&why),
            Failure::Denied(_) => note(Found::Denied(why.clone())),
            Failure::Damaged(_) => note(Found::Damaged(why.clone())),
            Failure::Read(error) => return Err(error),
        }
        self.failed.get_or_insert(why);
        Ok(())
    }

    /// Records that the remaining files could not be read.
    fn fail_all(&mut self, why: &str) {
        self.is_outdated = false;
        self.tell(why);
        self.failed.get_or_insert(why.to_owned());
    }

    fn tell(&self, error: &str) {
        if self.tells {
            self.archive.failed(&self.source, Work::Read, &error);
        }
    }

    /// Takes the next row of a file as the head of its cursor; `None` at the end.
    fn advance(&mut self, cursor: &mut Cursor) -> Result<(), ReadError> {
        cursor.head = loop {
            if let Some(row) = cursor.rows.next() {
                break Some(row);
            }
            match self.wait(cursor.receiver.recv())? {
                Some(Told::Rows(rows, reserved)) => (cursor.rows, cursor.reserved) = (rows.into_iter(), reserved),
                Some(Told::Times(_)) => {}
                Some(Told::Failed(failure)) => {
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
pub(super) struct Walk {
    reading: Reading,
    store: Arc<dyn ObjectStore>,
    asked: Arc<Asked>,
    cursors: Vec<Cursor>,
    /// The keys at the heads of the cursors; the lowest is next.
    heads: BinaryHeap<Head>,
    /// Times of the samples of all files, in order.
    pub(super) times: Vec<Millis>,
    is_over: bool,
}

impl Walk {
    fn new(reading: Reading, store: Arc<dyn ObjectStore>, question: Question) -> Self {
        let (cursors, heads, times) = Default::default();
        Self { reading, store, asked: Arc::new(Asked(question)), cursors, heads, times, is_over: false }
    }

    /// Opens the files that can contain requested rows. Repeats if one of them was deleted before it was opened.
    fn open_listed(&mut self) -> Result<(), ArchiveError> {
        loop {
            self.reading.is_outdated = false;
            self.reading.lists += 1;
            let archive = Arc::clone(&self.reading.archive);
            self.open(archive.files(&self.reading, &self.store, &self.asked)?)?;
            if !self.reading.is_outdated {
                return Ok(());
            }
        }
    }

    fn open(&mut self, files: Vec<Stored>) -> Result<(), ReadError> {
        let opening = Arc::new(Semaphore::new(OPENING));
        let at_once = (ALL_AT_ONCE / files.len().max(1)).clamp(AT_ONCE.0, AT_ONCE.1);
        let open = |file: Stored| {
            let (sender, receiver) = mpsc::channel(1);
            let (store, asked, opening) = (Arc::clone(&self.store), Arc::clone(&self.asked), Arc::clone(&opening));
            let task = FileReader { store, file: file.clone(), asked, opening, at_once, sender };
            self.reading.handle.spawn(task.run());
            Cursor { file, receiver, rows: vec![].into_iter(), reserved: Reserved::default(), head: None }
        };
        self.heads.clear();
        self.times.clear();
        self.cursors = files.into_iter().map(open).collect();
        for cursor in &mut self.cursors {
            match self.reading.wait(cursor.receiver.recv())? {
                Some(Told::Times(more)) => {
                    self.times.extend(&*more);
                    self.reading.advance(cursor)?;
                }
                Some(Told::Failed(failure)) => self.reading.fail(&cursor.file, failure)?,
                Some(Told::Rows(..)) | None => {}
            }
        }
        self.times.sort_unstable();
        self.times.dedup();
        (0..self.cursors.len()).for_each(|place| self.enter(place));
        Ok(())
    }

    /// Fails if a file could not be read to its end.
    pub(super) fn is_whole(&self) -> Result<(), ArchiveError> {
        self.reading.failed.as_ref().map_or(Ok(()), |why| Err(ArchiveError::Unread(why.clone())))
    }

    /// Reads all remaining keys.
    pub(super) fn read_all(mut self) -> Result<(), ArchiveError> {
        self.try_for_each(|key| key.map(drop))?;
        self.is_whole()
    }

    /// Adds the head of a cursor to the merge.
    fn enter(&mut self, place: usize) {
        let head = self.cursors.get(place).and_then(|cursor| cursor.head.as_ref());
        let key = head.map(|row| (Name::clone(&row.group), Name::clone(&row.topic), row.partition, place));
        self.heads.extend(key.map(Reverse));
    }

    /// Returns the next key. If a file was deleted meanwhile, this and the following keys are read from the current
    /// files.
    fn next_key(&mut self) -> Result<Option<Archived>, ReadError> {
        let mut next = self.merge_next()?;
        let is_outdated = self.reading.is_outdated;
        let Some(from) = next.as_ref().filter(|_| is_outdated).map(key) else { return Ok(next) };
        let first = from.0.to_string();
        self.asked = Arc::new(Asked(Question { first, ..self.asked.0.clone() }));
        while self.reading.is_outdated {
            match self.open_listed() {
                Ok(()) => {}
                Err(ArchiveError::Read(error)) => return Err(error),
                Err(error) => {
                    self.reading.fail_all(&error.to_string());
                    break;
                }
            }
            // Skip the keys that were returned already.
            next = self.merge_next()?;
            while !self.reading.is_outdated && next.as_ref().is_some_and(|next| key(next) < from) {
                next = self.merge_next()?;
            }
        }
        Ok(next)
    }

    fn merge_next(&mut self) -> Result<Option<Archived>, ReadError> {
        self.reading.bounds.check()?;
        let Some(Reverse((group, topic, partition, _))) = self.heads.peek().cloned() else { return Ok(None) };
        let (mut rows, mut reserved) = (vec![], self.reading.bounds.reserve(0)?);
        while let Some(Reverse(head)) = self.heads.peek()
            && (&head.0, &head.1, head.2) == (&group, &topic, partition)
        {
            let place = head.3;
            self.heads.pop();
            let Some(cursor) = self.cursors.get_mut(place) else { continue };
            let is_it = |row: &Row| row.group == group && row.topic == topic && row.partition == partition;
            while let Some(row) = cursor.head.take_if(|row| is_it(row)) {
                rows.push((row.at, row.point));
                self.reading.advance(cursor)?;
            }
            reserved.resize(rows.capacity() * size_of::<(Millis, Option<Point>)>())?;
            self.enter(place);
        }
        rows.sort_by_key(|(at, _)| *at);
        rows.dedup_by_key(|(at, _)| *at);
        Ok(Some(Archived { group, topic, partition, rows, stands_for: STANDS_FOR, reserved }))
    }
}

fn key(of: &Archived) -> (Name, Name, i32) {
    (Name::clone(&of.group), Name::clone(&of.topic), of.partition)
}

impl Iterator for Walk {
    type Item = Result<Archived, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.next_key().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        if next.is_none() && self.reading.tells && self.reading.failed.is_none() {
            self.reading.archive.succeeded(&self.reading.source, Work::Read);
        }
        next
    }
}

impl Archive {
    /// Returns the requested keys and their samples. Blocks; must not be called from async code.
    ///
    /// # Errors
    /// The store cannot be listed, or the read ended early.
    pub(super) fn walk(self: &Arc<Self>, question: Question) -> Result<Older, ArchiveError> {
        let times = question.times.clone();
        let mut walk = Walk::new(self.reading(&question, true)?, self.store()?, question);
        walk.open_listed()?;
        walk.times.retain(|at| times.contains(at));
        Ok(Older { times: std::mem::take(&mut walk.times), keys: Box::new(walk) })
    }

    /// Returns the readable files that can contain requested rows.
    fn files(
        &self,
        reading: &Reading,
        store: &Arc<dyn ObjectStore>,
        asked: &Asked,
    ) -> Result<Vec<Stored>, ArchiveError> {
        let SourceId { cluster, name } = &asked.0.source;
        let listed = reading.wait(folder::list(&**store, cluster))??;
        self.note_listed(cluster, &listed);
        let (from, to) = (asked.earliest(), *asked.0.times.end());
        let is_in_time = |file: &Stored| file.to >= from && file.from <= to;
        let is_wanted = |file: &Stored| file.source == *name && is_in_time(file) && !self.is_unreadable(file);
        let wanted: Vec<Stored> = listed.files.into_iter().filter(is_wanted).collect();
        if wanted.len() > MOST_FILES {
            return Err(ArchiveError::TooManyFiles { count: wanted.len(), most: MOST_FILES });
        }
        Ok(wanted)
    }

    /// Returns all keys of some files of a source, for merging and deleting. Blocks; must not be called from async
    /// code.
    ///
    /// # Errors
    /// The runtime has stopped, or the read ended early.
    pub(super) fn walk_all(
        self: &Arc<Self>,
        store: &Arc<dyn ObjectStore>,
        source: SourceId,
        files: Vec<Stored>,
        bounds: Bounds,
    ) -> Result<Walk, ArchiveError> {
        let times = Millis::MIN..=Millis::MAX;
        let (groups, prefix, first) = Default::default();
        let question = Question { source, times, groups, prefix, first, bounds };
        let mut walk = Walk::new(self.reading(&question, false)?, Arc::clone(store), question);
        walk.open(files)?;
        Ok(walk)
    }

    fn reading(self: &Arc<Self>, question: &Question, tells: bool) -> Result<Reading, ArchiveError> {
        Ok(Reading {
            archive: Arc::clone(self),
            source: question.source.clone(),
            handle: self.runtime()?.handle().clone(),
            bounds: question.bounds.clone(),
            tells,
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
    file: Stored,
    asked: Arc<Asked>,
    opening: Arc<Semaphore>,
    /// Number of rows read at a time.
    at_once: usize,
    sender: mpsc::Sender<Told>,
}

impl FileReader {
    /// Reads the file in a nested task, so that a panic becomes an error. Stops when the receiver is dropped.
    async fn run(self) {
        let mut reading = tokio::spawn(self.clone().read());
        let failure = tokio::select! {
            read = &mut reading => match read {
                Ok(Ok(())) => return,
                Ok(Err(failure)) => failure,
                Err(error) => error.into(),
            },
            () = self.sender.closed() => return reading.abort(),
        };
        // If the receiver is dropped, the failure does not matter.
        let _ = self.sender.send(Told::Failed(failure)).await;
    }

    /// Sends the content of the file, until its end or until the receiver is dropped.
    async fn read(self) -> Result<(), Failure> {
        let Self { store, file, asked, opening, at_once, sender } = self;
        let permit = opening.acquire().await;
        let (mut builder, times) = inspect::open(&store, &file).await?;
        drop(permit);
        let bounds = asked.0.bounds.clone();
        let _metadata = bounds.reserve(builder.metadata().memory_size())?;
        let places = Places::of(builder.schema());
        let mut check = RowCheck::new(Arc::clone(&times));
        if sender.send(Told::Times(times)).await.is_err() {
            return Ok(());
        }
        let failure = |error| Failure::of(&file.path, error);
        let groups = asked.row_groups(&mut builder).await.map_err(failure)?;
        let sizes =
            groups.iter().filter_map(|at| builder.metadata().row_groups().get(*at)?.compressed_size().try_into().ok());
        let _row_group = bounds.reserve(sizes.max().unwrap_or(0))?;
        if let Some(pages) = asked.pages(builder.metadata(), places.group, &groups) {
            builder = builder.with_row_selection(pages);
        }
        let mask = ProjectionMask::leaves(builder.parquet_schema(), [places.group, places.time]);
        let filter = RowFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, move |batch| Ok(asked.rows(&batch))))]);
        let rows = builder.with_row_groups(groups).with_row_filter(filter).with_batch_size(at_once);
        let mut rows = pin!(rows.build().map_err(failure)?);
        while let Some(batch) = rows.next().await {
            let rows = file::rows(&file.source, &batch.map_err(failure)?).ok_or(Damage::Foreign)?;
            check.check(&rows)?;
            let reserved = bounds.reserve(file::memory(&rows))?;
            if sender.send(Told::Rows(rows, reserved)).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}
