//! Decodes records of `__consumer_offsets` into typed values that borrow from the record's bytes.
//!
//! Decoding is pure: it does no I/O, reads no clock, writes no log, never panics, and allocates memory only for the
//! field path of an error. It takes time linear in the size of the record. A new version of a Kafka message is added as
//! a row in [`schema`], a new record type as a row in [`Record`]. The rules are those of Kafka's
//! `GroupCoordinatorRecordSerde` and `CoordinatorRecordSerde`:
//!
//! * The key starts with the record type. Keys never use the flexible encoding.
//! * A record without a value is a tombstone. A value starts with a version number, which each type counts for itself.
//! * A record of an unknown type is skipped. An unknown version is an error; its layout is never guessed.

pub mod consumer_protocol;
pub mod error;
pub mod schema;
pub mod wire;
mod record;

pub use error::{DecodeError, Fault};
pub use record::{Record, Versioned};
use schema::Message;
use wire::{Context, Reader, Wire};

/// First record type in which trailing bytes are an error. The early access layouts of these types have the same
/// version number as the released ones, and trailing bytes are what distinguishes them.
const STRICT_FROM: i16 = 3;

/// Returns the type of a record, which is the first field of every key.
///
/// # Errors
/// The key is missing or shorter than two bytes.
pub fn kind(key: Option<&[u8]>) -> Result<i16, DecodeError> {
    let key = key.ok_or_else(|| DecodeError::new(Fault::NoKey, 0).within("key"))?;
    i16::read(&mut Reader::new(key), Context::default()).map_err(|error| error.within("key"))
}

/// Returns the group id of a record, even if its value cannot be decoded: in every key, the group id follows the type.
/// Returns `None` if the key has no valid group id.
#[must_use]
pub fn group(key: Option<&[u8]>) -> Option<&str> {
    let mut reader = Reader::new(key?);
    i16::read(&mut reader, Context::default()).ok()?;
    Wire::read(&mut reader, Context::default()).ok()
}

/// Decodes one record.
///
/// # Errors
/// The record is malformed or has an unknown version. The error names the field and the byte, and concerns this record
/// only.
pub fn decode<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Result<Record<'a>, DecodeError> {
    decode_counted(key, value).map(|(record, _)| record)
}

/// Decodes one record, and returns it with the number of trailing bytes in its key and value. Kafka ignores trailing
/// bytes. This function accepts them in types 0 to 2 and rejects them in all other types.
///
/// # Errors
/// As [`decode`].
pub fn decode_counted<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Result<(Record<'a>, usize), DecodeError> {
    record::decode_kind(kind(key)?, key.unwrap_or_default(), value)
}

/// The key, the value, and the number of trailing bytes.
type KeyAndValue<K, V> = (K, Option<Versioned<V>>, usize);

fn read_record<'a, K: Wire<'a>, V: Message<'a>>(
    kind: i16,
    key: &'a [u8],
    value: Option<&'a [u8]>,
) -> Result<KeyAndValue<K, V>, DecodeError> {
    let (key, key_left) = read_key(kind, key).map_err(|error| error.within("key"))?;
    let Some(value) = value else { return Ok((key, None, key_left)) };
    let (value, value_left) = read_value(kind, value).map_err(|error| error.within("value"))?;
    Ok((key, Some(value), key_left + value_left))
}

/// Reads a key after its type. Keys are never flexible and have a single version.
fn read_key<'a, T: Wire<'a>>(kind: i16, bytes: &'a [u8]) -> Result<(T, usize), DecodeError> {
    let mut reader = Reader::new(bytes);
    i16::read(&mut reader, Context::default())?;
    let key = T::read(&mut reader, Context::default())?;
    Ok((key, left_over(kind, &reader)?))
}

fn read_value<'a, T: Message<'a>>(kind: i16, bytes: &'a [u8]) -> Result<(Versioned<T>, usize), DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = i16::read(&mut reader, Context::default()).map_err(|error| error.within("version"))?;
    let context = T::context(version).map_err(|fault| DecodeError::new(fault, 0).within("version"))?;
    let value = T::read(&mut reader, context)?;
    let context = Context { embedded: value.embeds(), ..context };
    Ok((Versioned { value, context }, left_over(kind, &reader)?))
}

fn left_over(kind: i16, reader: &Reader<'_>) -> Result<usize, DecodeError> {
    match reader.remaining() {
        left if left > 0 && kind >= STRICT_FROM => Err(reader.fail(Fault::Trailing(left))),
        left => Ok(left),
    }
}

/// Appends the key of a record: its type, then its fields.
pub fn write_key<'a>(kind: i16, key: &impl Wire<'a>, out: &mut Vec<u8>) {
    kind.write(out, Context::default());
    key.write(out, Context::default());
}

/// Appends the value of a record in the layout of `version`.
///
/// # Errors
/// [`Fault::UnknownVersion`] if the schema does not describe `version`.
pub fn write_value<'a, T: Message<'a>>(value: &T, version: i16, out: &mut Vec<u8>) -> Result<(), Fault> {
    let context = T::context(version)?;
    version.write(out, context);
    value.write(out, context);
    Ok(())
}

#[cfg(test)]
mod tests;
