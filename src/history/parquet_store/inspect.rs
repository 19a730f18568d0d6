//! Checks that the content of a file agrees with its name. Names are not trusted.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use object_store::ObjectStore;

use super::{
    ParquetStore, Row,
    error::{Damage, ReadFailure},
    file,
    file_states::FileState,
    folder::{self, SampleFile},
    object::{Builder, Object},
};
use crate::model::{Millis, Name};

/// Maximum number of files inspected concurrently.
const MAX_INSPECTIONS: usize = 8;

/// Opens a file and returns the times of its samples, after checking that they agree with its name.
pub(super) async fn open(
    store: &Arc<dyn ObjectStore>,
    file: &SampleFile,
) -> Result<(Builder, Arc<[Millis]>), ReadFailure> {
    let builder = Object::open(store, file).await.map_err(|error| ReadFailure::of(&file.path, error))?;
    let times = file::times(builder.schema()).ok_or(Damage::Foreign)?;
    if !times.is_sorted_by(|left, right| left < right) {
        return Err(Damage::Times.into());
    }
    if (times.first(), times.last()) != (Some(&file.from), Some(&file.to)) {
        return Err(Damage::Name.into());
    }
    Ok((builder, times.into()))
}

/// Checks the rows of a file, in the order in which they are read.
#[derive(Debug)]
pub(super) struct RowCheck {
    times: Arc<[Millis]>,
    last: Option<Row>,
}

impl RowCheck {
    pub(super) fn new(times: Arc<[Millis]>) -> Self {
        Self { times, last: None }
    }

    /// Checks that each row belongs to a sample of the file and follows the previous row in order.
    pub(super) fn check(&mut self, rows: &[Row]) -> Result<(), Damage> {
        fn order(row: &Row) -> (&str, &str, i32, Millis) {
            (&row.group, &row.topic, row.partition, row.at)
        }
        let befores = self.last.iter().chain(rows);
        let is_ordered = befores.zip(self.last.iter().chain(rows).skip(1)).all(|(row, next)| order(row) < order(next));
        if !is_ordered {
            return Err(Damage::Order);
        }
        if !rows.iter().all(|row| self.times.binary_search(&row.at).is_ok()) {
            return Err(Damage::Samples);
        }
        if let Some(last) = rows.last() {
            self.last = Some(last.clone());
        }
        Ok(())
    }
}

/// A file with content that agrees with its name.
#[derive(Clone, Debug)]
pub(super) struct Inspected {
    pub(super) file: SampleFile,
    /// Times of its samples.
    pub(super) times: Arc<[Millis]>,
}

impl ParquetStore {
    /// Lists the files of a cluster, and opens those that are not known yet. Returns the readable files in the order of
    /// [`FolderListing::files`](super::folder::FolderListing); the others are named in the status.
    pub(super) async fn inspect(
        &self,
        store: &Arc<dyn ObjectStore>,
        cluster: &Name,
    ) -> Result<Vec<Inspected>, object_store::Error> {
        let listed = folder::list(&**store, cluster).await?;
        self.record_listing(cluster, &listed);
        let inspected = stream::iter(listed.files).map(|file| async {
            let times = self.times_of(store, &file).await?;
            Some(Inspected { file, times })
        });
        Ok(inspected.buffered(MAX_INSPECTIONS).filter_map(std::future::ready).collect().await)
    }

    /// Returns the times of the samples of a file; `None` if the file is unreadable.
    async fn times_of(&self, store: &Arc<dyn ObjectStore>, file: &SampleFile) -> Option<Arc<[Millis]>> {
        match self.file_state(file) {
            Some(FileState::Samples(times)) => return Some(times),
            Some(FileState::Damaged(_)) => return None,
            Some(FileState::Denied(_) | FileState::Failing(_)) | None => {}
        }
        let (opened, task_file) = (Arc::clone(store), file.clone());
        // A separate task, because the Parquet reader may panic.
        let task = tokio::spawn(async move { open(&opened, &task_file).await.map(|(_, times)| times) });
        let found = match task.await.map_err(ReadFailure::from).flatten() {
            Ok(times) => FileState::Samples(times),
            Err(ReadFailure::Gone(_)) => return None,
            Err(error @ (ReadFailure::Store(_) | ReadFailure::Cancelled(_) | ReadFailure::Read(_))) => {
                FileState::Failing(error.to_string())
            }
            Err(error @ ReadFailure::Denied(_)) => FileState::Denied(error.to_string()),
            Err(error @ ReadFailure::Damaged(_)) => FileState::Damaged(error.to_string()),
        };
        self.record_file(&file.path, file.version, found.clone());
        match found {
            FileState::Samples(times) => Some(times),
            FileState::Damaged(_) | FileState::Denied(_) | FileState::Failing(_) => None,
        }
    }
}
