//! The parser of one line of an import file: an offset, or its deletion.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{
    config,
    model::{Millis, is_topic_name, shown},
};

/// A parsed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) group: Cow<'a, str>,
    pub(super) topic: Cow<'a, str>,
    pub(super) partition: i32,
    /// The commit, or `None` if the offset is deleted.
    pub(super) commit: Option<Commit<'a>>,
}

/// A committed offset with its time and metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit<'a> {
    pub(super) committed_offset: i64,
    pub(super) committed_at: Option<Millis>,
    pub(super) metadata: Cow<'a, str>,
}

/// Why a line is rejected. The line's own text is not included, since it may hold anything, such as a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineError {
    #[error("longer than 64 KiB")]
    TooLong,
    #[error("without a line end, in a file that was replaced or truncated")]
    Unfinished,
    #[error("not a JSON object (column {0})")]
    NotJson(usize),
    #[error("a field occurs twice, or has a value of another type (column {0})")]
    Type(usize),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    group_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    partition: Option<i32>,
    committed_offset: Option<i64>,
    committed_at: Option<Timestamp>,
    #[serde(borrow)]
    metadata: Option<Cow<'a, str>>,
    deleted: Option<bool>,
}

/// A time in milliseconds since 1970, or in RFC 3339.
#[derive(Deserialize)]
#[serde(untagged)]
enum Timestamp {
    Millis(Millis),
    Text(String),
}

impl Timestamp {
    fn millis(&self) -> Option<Millis> {
        let millis = match self {
            Self::Millis(millis) => *millis,
            Self::Text(text) => chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis(),
        };
        shown(millis)
    }
}

/// Parses a line. Returns `None` for a blank one.
///
/// # Errors
/// Returns why the line is rejected.
pub(super) fn parse<'a>(bytes: &'a [u8], source: &config::Source) -> Result<Option<Line<'a>>, LineError> {
    let bytes = bytes.trim_ascii();
    if bytes.is_empty() {
        return Ok(None);
    }
    // Serde would accept an array as the fields in their order.
    if !bytes.starts_with(b"{") {
        return Err(LineError::NotJson(1));
    }
    let fields: Fields<'a> = serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => LineError::Type(error.column()),
        _ => LineError::NotJson(error.column()),
    })?;
    let group = fields.group_id.unwrap_or_else(|| Cow::Owned(source.group.clone()));
    let topic = fields.topic.unwrap_or_else(|| Cow::Owned(source.topic.clone()));
    if group.is_empty() {
        return Err(LineError::Missing("group_id"));
    }
    if topic.is_empty() {
        return Err(LineError::Missing("topic"));
    }
    if !is_topic_name(&topic) {
        return Err(LineError::OutOfRange("topic"));
    }
    let partition = fields.partition.ok_or(LineError::Missing("partition"))?;
    if partition < 0 {
        return Err(LineError::OutOfRange("partition"));
    }
    let commit = if fields.deleted == Some(true) {
        None
    } else {
        let offset = fields.committed_offset.ok_or(LineError::Missing("committed_offset"))?;
        let at = fields.committed_at.map(|at| at.millis().ok_or(LineError::OutOfRange("committed_at")));
        Some(Commit {
            committed_offset: source.next(offset).ok_or(LineError::OutOfRange("committed_offset"))?,
            committed_at: at.transpose()?,
            metadata: fields.metadata.unwrap_or_default(),
        })
    };
    Ok(Some(Line { group, topic, partition, commit }))
}

#[cfg(test)]
mod tests;
