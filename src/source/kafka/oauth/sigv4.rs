//! URLs signed with AWS credentials (Signature Version 4, in the query).
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>

use chrono::DateTime;
use object_store::aws::AwsCredential;
use ring::{digest, hmac};

use crate::model::Millis;

/// A GET request to sign.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    /// `http` or `https`.
    pub(super) scheme: &'a str,
    /// The host, with its port unless that is the default of the scheme.
    pub(super) host: &'a str,
    /// The path, encoded as in the URL.
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// Lifetime of the URL in seconds.
    pub(super) expires: u32,
    /// SHA-256 of the body in hexadecimal, or the placeholder that the service accepts.
    pub(super) payload: &'a str,
}

/// SHA-256 of an empty body, in hexadecimal.
pub(super) const NO_PAYLOAD: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Returns the signed URL of a request.
pub(super) fn presign(request: &Request<'_>, credential: &AwsCredential, now: Millis) -> String {
    let at = DateTime::from_timestamp_millis(now).unwrap_or_default();
    let (date, time) = (at.format("%Y%m%d").to_string(), at.format("%Y%m%dT%H%M%SZ").to_string());
    let scope = format!("{date}/{}/{}/aws4_request", request.region, request.service);
    let identity = format!("{}/{scope}", credential.key_id);
    let expires = request.expires.to_string();
    let mut query = request.query.to_vec();
    query.extend([
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", identity.as_str()),
        ("X-Amz-Date", time.as_str()),
        ("X-Amz-Expires", expires.as_str()),
        ("X-Amz-SignedHeaders", "host"),
    ]);
    query.extend(credential.token.as_deref().map(|token| ("X-Amz-Security-Token", token)));
    let mut query: Vec<[String; 2]> =
        query.into_iter().map(|(name, value)| [percent_encode(name), percent_encode(value)]).collect();
    query.sort_unstable();
    let query = query.iter().map(|pair| pair.join("=")).collect::<Vec<_>>().join("&");

    let Request { scheme, host, path, payload, .. } = request;
    let canonical = format!("GET\n{path}\n{query}\nhost:{host}\n\nhost\n{payload}");
    let digest = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let message = format!("{ALGORITHM}\n{time}\n{scope}\n{digest}");
    let secret = format!("AWS4{}", credential.secret_key);
    let parts = [date.as_str(), request.region, request.service, "aws4_request", &message];
    let signature = parts.into_iter().fold(secret.into_bytes(), |key, part| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec()
    });
    format!("{scheme}://{host}{path}?{query}&X-Amz-Signature={}", hex(&signature))
}

/// Percent-encodes all bytes except unreserved characters.
fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
