use super::*;

#[test]
fn sizes_and_durations_take_units_and_show_what_they_read() {
    assert_eq!(Bytes::parse("64KiB"), Ok(65_536));
    assert_eq!(Bytes::parse("1 GiB"), Ok(1 << 30));
    assert_eq!(Bytes::parse("4096"), Ok(4096));
    assert_eq!(Bytes::parse("2MB"), Ok(2_000_000));
    for bad in ["", "0", "-1", "1TB", "1.5GiB", "99999999999GiB", "MiB"] {
        assert!(Bytes::parse(bad).is_err(), "{bad}");
    }
    for text in ["64KiB", "3MiB", "1GiB", "1000B"] {
        assert_eq!(Bytes::show(&Bytes::parse(text).unwrap()).as_deref(), Some(text));
    }
    assert_eq!(Time::parse("5min"), Ok(Duration::from_secs(300)));
    assert_eq!(Time::parse("250ms"), Ok(Duration::from_millis(250)));
    for bad in ["", "30", "0s", "-1s", "3 parsecs", "1000years", "99999999999999999999s"] {
        assert!(Time::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn hosts_and_origins_are_normalised_as_in_browsers() {
    let texts = |texts: &[&str]| Ok(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    assert_eq!(
        Hosts::parse("Offsetd.Example.org., *,,bücher.example"),
        texts(&["offsetd.example.org", "*", "xn--bcher-kva.example"])
    );
    assert_eq!(Hosts::parse(" "), texts(&[]));
    for bad in ["a:8088", "http://a", "a/b", "*.example.org", "a b", "a@b"] {
        assert!(Hosts::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(Origins::parse("HTTPS://A.example:443/, http://b:3000"), texts(&["https://a.example", "http://b:3000"]));
    for bad in ["*", "null", "a.example", "https://a.example/path", "https://u@a.example", "ftp://a", "https://"] {
        assert!(Origins::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn addresses_need_a_host_and_a_port() {
    for good in ["127.0.0.1:8088", "[::1]:0", "localhost:1", "0.0.0.0:65535"] {
        assert!(Address::parse(good).is_ok(), "{good}");
    }
    for bad in ["", "8088", ":8088", "localhost", "::1:8088", "a:b", "a:65536", "a b:1", "http://a:1"] {
        assert!(Address::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(Servers::parse("a:9092, SSL://b:9093,c").as_deref(), Ok("a:9092,SSL://b:9093,c"));
    for bad in ["", " ", "a:1,,b:2", "a:x", "a b"] {
        assert!(Servers::parse(bad).is_err(), "{bad}");
    }
}
