//! The login, and the brokers that are seen after it.

use rdkafka::consumer::Consumer as _;
use tokio_util::sync::CancellationToken;

use super::{
    super::{client::Client, oauth},
    TIMEOUT,
    network::reach_broker,
    report::{Check, Report},
};
use crate::{config, source::kafka::AskError};

/// Most brokers that are tried one by one.
const BROKERS: usize = 20;

/// Logs in as the server would. Returns the client.
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

/// Brokers are asked by the names that they give themselves, whatever bootstrap_servers names.
fn advertised(report: &mut Report, brokers: &[(String, i32)]) {
    let mut all_good = true;
    for (host, port) in brokers {
        let reached = reach_broker(host, u16::try_from(*port).unwrap_or_default());
        if let Err(error) = reached {
            all_good = false;
            let remedy =
                "check advertised.listeners of the broker, and that this machine can resolve and reach the name";
            report.add(Check::fails("advertised", format!("{host}:{port}"), error.to_string(), remedy));
        }
    }
    if all_good {
        let found = format!("{} brokers can be reached by the names that they give themselves", brokers.len());
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

/// What to do about librdkafka's errors: a part of the text, and the advice.
const REMEDIES: [(&str, &str); 6] = [
    ("OAUTHBEARER token", "check [clusters.NAME.oauth]"),
    ("invalid_token", "check the audience, issuer and scope of the token in [clusters.NAME.oauth]"),
    ("certificate verify failed", "set ssl.ca.location to the authority that signed the broker's certificate"),
    ("client certificate", "set ssl.certificate.location and ssl.key.location to a certificate that the broker trusts"),
    ("Unsupported SASL mechanism", "set sasl.mechanism to one that the broker offers"),
    (
        "Authentication failed",
        "check sasl.username and sasl.password, and that the broker knows the user by this mechanism",
    ),
];

const ELSE: &str = "set security.protocol to the one of this port: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL";

fn remedy(error: &AskError) -> &'static str {
    let text = error.to_string();
    let found = REMEDIES.iter().find(|(part, _)| text.contains(part));
    found.map_or(ELSE, |(_, remedy)| remedy)
}
