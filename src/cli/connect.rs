//! The gRPC connection of the client commands, and the messages for its errors.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::{Failure, ServerArgs, profile};
use crate::rpc::proto::offset_service_client::OffsetServiceClient;

mod plaintext;

/// The largest message that a client accepts, in bytes. Servers send batches of a few MiB; the limit only bounds the
/// memory that a faulty server can make a client allocate.
const MAX_MESSAGE_BYTES: usize = 1 << 30;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The files in which operating systems keep their trusted CA certificates. The first that exists is used.
const SYSTEM_CA_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A connected client.
pub(super) type Client = OffsetServiceClient<InterceptedService<Channel, Bearer>>;

/// Adds the token to every call.
#[derive(Clone, Debug)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Connects to the server that the arguments or their profile name.
///
/// # Errors
/// Returns [`Failure::Usage`] for bad arguments, and [`Failure::Command`] with a hint if the connection fails.
pub(super) async fn connect(args: &ServerArgs) -> Result<Client, Failure> {
    let args = &args.resolve()?;
    let server = args.server.as_deref().unwrap_or(profile::DEFAULT_SERVER);
    let url = url(server);
    let usage_error = |error: &dyn std::fmt::Display| Failure::Usage(format!("--server {server}: {error}"));
    let mut endpoint = Endpoint::from_shared(url.clone())
        .map_err(|error| usage_error(&error))?
        .user_agent(concat!("offsetd/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| usage_error(&error))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_while_idle(true);
    match endpoint.uri().scheme_str() {
        Some("http") => {}
        Some("https") => endpoint = endpoint.tls_config(tls(args)?).map_err(|error| usage_error(&causes(&error)))?,
        _ => return Err(usage_error(&"expected http://HOST:PORT or https://HOST:PORT")),
    }
    let token = match &args.token {
        None => None,
        Some(token) => {
            let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.as_str())
                .parse()
                .map_err(|_| Failure::Usage("--token: contains characters that no header may contain".to_owned()))?;
            value.set_sensitive(true);
            Some(value)
        }
    };
    let connected = match endpoint.uri().scheme_str() {
        Some("http") => endpoint.connect_with_connector(tower::service_fn(plaintext::connect)).await,
        _ => endpoint.connect().await,
    };
    let channel = connected.map_err(|error| unreachable(&url, &error))?;
    Ok(OffsetServiceClient::with_interceptor(channel, Bearer(token)).max_decoding_message_size(MAX_MESSAGE_BYTES))
}

/// Returns the failure of a connection attempt, with a hint about its cause.
fn unreachable(url: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    let why = causes(error);
    let no_server = [ErrorKind::ConnectionRefused, ErrorKind::TimedOut, ErrorKind::HostUnreachable];
    let mut source = Some(error);
    while let Some(cause) = source {
        if cause.downcast_ref::<io::Error>().is_some_and(|cause| no_server.contains(&cause.kind())) {
            let start = "start one with `offsetd demo` or `offsetd serve`";
            return Failure::Command(format!("no server at {url} ({why}); {start}"));
        }
        source = cause.source();
    }
    // rustls returns this error if the first bytes of the server are not TLS.
    if why.contains("InvalidContentType") {
        return Failure::Command(format!(
            "the server does not speak TLS: use {}",
            url.replacen("https://", "http://", 1)
        ));
    }
    let hint = if why.contains("certificate") { " (--ca-cert sets the certificates to trust)" } else { "" };
    Failure::Command(format!("cannot connect to {url}: {why}{hint}"))
}

/// Returns the URL of a server. `host:port` without a scheme means plain HTTP.
fn url(server: &str) -> String {
    if server.contains("://") { server.to_owned() } else { format!("http://{server}") }
}

/// Returns the TLS settings: the CA certificates to trust and, if given, the client certificate.
fn tls(args: &ServerArgs) -> Result<ClientTlsConfig, Failure> {
    let path = match &args.ca_cert {
        Some(path) => path.clone(),
        None => SYSTEM_CA_FILES.iter().map(PathBuf::from).find(|path| path.is_file()).ok_or_else(|| {
            Failure::Usage("https needs --ca-cert PATH: this system has no file of trusted certificates".to_owned())
        })?,
    };
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&path)?));
    match (&args.client_cert, &args.client_key) {
        (Some(cert), Some(key)) => Ok(config.identity(Identity::from_pem(read(cert)?, read(key)?))),
        _ => Ok(config),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
}

/// Returns the text of an error and of its causes, without causes that the text already contains.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Returns the failure of a call, with a hint: to give a token, or when to retry.
pub(super) fn call_failed(status: Status) -> Failure {
    let message = match std::error::Error::source(&status) {
        Some(_) if is_timeout(&status) => "the server did not respond within --timeout".to_owned(),
        // The connection failed. The message of tonic itself is only "transport error" or similar.
        Some(source) => connection_failed(&causes(source)),
        None if status.message().is_empty() => status.code().description().to_owned(),
        None => status.message().to_owned(),
    };
    let retry = status.metadata().get("retry-after-ms").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    Failure::Command(match (status.code(), retry) {
        (Code::Unauthenticated, _) => format!("{message} (give --token or OFFSETD_TOKEN)"),
        (_, Some(ms)) => {
            let wait = humantime::format_duration(Duration::from_millis(ms));
            format!("{message} (try again in {wait})")
        }
        _ => message,
    })
}

/// Returns the message for a failed connection: the TLS hint of [`plaintext`] if there is one, else all causes.
fn connection_failed(why: &str) -> String {
    if let Some(at) = why.find(plaintext::HINT) {
        return why.get(at..).unwrap_or(why).to_owned();
    }
    // A server that requires a client certificate sends an alert and closes the connection. A client that is still
    // writing sees one of several errors, depending on how far the handshake was.
    let why_lower = why.to_lowercase();
    let is_cut =
        ["certificaterequired", "operation was canceled", "connection closed", "broken pipe", "connection reset"]
            .iter()
            .any(|text| why_lower.contains(text));
    let hint =
        if is_cut { "; if the server requires a client certificate, set --client-cert and --client-key" } else { "" };
    format!("the connection to the server failed: {why}{hint}")
}

fn is_timeout(status: &Status) -> bool {
    std::iter::successors(std::error::Error::source(status), |error| error.source())
        .any(<dyn std::error::Error>::is::<tonic::TimeoutExpired>)
}

#[cfg(test)]
mod tests;
