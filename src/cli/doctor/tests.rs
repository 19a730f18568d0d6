use std::net::TcpListener;

use super::*;

/// Runs the command and returns whether it succeeded, and its output.
fn doctor(servers: &str, format: DoctorFormat) -> (bool, String) {
    let config = ClusterArgs { bootstrap_servers: Some(servers.to_owned()), ..ClusterArgs::default() };
    let mut out = vec![];
    let code = run(&DoctorArgs { config, format }, &BTreeMap::new(), &mut out).unwrap();
    (code == ExitCode::SUCCESS, String::from_utf8(out).unwrap())
}

fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn a_broker_that_is_down_is_reported_with_a_remedy_and_other_checks_are_skipped() {
    let server = closed_port();
    let (ok, text) = doctor(&server, DoctorFormat::Table);
    assert!(!ok, "{text}");
    for part in [
        "  ok       dns         127.0.0.1",
        "  failed   tcp",
        "→ check the port",
        "  skipped  read_log",
        "1 check failed",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    let (ok, text) = doctor(&server, DoctorFormat::Json);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(!ok && json["ok"] == false && json["clusters"][0]["cluster"] == "default", "{text}");
    let checks = json["clusters"][0]["checks"].as_array().unwrap();
    let tcp = checks.iter().find(|check| check["check"] == "tcp").unwrap();
    assert!(tcp["result"] == "failed" && tcp["object"] == server && tcp["remedy"].is_string(), "{tcp}");
}

#[test]
fn a_name_that_does_not_exist_fails_at_dns() {
    let (ok, text) = doctor("no-such-host.invalid:9092", DoctorFormat::Table);
    assert!(!ok && text.contains("failed   dns") && !text.contains("tcp   "), "{text}");
}

#[test]
fn a_server_that_closes_connections_is_reported_as_speaking_another_protocol() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap().to_string();
    // A broker that requires TLS or a login closes the connection like this. The thread ends with the process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = std::io::Read::read(&mut stream, &mut [0; 64]);
        }
    });
    let (ok, text) = doctor(&server, DoctorFormat::Table);
    assert!(!ok, "{text}");
    for part in [
        "ok       tcp",
        "warning  version",
        "failed   sasl",
        "check security.protocol and the port",
        "→ set security.protocol",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

#[test]
fn sources_are_tried_after_the_clusters() {
    let dir = tempfile::tempdir().unwrap();
    let (path, offsets) = (dir.path().join("offsetd.toml"), dir.path().join("offsets"));
    let text = format!(
        "[clusters.east]\nbootstrap_servers = '{}'\n[sources.import]\nfile = '{}'\n",
        closed_port(),
        offsets.display()
    );
    std::fs::write(&path, text).unwrap();
    let doctor = |format| {
        let config = ClusterArgs { config: Some(path.clone()), ..ClusterArgs::default() };
        let mut out = vec![];
        run(&DoctorArgs { config, format }, &BTreeMap::new(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let text = doctor(DoctorFormat::Table);
    assert!(text.contains("source import (import, of cluster east)\n  failed   "), "{text}");
    assert!(text.contains("cannot be read: No such file"), "{text}");
    std::fs::write(&offsets, "abc").unwrap();
    let text = doctor(DoctorFormat::Table);
    assert!(text.contains(&format!("  ok       {} can be read, 3 bytes", offsets.display())), "{text}");
    let json: serde_json::Value = serde_json::from_str(&doctor(DoctorFormat::Json)).unwrap();
    assert!(json["sources"][0]["ok"] == true && json["sources"][0]["kind"] == "import", "{json}");
}
