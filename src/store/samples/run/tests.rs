use proptest::prelude::*;

use super::*;

type Frames = Vec<(u32, Vec<(u32, i64)>)>;

fn frames() -> impl Strategy<Value = Frames> {
    let by = prop_oneof![8 => -40..40_i64, 2 => any::<i64>(), 1 => Just(i64::MIN)];
    let lines = prop_oneof![0..4_u32, 0..300_u32, Just(u32::MAX - 1)];
    let changes = prop::collection::btree_map(lines, by, 1..40).prop_map(|all| all.into_iter().collect());
    prop::collection::vec((prop_oneof![3 => Just(1_u32), 1 => 1..100_u32], changes), 1..=FRAMES as usize)
}

fn read(run: &Run) -> Vec<(SampleNumber, u32, i64)> {
    let mut read = vec![];
    run.read(&mut |index, line, by| read.push((index, line, by)));
    read
}

proptest! {
    #[test]
    fn every_change_survives_a_round_trip(frames in frames()) {
        let (mut run, mut written, mut index) = (Run::default(), vec![], 0);
        for (gap, changes) in frames {
            index += gap;
            written.extend(changes.iter().map(|(line, by)| (index, *line, *by)));
            run.push(index, changes);
        }
        prop_assert_eq!(read(&run), written);
        prop_assert_eq!(run.last(), index);
    }

    #[test]
    fn every_number_survives_a_round_trip(value in any::<i64>()) {
        let mut bytes = vec![];
        write_varint(zigzag(value), &mut bytes);
        let mut bytes = bytes.iter();
        prop_assert_eq!(read_varint(&mut bytes).map(unzigzag), Some(value));
        prop_assert_eq!(read_varint(&mut bytes), None);
    }
}

#[test]
fn extreme_values_survive_a_round_trip() {
    for value in [0, -1, 1, 63, 64, -64, -65, i64::MIN, i64::MAX] {
        let mut run = Run::default();
        run.push(7, vec![(0, value), (u32::MAX - 1, i64::MAX)]);
        run.push(8, vec![(0, i64::MIN), (u32::MAX - 1, value)]);
        let last = u32::MAX - 1;
        assert_eq!(read(&run), [(7, 0, value), (7, last, i64::MAX), (8, 0, i64::MIN), (8, last, value)]);
    }
}

#[test]
fn a_line_takes_at_most_two_bytes_a_sample() {
    for lines in [1, 3, 100] {
        for noise in [2, 30] {
            let mut run = Run::default();
            for index in 1..=FRAMES {
                let by = |line: u32| 1000 + i64::from((index * 7 + line * 11) % (2 * noise + 1));
                run.push(index, (0..lines).map(|line| (line, by(line))).collect());
            }
            assert!(run.is_full());
            let most = (2 * lines * FRAMES + 8) as usize;
            assert!(run.heap() <= most, "{} bytes of {lines} lines", run.heap());
        }
    }
}
