//! A value that is made of files, and made again when they change: orchestrators replace the files of secrets and
//! certificates under a running server.

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

/// Bytes of a file that are read at most: many thousand tokens, or a long chain of certificates.
const LONGEST: u64 = 4 * 1024 * 1024;

/// What stands for a secret where it is only to be recognised.
pub(super) type Digest = [u8; 32];

/// Makes the value of the content of the files, in their order, and of the previous value.
type Make<T> = Box<dyn Fn(&[Vec<u8>], Option<&T>) -> Result<T, FileError> + Send + Sync>;

/// A value and the files that it is made of.
pub(super) struct FromFiles<T> {
    what: &'static str,
    paths: Vec<PathBuf>,
    make: Make<T>,
    made: ArcSwap<T>,
    last: Mutex<Last>,
}

/// What the last check found.
struct Last {
    /// Of the files that the value is made of.
    digests: Vec<Digest>,
    /// Checks since then that could not make it.
    failed: u32,
}

impl<T> FromFiles<T> {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file cannot be read, or what is wrong with them.
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

    /// Reads the files again. If they cannot be used, the previous value stays in force.
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
                // Once; and not at the first check, which may see files half written.
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

/// Reads a regular file. Opening never waits: a pipe in the place of the file would wait for a writer for ever.
fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |error| FileFault::Read(error).of(path);
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(FileFault::NotRegular.of(path));
    }
    let mut content = vec![];
    // One byte more tells that there are more.
    let length = file.take(LONGEST + 1).read_to_end(&mut content).map_err(failed)?;
    if length as u64 > LONGEST {
        return Err(FileFault::TooLong(LONGEST).of(path));
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
