//! The errors of decoding: the fault, the field and the byte.

use std::fmt;

/// The reason why one record cannot be decoded. It concerns that record only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    fault: Fault,
    at: usize,
    field: String,
}

/// The kinds of fault. Counters and logs distinguish errors by these kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// The record has no key. Kafka's coordinator never writes such a record.
    #[error("the key is missing")]
    NoKey,
    /// A length, a count or a field of fixed size needs more bytes than the buffer has left.
    #[error("needs {wanted} more bytes (or elements), {left} left")]
    EndOfBuffer {
        /// Number of bytes, or of array elements, each of which takes at least one byte.
        wanted: usize,
        /// Number of bytes left in the buffer.
        left: usize,
    },
    /// A length is negative and not -1, which stands for null.
    #[error("negative length {0}")]
    NegativeLength(i32),
    /// A field is null, but the schema does not allow null.
    #[error("null is not allowed here")]
    Null,
    /// A string is longer than 32,767 (0x7fff) bytes.
    #[error("string of {0} bytes is too long; Kafka allows at most 32767 bytes")]
    StringTooLong(usize),
    /// A string is not valid UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// An unsigned varint has more than 32 bits.
    #[error("varint longer than 32 bits")]
    Varint,
    /// The value has a version that this decoder does not know. Its layout is never guessed.
    #[error("unknown version {0}")]
    UnknownVersion(i16),
    /// Bytes follow the end of the message.
    #[error("{0} bytes after the end of the message")]
    Trailing(usize),
}

impl Fault {
    /// Returns the short name of the fault for counters and rate-limited logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::EndOfBuffer { .. } => "end_of_buffer",
            Self::NegativeLength(_) => "negative_length",
            Self::Null => "null",
            Self::StringTooLong(_) => "string_too_long",
            Self::Utf8 => "utf8",
            Self::Varint => "varint",
            Self::UnknownVersion(_) => "unknown_version",
            Self::Trailing(_) => "trailing",
        }
    }
}

impl DecodeError {
    /// Makes an error for a fault at a byte of the key or value. The callers add the field path from the inside out.
    #[must_use]
    pub fn new(fault: Fault, at: usize) -> Self {
        Self { fault, at, field: String::new() }
    }

    /// Returns the fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// Returns the byte position in the key or in the value, depending on the first element of the field path.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// Returns the path of the field, for example `value.members[2].clientId`.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Prepends the name of the enclosing field to the path.
    #[must_use]
    #[cold]
    pub fn within(mut self, name: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{name}{dot}{}", self.field);
        self
    }

    /// Prepends the index in the enclosing array to the path.
    #[must_use]
    pub fn at_index(self, index: usize) -> Self {
        self.within(&format!("[{index}]"))
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.field, self.at, self.fault)
    }
}

impl std::error::Error for DecodeError {}
