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
const LONGEST: u64 = 4 * 1024 * 1024;

/// SHA-256 of a secret or a file, for comparisons that do not need the content.
pub(super) type Digest = [u8; 32];

/// Builds the value from the contents of the files, in their order, and from the previous value.
type Make<T> = Box<dyn Fn(&[Vec<u8>], Option<&T>) -> Result<T, FileError> + Send + Sync>;

/// A value and the files that it is built from.
pub(super) struct FromFiles<T> {
    what: &'static str,
    paths: Vec<PathBuf>,
    make: Make<T>,
    made: ArcSwap<T>,
    last: Mutex<Last>,
}

/// Result of the last check.
struct Last {
    /// Digests of the files that the current value was built from.
    digests: Vec<Digest>,
    /// Number of failed checks since then.
    failed: u32,
}

impl<T> FromFiles<T> {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read, or its content is invalid.
    pub(super) fn new(
        what: &'static str,
        paths: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>], Option<&T>) -> Result<T, FileError> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let contents = read(&paths)?;
        let made = ArcSwap::from_pointee(make(&contents, None)?);
        let last = Mutex::new(Last { digests: digests(&contents), failed: 0 });
        Ok(Self { what, paths, make: Box::new(make), made, last })
    }

    pub(super) fn get(&self) -> Arc<T> {
        self.made.load_full()
    }

    /// Reads the files again. If they are invalid, the previous value stays in force.
    pub(super) fn reload(&self) {
        let mut last = self.last.lock();
        let made = read(&self.paths).and_then(|contents| {
            let anew = || (self.make)(&contents, Some(&self.get()));
            let digests = digests(&contents);
            let made = if digests == last.digests { None } else { Some(anew()?) };
            Ok((digests, made))
        });
        match made {
            Ok((digests, made)) => {
                if let Some(made) = made {
                    self.made.store(Arc::new(made));
                    tracing::info!(what = self.what, "reloaded");
                }
                *last = Last { digests, failed: 0 };
            }
            Err(error) => {
                last.failed = last.failed.saturating_add(1);
                // Logged once, and only after the second failure: the first check may see half-written files.
                if last.failed == 2 {
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
    let length = file.take(LONGEST + 1).read_to_end(&mut content).map_err(failed)?;
    if length as u64 > LONGEST {
        return Err(FileFault::TooLong(LONGEST).of(path));
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
