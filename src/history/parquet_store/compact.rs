//! Merges the files of an hour into one and, when the day is over, those of the day.
//!
//! The parts remain until [`tidy`](super::tidy) has read the merged file in a later round.

use std::collections::{BTreeSet, HashSet};

use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload};
use tokio::runtime::Handle;

use super::{
    DAY, KEYFRAME, ParquetStoreError, Row, file, file::FileWriter, folder::SampleFile, inspect::Inspected,
    read::MergedKeys, tidy::TidyRound,
};
use crate::model::{Millis, Name};

/// Maximum size of a merged file (bytes). Larger groups of files are not merged.
const MAX_MERGED_BYTES: u64 = 4 << 30;
/// Maximum delay between the time of a sample and the writing of its file (ms).
const MAX_DELAY: Millis = 300_000;
/// Size of an upload part (bytes).
const PART_BYTES: usize = 8 << 20;

impl TidyRound {
    /// Merges the files of hours and days that are over.
    pub(super) async fn merge_all(&self, files: &[Inspected], errors: &mut Vec<ParquetStoreError>) {
        let sources: BTreeSet<&Name> = files.iter().map(|inspected| &inspected.file.source).collect();
        let of_source = |source: &Name| files.iter().filter(|inspected| inspected.file.source == *source).collect();
        let of_sources: Vec<Vec<&Inspected>> = sources.into_iter().map(of_source).collect();
        for files in of_sources.iter().flat_map(|files| merge_groups(files, self.now)) {
            errors.extend(self.merge(&files).await.err());
            if self.stop.is_cancelled() {
                return;
            }
        }
    }

    async fn merge(&self, files: &[SampleFile]) -> Result<(), ParquetStoreError> {
        let (from, to) = (files.iter().map(|file| file.from).min(), files.iter().map(|file| file.to).max());
        let (Some(first), Some(from), Some(to)) = (files.first(), from, to) else { return Ok(()) };
        let source = self.source(first);
        let merged = SampleFile::new(&source, from, to);
        // Never replace a file: it may be unreadable, or newer files of its time may exist.
        match self.store.head(&merged.path).await {
            Ok(_) => return Ok(()),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let (round, files, handle) = (self.clone(), files.to_vec(), self.history_store.runtime()?.handle().clone());
        let upload = self.store.put_multipart(&merged.path).await?;
        let merging = move || {
            let mut upload = MergeUpload { upload, pending: vec![], handle };
            let sent = round.read_keys(source.clone(), files).and_then(|keys| upload.send(&source.name, keys));
            if sent.is_err() {
                // If the abort fails, a later round cleans up.
                if let Err(error) = upload.handle.block_on(upload.upload.abort()) {
                    tracing::debug!(path = %merged.path, %error, "cannot abort the upload of a merged history file");
                }
            }
            sent
        };
        tokio::task::spawn_blocking(merging).await?
    }
}

/// Returns the groups of files of one source to merge.
fn merge_groups(files: &[&Inspected], now: Millis) -> Vec<Vec<SampleFile>> {
    let files: Vec<SampleFile> = files.iter().map(|inspected| inspected.file.clone()).collect();
    let day = |file: &SampleFile| file.from.div_euclid(DAY);
    let large = files.chunk_by(|left, right| day(left) == day(right)).filter(|files| bytes(files) > MAX_MERGED_BYTES);
    let large: HashSet<Millis> = large.flatten().map(day).collect();
    let is_past = |until: Millis| until.saturating_add(MAX_DELAY) <= now;
    // Returns the end of the period that a file is merged into: its day if that is over and not too large, else its
    // hour.
    let until = |file: &SampleFile| {
        let of_day = (day(file) + 1) * DAY;
        let is_whole = is_past(of_day) && !large.contains(&day(file));
        if is_whole { of_day } else { (file.from.div_euclid(KEYFRAME) + 1) * KEYFRAME }
    };
    let past: Vec<SampleFile> = files.iter().filter(|file| is_past(until(file))).cloned().collect();
    let groups = past.chunk_by(|left, right| until(left) == until(right));
    groups.filter(|files| files.len() > 1 && bytes(files) <= MAX_MERGED_BYTES).map(<[SampleFile]>::to_vec).collect()
}

fn bytes(files: &[SampleFile]) -> u64 {
    files.iter().map(|file| file.version.size).sum()
}

/// A file that is uploaded in parts.
struct MergeUpload {
    upload: Box<dyn MultipartUpload>,
    /// Bytes that do not fill a part yet.
    pending: Vec<u8>,
    handle: Handle,
}

impl MergeUpload {
    /// Uploads the rows of files as one file, key by key, so that only a few rows are in memory.
    fn send(&mut self, source: &str, mut keys: MergedKeys) -> Result<(), ParquetStoreError> {
        let mut output = FileWriter::new(source, &keys.times)?;
        let mut rows: Vec<Row> = vec![];
        for key in keys.by_ref() {
            rows.extend(Row::of(&key?));
            if rows.len() >= file::BATCH {
                output.add(&rows)?;
                rows.clear();
                self.put(output.take())?;
            }
        }
        keys.check_complete()?;
        output.add(&rows)?;
        self.put(output.finish()?)?;
        let last = std::mem::take(&mut self.pending);
        self.put_part(last)?;
        self.handle.block_on(self.upload.complete())?;
        Ok(())
    }

    fn put(&mut self, bytes: Vec<u8>) -> Result<(), ParquetStoreError> {
        self.pending.extend(bytes);
        while self.pending.len() > PART_BYTES {
            let rest = self.pending.split_off(PART_BYTES);
            let part = std::mem::replace(&mut self.pending, rest);
            self.put_part(part)?;
        }
        Ok(())
    }

    fn put_part(&mut self, part: Vec<u8>) -> Result<(), ParquetStoreError> {
        let part = self.upload.put_part(PutPayload::from(part));
        Ok(self.handle.block_on(part)?)
    }
}
