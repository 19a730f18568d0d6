use super::*;

#[test]
fn the_region_is_taken_from_msk_host_names_only() {
    for (server, region) in [
        ("b-1.prod.abc123.c2.kafka.eu-central-1.amazonaws.com:9098", Some("eu-central-1")),
        ("boot-x1.c1.kafka-serverless.us-west-2.amazonaws.com:9098", Some("us-west-2")),
        ("SASL_SSL://b-1.p.a.c2.kafka.cn-north-1.amazonaws.com.cn:9098", Some("cn-north-1")),
        ("kafka.example.org:9092", None),
        ("kafka.amazonaws.com", None),
        ("", None),
    ] {
        assert_eq!(region_of(server), region, "{server}");
    }
}

/// The expected form is that of AWS's own signer (aws-msk-iam-sasl-signer). The expected signature comes from a second
/// implementation of Signature Version 4, which also reproduces AWS's published signatures.
#[test]
fn a_token_is_the_signed_url_without_padding_and_with_the_agent_after_the_signature() {
    let own = str::to_owned;
    let credential = AwsCredential { key_id: own("AKID"), secret_key: own("secret"), token: Some(own("a/b+c=")) };
    let token = sign_token("eu-west-1", &credential, 1_440_938_160_000);
    assert!(!token.contains('='), "{token}");
    let url = String::from_utf8(URL_SAFE_NO_PAD.decode(token).unwrap()).unwrap();
    let expected = "https://kafka.eu-west-1.amazonaws.com/?Action=kafka-cluster%3AConnect\
                    &X-Amz-Algorithm=AWS4-HMAC-SHA256\
                    &X-Amz-Credential=AKID%2F20150830%2Feu-west-1%2Fkafka-cluster%2Faws4_request\
                    &X-Amz-Date=20150830T123600Z&X-Amz-Expires=900&X-Amz-Security-Token=a%2Fb%2Bc%3D\
                    &X-Amz-SignedHeaders=host\
                    &X-Amz-Signature=d8b58571140745bcab33c47ebdd4f5c70ac3cba921d4dc2dd790a504703371d5&User-Agent=offsetd%2F0.1.0";
    assert_eq!(url, expected);
}
