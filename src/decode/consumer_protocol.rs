//! Decodes the embedded consumer protocol: the subscriptions and assignments of the members of a group
//! (`ConsumerProtocolSubscription.json`, `ConsumerProtocolAssignment.json`).
//!
//! Clients write these bytes, not brokers, so decoding is lenient: a version above 3 is read as version 3, missing
//! fields at the end have their defaults (some clients declare version 1 without its fields), and trailing bytes are
//! ignored. The protocol has no flexible version, even inside a flexible record.

use std::marker::PhantomData;

use serde::ser::{SerializeMap as _, Serializer};

use super::{
    error::{DecodeError, Fault},
    wire::{Array, Context, Json, Reader, Wire, hex},
};

/// The newest version with a layout of its own.
const NEWEST: i16 = 3;

/// A topic with some of its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct TopicPartitions<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition numbers.
    pub partitions: Array<'a, i32>,
}

impl<'a> Wire<'a> for TopicPartitions<'a> {
    fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, DecodeError> {
        Ok(Self {
            topic: <&str>::read(reader, context).map_err(|error| error.within("topic"))?,
            partitions: Array::read(reader, context).map_err(|error| error.within("partitions"))?,
        })
    }
    fn write(&self, out: &mut Vec<u8>, context: Context) {
        self.topic.write(out, context);
        self.partitions.write(out, context);
    }
    fn json<S: Serializer>(&self, context: Context, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("topic", self.topic)?;
        map.serialize_entry("partitions", &Json(self.partitions, context))?;
        map.end()
    }
}

/// A message of the embedded protocol.
pub trait Payload<'a>: Copy + PartialEq {
    /// Reads the fields that follow the version.
    ///
    /// # Errors
    /// A field is malformed; the error names the byte.
    fn read(version: i16, reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
    /// Appends the version and the fields.
    fn write(&self, out: &mut Vec<u8>);
    /// Serializes the message as a JSON object that includes `version`.
    ///
    /// # Errors
    /// Those of the serializer.
    fn json<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

/// Reads the opaque bytes of the assignor, or returns `None` at the end of the payload: some clients omit them.
fn user_data<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, DecodeError> {
    if reader.remaining() == 0 {
        return Ok(None);
    }
    Wire::read(reader, Context::default()).map_err(|error| error.within("userData"))
}

/// The subscription of a member.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Subscription<'a> {
    /// Version as the client wrote it; may be higher than the newest known version.
    pub version: i16,
    /// Subscribed topics.
    pub topics: Array<'a, &'a str>,
    /// Opaque bytes of the assignor.
    pub user_data: Option<&'a [u8]>,
    /// Partitions that the member owned when it joined; since version 1 (KIP-429).
    pub owned_partitions: Array<'a, TopicPartitions<'a>>,
    /// Generation in which the member owned these partitions; since version 2 (KIP-792). -1 means unknown.
    pub generation_id: i32,
    /// Rack of the client; since version 3 (KIP-881).
    pub rack_id: Option<&'a str>,
}

impl<'a> Payload<'a> for Subscription<'a> {
    fn read(version: i16, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let context = Context::default();
        let mut this = Self {
            version,
            topics: Array::read(reader, context).map_err(|error| error.within("topics"))?,
            user_data: user_data(reader)?,
            generation_id: -1,
            ..Self::default()
        };
        let has = |since: i16, reader: &Reader<'_>| version >= since && reader.remaining() > 0;
        if has(1, reader) {
            this.owned_partitions = Array::read(reader, context).map_err(|error| error.within("ownedPartitions"))?;
        }
        if has(2, reader) {
            this.generation_id = i32::read(reader, context).map_err(|error| error.within("generationId"))?;
        }
        if has(3, reader) {
            this.rack_id = Wire::read(reader, context).map_err(|error| error.within("rackId"))?;
        }
        Ok(this)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let context = Context::default();
        self.version.write(out, context);
        self.topics.write(out, context);
        self.user_data.write(out, context);
        if self.version >= 1 {
            self.owned_partitions.write(out, context);
        }
        if self.version >= 2 {
            self.generation_id.write(out, context);
        }
        if self.version >= 3 {
            self.rack_id.write(out, context);
        }
    }

    fn json<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let context = Context::default();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("version", &self.version)?;
        map.serialize_entry("topics", &Json(self.topics, context))?;
        map.serialize_entry("userData", &Json(self.user_data, context))?;
        if self.version >= 1 {
            map.serialize_entry("ownedPartitions", &Json(self.owned_partitions, context))?;
        }
        if self.version >= 2 {
            map.serialize_entry("generationId", &self.generation_id)?;
        }
        if self.version >= NEWEST {
            map.serialize_entry("rackId", &self.rack_id)?;
        }
        map.end()
    }
}

/// The assignment of a member.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Assignment<'a> {
    /// Version as the group leader wrote it. All versions have the same layout.
    pub version: i16,
    /// Partitions that are assigned to the member.
    pub assigned_partitions: Array<'a, TopicPartitions<'a>>,
    /// Opaque bytes of the assignor.
    pub user_data: Option<&'a [u8]>,
}

impl<'a> Payload<'a> for Assignment<'a> {
    fn read(version: i16, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let context = Context::default();
        let assigned = Array::read(reader, context).map_err(|error| error.within("assignedPartitions"))?;
        Ok(Self { version, assigned_partitions: assigned, user_data: user_data(reader)? })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let context = Context::default();
        self.version.write(out, context);
        self.assigned_partitions.write(out, context);
        self.user_data.write(out, context);
    }

    fn json<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let context = Context::default();
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("version", &self.version)?;
        map.serialize_entry("assignedPartitions", &Json(self.assigned_partitions, context))?;
        map.serialize_entry("userData", &Json(self.user_data, context))?;
        map.end()
    }
}

/// A byte field that contains a message of the embedded protocol if the group's protocol type is `consumer`.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Embedded<'a, T> {
    /// The bytes as they are in the record.
    pub bytes: &'a [u8],
    payload: PhantomData<T>,
}

impl<'a, T: Payload<'a>> Embedded<'a, T> {
    /// Wraps the bytes of an encoded payload.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, payload: PhantomData }
    }

    /// Decodes the payload. Returns `None` if it has zero length, as for a member without an assignment.
    ///
    /// # Errors
    /// The payload is malformed; the error names the byte of the payload. The enclosing record remains valid.
    pub fn payload(&self) -> Result<Option<T>, DecodeError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let mut reader = Reader::new(self.bytes);
        let version = i16::read(&mut reader, Context::default())?;
        if version < 0 {
            return Err(DecodeError::new(Fault::UnknownVersion(version), 0));
        }
        T::read(version, &mut reader).map(Some)
    }
}

impl<'a, T: Payload<'a>> Wire<'a> for Embedded<'a, T> {
    fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, DecodeError> {
        <&[u8]>::read(reader, context).map(Self::new)
    }
    fn write(&self, out: &mut Vec<u8>, context: Context) {
        self.bytes.write(out, context);
    }
    fn json<S: Serializer>(&self, context: Context, serializer: S) -> Result<S::Ok, S::Error> {
        match self.payload() {
            Ok(None) if context.embedded => serializer.serialize_none(),
            Ok(Some(payload)) if context.embedded => payload.json(serializer),
            Ok(_) | Err(_) => serializer.serialize_str(&hex(self.bytes)),
        }
    }
}
