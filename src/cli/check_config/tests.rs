use super::*;

fn check(args: ClusterArgs, env: &[(&str, &str)]) -> Result<String, Failure> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut out = Vec::new();
    run(&CheckConfigArgs { config: args, example: false }, &env, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn every_value_is_shown_with_its_origin_and_loads_again() {
    let args = ClusterArgs {
        bootstrap_servers: Some("localhost:9092".to_owned()),
        kafka: vec!["sasl.password=hunter2".parse().unwrap()],
        ..ClusterArgs::default()
    };
    let text = check(args, &[("OFFSETD_SQL_TIMEOUT", "5s")]).unwrap();
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{text}"));
    assert!(line("sql.timeout = \"5s\" ").ends_with("  # env OFFSETD_SQL_TIMEOUT"));
    assert!(line("server.listen = ").ends_with("  # default"));
    assert!(line("# server.address_file is not set").ends_with("  # default"));
    assert!(line("clusters.default.bootstrap_servers").ends_with("# flag --bootstrap-servers"));
    assert!(line("clusters.default.kafka.\"sasl.password\" = \"***\"").ends_with("# flag -X"));
    assert!(!text.contains("hunter2"));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("again.toml");
    std::fs::write(&path, &text).unwrap();
    let again = check(ClusterArgs { config: Some(path), ..ClusterArgs::default() }, &[]).unwrap();
    let values =
        |text: &str| text.lines().map(|line| line.split("  #").next().unwrap().trim().to_owned()).collect::<Vec<_>>();
    assert_eq!(values(&text), values(&again));
}

#[test]
fn a_bad_configuration_is_status_64_with_all_errors() {
    let failure =
        check(ClusterArgs::default(), &[("OFFSETD_SQL_QUEUE", "x"), ("OFFSETD_LAG_WINDOW", "0")]).unwrap_err();
    assert_eq!(failure.code(), 64);
    assert_eq!(failure.to_string().lines().count(), 4, "{failure}");
}
