use super::*;

fn check(args: ClusterArgs, env: &[(&str, &str)]) -> Result<String, Failure> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut out = Vec::new();
    run(&CheckConfigArgs { config: args, example: false, matches: vec![] }, &env, &mut out)?;
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

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/config/offsetd.toml");

#[test]
fn the_example_file_matches_the_settings() {
    let example = example(&source::kinds());
    if std::env::var_os("UPDATE_EXAMPLE").is_some() {
        std::fs::write(EXAMPLE, &example).unwrap();
    }
    assert_eq!(std::fs::read_to_string(EXAMPLE).unwrap(), example, "run the test with UPDATE_EXAMPLE=1 to write it");
}

#[test]
fn every_kind_of_source_in_the_example_file_can_be_uncommented() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("offsetd.toml");
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|first: char| first == '[' || first.is_ascii_lowercase()) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    let text: String = std::fs::read_to_string(EXAMPLE).unwrap().lines().map(uncomment).collect();
    std::fs::write(&path, text).unwrap();
    let args = ClusterArgs { config: Some(path), ..ClusterArgs::default() };
    let loaded = args.load(&BTreeMap::new()).unwrap_or_else(|errors| panic!("{errors}"));
    let kinds: Vec<&str> = loaded.config.sources.iter().map(|source| source.kind.as_str()).collect();
    let forms: Vec<&str> = source::kinds().iter().map(|form| form.name).collect();
    assert_eq!(kinds, forms);
    assert!(loaded.config.sources.iter().all(|config| source::open(config).is_some()));
}

#[test]
fn sources_are_shown_with_the_values_used_for_unset_settings() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("offsetd.toml");
    std::fs::write(&path, "[clusters.east]\nbootstrap_servers = 'h:1'\n[sources.import]\nfile = 'o.ndjson'\n").unwrap();
    let args = ClusterArgs { config: Some(path), ..ClusterArgs::default() };
    let text = check(args, &[("OFFSETD_SOURCES_IMPORT_INTERVAL", "2s")]).unwrap();
    for line in [
        "sources.import.kind = \"import\" ",
        "sources.import.cluster = \"east\" ",
        "sources.import.file = \"o.ndjson\" ",
        "sources.import.interval = \"2s\" ",
    ] {
        assert!(text.lines().any(|shown| shown.starts_with(line)), "{line} not in\n{text}");
    }
}
