//! Tests of the memory that an hour of samples takes.

use super::*;

const KEYS: i32 = 100;
/// Number of samples of an hour, both ends included, plus a run that has not been dropped yet.
const SAMPLES: usize = 361 + 64;

/// Returns the bytes per key of a group with an hour of samples. One key in `nth` moves, by 1,000 ± `noise` records per
/// sample.
fn bytes_of_a_key(nth: usize, noise: u64) -> usize {
    let (mut lab, mut random) = (lab(usize::MAX), 7_u64);
    let mut offsets = vec![1_000_000_i64; usize::try_from(KEYS).unwrap()];
    for _ in 0..SAMPLES + 10 {
        for (offset, partition) in offsets.iter_mut().zip(0..KEYS).step_by(nth) {
            // xorshift64
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            *offset += 1000 - i64::try_from(noise).unwrap() + i64::try_from(random % (2 * noise + 1)).unwrap();
            lab.commit("g", ("orders", partition), *offset);
        }
        lab.sample();
    }
    lab.cluster().own.samples.current().bytes / offsets.len()
}

#[test]
fn a_moving_key_takes_at_most_two_bytes_per_sample_and_a_still_key_none() {
    // Bytes of a line, and of its share of the group's description, runs and samples.
    let line = 250;
    for (noise, bytes) in [(2, 1), (16, 1), (200, 2)] {
        let found = bytes_of_a_key(1, noise);
        assert!(found <= bytes * SAMPLES + line, "{found} bytes with noise of {noise}");
    }
    let found = bytes_of_a_key(100, 2);
    assert!(found <= 3 * SAMPLES / 100 + line, "{found} bytes where one key in 100 moves");
}
