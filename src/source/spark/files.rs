//! The files of a checkpoint. Spark writes each of them once and never changes it.
//!
//! `metadata` has the id of the query. A file in `offsets` has the end offsets of a batch, by source; it is written
//! before the batch starts (`OffsetSeqLog`). The file of the same name in `commits` is written after the batch
//! (`CommitLog`); only its existence matters. `sources/SOURCE/0` has the offsets at which a Kafka source starts
//! (`KafkaSourceInitialOffsetWriter`).

use serde::Deserialize;

use crate::model::Millis;

/// The newest version of the offset log that is known. Version 2 names the sources.
const NEWEST_VERSION: u64 = 2;
/// Maximum number of sources of a query. A file with more is malformed.
pub(super) const MAX_SOURCES: usize = 10_000;
/// Maximum length of the id of a query, in bytes. Spark writes UUIDs.
const MAX_ID_BYTES: usize = 200;
/// What a file says of a source without offset.
const NO_OFFSET: &str = "-";

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FileError {
    #[error("not a text")]
    NotText,
    #[error("no version in its first line")]
    NoVersion,
    #[error("version {0} is unknown")]
    Version(u64),
    #[error("more than {MAX_SOURCES} sources")]
    TooManySources,
    #[error("no id of a query")]
    NoId,
    #[error("no source id in a line")]
    NoSourceId,
}

/// A file in `offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OffsetFile<'a> {
    /// The start of the batch, if the file has it.
    pub(super) started_at: Option<Millis>,
    /// The offset of each source that has one.
    pub(super) sources: Vec<&'a str>,
}

/// The second line of a file in `offsets`, as far as it is used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchMetadata {
    batch_timestamp_ms: Option<Millis>,
}

impl<'a> OffsetFile<'a> {
    /// Parses the content of a file.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, FileError> {
        let text = std::str::from_utf8(bytes).map_err(|_| FileError::NotText)?;
        let mut lines = text.lines();
        let version = parse_version(lines.next().unwrap_or_default())?;
        let metadata = lines.next().unwrap_or_default();
        let metadata = serde_json::from_str::<BatchMetadata>(metadata).ok();
        let mut sources = vec![];
        for line in lines {
            let offset = match version {
                1 => line,
                _ => line.split_once(':').ok_or(FileError::NoSourceId)?.1,
            };
            if sources.len() == MAX_SOURCES {
                return Err(FileError::TooManySources);
            }
            if offset != NO_OFFSET && !offset.is_empty() {
                sources.push(offset);
            }
        }
        // 0 stands for an unknown time.
        let started_at = metadata.and_then(|metadata| metadata.batch_timestamp_ms).filter(|at| *at > 0);
        Ok(Self { started_at, sources })
    }
}

/// Returns the initial offset of a source, from the content of `sources/SOURCE/0`.
pub(super) fn parse_initial(bytes: &[u8]) -> Result<&str, FileError> {
    // Kafka's file starts with a zero byte, for the sake of Spark 2.1.0, which wrote no version.
    let bytes = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| FileError::NotText)?;
    match text.split_once('\n') {
        Some((version, offset)) if version.starts_with('v') => parse_version(version).map(|_| offset),
        _ => Ok(text),
    }
}

/// Returns the id of the query, from the content of `metadata`.
pub(super) fn parse_id(bytes: &[u8]) -> Result<String, FileError> {
    #[derive(Deserialize)]
    struct StreamMetadata {
        id: String,
    }
    let metadata: StreamMetadata = serde_json::from_slice(bytes).map_err(|_| FileError::NoId)?;
    let is_id = (1..=MAX_ID_BYTES).contains(&metadata.id.len()) && !metadata.id.contains(char::is_control);
    is_id.then_some(metadata.id).ok_or(FileError::NoId)
}

/// Returns the number of a batch from the name of its file. Other files, such as `.1.crc`, have none.
pub(super) fn parse_number(name: &str) -> Option<u64> {
    let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    // The names of files have no leading zeros, so that a name and its number are equivalent.
    is_number.then(|| name.parse().ok()).flatten().filter(|number: &u64| number.to_string() == name)
}

/// Returns whether a name is that of a checkpoint file of DStreams: `checkpoint-<ms>`.
pub(super) fn is_dstream_file(name: &str) -> bool {
    let number = name.strip_prefix("checkpoint-").map(|rest| rest.strip_suffix(".bk").unwrap_or(rest));
    number.is_some_and(|number| parse_number(number).is_some())
}

fn parse_version(line: &str) -> Result<u64, FileError> {
    let version = line.trim().strip_prefix('v').and_then(|version| version.parse().ok());
    let version = version.filter(|version| *version > 0).ok_or(FileError::NoVersion)?;
    if version > NEWEST_VERSION { Err(FileError::Version(version)) } else { Ok(version) }
}

#[cfg(test)]
mod tests;
