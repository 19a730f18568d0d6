use super::*;

/// Returns credentials with the keys of AWS's published examples.
fn credential(key_id: &str, secret_key: &str, token: Option<&str>) -> AwsCredential {
    let own = str::to_owned;
    AwsCredential { key_id: own(key_id), secret_key: own(secret_key), token: token.map(own) }
}

fn signature(url: &str) -> &str {
    url.rsplit_once("&X-Amz-Signature=").unwrap().1
}

/// The time 2015-08-30T12:36:00Z.
const TEST_SUITE_TIME: Millis = 1_440_938_160_000;
const TEST_SUITE_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TEST_SUITE: Request<'_> = Request {
    scheme: "https",
    host: "example.amazonaws.com",
    path: "/",
    query: &[],
    region: "us-east-1",
    service: "service",
    expires: 3600,
    payload: NO_PAYLOAD,
};

#[test]
fn signatures_are_those_of_aws_published_test_suite() {
    // Test get-vanilla-with-session-token.
    let token = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
    let url = presign(&TEST_SUITE, &credential("AKIDEXAMPLE", TEST_SUITE_KEY, Some(token)), TEST_SUITE_TIME);
    assert_eq!(signature(&url), "7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c", "{url}");
    // Test get-vanilla-query-unreserved.
    let unreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let request = Request { query: &[(unreserved, unreserved)], ..TEST_SUITE };
    let url = presign(&request, &credential("AKIDEXAMPLE", TEST_SUITE_KEY, None), TEST_SUITE_TIME);
    assert_eq!(signature(&url), "8e76a88a7433637b12778d5592799b29ad21ecd6cf6325051c21d86f0acda2bf", "{url}");
}

#[test]
fn a_signed_url_is_that_of_aws_documentation() {
    // "Authenticating Requests: Using Query Parameters", Amazon S3 API Reference.
    let request = Request {
        scheme: "https",
        host: "examplebucket.s3.amazonaws.com",
        path: "/test.txt",
        query: &[],
        region: "us-east-1",
        service: "s3",
        expires: 86_400,
        payload: "UNSIGNED-PAYLOAD",
    };
    let credential = credential("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None);
    let url = presign(&request, &credential, 1_369_353_600_000);
    let expected = "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
                    &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
                    &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
                    &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    assert_eq!(url, expected);
}
