//! Makes one file of those of an hour, and, when the day is over, of those of the day.
//!
//! The files that are merged stay: [`tidy`](super::tidy) deletes them at a later round, once the merged file was read back.

use std::collections::{BTreeSet, HashSet};

use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload};
use tokio::runtime::Handle;

use super::{
    ArchiveError, DAY, KEYFRAME, Row, file, file::Sheet, folder::Stored, inspect::Inspected, read::Walk, tidy::Round,
};
use crate::model::{Millis, Name};

/// Bytes of a file that is made of others: beyond that they stay as they are.
const MOST_BYTES: u64 = 4 << 30;
/// A sample may be written so long after its time.
const LATE: Millis = 300_000;
/// Bytes of a part that is sent.
const PART: usize = 8 << 20;

impl Round {
    /// Merges the files of hours and days that are over.
    pub(super) async fn merge_all(&self, files: &[Inspected], errors: &mut Vec<ArchiveError>) {
        let sources: BTreeSet<&Name> = files.iter().map(|inspected| &inspected.file.source).collect();
        let of_source = |source: &Name| files.iter().filter(|inspected| inspected.file.source == *source).collect();
        let of_sources: Vec<Vec<&Inspected>> = sources.into_iter().map(of_source).collect();
        for files in of_sources.iter().flat_map(|files| groups(files, self.now)) {
            errors.extend(self.merge(&files).await.err());
            if self.stop.is_cancelled() {
                return;
            }
        }
    }

    async fn merge(&self, files: &[Stored]) -> Result<(), ArchiveError> {
        let (from, to) = (files.iter().map(|file| file.from).min(), files.iter().map(|file| file.to).max());
        let (Some(first), Some(from), Some(to)) = (files.first(), from, to) else { return Ok(()) };
        let source = self.source(first);
        let merged = Stored::new(&source, from, to);
        // No file is replaced: neither one that cannot be read, nor one that others of its time were written after.
        match self.store.head(&merged.path).await {
            Ok(_) => return Ok(()),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let (round, files, handle) = (self.clone(), files.to_vec(), self.archive.runtime()?.handle().clone());
        let upload = self.store.put_multipart(&merged.path).await?;
        let merging = move || {
            let mut upload = Upload { upload, waiting: vec![], handle };
            let sent = round.walk(source.clone(), files).and_then(|walk| upload.send(&source.name, walk));
            if sent.is_err() {
                // What cannot be aborted is cleaned up at a later round.
                if let Err(error) = upload.handle.block_on(upload.upload.abort()) {
                    tracing::debug!(path = %merged.path, %error, "the upload of a merged file cannot be aborted");
                }
            }
            sent
        };
        tokio::task::spawn_blocking(merging).await?
    }
}

/// The groups of files of one source that become one file each.
fn groups(files: &[&Inspected], now: Millis) -> Vec<Vec<Stored>> {
    let files: Vec<Stored> = files.iter().map(|inspected| inspected.file.clone()).collect();
    let day = |file: &Stored| file.from.div_euclid(DAY);
    let large = files.chunk_by(|left, right| day(left) == day(right)).filter(|files| bytes(files) > MOST_BYTES);
    let large: HashSet<Millis> = large.flatten().map(day).collect();
    let is_past = |until: Millis| until.saturating_add(LATE) <= now;
    // When the time is over whose files become one: the day, else the hour.
    let until = |file: &Stored| {
        let of_day = (day(file) + 1) * DAY;
        let is_whole = is_past(of_day) && !large.contains(&day(file));
        if is_whole { of_day } else { (file.from.div_euclid(KEYFRAME) + 1) * KEYFRAME }
    };
    let past: Vec<Stored> = files.iter().filter(|file| is_past(until(file))).cloned().collect();
    let groups = past.chunk_by(|left, right| until(left) == until(right));
    groups.filter(|files| files.len() > 1 && bytes(files) <= MOST_BYTES).map(<[Stored]>::to_vec).collect()
}

fn bytes(files: &[Stored]) -> u64 {
    files.iter().map(|file| file.version.size).sum()
}

/// A file that is sent in parts.
struct Upload {
    upload: Box<dyn MultipartUpload>,
    /// Bytes that are no part yet.
    waiting: Vec<u8>,
    handle: Handle,
}

impl Upload {
    /// Sends the rows of files as one file, key by key: no more than a few of them are in memory.
    fn send(&mut self, source: &str, mut walk: Walk) -> Result<(), ArchiveError> {
        let mut sheet = Sheet::new(source, &walk.times)?;
        let mut rows: Vec<Row> = vec![];
        for key in walk.by_ref() {
            rows.extend(Row::of(&key?));
            if rows.len() >= file::BATCH {
                sheet.add(&rows)?;
                rows.clear();
                self.put(sheet.take())?;
            }
        }
        walk.is_whole()?;
        sheet.add(&rows)?;
        self.put(sheet.finish()?)?;
        let last = std::mem::take(&mut self.waiting);
        self.put_part(last)?;
        self.handle.block_on(self.upload.complete())?;
        Ok(())
    }

    fn put(&mut self, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        self.waiting.extend(bytes);
        while self.waiting.len() > PART {
            let rest = self.waiting.split_off(PART);
            let part = std::mem::replace(&mut self.waiting, rest);
            self.put_part(part)?;
        }
        Ok(())
    }

    fn put_part(&mut self, part: Vec<u8>) -> Result<(), ArchiveError> {
        let part = self.upload.put_part(PutPayload::from(part));
        Ok(self.handle.block_on(part)?)
    }
}
