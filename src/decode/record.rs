//! The record types of `__consumer_offsets`, one row per type in a macro that generates the decoder, encoder and JSON.

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::{
    error::{DecodeError, Fault},
    read_record,
    schema::{Message, *},
    wire::{Context, Json, Wire},
    write_key, write_value,
};

/// A record's value, together with the layout in which it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Versioned<T> {
    /// The fields.
    pub value: T,
    /// The layout: version and encoding.
    pub context: Context,
}

impl<'a, T: Message<'a>> Versioned<T> {
    /// Wraps a value that is to be written in the layout of `version`.
    ///
    /// # Errors
    /// [`Fault::UnknownVersion`] if the schema does not describe `version`.
    pub fn new(value: T, version: i16) -> Result<Self, Fault> {
        let context = Context { embedded: value.embeds(), ..T::context(version)? };
        Ok(Self { value, context })
    }
}

/// A record, and the total number of trailing bytes in its key and value.
type Decoded<'a> = Result<(Record<'a>, usize), DecodeError>;

macro_rules! records {
    ($lt:lifetime; $( $(#[$doc:meta])* $kind:literal $name:ident($key:ty, $value:ty); )*) => {
        /// A decoded record. A value of `None` is a tombstone.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Record<$lt> {
            /// Types 0 and 1: a committed offset.
            OffsetCommit {
                /// The record type: 0 before Kafka 0.9, 1 since then. Keys of both types identify the same offset.
                kind: i16,
                /// The group, topic and partition of the offset.
                key: OffsetCommitKey<$lt>,
                /// The committed offset; `None` for a tombstone.
                value: Option<Versioned<OffsetCommitValue<$lt>>>,
            },
            $(
                $(#[$doc])*
                $name {
                    /// The group, member or pattern that the record describes.
                    key: $key,
                    /// The new value; `None` for a tombstone.
                    value: Option<Versioned<$value>>,
                },
            )*
            /// A record of a type without a schema. Callers count and skip it.
            Unknown {
                /// The record type in the key.
                kind: i16,
            },
        }

        /// Decodes a record of the given type.
        pub(super) fn decode_kind<$lt>(kind: i16, key: &$lt [u8], value: Option<&$lt [u8]>) -> Decoded<$lt> {
            match kind {
                0 | 1 => read_record(kind, key, value)
                    .map(|(key, value, left)| (Record::OffsetCommit { kind, key, value }, left)),
                $( $kind => read_record(kind, key, value)
                    .map(|(key, value, left)| (Record::$name { key, value }, left)), )*
                kind => Ok((Record::Unknown { kind }, 0)),
            }
        }

        /// Generates the key and value of a record of the given type. Returns `None` if the type has no schema.
        #[cfg(test)]
        #[allow(clippy::extra_unused_lifetimes, reason = "the rows below use it")]
        pub(super) fn generate<$lt>(kind: i16, randomness: &mut Randomness<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
            match kind {
                0 | 1 => Some(record::<OffsetCommitKey<'_>, OffsetCommitValue<'_>>(kind, randomness)),
                $( $kind => Some(record::<$key, $value>(kind, randomness)), )*
                _ => None,
            }
        }

        impl<$lt> Record<$lt> {
            /// Returns the record type, which is the first field of the key.
            #[must_use]
            pub fn kind(&self) -> i16 {
                match self {
                    Self::OffsetCommit { kind, .. } | Self::Unknown { kind } => *kind,
                    $( Self::$name { .. } => $kind, )*
                }
            }

            /// Returns the id of the group that the record belongs to, or `None` for an unknown type.
            #[must_use]
            pub fn group(&self) -> Option<&$lt str> {
                match self {
                    Self::OffsetCommit { key, .. } => Some(key.group),
                    $( Self::$name { key, .. } => Some(key.group), )*
                    Self::Unknown { .. } => None,
                }
            }

            /// Encodes key and value. For an unknown type only the type itself is encoded, since the other bytes were
            /// not retained.
            ///
            /// # Errors
            /// [`Fault::UnknownVersion`] if the schema does not describe the version of the value's context.
            pub fn to_bytes(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), Fault> {
                match self {
                    Self::OffsetCommit { kind, key, value } => write_record(*kind, key, value),
                    $( Self::$name { key, value } => write_record($kind, key, value), )*
                    Self::Unknown { kind } => Ok((kind.to_be_bytes().to_vec(), None)),
                }
            }
        }

        /// The JSON of `offsetd decode` (contract §7).
        impl Serialize for Record<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    Self::OffsetCommit { kind, key, value } => record_json(*kind, "OffsetCommit", key, value, serializer),
                    $( Self::$name { key, value } => record_json($kind, stringify!($name), key, value, serializer), )*
                    Self::Unknown { kind } => {
                        let mut map = serializer.serialize_map(Some(2))?;
                        map.serialize_entry("type", kind)?;
                        map.serialize_entry("unknown", &true)?;
                        map.end()
                    }
                }
            }
        }
    };
}

records! {
    'a;
    /// A classic group. A tombstone drops membership only, never offsets.
    2 GroupMetadata(GroupMetadataKey<'a>, GroupMetadataValue<'a>);
    /// A consumer group. A tombstone removes it, but not its offsets.
    3 ConsumerGroupMetadata(GroupKey<'a>, ConsumerGroupMetadataValue);
    /// Topics of a consumer group, written until Kafka 4.0. A tombstone does not mean that the group was deleted.
    4 ConsumerGroupPartitionMetadata(GroupKey<'a>, GroupPartitionMetadataValue<'a>);
    /// A member of a consumer group.
    5 ConsumerGroupMemberMetadata(MemberKey<'a>, ConsumerGroupMemberMetadataValue<'a>);
    /// The epoch of the target assignment of a consumer group.
    6 ConsumerGroupTargetAssignmentMetadata(GroupKey<'a>, TargetAssignmentMetadataValue);
    /// The partitions that a member of a consumer group should own (target assignment).
    7 ConsumerGroupTargetAssignmentMember(MemberKey<'a>, TargetAssignmentMemberValue<'a>);
    /// The partitions that a member of a consumer group owns (current assignment).
    8 ConsumerGroupCurrentMemberAssignment(MemberKey<'a>, ConsumerGroupCurrentMemberAssignmentValue<'a>);
    /// Topics of a share group, written by Kafka 4.0 only.
    9 ShareGroupPartitionMetadata(GroupKey<'a>, GroupPartitionMetadataValue<'a>);
    /// A member of a share group.
    10 ShareGroupMemberMetadata(MemberKey<'a>, ShareGroupMemberMetadataValue<'a>);
    /// A share group.
    11 ShareGroupMetadata(GroupKey<'a>, ShareGroupMetadataValue);
    /// The epoch of the target assignment of a share group.
    12 ShareGroupTargetAssignmentMetadata(GroupKey<'a>, TargetAssignmentMetadataValue);
    /// The partitions that a member of a share group should read (target assignment).
    13 ShareGroupTargetAssignmentMember(MemberKey<'a>, TargetAssignmentMemberValue<'a>);
    /// The partitions that a member of a share group reads (current assignment).
    14 ShareGroupCurrentMemberAssignment(MemberKey<'a>, ShareGroupCurrentMemberAssignmentValue<'a>);
    /// Topics for which a share group has state.
    15 ShareGroupStatePartitionMetadata(GroupKey<'a>, ShareGroupStatePartitionMetadataValue<'a>);
    /// The topics that a regular expression of a consumer group resolved to.
    16 ConsumerGroupRegularExpression(RegexKey<'a>, ConsumerGroupRegularExpressionValue<'a>);
    /// A streams group.
    17 StreamsGroupMetadata(GroupKey<'a>, StreamsGroupMetadataValue<'a>);
    /// Topics of a streams group. No Kafka release writes this type.
    18 StreamsGroupPartitionMetadata(GroupKey<'a>, StreamsGroupPartitionMetadataValue<'a>);
    /// A member of a streams group.
    19 StreamsGroupMemberMetadata(MemberKey<'a>, StreamsGroupMemberMetadataValue<'a>);
    /// The epoch of the target assignment of a streams group.
    20 StreamsGroupTargetAssignmentMetadata(GroupKey<'a>, TargetAssignmentMetadataValue);
    /// The tasks that a member of a streams group should run (target assignment).
    21 StreamsGroupTargetAssignmentMember(MemberKey<'a>, StreamsGroupTargetAssignmentMemberValue<'a>);
    /// The tasks that a member of a streams group runs (current assignment).
    22 StreamsGroupCurrentMemberAssignment(MemberKey<'a>, StreamsGroupCurrentMemberAssignmentValue<'a>);
    /// The topology of a streams group.
    23 StreamsGroupTopology(GroupKey<'a>, StreamsGroupTopologyValue<'a>);
}

#[cfg(test)]
use super::wire::tests::generate::{Randomness, record};

type Bytes = (Vec<u8>, Option<Vec<u8>>);

fn write_record<'a>(
    kind: i16,
    key: &impl Wire<'a>,
    value: &Option<Versioned<impl Message<'a>>>,
) -> Result<Bytes, Fault> {
    let (mut key_bytes, mut value_bytes) = (vec![], vec![]);
    write_key(kind, key, &mut key_bytes);
    let Some(Versioned { value, context }) = value else { return Ok((key_bytes, None)) };
    write_value(value, context.version, &mut value_bytes)?;
    Ok((key_bytes, Some(value_bytes)))
}

fn record_json<'a, S: Serializer>(
    kind: i16,
    name: &str,
    key: &impl Wire<'a>,
    value: &Option<Versioned<impl Wire<'a>>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("type", &kind)?;
    map.serialize_entry("name", name)?;
    map.serialize_entry("key", &Json(*key, Context::default()))?;
    match value {
        None => map.serialize_entry("value", &())?,
        Some(Versioned { value, context }) => {
            map.serialize_entry("version", &context.version)?;
            map.serialize_entry("value", &Json(*value, *context))?;
        }
    }
    map.end()
}
