//! Follows a file that grows, is replaced, or is truncated, and splits it into lines.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::store::latest::SourceError;

/// Maximum length of a line in bytes.
pub(super) const MAX_LINE_BYTES: usize = 64 * 1024;
/// Number of bytes per read system call.
const CHUNK: usize = 64 * 1024;
/// Maximum number of bytes per call of [`Tail::read`], so that progress is published and a stop is noticed soon.
const MAX_BYTES_PER_READ: usize = 64 * CHUNK;
/// Number of bytes before the read position that are remembered. If they differ later, the file was rewritten.
const REMEMBERED_BYTES: usize = 256;

/// A part of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileItem<'a> {
    /// The start of a file: of the first file, of its replacement, or of the same file after it was truncated.
    Start,
    /// A line by its number, without its line end.
    Line(u64, &'a [u8]),
    /// The number of a line longer than [`MAX_LINE_BYTES`].
    TooLong(u64),
    /// The number of the last line of a replaced or truncated file, if it has no line end.
    Unfinished(u64),
}

/// How far a call of [`Tail::read`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadProgress {
    /// Whether the current end of the file is reached.
    pub(super) is_reached: bool,
    /// Whether the length that the file had when it was first opened is reached.
    pub(super) is_loaded: bool,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum TailError {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is not a regular file")]
    NotRegular,
}

impl TailError {
    /// Converts the error to the type common to all sources.
    pub(super) fn to_source_error(&self, path: &Path) -> SourceError {
        let reason = format!("{} {self}", path.display());
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => SourceError::Forbidden { reason },
            Self::Io(_) | Self::NotRegular => SourceError::Unreachable { reason },
        }
    }
}

/// A reader that follows the file at a path.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    opened: Option<OpenFile>,
    /// Length of the file when it was first opened.
    initial_length: Option<u64>,
}

/// Identity, length and modification time of the file when it was last checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    id: (u64, u64),
    length: u64,
    changed: (i64, i64),
}

impl FileState {
    fn of(metadata: &Metadata) -> Self {
        Self {
            id: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    state: FileState,
    position: u64,
    /// Number of the last complete line.
    line: u64,
    /// The incomplete last line.
    partial: Vec<u8>,
    /// Whether the incomplete line is too long; the rest of it is skipped.
    is_too_long: bool,
    /// The last [`REMEMBERED_BYTES`] bytes before the position.
    last_bytes: Vec<u8>,
}

/// Opens a regular file. `O_NONBLOCK` keeps the call from blocking on a named pipe without a writer.
pub(super) fn open(path: &Path) -> Result<(File, Metadata), TailError> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(TailError::NotRegular) }
}

impl Tail {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, opened: None, initial_length: None }
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the next part of the file, at most [`MAX_BYTES_PER_READ`] bytes. A replaced file is read to its end first.
    ///
    /// # Errors
    /// Returns why the file cannot be read. Lines of the previous file may have been passed to `each` before.
    pub(super) fn read(&mut self, each: &mut dyn FnMut(FileItem<'_>)) -> Result<ReadProgress, TailError> {
        let found = open(&self.path);
        if let Some(opened) = &mut self.opened {
            let is_replaced = found.as_ref().is_ok_and(|(_, metadata)| FileState::of(metadata).id != opened.state.id);
            if is_replaced || found.is_err() {
                if !opened.read_more(each)? {
                    return Ok(ReadProgress { is_reached: false, is_loaded: false });
                }
                if is_replaced {
                    opened.finish(each);
                    self.opened = None;
                }
            }
        }
        let (file, metadata) = found?;
        let state = FileState::of(&metadata);
        let opened = match &mut self.opened {
            Some(opened) => {
                if opened.is_rewritten(state)? {
                    opened.finish(each);
                    opened.begin(each);
                }
                opened.state = state;
                opened
            }
            None => {
                let opened = self.opened.insert(OpenFile::new(file, state));
                opened.begin(each);
                opened
            }
        };
        let initial_length = *self.initial_length.get_or_insert(state.length);
        let is_reached = opened.read_more(each)?;
        Ok(ReadProgress { is_reached, is_loaded: is_reached || opened.position >= initial_length })
    }
}

impl OpenFile {
    fn new(file: File, state: FileState) -> Self {
        Self { file, state, position: 0, line: 0, partial: vec![], is_too_long: false, last_bytes: vec![] }
    }

    fn begin(&mut self, each: &mut dyn FnMut(FileItem<'_>)) {
        (self.position, self.line, self.is_too_long) = (0, 0, false);
        self.partial.clear();
        self.last_bytes.clear();
        each(FileItem::Start);
    }

    /// Reports an incomplete last line, which will never be completed.
    fn finish(&mut self, each: &mut dyn FnMut(FileItem<'_>)) {
        if self.is_too_long || !self.partial.is_empty() {
            each(FileItem::Unfinished(self.line + 1));
        }
    }

    /// Returns whether the file no longer holds the bytes that were read from it.
    fn is_rewritten(&self, state: FileState) -> io::Result<bool> {
        if state.length < self.position {
            return Ok(true);
        }
        if state == self.state || self.last_bytes.is_empty() {
            return Ok(false);
        }
        let mut now = vec![0; self.last_bytes.len()];
        let at = self.position.saturating_sub(self.last_bytes.len() as u64);
        match self.file.read_exact_at(&mut now, at) {
            Ok(()) => Ok(now != self.last_bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Reads the next part of the file, at most [`MAX_BYTES_PER_READ`] bytes. Returns whether the end is reached.
    fn read_more(&mut self, each: &mut dyn FnMut(FileItem<'_>)) -> io::Result<bool> {
        let (mut chunk, mut left) = (vec![0; CHUNK], MAX_BYTES_PER_READ);
        while left > 0 {
            let read = match self.file.read_at(&mut chunk, self.position) {
                Ok(0) => return Ok(true),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = chunk.get(..read).unwrap_or_default();
            self.position += read as u64;
            self.remember(bytes);
            self.split(bytes, each);
            left = left.saturating_sub(read);
        }
        Ok(false)
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.last_bytes
            .extend_from_slice(bytes.get(bytes.len().saturating_sub(REMEMBERED_BYTES)..).unwrap_or_default());
        let surplus = self.last_bytes.len().saturating_sub(REMEMBERED_BYTES);
        self.last_bytes.drain(..surplus);
    }

    fn split(&mut self, bytes: &[u8], each: &mut dyn FnMut(FileItem<'_>)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (part, is_ended) = part.strip_suffix(b"\n").map_or((part, false), |part| (part, true));
            self.is_too_long |= self.partial.len() + part.len() > MAX_LINE_BYTES;
            if self.is_too_long {
                self.partial.clear();
            } else if !is_ended || !self.partial.is_empty() {
                self.partial.extend_from_slice(part);
            }
            if !is_ended {
                continue;
            }
            self.line += 1;
            if self.is_too_long {
                each(FileItem::TooLong(self.line));
            } else {
                let line = if self.partial.is_empty() { part } else { &self.partial };
                each(FileItem::Line(self.line, line));
            }
            self.is_too_long = false;
            self.partial.clear();
        }
    }
}

#[cfg(test)]
mod tests;
