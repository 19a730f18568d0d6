use super::*;

#[test]
fn a_server_is_split_as_librdkafka_does() {
    for (server, host, port) in [
        ("kafka:9093", "kafka", 9093),
        ("kafka", "kafka", 9092),
        ("SASL_SSL://kafka.example.org:1", "kafka.example.org", 1),
        ("[::1]:9094", "::1", 9094),
        ("[::1]", "::1", 9092),
    ] {
        assert_eq!(parts(server), (host.to_owned(), port), "{server}");
    }
}
