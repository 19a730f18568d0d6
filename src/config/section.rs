//! The macro that defines a section of settings: the struct with its documented fields, the rows for the example file,
//! and the code that reads the section. They have one definition, so that they always agree.

use super::{error::Key, resolve::Resolver, value::Setting};

/// A section of the configuration.
pub(crate) trait Section: Sized {
    /// The settings of the section, in order.
    const SETTINGS: &'static [Setting];

    /// Reads the section at `key` and the sections in it.
    fn resolve(resolver: &mut Resolver<'_>, key: &Key) -> Self;

    /// Calls `each` for the section at `key` and for the sections in it.
    fn visit(key: &Key, each: &mut dyn FnMut(&Key, &[Setting]));
}

/// Defines a section. Fields below `sections` are nested sections. Fields below `with` are not settings; they are
/// initialised with their default and set by the code that loads the configuration.
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                pub $field:ident: $type:ty = $kind:ident($default:literal), $why:literal;
            )*
        }
        $(sections { $( $(#[$section_meta:meta])* pub $section:ident: $section_type:ty, )+ })?
        $(with { $( $(#[$extra_meta:meta])* pub $extra:ident: $extra_type:ty, )+ })?
    ) => {
        $(#[$meta])*
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )*
            $($( $(#[$section_meta])* pub $section: $section_type, )+)?
            $($( $(#[$extra_meta])* pub $extra: $extra_type, )+)?
        }

        impl $crate::config::section::Section for $name {
            const SETTINGS: &'static [$crate::config::value::Setting] = &[$(
                $crate::config::section::setting!($field, $kind, $default, $why, $($doc)+)
            ),*];

            fn resolve(
                resolver: &mut $crate::config::resolve::Resolver<'_>,
                key: &$crate::config::error::Key,
            ) -> Self {
                Self {
                    $(
                        $field: {
                            let setting = $crate::config::section::setting!($field, $kind, $default, $why, $($doc)+);
                            resolver.get::<$crate::config::value::$kind>(key, &setting)
                        },
                    )*
                    $($(
                        $section: $crate::config::section::Section::resolve(
                            resolver, &key.child(stringify!($section))
                        ),
                    )+)?
                    $($( $extra: Default::default(), )+)?
                }
            }

            fn visit(
                key: &$crate::config::error::Key,
                each: &mut dyn FnMut(&$crate::config::error::Key, &[$crate::config::value::Setting]),
            ) {
                each(key, Self::SETTINGS);
                $($(
                    <$section_type as $crate::config::section::Section>::visit(
                        &key.child(stringify!($section)), each
                    );
                )+)?
            }
        }
    };
}

macro_rules! setting {
    ($field:ident, $kind:ident, $default:literal, $why:literal, $($doc:literal)+) => {
        $crate::config::value::Setting {
            key: stringify!($field),
            default: $default,
            doc: concat!($($doc),+),
            why: $why,
            allowed: <$crate::config::value::$kind as $crate::config::value::ValueKind>::ALLOWED,
            form: <$crate::config::value::$kind as $crate::config::value::ValueKind>::FORM,
        }
    };
}

pub(crate) use {section, setting};
