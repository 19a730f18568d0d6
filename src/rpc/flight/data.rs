//! Rows in and out: the batches of a statement under way, and the parameters of one to come.

use arrow::{array::RecordBatch, datatypes::Schema, error::ArrowError, ipc::writer::IpcWriteOptions};
use arrow_flight::{
    IpcMessage, SchemaAsIpc, decode::FlightRecordBatchStream, error::FlightError, sql::server::PeekableFlightDataStream,
};
use futures::{StreamExt as _, TryStreamExt as _};
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

/// Messages of parameters, of which one has the row.
const MAX_PUT_MESSAGES: usize = 16;

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

/// The one row of parameters of a DoPut.
pub(super) async fn parameters(data: PeekableFlightDataStream) -> Result<Option<RecordBatch>, Status> {
    let invalid = |text: &str| to_status(Error::Invalid(text.to_owned()));
    let read = async move {
        let data = data.map_err(FlightError::from).take(MAX_PUT_MESSAGES);
        let mut batches = FlightRecordBatchStream::new_from_flight_data(data);
        let mut row = None;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| match error {
                FlightError::Tonic(status) => *status,
                other => invalid(&format!("the parameters cannot be read: {other}")),
            })?;
            match batch.num_rows() {
                0 => {}
                1 if row.is_none() => row = Some(batch),
                _ => return Err(invalid("one row of parameters is one execution: bind one row at a time")),
            }
        }
        Ok(row.filter(|row| row.num_columns() > 0))
    };
    // A task of its own, so that a reader that panics on hostile bytes ends only this call.
    tokio::spawn(read).await.unwrap_or_else(|_| Err(invalid("the parameters cannot be read")))
}

/// A schema as an answer to prepare carries it.
pub(super) fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let message = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into();
    let IpcMessage(bytes) = message.map_err(|error: ArrowError| to_status(Error::internal(&error.to_string())))?;
    Ok(bytes)
}
