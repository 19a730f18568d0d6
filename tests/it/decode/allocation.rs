//! Decoding allocates no memory, whatever lengths a record claims; its JSON form allocates in proportion to the record.

#![allow(unsafe_code, reason = "a counting allocator implements an unsafe trait")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io,
};

use offsetd::decode::{Record, decode};

use crate::recorded::{bytes, records};

/// An allocator that counts the bytes that each thread requests.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

fn count(size: usize) {
    // The counter is gone while its thread ends.
    let _ = ALLOCATED.try_with(|allocated| allocated.set(allocated.get() + size));
}

// SAFETY: all calls are forwarded to the system's allocator; counting only touches a thread-local integer.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's guarantees are passed on, here and below.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Returns the bytes that this thread requests during `work`, freed or not.
pub(crate) fn allocated<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATED.get();
    let result = work();
    (result, ALLOCATED.get() - before)
}

/// Bytes for the path in an error, however long the record is.
pub(super) const PATH: usize = 1024;

/// Decodes a record and asserts that only the path of an error is allocated.
pub(super) fn decode_frugally<'a>(key: &'a [u8], value: Option<&'a [u8]>) -> Option<Record<'a>> {
    let (decoded, allocated) = allocated(|| decode(Some(key), value));
    match decoded {
        Ok(record) => {
            assert_eq!(allocated, 0, "{record:?}");
            Some(record)
        }
        Err(error) => {
            assert!(allocated <= PATH, "{allocated} bytes for {error}");
            assert!(error.at() <= key.len().max(value.map_or(0, <[u8]>::len)), "{error}");
            assert!(error.field().starts_with("key") || error.field().starts_with("value"), "{error}");
            None
        }
    }
}

/// Writes a record as JSON and asserts that the memory is bounded by the size of the record.
pub(super) fn json_frugally(record: &Record<'_>, size: usize) {
    let (written, allocated) = allocated(|| serde_json::to_writer(io::sink(), record));
    written.unwrap();
    assert!(allocated <= 4 * size + PATH, "{allocated} bytes for a record of {size}");
}

#[test]
fn decoding_allocates_nothing_and_json_no_more_than_the_records_size() {
    for (key, value) in records() {
        let record = decode_frugally(&key, value.as_deref()).unwrap();
        json_frugally(&record, key.len() + value.as_ref().map_or(0, Vec::len));
    }
}

#[test]
fn a_claim_is_not_believed() {
    let commit = bytes("00010002673100017400000003");
    let group = bytes("000200026731");
    let member = bytes("00080002673100026d31");
    for (key, value, fault, field, at) in [
        // 32767 bytes of metadata; -2 bytes; a compact length of 2^32 - 2; a varint without an end.
        (&commit, "0003000000000000002a000000077fff", "end_of_buffer", "value.metadata", 16),
        (&commit, "0003000000000000002a00000007fffe", "negative_length", "value.metadata", 14),
        (&commit, "0004000000000000002a00000007ffffffff0f", "string_too_long", "value.metadata", 14),
        (&commit, "0004000000000000002a00000007ffffffffff", "varint", "value.metadata", 14),
        (&commit, "0004000000000000002a0000000703ff64", "utf8", "value.metadata", 15),
        // 2^31 - 1 and -2 members; members that are null.
        (&group, "0003000000000001ffffffff00000000000000007fffffff", "end_of_buffer", "value.members", 20),
        (&group, "0003000000000001ffffffff0000000000000000fffffffe", "negative_length", "value.members", 20),
        (&group, "0003000000000001ffffffff0000000000000000ffffffff", "null", "value.members", 20),
        // As many topics as there are bytes; 2^28 tags; a tag of 2^32 - 1 bytes.
        (&member, "0000000000050000000400050000000000", "end_of_buffer", "value.assignedPartitions[0].topicId", 12),
        (&member, "000000000005000000040001 01ffffffff00", "end_of_buffer", "value", 18),
        (&member, "000000000005000000040001 010100ffffffff0f", "end_of_buffer", "value", 20),
    ] {
        let value = bytes(&value.replace(' ', ""));
        assert!(decode_frugally(key, Some(&value)).is_none());
        let error = decode(Some(key), Some(&value)).unwrap_err();
        assert_eq!((error.fault().name(), error.field(), error.at()), (fault, field, at));
    }
}

#[test]
fn a_megabyte_is_refused_where_kafka_refuses_it_and_borrowed_where_not() {
    // Strings are limited to 32767 bytes; byte fields are not.
    let commit = bytes("00010002673100017400000003");
    let text = |length: usize, compact: &str| {
        let head = bytes(&format!("0004000000000000002a00000007{compact}"));
        [&head[..], &vec![b'x'; length], &bytes("0000018bcfe5680000")].concat()
    };
    assert!(decode_frugally(&commit, Some(&text(0x7fff, "808002"))).is_some());
    assert!(decode_frugally(&commit, Some(&text(0x8000, "818002"))).is_none());
    assert!(decode_frugally(&commit, Some(&text(1 << 20, "818040"))).is_none());

    let group = bytes("000200026731");
    let head = "00030000000000010000ffff000000000000000000000001 0000ffff00000000 0000000000000000 00100000";
    let value = [&bytes(&head.replace(' ', ""))[..], &vec![7; 1 << 20], &[0; 4]].concat();
    let record = decode_frugally(&group, Some(&value)).unwrap();
    json_frugally(&record, value.len());

    // A member with a million partitions.
    let member = bytes("00070002673100026d31");
    let head = bytes("000002000102030405060708090a0b0c0d0e0f818040");
    let value = [&head[..], &vec![0; 4 << 20], &[0, 0]].concat();
    let record = decode_frugally(&member, Some(&value)).unwrap();
    json_frugally(&record, value.len());
}
