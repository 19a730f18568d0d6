//! A value that is built from files and rebuilt when they change: orchestrators replace the files of secrets and
//! certificates while the server runs.

use std::{
    fs::OpenOptions,
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::error::{FileError, FileFault};

/// Maximum size of a file in bytes: enough for many thousands of tokens or a long chain of certificates.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// SHA-256 of a secret or a file, for comparisons that do not need the content.
pub(super) type Digest = [u8; 32];

/// Builds the value from the contents of the files, in their order, and from the previous value.
type Build<T> = Box<dyn Fn(&[Vec<u8>], Option<&T>) -> Result<T, FileError> + Send + Sync>;

/// A value and the files that it is built from.
pub(super) struct FileBacked<T> {
    what: &'static str,
    paths: Vec<PathBuf>,
    build: Build<T>,
    value: ArcSwap<T>,
    last_check: Mutex<LastCheck>,
}

/// Result of the last check.
struct LastCheck {
    /// Digests of the files that the current value was built from.
    digests: Vec<Digest>,
    /// Number of failed checks since then.
    failed: u32,
}

impl<T> FileBacked<T> {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read, or its content is invalid.
    pub(super) fn new(
        what: &'static str,
        paths: Vec<PathBuf>,
        build: impl Fn(&[Vec<u8>], Option<&T>) -> Result<T, FileError> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let contents = read(&paths)?;
        let value = ArcSwap::from_pointee(build(&contents, None)?);
        let last_check = Mutex::new(LastCheck { digests: digests(&contents), failed: 0 });
        Ok(Self { what, paths, build: Box::new(build), value, last_check })
    }

    pub(super) fn get(&self) -> Arc<T> {
        self.value.load_full()
    }

    /// Reads the files again. If they are invalid, the previous value stays in force.
    pub(super) fn reload(&self) {
        let mut last_check = self.last_check.lock();
        let value = read(&self.paths).and_then(|contents| {
            let rebuild = || (self.build)(&contents, Some(&self.get()));
            let digests = digests(&contents);
            let value = if digests == last_check.digests { None } else { Some(rebuild()?) };
            Ok((digests, value))
        });
        match value {
            Ok((digests, value)) => {
                if let Some(value) = value {
                    self.value.store(Arc::new(value));
                    tracing::info!(what = self.what, "reloaded");
                }
                *last_check = LastCheck { digests, failed: 0 };
            }
            Err(error) => {
                last_check.failed = last_check.failed.saturating_add(1);
                // Logged once, and only after the second failure: the first check may see half-written files.
                if last_check.failed == 2 {
                    tracing::warn!(what = self.what, %error, "reload failed; keeping the previous version");
                }
            }
        }
    }
}

pub(super) fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

fn digests(contents: &[Vec<u8>]) -> Vec<Digest> {
    contents.iter().map(|bytes| digest(bytes)).collect()
}

fn read(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, FileError> {
    paths.iter().map(|path| read_file(path)).collect()
}

/// Reads a regular file. Opening does not block: opening a pipe in place of the file would wait for a writer.
fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |error| FileFault::Read(error).of(path);
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(FileFault::NotRegular.of(path));
    }
    let mut content = vec![];
    // Reads one byte more than allowed, to detect a longer file.
    let length = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(failed)?;
    if length as u64 > MAX_FILE_BYTES {
        return Err(FileFault::TooLong(MAX_FILE_BYTES).of(path));
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
