//! Handles of prepared statements, and tickets. Both contain the statement and its parameters.
//!
//! The server keeps no state for them, so an unused or unclosed handle costs nothing. They grant no access: a client
//! that forges one could send its statement as well, and the statement is checked at every use. They are sealed
//! nevertheless, because the Arrow IPC reader trusts the lengths in a message, and a forged one could make it allocate
//! without limit.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::OnceLock,
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    error::ArrowError,
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use prost::Message as _;

use crate::{
    error::Error,
    sql::{ScalarValue, Statement, output},
};

/// Version of the layout. Other versions are rejected.
const LAYOUT: u32 = 0x6f66_7331;

/// Maximum size of the parameters of one execution (bytes).
const MAX_PARAMETER_BYTES: usize = 256 << 10;

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Handle {
    #[prost(fixed32, tag = "1")]
    layout: u32,
    #[prost(string, tag = "2")]
    pub(super) sql: String,
    /// One row as an Arrow IPC stream; empty if there are no parameters.
    #[prost(bytes = "vec", tag = "3")]
    parameters: Vec<u8>,
    /// Number of the execution, by which it can be cancelled.
    #[prost(fixed64, tag = "4")]
    pub(super) execution: u64,
    /// Hash of the other fields with a key of this process.
    #[prost(fixed64, tag = "5")]
    seal: u64,
}

impl Handle {
    pub(super) fn new(sql: String) -> Self {
        Self { layout: LAYOUT, sql, parameters: vec![], execution: 0, seal: 0 }
    }

    /// Returns the seal: SipHash with a random key that only this process has.
    fn compute_seal(&self) -> u64 {
        static KEYS: OnceLock<RandomState> = OnceLock::new();
        KEYS.get_or_init(RandomState::new).hash_one((self.layout, &self.sql, &self.parameters, self.execution))
    }

    /// Returns a ticket for one execution.
    pub(super) fn ticket(self) -> Self {
        // Random, so that a client does not cancel the execution of another one by accident.
        Self { execution: RandomState::new().hash_one(&self.sql), ..self }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Error> {
        match Self::decode(bytes) {
            Ok(handle) if handle.layout == LAYOUT && handle.seal == handle.compute_seal() => Ok(handle),
            _ => Err(Error::Invalid("unknown handle or ticket; prepare the statement again".to_owned())),
        }
    }

    pub(super) fn bytes(&self) -> prost::bytes::Bytes {
        Self { seal: self.compute_seal(), ..self.clone() }.encode_to_vec().into()
    }

    /// Returns a handle with the parameters of the next executions.
    pub(super) fn bound(self, row: Option<&RecordBatch>) -> Result<Self, Error> {
        let parameters = row.map_or(Ok(vec![]), write).map_err(|error| unreadable(&error))?;
        if parameters.len() > MAX_PARAMETER_BYTES {
            let given = parameters.len();
            return Err(Error::Exhausted(format!(
                "the parameters have {given} bytes, more than the fixed limit of {MAX_PARAMETER_BYTES}"
            )));
        }
        Ok(Self { parameters, ..self })
    }

    /// Returns the statement to run.
    pub(super) async fn statement(self, timeout: Option<std::time::Duration>) -> Result<Statement, Error> {
        let Self { sql, parameters, .. } = self;
        let parameters = if parameters.is_empty() {
            vec![]
        } else {
            // On a blocking thread, so that a panic of the reader ends only this call.
            let read = tokio::task::spawn_blocking(move || read(&parameters)).await;
            read.map_err(|_| Error::Invalid("cannot read the parameters".to_owned()))?.map_err(|e| unreadable(&e))?
        };
        Ok(Statement { sql, parameters, timeout, ..Statement::default() })
    }
}

fn unreadable(error: &ArrowError) -> Error {
    Error::Invalid(format!("cannot read the parameters: {error}"))
}

fn write(row: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let row = output::to_wire(row, &output::wire_schema(&row.schema()));
    let row = row.map_err(|error| ArrowError::ExternalError(error.into()))?;
    let mut writer = StreamWriter::try_new(vec![], &row.schema())?;
    writer.write(&row)?;
    writer.into_inner()
}

fn read(bytes: &[u8]) -> Result<Vec<ScalarValue>, ArrowError> {
    let Some(row) = StreamReader::try_new(bytes, None)?.next().transpose()? else { return Ok(vec![]) };
    if row.num_rows() != 1 {
        return Err(ArrowError::InvalidArgumentError("more than one row of parameters".to_owned()));
    }
    let value = |column: &ArrayRef| {
        ScalarValue::try_from_array(column, 0).map_err(|error| ArrowError::ExternalError(error.into()))
    };
    row.columns().iter().map(value).collect()
}

#[cfg(test)]
mod tests;
