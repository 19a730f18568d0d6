//! Refuses requests that a browser sends on behalf of a web page of another origin.
//!
//! There are two checks. *Origin*: a browser states which site a request comes from; a request from another origin is
//! refused unless `server.http.allowed_origins` names it. *Host*: a page can point its own name at this server (DNS
//! rebinding) and is then of the same origin; if no tokens are configured, a host name that public DNS could resolve is
//! refused unless `server.http.allowed_hosts` names it. Programs other than browsers send none of these headers, and
//! reach the server by a name that their operator configured.

use std::{collections::BTreeSet, net::IpAddr};

use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
        },
        uri::Authority,
    },
    response::Response,
};
use url::Url;

use super::names;
use crate::{config, error::Error, web};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Request headers that pages of allowed origins may send.
const REQUEST_HEADERS: &str = "authorization, content-type, accept, grpc-timeout, x-grpc-web, x-user-agent";
/// Response headers that pages of allowed origins may read.
const RESPONSE_HEADERS: &str = "grpc-status, grpc-message, grpc-status-details-bin, offsetd-snapshot, \
                                offsetd-incomplete-clusters, offsetd-truncated, retry-after, retry-after-ms";
/// Top-level domains that do not exist in public DNS.
const PRIVATE_DOMAINS: [&str; 4] = ["localhost", "local", "internal", "svc"];

/// The rules that requests are checked against.
#[derive(Debug)]
pub(super) struct OriginPolicy {
    /// Host names of this server; `None` accepts every name.
    hosts: Option<BTreeSet<String>>,
    /// Allowed origins, in the form in which browsers write them.
    origins: BTreeSet<String>,
    encrypts: bool,
}

impl OriginPolicy {
    pub(super) fn new(server: &config::Server, requires_tokens: bool, encrypts: bool) -> Self {
        let allowed = &server.http.allowed_hosts;
        let any = requires_tokens || allowed.iter().any(|host| host == "*");
        let own = || names::own(&server.listen).into_iter().chain(allowed.iter().cloned()).collect();
        Self { hosts: (!any).then(own), origins: server.http.allowed_origins.iter().cloned().collect(), encrypts }
    }

    /// Returns the reason for which a request is refused, if any.
    pub(super) fn refusal(&self, request: &Request) -> Option<Error> {
        let path = request.uri().path();
        if web::is_asset_or_probe(path) {
            return None;
        }
        let hosts = hosts(request);
        // Browsers use HTTP/2 only with TLS.
        let from_browser = self.encrypts || request.version() != Version::HTTP_2;
        if from_browser && let Some(host) = hosts.iter().find(|host| !self.is_own_host(host)) {
            return Some(misdirected(host));
        }
        let is_link = request.method() == Method::GET && all(request.headers(), &SEC_FETCH_MODE, b"navigate");
        if is_link && web::is_page(path) || self.is_own_origin(request.headers(), &hosts) {
            return None;
        }
        Some(foreign_origin(request.headers()))
    }

    fn is_own_host(&self, host: &str) -> bool {
        let Some(own) = &self.hosts else { return true };
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = normalized(authority.host());
        is_address(&name) || is_private(&name) || own.contains(&name)
    }

    /// Returns whether a request comes from a page of this server, from a page of an allowed origin, or from no page.
    fn is_own_origin(&self, headers: &HeaderMap, hosts: &[String]) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter().peekable();
        let has_origin = origins.peek().is_some();
        if has_origin && origins.all(|origin| self.allows(origin)) {
            return true;
        }
        if headers.contains_key(SEC_FETCH_SITE) {
            let of = |site: &HeaderValue| [&b"same-origin"[..], b"none"].contains(&site.as_bytes());
            return headers.get_all(SEC_FETCH_SITE).iter().all(of);
        }
        headers.get_all(ORIGIN).iter().all(|origin| self.is_of_hosts(origin, hosts))
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        parse(origin).is_some_and(|origin| self.origins.contains(&origin.origin().ascii_serialization()))
    }

    /// Returns whether an origin has the host and port that the request was sent to. Schemes are not compared on a
    /// plain connection, because a proxy in front may add TLS.
    fn is_of_hosts(&self, origin: &HeaderValue, hosts: &[String]) -> bool {
        let Some(origin) = parse(origin).filter(|origin| !self.encrypts || origin.scheme() == "https") else {
            return false;
        };
        let same = |host: &String| {
            let at = Url::parse(&format!("{}://{host}", origin.scheme())).ok();
            at.is_some_and(|at| {
                at.host() == origin.host() && at.port_or_known_default() == origin.port_or_known_default()
            })
        };
        !hosts.is_empty() && hosts.iter().all(same)
    }

    /// Returns the response to a CORS preflight request of a page of an allowed origin.
    pub(super) fn preflight(&self, request: &Request) -> Option<Response> {
        let asks = request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || self.allowed_origin(request.headers()).is_none() {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        Some(response)
    }

    /// Returns the origin of a request, if it is allowed.
    pub(super) fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        headers.get(ORIGIN).filter(|origin| self.allows(origin)).cloned()
    }

    /// Adds the CORS headers that allow a page of an allowed origin to read a response.
    pub(super) fn add_cors_headers(&self, response: &mut Response, origin: Option<HeaderValue>) {
        if self.origins.is_empty() {
            return;
        }
        let headers = response.headers_mut();
        headers.append(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(RESPONSE_HEADERS));
        }
    }
}

fn misdirected(host: &str) -> Error {
    Error::Misdirected(format!(
        "the host {host:?} is not known to be this server: use its address, or name the host in \
         server.http.allowed_hosts (\"*\": any)"
    ))
}

fn foreign_origin(headers: &HeaderMap) -> Error {
    let origin = headers.get(ORIGIN).map_or_else(|| "another".to_owned(), |origin| format!("{origin:?}"));
    Error::Forbidden(format!(
        "requests from web pages of the origin {origin} are refused: name the origin in server.http.allowed_origins"
    ))
}

/// Returns the host names that a request was sent to: `:authority` or the authority of the request line, and `Host`.
/// Empty if the request has none.
fn hosts(request: &Request) -> Vec<String> {
    let authority = request.uri().authority().map(ToString::to_string);
    let headers =
        request.headers().get_all(HOST).iter().map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    authority.into_iter().chain(headers).filter(|host| !host.is_empty()).collect()
}

fn all(headers: &HeaderMap, name: &HeaderName, value: &[u8]) -> bool {
    headers.contains_key(name) && headers.get_all(name).iter().all(|given| given.as_bytes() == value)
}

fn parse(origin: &HeaderValue) -> Option<Url> {
    Url::parse(origin.to_str().ok()?).ok().filter(|url| ["http", "https"].contains(&url.scheme()))
}

/// Returns a host name in lower case, without a trailing dot.
fn normalized(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    host.strip_suffix('.').map(str::to_owned).unwrap_or(host)
}

fn is_address(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let bare = bare.split('%').next().unwrap_or(bare);
    // Browsers and curl accept 127.1 as an address. No host name ends with a number.
    let is_number = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit());
    bare.parse::<IpAddr>().is_ok() || name.rsplit('.').next().is_some_and(is_number)
}

/// Returns whether public DNS cannot resolve a host name.
fn is_private(name: &str) -> bool {
    name.rsplit_once('.').is_none_or(|(_, domain)| PRIVATE_DOMAINS.contains(&domain))
}

#[cfg(test)]
mod tests;
