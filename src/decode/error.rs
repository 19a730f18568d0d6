//! What can be wrong with a record, where.

use std::fmt;

/// Why one record does not decode. It concerns that record alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    fault: Fault,
    at: usize,
    field: String,
}

/// The kinds of fault, which is also how they are counted and logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// A record without a key. Kafka's coordinator writes none.
    #[error("the key is missing")]
    NoKey,
    /// A length, count or fixed field that needs more bytes than there are.
    #[error("needs {wanted} more bytes (or elements), {left} left")]
    EndOfBuffer {
        /// Bytes, or elements of at least a byte.
        wanted: usize,
        /// Bytes left.
        left: usize,
    },
    /// A negative length other than -1.
    #[error("negative length {0}")]
    NegativeLength(i32),
    /// A null where the schema has none.
    #[error("null is not allowed here")]
    Null,
    /// More than 0x7fff bytes.
    #[error("string of {0} bytes, Kafka allows 32767")]
    StringTooLong(usize),
    /// Not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// An unsigned varint of more than 32 bits.
    #[error("varint longer than 32 bits")]
    Varint,
    /// A value version that this decoder does not know. Never guessed.
    #[error("unknown version {0}")]
    UnknownVersion(i16),
    /// Bytes after the end of the message.
    #[error("{0} bytes left over")]
    Trailing(usize),
}

impl Fault {
    /// A short name for counters and rate-limited logs.
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
    /// A fault at a byte of the key or value; the path is added on the way out.
    #[must_use]
    pub fn new(fault: Fault, at: usize) -> Self {
        Self { fault, at, field: String::new() }
    }

    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// Byte position in the key or in the value, whichever `field` starts with.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// Path of the field, as `value.members[2].clientId`.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Prefixes the path with the name of the enclosing field.
    #[must_use]
    #[cold]
    pub fn within(mut self, name: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{name}{dot}{}", self.field);
        self
    }

    /// Prefixes the path with the index in the enclosing array.
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
