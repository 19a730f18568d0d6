use super::*;

#[test]
fn servers_and_chroot_are_parsed() {
    let node = |host: &str, port| Node { host: host.to_owned(), port };
    let address = Address::parse("zk1:2182, zk2,[::1]:2183/kafka/a").unwrap();
    assert_eq!(address.nodes, [node("zk1", 2182), node("zk2", 2181), node("::1", 2183)]);
    assert_eq!(address.chroot, "/kafka/a");
    assert_eq!(Address::parse("zk1/").unwrap().chroot, "");
}

#[test]
fn invalid_servers_are_refused_without_their_password() {
    for (servers, reason) in [
        ("", "missing"),
        ("zk1:x", "invalid address"),
        ("zk1,,zk2", "invalid address"),
        ("zookeeper://zk1:2181", "invalid address"),
        ("zk1:2181/a//b", "empty name"),
        ("zk1:2181/a/", "ends with /"),
        ("user:secret@zk1:2181", "auth.password"),
    ] {
        let error = Address::parse(servers).unwrap_err().to_string();
        assert!(error.contains(reason) && !error.contains("secret"), "{servers}: {error}");
    }
}
