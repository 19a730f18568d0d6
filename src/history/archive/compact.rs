//! Makes one file of those of an hour.

use std::sync::Arc;

use futures::StreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::{Archive, KEYFRAME, Row, file, folder, folder::Stored, object::Object, put};
use crate::model::Millis;

/// Rows of a file that is made of others: beyond that they stay as they are.
const MOST_ROWS: usize = 8_000_000;

impl Archive {
    /// Compacts the hours of a cluster that are over.
    pub(super) async fn compact(&self, store: &Arc<dyn ObjectStore>, cluster: &str, now: Millis) -> Result<(), String> {
        let (shown, _) = folder::list(&**store, cluster).await?;
        let hour = |file: &Stored| file.from.div_euclid(KEYFRAME);
        let past = |file: &&Stored| hour(file) < now.div_euclid(KEYFRAME);
        let past: Vec<Stored> = shown.iter().filter(past).cloned().collect();
        for files in past.chunk_by(|left, right| hour(left) == hour(right)).filter(|files| files.len() > 1) {
            self.merge(store, cluster, files).await?;
        }
        // What one of the others stands for.
        let (shown, _) = folder::list(&**store, cluster).await?;
        for file in folder::everything(&**store, cluster).await? {
            if !shown.contains(&file) {
                store.delete(&file.path).await.map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    async fn merge(&self, store: &Arc<dyn ObjectStore>, cluster: &str, files: &[Stored]) -> Result<(), String> {
        let (mut rows, mut times) = (vec![], vec![]);
        for file in files {
            // One that cannot be read stays as it is, for somebody to look at.
            match read_all(store, file, &mut rows).await {
                Ok(more) => times.extend(more),
                Err(why) => {
                    self.skip(&file.path, why);
                    return Ok(());
                }
            }
            if rows.len() > MOST_ROWS {
                return Ok(());
            }
        }
        let (Some(from), Some(to)) = (times.iter().min().copied(), times.iter().max().copied()) else { return Ok(()) };
        let merged = Stored::new(cluster, from, to);
        let write = move || {
            rows.sort_by(|left, right| {
                (&left.group, &left.topic, left.partition, left.at).cmp(&(
                    &right.group,
                    &right.topic,
                    right.partition,
                    right.at,
                ))
            });
            times.sort_unstable();
            file::write(&rows, &times)
        };
        let bytes = tokio::task::spawn_blocking(write).await.map_err(|error| error.to_string())??;
        put(&**store, &merged.path, bytes).await?;
        for file in files.iter().filter(|file| file.path != merged.path) {
            store.delete(&file.path).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Adds the rows of a file; gives the times of its samples.
async fn read_all(store: &Arc<dyn ObjectStore>, file: &Stored, rows: &mut Vec<Row>) -> Result<Vec<Millis>, String> {
    let text = |error: parquet::errors::ParquetError| error.to_string();
    let builder = Object::open(store, file).await.map_err(text)?;
    let times = file::times(builder.schema()).ok_or("not a file of history")?;
    let mut batches = builder.build().map_err(text)?;
    while let Some(batch) = batches.next().await {
        rows.extend(file::rows(&batch.map_err(text)?).ok_or("not a file of history")?);
    }
    Ok(times)
}
