//! The schemas of `__consumer_offsets`, one row a field, as in Kafka's `*Key.json` and
//! `*Value.json`. A new Kafka version is a row here.
//!
//! A row is `"jsonName" field: type, versions;` with `, or default` for the value of versions that
//! lack the field. Rows under `tags` are tagged fields: tag number first.

use serde::ser::{SerializeMap as _, Serializer};

use super::{
    error::{DecodeError, Fault},
    wire::{Array, Context, Json, Reader, Wire, write_uvarint},
};
use crate::model::Uuid;

/// A message with versions of its own: the value of a record.
pub trait Message<'a>: Wire<'a> {
    /// Versions that this schema describes.
    const VERSIONS: std::ops::RangeInclusive<i16>;
    /// First flexible version (KIP-482).
    const FLEXIBLE: i16;

    /// The layout of `version`.
    ///
    /// # Errors
    /// [`Fault::UnknownVersion`].
    fn context(version: i16) -> Result<Context, Fault> {
        if !Self::VERSIONS.contains(&version) {
            return Err(Fault::UnknownVersion(version));
        }
        Ok(Context { version, flexible: version >= Self::FLEXIBLE, embedded: false })
    }
}

macro_rules! schema {
    (
        $(#[$doc:meta])*
        $name:ident<$lt:lifetime> {
            $( $(#[$field_doc:meta])* $json:literal $field:ident: $type:ty, $versions:expr $(, or $default:expr)?; )*
            $( tags {
                $( $(#[$tag_doc:meta])* $tag_json:literal $tag:literal $tag_field:ident: $tag_type:ty, $tag_versions:expr, or $tag_default:expr; )*
            } )?
        }
        $( versions $all:expr, flexible $flexible:expr; )?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name<$lt> {
            $( $(#[$field_doc])* pub $field: $type, )*
            $($( $(#[$tag_doc])* pub $tag_field: $tag_type, )*)?
        }

        impl Default for $name<'_> {
            fn default() -> Self {
                Self {
                    $( $field: schema!(@default $($default)?), )*
                    $($( $tag_field: $tag_default, )*)?
                }
            }
        }

        impl<$lt> Wire<$lt> for $name<$lt> {
            #[inline]
            fn read(reader: &mut Reader<$lt>, context: Context) -> Result<Self, DecodeError> {
                #[allow(unused_mut)]
                let mut this = Self {
                    $( $field: if ($versions).contains(&context.version) {
                        <$type>::read(reader, context).map_err(|error| error.within($json))?
                    } else {
                        schema!(@default $($default)?)
                    }, )*
                    $($( $tag_field: $tag_default, )*)?
                };
                if context.flexible {
                    #[allow(unused_variables)]
                    reader.tags(|tag, payload| {
                        $($(
                            if tag == $tag && ($tag_versions).contains(&context.version) {
                                this.$tag_field = <$tag_type>::read(payload, context)
                                    .map_err(|error| error.within($tag_json))?;
                            }
                        )*)?
                        Ok(())
                    })?;
                }
                Ok(this)
            }

            fn write(&self, out: &mut Vec<u8>, context: Context) {
                $( if ($versions).contains(&context.version) {
                    self.$field.write(out, context);
                } )*
                if context.flexible {
                    #[allow(unused_mut)]
                    let mut tags: Vec<(u32, Vec<u8>)> = vec![];
                    $($(
                        if self.$tag_field != $tag_default {
                            let mut payload = vec![];
                            self.$tag_field.write(&mut payload, context);
                            tags.push(($tag, payload));
                        }
                    )*)?
                    super::schema::write_tags(&tags, out);
                }
            }

            fn json<S: Serializer>(&self, context: Context, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                $( if ($versions).contains(&context.version) {
                    map.serialize_entry($json, &Json(self.$field, context))?;
                } )*
                $($( if ($tag_versions).contains(&context.version) && self.$tag_field != $tag_default {
                    map.serialize_entry($tag_json, &Json(self.$tag_field, context))?;
                } )*)?
                map.end()
            }
        }

        $( impl<$lt> Message<$lt> for $name<$lt> {
            const VERSIONS: std::ops::RangeInclusive<i16> = $all;
            const FLEXIBLE: i16 = $flexible;
        } )?
    };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
}

/// Appends a tag section. Tags ascend, as `RawTaggedFieldWriter` wants.
pub(super) fn write_tags(tags: &[(u32, Vec<u8>)], out: &mut Vec<u8>) {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    write_uvarint(length(tags.len()), out);
    for (tag, payload) in tags {
        write_uvarint(*tag, out);
        write_uvarint(length(payload.len()), out);
        out.extend_from_slice(payload);
    }
}

schema! {
    /// Key of types 0 and 1 (`OffsetCommitKey.json`, `LegacyOffsetCommitKey.json`).
    OffsetCommitKey<'a> {
        /// Group id; may be empty.
        "group" group: &'a str, 0..;
        /// Topic name.
        "topic" topic: &'a str, 0..;
        /// Partition of the topic.
        "partition" partition: i32, 0..;
    }
}

schema! {
    /// Value of types 0 and 1 (`OffsetCommitValue.json`; earlier layouts from the schemas in
    /// `GroupMetadataManager.scala`).
    OffsetCommitValue<'a> {
        /// The next offset that the group will read.
        "offset" offset: i64, 0..;
        /// Epoch of the last consumed record; -1 is unknown.
        "leaderEpoch" leader_epoch: i32, 3.., or -1;
        /// Text of the client.
        "metadata" metadata: &'a str, 0..;
        /// When the coordinator handled the commit, in ms.
        "commitTimestamp" commit_timestamp: i64, 0..;
        /// When the commit expires, in ms; -1 is by the retention rules.
        "expireTimestamp" expire_timestamp: i64, 1..=1, or -1;
        tags {
            /// Topic incarnation; zero is unknown.
            "topicId" 0 topic_id: Uuid, 4.., or Uuid::ZERO;
        }
    }
    versions 0..=4, flexible 4;
}

schema! {
    /// Key of type 2 (`GroupMetadataKey.json`).
    GroupMetadataKey<'a> {
        /// Group id.
        "group" group: &'a str, 0..;
    }
}

schema! {
    /// Value of type 2: a classic group (`GroupMetadataValue.json`).
    GroupMetadataValue<'a> {
        /// `consumer`, `connect`, …; empty is none.
        "protocolType" protocol_type: &'a str, 0..;
        /// Rises by one with each completed rebalance.
        "generation" generation: i32, 0..;
        /// The chosen assignor; null when empty.
        "protocol" protocol: Option<&'a str>, 0..;
        /// Member id of the leader; null when empty.
        "leader" leader: Option<&'a str>, 0..;
        /// Time of the last state transition, in ms; -1 is unknown (KIP-211).
        "currentStateTimestamp" current_state_timestamp: i64, 2.., or -1;
        /// Empty when the group has no members.
        "members" members: Array<'a, MemberMetadata<'a>>, 0..;
    }
    versions 0..=4, flexible 4;
}

schema! {
    /// A member of a classic group.
    MemberMetadata<'a> {
        /// Member id.
        "memberId" member_id: &'a str, 0..;
        /// group.instance.id of a static member (KIP-345).
        "groupInstanceId" group_instance_id: Option<&'a str>, 3..;
        /// client.id.
        "clientId" client_id: &'a str, 0..;
        /// Java's text of the address, usually with a leading `/`.
        "clientHost" client_host: &'a str, 0..;
        /// Rebalance timeout in ms; -1 is the session timeout (KIP-62).
        "rebalanceTimeout" rebalance_timeout: i32, 1.., or -1;
        /// Session timeout in ms.
        "sessionTimeout" session_timeout: i32, 0..;
        /// Metadata that the member sent for the selected protocol.
        "subscription" subscription: Embedded<'a, super::consumer_protocol::Subscription<'a>>, 0..;
        /// The leader's assignment; may be of zero length.
        "assignment" assignment: Embedded<'a, super::consumer_protocol::Assignment<'a>>, 0..;
    }
}

use super::consumer_protocol::Embedded;
