//! `POST /v1/sql`: a statement in, rows out as they are made.

use std::sync::Arc;

use arrow::{array::RecordBatch, csv, error::ArrowError, ipc::writer::StreamWriter};
use futures::StreamExt as _;

use super::{
    Body, Bytes, Deserialize, Error, HeaderMap, IntoResponse as _, Response, State, Value, Web, header, problem,
};
use crate::sql::{
    Answer, ScalarValue, SqlError, Statement,
    output::{JsonRows, TIMESTAMP},
};

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

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Ndjson,
    Csv,
    Arrow,
}

impl Format {
    /// The first of the `Accept` header that is known; JSON for any.
    fn negotiate(headers: &HeaderMap) -> Result<Self, Error> {
        let Some(accept) = headers.get(header::ACCEPT) else { return Ok(Self::Json) };
        let accept = accept.to_str().map_err(|_| Error::Invalid("the Accept header is not text".to_owned()))?;
        let types = accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
        let found = types.filter_map(|media| match media {
            "application/json" | "application/*" | "*/*" | "" => Some(Self::Json),
            "application/x-ndjson" => Some(Self::Ndjson),
            "text/csv" | "text/*" => Some(Self::Csv),
            "application/vnd.apache.arrow.stream" => Some(Self::Arrow),
            _ => None,
        });
        let known = "application/json, application/x-ndjson, text/csv, application/vnd.apache.arrow.stream";
        found.into_iter().next().ok_or_else(|| Error::Invalid(format!("cannot answer {accept:?}; there are {known}")))
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

pub(super) async fn sql(State(web): State<Web>, headers: HeaderMap, body: Bytes) -> Response {
    match run(&web, &headers, &body).await {
        Ok(response) => response,
        Err(error) => problem(&error),
    }
}

async fn run(web: &Web, headers: &HeaderMap, body: &Bytes) -> Result<Response, Error> {
    let format = Format::negotiate(headers)?;
    let mut answer = web.engine.run(statement(headers, body)?).await?;
    // The first batch decides between an error with its status and an answer.
    let first = match answer.next().await {
        Some(Err(error)) => return Err(error.into()),
        Some(Ok(batch)) => Some(batch),
        None => None,
    };
    let snapshot = answer.stats().snapshot;
    let incomplete = snapshot.incomplete.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut rows = Rows::new(format, answer)?;
    let head = rows.encode(first.as_ref())?;
    let stop = web.stop.clone();
    let stream = futures::stream::unfold((rows, Some(head)), move |(mut rows, head)| {
        let stop = stop.clone();
        async move {
            if let Some(head) = head {
                return Some((Ok(head), (rows, None)));
            }
            let next = tokio::select! {
                next = rows.next() => next,
                () = stop.cancelled() => Some(Err(SqlError::ShuttingDown.into())),
            };
            next.map(|chunk| (chunk, (rows, None)))
        }
    });
    let media_type = (header::CONTENT_TYPE, format.media_type().to_owned());
    let snapshot = (header::HeaderName::from_static("offsetd-snapshot"), snapshot.id);
    let incomplete = (header::HeaderName::from_static("offsetd-incomplete-clusters"), incomplete);
    Ok(([media_type, snapshot, incomplete], Body::from_stream(stream.boxed())).into_response())
}

/// The body as a statement: JSON when it says so, else text.
fn statement(headers: &HeaderMap, body: &Bytes) -> Result<Statement, Error> {
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"application/json"));
    let text = std::str::from_utf8(body).map_err(|_| Error::Invalid("the body is not UTF-8".to_owned()))?;
    if !is_json && !text.trim_start().starts_with('{') {
        return Ok(Statement { sql: text.to_owned(), ..Statement::default() });
    }
    let request: Request = serde_json::from_str(text)
        .map_err(|error| Error::Invalid(format!("the body is not {{\"statement\": …}}: {error}")))?;
    let latest = match request.freshness.to_ascii_lowercase().as_str() {
        "" | "any" => false,
        "latest" => true,
        other => return Err(Error::Invalid(format!("freshness {other:?} is neither any nor latest"))),
    };
    Ok(Statement {
        sql: request.statement,
        parameters: request.parameters.into_iter().map(scalar).collect::<Result<_, _>>()?,
        max_rows: request.max_rows,
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
            return Err(Error::Invalid("parameters are numbers, strings, booleans or null".to_owned()));
        }
    })
}

/// An answer, encoded as it comes.
struct Rows {
    format: Format,
    answer: Answer,
    arrow: Option<StreamWriter<Vec<u8>>>,
    started: bool,
    ended: bool,
}

impl Rows {
    fn new(format: Format, answer: Answer) -> Result<Self, Error> {
        let arrow = (format == Format::Arrow).then(|| StreamWriter::try_new(vec![], &answer.schema)).transpose();
        let arrow = arrow.map_err(|error| Error::internal(&error.to_string()))?;
        Ok(Self { format, answer, arrow, started: false, ended: false })
    }

    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        if self.ended {
            return None;
        }
        match self.answer.next().await {
            Some(Err(error)) => {
                self.ended = true;
                Some(Err(error.into()))
            }
            Some(Ok(batch)) => Some(self.encode(Some(&batch))),
            None => Some(self.encode(None)),
        }
    }

    /// A batch, or the end.
    fn encode(&mut self, batch: Option<&RecordBatch>) -> Result<Bytes, Error> {
        let bug = |error: ArrowError| Error::internal(&error.to_string());
        if batch.is_some_and(|batch| batch.num_rows() == 0) {
            return Ok(Bytes::new());
        }
        let first = !std::mem::replace(&mut self.started, true);
        self.ended |= batch.is_none();
        let bytes = match self.format {
            Format::Json => json(batch, first).map_err(bug)?,
            Format::Ndjson => ndjson(batch).map_err(bug)?,
            Format::Csv => self.csv(batch, first).map_err(bug)?,
            Format::Arrow => self.arrow(batch).map_err(bug)?,
        };
        Ok(bytes.into())
    }

    fn csv(&self, batch: Option<&RecordBatch>, first: bool) -> Result<Vec<u8>, ArrowError> {
        let mut bytes = vec![];
        let builder = csv::WriterBuilder::new().with_header(first).with_timestamp_format(TIMESTAMP.to_owned());
        let mut writer = builder.build(&mut bytes);
        match batch {
            Some(batch) => writer.write(&JsonRows::new().flatten(batch)?)?,
            // The header must stand above an empty answer too.
            None if first => {
                let empty = RecordBatch::new_empty(Arc::clone(&self.answer.schema));
                writer.write(&JsonRows::new().flatten(&empty)?)?;
            }
            None => {}
        }
        drop(writer);
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

/// A part of one array: its opening with the first batch, its closing without one.
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
