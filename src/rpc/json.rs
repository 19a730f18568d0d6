//! Protobuf messages as JSON: the field names of the gRPC interface, unknown as null, times RFC 3339, 64-bit integers
//! as numbers below 2^53, else as strings.
//!
//! The messages derive `Serialize` ([`super::proto`]); `build.rs` gives the fields whose types serde does not know, or not
//! in this form, the functions here by their types in the .proto.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::{
    model,
    rpc::proto::{LagUnknown, OffsetEntry},
};

/// A message as JSON, with its fields in alphabetical order.
#[must_use]
pub fn view(message: &impl Serialize) -> Value {
    // A message has no keys but text, so that this does not fail.
    serde_json::to_value(message).unwrap_or_default()
}

/// RFC 3339, UTC. `None` when unset or beyond the calendar.
pub fn time(at: Option<&prost_types::Timestamp>) -> Option<String> {
    let at = at?;
    let at = DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?)?;
    Some(at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// A protobuf duration, when it is one and not negative.
pub fn duration(time: &prost_types::Duration) -> Option<Duration> {
    Some(Duration::new(u64::try_from(time.seconds).ok()?, u32::try_from(time.nanos).ok()?))
}

/// The name in SQL, JSON and metrics; `None` when the lag is known.
pub fn lag_unknown(entry: &OffsetEntry) -> Option<&'static str> {
    lag_unknown_name(entry.lag_unknown())
}

fn lag_unknown_name(reason: LagUnknown) -> Option<&'static str> {
    let reason = match reason {
        LagUnknown::Unspecified => return None,
        LagUnknown::EndUnknown => model::LagUnknown::EndUnknown,
        LagUnknown::NotAuthorized => model::LagUnknown::NotAuthorized,
        LagUnknown::AheadOfLog => model::LagUnknown::AheadOfLog,
        LagUnknown::TopicRecreated => model::LagUnknown::TopicRecreated,
        LagUnknown::TopicDeleted => model::LagUnknown::TopicDeleted,
    };
    Some(reason.as_str())
}

/// The first integer that a double cannot tell from its neighbour.
const EXACT: u64 = 1 << 53;

/// A number below 2^53, else text: readers of JSON often have only doubles.
#[must_use]
pub fn int(value: i64) -> Value {
    if value.unsigned_abs() < EXACT { json!(value) } else { json!(value.to_string()) }
}

/// As [`int`].
#[must_use]
pub fn uint(value: u64) -> Value {
    if value < EXACT { json!(value) } else { json!(value.to_string()) }
}

/// The functions for `serialize_with`, by the type of the field.
pub(super) mod field {
    use super::{LagUnknown, Serialize as _, Serializer};

    pub(crate) fn int64<S: Serializer>(value: &(impl Copy + Into<Option<i64>>), to: S) -> Result<S::Ok, S::Error> {
        (*value).into().map(super::int).serialize(to)
    }

    pub(crate) fn uint64<S: Serializer>(value: &(impl Copy + Into<Option<u64>>), to: S) -> Result<S::Ok, S::Error> {
        (*value).into().map(super::uint).serialize(to)
    }

    pub(crate) fn timestamp<S: Serializer>(at: &Option<prost_types::Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        super::time(at.as_ref()).serialize(to)
    }

    pub(crate) fn seconds<S: Serializer>(time: &Option<prost_types::Duration>, to: S) -> Result<S::Ok, S::Error> {
        time.as_ref().and_then(super::duration).map(|time| time.as_secs_f64()).serialize(to)
    }

    pub(crate) fn lag_unknown<S: Serializer>(reason: &i32, to: S) -> Result<S::Ok, S::Error> {
        super::lag_unknown_name(LagUnknown::try_from(*reason).unwrap_or_default()).serialize(to)
    }
}

#[cfg(test)]
mod tests;
