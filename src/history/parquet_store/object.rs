//! A file of the object store, in the form that the Parquet reader reads.

use std::{ops::Range, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path};
use parquet::{
    arrow::{ParquetRecordBatchStreamBuilder, arrow_reader::ArrowReaderOptions, async_reader::AsyncFileReader},
    errors::{ParquetError, Result},
    file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader},
};
use tokio_util::bytes::Bytes;

use super::folder::SampleFile;

/// Number of bytes read from the end of a file in one request; usually they contain all metadata.
const FOOTER_BYTES: usize = 64 * 1024;

/// Builder of the reader of an [`Object`].
pub(super) type Builder = ParquetRecordBatchStreamBuilder<Object>;

/// A file in a store.
#[derive(Debug)]
pub(super) struct Object {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl Object {
    /// Opens a file and reads its metadata.
    pub(super) async fn open(store: &Arc<dyn ObjectStore>, file: &SampleFile) -> Result<Builder> {
        Builder::new(Self { store: Arc::clone(store), path: file.path.clone(), size: file.version.size }).await
    }
}

fn error(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for Object {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move { self.store.get_range(&self.path, range).await.map_err(error) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(error) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        let size = self.size;
        let reader = ParquetMetaDataReader::new()
            .with_prefetch_hint(Some(FOOTER_BYTES))
            .with_page_index_policy(PageIndexPolicy::Optional);
        async move { Ok(Arc::new(reader.load_and_finish(self, size).await?)) }.boxed()
    }
}
