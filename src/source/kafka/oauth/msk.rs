//! The method `msk_iam`: tokens for Amazon MSK, which are URLs signed with AWS credentials.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use object_store::aws::AwsCredential;

use super::{
    credentials::Credentials,
    error::TokenError,
    sigv4::{NO_PAYLOAD, Request, presign},
    token::Token,
};
use crate::{clock::Clock, config, model::Millis};

/// Lifetime of a token in seconds; the maximum that MSK accepts.
const LIFETIME: u32 = 900;

/// The login to an MSK cluster.
#[derive(Debug)]
pub(super) struct Msk {
    region: String,
    credentials: Credentials,
}

impl Msk {
    /// Determines the region and the source of the credentials.
    ///
    /// # Errors
    /// Returns an error if either is unknown.
    pub(super) fn new(cluster: &config::Cluster) -> Result<Self, TokenError> {
        let oauth = &cluster.oauth;
        let given = Some(oauth.region.as_str()).filter(|region| !region.is_empty());
        let in_names = || cluster.bootstrap_servers.split(',').find_map(region_of);
        let in_env = || oauth.aws.get("AWS_REGION").or_else(|| oauth.aws.get("AWS_DEFAULT_REGION"));
        let region = given.or_else(in_names).or_else(in_env).ok_or(TokenError::NoRegion)?;
        Ok(Self { region: region.to_owned(), credentials: Credentials::new(oauth, region)? })
    }

    /// Signs a token.
    ///
    /// # Errors
    /// Returns an error if no credentials can be obtained.
    pub(super) async fn token(&self, clock: &Clock) -> Result<Token, TokenError> {
        let credential = self.credentials.get(clock.now()).await?;
        let now = clock.now();
        Token::new(&sign_token(&self.region, &credential, now), Some(Millis::from(LIFETIME) * 1000), 0, now)
    }
}

/// Returns the region in the host name of an MSK broker: `b-1.NAME.ID.c2.kafka.REGION.amazonaws.com`.
fn region_of(server: &str) -> Option<&str> {
    let labels: Vec<&str> = server.split([':', '/']).find(|part| part.contains(".amazonaws."))?.split('.').collect();
    let at = labels.iter().position(|label| ["kafka", "kafka-serverless"].contains(label))?;
    labels.get(at + 1).copied().filter(|_| labels.get(at + 2) == Some(&"amazonaws"))
}

fn sign_token(region: &str, credential: &AwsCredential, now: Millis) -> String {
    let host = format!("kafka.{region}.amazonaws.com");
    let request = Request {
        scheme: "https",
        host: &host,
        path: "/",
        query: &[("Action", "kafka-cluster:Connect")],
        region,
        service: "kafka-cluster",
        expires: LIFETIME,
        payload: NO_PAYLOAD,
    };
    // The broker logs the user agent, which is not signed.
    let agent = concat!("&User-Agent=offsetd%2F", env!("CARGO_PKG_VERSION"));
    URL_SAFE_NO_PAD.encode(presign(&request, credential, now) + agent)
}

#[cfg(test)]
mod tests;
