use std::collections::BTreeMap;

use super::*;
use crate::config::{Flags, Layers, Server};

#[test]
fn a_server_that_others_reach_and_that_wants_nothing_of_them_is_exposed() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "token-of-the-tests").unwrap();
    let flags = Flags { bootstrap_servers: Some("127.0.0.1:1".to_owned()), ..Flags::default() };
    let layers = Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
    let mut server = Config::load(layers).unwrap().config.server;
    let exposed = |server: &Server, address: &str| is_exposed(&Access::new(server).unwrap(), address.parse().unwrap());
    for (address, others) in [
        ("127.0.0.1:1", false),
        ("[::1]:1", false),
        ("[::ffff:127.0.0.1]:1", false),
        ("0.0.0.0:1", true),
        ("[::]:1", true),
    ] {
        assert_eq!(exposed(&server, address), others, "{address}");
    }
    server.auth.tokens_file = Some(tokens);
    assert!(!exposed(&server, "0.0.0.0:1"));
}

#[test]
fn the_address_file_is_replaced_as_a_whole_and_no_link_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, victim) = (dir.path().join("address"), dir.path().join("victim"));
    fs::write(&victim, "precious").unwrap();
    // A predictable temporary name, and the file itself.
    for name in ["address.new", "address"] {
        std::os::unix::fs::symlink(&victim, dir.path().join(name)).unwrap();
    }
    write_address(Some(&path), "127.0.0.1:8088".parse().unwrap()).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(fs::read_to_string(&path).unwrap(), "127.0.0.1:8088");
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is left aside");
    assert!(write_address(Some(&dir.path().join("none/address")), "127.0.0.1:1".parse().unwrap()).is_err());
}
