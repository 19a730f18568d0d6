use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// A connection that delivers its pieces one by one, with a timeout after each.
struct Pieces(VecDeque<Vec<u8>>, bool);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Some(piece) = self.0.front_mut() else { return Ok(0) };
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        piece.drain(..length);
        if piece.is_empty() {
            self.0.pop_front();
        }
        Ok(length)
    }
}

fn read_all(source: &mut impl Read) -> (Vec<Frame>, io::ErrorKind) {
    let (mut reader, mut frames) = (FrameReader::default(), vec![]);
    loop {
        match reader.advance(source) {
            Ok(frame) => frames.extend(frame),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return (frames, error.kind()),
        }
    }
}

fn message(content: &[u8]) -> Vec<u8> {
    [&u32::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
}

#[test]
fn an_empty_message_and_a_negative_length_are_told_apart() {
    let (frames, end) = read_all(&mut &message(b"")[..]);
    assert_eq!((frames.len(), end), (1, io::ErrorKind::UnexpectedEof));
    let (frames, end) = read_all(&mut &[0xff_u8; 8][..]);
    assert_eq!((frames.len(), end), (0, io::ErrorKind::InvalidData));
}

#[test]
fn the_end_of_a_message_that_is_too_long_is_dropped_and_the_next_one_read() {
    let length = MAX_BYTES + 10;
    let header = u32::try_from(length).unwrap().to_be_bytes();
    let mut source = header[..].chain(io::repeat(7).take(length as u64)).chain(io::Cursor::new(message(b"next")));
    let (frames, _) = read_all(&mut source);
    let [long, next] = &frames[..] else { panic!("{} messages", frames.len()) };
    assert!(long.is_cut && long.bytes.len() == MAX_BYTES);
    assert_eq!(next, &Frame { bytes: b"next".to_vec(), is_cut: false });
}

proptest! {
    #[test]
    fn messages_survive_any_split_and_any_timeout(
        contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..5),
        sizes in proptest::collection::vec(1_usize..7, 1..20),
    ) {
        let bytes: Vec<u8> = contents.iter().flat_map(|content| message(content)).collect();
        let (mut pieces, mut rest, mut sizes) = (VecDeque::new(), &bytes[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            pieces.push_back(piece.to_vec());
            rest = after;
        }
        let (frames, end) = read_all(&mut Pieces(pieces, false));
        prop_assert_eq!(end, io::ErrorKind::UnexpectedEof);
        prop_assert_eq!(frames.into_iter().map(|frame| frame.bytes).collect::<Vec<_>>(), contents);
    }
}
