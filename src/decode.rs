//! Bytes of `__consumer_offsets` → typed records, borrowed from the bytes.
//!
//! Pure: no I/O, no clock, no logging, no panic, and no memory (but for the path in an error). Work
//! is linear in the record's bytes. A new Kafka version is a row in [`schema`], a new record type
//! one in [`Record`]. The rules are those of Kafka's
//! `GroupCoordinatorRecordSerde` and `CoordinatorRecordSerde`:
//!
//! * the key starts with the record type, which is never flexible;
//! * no value is a tombstone; a value starts with a version that is scoped to the type;
//! * an unknown type is skipped, an unknown version is an error: nothing is guessed.

pub mod consumer_protocol;
pub mod error;
pub mod schema;
pub mod wire;
mod record;

pub use error::{DecodeError, Fault};
pub use record::{Record, Versioned};
use schema::Message;
use wire::{Context, Reader, Wire};

/// Of types from here on, left over bytes are an error: layouts of the early access, which have the
/// same version number, are told from the released ones by them.
const STRICT_FROM: i16 = 3;

/// The record's type, which every key starts with.
///
/// # Errors
/// A key that is missing or shorter than two bytes.
pub fn kind(key: Option<&[u8]>) -> Result<i16, DecodeError> {
    let key = key.ok_or_else(|| DecodeError::new(Fault::NoKey, 0).within("key"))?;
    i16::read(&mut Reader::new(key), Context::default()).map_err(|error| error.within("key"))
}

/// The group of a record, also of one whose value does not decode: the keys of all types start with
/// it. `None` if this one does not.
#[must_use]
pub fn group(key: Option<&[u8]>) -> Option<&str> {
    let mut reader = Reader::new(key?);
    i16::read(&mut reader, Context::default()).ok()?;
    Wire::read(&mut reader, Context::default()).ok()
}

/// Decodes one record.
///
/// # Errors
/// What is wrong, in which field, at which byte. Concerns this record alone.
pub fn decode<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Result<Record<'a>, DecodeError> {
    decode_counted(key, value).map(|(record, _)| record)
}

/// Decodes one record, and counts the bytes left over in its key and value. Kafka ignores them; so
/// does this for types 0 to 2, and refuses the others.
///
/// # Errors
/// As [`decode`].
pub fn decode_counted<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Result<(Record<'a>, usize), DecodeError> {
    record::decode_kind(kind(key)?, key.unwrap_or_default(), value)
}

/// Key, value, and how many bytes were left over.
type Parts<K, V> = (K, Option<Versioned<V>>, usize);

fn read_record<'a, K: Wire<'a>, V: Message<'a>>(
    kind: i16,
    key: &'a [u8],
    value: Option<&'a [u8]>,
) -> Result<Parts<K, V>, DecodeError> {
    let (key, more) = read_key(kind, key).map_err(|error| error.within("key"))?;
    let Some(value) = value else { return Ok((key, None, more)) };
    let (value, left) = read_value(kind, value).map_err(|error| error.within("value"))?;
    Ok((key, Some(value), more + left))
}

/// Key fields are never flexible and have one version.
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

#[cfg(test)]
mod tests;
