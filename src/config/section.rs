//! The macro that makes a section of the table of settings: the struct with its documented fields, the rows for the
//! example file, and the reading of the values. One source, so that none of them can say other than the rest.

use super::value::Form;

/// A row of the table of settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// Name in its section.
    pub(super) key: &'static str,
    /// The default, as text.
    pub(super) default: &'static str,
    /// What it means and its unit.
    pub(super) doc: &'static str,
    /// Why the default is what it is.
    pub(super) why: &'static str,
    /// What may be written.
    pub(super) allowed: &'static str,
    /// How TOML writes it.
    pub(super) form: Form,
}

macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                pub $field:ident: $type:ty = $kind:ident($default:literal), $why:literal;
            )+
        }
        $(with { $( $(#[$extra_meta:meta])* pub $extra:ident: $extra_type:ty, )+ })?
    ) => {
        $(#[$meta])*
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )+
            $($( $(#[$extra_meta])* pub $extra: $extra_type, )+)?
        }

        impl $name {
            /// The rows of this section.
            pub(in crate::config) const SETTINGS: &'static [$crate::config::section::Setting] =
                &[$( $crate::config::section::setting!($field, $kind, $default, $why, $($doc)+) ),+];

            pub(in crate::config) fn resolve(resolver: &mut Resolver<'_>, section: &Key $($(, $extra: $extra_type)+)?) -> Self {
                Self {
                    $($($extra,)+)?
                    $(
                        $field: {
                            let setting = $crate::config::section::setting!($field, $kind, $default, $why, $($doc)+);
                            resolver.get::<$crate::config::value::$kind>(section, &setting)
                        },
                    )+
                }
            }
        }
    };
}

macro_rules! setting {
    ($field:ident, $kind:ident, $default:literal, $why:literal, $($doc:literal)+) => {
        $crate::config::section::Setting {
            key: stringify!($field),
            default: $default,
            doc: concat!($($doc),+),
            why: $why,
            allowed: <$crate::config::value::$kind as $crate::config::value::Kind>::ALLOWED,
            form: <$crate::config::value::$kind as $crate::config::value::Kind>::FORM,
        }
    };
}

pub(super) use {section, setting};
