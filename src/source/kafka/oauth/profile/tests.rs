use super::*;

fn files(credentials: &str, config: &str) -> (tempfile::TempDir, ProfileFiles) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(".aws").join(name);
    std::fs::create_dir(dir.path().join(".aws")).unwrap();
    std::fs::write(path("credentials"), credentials).unwrap();
    std::fs::write(path("config"), config).unwrap();
    let home = ("HOME".to_owned(), dir.path().display().to_string());
    let files = ProfileFiles::of(&AwsVariables([home].into()));
    (dir, files)
}

#[test]
fn keys_come_from_either_file_and_the_file_of_credentials_takes_precedence() {
    let credentials = "[default]\naws_access_key_id=D\naws_secret_access_key=DS\n# x\n[dev]\naws_access_key_id = A\n";
    let config = "[profile dev]\naws_secret_access_key = S\naws_access_key_id = other\naws_session_token=T\nregion=x\n";
    let (_dir, files) = files(credentials, config);
    let found = files.read("dev").unwrap();
    let expected = ("A".to_owned(), "S".to_owned(), Some("T".to_owned()));
    assert_eq!((found.key_id, found.secret_key, found.token), expected);
    assert_eq!(files.read("default").unwrap().key_id, "D");
    assert!(files.has("default") && !files.has("prod"));
}

#[test]
fn a_profile_without_keys_differs_from_a_missing_one() {
    let (_dir, files) = files("[half]\naws_access_key_id = A\n", "[profile sso]\nsso_session = x\n");
    let error = |name: &str| files.read(name).unwrap_err().to_string();
    assert!(error("prod").contains("\"prod\": the profile does not exist"), "{}", error("prod"));
    assert!(error("half").contains("no aws_secret_access_key"), "{}", error("half"));
    assert!(error("sso").contains("single sign-on"), "{}", error("sso"));
}
