//! Reads files: those of the time, of these the row groups that can hold a group, of these the rows.
//!
//! Each file is read by a task of its own, which is a few rows ahead; a file that cannot be read, or makes its reader
//! panic, is skipped and named.

use std::sync::Arc;

use arrow::{
    array::{Array as _, AsArray as _, BooleanArray, RecordBatch},
    datatypes::TimestampMillisecondType,
};
use futures::StreamExt as _;
use object_store::ObjectStore;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowPredicateFn, RowFilter},
    },
    file::metadata::RowGroupMetaData,
};
use tokio::sync::mpsc;

use super::{
    Archive, Row, STANDS_FOR, file, folder,
    folder::Stored,
    object::{Builder, Object},
};
use crate::{
    model::{Millis, Name},
    store::older::{Archived, Older, Question},
};

/// Rows that are read at a time.
const AT_ONCE: usize = 2048;

/// What is asked for.
struct Asked(Question);

impl Asked {
    fn has_group(&self, id: &str) -> bool {
        id.starts_with(&self.0.prefix)
            && self.0.groups.as_ref().is_none_or(|groups| groups.binary_search_by(|group| (**group).cmp(id)).is_ok())
    }

    /// Whether a row group can hold a group that is wanted, by its least and its greatest id.
    fn can_be_in(&self, least: &[u8], greatest: &[u8]) -> bool {
        let prefix = self.0.prefix.as_bytes();
        let begins = greatest >= prefix && (least <= prefix || least.starts_with(prefix));
        let is_between = |group: &String| (least..=greatest).contains(&group.as_bytes());
        begins && self.0.groups.as_ref().is_none_or(|groups| groups.iter().any(is_between))
    }

    /// Rows before the first time may say what a key was then.
    fn earliest(&self) -> Millis {
        self.0.times.start().saturating_sub(STANDS_FOR)
    }
}

/// What a task says of its file: first the times of its samples.
enum Told {
    Times(Vec<Millis>),
    Rows(Vec<Row>),
}

/// A file that is being read.
struct Cursor {
    receiver: mpsc::Receiver<Told>,
    rows: std::vec::IntoIter<Row>,
    head: Option<Row>,
}

impl Cursor {
    fn advance(&mut self) -> Option<Row> {
        let next = loop {
            if let Some(row) = self.rows.next() {
                break Some(row);
            }
            match self.receiver.blocking_recv() {
                Some(Told::Rows(rows)) => self.rows = rows.into_iter(),
                Some(Told::Times(_)) => {}
                None => break None,
            }
        };
        std::mem::replace(&mut self.head, next)
    }
}

/// Goes through keys in order.
struct Walk {
    cursors: Vec<Cursor>,
}

impl Iterator for Walk {
    type Item = Archived;

    fn next(&mut self) -> Option<Archived> {
        let key = |row: &Row| (Name::clone(&row.group), Name::clone(&row.topic), row.partition);
        let (group, topic, partition) = self.cursors.iter().filter_map(|cursor| cursor.head.as_ref()).map(key).min()?;
        let mut rows = vec![];
        let is_it = |row: &Row| row.group == group && row.topic == topic && row.partition == partition;
        for cursor in &mut self.cursors {
            while cursor.head.as_ref().is_some_and(is_it) {
                rows.extend(cursor.advance().map(|row| (row.at, row.point)));
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
        let (store, runtime) = (self.store()?, self.runtime()?.handle().clone());
        let question = Arc::new(Asked(question));
        let (asked, lister) = (Arc::clone(&question), Arc::clone(&store));
        let (sender, mut listed) = mpsc::channel(1);
        runtime.spawn(async move { sender.send(folder::list(&*lister, &asked.0.cluster).await).await });
        let (files, foreign) = listed.blocking_recv().unwrap_or_else(|| Err("no answer".to_owned()))?;
        foreign.iter().for_each(|path| self.skip(path, "not a file of history".to_owned()));
        let wanted =
            files.into_iter().filter(|file| file.to >= question.earliest() && file.from <= *question.0.times.end());
        let mut cursors: Vec<Cursor> = wanted
            .map(|file| {
                let (sender, receiver) = mpsc::channel(1);
                let (archive, store, question) = (Arc::clone(self), Arc::clone(&store), Arc::clone(&question));
                runtime.spawn(async move {
                    let path = file.path.clone();
                    // Of its own, so that a panic is no more than an error.
                    let read = tokio::spawn(read(store, file, question, sender.clone())).await;
                    let read = read.unwrap_or_else(|error| Err(error.to_string()));
                    read.unwrap_or_else(|why| archive.skip(&path, why));
                    // Whoever has read to the end finds what was skipped.
                    drop(sender);
                });
                Cursor { receiver, rows: vec![].into_iter(), head: None }
            })
            .collect();
        let mut times: Vec<Millis> = vec![];
        for cursor in &mut cursors {
            if let Some(Told::Times(more)) = cursor.receiver.blocking_recv() {
                times.extend(more.into_iter().filter(|at| question.0.times.contains(at)));
            }
            cursor.advance();
        }
        cursors.retain(|cursor| cursor.head.is_some());
        times.sort_unstable();
        times.dedup();
        Ok(Older { times, keys: Box::new(Walk { cursors }) })
    }
}

/// Sends what a file holds, until the end or until nobody reads.
async fn read(
    store: Arc<dyn ObjectStore>,
    file: Stored,
    question: Arc<Asked>,
    sender: mpsc::Sender<Told>,
) -> Result<(), String> {
    let text = |error: parquet::errors::ParquetError| error.to_string();
    let mut builder = Object::open(&store, &file).await.map_err(text)?;
    let times = file::times(builder.schema()).ok_or("not a file of history")?;
    if sender.send(Told::Times(times)).await.is_err() {
        return Ok(());
    }
    let groups = row_groups(&mut builder, &question).await.map_err(text)?;
    let mask = ProjectionMask::leaves(builder.parquet_schema(), [file::GROUP, file::TIME]);
    let filter =
        RowFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, move |batch| Ok(wanted(&batch, &question))))]);
    let rows =
        builder.with_row_groups(groups).with_row_filter(filter).with_batch_size(AT_ONCE).build().map_err(text)?;
    let mut rows = std::pin::pin!(rows);
    while let Some(batch) = rows.next().await {
        let rows = file::rows(&batch.map_err(text)?).ok_or("not a file of history")?;
        if sender.send(Told::Rows(rows)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// The row groups that can hold what is wanted: by statistics, then, for a few groups, by bloom filters.
async fn row_groups(builder: &mut Builder, question: &Asked) -> Result<Vec<usize>, parquet::errors::ParquetError> {
    let all = builder.metadata().row_groups().iter().enumerate();
    let by_statistics: Vec<usize> = all.filter(|(_, group)| can_hold(group, question)).map(|(at, _)| at).collect();
    let Some(groups) = question.0.groups.as_ref().filter(|groups| groups.len() <= 16) else { return Ok(by_statistics) };
    let mut kept = vec![];
    for at in by_statistics {
        let bloom = builder.get_row_group_column_bloom_filter(at, file::GROUP).await?;
        if bloom.is_none_or(|bloom| groups.iter().any(|group| bloom.check(group.as_str()))) {
            kept.push(at);
        }
    }
    Ok(kept)
}

fn can_hold(group: &RowGroupMetaData, question: &Asked) -> bool {
    let statistics = group.columns().get(file::GROUP).and_then(|column| column.statistics());
    let bounds = statistics.and_then(|known| Some((known.min_bytes_opt()?, known.max_bytes_opt()?)));
    bounds.is_none_or(|(least, greatest)| question.can_be_in(least, greatest))
}

/// Which rows of a batch of `group_id` and `sampled_at` are wanted.
fn wanted(batch: &RecordBatch, question: &Asked) -> BooleanArray {
    let groups = batch.columns().first().and_then(|column| column.as_string_opt::<i32>());
    let times = batch.columns().get(1).and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
    let (Some(groups), Some(times)) = (groups, times) else { return BooleanArray::from(vec![false; batch.num_rows()]) };
    let times_wanted = question.earliest()..=*question.0.times.end();
    let (mut known, mut is_wanted) = (None, false);
    let each = (0..groups.len()).map(|at| {
        // Sorted: most rows are of the group of the one before.
        let group = groups.value(at);
        if known != Some(group) {
            (known, is_wanted) = (Some(group), question.has_group(group));
        }
        is_wanted && times_wanted.contains(&times.value(at))
    });
    BooleanArray::from(each.collect::<Vec<bool>>())
}
