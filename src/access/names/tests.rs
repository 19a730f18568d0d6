//! Tests of the host names of a machine.

use super::*;

#[test]
fn the_machine_has_the_name_of_the_kernel_its_aliases_and_its_domains() {
    let hosts =
        "127.0.0.1 localhost\n10.0.0.5\tWeb1.corp.example.com web1 # the first\n10.0.0.6 web2.example.com web2\n";
    let names = of("web1", hosts, "nameserver 10.0.0.1\nsearch eu.example.com example.com.\n");
    assert_eq!(names, ["web1.corp.example.com", "web1", "web1.eu.example.com", "web1.example.com", "web1"]);
    assert!(of("", hosts, "search example.com").is_empty());
    assert!(own("offsetd.example.com:8088").contains(&"offsetd.example.com".to_owned()));
}
