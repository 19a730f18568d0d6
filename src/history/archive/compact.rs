//! Makes one file of those of an hour, and, when the day is over, of those of the day.

use std::{collections::HashSet, sync::Arc};

use object_store::{ObjectStore, ObjectStoreExt as _, WriteMultipart};
use tokio::runtime::Handle;

use super::{
    Archive, DAY, KEYFRAME, Row, file,
    file::Sheet,
    folder::{self, Stored},
    read::Walk,
};
use crate::model::{Millis, Name};

/// Bytes of a file that is made of others: beyond that they stay as they are.
const MOST_BYTES: u64 = 4 << 30;
/// A sample may be written so long after its time.
const LATE: Millis = 300_000;
/// Bytes of a part that is sent.
const PART: usize = 8 << 20;

impl Archive {
    /// Compacts the hours and days of a cluster that are over.
    pub(super) async fn compact(
        self: &Arc<Self>,
        store: &Arc<dyn ObjectStore>,
        cluster: &Name,
        now: Millis,
    ) -> Result<(), String> {
        let (shown, _) = folder::list(&**store, cluster).await?;
        // What another stands for, since the last time at least: whoever had begun to read it has done so.
        for file in folder::everything(&**store, cluster).await? {
            if !shown.contains(&file) {
                store.delete(&file.path).await.map_err(|error| error.to_string())?;
            }
        }
        let skipped = self.skipped();
        let is_bad = |file: &Stored| skipped.contains_key(file.path.as_ref());
        let day = |file: &Stored| file.from.div_euclid(DAY);
        let stay = shown.chunk_by(|left, right| day(left) == day(right));
        let stay = stay.filter(|files| files.iter().any(is_bad) || bytes(files) > MOST_BYTES);
        let stay: HashSet<Millis> = stay.flatten().map(day).collect();
        let is_past = |until: Millis| until.saturating_add(LATE) <= now;
        // When the time is over whose files become one: the day, else the hour.
        let until = |file: &Stored| {
            let of_day = (day(file) + 1) * DAY;
            let is_whole = is_past(of_day) && !stay.contains(&day(file));
            if is_whole { of_day } else { (file.from.div_euclid(KEYFRAME) + 1) * KEYFRAME }
        };
        let past: Vec<Stored> = shown.iter().filter(|file| is_past(until(file))).cloned().collect();
        for files in past.chunk_by(|left, right| until(left) == until(right)).filter(|files| files.len() > 1) {
            // One that cannot be read stays as it is, for somebody to look at.
            if !files.iter().any(is_bad) && bytes(files) <= MOST_BYTES {
                self.merge(store, cluster, files).await?;
            }
        }
        Ok(())
    }

    async fn merge(
        self: &Arc<Self>,
        store: &Arc<dyn ObjectStore>,
        cluster: &Name,
        files: &[Stored],
    ) -> Result<(), String> {
        let (from, to) = (files.iter().map(|file| file.from).min(), files.iter().map(|file| file.to).max());
        let (Some(from), Some(to)) = (from, to) else { return Ok(()) };
        let merged = Stored::new(cluster, from, to);
        let upload = store.put_multipart(&merged.path).await.map_err(|error| error.to_string())?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
        let (archive, store, cluster) = (Arc::clone(self), Arc::clone(store), Name::clone(cluster));
        let (files, handle) = (files.to_vec(), self.runtime()?.handle().clone());
        let work = move || {
            let mut walk = archive.walk_all(&store, cluster, files)?;
            let sent = send(&mut walk, &mut upload, &handle);
            // The file is there whole, or not at all.
            if sent.is_ok() && walk.failed().is_none() {
                return handle.block_on(upload.finish()).map(|_| ()).map_err(|error| error.to_string());
            }
            handle.block_on(upload.abort()).map_err(|error| error.to_string())?;
            sent
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
    }
}

fn bytes(files: &[Stored]) -> u64 {
    files.iter().map(|file| file.size).sum()
}

/// Sends the rows of files as one file, key by key: no more than a few of them are in memory.
fn send(walk: &mut Walk, upload: &mut WriteMultipart, handle: &Handle) -> Result<(), String> {
    // Parts are sent by tasks.
    let _runtime = handle.enter();
    let mut sheet = Sheet::new(&walk.times)?;
    let mut rows: Vec<Row> = vec![];
    for key in walk {
        rows.extend(Row::of(&key));
        if rows.len() >= file::BATCH {
            sheet.add(&rows)?;
            rows.clear();
            upload.write(&sheet.take());
            handle.block_on(upload.wait_for_capacity(2)).map_err(|error| error.to_string())?;
        }
    }
    sheet.add(&rows)?;
    upload.write(&sheet.finish()?);
    Ok(())
}
