//! A connection to a master or a region server: the preamble, calls and their responses.
//!
//! A request is a length of four bytes, a header and a parameter; a response likewise. Header and messages have their
//! own length in front (protobuf's delimited form).

use std::{
    io::{self, Read, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Instant,
};

use prost::Message;

use super::{
    TIMEOUT,
    error::RpcError,
    messages::{ConnectionHeader, RequestHeader, ResponseHeader, UserInformation},
};
use crate::source::rate_limit::RequestLimit;

/// Maximum length of a response in bytes. HBase stores no cell above 10 MiB by default, and a response ends with the
/// cell that exceeds its limit.
const MAX_RESPONSE_BYTES: usize = 16 << 20;
/// "HBas", the version 0, and the code of the authentication method SIMPLE.
const PREAMBLE: &[u8] = b"HBas\x00\x50";
/// The id in a response that concerns the whole connection, such as a refusal (-1 as an int32).
const CONNECTION_CALL_ID: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    last_call_id: u32,
    limit: RequestLimit,
}

impl Connection {
    /// Connects to a service of the server at `address` (HOST:PORT).
    pub(super) fn open(address: &str, service: &str, user: &str, limit: &RequestLimit) -> Result<Self, RpcError> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in address.to_socket_addrs().map_err(RpcError::Connect)? {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(stream) => return Self::greet(stream, service, user, limit).map_err(RpcError::from),
                Err(error) => last = error,
            }
        }
        Err(RpcError::Connect(last))
    }

    fn greet(stream: TcpStream, service: &str, user: &str, limit: &RequestLimit) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let user = Some(UserInformation { effective_user: user.to_owned() });
        let header = ConnectionHeader { user, service: service.to_owned() }.encode_to_vec();
        let mut connection = Self { stream, last_call_id: 0, limit: limit.clone() };
        connection.send(&[PREAMBLE, &framed(&header)].concat())?;
        Ok(connection)
    }

    /// Calls a method and returns its result.
    pub(super) fn call<A: Message + Default>(&mut self, method: &str, parameter: &impl Message) -> Result<A, RpcError> {
        self.limit.wait();
        self.last_call_id = self.last_call_id.wrapping_add(1) & (u32::MAX >> 1);
        let header = RequestHeader {
            call_id: self.last_call_id,
            method: method.to_owned(),
            has_parameter: true,
            timeout: u32::try_from(TIMEOUT.as_millis()).unwrap_or(u32::MAX),
        };
        let mut request = header.encode_length_delimited_to_vec();
        request.extend(parameter.encode_length_delimited_to_vec());
        self.send(&framed(&request))?;
        let response = self.receive()?;
        decode(&response, self.last_call_id)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    fn receive(&mut self) -> Result<Vec<u8>, RpcError> {
        let mut reader = DeadlineReader { stream: &self.stream, deadline: now() + TIMEOUT };
        let mut length = [0; 4];
        reader.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_RESPONSE_BYTES {
            return Err(RpcError::Unexpected("too long"));
        }
        // The buffer grows with the bytes that arrive.
        let mut response = vec![];
        reader.take(length as u64).read_to_end(&mut response)?;
        if response.len() < length {
            return Err(RpcError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(response)
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), message].concat()
}

/// Decodes the response to a call.
fn decode<A: Message + Default>(mut response: &[u8], call_id: u32) -> Result<A, RpcError> {
    let header = ResponseHeader::decode_length_delimited(&mut response)?;
    if header.call_id != call_id && header.call_id != CONNECTION_CALL_ID {
        return Err(RpcError::Unexpected("to another call"));
    }
    if let Some(exception) = header.exception {
        return Err(exception.into());
    }
    if header.cell_block.is_some() {
        return Err(RpcError::Unexpected("with a cell block"));
    }
    Ok(A::decode_length_delimited(&mut response)?)
}

/// A reader with one deadline for all its reads, since a timeout of a single read never ends a slow sender.
struct DeadlineReader<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Read for DeadlineReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

#[expect(clippy::disallowed_methods, reason = "the deadline of a response is not part of an answer")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
