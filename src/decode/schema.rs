//! The schemas of the records in `__consumer_offsets`, one row per field, as in Kafka's `*Key.json` and `*Value.json`.
//! When a new Kafka version adds a field, add a row here.
//!
//! A row is `"jsonName" field: type, versions;`. It ends with `, or default` if versions without the field have a
//! default other than `Default::default()`. Rows under `tags` are tagged fields; the tag number follows the JSON name.
//! A struct that may be null declares the encoding of null: `nullable Byte` for an ordinary field, `nullable Uvarint`
//! for a tagged field.

use super::{
    error::Fault,
    wire::{Context, Wire, write_uvarint},
};

/// A message that has its own version numbers: the value of a record.
pub trait Message<'a>: Wire<'a> {
    /// The versions that this schema describes.
    const VERSIONS: std::ops::RangeInclusive<i16>;
    /// The first flexible version (KIP-482).
    const FLEXIBLE: i16;

    /// Returns whether byte fields of this value contain the embedded consumer protocol.
    fn embeds(&self) -> bool {
        false
    }

    /// Returns the layout of `version`.
    ///
    /// # Errors
    /// [`Fault::UnknownVersion`] if the schema does not describe `version`.
    fn context(version: i16) -> Result<Context, Fault> {
        if !Self::VERSIONS.contains(&version) {
            return Err(Fault::UnknownVersion(version));
        }
        Ok(Context { version, flexible: version >= Self::FLEXIBLE, embedded: false })
    }
}

macro_rules! schema {
    ($(#[$doc:meta])* $name:ident<$lt:lifetime> { $($rows:tt)* } $($rest:tt)*) => {
        schema! { @build $lt [<$lt>] [$name<$lt>] $(#[$doc])* $name { $($rows)* } $($rest)* }
    };
    // A struct without borrowed fields has no lifetime parameter.
    ($(#[$doc:meta])* $name:ident { $($rows:tt)* } $($rest:tt)*) => {
        schema! { @build 'a [] [$name] $(#[$doc])* $name { $($rows)* } $($rest)* }
    };
    (
        @build $lt:lifetime [$($generics:tt)*] [$this:ty]
        $(#[$doc:meta])*
        $name:ident {
            $( $(#[$field_doc:meta])* $json:literal $field:ident: $type:ty, $versions:expr $(, or $default:expr)?; )*
            $( tags {
                $( $(#[$tag_doc:meta])* $tag_json:literal $tag:literal $tag_field:ident: $tag_type:ty, $tag_versions:expr, or $tag_default:expr; )*
            } )?
        }
        $( versions $all:expr, flexible $flexible:expr $(, embeds |$value:ident| $embeds:expr)?; )?
        $( nullable $null:ident; )?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name $($generics)* {
            $( $(#[$field_doc])* pub $field: $type, )*
            $($( $(#[$tag_doc])* pub $tag_field: $tag_type, )*)?
        }

        impl<$lt> Default for $this {
            fn default() -> Self {
                Self {
                    $( $field: schema!(@default $($default)?), )*
                    $($( $tag_field: $tag_default, )*)?
                }
            }
        }

        impl<$lt> $crate::decode::wire::Wire<$lt> for $this {
            #[inline]
            fn read(
                reader: &mut $crate::decode::wire::Reader<$lt>,
                context: $crate::decode::wire::Context,
            ) -> Result<Self, $crate::decode::DecodeError> {
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
                                this.$tag_field =
                                    payload.read_to_end(|payload| <$tag_type>::read(payload, context))
                                        .map_err(|error| error.within($tag_json))?;
                            }
                        )*)?
                        Ok(())
                    })?;
                }
                Ok(this)
            }

            fn write(&self, out: &mut Vec<u8>, context: $crate::decode::wire::Context) {
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
                    $crate::decode::schema::write_tags(&tags, out);
                }
            }

            fn json<S: serde::Serializer>(
                &self,
                context: $crate::decode::wire::Context,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                use $crate::decode::wire::Json;
                let mut map = serializer.serialize_map(None)?;
                $( if ($versions).contains(&context.version) && self.$field.is_present() {
                    map.serialize_entry($json, &Json(self.$field, context))?;
                } )*
                $($( if ($tag_versions).contains(&context.version) && self.$tag_field != $tag_default {
                    map.serialize_entry($tag_json, &Json(self.$tag_field, context))?;
                } )*)?
                map.end()
            }
        }

        #[cfg(test)]
        impl<$lt> $crate::decode::wire::tests::generate::Generate<$lt> for $this {
            fn generate(
                randomness: &mut $crate::decode::wire::tests::generate::Randomness<'_>,
                out: &mut Vec<u8>,
                context: $crate::decode::wire::Context,
            ) {
                #[allow(unused_imports)]
                use $crate::decode::wire::tests::generate::Generate;
                $( if ($versions).contains(&context.version) {
                    <$type>::generate(randomness, out, context);
                } )*
                if context.flexible {
                    #[allow(unused_mut)]
                    let mut tags: Vec<(u32, Vec<u8>)> = vec![];
                    $($( if ($tag_versions).contains(&context.version) && randomness.below(2) == 1 {
                        let mut payload = vec![];
                        <$tag_type>::generate(randomness, &mut payload, context);
                        tags.push(($tag, payload));
                    } )*)?
                    $crate::decode::schema::write_tags(&tags, out);
                }
            }
        }

        $( impl<$lt> $crate::decode::schema::Message<$lt> for $this {
            const VERSIONS: std::ops::RangeInclusive<i16> = $all;
            const FLEXIBLE: i16 = $flexible;

            $( fn embeds(&self) -> bool {
                let $value = self;
                $embeds
            } )?
        } )?

        $( impl<$lt> $crate::decode::wire::Nullable<$lt> for $this {
            const NULL: $crate::decode::wire::Null = $crate::decode::wire::Null::$null;
        } )?
    };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
}

mod classic;
mod consumer;
mod share;
mod streams;

pub use classic::*;
pub use consumer::*;
pub use share::*;
pub use streams::*;

schema! {
    /// Key of types 3, 4, 6, 9, 11, 12, 15, 17, 18, 20 and 23, which describe a group.
    GroupKey<'a> {
        /// Group id.
        "groupId" group: &'a str, 0..;
    }
}

schema! {
    /// Key of types 5, 7, 8, 10, 13, 14, 19, 21 and 22, which describe a member of a group.
    MemberKey<'a> {
        /// Group id.
        "groupId" group: &'a str, 0..;
        /// Member id.
        "memberId" member_id: &'a str, 0..;
    }
}

/// Appends a tag section. The tags must be in ascending order, as `RawTaggedFieldWriter` requires.
pub(super) fn write_tags(tags: &[(u32, Vec<u8>)], out: &mut Vec<u8>) {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    write_uvarint(length(tags.len()), out);
    for (tag, payload) in tags {
        write_uvarint(*tag, out);
        write_uvarint(length(payload.len()), out);
        out.extend_from_slice(payload);
    }
}
