//! The batches of a statement under way, and its schema.

use arrow::{array::RecordBatch, datatypes::Schema, error::ArrowError, ipc::writer::IpcWriteOptions};
use arrow_flight::{IpcMessage, SchemaAsIpc};
use prost::bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tonic::{Status, metadata::MetadataMap};

use super::{cancelled, running::Guard};
use crate::{
    error::Error,
    rpc::to_status,
    sql::{Answer, SqlError},
    store::cut::Snapshot,
};

/// The batches of a statement under way.
pub(super) struct Batches {
    pub(super) answer: Answer,
    pub(super) running: Guard,
    pub(super) stop: CancellationToken,
    pub(super) done: bool,
}

impl Batches {
    pub(super) async fn next(&mut self) -> Option<Result<RecordBatch, Status>> {
        if self.done {
            return None;
        }
        let next = tokio::select! {
            next = self.answer.next() => next?.map_err(|error| to_status(error.into())),
            () = self.running.token.cancelled() => Err(cancelled()),
            () = self.stop.cancelled() => Err(to_status(SqlError::ShuttingDown.into())),
        };
        self.done = next.is_err();
        Some(next)
    }
}

/// Says what was read, as the headers of `POST /v1/sql` do.
pub(super) fn name(metadata: &mut MetadataMap, snapshot: &Snapshot) {
    let incomplete = snapshot.incomplete.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    for (key, value) in [("offsetd-snapshot", &snapshot.id), ("offsetd-incomplete-clusters", &incomplete)] {
        // Names of clusters are plain (`config`).
        if let Ok(value) = value.parse() {
            metadata.insert(key, value);
        }
    }
}

/// A schema as an answer to prepare carries it.
pub(super) fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let message = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into();
    let IpcMessage(bytes) = message.map_err(|error: ArrowError| to_status(Error::internal(&error.to_string())))?;
    Ok(bytes)
}
