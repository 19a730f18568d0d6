//! Checks of the login, and of the addresses that the brokers advertise.

use rdkafka::consumer::Consumer as _;
use tokio_util::sync::CancellationToken;

use super::{
    super::{client::Client, oauth},
    TIMEOUT,
    network::reach_broker,
    report::{Check, Report},
};
use crate::{config, source::kafka::RequestError};

/// Maximum number of advertised brokers that are checked.
const BROKERS: usize = 20;

/// Logs in with the settings of the server. Returns the client, or `None` if the login failed.
pub(super) fn examine(report: &mut Report, cluster: &config::Cluster) -> Option<Client> {
    let name = mechanism(cluster);
    let client = match oauth::connector(cluster, CancellationToken::new()).connect() {
        Ok(client) => client,
        Err(error) => {
            report.add(Check::fails("sasl", name, error.to_string(), "check the properties in [clusters.NAME.kafka]"));
            return None;
        }
    };
    match client.metadata(None, TIMEOUT) {
        Err(error) => {
            let remedy = remedy(&error);
            report.add(Check::fails("sasl", name, error.to_string(), remedy));
            None
        }
        Ok(metadata) => {
            let id = client.client().fetch_cluster_id(TIMEOUT).unwrap_or_else(|| "unknown".to_owned());
            let count = metadata.brokers().len();
            report.add(Check::works("sasl", name, format!("logged in; cluster id {id}, {count} brokers")));
            let brokers: Vec<(String, i32)> = metadata
                .brokers()
                .iter()
                .take(BROKERS)
                .map(|broker| (broker.host().to_owned(), broker.port()))
                .collect();
            advertised(report, &brokers);
            Some(client)
        }
    }
}

/// Checks the addresses that the brokers advertise. Clients connect to these, not to those in bootstrap_servers.
fn advertised(report: &mut Report, brokers: &[(String, i32)]) {
    let mut all_good = true;
    for (host, port) in brokers {
        let reached = reach_broker(host, u16::try_from(*port).unwrap_or_default());
        if let Err(error) = reached {
            all_good = false;
            let remedy =
                "check advertised.listeners of the broker, and that this machine can resolve and reach that name";
            report.add(Check::fails("advertised", format!("{host}:{port}"), error.to_string(), remedy));
        }
    }
    if all_good {
        let found = format!("{} brokers are reachable at their advertised addresses", brokers.len());
        report.add(Check::works("advertised", "", found));
    }
}

fn mechanism(cluster: &config::Cluster) -> String {
    let property = |name: &str| cluster.kafka.get(name).map(String::as_str);
    if cluster.oauth.is_used() {
        return "OAUTHBEARER".to_owned();
    }
    let protocol = property("security.protocol").unwrap_or("PLAINTEXT").to_ascii_uppercase();
    if !protocol.starts_with("SASL") {
        return protocol;
    }
    let mechanism = property("sasl.mechanisms").or_else(|| property("sasl.mechanism")).unwrap_or("GSSAPI");
    property("sasl.username").map_or_else(|| mechanism.to_owned(), |user| format!("{mechanism} as {user}"))
}

/// Remedies for librdkafka's errors: a part of the error text, and the remedy.
const REMEDIES: [(&str, &str); 6] = [
    ("OAUTHBEARER token", "check [clusters.NAME.oauth]"),
    ("invalid_token", "check the audience, issuer and scope of the token in [clusters.NAME.oauth]"),
    (
        "certificate verify failed",
        "set ssl.ca.location to the certificate of the CA that signed the broker's certificate",
    ),
    (
        "client certificate",
        "set ssl.certificate.location and ssl.key.location to a client certificate that the broker trusts",
    ),
    ("Unsupported SASL mechanism", "set sasl.mechanism to a mechanism that the broker offers"),
    ("Authentication failed", "check sasl.username and sasl.password, and that the user exists for this mechanism"),
];

const DEFAULT_REMEDY: &str =
    "set security.protocol to that of the listener: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL";

fn remedy(error: &RequestError) -> &'static str {
    let text = error.to_string();
    let found = REMEDIES.iter().find(|(part, _)| text.contains(part));
    found.map_or(DEFAULT_REMEDY, |(_, remedy)| remedy)
}
