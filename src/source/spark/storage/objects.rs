//! Checkpoints in an object store: S3, Google Cloud Storage or Azure.

use std::{error::Error as _, sync::Arc};

use object_store::{
    Error, ObjectStore, ObjectStoreExt as _,
    list::{PaginatedListOptions, PaginatedListStore},
    path::Path,
};

use super::{Entry, Failure, MAX_FILE_BYTES, reason};

/// The client of a bucket or container.
pub(super) struct Objects {
    objects: Arc<dyn ObjectStore>,
    pages: Arc<dyn PaginatedListStore>,
}

impl Objects {
    pub(super) fn new<S: ObjectStore + PaginatedListStore>(store: Arc<S>) -> Self {
        Self { objects: Arc::<S>::clone(&store), pages: store }
    }

    pub(super) async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        let Some(object) = found(self.objects.get(&parse(path)?).await)? else { return Ok(None) };
        if object.meta.size > MAX_FILE_BYTES {
            return Err(Failure::TooLong);
        }
        Ok(found(object.bytes().await)?.map(Into::into))
    }

    pub(super) async fn exists(&self, path: &str) -> Result<bool, Failure> {
        Ok(found(self.objects.head(&parse(path)?).await)?.is_some())
    }

    /// Adds a page of the entries of a folder. Returns the token of the next page, if there is one.
    pub(super) async fn list(
        &self,
        path: &str,
        page_token: Option<String>,
        entries: &mut Vec<Entry>,
    ) -> Result<Option<String>, Failure> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let options = PaginatedListOptions { delimiter: Some("/".into()), page_token, ..Default::default() };
        let page = self.pages.list_paginated(Some(&prefix), options).await;
        let page = page.map_err(|error| failure(&error))?;
        for folder in page.result.common_prefixes {
            let name = folder.filename().unwrap_or_default().to_owned();
            entries.push(Entry { name, is_folder: true, modified_at: None });
        }
        for object in page.result.objects {
            let name = object.location.filename().unwrap_or_default().to_owned();
            let modified_at = Some(object.last_modified.timestamp_millis());
            entries.push(Entry { name, is_folder: false, modified_at });
        }
        Ok(page.page_token)
    }
}

fn parse(path: &str) -> Result<Path, Failure> {
    Path::parse(path).map_err(|_| Failure::Name)
}

/// Returns `None` if the object does not exist.
fn found<T>(result: object_store::Result<T>) -> Result<Option<T>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failure(&error)),
    }
}

fn failure(error: &Error) -> Failure {
    match error {
        // The store's answer names the access key, so it is not shown.
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Failure::Forbidden(String::new()),
        Error::InvalidPath { .. } => Failure::Name,
        // The listing of a bucket that does not exist.
        Error::NotFound { .. } => Failure::Unreachable("no such bucket or container".to_owned()),
        other => {
            let reason = other.source().map_or_else(|| reason(other), reason);
            // The library does not classify errors of listings, and their type is private.
            let is_refused = ["401 Unauthorized", "403 Forbidden"].iter().any(|status| reason.contains(status));
            if is_refused { Failure::Forbidden(String::new()) } else { Failure::Unreachable(reason) }
        }
    }
}
