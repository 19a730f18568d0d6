use super::*;

fn answer(apis: &[[i16; 3]]) -> Vec<u8> {
    let count = u32::try_from(apis.len()).unwrap().to_be_bytes();
    let head = [[0, 0, 0, 1].as_slice(), &[0, 0], &count].concat();
    apis.iter().flatten().fold(head, |bytes, number| [bytes.as_slice(), &number.to_be_bytes()].concat())
}

#[test]
fn the_newest_fetch_version_identifies_the_release() {
    assert_eq!(newest_fetch(&answer(&[[0, 0, 9], [1, 4, 17], [2, 0, 8]])), Some(17));
    let releases = [(19, Some("4.1 or later")), (14, Some("3.1 to 3.4")), (4, Some("0.11 or 1.0")), (3, None)];
    for (fetch, expected) in releases {
        assert_eq!(release(fetch), expected, "{fetch}");
    }
}

#[test]
fn a_malformed_reply_has_no_version() {
    let good = answer(&[[0, 0, 9], [1, 4, 17]]);
    for cut in 0..good.len() {
        assert_eq!(newest_fetch(&good[..cut]), None, "{cut}");
    }
    assert_eq!(newest_fetch(b"HTTP/1.1 400 Bad Request\r\n\r\n"), None);
    assert_eq!(newest_fetch(&answer(&[])), None);
}
