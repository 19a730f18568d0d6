//! Checks that the content of a file agrees with its name: a name is only a claim.

use std::{error::Error as _, io, sync::Arc};

use futures::{StreamExt as _, stream};
use object_store::ObjectStore;
use parquet::errors::ParquetError;
use tokio::task::JoinError;

use super::{
    Archive, Row, file,
    folder::{self, Stored},
    known::Found,
    object::{Builder, Object},
};
use crate::model::{Millis, Name};

/// Files that are inspected at a time.
const AT_ONCE: usize = 8;

/// Why a file is not read to its end.
#[derive(Debug)]
pub(super) enum Failure {
    /// The file does not exist any more.
    Gone,
    /// The store does not return it.
    Store(String),
    /// The store refuses this file.
    Denied(String),
    /// The content is not that of a file of samples with this name.
    Damaged(String),
}

impl From<ParquetError> for Failure {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(error) => match error.downcast_ref::<object_store::Error>() {
                Some(object_store::Error::NotFound { .. }) => Self::Gone,
                Some(denied) if is_denied(denied) => Self::Denied(error.to_string()),
                _ => Self::Store(error.to_string()),
            },
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        // A file that makes the Parquet reader panic is damaged; a task that is cancelled says nothing about its file.
        if error.is_panic() { Self::Damaged(error.to_string()) } else { Self::Store(error.to_string()) }
    }
}

fn is_denied(error: &object_store::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    matches!(error, object_store::Error::PermissionDenied { .. })
}

/// Opens a file, and returns the times of its samples, which begin and end as its name says.
pub(super) async fn open(store: &Arc<dyn ObjectStore>, file: &Stored) -> Result<(Builder, Arc<[Millis]>), Failure> {
    let damaged = |why: &str| Failure::Damaged(why.to_owned());
    let builder = Object::open(store, file).await?;
    let times = file::times(builder.schema()).ok_or_else(|| damaged("not a file of history"))?;
    if !times.is_sorted_by(|left, right| left < right) {
        return Err(damaged("the times of its samples are out of order"));
    }
    if (times.first(), times.last()) != (Some(&file.from), Some(&file.to)) {
        return Err(damaged("its name and its content disagree about the times of its samples"));
    }
    Ok((builder, times.into()))
}

/// Checks the rows of a file, which are read in order.
#[derive(Debug)]
pub(super) struct RowCheck {
    times: Arc<[Millis]>,
    last: Option<Row>,
}

impl RowCheck {
    pub(super) fn new(times: Arc<[Millis]>) -> Self {
        Self { times, last: None }
    }

    /// Checks that each row is of a sample of the file, and comes after the row before.
    pub(super) fn check(&mut self, rows: &[Row]) -> Result<(), Failure> {
        fn order(row: &Row) -> (&str, &str, i32, Millis) {
            (&row.group, &row.topic, row.partition, row.at)
        }
        let befores = self.last.iter().chain(rows);
        let is_ordered = befores.zip(self.last.iter().chain(rows).skip(1)).all(|(row, next)| order(row) < order(next));
        if !is_ordered {
            return Err(Failure::Damaged("its rows are out of order".to_owned()));
        }
        if !rows.iter().all(|row| self.times.binary_search(&row.at).is_ok()) {
            return Err(Failure::Damaged("it has rows of samples that are not its own".to_owned()));
        }
        if let Some(last) = rows.last() {
            self.last = Some(last.clone());
        }
        Ok(())
    }
}

/// A file whose content agrees with its name.
#[derive(Clone, Debug)]
pub(super) struct Inspected {
    pub(super) file: Stored,
    /// Times of its samples.
    pub(super) times: Arc<[Millis]>,
}

impl Archive {
    /// Lists the files of a cluster, and opens those that are not known yet. Returns those that can be read, in the order
    /// of [`Listed::files`](super::folder::Listed), and names the others.
    pub(super) async fn inspect(
        &self,
        store: &Arc<dyn ObjectStore>,
        cluster: &Name,
    ) -> Result<Vec<Inspected>, object_store::Error> {
        let listed = folder::list(&**store, cluster).await?;
        self.note_listed(cluster, &listed);
        let inspected = stream::iter(listed.files).map(|file| async {
            let times = self.times_of(store, &file).await?;
            Some(Inspected { file, times })
        });
        Ok(inspected.buffered(AT_ONCE).filter_map(std::future::ready).collect().await)
    }

    /// The times of the samples of a file; `None` if it cannot be read.
    async fn times_of(&self, store: &Arc<dyn ObjectStore>, file: &Stored) -> Option<Arc<[Millis]>> {
        match self.found(file) {
            Some(Found::Samples(times)) => return Some(times),
            Some(Found::Damaged(_)) => return None,
            Some(Found::Denied(_) | Found::Failing(_)) | None => {}
        }
        let (opened, task_file) = (Arc::clone(store), file.clone());
        // In a task of its own: the Parquet reader may panic.
        let task = tokio::spawn(async move { open(&opened, &task_file).await.map(|(_, times)| times) });
        let found = match task.await.map_err(Failure::from).flatten() {
            Ok(times) => Found::Samples(times),
            Err(Failure::Gone) => return None,
            Err(Failure::Store(why)) => Found::Failing(why),
            Err(Failure::Denied(why)) => Found::Denied(why),
            Err(Failure::Damaged(why)) => Found::Damaged(why),
        };
        self.note(&file.path, file.version, found.clone());
        match found {
            Found::Samples(times) => Some(times),
            Found::Damaged(_) | Found::Denied(_) | Found::Failing(_) => None,
        }
    }
}
