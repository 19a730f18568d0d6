//! The rows of a query: cells of text, parsed into offsets.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
};

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};

use super::query::{COLUMNS, MAX_CELL_CHARS};
use crate::{
    config,
    model::{Millis, is_topic_name, shown},
    source::polled::{ListingRound, Rejected, StoredOffset},
};

/// The cells of a row, in the order of [`COLUMNS`]. `None` is NULL.
pub(super) type Cells<'a> = [Option<&'a str>; COLUMNS.len()];

/// Numbers below this are times in seconds, others in milliseconds. As milliseconds, it is in March 1973; as seconds,
/// in the year 5138.
const SECONDS_BELOW: f64 = 1e11;

/// Passes the rows of a query to a listing.
pub(super) struct RowReader<'a, 'b> {
    round: &'a mut ListingRound<'b>,
    common: &'a config::Source,
    hasher: &'a RandomState,
    /// Hashes of the keys of which the last listing found several rows.
    known_duplicates: &'a HashSet<u64>,
    /// Hashes of the keys found.
    keys: HashSet<u64>,
    duplicates: HashSet<u64>,
}

impl<'a, 'b> RowReader<'a, 'b> {
    pub(super) fn new(
        round: &'a mut ListingRound<'b>,
        common: &'a config::Source,
        (hasher, known_duplicates): (&'a RandomState, &'a HashSet<u64>),
    ) -> Self {
        Self { round, common, hasher, known_duplicates, keys: HashSet::new(), duplicates: HashSet::new() }
    }

    /// Passes a row to the listing. `None` is a row with a cell that is not UTF-8.
    pub(super) fn add(&mut self, cells: Option<Cells<'_>>) {
        let Some(cells) = cells else { return self.round.reject(Rejected::Malformed, "a row that is not UTF-8") };
        let Some(offset) = parse(&cells, self.common) else {
            return self.round.reject(Rejected::Malformed, &shown_key(&cells, self.common));
        };
        // Which of several rows of a key comes first is up to the database and may change, so that none is taken.
        let key = self.hasher.hash_one((offset.group, offset.topic, offset.partition));
        if !self.keys.insert(key) {
            self.duplicates.insert(key);
            self.round.reject(Rejected::Ambiguous, &shown_key(&cells, self.common));
        } else if !self.known_duplicates.contains(&key) {
            self.round.found(&offset);
        }
    }

    /// Returns the hashes of the keys with several rows.
    pub(super) fn finish(self) -> HashSet<u64> {
        self.duplicates
    }
}

/// Parses a row. Returns `None` if it is malformed.
pub(super) fn parse<'a>(cells: &Cells<'a>, common: &'a config::Source) -> Option<StoredOffset<'a>> {
    let is_too_long = |cell: &&str| cell.len() > MAX_CELL_CHARS && cell.chars().count() > MAX_CELL_CHARS;
    if cells.iter().flatten().any(is_too_long) {
        return None;
    }
    let [_, _, partition, offset, at, metadata] = *cells;
    let (group, topic) = names(cells, common);
    // A group id from a binary column or in UTF-16 has control characters.
    if group.is_empty() || group.contains(char::is_control) || !is_topic_name(topic) {
        return None;
    }
    Some(StoredOffset {
        group,
        topic,
        partition: number(partition?)?,
        committed_offset: common.next(number(offset?)?)?,
        committed_at: at.map_or(Some(None), time)?,
        metadata: metadata.unwrap_or_default(),
        ..StoredOffset::default()
    })
}

/// Returns group and topic of a row. If the query has no such column, the setting applies; if it has, the setting is
/// empty.
fn names<'a>([group, topic, ..]: &Cells<'a>, common: &'a config::Source) -> (&'a str, &'a str) {
    (group.unwrap_or(&common.group), topic.unwrap_or(&common.topic))
}

/// Returns group, topic and, if it is valid, partition of a row as shown to operators.
fn shown_key(cells: &Cells<'_>, common: &config::Source) -> String {
    let (group, topic) = names(cells, common);
    match cells.get(2).copied().flatten().and_then(number::<i32>) {
        Some(partition) => format!("{group}/{topic}/{partition}"),
        None => format!("{group}/{topic}"),
    }
}

/// Parses a number that consists of digits, with white space around it.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Parses a time: seconds or milliseconds since 1970, or a date with time and, optionally, offset from UTC. Returns
/// `Some(None)` for the values by which databases express an unknown time, and `None` for a malformed one.
fn time(text: &str) -> Option<Option<Millis>> {
    let text = text.trim();
    if text.starts_with("0000-00-00") || matches!(text, "infinity" | "-infinity") {
        return Some(None);
    }
    let at = match text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        true => since_1970(text)?,
        false => date(text)?,
    };
    // Applications write 0 for an unknown time.
    if at == 0 { Some(None) } else { shown(at).map(Some) }
}

fn since_1970(text: &str) -> Option<Millis> {
    let number: f64 = text.parse().ok()?;
    let millis = if number < SECONDS_BELOW { number * 1000.0 } else { number };
    // A cast from a float saturates. Times beyond what can be shown are rejected.
    #[expect(clippy::cast_possible_truncation, reason = "the fraction of a millisecond is dropped")]
    Some(millis.round() as Millis)
}

fn date(text: &str) -> Option<Millis> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.timestamp_millis());
    }
    // PostgreSQL writes the offset as +00, +0530 or +05:30.
    if let Ok(at) = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z") {
        return Some(at.timestamp_millis());
    }
    let without_offset = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f"))
        .or_else(|_| NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|date| date.and_time(NaiveTime::MIN)));
    Some(without_offset.ok()?.and_utc().timestamp_millis())
}

#[cfg(test)]
mod tests;
