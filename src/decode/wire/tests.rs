pub(in crate::decode) mod generate;

use super::*;

#[test]
fn a_varint_of_more_than_32_bits_is_rejected() {
    assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).uvarint(), Ok(u32::MAX));
    assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).uvarint().is_err());
    assert!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x80]).uvarint().is_err());
    assert!(Reader::new(&[0x80]).uvarint().is_err());
}

#[test]
fn varints_round_trip() {
    for value in [0, 1, 127, 128, 16_383, 16_384, u32::MAX] {
        let mut bytes = vec![];
        write_uvarint(value, &mut bytes);
        assert_eq!(Reader::new(&bytes).uvarint(), Ok(value));
    }
}

#[test]
fn a_count_beyond_the_buffer_fails_before_any_element() {
    let bytes = [0x7f, 0xff, 0xff, 0xff, 0, 0];
    let error = Array::<i8>::read(&mut Reader::new(&bytes), Context::default()).unwrap_err();
    assert!(matches!(error.fault(), Fault::EndOfBuffer { .. }));
}

#[test]
fn bad_utf8_is_reported_at_its_first_bad_byte() {
    let bytes = [0, 3, b'a', 0xff, b'b'];
    let error = <&str>::read(&mut Reader::new(&bytes), Context::default()).unwrap_err();
    assert_eq!((error.fault(), error.at()), (Fault::Utf8, 3));
}
