//! The record types: one row each.

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::{
    error::{DecodeError, Fault},
    read_record,
    schema::{Message, *},
    wire::{Context, Json, Wire},
    write_key, write_value,
};

/// A value with the version that it was written in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Versioned<T> {
    /// The fields.
    pub value: T,
    /// Its layout.
    pub context: Context,
}

impl<'a, T: Message<'a>> Versioned<T> {
    /// A value to be written in the layout of `version`.
    ///
    /// # Errors
    /// [`Fault::UnknownVersion`].
    pub fn new(value: T, version: i16) -> Result<Self, Fault> {
        let context = Context { embedded: value.embeds(), ..T::context(version)? };
        Ok(Self { value, context })
    }
}

/// A record, and how many bytes were left over in its key and value together.
type Decoded<'a> = Result<(Record<'a>, usize), DecodeError>;

macro_rules! records {
    ($lt:lifetime; $( $(#[$doc:meta])* $kind:literal $name:ident($key:ty, $value:ty); )*) => {
        /// One record. A value of `None` is a tombstone.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Record<$lt> {
            /// Types 0 and 1: a committed offset.
            OffsetCommit {
                /// 0 before Kafka 0.9, else 1. Both name the same offset.
                kind: i16,
                /// Whose offset.
                key: OffsetCommitKey<$lt>,
                /// The offset.
                value: Option<Versioned<OffsetCommitValue<$lt>>>,
            },
            $(
                $(#[$doc])*
                $name {
                    /// What it is about.
                    key: $key,
                    /// The new value; `None` for a tombstone.
                    value: Option<Versioned<$value>>,
                },
            )*
            /// A type without a schema here: to be counted and skipped.
            Unknown {
                /// The key's type.
                kind: i16,
            },
        }

        /// Decodes a record of that type.
        pub(super) fn decode_kind<$lt>(kind: i16, key: &$lt [u8], value: Option<&$lt [u8]>) -> Decoded<$lt> {
            match kind {
                0 | 1 => read_record(kind, key, value)
                    .map(|(key, value, left)| (Record::OffsetCommit { kind, key, value }, left)),
                $( $kind => read_record(kind, key, value)
                    .map(|(key, value, left)| (Record::$name { key, value }, left)), )*
                kind => Ok((Record::Unknown { kind }, 0)),
            }
        }

        /// The bytes of a made up record of that type; nothing if the type has no schema.
        #[cfg(test)]
        #[allow(clippy::extra_unused_lifetimes, reason = "the rows below use it")]
        pub(super) fn generate<$lt>(kind: i16, source: &mut Source<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
            match kind {
                0 | 1 => Some(record::<OffsetCommitKey<'_>, OffsetCommitValue<'_>>(kind, source)),
                $( $kind => Some(record::<$key, $value>(kind, source)), )*
                _ => None,
            }
        }

        impl<$lt> Record<$lt> {
            /// The type, which the key starts with.
            #[must_use]
            pub fn kind(&self) -> i16 {
                match self {
                    Self::OffsetCommit { kind, .. } | Self::Unknown { kind } => *kind,
                    $( Self::$name { .. } => $kind, )*
                }
            }

            /// The group that the record belongs to; `None` for an unknown type.
            #[must_use]
            pub fn group(&self) -> Option<&$lt str> {
                match self {
                    Self::OffsetCommit { key, .. } => Some(key.group),
                    $( Self::$name { key, .. } => Some(key.group), )*
                    Self::Unknown { .. } => None,
                }
            }

            /// The bytes of key and value. An unknown type has lost its own.
            ///
            /// # Errors
            /// [`Fault::UnknownVersion`] for a context that is not the message's.
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
    /// Topics of a consumer group, until Kafka 4.0. A tombstone says nothing of the group.
    4 ConsumerGroupPartitionMetadata(GroupKey<'a>, GroupPartitionMetadataValue<'a>);
    /// A member of a consumer group.
    5 ConsumerGroupMemberMetadata(MemberKey<'a>, ConsumerGroupMemberMetadataValue<'a>);
    /// How current the target assignment of a consumer group is.
    6 ConsumerGroupTargetAssignmentMetadata(GroupKey<'a>, TargetAssignmentMetadataValue);
    /// What a member of a consumer group should own.
    7 ConsumerGroupTargetAssignmentMember(MemberKey<'a>, TargetAssignmentMemberValue<'a>);
    /// What a member of a consumer group owns.
    8 ConsumerGroupCurrentMemberAssignment(MemberKey<'a>, ConsumerGroupCurrentMemberAssignmentValue<'a>);
    /// Topics of a share group, in Kafka 4.0.
    9 ShareGroupPartitionMetadata(GroupKey<'a>, GroupPartitionMetadataValue<'a>);
    /// A member of a share group.
    10 ShareGroupMemberMetadata(MemberKey<'a>, ShareGroupMemberMetadataValue<'a>);
    /// A share group.
    11 ShareGroupMetadata(GroupKey<'a>, ShareGroupMetadataValue);
    /// How current the target assignment of a share group is.
    12 ShareGroupTargetAssignmentMetadata(GroupKey<'a>, TargetAssignmentMetadataValue);
    /// What a member of a share group should read.
    13 ShareGroupTargetAssignmentMember(MemberKey<'a>, TargetAssignmentMemberValue<'a>);
    /// What a member of a share group reads.
    14 ShareGroupCurrentMemberAssignment(MemberKey<'a>, ShareGroupCurrentMemberAssignmentValue<'a>);
    /// Topics for which a share group has state.
    15 ShareGroupStatePartitionMetadata(GroupKey<'a>, ShareGroupStatePartitionMetadataValue<'a>);
    /// What a pattern of a consumer group resolved to.
    16 ConsumerGroupRegularExpression(RegexKey<'a>, ConsumerGroupRegularExpressionValue<'a>);
    /// A streams group.
    17 StreamsGroupMetadata(GroupKey<'a>, StreamsGroupMetadataValue<'a>);
    /// Topics of a streams group; in no release.
    18 StreamsGroupPartitionMetadata(GroupKey<'a>, StreamsGroupPartitionMetadataValue<'a>);
    /// A member of a streams group.
    19 StreamsGroupMemberMetadata(MemberKey<'a>, StreamsGroupMemberMetadataValue<'a>);
    /// How current the target assignment of a streams group is.
    20 StreamsGroupTargetAssignmentMetadata(GroupKey<'a>, TargetAssignmentMetadataValue);
    /// What a member of a streams group should run.
    21 StreamsGroupTargetAssignmentMember(MemberKey<'a>, StreamsGroupTargetAssignmentMemberValue<'a>);
    /// What a member of a streams group runs.
    22 StreamsGroupCurrentMemberAssignment(MemberKey<'a>, StreamsGroupCurrentMemberAssignmentValue<'a>);
    /// The topology of a streams group.
    23 StreamsGroupTopology(GroupKey<'a>, StreamsGroupTopologyValue<'a>);
}

#[cfg(test)]
use super::wire::tests::generate::{Source, record};

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
