//! Reads messages, each of which is preceded by its length, from a connection with a timeout.

use std::io::{self, Read};

/// Maximum number of bytes of a message that are kept. The rest of a longer message is read and dropped. A list of a
/// million children fits.
pub(super) const MAX_BYTES: usize = 64 << 20;
/// Maximum number of bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// A reader of messages. An interrupted read is continued by the next call.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    header: [u8; 4],
    header_bytes: usize,
    message: Vec<u8>,
    /// Number of bytes of the message that were read, including dropped ones.
    received: usize,
}

/// A received message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// The message, or its first [`MAX_BYTES`].
    pub(super) bytes: Vec<u8>,
    /// Whether the end of the message was dropped.
    pub(super) is_cut: bool,
}

impl FrameReader {
    /// Reads once from `source`. Returns a message once it is complete.
    ///
    /// # Errors
    /// Returns the errors of `source`, [`io::ErrorKind::UnexpectedEof`] at its end, and
    /// [`io::ErrorKind::InvalidData`] for a negative length.
    pub(super) fn advance(&mut self, source: &mut impl Read) -> io::Result<Option<Frame>> {
        if let Some(rest) = self.header.get_mut(self.header_bytes..)
            && !rest.is_empty()
        {
            self.header_bytes += not_ended(source.read(rest)?)?;
            if self.header_bytes < self.header.len() {
                return Ok(None);
            }
        }
        let length = i32::from_be_bytes(self.header);
        let length = usize::try_from(length)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("invalid message length {length}")))?;
        if self.received < length {
            let mut chunk = [0; CHUNK];
            let wanted = chunk.get_mut(..(length - self.received).min(CHUNK)).unwrap_or_default();
            let read = not_ended(source.read(wanted)?)?;
            self.received += read;
            let kept = read.min(MAX_BYTES - self.message.len());
            self.message.extend_from_slice(chunk.get(..kept).unwrap_or_default());
        }
        if self.received < length {
            return Ok(None);
        }
        let Self { message, .. } = std::mem::take(self);
        Ok(Some(Frame { is_cut: message.len() < length, bytes: message }))
    }
}

fn not_ended(read: usize) -> io::Result<usize> {
    if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(read) }
}

#[cfg(test)]
mod tests;
