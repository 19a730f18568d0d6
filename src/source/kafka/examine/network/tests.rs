use super::*;

#[test]
fn addresses_are_split_as_by_librdkafka() {
    for (server, host, port) in [
        ("kafka:9093", "kafka", 9093),
        ("kafka", "kafka", 9092),
        ("SASL_SSL://kafka.example.org:1", "kafka.example.org", 1),
        ("[::1]:9094", "::1", 9094),
        ("[::1]", "::1", 9092),
    ] {
        assert_eq!(split_address(server), (host.to_owned(), port), "{server}");
    }
}
