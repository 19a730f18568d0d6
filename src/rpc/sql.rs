//! The Sql call: the result of a statement as a stream of messages.

use std::{pin::Pin, sync::Arc, time::Duration};

use arrow::{array::RecordBatch, datatypes::SchemaRef, ipc::writer::StreamWriter};
use async_stream::try_stream;
use futures::TryStreamExt as _;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{entry, enum_value, proto};
use crate::{
    error::Error,
    sql::{Engine, ScalarValue, SqlError, Statement, Stats, output},
};
use proto::{SqlFormat, sql_response::Message, sql_value::Value};

pub(super) type Stream = Pin<Box<dyn futures::Stream<Item = Result<proto::SqlResponse, Status>> + Send>>;

pub(super) async fn run(
    engine: Arc<Engine>,
    request: proto::SqlRequest,
    deadline: Option<Duration>,
    stop: CancellationToken,
) -> Result<Stream, Error> {
    let format = enum_value::<SqlFormat>("format", request.format)?;
    let latest = enum_value::<proto::Freshness>("freshness", request.freshness)? == proto::Freshness::Latest;
    let max_rows = usize::try_from(request.max_rows)
        .map_err(|_| Error::Invalid(format!("max_rows {} is negative", request.max_rows)))?;
    let statement = Statement {
        sql: request.statement,
        parameters: request.parameters.into_iter().map(scalar).collect(),
        max_rows: (max_rows > 0).then_some(max_rows),
        allow_partial: request.allow_partial,
        latest,
        timeout: deadline,
    };
    let mut answer = engine.run(statement).await?;
    let encoder = Arc::new(Mutex::new(Encoder::new(format, &answer.schema)?));
    // The connection polls the stream. If the client disconnects, the stream is dropped and the statement is cancelled.
    let messages = try_stream! {
        let schema = encoder.lock().schema(&answer.schema);
        yield Message::Schema(schema);
        loop {
            let next = tokio::select! {
                next = answer.next() => next.transpose(),
                () = stop.cancelled() => Err(SqlError::ShuttingDown),
            };
            let Some(batch) = next? else { break };
            let encoder = Arc::clone(&encoder);
            let write = move |batch: Option<&RecordBatch>| batch.map(|batch| encoder.lock().batch(batch)).transpose();
            yield Message::Batch(answer.write(Some(batch), write).await??.unwrap_or_default());
        }
        let end = encoder.lock().finish();
        yield Message::Stats(stats(&answer.stats(), end?));
    };
    let response = |message| proto::SqlResponse { message: Some(message) };
    Ok(Box::pin(messages.map_ok(response).map_err(|error: Error| error.into())))
}

fn stats(stats: &Stats, arrow_ipc: Vec<u8>) -> proto::SqlStats {
    proto::SqlStats {
        rows: i64::try_from(stats.rows).unwrap_or(i64::MAX),
        elapsed: stats.elapsed.try_into().ok(),
        truncated: stats.truncated,
        incomplete_clusters: entry::incomplete(&stats.snapshot),
        snapshot: Some(entry::snapshot(&stats.snapshot)),
        arrow_ipc,
    }
}

fn scalar(value: proto::SqlValue) -> ScalarValue {
    match value.value {
        None | Some(Value::NullValue(_)) => ScalarValue::Null,
        Some(Value::BoolValue(value)) => ScalarValue::Boolean(Some(value)),
        Some(Value::Int64Value(value)) => ScalarValue::Int64(Some(value)),
        Some(Value::DoubleValue(value)) => ScalarValue::Float64(Some(value)),
        Some(Value::StringValue(value)) => ScalarValue::Utf8(Some(value)),
        Some(Value::TimestampValue(at)) => {
            let nanos = at.seconds.checked_mul(1_000_000_000).and_then(|nanos| nanos.checked_add(at.nanos.into()));
            ScalarValue::TimestampNanosecond(nanos, None)
        }
    }
}

/// Encodes rows in the requested format.
enum Encoder {
    /// The buffer of the writer holds the bytes that have not been sent yet.
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Json,
}

impl Encoder {
    fn new(format: SqlFormat, schema: &SchemaRef) -> Result<Self, Error> {
        match format {
            SqlFormat::Json => Ok(Self::Json),
            SqlFormat::ArrowIpc | SqlFormat::Unspecified => StreamWriter::try_new(vec![], schema)
                .map(|writer| Self::Arrow(Box::new(writer)))
                .map_err(|error| Error::internal(&error.to_string())),
        }
    }

    fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Arrow(writer) => std::mem::take(writer.get_mut()),
            Self::Json => vec![],
        }
    }

    fn schema(&mut self, schema: &SchemaRef) -> proto::SqlSchema {
        let column = |field: &Arc<arrow::datatypes::Field>| proto::SqlColumn {
            name: field.name().clone(),
            r#type: field.data_type().to_string(),
            nullable: field.is_nullable(),
        };
        proto::SqlSchema { columns: schema.fields().iter().map(column).collect(), arrow_ipc: self.take() }
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<proto::SqlBatch, Error> {
        let rows = i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
        let bug = |error: arrow::error::ArrowError| Error::internal(&error.to_string());
        let json_rows = match self {
            Self::Json => {
                let mut rows = Vec::with_capacity(batch.num_rows());
                let push = |row: &[u8]| {
                    rows.push(String::from_utf8_lossy(row).into_owned());
                    Ok(())
                };
                output::JsonRows::new().each(batch, push).map_err(bug)?;
                rows
            }
            Self::Arrow(writer) => {
                writer.write(batch).map_err(bug)?;
                vec![]
            }
        };
        Ok(proto::SqlBatch { rows, arrow_ipc: self.take(), json_rows })
    }

    fn finish(&mut self) -> Result<Vec<u8>, Error> {
        if let Self::Arrow(writer) = self {
            writer.finish().map_err(|error| Error::internal(&error.to_string()))?;
        }
        Ok(self.take())
    }
}
