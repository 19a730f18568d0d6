use std::io::Read as _;

use super::*;

fn accepting(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::ACCEPT_ENCODING, header::HeaderValue::from_static(value))])
}

#[test]
fn a_coding_is_used_only_if_it_is_accepted() {
    assert!(accepts(&accepting("gzip, deflate, br, zstd"), "br"));
    assert!(accepts(&accepting("br;q=0.5"), "br"));
    assert!(!accepts(&accepting("gzip, br;q=0"), "br"));
    assert!(!accepts(&accepting("gzip"), "br"));
    assert!(!accepts(&HeaderMap::new(), "br"));
}

#[test]
fn each_chunk_can_be_decompressed_immediately() {
    let mut compressor = Compressor::new(&accepting("gzip"));
    assert_eq!(compressor.headers().get(header::CONTENT_ENCODING).unwrap(), "gzip");
    let (mut sent, mut read) = (vec![], String::new());
    for chunk in ["one ", "", "two "] {
        sent.extend(compressor.compress(chunk.into()).unwrap());
    }
    // The stream has no end marker yet.
    let _ = flate2::read::GzDecoder::new(&*sent).read_to_string(&mut read);
    assert_eq!(read, "one two ");
    sent.extend(compressor.finish().unwrap());
    read.clear();
    flate2::read::GzDecoder::new(&*sent).read_to_string(&mut read).unwrap();
    assert_eq!(read, "one two ");
}

#[test]
fn without_an_accepted_coding_chunks_are_unchanged() {
    let mut compressor = Compressor::new(&HeaderMap::new());
    assert!(compressor.headers().get(header::CONTENT_ENCODING).is_none());
    assert_eq!(compressor.compress(b"one".to_vec()).unwrap(), b"one");
    assert_eq!(compressor.finish().unwrap(), b"");
}
