//! `offsetd decode`: decodes records of `__consumer_offsets` and writes each as one line of JSON.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, IsTerminal as _, Write},
    ops::ControlFlow,
};

use clap::Args;
use serde::Serialize;

use super::{Failure, output};
use crate::{
    config::{Config, Flags, Layers, Property},
    decode::{DecodeError, Record, decode, group, kind},
    model::Millis,
    source::kafka::{
        self,
        log::{LogRecord, LogScope},
    },
};

pub(super) const EXAMPLES: &str = "\
Without --bootstrap-servers, lines of HEXKEY<TAB>HEXVALUE are read from standard input; an empty value or '-' is a \
tombstone. A line in another form ends the command with exit status 2. A record that cannot be decoded becomes an \
object with the field `error`.

With --bootstrap-servers, the topic __consumer_offsets is read from its start to its current end, and each object \
contains the partition, the offset and the timestamp of the record. The command joins no group and writes nothing to \
Kafka.

Examples:
  printf '00010002673100017400000003\\t-\\n' | offsetd decode
  offsetd decode --bootstrap-servers localhost:9092 --group billing
  offsetd decode --bootstrap-servers localhost:9092 --follow | jq 'select(.name == \"GroupMetadata\")'";

/// Arguments of `decode`.
#[derive(Clone, Debug, Default, Args)]
pub struct DecodeArgs {
    /// Read __consumer_offsets of this cluster.
    #[arg(long, value_name = "HOST:PORT,…")]
    pub bootstrap_servers: Option<String>,
    /// Show only the records of this group.
    #[arg(long, value_name = "ID", requires = "bootstrap_servers")]
    pub group: Option<String>,
    /// Wait for new records at the end of the topic, until Ctrl-C.
    #[arg(long, requires = "bootstrap_servers")]
    pub follow: bool,
    /// A librdkafka property. Set passwords in the environment: OFFSETD_CLUSTERS_DEFAULT_KAFKA_SASL_PASSWORD.
    #[arg(short = 'X', value_name = "KEY=VALUE", requires = "bootstrap_servers")]
    pub kafka: Vec<Property>,
}

/// Decodes standard input or the topic of a cluster.
///
/// # Errors
/// Returns [`Failure::Input`] for a malformed line, and other failures if reading or writing fails.
pub(super) fn run(args: &DecodeArgs, env: &BTreeMap<String, String>) -> Result<(), Failure> {
    match &args.bootstrap_servers {
        None => decode_lines(io::stdin().lock(), &mut output(), io::stdout().is_terminal()),
        Some(bootstrap_servers) => decode_log(args, bootstrap_servers, env, &mut output()),
    }
}

/// Decodes `__consumer_offsets` of a cluster.
fn decode_log(
    args: &DecodeArgs,
    bootstrap_servers: &str,
    env: &BTreeMap<String, String>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    // Only the variables for the login are used: the other OFFSETD_ variables configure a server.
    let login = ["OFFSETD_CLUSTERS_DEFAULT_KAFKA_", "OFFSETD_CLUSTERS_DEFAULT_OAUTH_", "AWS_", "HOME"];
    let env = env.iter().filter(|(name, _)| login.iter().any(|prefix| name.starts_with(prefix)));
    let env = env.map(|(name, value)| (name.clone(), value.clone())).collect();
    let flags =
        Flags { bootstrap_servers: Some(bootstrap_servers.to_owned()), kafka: args.kafka.clone(), ..Flags::default() };
    let config = Config::load(Layers { flags: &flags, env: &env, check_property: Some(&kafka::check_property) })?;
    let cluster = config.config.clusters.first().ok_or_else(|| Failure::Usage("no cluster".to_owned()))?;
    let group_id = args.group.as_deref();
    let mut written = Ok(());
    kafka::log::read(cluster, LogScope { group: group_id, follow: args.follow }, |records| {
        written = records
            .filter(|record| group_id.is_none() || group(record.key) == group_id)
            .try_for_each(|record| write_record(out, record.key, record.value, Some(position(&record))))
            .and_then(|()| out.flush().map_err(Failure::from));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .map_err(|error| Failure::Command(format!("cannot read from {bootstrap_servers}: {error}")))?;
    written
}

/// The position of a record in `__consumer_offsets`.
#[derive(Serialize)]
struct RecordPosition {
    partition: i32,
    offset: i64,
    timestamp: Option<Millis>,
}

fn position(record: &LogRecord<'_>) -> RecordPosition {
    RecordPosition { partition: record.log_partition, offset: record.log_offset, timestamp: record.at }
}

/// One line of the output.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    content: Content<'a>,
    #[serde(flatten)]
    position: Option<RecordPosition>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Record(&'a Record<'a>),
    Bad { r#type: Option<i16>, error: String, field: &'a str, at: usize },
}

/// Decodes every line.
///
/// # Errors
/// Returns [`Failure::Input`] with the number of the first line that is not `HEXKEY<TAB>HEXVALUE`. The lines before it
/// have been written.
fn decode_lines(mut lines: impl BufRead, out: &mut impl Write, flush_lines: bool) -> Result<(), Failure> {
    let (mut line, mut number) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        number += 1;
        let read = lines.read_until(b'\n', &mut line);
        if read.map_err(|error| Failure::Command(format!("cannot read line {number}: {error}")))? == 0 {
            break;
        }
        let Some((key, value)) = parse(&line) else {
            out.flush()?;
            return Err(Failure::Input(format!("line {number} is not HEXKEY<TAB>HEXVALUE")));
        };
        write_record(out, key.as_deref(), value.as_deref(), None)?;
        if flush_lines {
            out.flush()?;
        }
    }
    out.flush()?;
    Ok(())
}

/// Decodes a record and writes it, or the reason why it cannot be decoded, as one line of JSON.
fn write_record(
    out: &mut impl Write,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    position: Option<RecordPosition>,
) -> Result<(), Failure> {
    let decoded = decode(key, value);
    let content = match &decoded {
        Ok(record) => Content::Record(record),
        Err(error) => bad(key, error),
    };
    serde_json::to_writer(&mut *out, &Line { content, position }).map_err(io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(())
}

fn bad<'a>(key: Option<&[u8]>, error: &'a DecodeError) -> Content<'a> {
    Content::Bad { r#type: kind(key).ok(), error: error.fault().to_string(), field: error.field(), at: error.at() }
}

type Bytes = Option<Vec<u8>>;

/// Parses a line into key and value, each `None` if it is empty or `-`. Returns `None` for a malformed line.
fn parse(line: &[u8]) -> Option<(Bytes, Bytes)> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let (key, value) = line.split_at_checked(tab)?;
    Some((hex(key)?, hex(value.get(1..)?)?))
}

/// Parses hexadecimal digits. Returns `Some(None)` if there is no value, and `None` if the text is malformed.
fn hex(text: &[u8]) -> Option<Bytes> {
    if text.is_empty() || text == b"-" {
        return Some(None);
    }
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect::<Option<Vec<u8>>>().map(Some)
}

#[cfg(test)]
mod tests;
