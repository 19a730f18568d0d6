//! A local folder as an object store. Its files survive a power failure.
//!
//! A file is written under a temporary name (`NAME#N`), flushed to disk, and only then linked to its name; then the
//! folder is flushed. No file is ever replaced. The writer holds a lock on its temporary file. A temporary file without
//! a lock was left by a process that was killed, and [`clean`] deletes it.

use std::{
    fs::{self, DirEntry, File, Metadata, TryLockError},
    io::{self, ErrorKind, Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use chrono::DateTime;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart, local::LocalFileSystem, path::Path,
};
use parking_lot::Mutex;

use super::folder;

/// Maximum number of temporary files of one name.
const MAX_TEMPORARY_FILES: u32 = 1000;
/// Maximum number of listings of a folder that keeps changing.
const MAX_LISTINGS: usize = 100;
const WRITTEN: PutResult = PutResult { e_tag: None, version: None };

/// A local folder.
#[derive(Debug)]
pub(super) struct Folder {
    store: LocalFileSystem,
    root: PathBuf,
}

impl std::fmt::Display for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "folder {}", self.root.display())
    }
}

impl Folder {
    /// Opens a folder, and creates it if it does not exist.
    ///
    /// # Errors
    /// The folder cannot be created or resolved.
    pub(super) fn open(root: &FilePath) -> Result<Self> {
        create_folder(root).map_err(|error| failure(root, error))?;
        let root = fs::canonicalize(root).map_err(|error| failure(root, error))?;
        Ok(Self { store: LocalFileSystem::new_with_prefix(&root)?, root })
    }

    /// Returns a consistent list of the entries.
    ///
    /// While a folder is listed, another server may merge a file into a new one and delete it, so that the list has
    /// neither. Therefore the folder is listed until two consecutive lists are equal and each entry still exists.
    fn list_consistently(root: &FilePath, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        let mut known: Option<Vec<Path>> = None;
        for _ in 0..MAX_LISTINGS {
            let entries = Self::entries(root, prefix)?;
            let paths = entries.as_ref().map(|entries| entries.iter().map(|entry| entry.location.clone()).collect());
            if let (Some(entries), true) = (entries, paths.is_some() && known == paths) {
                return Ok(entries);
            }
            known = paths;
        }
        Err(Error::Generic { store: "history folder", source: "the folder kept changing while it was listed".into() })
    }

    /// Lists the entries of a prefix and of its direct subfolders; `None` if an entry was deleted meanwhile.
    fn entries(root: &FilePath, prefix: &Path) -> Result<Option<Vec<ObjectMeta>>> {
        let path = prefix.parts().fold(root.to_owned(), |path, part| path.join(part.as_ref()));
        let (mut found, mut is_complete) = (vec![], true);
        let mut described = |of: &Path, entry: &DirEntry| {
            let described = describe(of, entry);
            is_complete &= described.is_some() || fs::symlink_metadata(entry.path()).is_ok();
            described
        };
        for entry in read_folder(&path).map_err(|error| failure(&path, error))? {
            let Some((location, metadata)) = described(prefix, &entry) else { continue };
            if !metadata.is_dir() {
                found.extend(object(location, &metadata));
                continue;
            }
            match read_folder(&entry.path()) {
                Ok(inner) => found.extend(inner.iter().filter_map(|entry| {
                    let (location, metadata) = described(&location, entry)?;
                    object(location, &metadata)
                })),
                Err(_) => found.extend(object(location, &metadata)),
            }
        }
        found.sort_by(|left, right| left.location.cmp(&right.location));
        Ok(is_complete.then_some(found))
    }
}

/// Returns the entries of a folder; none if it does not exist.
fn read_folder(folder: &FilePath) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(vec![]),
        entries => entries?.collect(),
    }
}

/// Returns the location and metadata of an entry; `None` if it was deleted or is a dangling link.
fn describe(of: &Path, entry: &DirEntry) -> Option<(Path, Metadata)> {
    let location = of.clone().join(&*entry.file_name().to_string_lossy());
    Some((location, fs::metadata(entry.path()).ok()?))
}

/// Returns the object of a file, or a placeholder for a folder that is not listed. `None` for a temporary file, and for
/// a pipe or device, on which reading could block.
fn object(location: Path, metadata: &Metadata) -> Option<ObjectMeta> {
    let is_temporary = location.filename().is_some_and(folder::is_temporary);
    let location = match metadata.is_dir() {
        true => location.join("contents"),
        false if metadata.is_file() && !is_temporary => location,
        false => return None,
    };
    let last_modified = metadata.modified().map(DateTime::from).unwrap_or_default();
    Some(ObjectMeta { location, last_modified, size: metadata.len(), e_tag: None, version: None })
}

fn failure(path: &FilePath, error: io::Error) -> Error {
    let source = io::Error::new(error.kind(), format!("{}: {error}", path.display())).into();
    match error.kind() {
        ErrorKind::AlreadyExists => Error::AlreadyExists { path: path.display().to_string(), source },
        _ => Error::Generic { store: "history folder", source },
    }
}

/// Runs disk I/O on the blocking thread pool.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

fn folder_of(path: &FilePath) -> &FilePath {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(FilePath::new("."))
}

/// Creates a folder and its parents, and flushes their entries to disk.
fn create_folder(folder: &FilePath) -> io::Result<()> {
    let created = fs::create_dir(folder).or_else(|error| match error.kind() {
        ErrorKind::NotFound => {
            create_folder(folder_of(folder))?;
            fs::create_dir(folder)
        }
        _ => Err(error),
    });
    match created {
        Ok(()) => flush_folder(folder_of(folder)),
        Err(_) if folder.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Flushes the entries of a folder to disk.
fn flush_folder(folder: &FilePath) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network file systems cannot flush a folder.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        flushed => flushed,
    }
}

/// A file that does not have its final name yet.
#[derive(Debug)]
struct TemporaryFile {
    file: File,
    path: PathBuf,
    name: PathBuf,
}

impl TemporaryFile {
    fn create(name: PathBuf) -> io::Result<Self> {
        if name.try_exists()? {
            return Err(ErrorKind::AlreadyExists.into());
        }
        create_folder(folder_of(&name))?;
        for number in 1..=MAX_TEMPORARY_FILES {
            let mut path = name.clone().into_os_string();
            path.push(format!("#{number}"));
            let path = PathBuf::from(path);
            match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    // On a file system without locks, `clean` gets no lock either and deletes nothing.
                    let is_locked = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
                    // `clean`, of this or another server, may have deleted the file before it was locked.
                    if is_locked && file.metadata()?.nlink() > 0 {
                        return Ok(Self { file, path, name });
                    }
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("too many temporary files of the same name"))
    }

    fn write(&mut self, offset: u64, payload: &PutPayload) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        payload.iter().try_for_each(|bytes| self.file.write_all(bytes))
    }

    /// Gives the file its final name.
    ///
    /// # Errors
    /// A file with that name exists, or the file system failed.
    fn publish(&self) -> io::Result<()> {
        self.file.sync_all()?;
        match fs::hard_link(&self.path, &self.name) {
            Ok(()) => fs::remove_file(&self.path)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
            // The file system has no hard links.
            Err(_) if !self.name.try_exists()? => fs::rename(&self.path, &self.name)?,
            Err(error) => return Err(error),
        }
        flush_folder(folder_of(&self.name))
    }

    fn discard(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// A file that is uploaded in parts.
#[derive(Debug)]
struct Upload {
    temporary: Arc<Mutex<TemporaryFile>>,
    offset: u64,
}

impl Upload {
    async fn with(&self, work: impl FnOnce(&mut TemporaryFile) -> io::Result<()> + Send + 'static) -> Result<()> {
        let temporary = Arc::clone(&self.temporary);
        blocking(move || {
            let temporary = &mut *temporary.lock();
            work(temporary).map_err(|error| failure(&temporary.name, error))
        })
        .await
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (upload, offset) = (Self { temporary: Arc::clone(&self.temporary), offset: 0 }, self.offset);
        self.offset += data.content_length() as u64;
        async move { upload.with(move |temporary| temporary.write(offset, &data)).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.with(|temporary| temporary.publish()).await.map(|()| WRITTEN)
    }

    async fn abort(&mut self) -> Result<()> {
        self.with(|temporary| temporary.discard()).await
    }
}

#[async_trait]
impl ObjectStore for Folder {
    async fn put_opts(&self, location: &Path, payload: PutPayload, _: PutOptions) -> Result<PutResult> {
        let name = self.store.path_to_filesystem(location)?;
        let put = move || {
            let mut temporary = TemporaryFile::create(name.clone()).map_err(|error| failure(&name, error))?;
            let written = temporary.write(0, &payload).and_then(|()| temporary.publish());
            written.map(|()| WRITTEN).map_err(|error| {
                // If the deletion fails, `clean` deletes the file later.
                let _ = temporary.discard();
                failure(&name, error)
            })
        };
        blocking(put).await
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let name = self.store.path_to_filesystem(location)?;
        let create = move || TemporaryFile::create(name.clone()).map_err(|error| failure(&name, error));
        let temporary = Arc::new(Mutex::new(blocking(create).await?));
        Ok(Box::new(Upload { temporary, offset: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    /// Unlike [`LocalFileSystem::list`], lists the other entries if one cannot be read.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (root, prefix) = (self.root.clone(), prefix.cloned().unwrap_or_default());
        let entries = blocking(move || Self::list_consistently(&root, &prefix));
        stream::once(entries).map_ok(|entries| stream::iter(entries).map(Ok)).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copy".to_owned(), implementer: self.to_string() })
    }
}

/// Deletes the abandoned temporary files in the date folders of a cluster. Returns their number.
///
/// # Errors
/// The first failure, after all files were tried.
pub(super) fn clean(cluster: &FilePath) -> io::Result<usize> {
    let (mut deleted, mut failed) = (0, None);
    for date in read_folder(cluster)? {
        if !date.file_type()?.is_dir() {
            continue;
        }
        let has_right_name = |entry: &DirEntry| {
            let (date, name) = (date.file_name(), entry.file_name());
            date.to_str().zip(name.to_str()).is_some_and(|(date, name)| folder::is_temporary_of(date, name))
        };
        for entry in read_folder(&date.path())?.iter().filter(|entry| has_right_name(entry)) {
            match delete_abandoned(entry) {
                Ok(is_deleted) => deleted += usize::from(is_deleted),
                // The file was published, or another server deleted it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    let path = entry.path();
                    failed.get_or_insert(io::Error::new(error.kind(), format!("{}: {error}", path.display())));
                }
            }
        }
    }
    failed.map_or(Ok(deleted), Err)
}

fn delete_abandoned(entry: &DirEntry) -> io::Result<bool> {
    if !entry.file_type()?.is_file() {
        return Ok(false);
    }
    let locked = File::options().write(true).open(entry.path())?;
    match locked.try_lock() {
        Ok(()) => fs::remove_file(entry.path()).map(|()| true),
        Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests;
