//! Generates the bytes of random records: each schema implements [`Generate`] from its own rows.

use super::super::*;
use crate::decode::{
    consumer_protocol::{Embedded, Payload},
    schema::Message,
};

/// A source of random bytes that proptest can shrink. It returns zeros when its bytes are used up.
#[derive(Debug)]
pub(crate) struct Randomness<'s>(std::slice::Iter<'s, u8>);

impl<'s> Randomness<'s> {
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
    fn generate(randomness: &mut Randomness<'_>, out: &mut Vec<u8>, context: Context);
}

macro_rules! integers {
    ($($type:ty)+) => {$(
        impl<'a> Generate<'a> for $type {
            fn generate(randomness: &mut Randomness<'_>, out: &mut Vec<u8>, _: Context) {
                // Small, extreme and arbitrary numbers.
                let fill = [0, 0, 0xff, randomness.byte()][usize::from(randomness.below(4))];
                let mut bytes = [fill; size_of::<$type>()];
                bytes[size_of::<$type>() - 1] = randomness.byte();
                out.extend_from_slice(&bytes);
            }
        }
    )+};
}
integers!(i8 i16 u16 i32 i64);

impl<'a> Generate<'a> for Uuid {
    fn generate(randomness: &mut Randomness<'_>, out: &mut Vec<u8>, _: Context) {
        out.extend_from_slice(&[randomness.byte(); 16]);
    }
}

impl<'a> Generate<'a> for &'a str {
    fn generate(randomness: &mut Randomness<'_>, out: &mut Vec<u8>, context: Context) {
        let length = [0, 1, 3, 200][usize::from(randomness.below(4))];
        let characters = ["a", "é", "😀", "\0"];
        let text: String = (0..length).map(|_| characters[usize::from(randomness.below(4))]).collect();
        text.as_str().write(out, context);
    }
}

impl<'a> Generate<'a> for Option<&'a str> {
    fn generate(randomness: &mut Randomness<'_>, out: &mut Vec<u8>, context: Context) {
        match randomness.below(3) {
            0 => None::<&str>.write(out, context),
            _ => <&str>::generate(randomness, out, context),
        }
    }
}

impl<'a, T: Payload<'a>> Generate<'a> for Embedded<'a, T> {
    fn generate(randomness: &mut Randomness<'_>, out: &mut Vec<u8>, context: Context) {
        let bytes: Vec<u8> = (0..randomness.below(40)).map(|_| randomness.byte()).collect();
        bytes.as_slice().write(out, context);
    }
}

impl<'a, T: Generate<'a>> Generate<'a> for Array<'a, T> {
    fn generate(randomness: &mut Randomness<'_>, out: &mut Vec<u8>, context: Context) {
        let count = usize::from(randomness.below(4));
        write_length(Some(count), out, context, LengthWidth::I32);
        (0..count).for_each(|_| T::generate(randomness, out, context));
    }
}

impl<'a, T: Generate<'a>> Generate<'a> for Option<Array<'a, T>> {
    fn generate(randomness: &mut Randomness<'_>, out: &mut Vec<u8>, context: Context) {
        match randomness.below(3) {
            0 => write_length(None, out, context, LengthWidth::I32),
            _ => Array::<'a, T>::generate(randomness, out, context),
        }
    }
}

impl<'a, T: Nullable<'a> + Generate<'a>> Generate<'a> for Option<T> {
    fn generate(randomness: &mut Randomness<'_>, out: &mut Vec<u8>, context: Context) {
        let is_present = randomness.below(3) > 0;
        match T::NULL {
            Null::Byte => (if is_present { 1_i8 } else { -1 }).write(out, context),
            Null::Uvarint => write_uvarint(u32::from(is_present), out),
        }
        if is_present {
            T::generate(randomness, out, context);
        }
    }
}

impl<'a, T: Generate<'a>> Generate<'a> for Unversioned<T> {
    fn generate(randomness: &mut Randomness<'_>, out: &mut Vec<u8>, context: Context) {
        if randomness.below(3) > 0 {
            T::generate(randomness, out, context);
        }
    }
}

/// Generates the key and the value of a record of a type, in one of its versions.
pub(in crate::decode) fn record<'a, K: Generate<'a>, V: Message<'a> + Generate<'a>>(
    kind: i16,
    randomness: &mut Randomness<'_>,
) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut value) = (kind.to_be_bytes().to_vec(), vec![]);
    K::generate(randomness, &mut key, Context::default());
    let versions = V::VERSIONS;
    let count = u8::try_from(versions.end() - versions.start() + 1).unwrap();
    let version = versions.start() + i16::from(randomness.below(count));
    version.write(&mut value, Context::default());
    V::generate(randomness, &mut value, V::context(version).unwrap());
    (key, value)
}
