//! Reads and writes Kafka's primitive types in the encoding of Kafka's message generator (KIP-482).
//!
//! Reading does not allocate: strings and byte fields borrow from the record. An array is validated once and decoded
//! again, element by element, whenever a caller iterates over it ([`Array`]).

use serde::ser::{Serialize, Serializer};

use super::error::{DecodeError, Fault};
use crate::model::Uuid;

mod array;
mod reader;

pub use array::Array;
use reader::LengthWidth;
pub use reader::Reader;

/// Maximum length of a string in bytes. Kafka rejects longer strings, in the compact form too (`MessageDataGenerator`).
const MAX_STRING_BYTES: usize = 0x7fff;

/// The version and encoding that determine the layout of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Version of the record's value.
    pub version: i16,
    /// Whether the layout has compact lengths and tag sections (KIP-482).
    pub flexible: bool,
    /// Whether byte fields contain the embedded consumer protocol. This affects only the JSON form.
    pub embedded: bool,
}

/// A type that has a binary encoding and a JSON form.
pub trait Wire<'a>: Copy {
    /// Reads one value.
    ///
    /// # Errors
    /// The bytes are malformed; the error names the byte.
    fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, DecodeError>;
    /// Appends the encoded value, in the form that [`Wire::read`] reads.
    fn write(&self, out: &mut Vec<u8>, context: Context);
    /// Serializes the value as JSON, in the form of the contract's §7.
    ///
    /// # Errors
    /// Those of the serializer.
    fn json<S: Serializer>(&self, context: Context, serializer: S) -> Result<S::Ok, S::Error>;
    /// Returns whether the record contains the field. False is possible only where the version does not decide it.
    fn is_present(&self) -> bool {
        true
    }
}

/// A value with its context, to be serialized as JSON.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T, pub Context);

impl<'a, T: Wire<'a>> Serialize for Json<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.json(self.1, serializer)
    }
}

macro_rules! integers {
    ($($type:ty)+) => {$(
        impl<'a> Wire<'a> for $type {
            #[inline]
            fn read(reader: &mut Reader<'a>, _: Context) -> Result<Self, DecodeError> {
                reader.array().map(Self::from_be_bytes)
            }
            fn write(&self, out: &mut Vec<u8>, _: Context) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn json<S: Serializer>(&self, _: Context, serializer: S) -> Result<S::Ok, S::Error> {
                self.serialize(serializer)
            }
        }
    )+};
}
integers!(i8 i16 u16 i32 i64);

impl<'a> Wire<'a> for Uuid {
    fn read(reader: &mut Reader<'a>, _: Context) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }
    fn write(&self, out: &mut Vec<u8>, _: Context) {
        out.extend_from_slice(&self.0);
    }
    fn json<S: Serializer>(&self, _: Context, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'a> Wire<'a> for Option<&'a str> {
    #[inline]
    fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, DecodeError> {
        let start = *reader;
        let Some(length) = reader.length(context, LengthWidth::I16)? else { return Ok(None) };
        if length > MAX_STRING_BYTES {
            return Err(start.fail(Fault::StringTooLong(length)));
        }
        // Fast path: most metadata strings are empty.
        if length == 0 {
            return Ok(Some(""));
        }
        let text = *reader;
        match std::str::from_utf8(reader.take(length)?) {
            Ok(string) => Ok(Some(string)),
            Err(error) => Err(DecodeError::new(Fault::Utf8, text.at() + error.valid_up_to())),
        }
    }
    fn write(&self, out: &mut Vec<u8>, context: Context) {
        write_length(self.map(str::len), out, context, LengthWidth::I16);
        out.extend_from_slice(self.unwrap_or_default().as_bytes());
    }
    fn json<S: Serializer>(&self, _: Context, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }
}

impl<'a> Wire<'a> for &'a str {
    #[inline]
    fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, DecodeError> {
        let start = *reader;
        Option::<&str>::read(reader, context)?.ok_or_else(|| start.fail(Fault::Null))
    }
    fn write(&self, out: &mut Vec<u8>, context: Context) {
        Some(*self).write(out, context);
    }
    fn json<S: Serializer>(&self, _: Context, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'a> Wire<'a> for Option<&'a [u8]> {
    fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, DecodeError> {
        reader.length(context, LengthWidth::I32)?.map(|length| reader.take(length)).transpose()
    }
    fn write(&self, out: &mut Vec<u8>, context: Context) {
        write_length(self.map(<[u8]>::len), out, context, LengthWidth::I32);
        out.extend_from_slice(self.unwrap_or_default());
    }
    fn json<S: Serializer>(&self, _: Context, serializer: S) -> Result<S::Ok, S::Error> {
        self.map(hex).serialize(serializer)
    }
}

impl<'a> Wire<'a> for &'a [u8] {
    fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, DecodeError> {
        let start = *reader;
        Option::<&[u8]>::read(reader, context)?.ok_or_else(|| start.fail(Fault::Null))
    }
    fn write(&self, out: &mut Vec<u8>, context: Context) {
        Some(*self).write(out, context);
    }
    fn json<S: Serializer>(&self, _: Context, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(self))
    }
}

/// Formats bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn write_length(length: Option<usize>, out: &mut Vec<u8>, context: Context, fixed: LengthWidth) {
    // A length outside the range of the encoding is capped. A reader rejects the result.
    if context.flexible {
        write_uvarint(length.map_or(0, |length| u32::try_from(length + 1).unwrap_or(u32::MAX)), out);
        return;
    }
    match fixed {
        LengthWidth::I16 => {
            let length = length.map_or(-1, |length| i16::try_from(length).unwrap_or(i16::MAX));
            out.extend_from_slice(&length.to_be_bytes());
        }
        LengthWidth::I32 => {
            let length = length.map_or(-1, |length| i32::try_from(length).unwrap_or(i32::MAX));
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// Appends an unsigned varint (`ByteUtils.writeUnsignedVarint`).
pub fn write_uvarint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// The encoding of a struct that may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Null {
    /// As an ordinary field: a byte precedes the struct and is negative for null (`generateStructReader`).
    Byte,
    /// As a tagged field: an unsigned varint precedes the struct and is 0 for null.
    Uvarint,
}

/// A struct that may be null.
pub trait Nullable<'a>: Wire<'a> {
    /// The encoding of null.
    const NULL: Null;
}

impl<'a, T: Nullable<'a>> Wire<'a> for Option<T> {
    fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, DecodeError> {
        let is_null = match T::NULL {
            Null::Byte => i8::read(reader, context)? < 0,
            Null::Uvarint => reader.uvarint()? == 0,
        };
        if is_null { Ok(None) } else { T::read(reader, context).map(Some) }
    }
    fn write(&self, out: &mut Vec<u8>, context: Context) {
        match (T::NULL, self.is_some()) {
            (Null::Byte, false) => (-1_i8).write(out, context),
            (Null::Byte, true) => 1_i8.write(out, context),
            (Null::Uvarint, is_present) => write_uvarint(u32::from(is_present), out),
        }
        if let Some(value) = self {
            value.write(out, context);
        }
    }
    fn json<S: Serializer>(&self, context: Context, serializer: S) -> Result<S::Ok, S::Error> {
        self.map(|value| Json(value, context)).serialize(serializer)
    }
}

/// The last field of a message, added by Kafka without a new version number. The field is absent if only an empty tag
/// section (one byte) is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unversioned<T>(pub Option<T>);

impl<'a, T: Wire<'a>> Wire<'a> for Unversioned<T> {
    fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, DecodeError> {
        if reader.remaining() <= 1 {
            return Ok(Self(None));
        }
        T::read(reader, context).map(|value| Self(Some(value)))
    }
    fn write(&self, out: &mut Vec<u8>, context: Context) {
        if let Some(value) = self.0 {
            value.write(out, context);
        }
    }
    fn json<S: Serializer>(&self, context: Context, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.map(|value| Json(value, context)).serialize(serializer)
    }
    fn is_present(&self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
pub(super) mod tests;
