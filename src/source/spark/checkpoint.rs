//! The state of a query, read from its checkpoint.
//!
//! The last batch that has a file in `offsets` is planned; the last one that also has a file in `commits` is committed.
//! Batch numbers may have gaps, since asynchronous progress tracking does not write every batch. A query that has not
//! committed a batch has the offsets at which its sources start.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    files::{self, FileError, OffsetFile},
    storage::{Storage, StorageError},
};
use crate::{
    config,
    model::{Millis, Name},
    source::{
        layout::{OffsetParts, Value},
        polled::Rejected,
    },
};

/// Number of rounds in which a checkpoint is at most probed. The next round reads it in full. A query that has written
/// more batches since the last round than Spark keeps (100) does not have the probed file.
const MAX_PROBES: u32 = 5;
/// Number of attempts to read the offsets of a batch whose file is deleted meanwhile.
const MAX_ATTEMPTS: usize = 2;

/// A reader of checkpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckpointReader<'a> {
    pub(super) storage: &'a Storage,
    /// The form of the offset of a Kafka source.
    pub(super) offset: &'a Value,
    pub(super) common: &'a config::Source,
}

/// The known state of the checkpoint in a folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Checkpoint {
    /// The state of the query. If the checkpoint has become unreadable, the last one that was read.
    pub(super) query: Option<Query>,
    /// Why the checkpoint cannot be read, and the place.
    pub(super) rejected: Option<(Rejected, String)>,
    /// Number of rounds since the last full read.
    probes: u32,
    /// Whether the last full read found something new. Then the next one probably does, too.
    has_moved: bool,
}

/// The state of a query.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) id: String,
    /// The last committed batch, or the start of the query.
    pub(super) committed: Option<Arc<Batch>>,
    pub(super) committed_at: Option<Millis>,
    pub(super) planned: Option<Arc<Batch>>,
    has_gaps: bool,
}

/// The end offsets of a batch, or the offsets at which a query starts.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The number of the batch; `None` is the start of the query.
    pub(super) number: Option<u64>,
    /// The time at which the batch was planned.
    planned_at: Option<Millis>,
    /// Sorted, with one offset for each partition.
    offsets: Vec<(Name, i32, i64)>,
    /// Number of sources that are not Kafka.
    pub(super) foreign_sources: usize,
    /// Number of values that are not offsets.
    pub(super) malformed: usize,
}

/// Why a checkpoint has no readable state.
enum Failure {
    /// The folder has no checkpoint.
    NoCheckpoint(Rejected, String),
    /// A file is not as expected.
    Malformed(String),
    /// The file of a batch was deleted after it was listed.
    Deleted(String),
    Storage(StorageError),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl CheckpointReader<'_> {
    /// Reads the checkpoint in a folder, or as much of it as needed to see whether it has changed.
    ///
    /// # Errors
    /// Returns an error if the store does not answer.
    pub(super) async fn read(self, path: &str, known: Option<&Checkpoint>) -> Result<Checkpoint, StorageError> {
        let known_query = known.and_then(|known| known.query.as_ref());
        let result = match known {
            Some(known) if known.probes < MAX_PROBES && !known.has_moved => {
                if !self.has_changed(path, known).await? {
                    return Ok(Checkpoint { probes: known.probes + 1, ..known.clone() });
                }
                self.read_in_full(path, known_query).await
            }
            _ => self.read_in_full(path, known_query).await,
        };
        let rejected = |query: Option<&Query>, why, place| Checkpoint {
            query: query.cloned(),
            rejected: Some((why, place)),
            ..Checkpoint::default()
        };
        Ok(match result {
            Ok(query) => {
                let has_moved = known_query.is_none_or(|known| known.numbers() != query.numbers());
                Checkpoint { query: Some(query), rejected: None, probes: 0, has_moved }
            }
            Err(Failure::NoCheckpoint(why, place)) => rejected(None, why, place),
            Err(Failure::Malformed(place) | Failure::Deleted(place)) => {
                rejected(known_query, Rejected::Malformed, place)
            }
            Err(Failure::Storage(StorageError::Unusable { place, reason })) => {
                rejected(known_query, Rejected::Malformed, format!("{place}: {reason}"))
            }
            Err(Failure::Storage(StorageError::Forbidden { place, .. })) => {
                rejected(known_query, Rejected::Forbidden, place)
            }
            Err(Failure::Storage(error @ StorageError::Unreachable { .. })) => return Err(error),
        })
    }

    /// Returns whether a full read would show another state. Takes at most two requests.
    async fn has_changed(self, path: &str, known: &Checkpoint) -> Result<bool, StorageError> {
        let unless_rejected = |result: Result<bool, StorageError>| match result {
            Err(error @ StorageError::Unreachable { .. }) => Err(error),
            // The full read shows and counts the reason.
            Err(StorageError::Unusable { .. } | StorageError::Forbidden { .. }) => Ok(true),
            Ok(changed) => Ok(changed),
        };
        match (&known.query, &known.rejected) {
            (Some(query), None) if query.has_gaps => Ok(true),
            (Some(query), None) => {
                let id = self.storage.read(&format!("{path}/metadata")).await;
                let is_same = |bytes: Option<Vec<u8>>| {
                    bytes.and_then(|bytes| files::parse_id(&bytes).ok()).as_ref() == Some(&query.id)
                };
                if unless_rejected(id.map(|bytes| !is_same(bytes)))? {
                    return Ok(true);
                }
                unless_rejected(self.storage.exists(&format!("{path}/{}", query.next_file())).await)
            }
            // A checkpoint that has just been created.
            (None, Some((Rejected::Unmatched, _))) => {
                unless_rejected(self.storage.exists(&format!("{path}/metadata")).await)
            }
            (_, Some(_)) => Ok(false),
            (None, None) => Ok(true),
        }
    }

    async fn read_in_full(self, path: &str, known: Option<&Query>) -> Result<Query, Failure> {
        let mut attempts = 1;
        loop {
            match self.try_read(path, known).await {
                Err(Failure::Deleted(_)) if attempts < MAX_ATTEMPTS => attempts += 1,
                result => return result,
            }
        }
    }

    async fn try_read(self, path: &str, known: Option<&Query>) -> Result<Query, Failure> {
        let Some(metadata) = self.storage.read(&format!("{path}/metadata")).await? else {
            return Err(self.classify(path).await?);
        };
        let id = files::parse_id(&metadata).map_err(|error| self.malformed(&format!("{path}/metadata"), &error))?;
        let known = known.filter(|known| known.id == id);
        // A batch has a file in `offsets` before it has one in `commits`.
        let commits = self.numbers(path, "commits").await?;
        let offsets = self.numbers(path, "offsets").await?;
        let committed = commits.iter().rev().find(|(number, _)| offsets.contains_key(number));
        let (committed, modified_at) = match committed {
            Some((number, modified_at)) => (self.batch(path, *number, known).await?, *modified_at),
            None => match commits.last_key_value() {
                // Spark deleted the offsets already.
                Some((number, _)) => return Err(Failure::Deleted(self.place(path, "offsets", *number))),
                None => (self.start(path, known).await?, None),
            },
        };
        let planned = match offsets.last_key_value() {
            Some((number, _)) if Some(*number) == committed.number => Some(Arc::clone(&committed)),
            Some((number, _)) => Some(self.batch(path, *number, known).await?),
            None => None,
        };
        let committed_at = modified_at.or(committed.planned_at);
        let has_gaps = has_gaps(&commits) || has_gaps(&offsets);
        Ok(Query { id, committed: Some(committed), committed_at, planned, has_gaps })
    }

    /// Says what a folder without `metadata` is.
    async fn classify(self, path: &str) -> Result<Failure, StorageError> {
        let (place, entries) = (self.storage.url(path), self.storage.list(path).await?.unwrap_or_default());
        let has = |is_kind: fn(&str) -> bool| entries.iter().any(|entry| is_kind(&entry.name));
        let (why, reason) = if has(files::is_dstream_file) {
            (Rejected::Unmatched, "checkpoint of DStreams; only Structured Streaming is supported")
        } else if has(|name| name == "offsets") {
            (Rejected::Malformed, "file metadata is missing")
        } else {
            (Rejected::Unmatched, "no checkpoint")
        };
        Ok(Failure::NoCheckpoint(why, format!("{place}: {reason}")))
    }

    /// Returns the numbers and modification times of the files of one of the logs.
    async fn numbers(self, path: &str, log: &str) -> Result<BTreeMap<u64, Option<Millis>>, StorageError> {
        let entries = self.storage.list(&format!("{path}/{log}")).await?.unwrap_or_default();
        let files = entries.iter().filter(|entry| !entry.is_folder);
        Ok(files.filter_map(|entry| Some((files::parse_number(&entry.name)?, entry.modified_at))).collect())
    }

    /// Returns the offsets of a batch. A known batch is not read again: its file never changes.
    async fn batch(self, path: &str, number: u64, known: Option<&Query>) -> Result<Arc<Batch>, Failure> {
        let mut batches = known.into_iter().flat_map(|known| [&known.committed, &known.planned]).flatten();
        if let Some(batch) = batches.find(|batch| batch.number == Some(number)) {
            return Ok(Arc::clone(batch));
        }
        let file = format!("{path}/offsets/{number}");
        let bytes = self.storage.read(&file).await?;
        let bytes = bytes.ok_or_else(|| Failure::Deleted(self.place(path, "offsets", number)))?;
        let parsed = OffsetFile::parse(&bytes).map_err(|error| self.malformed(&file, &error))?;
        let mut batch = Batch { number: Some(number), planned_at: parsed.started_at, ..Batch::default() };
        parsed.sources.iter().for_each(|source| batch.add(self.common, self.offset, source));
        Ok(Arc::new(batch.sorted()))
    }

    /// Returns the offsets at which the sources of a query start.
    async fn start(self, path: &str, known: Option<&Query>) -> Result<Arc<Batch>, Failure> {
        // All sources have written their offsets once the first batch is planned.
        let planned = known.filter(|known| known.planned.is_some());
        if let Some(start) = planned.and_then(|known| known.committed.as_ref()).filter(|batch| batch.number.is_none()) {
            return Ok(Arc::clone(start));
        }
        let (folder, mut batch) = (format!("{path}/sources"), Batch::default());
        let entries = self.storage.list(&folder).await?.unwrap_or_default();
        if entries.len() > files::MAX_SOURCES {
            return Err(self.malformed(&folder, &FileError::TooManySources));
        }
        // A folder is named by the number of the source or, in version 2 of the offset log, by its name.
        for source in entries.iter().filter(|entry| entry.is_folder) {
            let file = format!("{folder}/{}/0", source.name);
            if let Some(bytes) = self.storage.read(&file).await? {
                let offset = files::parse_initial(&bytes).map_err(|error| self.malformed(&file, &error))?;
                batch.add(self.common, self.offset, offset);
            }
        }
        Ok(Arc::new(batch.sorted()))
    }

    fn malformed(self, path: &str, error: &FileError) -> Failure {
        Failure::Malformed(format!("{}: {error}", self.storage.url(path)))
    }

    /// Returns the description of a file that is missing.
    fn place(self, path: &str, log: &str, number: u64) -> String {
        format!("{}: file is missing", self.storage.url(&format!("{path}/{log}/{number}")))
    }
}

impl Query {
    /// Returns the file that will be written next if batch numbers have no gaps.
    fn next_file(&self) -> String {
        let committed = self.committed.as_ref().and_then(|batch| batch.number);
        let planned = self.planned.as_ref().and_then(|batch| batch.number);
        match (committed, planned) {
            (committed, Some(planned)) if committed != Some(planned) => format!("commits/{planned}"),
            (Some(committed), _) => format!("offsets/{}", committed.saturating_add(1)),
            (None, _) => "offsets/0".to_owned(),
        }
    }

    /// Identifies the state among the states of all queries.
    fn numbers(&self) -> (&str, [Option<Option<u64>>; 2]) {
        let number = |batch: &Option<Arc<Batch>>| batch.as_ref().map(|batch| batch.number);
        (&self.id, [number(&self.committed), number(&self.planned)])
    }

    /// Returns each committed offset and the metadata that is shown with it.
    pub(super) fn offsets(&self) -> impl Iterator<Item = (&Name, i32, i64, String)> {
        let committed = self.committed.iter();
        committed.flat_map(move |committed| {
            committed.offsets.iter().map(move |(topic, partition, offset)| {
                let planned_offset = self.planned.as_ref().and_then(|planned| planned.offset(topic, *partition));
                let shown = |number: Option<i64>| number.map_or_else(|| "null".to_owned(), |number| number.to_string());
                let batch = |number: Option<u64>| number.map_or_else(|| "null".to_owned(), |number| number.to_string());
                let planned = self.planned.as_ref().and_then(|planned| planned.number);
                let metadata = format!(
                    r#"{{"batch":{},"planned_batch":{},"planned_offset":{}}}"#,
                    batch(committed.number),
                    batch(planned),
                    shown(planned_offset)
                );
                (topic, *partition, *offset, metadata)
            })
        })
    }

    /// Returns the number of committed offsets.
    pub(super) fn len(&self) -> usize {
        self.committed.as_ref().map_or(0, |batch| batch.offsets.len())
    }
}

impl Batch {
    /// Adds the offset of a source, which is counted if it is not that of a Kafka source.
    fn add(&mut self, common: &config::Source, form: &Value, source: &str) {
        let mut read = form.read(source.as_bytes(), None);
        let is_kafka = read.iter().any(Result::is_ok);
        // A Kafka source without partitions has an empty object.
        if !is_kafka && !read.is_empty() {
            self.foreign_sources += 1;
            return;
        }
        let mut topic = Name::from("");
        for parts in read.drain(..) {
            let offset = parts
                .ok()
                .and_then(|parts: OffsetParts| Some((parts.topic?, parts.partition?, common.next(parts.offset?)?)));
            let Some((name, partition, offset)) = offset else {
                self.malformed += 1;
                continue;
            };
            if *topic != *name {
                topic = name.into();
            }
            self.offsets.push((Name::clone(&topic), partition, offset));
        }
    }

    /// Returns the batch with the lowest offset of each partition, which is the one from which a restart reads.
    fn sorted(mut self) -> Self {
        self.offsets.sort_unstable();
        self.offsets.dedup_by(|later, first| (&later.0, later.1) == (&first.0, first.1));
        self.offsets.shrink_to_fit();
        self
    }

    fn offset(&self, topic: &str, partition: i32) -> Option<i64> {
        let found = self.offsets.binary_search_by(|(other, number, _)| (&**other, *number).cmp(&(topic, partition)));
        found.ok().and_then(|at| self.offsets.get(at)).map(|(_, _, offset)| *offset)
    }
}

fn has_gaps(numbers: &BTreeMap<u64, Option<Millis>>) -> bool {
    let (first, last) = (numbers.first_key_value(), numbers.last_key_value());
    first.zip(last).is_some_and(|((first, _), (last, _))| last - first >= numbers.len() as u64)
}

#[cfg(test)]
mod tests;
