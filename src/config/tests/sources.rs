//! Tests of `[sources.NAME]`, with a kind of source that is defined here.

use super::*;

section! {
    /// The settings of a kind of source for tests.
    #[expect(unreachable_pub, reason = "sections are public")]
    #[derive(Clone, Debug)]
    pub struct Shelf {
        /// Address of the store.
        pub place: String = Servers(""), "there is no default";
        /// Password of the store.
        pub secret: Secret = SecretText(""), "there is no default password";
    }
    sections {
        /// A nested section.
        pub auth: Auth,
    }
}

impl KindSettings for Shelf {
    const KIND: &'static str = "shelf";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[("place", "h:1")];
}

const KINDS: [KindSpec; 1] = [KindSpec::of::<Shelf>()];
const CLUSTERS: &str = "[clusters.east]\nbootstrap_servers = 'a:1'\n[clusters.west]\nbootstrap_servers = 'b:1'\n";

fn load(file: &str, env: &[(&str, &str)]) -> Result<LoadedConfig, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("offsetd.toml");
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let flags = Flags { config: Some(path.clone()), ..Flags::default() };
    // The file does not exist; its text is passed in.
    let context = LoadContext { kinds: &KINDS, file: Some(file), ..LoadContext::default() };
    let prefix = format!("{}:", path.display());
    Config::load_with(Layers { flags: &flags, env: &env, check_property: None }, context)
        .map_err(|errors| errors.0.iter().map(|error| error.to_string().replace(&prefix, "")).collect())
}

#[test]
fn a_source_has_common_settings_and_those_of_its_kind() {
    let file = "[clusters.east]\nbootstrap_servers = 'a:1'\n[sources.shelf]\nplace = 'h:1'\n\
                [sources.second]\nkind = 'shelf'\nplace = 'h:2'\noffset_is = 'last'\nrequired = true\nauth.tokens_file = 't'\n";
    let loaded = load(file, &[("OFFSETD_SOURCES_SHELF_GROUP", "g")]).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let [second, shelf] = &*loaded.config.sources else { panic!("{:?}", loaded.config.sources) };
    let place = |source: &Source| source.kind_config.get::<Shelf>().map(|own| own.place.clone());
    assert_eq!((shelf.kind.as_str(), shelf.cluster.as_str(), shelf.group.as_str()), ("shelf", "east", "g"));
    assert_eq!((place(shelf).as_deref(), place(second).as_deref()), (Some("h:1"), Some("h:2")));
    assert_eq!((shelf.required, second.required), (false, true));
    assert_eq!((shelf.next(5), second.next(5), second.next(-1), shelf.next(i64::MAX)), (Some(5), Some(6), None, None));
    assert!(second.kind_config.get::<Auth>().is_none(), "the settings have the type of the kind");
    let tokens = |source: &Source| source.kind_config.get::<Shelf>().unwrap().auth.tokens_file.clone();
    assert_eq!((tokens(shelf), tokens(second)), (None, Some("t".into())));
    let shown = |key| effective(&loaded, key).value.clone().unwrap();
    assert_eq!((shown("sources.shelf.kind"), shown("sources.shelf.cluster")), ("\"shelf\"".into(), "\"east\"".into()));
    assert_eq!(effective(&loaded, "sources.shelf.group").origin.to_string(), "env OFFSETD_SOURCES_SHELF_GROUP");
}

#[test]
fn every_error_of_sources_has_its_location() {
    let file = format!(
        "{CLUSTERS}[sources.shelf]\nplace = 'h:1'\n[sources.a]\nkind = 'attic'\nwhatever = 1\n[sources.b]\ncluster = 'east'\n\
         [sources.c]\nkind = 'shelf'\ncluster = 'north'\nplace = 'h:1'\n[sources.d]\nkind = 'shelf'\ncluster = 'west'\ncolour = 'red'\n\
         [sources.kafka]\nkind = 'shelf'\ncluster = 'west'\nplace = 'h:1'\noffset_is = 'first'\ntopic = 'a b'\n\
         [sources.'e f']\nkind = 'shelf'\ncluster = 'west'\nplace = 'h:1'\n"
    );
    let errors = load(&file, &[("OFFSETD_SOURCES_SHELF_PLASE", "h:1")]).unwrap_err();
    let expected = [
        "sources.shelf.cluster: not set; set it to one of the clusters: east, west",
        "8: sources.a.kind: unknown kind of source \"attic\"; allowed: shelf",
        "sources.a.cluster: not set",
        "sources.b.kind: not set, and the section name \"b\" is not a kind of source; allowed: shelf",
        "14: sources.c.cluster: unknown cluster \"north\"; configured clusters: east, west",
        "sources.d.place: not set",
        "19: sources.d.colour: unknown key; allowed in [sources.d]: auth, cluster, group, kind, max_requests_per_second, offset_is, place, required, secret, topic",
        "sources.kafka: is the reserved name of the cluster's own offsets",
        "24: sources.kafka.offset_is: bad value \"first\"; allowed: \"next\" or \"last\"",
        "25: sources.kafka.topic: bad value \"a b\" (a topic name",
        "sources.\"e f\": a source name consists of",
        "OFFSETD_SOURCES_SHELF_PLASE: no setting has this variable",
    ];
    for text in expected {
        assert!(errors.iter().any(|error| error.trim_start().contains(text)), "{text}\nnot in {errors:#?}");
    }
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
}

#[test]
fn two_sources_of_one_name_are_an_error() {
    let errors = load(&format!("{CLUSTERS}[sources.shelf]\nplace = 'h:1'\n[sources.shelf]\nplace = 'h:2'\n"), &[]);
    let errors = errors.unwrap_err();
    assert!(errors.iter().any(|error| error.starts_with("7: invalid TOML: duplicate key")), "{errors:#?}");
}

#[test]
fn values_show_whether_a_section_or_a_secret_changed() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    let file = format!(
        "{CLUSTERS}kafka.sasl.password = {{ file = '{0}' }}\n[sources.shelf]\ncluster = 'east'\nplace = 'h:1'\n\
         secret = {{ file = '{0}' }}\n",
        secret.display()
    );
    fs::write(&secret, "hunter2").unwrap();
    let before = load(&file, &[]).unwrap().config;
    fs::write(&secret, "hunter3").unwrap();
    let after = load(&file, &[]).unwrap().config;
    assert!(!format!("{after:?}").contains("hunter"), "{after:?}");
    assert_eq!(after.sources[0].kind_config.get::<Shelf>().unwrap().secret.0, "hunter3");
    let values = |config: &Config, at: usize| config.clusters[at].values.clone();
    assert!(values(&before, 0) == values(&after, 0), "nothing of east changed");
    assert!(values(&before, 1) != values(&after, 1), "the password of west changed");
    assert!(before.sources[0].values != after.sources[0].values, "the secret of the source changed");
    // The same values in another notation are not a change.
    let again = load(&file.replace("'h:1'", "\"h:1\"\nrequired = false"), &[]).unwrap().config;
    assert!(again.sources[0].values == after.sources[0].values);
}

#[test]
fn a_cluster_of_flags_does_not_depend_on_other_sections_of_the_file() {
    let flags = Flags { config: Some("offsetd.toml".into()), ..servers("f:1") };
    let values = |file: &str| {
        let context = LoadContext { kinds: &KINDS, file: Some(file), ..LoadContext::default() };
        let layers = Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
        Config::load_with(layers, context).unwrap().config.clusters[0].values.clone()
    };
    assert!(values("") == values("[sql]\ntimeout = '1s'\n[sources.shelf]\nplace = 'h:1'\n"));
}

#[test]
fn sections_of_sources_in_the_example_file_are_comments_that_can_be_read() {
    let example = example(&KINDS);
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with([' ', '#']) && !rest.is_empty() => rest.to_owned(),
        _ => line.to_owned(),
    };
    let text: Vec<String> = example.lines().map(uncomment).collect();
    assert!(load(&example, &[]).unwrap().config.sources.is_empty());
    let loaded = load(&text.join("\n"), &[]).unwrap_or_else(|errors| panic!("{errors:#?}\n{example}"));
    let shelf = loaded.config.sources[0].kind_config.get::<Shelf>().unwrap();
    assert_eq!(shelf.place, "h:1");
    let settings = loaded.effective.iter().filter(|value| value.key.starts_with("sources."));
    let defaults: Vec<_> = settings.filter(|value| !matches!(value.origin, Origin::File { .. })).collect();
    assert!(defaults.is_empty(), "every setting is in the example: {defaults:#?}");
}

#[test]
fn a_kind_that_the_build_does_not_contain_is_reported_with_its_feature() {
    let errors = load(&format!("{CLUSTERS}[sources.redis]\ncluster = 'east'\nurl = 'redis://h'\n"), &[]).unwrap_err();
    let errors = errors.join("\n");
    assert!(
        errors.contains("this build cannot read redis; build it with the cargo feature \"store-redis\""),
        "{errors}"
    );
}
