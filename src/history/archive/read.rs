//! Reads files: those of the time, of these the pages that can hold a group, of these the rows.
//!
//! Each file is read by a task of its own, which is a few rows ahead, until nobody waits any more; a file that cannot be
//! read, or makes its reader panic, is skipped and named. While a file and the one that replaces it both exist, both are
//! read: a row that several files hold is one row.

use std::{pin::pin, sync::Arc};

use futures::StreamExt as _;
use object_store::ObjectStore;
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ArrowPredicateFn, RowFilter},
};
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    Archive, Row, STANDS_FOR, Work,
    asked::Asked,
    file,
    folder::{self, Stored},
    inspect::{self, Failure, RowCheck},
    known::Found,
};
use crate::{
    model::{Millis, Name},
    store::older::{Archived, Older, Patience, Question},
};

/// Rows that are read at a time.
const AT_ONCE: usize = 2048;
/// Files that are read side by side: many more than there are where hours and days are merged.
const MOST_FILES: usize = 4096;
/// How often the files are listed anew because one is gone when it is opened.
const MOST_LISTS: usize = 3;

/// What a task says of its file: first the times of its samples.
enum Told {
    Times(Arc<[Millis]>),
    Rows(Vec<Row>),
    Failed(Failure),
}

/// A file that is being read.
struct Cursor {
    file: Stored,
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
    /// Whether the status tells how it went.
    tells: bool,
    failed: Option<String>,
    /// A file was gone when it was opened.
    is_outdated: bool,
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

    fn fail(&mut self, file: &Stored, failure: Failure) {
        let note = |found| self.archive.note(&file.path, file.version, found);
        let why = match failure {
            Failure::Gone => {
                let why = format!("{} was deleted while it was read", file.path);
                self.tell(&why);
                why
            }
            Failure::Store(why) => {
                self.tell(&why);
                why
            }
            Failure::Denied(why) => {
                note(Found::Denied(why.clone()));
                why
            }
            Failure::Damaged(why) => {
                note(Found::Damaged(why.clone()));
                why
            }
        };
        self.failed.get_or_insert(why);
    }

    fn tell(&self, error: &str) {
        if self.tells {
            self.archive.failed(&self.cluster, Work::Read, error);
        }
    }

    fn next(&mut self, cursor: &mut Cursor) -> Option<Told> {
        match self.wait(cursor.receiver.recv())? {
            Told::Failed(failure) => {
                self.fail(&cursor.file, failure);
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
    /// Why there is less than the files hold, if so.
    pub(super) fn failed(&self) -> Option<&str> {
        let is_over = self.reading.patience.is_over();
        self.reading.failed.as_deref().or(is_over.then_some("cancelled"))
    }
}

impl Iterator for Walk {
    type Item = Archived;

    fn next(&mut self) -> Option<Archived> {
        let key = |row: &Row| (Name::clone(&row.group), Name::clone(&row.topic), row.partition);
        let heads = self.cursors.iter().filter_map(|cursor| cursor.head.as_ref());
        let Some((group, topic, partition)) = heads.map(key).min() else {
            if self.reading.tells && self.reading.failed.is_none() && !self.reading.patience.is_over() {
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
        let (times, asked) = (question.times.clone(), Arc::new(Asked(question)));
        let mut lists = 1;
        loop {
            let reading = self.reading(&asked.0, true)?;
            let files = self.files(&reading, &store, &asked)?;
            let mut walk = self.open(reading, &store, files, &asked);
            if walk.reading.is_outdated {
                if lists < MOST_LISTS {
                    lists += 1;
                    continue;
                }
                let why = "files are deleted sooner than they are read";
                walk.reading.tell(why);
                walk.reading.failed.get_or_insert(why.to_owned());
            }
            walk.times.retain(|at| times.contains(at));
            return Ok(Older { times: std::mem::take(&mut walk.times), keys: Box::new(walk) });
        }
    }

    /// The files that can hold what is wanted, without those that cannot be read.
    fn files(&self, reading: &Reading, store: &Arc<dyn ObjectStore>, asked: &Asked) -> Result<Vec<Stored>, String> {
        let cluster = &asked.0.cluster;
        let listed = reading.wait(async { Some(folder::list(&**store, cluster).await) });
        let Some(listed) = listed else { return Ok(vec![]) };
        let listed = listed.map_err(|error| error.to_string())?;
        self.note_listed(cluster, &listed);
        let (from, to) = (asked.earliest(), *asked.0.times.end());
        let is_wanted = |file: &Stored| file.to >= from && file.from <= to && !self.is_unreadable(file);
        let wanted: Vec<Stored> = listed.files.into_iter().filter(is_wanted).collect();
        if wanted.len() > MOST_FILES {
            return Err(format!("{} files are not merged yet, more than {MOST_FILES}", wanted.len()));
        }
        Ok(wanted)
    }

    /// All keys of some files, for the work on the files themselves. Blocks: not for async code.
    ///
    /// # Errors
    /// The runtime is gone.
    pub(super) fn walk_all(
        self: &Arc<Self>,
        store: &Arc<dyn ObjectStore>,
        cluster: Name,
        files: Vec<Stored>,
        patience: Patience,
    ) -> Result<Walk, String> {
        let times = Millis::MIN..=Millis::MAX;
        let (groups, prefix, first) = Default::default();
        let question = Question { cluster, times, groups, prefix, first, patience };
        Ok(self.open(self.reading(&question, false)?, store, files, &Arc::new(Asked(question))))
    }

    fn reading(self: &Arc<Self>, question: &Question, tells: bool) -> Result<Reading, String> {
        Ok(Reading {
            archive: Arc::clone(self),
            cluster: Name::clone(&question.cluster),
            handle: self.runtime()?.handle().clone(),
            patience: question.patience.clone(),
            tells,
            failed: None,
            is_outdated: false,
        })
    }

    fn open(
        self: &Arc<Self>,
        mut reading: Reading,
        store: &Arc<dyn ObjectStore>,
        files: Vec<Stored>,
        asked: &Arc<Asked>,
    ) -> Walk {
        let open = |file: Stored| {
            let (sender, receiver) = mpsc::channel(1);
            reading.handle.spawn(tell(Arc::clone(store), file.clone(), Arc::clone(asked), sender));
            Cursor { file, receiver, rows: vec![].into_iter(), head: None }
        };
        let mut cursors: Vec<Cursor> = files.into_iter().map(open).collect();
        let mut times: Vec<Millis> = vec![];
        for cursor in &mut cursors {
            match reading.wait(cursor.receiver.recv()) {
                Some(Told::Times(more)) => {
                    times.extend(&*more);
                    reading.advance(cursor);
                }
                Some(Told::Failed(Failure::Gone)) if reading.tells => reading.is_outdated = true,
                Some(Told::Failed(failure)) => reading.fail(&cursor.file, failure),
                Some(Told::Rows(_)) | None => {}
            }
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
            Err(error) => error.into(),
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
    let (mut builder, times) = inspect::open(&store, &file).await?;
    let mut check = RowCheck::new(Arc::clone(&times));
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
        let rows = file::rows(&batch?).ok_or_else(|| Failure::Damaged("not a file of history".to_owned()))?;
        check.check(&rows)?;
        if sender.send(Told::Rows(rows)).await.is_err() {
            break;
        }
    }
    Ok(())
}
