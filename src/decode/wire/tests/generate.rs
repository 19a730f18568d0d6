//! Generates the bytes of random records: each schema implements [`Generate`] from its own rows.

use super::super::*;
use crate::decode::{
    consumer_protocol::{Embedded, Payload},
    schema::Message,
};

/// A source of random bytes that proptest can shrink. It returns zeros when its bytes are used up.
#[derive(Debug)]
pub(crate) struct Source<'s>(std::slice::Iter<'s, u8>);

impl<'s> Source<'s> {
    pub(crate) fn new(bytes: &'s [u8]) -> Self {
        Self(bytes.iter())
    }

    /// Returns a number below `limit`.
    pub(crate) fn below(&mut self, limit: u8) -> u8 {
        self.byte() % limit
    }

    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }
}

/// A type that can write a random value of itself.
pub(crate) trait Generate<'a>: Wire<'a> {
    fn generate(source: &mut Source<'_>, out: &mut Vec<u8>, context: Context);
}

macro_rules! integers {
    ($($type:ty)+) => {$(
        impl<'a> Generate<'a> for $type {
            fn generate(source: &mut Source<'_>, out: &mut Vec<u8>, _: Context) {
                // Small, extreme and arbitrary numbers.
                let fill = [0, 0, 0xff, source.byte()][usize::from(source.below(4))];
                let mut bytes = [fill; size_of::<$type>()];
                bytes[size_of::<$type>() - 1] = source.byte();
                out.extend_from_slice(&bytes);
            }
        }
    )+};
}
integers!(i8 i16 u16 i32 i64);

impl<'a> Generate<'a> for Uuid {
    fn generate(source: &mut Source<'_>, out: &mut Vec<u8>, _: Context) {
        out.extend_from_slice(&[source.byte(); 16]);
    }
}

impl<'a> Generate<'a> for &'a str {
    fn generate(source: &mut Source<'_>, out: &mut Vec<u8>, context: Context) {
        let length = [0, 1, 3, 200][usize::from(source.below(4))];
        let characters = ["a", "é", "😀", "\0"];
        let text: String = (0..length).map(|_| characters[usize::from(source.below(4))]).collect();
        text.as_str().write(out, context);
    }
}

impl<'a> Generate<'a> for Option<&'a str> {
    fn generate(source: &mut Source<'_>, out: &mut Vec<u8>, context: Context) {
        match source.below(3) {
            0 => None::<&str>.write(out, context),
            _ => <&str>::generate(source, out, context),
        }
    }
}

impl<'a, T: Payload<'a>> Generate<'a> for Embedded<'a, T> {
    fn generate(source: &mut Source<'_>, out: &mut Vec<u8>, context: Context) {
        let bytes: Vec<u8> = (0..source.below(40)).map(|_| source.byte()).collect();
        bytes.as_slice().write(out, context);
    }
}

impl<'a, T: Generate<'a>> Generate<'a> for Array<'a, T> {
    fn generate(source: &mut Source<'_>, out: &mut Vec<u8>, context: Context) {
        let count = usize::from(source.below(4));
        write_length(Some(count), out, context, Fixed::I32);
        (0..count).for_each(|_| T::generate(source, out, context));
    }
}

impl<'a, T: Generate<'a>> Generate<'a> for Option<Array<'a, T>> {
    fn generate(source: &mut Source<'_>, out: &mut Vec<u8>, context: Context) {
        match source.below(3) {
            0 => write_length(None, out, context, Fixed::I32),
            _ => Array::<'a, T>::generate(source, out, context),
        }
    }
}

impl<'a, T: Nullable<'a> + Generate<'a>> Generate<'a> for Option<T> {
    fn generate(source: &mut Source<'_>, out: &mut Vec<u8>, context: Context) {
        let there = source.below(3) > 0;
        match T::NULL {
            Null::Byte => (if there { 1_i8 } else { -1 }).write(out, context),
            Null::Uvarint => write_uvarint(u32::from(there), out),
        }
        if there {
            T::generate(source, out, context);
        }
    }
}

impl<'a, T: Generate<'a>> Generate<'a> for Late<T> {
    fn generate(source: &mut Source<'_>, out: &mut Vec<u8>, context: Context) {
        if source.below(3) > 0 {
            T::generate(source, out, context);
        }
    }
}

/// Generates the key and the value of a record of a type, in one of its versions.
pub(in crate::decode) fn record<'a, K: Generate<'a>, V: Message<'a> + Generate<'a>>(
    kind: i16,
    source: &mut Source<'_>,
) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut value) = (kind.to_be_bytes().to_vec(), vec![]);
    K::generate(source, &mut key, Context::default());
    let versions = V::VERSIONS;
    let count = u8::try_from(versions.end() - versions.start() + 1).unwrap();
    let version = versions.start() + i16::from(source.below(count));
    version.write(&mut value, Context::default());
    V::generate(source, &mut value, V::context(version).unwrap());
    (key, value)
}
