//! HTTP requests to token endpoints, which may be slow, broken or hostile.
//!
//! A response is limited in time and size. Redirects are not followed, since they would send the secret to another
//! host. The text of a response is never shown unfiltered.

use std::{fs, path::Path, time::Duration};

use reqwest::{Certificate, Client, RequestBuilder, Url, redirect::Policy};

use super::error::{TokenError, chain};

/// Timeout of a request, including its response.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a response body in bytes.
const MAX_BODY_BYTES: usize = 128 * 1024;

/// An HTTP client for token endpoints.
#[derive(Debug)]
pub(super) struct Http(Client);

/// An HTTP response.
pub(super) struct HttpResponse {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Http {
    /// Creates a client that trusts the CA certificates in `ca`, or else those of the system.
    ///
    /// # Errors
    /// Returns an error if the file is unusable.
    pub(super) fn new(ca: Option<&Path>) -> Result<Self, TokenError> {
        let mut client = Client::builder()
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("offsetd/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = ca {
            let pem = fs::read(path).map_err(|cause| TokenError::File { path: path.to_owned(), cause })?;
            let unusable = || TokenError::Authorities { path: path.to_owned() };
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|_| unusable())?;
            if certificates.is_empty() {
                return Err(unusable());
            }
            client = client.tls_built_in_root_certs(false);
            client = certificates.into_iter().fold(client, reqwest::ClientBuilder::add_root_certificate);
        }
        client.build().map(Self).map_err(|error| TokenError::HttpClient { reason: chain(&error) })
    }

    pub(super) fn get(&self, url: Url) -> RequestBuilder {
        self.0.get(url)
    }

    pub(super) fn post(&self, url: Url) -> RequestBuilder {
        self.0.post(url)
    }
}

/// Returns a URL without its query, which may contain secrets.
pub(super) fn shown_url(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// Sends a request to `url` and reads the whole response.
///
/// # Errors
/// Returns an error if there is no response in time or if it is too large.
pub(super) async fn send(request: RequestBuilder, url: &Url) -> Result<HttpResponse, TokenError> {
    let failed =
        |error: reqwest::Error| TokenError::NoResponse { url: shown_url(url), reason: chain(&error.without_url()) };
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let mut body = vec![];
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(TokenError::BadResponse { url: shown_url(url), what: "it is longer than 128 KiB" });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(HttpResponse { status, body: String::from_utf8_lossy(&body).into_owned() })
}
