//! `POST /v1/sql`: runs a statement and streams its rows.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError, ipc::writer::StreamWriter};
use async_stream::stream;
use axum::extract::rejection::BytesRejection;
use http_body::Frame;
use http_body_util::StreamBody;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    BODY_MIB, Body, Bytes, Deserialize, Error, HeaderMap, IntoResponse as _, Query, QueryRejection, Response, State,
    StatusCode, Value, Web, accept, coding::Compressor, header, is_latest, json, problem,
};
use crate::sql::{Answer, ScalarValue, SqlError, Statement, output::JsonRows};

/// Whether `max_rows` cut the result: a header if the whole result is known before the headers are sent, otherwise a
/// trailer.
const TRUNCATED: header::HeaderName = header::HeaderName::from_static("offsetd-truncated");

/// Bytes of a result that are encoded before the headers are sent.
const HEAD_BYTES: usize = 256 * 1024;

/// The JSON form of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    statement: String,
    #[serde(default)]
    parameters: Vec<Value>,
    max_rows: Option<usize>,
    #[serde(default)]
    allow_partial: bool,
    #[serde(default)]
    freshness: String,
}

/// The query parameters of the URL.
#[derive(Debug, Deserialize)]
pub(super) struct Options {
    /// Whether CSV text that a spreadsheet would interpret as a formula is marked as text: `1` or `0`.
    #[serde(default)]
    guard: String,
}

impl Options {
    fn guards(&self) -> Result<bool, Error> {
        match self.guard.as_str() {
            "" | "0" | "false" => Ok(false),
            "1" | "true" => Ok(true),
            other => Err(Error::Invalid(format!("guard {other:?} is unknown; use 1 or 0"))),
        }
    }
}

/// The encoding of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Ndjson,
    Csv,
    Arrow,
}

impl Format {
    /// All formats, in the order of preference.
    const ALL: [Self; 4] = [Self::Json, Self::Ndjson, Self::Csv, Self::Arrow];

    /// Returns the format that the header `Accept` prefers.
    fn negotiate(headers: &HeaderMap) -> Result<Self, Error> {
        accept::best(headers, &Self::ALL, |format| format.media_type()).copied().ok_or_else(|| {
            let given: Vec<_> = headers.get_all(header::ACCEPT).iter().collect();
            let known = Self::ALL.map(Self::media_type).join(", ");
            Error::Invalid(format!("no acceptable format in Accept {given:?}; use one of {known}"))
        })
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    fn content_type(self) -> String {
        let charset = if self == Self::Csv { "; charset=utf-8" } else { "" };
        format!("{}{charset}", self.media_type())
    }
}

pub(super) async fn sql(
    State(web): State<Web>,
    options: Result<Query<Options>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let options = options.map_err(|error| Error::Invalid(error.body_text()));
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Error::Exhausted(format!(
            "the request body is longer than {BODY_MIB} MiB, a fixed limit of the server; send shorter or fewer parameters"
        )),
        _ => Error::Invalid(rejection.body_text()),
    });
    let answer = async { run(&web, options?.0.guards()?, &headers, &body?).await };
    answer.await.unwrap_or_else(|error| problem(&error))
}

async fn run(web: &Web, guard: bool, headers: &HeaderMap, body: &Bytes) -> Result<Response, Error> {
    let format = Format::negotiate(headers)?;
    let answer = web.engine.run(statement(headers, body)?).await?;
    // Encode the first rows before sending headers, so that an early failure still gets its own HTTP status.
    let snapshot = answer.stats().snapshot;
    let compressor = Compressor::new(headers);
    let mut headers = compressor.headers();
    let mut rows = Rows::new(format, guard, answer, compressor)?;
    let mut head = vec![];
    while !rows.ended && head.len() < HEAD_BYTES {
        head.extend_from_slice(&rows.next_until(&web.stop).await?);
    }
    let incomplete = snapshot.incomplete.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut set = |name: header::HeaderName, value: String| {
        header::HeaderValue::try_from(value).map(|value| headers.insert(name, value)).is_ok()
    };
    set(header::CONTENT_TYPE, format.content_type());
    set(header::HeaderName::from_static("offsetd-snapshot"), snapshot.id);
    set(header::HeaderName::from_static("offsetd-incomplete-clusters"), incomplete);
    if rows.ended {
        set(TRUNCATED, rows.answer.stats().truncated.to_string());
    } else {
        set(header::TRAILER, TRUNCATED.to_string());
    }
    // The connection polls the frames while the client reads.
    let stop = web.stop.clone();
    let frames = stream! {
        yield Ok(Frame::data(Bytes::from(head)));
        while !rows.ended {
            match rows.next_until(&stop).await {
                Ok(bytes) => yield Ok(Frame::data(bytes)),
                Err(error) => {
                    yield rows.failed(error).map(Frame::data);
                    return;
                }
            }
        }
        let truncated = if rows.answer.stats().truncated { "true" } else { "false" };
        let trailer = (TRUNCATED, header::HeaderValue::from_static(truncated));
        yield Ok(Frame::trailers(HeaderMap::from_iter([trailer])));
    };
    Ok((headers, Body::new(StreamBody::new(frames))).into_response())
}

/// Parses the body as a statement: as JSON if the content type or the first character says so, otherwise as SQL text.
fn statement(headers: &HeaderMap, body: &Bytes) -> Result<Statement, Error> {
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"application/json"));
    let text = std::str::from_utf8(body).map_err(|_| Error::Invalid("the body is not UTF-8".to_owned()))?;
    if !is_json && !text.trim_start().starts_with('{') {
        return Ok(Statement { sql: text.to_owned(), ..Statement::default() });
    }
    let request: Request = serde_json::from_str(text)
        .map_err(|error| Error::Invalid(format!("cannot parse the body as {{\"statement\": …}}: {error}")))?;
    let latest = is_latest(&request.freshness)?;
    Ok(Statement {
        sql: request.statement,
        parameters: request.parameters.into_iter().map(scalar).collect::<Result<_, _>>()?,
        // 0 means no limit, as in the Sql call.
        max_rows: request.max_rows.filter(|rows| *rows > 0),
        allow_partial: request.allow_partial,
        latest,
        timeout: None,
    })
}

fn scalar(value: Value) -> Result<ScalarValue, Error> {
    Ok(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(value) => ScalarValue::Boolean(Some(value)),
        Value::String(value) => ScalarValue::Utf8(Some(value)),
        Value::Number(number) => match number.as_i64() {
            Some(value) => ScalarValue::Int64(Some(value)),
            None => ScalarValue::Float64(number.as_f64()),
        },
        Value::Array(_) | Value::Object(_) => {
            return Err(Error::Invalid(
                "parameters: unsupported type; use numbers, strings, booleans or null".to_owned(),
            ));
        }
    })
}

/// A result that is encoded as it is produced.
struct Rows {
    answer: Answer,
    encoder: Arc<Mutex<Encoder>>,
    ended: bool,
}

impl Rows {
    fn new(format: Format, guard: bool, answer: Answer, compressor: Compressor) -> Result<Self, Error> {
        let schema = Arc::clone(&answer.schema);
        let arrow = (format == Format::Arrow).then(|| StreamWriter::try_new(vec![], &schema)).transpose();
        let arrow = arrow.map_err(|error| Error::internal(&error.to_string()))?;
        let encoder = Arc::new(Mutex::new(Encoder { format, guard, schema, arrow, compressor, started: false }));
        Ok(Self { answer, encoder, ended: false })
    }

    /// Returns the next bytes, which may be empty. Sets `ended` with the last ones.
    async fn next_until(&mut self, stop: &CancellationToken) -> Result<Bytes, Error> {
        let next = tokio::select! {
            next = self.answer.next() => next,
            () = stop.cancelled() => Some(Err(SqlError::ShuttingDown)),
        };
        let batch = next.transpose()?;
        self.ended |= batch.is_none();
        let encoder = Arc::clone(&self.encoder);
        let bytes = self.answer.write(batch, move |batch| encoder.lock().encode(batch)).await?;
        bytes.map(Bytes::from).map_err(|error| Error::internal(&error.to_string()))
    }

    /// Returns the end of a response that failed after its start. NDJSON reports the error in its last line. Other
    /// formats break off, because they must not look complete (contract §6).
    fn failed(&self, error: Error) -> Result<Bytes, Error> {
        let mut encoder = self.encoder.lock();
        if encoder.format != Format::Ndjson {
            return Err(error);
        }
        let details = json!({"code": error.code_name(), "message": error.to_string(), "id": error.id()});
        let line = format!("{}\n", json!({"error": details}));
        let ended = encoder.compressor.compress(line.into_bytes()).and_then(|mut line| {
            line.extend(encoder.compressor.finish()?);
            Ok(line)
        });
        ended.map(Bytes::from).map_err(|_| error)
    }
}

/// Encodes rows in the format of the response.
struct Encoder {
    format: Format,
    /// Marks CSV text that looks like a formula, see [`Options`].
    guard: bool,
    schema: SchemaRef,
    arrow: Option<StreamWriter<Vec<u8>>>,
    compressor: Compressor,
    started: bool,
}

impl Encoder {
    /// Encodes a batch, or the end of the result.
    fn encode(&mut self, batch: Option<&RecordBatch>) -> Result<Vec<u8>, ArrowError> {
        if batch.is_some_and(|batch| batch.num_rows() == 0) {
            return Ok(vec![]);
        }
        let first = !std::mem::replace(&mut self.started, true);
        let bytes = match self.format {
            Format::Json => json(batch, first),
            Format::Ndjson => ndjson(batch),
            Format::Csv => self.csv(batch, first),
            Format::Arrow => self.arrow(batch),
        };
        let mut compressed = self.compressor.compress(bytes?)?;
        if batch.is_none() {
            compressed.extend(self.compressor.finish()?);
        }
        Ok(compressed)
    }

    fn csv(&self, batch: Option<&RecordBatch>, first: bool) -> Result<Vec<u8>, ArrowError> {
        let (rows, mut bytes) = (JsonRows::new().escape_formulas(self.guard), vec![]);
        // An empty result also has a CSV header.
        let empty = || RecordBatch::new_empty(Arc::clone(&self.schema));
        match batch {
            Some(batch) => rows.csv(batch, first, &mut bytes)?,
            None => rows.csv(&empty(), first, &mut bytes)?,
        }
        Ok(bytes)
    }

    fn arrow(&mut self, batch: Option<&RecordBatch>) -> Result<Vec<u8>, ArrowError> {
        let Some(writer) = &mut self.arrow else { return Ok(vec![]) };
        match batch {
            Some(batch) => writer.write(batch)?,
            None => writer.finish()?,
        }
        Ok(std::mem::take(writer.get_mut()))
    }
}

/// Encodes a part of a JSON array: with its opening bracket for the first batch, and its closing bracket at the end.
fn json(batch: Option<&RecordBatch>, first: bool) -> Result<Vec<u8>, ArrowError> {
    let mut bytes = if first { b"[".to_vec() } else { vec![] };
    let Some(batch) = batch else {
        bytes.extend_from_slice(b"]\n");
        return Ok(bytes);
    };
    let mut bare = first;
    JsonRows::new().each(batch, |row| {
        let separator: &[u8] = if std::mem::replace(&mut bare, false) { b"" } else { b",\n" };
        bytes.extend_from_slice(separator);
        bytes.extend_from_slice(row);
        Ok(())
    })?;
    Ok(bytes)
}

fn ndjson(batch: Option<&RecordBatch>) -> Result<Vec<u8>, ArrowError> {
    let mut bytes = vec![];
    let Some(batch) = batch else { return Ok(bytes) };
    JsonRows::new().each(batch, |row| {
        bytes.extend_from_slice(row);
        bytes.push(b'\n');
        Ok(())
    })?;
    Ok(bytes)
}
