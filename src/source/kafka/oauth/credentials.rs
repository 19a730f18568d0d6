//! AWS credentials: from a profile, or from the sources of AWS's default provider chain (environment, web identity,
//! container, instance); optionally of a role that is assumed with them.

use std::time::Duration;

use object_store::{
    RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider},
};
use reqwest::Url;

use super::{
    error::{TokenError, chain, redact},
    http::{Http, send, shown_url},
    profile::ProfileFiles,
    sigv4::{NO_PAYLOAD, Request, presign},
};
use crate::{config::Oauth, model::Millis};

/// Environment variables that select credentials. Other variables of object_store would change its S3 requests.
const VARIABLES: [&str; 11] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_METADATA_ENDPOINT",
];

/// A source of AWS credentials.
#[derive(Debug)]
pub(super) struct Credentials {
    source: CredentialSource,
    role: Option<Role>,
}

#[derive(Debug)]
enum CredentialSource {
    Profile(ProfileFiles, String),
    /// object_store's provider, which caches credentials until they expire.
    Provider(AwsCredentialProvider),
}

/// A role to assume.
#[derive(Debug)]
struct Role {
    arn: String,
    region: String,
    /// The URL of the Security Token Service.
    endpoint: Url,
    http: Http,
}

impl Credentials {
    /// Selects the source of the credentials.
    ///
    /// # Errors
    /// Returns an error if the settings contradict each other.
    pub(super) fn new(oauth: &Oauth, region: &str) -> Result<Self, TokenError> {
        let role = if oauth.role_arn.is_empty() { None } else { Some(Role::new(oauth, region)?) };
        Ok(Self { source: CredentialSource::new(oauth, region)?, role })
    }

    /// Returns credentials that are currently valid.
    ///
    /// # Errors
    /// Returns an error if no credentials can be obtained.
    pub(super) async fn get(&self, now: Millis) -> Result<AwsCredential, TokenError> {
        let own = match &self.source {
            CredentialSource::Profile(files, name) => files.read(name)?,
            CredentialSource::Provider(provider) => {
                let found = provider.get_credential().await;
                let found = found.map_err(|error| TokenError::Credentials { reason: chain(&error) })?;
                let AwsCredential { key_id, secret_key, token } = &*found;
                AwsCredential { key_id: key_id.clone(), secret_key: secret_key.clone(), token: token.clone() }
            }
        };
        match &self.role {
            None => Ok(own),
            Some(role) => role.assume(&own, now).await,
        }
    }
}

impl CredentialSource {
    fn new(oauth: &Oauth, region: &str) -> Result<Self, TokenError> {
        let files = ProfileFiles::of(&oauth.aws);
        if !oauth.profile.is_empty() {
            return Ok(Self::Profile(files, oauth.profile.clone()));
        }
        let given = |name| oauth.aws.get(name).is_some();
        let other = ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"];
        let named = oauth.aws.get("AWS_PROFILE");
        // Keys in the environment take precedence over a profile, and a profile over the roles of the container or
        // instance.
        if !given("AWS_ACCESS_KEY_ID")
            && let Some(name) = named
        {
            return Ok(Self::Profile(files, name.to_owned()));
        }
        if !other.into_iter().chain(["AWS_CONTAINER_CREDENTIALS_FULL_URI"]).any(given) && files.has("default") {
            return Ok(Self::Profile(files, "default".to_owned()));
        }
        let retry = RetryConfig { max_retries: 2, retry_timeout: Duration::from_secs(10), ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new().with_bucket_name("none").with_region(region).with_retry(retry);
        for name in VARIABLES {
            let key = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>();
            if let (Ok(key), Some(value)) = (key, oauth.aws.get(name)) {
                builder = builder.with_config(key, value);
            }
        }
        let store = builder.build().map_err(|error| TokenError::Credentials { reason: chain(&error) })?;
        Ok(Self::Provider(AwsCredentialProvider::clone(store.credentials())))
    }
}

impl Role {
    fn new(oauth: &Oauth, region: &str) -> Result<Self, TokenError> {
        let given = oauth.aws.get("AWS_ENDPOINT_URL_STS").map(str::to_owned);
        let url = given.unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com/"));
        let endpoint = Url::parse(&url).map_err(|_| TokenError::BadResponse { url, what: "it is not a URL" })?;
        Ok(Self { arn: oauth.role_arn.clone(), region: region.to_owned(), endpoint, http: Http::new(None)? })
    }

    /// Requests the credentials of the role with one AssumeRole call.
    async fn assume(&self, own: &AwsCredential, now: Millis) -> Result<AwsCredential, TokenError> {
        let host = self.endpoint.host_str().unwrap_or_default();
        let host = self.endpoint.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let query = [
            ("Action", "AssumeRole"),
            ("RoleArn", self.arn.as_str()),
            ("RoleSessionName", "offsetd"),
            ("Version", "2011-06-15"),
        ];
        let request = Request {
            scheme: self.endpoint.scheme(),
            host: &host,
            path: "/",
            query: &query,
            region: &self.region,
            service: "sts",
            expires: 60,
            payload: NO_PAYLOAD,
        };
        let bad = |what| TokenError::BadResponse { url: shown_url(&self.endpoint), what };
        let url = Url::parse(&presign(&request, own, now)).map_err(|_| bad("it is not a URL"))?;
        let answer = send(self.http.get(url.clone()), &url).await?;
        let value = |name| element(&answer.body, name);
        if answer.status != 200 {
            let text = match (value("Code"), value("Message")) {
                (Some(code), Some(message)) => format!("{code}: {message}"),
                _ => answer.body.clone(),
            };
            let secrets = [own.secret_key.as_str(), own.token.as_deref().unwrap_or_default()];
            let url = format!("{}AssumeRole {}", shown_url(&self.endpoint), self.arn);
            return Err(TokenError::Refused { url, status: answer.status, answer: redact(&text, &secrets) });
        }
        match (value("AccessKeyId"), value("SecretAccessKey"), value("SessionToken")) {
            (Some(key_id), Some(secret_key), Some(token)) => {
                Ok(AwsCredential { key_id, secret_key, token: Some(token) })
            }
            _ => Err(bad("it contains no credentials")),
        }
    }
}

/// Returns the text of the first element of this name. Sufficient for elements without attributes and entities.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests;
