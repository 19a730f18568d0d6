use super::*;

const FILE: &str = "
[profiles.default]
server = \"https://east:8088\"
token = \"t0ken-of-east\"
ca_cert = \"/east.pem\"

[profiles.lab]
token_file = \"TOKEN\"
";

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let token = dir.path().join("token");
    fs::write(&token, "t0ken-of-lab\nmore\n").unwrap();
    fs::write(&path, text.replace("TOKEN", token.to_str().unwrap())).unwrap();
    (dir, path)
}

fn args(server: Option<&str>, profile: Option<&str>) -> ServerArgs {
    ServerArgs { server: server.map(str::to_owned), profile: profile.map(str::to_owned), ..ServerArgs::default() }
}

/// Returns the server and the token that the arguments resolve to.
fn resolved(args: &ServerArgs, path: &Path) -> (String, Option<String>) {
    let args = resolve(args, Some(path)).unwrap();
    (args.server.unwrap(), args.token.map(|token| token.as_str().to_owned()))
}

#[test]
fn the_default_profile_is_used_unless_a_server_is_named() {
    let (_dir, path) = file(FILE);
    assert_eq!(resolved(&args(None, None), &path), ("https://east:8088".to_owned(), Some("t0ken-of-east".to_owned())));
    assert_eq!(resolved(&args(None, Some("lab")), &path), (DEFAULT_SERVER.to_owned(), Some("t0ken-of-lab".to_owned())));
    let missing = Path::new("/nonexistent/config.toml");
    assert_eq!(resolved(&args(None, None), missing), (DEFAULT_SERVER.to_owned(), None));
}

#[test]
fn a_token_of_a_profile_is_sent_to_no_other_server() {
    let (_dir, path) = file(FILE);
    assert_eq!(resolved(&args(Some("http://west:1"), None), &path), ("http://west:1".to_owned(), None));
    let both = resolve(&args(Some("http://west:1"), Some("default")), Some(&path)).unwrap_err();
    assert_eq!(both.code(), 64);
}

#[test]
fn flags_take_precedence_over_the_profile() {
    let (_dir, path) = file(FILE);
    let args = ServerArgs { token: Some("flag".to_owned().into()), ..args(None, None) };
    assert_eq!(resolved(&args, &path).1.as_deref(), Some("flag"));
    let again = resolve(&resolve(&args, Some(&path)).unwrap(), Some(&path)).unwrap();
    assert_eq!(again.ca_cert.as_deref(), Some(Path::new("/east.pem")), "resolving twice changes nothing");
}

#[test]
fn errors_name_the_problem_and_show_no_token() {
    for (text, profile, says) in [
        (FILE, Some("none"), "no profile \"none\""),
        ("[profiles.default]\nsever = 1", None, "line 2: unknown field `sever`"),
        ("[profiles.default]\ntoken = \"s3cret\"\ntoken_file = \"x\"", None, "either token or token_file"),
        ("[profiles.default]\ntoken = \"s3cret", None, "line 2"),
        ("[profiles.default]\ntoken_file = \"/nonexistent\"", None, "cannot read /nonexistent"),
    ] {
        let (_dir, path) = file(text);
        let failure = resolve(&args(None, profile), Some(&path)).unwrap_err();
        let said = failure.to_string();
        assert!(failure.code() == 64 && said.contains(says) && !said.contains("s3cret"), "{text}: {said}");
    }
}
