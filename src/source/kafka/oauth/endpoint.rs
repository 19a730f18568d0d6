//! The method `client_credentials`: tokens from a token endpoint (RFC 6749, section 4.4).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{
    Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use serde::Deserialize;
use url::form_urlencoded;

use super::{
    assertion::SigningKey,
    error::{TokenError, redact},
    http::{Http, HttpResponse, send, shown_url},
    token::Token,
};
use crate::{
    clock::Clock,
    config::{self, Secret},
    model::Millis,
};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Assumed lifetime, in milliseconds, of a token without one in its response.
const DEFAULT_LIFETIME: Millis = 5 * 60 * 1000;

/// A token endpoint, with the settings of its requests.
#[derive(Debug)]
pub(super) struct Endpoint {
    http: Http,
    url: Url,
    client_id: String,
    authentication: ClientAuthentication,
    scope: String,
}

/// The client's authentication at the endpoint.
#[derive(Debug)]
enum ClientAuthentication {
    Secret(Secret),
    Key(Box<SigningKey>),
}

/// The body of a successful response.
#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    /// Lifetime in seconds; some endpoints send it as a string.
    expires_in: Option<serde_json::Value>,
}

/// The body of an error response.
#[derive(Deserialize)]
struct ErrorResponse {
    error: String,
    error_description: Option<String>,
}

impl Endpoint {
    /// Creates an endpoint from the settings.
    ///
    /// # Errors
    /// Returns an error if the key or the certificates are unusable.
    pub(super) fn new(oauth: &config::Oauth) -> Result<Self, TokenError> {
        let bad = |_| TokenError::BadResponse { url: oauth.token_endpoint.clone(), what: "it is not a URL" };
        let url = Url::parse(&oauth.token_endpoint).map_err(bad)?;
        let is_local = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        if url.scheme() == "http" && !is_local {
            tracing::warn!(
                url = shown_url(&url),
                "token endpoint without TLS: the secret is sent unencrypted; use https"
            );
        }
        let authentication = if oauth.private_key.is_empty() {
            ClientAuthentication::Secret(oauth.client_secret.clone())
        } else {
            ClientAuthentication::Key(Box::new(SigningKey::from_pem(&oauth.private_key.0)?))
        };
        let (client_id, scope) = (oauth.client_id.clone(), oauth.scope.clone());
        Ok(Self { http: Http::new(oauth.ca.as_deref())?, url, client_id, authentication, scope })
    }

    /// Requests a token.
    ///
    /// # Errors
    /// Returns why there is no token.
    pub(super) async fn token(&self, clock: &Clock) -> Result<Token, TokenError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.scope.is_empty() {
            form.append_pair("scope", &self.scope);
        }
        let mut request = self.http.post(self.url.clone()).header(ACCEPT, "application/json");
        // The secrets that an error must not show if the endpoint echoes them.
        let (sent, secret);
        match &self.authentication {
            ClientAuthentication::Secret(client_secret) => {
                // Id and secret are not percent-encoded, contrary to RFC 6749. Kafka's own clients do the same, and
                // servers expect it.
                sent = STANDARD.encode(format!("{}:{}", self.client_id, client_secret.0));
                secret = client_secret.0.as_str();
                request = request.header(AUTHORIZATION, format!("Basic {sent}"));
            }
            ClientAuthentication::Key(key) => {
                sent = key.sign_assertion(&self.client_id, self.url.as_str(), clock.now())?;
                secret = "";
                form.append_pair("client_id", &self.client_id);
                form.append_pair("client_assertion_type", ASSERTION_TYPE);
                form.append_pair("client_assertion", &sent);
            }
        }
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.finish());
        let answer = send(request, &self.url).await?;
        self.read(&answer, &[&sent, secret], clock.now())
    }

    fn read(&self, answer: &HttpResponse, secrets: &[&str], now: Millis) -> Result<Token, TokenError> {
        let url = || shown_url(&self.url);
        if answer.status != 200 {
            let text = serde_json::from_str::<ErrorResponse>(&answer.body).map_or_else(
                |_| answer.body.clone(),
                |refusal| match refusal.error_description {
                    Some(description) => format!("{}: {description}", refusal.error),
                    None => refusal.error,
                },
            );
            return Err(TokenError::Refused { url: url(), status: answer.status, answer: redact(&text, secrets) });
        }
        // The parser's error would quote the response.
        let granted: TokenResponse = serde_json::from_str(&answer.body)
            .map_err(|_| TokenError::BadResponse { url: url(), what: "it is not JSON with access_token" })?;
        let seconds = granted.expires_in.and_then(|value| match value {
            serde_json::Value::String(text) => text.trim().parse::<f64>().ok(),
            value => value.as_f64(),
        });
        let lifetime = seconds.map(|seconds| (seconds * 1000.0) as Millis);
        Token::new(&granted.access_token, lifetime, DEFAULT_LIFETIME, now)
    }
}

#[cfg(test)]
mod tests;
