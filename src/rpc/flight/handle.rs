//! Handles of prepared statements and tickets: the statement itself with its parameters.
//!
//! The server keeps nothing for them, so that what nobody redeems or closes costs nothing. They carry
//! no right: who makes one up could send the statement as well, and every use checks it like one. But
//! they are sealed: the reader of Arrow IPC believes lengths that it reads, and a made up one could
//! make it allocate without bounds.

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

/// Names the layout; no other is read.
const LAYOUT: u32 = 0x6f66_7331;

/// Room for the values of one execution.
const MAX_PARAMETER_BYTES: usize = 256 << 10;

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Handle {
    #[prost(fixed32, tag = "1")]
    layout: u32,
    #[prost(string, tag = "2")]
    pub(super) sql: String,
    /// One row, as a stream of Arrow IPC; empty for none.
    #[prost(bytes = "vec", tag = "3")]
    parameters: Vec<u8>,
    /// Of one execution, to cancel it by.
    #[prost(fixed64, tag = "4")]
    pub(super) execution: u64,
    /// Of this process, over all of it.
    #[prost(fixed64, tag = "5")]
    seal: u64,
}

impl Handle {
    pub(super) fn new(sql: String) -> Self {
        Self { layout: LAYOUT, sql, parameters: vec![], execution: 0, seal: 0 }
    }

    /// SipHash with keys that only this process knows.
    fn sealed(&self) -> u64 {
        static KEYS: OnceLock<RandomState> = OnceLock::new();
        KEYS.get_or_init(RandomState::new).hash_one((self.layout, &self.sql, &self.parameters, self.execution))
    }

    /// For one execution.
    pub(super) fn ticket(self) -> Self {
        // Random, so that nobody cancels by chance what another runs.
        Self { execution: RandomState::new().hash_one(&self.sql), ..self }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Error> {
        match Self::decode(bytes) {
            Ok(handle) if handle.layout == LAYOUT && handle.seal == handle.sealed() => Ok(handle),
            _ => Err(Error::Invalid("not a handle or ticket of this server since its start: prepare again".to_owned())),
        }
    }

    pub(super) fn bytes(&self) -> prost::bytes::Bytes {
        Self { seal: self.sealed(), ..self.clone() }.encode_to_vec().into()
    }

    /// With the values of the next executions.
    pub(super) fn bound(self, row: Option<&RecordBatch>) -> Result<Self, Error> {
        let parameters = row.map_or(Ok(vec![]), write).map_err(|error| refused(&error))?;
        if parameters.len() > MAX_PARAMETER_BYTES {
            let given = parameters.len();
            return Err(Error::Exhausted(format!(
                "the parameters have {given} bytes, {MAX_PARAMETER_BYTES} are allowed (fixed)"
            )));
        }
        Ok(Self { parameters, ..self })
    }

    /// The statement to run.
    pub(super) async fn statement(self, timeout: Option<std::time::Duration>) -> Result<Statement, Error> {
        let Self { sql, parameters, .. } = self;
        let parameters = if parameters.is_empty() {
            vec![]
        } else {
            // On a thread of its own: a reader that panics ends only this call.
            let read = tokio::task::spawn_blocking(move || read(&parameters)).await;
            read.map_err(|_| Error::Invalid("the parameters cannot be read".to_owned()))?.map_err(|e| refused(&e))?
        };
        Ok(Statement { sql, parameters, timeout, ..Statement::default() })
    }
}

fn refused(error: &ArrowError) -> Error {
    Error::Invalid(format!("the parameters cannot be read: {error}"))
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
        return Err(ArrowError::InvalidArgumentError("one row is one execution".to_owned()));
    }
    let value = |column: &ArrayRef| {
        ScalarValue::try_from_array(column, 0).map_err(|error| ArrowError::ExternalError(error.into()))
    };
    row.columns().iter().map(value).collect()
}

#[cfg(test)]
mod tests;
