use super::{
    super::tests::{answer, answering, block_on},
    *,
};
use crate::config::{AwsVariables, Config, Flags, Layers};

fn oauth(aws: &[(&str, &str)]) -> Oauth {
    let flags = Flags { bootstrap_servers: Some("127.0.0.1:1".to_owned()), ..Flags::default() };
    let layers = Layers { flags: &flags, env: &Default::default(), check_property: None };
    let oauth = Config::load(layers).unwrap().config.clusters.remove(0).oauth;
    let aws = aws.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Oauth { aws: AwsVariables(aws), ..oauth }
}

fn get(oauth: &Oauth) -> Result<(String, String, Option<String>), String> {
    let found = Credentials::new(oauth, "eu-west-1").and_then(|credentials| block_on(credentials.get(0)));
    found.map(|found| (found.key_id, found.secret_key, found.token)).map_err(|error| error.to_string())
}

fn of(key_id: &str, secret: &str, token: Option<&str>) -> Result<(String, String, Option<String>), String> {
    Ok((key_id.to_owned(), secret.to_owned(), token.map(str::to_owned)))
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "hunter2")];

#[test]
fn keys_in_the_environment_win_over_a_profile_and_a_profile_over_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    let section = |name: &str| format!("[{name}]\naws_access_key_id = {name}\naws_secret_access_key = s\n");
    std::fs::write(&path, section("default") + &section("dev")).unwrap();
    let file = ("AWS_SHARED_CREDENTIALS_FILE", path.to_str().unwrap());
    let session = ("AWS_SESSION_TOKEN", "t");
    assert_eq!(get(&oauth(&[KEYS[0], KEYS[1], session, file])), of("AKID", "hunter2", Some("t")));
    assert_eq!(get(&oauth(&[KEYS[0], KEYS[1], ("AWS_PROFILE", "dev"), file])), of("AKID", "hunter2", None));
    assert_eq!(get(&oauth(&[file, ("AWS_PROFILE", "dev")])), of("dev", "s", None));
    assert_eq!(get(&oauth(&[file])), of("default", "s", None));
    let set = Oauth { profile: "dev".to_owned(), ..oauth(&[KEYS[0], KEYS[1], file]) };
    assert_eq!(get(&set), of("dev", "s", None));
    let wrong = Oauth { profile: "prod".to_owned(), ..oauth(&[KEYS[0], KEYS[1], file]) };
    assert!(get(&wrong).unwrap_err().contains("\"prod\": the profile does not exist"));
}

const CREDENTIALS: &str = r#"{"Code": "Success", "AccessKeyId": "AKID", "SecretAccessKey": "s", "Token": "t",
    "Expiration": "2099-01-01T00:00:00Z"}"#;

#[test]
fn roles_of_containers_and_instances_are_queried() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "pod").unwrap();
    let (url, server) = answering(vec![answer("200 OK", CREDENTIALS)]);
    let pod = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{url}/pod")),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.display().to_string()),
    ];
    let pod = pod.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(get(&oauth(&pod)), of("AKID", "s", Some("t")));
    assert!(server.join().unwrap()[0].starts_with("GET /pod "));

    let replies = [answer("200 OK", "session"), answer("200 OK", "role"), answer("200 OK", CREDENTIALS)];
    let (url, server) = answering(replies.into());
    assert_eq!(get(&oauth(&[("AWS_METADATA_ENDPOINT", url.as_str())])), of("AKID", "s", Some("t")));
    let requests = server.join().unwrap();
    assert!(requests[2].contains("/security-credentials/role "), "{requests:?}");
}

#[test]
fn a_role_is_assumed_by_one_signed_call() {
    let granted = "<AssumeRoleResponse><AssumeRoleResult><Credentials>\n<AccessKeyId>ASIA</AccessKeyId>\
                   <SecretAccessKey>s</SecretAccessKey><SessionToken>a+b/c==</SessionToken></Credentials>";
    let (url, server) = answering(vec![answer("200 OK", granted)]);
    let role = |url: &str| Oauth {
        role_arn: "arn:aws:iam::123456789012:role/reader".to_owned(),
        ..oauth(&[KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL_STS", url)])
    };
    assert_eq!(get(&role(&url)), of("ASIA", "s", Some("a+b/c==")));
    let request = server.join().unwrap().remove(0);
    for part in ["GET /?Action=AssumeRole&RoleArn=arn%3Aaws", "%2Feu-west-1%2Fsts%2Faws4_request", "X-Amz-Signature="] {
        assert!(request.contains(part), "{part}: {request}");
    }

    let refusal = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not allowed for hunter2</Message></Error>";
    let (url, _server) = answering(vec![answer("403 Forbidden", refusal)]);
    let text = get(&role(&url)).unwrap_err();
    let expected = "AssumeRole arn:aws:iam::123456789012:role/reader: refused with HTTP status 403: AccessDenied: \
                    not allowed for ***";
    assert!(text.ends_with(expected), "{text}");
}
