use super::*;

#[test]
fn every_kind_of_url_is_parsed() {
    let read = |url: &str| Address::parse(url).unwrap();
    let node = |host: &str, port| Node { host: host.to_owned(), port };
    let single = read("redis://127.0.0.1/2");
    assert_eq!(
        (single.nodes, single.deployment, single.tls, single.database),
        (vec![node("127.0.0.1", 6379)], Deployment::Single, false, 2)
    );
    let tls = read("rediss://offsetd@[::1]:7000");
    assert_eq!((tls.nodes, tls.tls, tls.user.as_deref()), (vec![node("::1", 7000)], true, Some("offsetd")));
    let cluster = read("redis+cluster://a:1,b");
    assert_eq!((cluster.nodes, cluster.deployment), (vec![node("a", 1), node("b", 6379)], Deployment::Cluster));
    let sentinel = read("redis+sentinel://a,b:5/mymaster/3");
    assert_eq!((sentinel.nodes, sentinel.database), (vec![node("a", 26379), node("b", 5)], 3));
    assert_eq!(sentinel.deployment, Deployment::Sentinel("mymaster".to_owned()));
}

#[test]
fn the_error_of_an_invalid_url_names_the_expected_form() {
    let refused = |url: &str| Address::parse(url).unwrap_err();
    assert_eq!(refused("127.0.0.1:6379"), AddressError::Scheme);
    assert_eq!(refused("http://127.0.0.1:6379"), AddressError::Scheme);
    assert_eq!(refused("redis://u:secret@h"), AddressError::Password);
    assert!(!refused("redis://u:secret@h").to_string().contains("secret"));
    assert_eq!(refused("redis://"), AddressError::Node(String::new()));
    assert_eq!(refused("redis://h:x"), AddressError::Node("h:x".to_owned()));
    assert_eq!(refused("redis://h:0"), AddressError::Node("h:0".to_owned()));
    assert_eq!(refused("redis://h/x"), AddressError::Database("x".to_owned()));
    assert_eq!(refused("redis+cluster://h/1"), AddressError::ClusterDatabase);
    assert_eq!(refused("redis+sentinel://h"), AddressError::SentinelName);
}
