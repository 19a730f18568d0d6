//! Checkpoints on a local disk.

use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use super::{Entry, Failure, MAX_ENTRIES, MAX_FILE_BYTES};
use crate::model::Millis;

pub(super) fn read(path: &str) -> Result<Option<Vec<u8>>, Failure> {
    // Opening a pipe would block.
    if !exists(path)? {
        return Ok(None);
    }
    let Some(file) = found(File::open(absolute(path)))? else { return Ok(None) };
    let mut bytes = vec![];
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| failure(&error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES { Err(Failure::TooLong) } else { Ok(Some(bytes)) }
}

pub(super) fn exists(path: &str) -> Result<bool, Failure> {
    Ok(found(fs::metadata(absolute(path)))?.is_some_and(|metadata| metadata.is_file()))
}

/// Adds the entries of a folder. Returns whether the folder exists.
pub(super) fn list(path: &str, entries: &mut Vec<Entry>) -> Result<bool, Failure> {
    let Some(folder) = found(fs::read_dir(absolute(path)))? else { return Ok(false) };
    // One more than allowed shows that there are too many.
    for entry in folder.take(MAX_ENTRIES + 1) {
        let entry = entry.map_err(|error| failure(&error))?;
        // The target of a symbolic link counts. An entry that vanishes meanwhile is left out.
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        entries.push(Entry {
            name: entry.file_name().to_string_lossy().into_owned(),
            is_folder: metadata.is_dir(),
            modified_at: modified_at(&metadata),
        });
    }
    Ok(true)
}

fn absolute(path: &str) -> PathBuf {
    Path::new("/").join(path)
}

fn modified_at(metadata: &Metadata) -> Option<Millis> {
    let since_epoch = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Millis::try_from(since_epoch.as_millis()).ok()
}

/// Returns `None` if the file or folder does not exist.
fn found<T>(result: io::Result<T>) -> Result<Option<T>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(failure(&error)),
    }
}

fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::PermissionDenied => Failure::Forbidden(String::new()),
        ErrorKind::InvalidFilename | ErrorKind::InvalidInput => Failure::Name,
        _ => Failure::Unreachable(error.to_string()),
    }
}
