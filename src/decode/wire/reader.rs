//! A cursor over the bytes of one key or value.

use super::{
    super::error::{DecodeError, Fault},
    Context,
};

/// A position in the bytes of one key or value.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts reading at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Returns the position of the next byte, counted from the start of the key or value.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// Returns the number of bytes that are not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Makes an error at the current position.
    #[must_use]
    pub fn fail(&self, fault: Fault) -> DecodeError {
        DecodeError::new(fault, self.at)
    }

    /// Reads the next `len` bytes.
    ///
    /// # Errors
    /// [`Fault::EndOfBuffer`] if fewer bytes are left.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let slice = self
            .at
            .checked_add(len)
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or_else(|| self.fail(Fault::EndOfBuffer { wanted: len, left: self.remaining() }))?;
        self.at += len;
        Ok(slice)
    }

    /// Reads the next `N` bytes as an array.
    ///
    /// # Errors
    /// [`Fault::EndOfBuffer`] if fewer bytes are left.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let left = self.remaining();
        let found = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<N>).copied();
        let chunk = found.ok_or_else(|| self.fail(Fault::EndOfBuffer { wanted: N, left }))?;
        self.at += N;
        Ok(chunk)
    }

    /// Reads an unsigned varint of at most 5 bytes, without zig-zag encoding (`ByteUtils.readUnsignedVarint`).
    ///
    /// # Errors
    /// The buffer ends, or the fifth byte has its continuation bit set or overflows 32 bits.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let start = *self;
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| start.fail(Fault::Varint));
            }
        }
        Err(start.fail(Fault::Varint))
    }

    /// Reads a length or count, or `None` for null: a varint in flexible versions, else an integer of width `fixed`.
    #[inline]
    pub(super) fn length(&mut self, context: Context, fixed: LengthWidth) -> Result<Option<usize>, DecodeError> {
        if context.flexible {
            return Ok(self.uvarint()?.checked_sub(1).map(|length| length as usize));
        }
        let start = *self;
        let length = match fixed {
            LengthWidth::I16 => i32::from(i16::from_be_bytes(self.array()?)),
            LengthWidth::I32 => i32::from_be_bytes(self.array()?),
        };
        match length {
            -1 => Ok(None),
            _ => usize::try_from(length).map(Some).map_err(|_| start.fail(Fault::NegativeLength(length))),
        }
    }

    /// Reads a value that must extend to the end of the buffer.
    ///
    /// # Errors
    /// Those of `read`, or [`Fault::Trailing`] if bytes follow the value.
    pub fn read_to_end<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
        let value = read(self)?;
        match self.remaining() {
            0 => Ok(value),
            left => Err(self.fail(Fault::Trailing(left))),
        }
    }

    /// Reads a tag section and passes each tag to `known`, which ignores unknown tags. As in Kafka's readers, tags may
    /// come in any order, and the last occurrence of a repeated tag wins.
    ///
    /// # Errors
    /// Those of `known`, or a section that is longer than the buffer.
    pub fn tags(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader<'a>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.uvarint()?;
        for _ in 0..count {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let start = self.at;
            self.take(size)?;
            let mut inner = Reader { bytes: self.bytes.get(..self.at).unwrap_or_default(), at: start };
            known(tag, &mut inner)?;
        }
        Ok(())
    }
}

/// The width of a length in versions that are not flexible.
#[derive(Clone, Copy)]
pub(super) enum LengthWidth {
    I16,
    I32,
}
