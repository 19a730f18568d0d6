//! Reading from borrowed bytes.

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
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Position of the next byte, from the start of the key or value.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// An error at the present position.
    #[must_use]
    pub fn fail(&self, fault: Fault) -> DecodeError {
        DecodeError::new(fault, self.at)
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`Fault::EndOfBuffer`] when fewer are left.
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

    /// The next `N` bytes, as an array.
    ///
    /// # Errors
    /// [`Fault::EndOfBuffer`] when fewer are left.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let left = self.remaining();
        let found = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<N>).copied();
        let chunk = found.ok_or_else(|| self.fail(Fault::EndOfBuffer { wanted: N, left }))?;
        self.at += N;
        Ok(chunk)
    }

    /// An unsigned varint of at most 5 bytes, not zig-zag (`ByteUtils.readUnsignedVarint`).
    ///
    /// # Errors
    /// End of the buffer, or a fifth byte that continues or overflows 32 bits.
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

    /// A length or count: `None` for null. Fixed form is an `i16` or `i32` read by the caller.
    #[inline]
    pub(super) fn length(&mut self, context: Context, fixed: Fixed) -> Result<Option<usize>, DecodeError> {
        if context.flexible {
            return Ok(self.uvarint()?.checked_sub(1).map(|length| length as usize));
        }
        let start = *self;
        let length = match fixed {
            Fixed::I16 => i32::from(i16::from_be_bytes(self.array()?)),
            Fixed::I32 => i32::from_be_bytes(self.array()?),
        };
        match length {
            -1 => Ok(None),
            _ => usize::try_from(length).map(Some).map_err(|_| start.fail(Fault::NegativeLength(length))),
        }
    }

    /// Reads all that is left.
    ///
    /// # Errors
    /// Those of `read`, and [`Fault::Trailing`].
    pub fn whole<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
        let value = read(self)?;
        match self.remaining() {
            0 => Ok(value),
            left => Err(self.fail(Fault::Trailing(left))),
        }
    }

    /// Skips a tag section but for the tags that `known` reads. Kafka's readers do not check the
    /// order of tags, and of a tag that is there twice the last one counts.
    ///
    /// # Errors
    /// Whatever `known` says, or a section that does not fit.
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

/// Width of a length in non-flexible versions.
#[derive(Clone, Copy)]
pub(super) enum Fixed {
    I16,
    I32,
}
