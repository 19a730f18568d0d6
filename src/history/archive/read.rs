//! Reads files: those of the time, of these the pages that can hold a group, of these the rows.
//!
//! Each file is read by a task of its own, which is a few rows ahead, until nobody waits any more; a file that cannot be
//! read, or makes its reader panic, is skipped and named.

use std::{pin::pin, sync::Arc};

use futures::StreamExt as _;
use object_store::{ObjectStore, path::Path};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowPredicateFn, RowFilter},
    },
    errors::ParquetError,
};
use tokio::{runtime::Handle, sync::mpsc};

use super::{Archive, Row, STANDS_FOR, Work, asked::Asked, file, folder, folder::Stored, object::Object};
use crate::{
    model::{Millis, Name},
    store::older::{Archived, Older, Patience, Question},
};

/// Rows that are read at a time.
const AT_ONCE: usize = 2048;
/// Files that are read side by side: many more than there are where hours and days are merged.
const MOST_FILES: usize = 4096;

/// What a task says of its file: first the times of its samples.
enum Told {
    Times(Vec<Millis>),
    Rows(Vec<Row>),
    Failed(Failure),
}

/// Why a file is not read to its end.
enum Failure {
    /// The store does not give it.
    Store(String),
    /// It is not what it should be.
    File(String),
}

impl From<ParquetError> for Failure {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(error) => Self::Store(error.to_string()),
            error => Self::File(error.to_string()),
        }
    }
}

/// A file that is being read.
struct Cursor {
    path: Path,
    receiver: mpsc::Receiver<Told>,
    rows: std::vec::IntoIter<Row>,
    head: Option<Row>,
}

/// For whom files are read, and how that went.
struct Reading {
    archive: Arc<Archive>,
    cluster: Name,
    handle: Handle,
    patience: Patience,
    failed: Option<String>,
}

impl Reading {
    /// Waits for work on the caller's thread; `None` once nobody waits any more.
    fn wait<T>(&self, work: impl Future<Output = Option<T>>) -> Option<T> {
        self.handle.block_on(async {
            tokio::select! {
                done = work => done,
                () = self.patience.over() => None,
            }
        })
    }

    fn fail(&mut self, path: &Path, failure: Failure) {
        let why = match failure {
            Failure::Store(why) => {
                self.archive.failed(&self.cluster, Work::Read, &why);
                why
            }
            Failure::File(why) => {
                self.archive.skip(path, &why);
                why
            }
        };
        self.failed.get_or_insert(why);
    }

    fn next(&mut self, cursor: &mut Cursor) -> Option<Told> {
        match self.wait(cursor.receiver.recv())? {
            Told::Failed(failure) => {
                self.fail(&cursor.path, failure);
                None
            }
            told => Some(told),
        }
    }

    fn advance(&mut self, cursor: &mut Cursor) -> Option<Row> {
        let next = loop {
            if let Some(row) = cursor.rows.next() {
                break Some(row);
            }
            match self.next(cursor) {
                Some(Told::Rows(rows)) => cursor.rows = rows.into_iter(),
                Some(_) => {}
                None => break None,
            }
        };
        std::mem::replace(&mut cursor.head, next)
    }
}

/// Goes through the keys of files in order.
pub(super) struct Walk {
    reading: Reading,
    cursors: Vec<Cursor>,
    /// Times of the files' samples, in order.
    pub(super) times: Vec<Millis>,
}

impl Walk {
    /// Why there is less than there was, if so.
    pub(super) fn failed(&self) -> Option<&str> {
        self.reading.failed.as_deref()
    }
}

impl Iterator for Walk {
    type Item = Archived;

    fn next(&mut self) -> Option<Archived> {
        let key = |row: &Row| (Name::clone(&row.group), Name::clone(&row.topic), row.partition);
        let heads = self.cursors.iter().filter_map(|cursor| cursor.head.as_ref());
        let Some((group, topic, partition)) = heads.map(key).min() else {
            if self.reading.failed.is_none() && !self.reading.patience.is_over() {
                self.reading.archive.succeeded(&self.reading.cluster, Work::Read);
            }
            return None;
        };
        let mut rows = vec![];
        let is_it = |row: &Row| row.group == group && row.topic == topic && row.partition == partition;
        for cursor in &mut self.cursors {
            while cursor.head.as_ref().is_some_and(is_it) {
                rows.extend(self.reading.advance(cursor).map(|row| (row.at, row.point)));
            }
        }
        self.cursors.retain(|cursor| cursor.head.is_some());
        rows.sort_by_key(|(at, _)| *at);
        rows.dedup_by_key(|(at, _)| *at);
        Some(Archived { group, topic, partition, rows, stands_for: STANDS_FOR })
    }
}

impl Archive {
    /// Keys and what they were. Blocks: not for async code.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub(super) fn walk(self: &Arc<Self>, question: Question) -> Result<Older, String> {
        let store = self.store()?;
        let reading = self.reading(&question)?;
        let listed = reading.wait(async { Some(folder::list(&*store, &question.cluster).await) });
        let (files, foreign) = listed.unwrap_or_else(|| Ok(Default::default()))?;
        foreign.iter().for_each(|path| self.skip(path, "not a file of history"));
        let asked = Asked(question);
        let (from, to) = (asked.earliest(), *asked.0.times.end());
        let wanted: Vec<Stored> = files.into_iter().filter(|file| file.to >= from && file.from <= to).collect();
        if wanted.len() > MOST_FILES {
            return Err(format!("{} files are not merged yet, more than {MOST_FILES}", wanted.len()));
        }
        let times = asked.0.times.clone();
        let mut walk = self.open(reading, &store, wanted, asked);
        walk.times.retain(|at| times.contains(at));
        Ok(Older { times: std::mem::take(&mut walk.times), keys: Box::new(walk) })
    }

    /// All keys of some files. Blocks: not for async code.
    ///
    /// # Errors
    /// The runtime is gone.
    pub(super) fn walk_all(
        self: &Arc<Self>,
        store: &Arc<dyn ObjectStore>,
        cluster: Name,
        files: Vec<Stored>,
    ) -> Result<Walk, String> {
        let times = Millis::MIN..=Millis::MAX;
        let (groups, prefix, first, patience) = Default::default();
        let question = Question { cluster, times, groups, prefix, first, patience };
        Ok(self.open(self.reading(&question)?, store, files, Asked(question)))
    }

    fn reading(self: &Arc<Self>, question: &Question) -> Result<Reading, String> {
        Ok(Reading {
            archive: Arc::clone(self),
            cluster: Name::clone(&question.cluster),
            handle: self.runtime()?.handle().clone(),
            patience: question.patience.clone(),
            failed: None,
        })
    }

    fn open(
        self: &Arc<Self>,
        mut reading: Reading,
        store: &Arc<dyn ObjectStore>,
        files: Vec<Stored>,
        asked: Asked,
    ) -> Walk {
        let asked = Arc::new(asked);
        let open = |file: Stored| {
            let (sender, receiver) = mpsc::channel(1);
            let path = file.path.clone();
            reading.handle.spawn(tell(Arc::clone(store), file, Arc::clone(&asked), sender));
            Cursor { path, receiver, rows: vec![].into_iter(), head: None }
        };
        let mut cursors: Vec<Cursor> = files.into_iter().map(open).collect();
        let mut times: Vec<Millis> = vec![];
        for cursor in &mut cursors {
            if let Some(Told::Times(more)) = reading.next(cursor) {
                times.extend(more);
            }
            reading.advance(cursor);
        }
        cursors.retain(|cursor| cursor.head.is_some());
        times.sort_unstable();
        times.dedup();
        Walk { reading, cursors, times }
    }
}

/// Reads a file in a task of its own, so that a panic is no more than an error, and until nobody wants it.
async fn tell(store: Arc<dyn ObjectStore>, file: Stored, question: Arc<Asked>, sender: mpsc::Sender<Told>) {
    let mut reading = tokio::spawn(read(store, file, question, sender.clone()));
    let failure = tokio::select! {
        read = &mut reading => match read {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(error) => Failure::File(error.to_string()),
        },
        () = sender.closed() => return reading.abort(),
    };
    // Nobody to tell: nobody misses it.
    let _ = sender.send(Told::Failed(failure)).await;
}

/// Sends what a file holds, until the end or until nobody reads.
async fn read(
    store: Arc<dyn ObjectStore>,
    file: Stored,
    question: Arc<Asked>,
    sender: mpsc::Sender<Told>,
) -> Result<(), Failure> {
    let foreign = || Failure::File("not a file of history".to_owned());
    let mut builder = Object::open(&store, &file).await?;
    let times = file::times(builder.schema()).ok_or_else(foreign)?;
    if sender.send(Told::Times(times)).await.is_err() {
        return Ok(());
    }
    let groups = question.row_groups(&mut builder).await?;
    if let Some(pages) = question.pages(builder.metadata(), &groups) {
        builder = builder.with_row_selection(pages);
    }
    let mask = ProjectionMask::leaves(builder.parquet_schema(), [file::GROUP, file::TIME]);
    let filter = RowFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, move |batch| Ok(question.rows(&batch))))]);
    let rows = builder.with_row_groups(groups).with_row_filter(filter).with_batch_size(AT_ONCE).build()?;
    let mut rows = pin!(rows);
    while let Some(batch) = rows.next().await {
        let rows = file::rows(&batch?).ok_or_else(foreign)?;
        if sender.send(Told::Rows(rows)).await.is_err() {
            break;
        }
    }
    Ok(())
}
