use proptest::prelude::*;

use super::*;

/// Bytes of a reply to a multiRead: two results and an error.
fn results() -> Vec<u8> {
    let header = |message: Encoder, kind: i32, end| message.int(kind).bool(end).int(0);
    let stat = |message: Encoder| {
        let message = message.long(1).long(2).long(3).long(1_700_000_000_000);
        message.int(0).int(0).int(0).long(0).int(2).int(0).long(5)
    };
    let message = stat(header(Encoder(vec![]), operation::GET_DATA, false).bytes(b"42"));
    let message = header(message, operation::ERROR, false).int(code::NO_AUTH);
    // Data that is absent has the length -1.
    let message = stat(header(message, operation::GET_DATA, false).int(-1));
    header(message, -1, true).0
}

/// The data of a znode with its modification time, or an error code.
type NodeResult = Result<(Vec<u8>, Millis), i32>;

fn data(message: &[u8]) -> (Result<usize, WireError>, Vec<NodeResult>) {
    let mut found = vec![];
    let read = read_results(&mut Decoder::new(message), operation::GET_DATA, |number, content| {
        assert_eq!(number, found.len());
        found.push(content.map(|content| match content {
            NodeContent::Data(data, stat) => (data.to_vec(), stat.modified_at),
            NodeContent::Children(names) => (names.flatten().copied().collect(), 0),
        }));
    });
    (read, found)
}

#[test]
fn each_result_of_a_reply_is_read() {
    let at = 1_700_000_000_000;
    let expected = vec![Ok((b"42".to_vec(), at)), Err(code::NO_AUTH), Ok((vec![], at))];
    assert_eq!(data(&results()), (Ok(3), expected));
}

#[test]
fn a_reply_that_ends_early_is_an_error() {
    let message = results();
    for length in 0..message.len() {
        assert_eq!(data(&message[..length]).0, Err(WireError::Truncated), "{length}");
    }
}

#[test]
fn children_are_read_by_name() {
    let message = Encoder(vec![]).int(2).text("a").text("b c").0;
    let names = Decoder::new(&message).names().unwrap();
    assert_eq!(names.len(), 2);
    assert_eq!(names.collect::<Vec<_>>(), [&b"a"[..], b"b c"]);
    // A count that the message only claims takes no memory.
    let claimed = Encoder(vec![]).int(i32::MAX).text("a").0;
    assert_eq!(Decoder::new(&claimed).names().err(), Some(WireError::Truncated));
    assert_eq!(Decoder::new(&[0xff, 0xff, 0xff, 0xfe]).names().err(), Some(WireError::Length(-2)));
}

#[test]
fn requests_have_the_bytes_of_the_protocol() {
    assert_eq!(empty(xid::PING, operation::PING), b"\0\0\0\x08\xff\xff\xff\xfe\0\0\0\x0b");
    assert_eq!(of_path(1, operation::GET_DATA, "/a"), b"\0\0\0\x0f\0\0\0\x01\0\0\0\x04\0\0\0\x02/a\0");
    assert_eq!(of_path(1, operation::SYNC, "/a"), b"\0\0\0\x0e\0\0\0\x01\0\0\0\x09\0\0\0\x02/a");
    assert_eq!(add_watch(2, "/"), b"\0\0\0\x11\0\0\0\x02\0\0\0\x6a\0\0\0\x01/\0\0\0\x01");
    assert_eq!(connect(1000).len(), 4 + 4 + 8 + 4 + 8 + 4 + 16 + 1);
    let multi = multi_read(3, operation::GET_DATA, ["/a"].into_iter());
    assert_eq!(
        multi,
        b"\0\0\0\x21\0\0\0\x03\0\0\0\x16\0\0\0\x04\0\xff\xff\xff\xff\0\0\0\x02/a\0\xff\xff\xff\xff\x01\xff\xff\xff\xff"
    );
}

proptest! {
    #[test]
    fn no_bytes_panic_or_yield_more_than_they_hold(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (_, found) = data(&bytes);
        let total: usize = found.iter().flatten().map(|(data, _)| data.len()).sum();
        prop_assert!(total <= bytes.len() && found.len() <= bytes.len());
        let _ = read_results(&mut Decoder::new(&bytes), operation::GET_CHILDREN, |_, _| {});
        let _ = ReplyHeader::read(&mut Decoder::new(&bytes));
        let _ = ConnectReply::read(&mut Decoder::new(&bytes));
        let _ = Event::read(&mut Decoder::new(&bytes));
        if let Ok(names) = Decoder::new(&bytes).names() {
            let count = names.len();
            prop_assert_eq!(names.count(), count);
        }
    }

    #[test]
    fn a_changed_byte_of_a_reply_does_not_panic(at in 0_usize..300, byte in any::<u8>()) {
        let mut message = results();
        let at = at % message.len();
        message[at] = byte;
        let (_, found) = data(&message);
        prop_assert!(found.len() <= message.len());
    }
}
