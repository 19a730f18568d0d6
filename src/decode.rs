//! Bytes of `__consumer_offsets` → typed records, borrowed from the bytes.
//!
//! Pure: no I/O, no clock, no logging, no panic, and no memory (but for the path in an error). A
//! new Kafka version is a row in [`schema`]. The rules are those of Kafka's
//! `GroupCoordinatorRecordSerde` and `CoordinatorRecordSerde`:
//!
//! * the key starts with the record type, which is never flexible;
//! * no value is a tombstone; a value starts with a version that is scoped to the type;
//! * an unknown type is skipped, an unknown version is an error: nothing is guessed.

use serde::ser::{Serialize, SerializeMap as _, Serializer};

pub mod consumer_protocol;
pub mod error;
pub mod schema;
pub mod wire;

pub use error::{DecodeError, Fault};
use schema::{GroupMetadataKey, GroupMetadataValue, Message, OffsetCommitKey, OffsetCommitValue};
use wire::{Context, Json, Reader, Wire};

/// A value with the version that it was written in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Versioned<T> {
    /// The fields.
    pub value: T,
    /// Its layout.
    pub context: Context,
}

/// One record. A value of `None` is a tombstone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Record<'a> {
    /// Types 0 and 1: a committed offset.
    OffsetCommit {
        /// 0 before Kafka 0.9, else 1. Both name the same offset.
        kind: i16,
        /// Whose offset.
        key: OffsetCommitKey<'a>,
        /// The offset.
        value: Option<Versioned<OffsetCommitValue<'a>>>,
    },
    /// Type 2: a classic group. A tombstone drops membership only, never offsets.
    GroupMetadata {
        /// Which group.
        key: GroupMetadataKey<'a>,
        /// Its members.
        value: Option<Versioned<GroupMetadataValue<'a>>>,
    },
    /// A type without a schema here: to be counted and skipped.
    Unknown {
        /// The key's type.
        kind: i16,
    },
}

/// The record's type, which every key starts with.
///
/// # Errors
/// A key that is missing or shorter than two bytes.
pub fn kind(key: Option<&[u8]>) -> Result<i16, DecodeError> {
    let key = key.ok_or_else(|| DecodeError::new(Fault::NoKey, 0).within("key"))?;
    i16::read(&mut Reader::new(key), Context::default()).map_err(|error| error.within("key"))
}

/// Decodes one record. Trailing bytes of the types here are ignored, as Kafka ignores them.
///
/// # Errors
/// What is wrong, in which field, at which byte. Concerns this record alone.
pub fn decode<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Result<Record<'a>, DecodeError> {
    let kind = kind(key)?;
    let mut reader = Reader::new(key.unwrap_or_default());
    match kind {
        0 | 1 => Ok(Record::OffsetCommit { kind, key: read_key(&mut reader)?, value: read_value(value)? }),
        2 => {
            let key = read_key(&mut reader)?;
            let mut value: Option<Versioned<GroupMetadataValue<'_>>> = read_value(value)?;
            if let Some(value) = &mut value {
                value.context.embedded = value.value.protocol_type == "consumer";
            }
            Ok(Record::GroupMetadata { key, value })
        }
        kind => Ok(Record::Unknown { kind }),
    }
}

/// Key fields are never flexible and have one version.
fn read_key<'a, T: Wire<'a>>(reader: &mut Reader<'a>) -> Result<T, DecodeError> {
    let read = |reader: &mut Reader<'a>| {
        i16::read(reader, Context::default())?;
        T::read(reader, Context::default())
    };
    read(reader).map_err(|error| error.within("key"))
}

fn read_value<'a, T: Message<'a>>(value: Option<&'a [u8]>) -> Result<Option<Versioned<T>>, DecodeError> {
    let Some(bytes) = value else { return Ok(None) };
    let read = || {
        let mut reader = Reader::new(bytes);
        let version = i16::read(&mut reader, Context::default()).map_err(|error| error.within("version"))?;
        let context = T::context(version).map_err(|fault| DecodeError::new(fault, 0).within("version"))?;
        Ok(Versioned { value: T::read(&mut reader, context)?, context })
    };
    read().map(Some).map_err(|error: DecodeError| error.within("value"))
}

/// Appends the key of a record: its type and fields.
pub fn write_key<'a>(kind: i16, key: &impl Wire<'a>, out: &mut Vec<u8>) {
    kind.write(out, Context::default());
    key.write(out, Context::default());
}

/// Appends the value of a record in the layout of `version`.
///
/// # Errors
/// [`Fault::UnknownVersion`].
pub fn write_value<'a, T: Message<'a>>(value: &T, version: i16, out: &mut Vec<u8>) -> Result<(), Fault> {
    let context = T::context(version)?;
    version.write(out, context);
    value.write(out, context);
    Ok(())
}

/// The JSON of `offsetd decode` (contract §7).
impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::OffsetCommit { kind, key, value } => record_json(*kind, "OffsetCommit", key, value, serializer),
            Self::GroupMetadata { key, value } => record_json(2, "GroupMetadata", key, value, serializer),
            Self::Unknown { kind } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("type", kind)?;
                map.serialize_entry("unknown", &true)?;
                map.end()
            }
        }
    }
}

fn record_json<'a, S: Serializer>(
    kind: i16,
    name: &str,
    key: &impl Wire<'a>,
    value: &Option<Versioned<impl Wire<'a>>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("type", &kind)?;
    map.serialize_entry("name", name)?;
    map.serialize_entry("key", &Json(*key, Context::default()))?;
    match value {
        None => map.serialize_entry("value", &())?,
        Some(Versioned { value, context }) => {
            map.serialize_entry("version", &context.version)?;
            map.serialize_entry("value", &Json(*value, *context))?;
        }
    }
    map.end()
}

#[cfg(test)]
mod tests;
