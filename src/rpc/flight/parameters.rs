//! The parameters of a statement: the Arrow IPC messages of a DoPut, which contain one row.

use arrow::array::RecordBatch;
use arrow_flight::{
    FlightData, decode::FlightRecordBatchStream, error::FlightError, sql::server::PeekableFlightDataStream,
};
use futures::StreamExt as _;
use tonic::Status;

mod check;
mod layout;

use check::Check;

use crate::error::Error;

/// Maximum number of messages of a DoPut: a schema, dictionaries and one row.
const MAX_MESSAGES: usize = 16;
/// Maximum number of bytes of all messages of a DoPut. A handle holds less (`MAX_PARAMETER_BYTES`).
const MAX_BYTES: usize = 1 << 20;
/// Maximum length of a decoder message in an error (characters). The message quotes field names, which may be long.
const MAX_MESSAGE: usize = 300;

/// Why a message is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum InvalidParameters {
    #[error("more than {0} messages")]
    Messages(usize),
    #[error("more than {0} bytes")]
    Bytes(usize),
    #[error("a message has no valid header")]
    Header,
    #[error("bad schema: {0}")]
    Schema(&'static str),
    #[error("a second schema")]
    SecondSchema,
    #[error("a batch precedes the schema")]
    NoSchema,
    #[error("more than {0} columns")]
    Columns(usize),
    #[error("a column has the unsupported type {0}; use numbers, text, bytes, times, booleans, or lists of these")]
    Type(&'static str),
    #[error("a batch is compressed; send it uncompressed")]
    Compressed,
    #[error("more than one row of parameters; bind one row per execution")]
    Rows,
    #[error("the columns of a batch differ from the schema")]
    Shape,
    #[error("a batch declares more values than it has bytes for")]
    Length,
    #[error("a buffer of a batch is outside of the message body")]
    Buffer,
}

/// Returns the row of parameters; `None` if there is none.
///
/// # Errors
/// INVALID_ARGUMENT if the messages are not one row of supported types.
pub(super) async fn read(data: PeekableFlightDataStream) -> Result<Option<RecordBatch>, Status> {
    let mut budget = Budget::default();
    let mut check = Check::default();
    // Check before decoding, because the decoder allocates as much memory as a message declares.
    let data = data.map(move |data| {
        let data = data?;
        budget.take(&data).and_then(|()| check.message(&data)).map_err(|rejected| invalid(&rejected.to_string()))?;
        Ok(data)
    });
    let read = async move {
        let mut batches = FlightRecordBatchStream::new_from_flight_data(data.map(|data| data.map_err(tonic_error)));
        let mut row = None;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| match error {
                FlightError::Tonic(status) => *status,
                other => invalid(&other.to_string().chars().take(MAX_MESSAGE).collect::<String>()),
            })?;
            match batch.num_rows() {
                0 => {}
                1 if row.is_none() => row = Some(batch),
                _ => return Err(invalid(&InvalidParameters::Rows.to_string())),
            }
        }
        Ok(row.filter(|row| row.num_columns() > 0))
    };
    // A separate task, so that a panic of the decoder ends only this call.
    tokio::spawn(read).await.unwrap_or_else(|_| Err(invalid("the decoder failed")))
}

fn tonic_error(status: Status) -> FlightError {
    FlightError::Tonic(Box::new(status))
}

fn invalid(why: &str) -> Status {
    Error::Invalid(format!("cannot read the parameters: {why}")).into()
}

/// The number of messages and bytes that a DoPut may still send.
#[derive(Debug)]
struct Budget {
    messages: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { messages: MAX_MESSAGES, bytes: MAX_BYTES }
    }
}

impl Budget {
    fn take(&mut self, data: &FlightData) -> Result<(), InvalidParameters> {
        let bytes = data.data_header.len() + data.data_body.len() + data.app_metadata.len();
        self.messages = self.messages.checked_sub(1).ok_or(InvalidParameters::Messages(MAX_MESSAGES))?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or(InvalidParameters::Bytes(MAX_BYTES))?;
        Ok(())
    }
}
