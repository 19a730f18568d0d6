use super::*;

#[test]
fn groups_map_to_the_partition_that_kafka_chooses() {
    let cases = [
        ("", 0, 0),
        ("g1", 3242, 42),
        ("my-group", -1_906_497_762, 12),
        ("console-consumer-12345", 158_455_506, 6),
        ("grüp", 3_185_951, 1),
        ("消费者", 28_099_956, 6),
        ("😀", 1_772_899, 49),
        ("polygenelubricants", i32::MIN, 0),
    ];
    for (group, hash, partition) in cases {
        assert_eq!(java_hash(group), hash, "{group}");
        assert_eq!(log_partition_for(group, 50), Some(partition), "{group}");
    }
    assert_eq!(log_partition_for("g1", 0), None);
}

#[test]
fn uuids_print_as_kafka_prints_them() {
    let id = Uuid(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes());
    assert_eq!(id.to_string(), "ABEiM0RVZneImaq7zN3u_w");
    assert_eq!(Uuid::parse("ABEiM0RVZneImaq7zN3u_w"), Some(id));
    assert_eq!(Uuid::parse("short"), None);
}

#[test]
fn missing_times_and_times_beyond_2262_are_not_shown() {
    assert_eq!(nanos(1_700_000_000_000), Some(1_700_000_000_000_000_000));
    let last = i64::MAX / 1_000_000;
    assert_eq!((shown(1), shown(last)), (Some(1), Some(last)));
    for at in [0, -1, i64::MIN, last + 1, i64::MAX] {
        assert_eq!((shown(at), nanos(at)), (None, None), "{at}");
    }
}

#[test]
fn data_loss_is_the_worst_status() {
    assert!(Status::DataLost > Status::Stopped && Status::Stopped > Status::Stalled);
    assert!(Status::Stalled > Status::Rewind && Status::Rewind > Status::Lagging);
    assert!(Status::Lagging > Status::Unknown && Status::Unknown > Status::Ok);
}
