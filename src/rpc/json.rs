//! Protobuf messages as JSON. Field names are those of the gRPC interface, unknown values are null, times are RFC 3339,
//! and 64-bit integers are numbers below 2^53 and strings otherwise.
//!
//! The messages derive `Serialize` ([`super::proto`]). For fields of types that serde does not support, or not in this
//! form, `build.rs` selects a function of this module by the type in the .proto.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::{
    model,
    rpc::proto::{LagUnknown, OffsetEntry},
};

/// Returns a message as JSON, with its fields in alphabetical order.
#[must_use]
pub fn view(message: &impl Serialize) -> Value {
    // Cannot fail: all map keys of messages are strings.
    serde_json::to_value(message).unwrap_or_default()
}

/// Returns a time as RFC 3339 in UTC; `None` if it is unset or out of range.
pub fn time(at: Option<&prost_types::Timestamp>) -> Option<String> {
    let at = at?;
    let at = DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?)?;
    Some(at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// Returns a protobuf duration; `None` if it is negative or invalid.
pub fn duration(time: &prost_types::Duration) -> Option<Duration> {
    Some(Duration::new(u64::try_from(time.seconds).ok()?, u32::try_from(time.nanos).ok()?))
}

/// Returns the name of the reason in SQL, JSON and metrics; `None` if the lag is known.
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

/// The lowest integer that a double cannot distinguish from its successor.
const EXACT: u64 = 1 << 53;

/// Returns a number below 2^53, otherwise a string, because many JSON parsers only have doubles.
#[must_use]
pub fn int(value: i64) -> Value {
    if value.unsigned_abs() < EXACT { json!(value) } else { json!(value.to_string()) }
}

/// Returns an unsigned integer like [`int`].
#[must_use]
pub fn uint(value: u64) -> Value {
    if value < EXACT { json!(value) } else { json!(value.to_string()) }
}

/// Functions for `serialize_with`, by the type of the field.
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
