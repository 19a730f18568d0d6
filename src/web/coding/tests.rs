use std::io::Read as _;

use super::*;

fn accepting(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::ACCEPT_ENCODING, header::HeaderValue::from_static(value))])
}

#[test]
fn a_coding_is_for_those_who_say_that_they_take_it() {
    assert!(takes(&accepting("gzip, deflate, br, zstd"), "br"));
    assert!(takes(&accepting("br;q=0.5"), "br"));
    assert!(!takes(&accepting("gzip, br;q=0"), "br"));
    assert!(!takes(&accepting("gzip"), "br"));
    assert!(!takes(&HeaderMap::new(), "br"));
}

#[test]
fn what_was_packed_can_be_read_piece_by_piece() {
    let mut packer = Packer::new(&accepting("gzip"));
    assert_eq!(packer.headers().get(header::CONTENT_ENCODING).unwrap(), "gzip");
    let (mut sent, mut read) = (vec![], String::new());
    for piece in ["one ", "", "two "] {
        sent.extend(packer.pack(piece.into()).unwrap());
    }
    // The stream has no end marker yet.
    let _ = flate2::read::GzDecoder::new(&*sent).read_to_string(&mut read);
    assert_eq!(read, "one two ");
    sent.extend(packer.finish().unwrap());
    read.clear();
    flate2::read::GzDecoder::new(&*sent).read_to_string(&mut read).unwrap();
    assert_eq!(read, "one two ");
}

#[test]
fn who_takes_nothing_gets_it_as_it_is() {
    let mut packer = Packer::new(&HeaderMap::new());
    assert!(packer.headers().get(header::CONTENT_ENCODING).is_none());
    assert_eq!(packer.pack(b"one".to_vec()).unwrap(), b"one");
    assert_eq!(packer.finish().unwrap(), b"");
}
