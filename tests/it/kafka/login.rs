//! Login methods of a real broker with good and bad credentials: which ones work, and which error the operator sees
//! otherwise.

use std::fs;

use serde_json::Value;

use super::broker::{Broker, Release, free_port, keys_url};
use super::driver::Driver;
use crate::program::offsetd;

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A broker with a listener for each login method.
pub(super) struct Listeners {
    pub(super) broker: Broker,
    ports: Vec<(&'static str, u16)>,
}

/// Names of the listeners, with their protocols.
const LISTENERS: [(&str, &str); 5] =
    [("SASL", "SASL_PLAINTEXT"), ("SASLTLS", "SASL_SSL"), ("TLS", "SSL"), ("MTLS", "SSL"), ("OAUTH", "SASL_PLAINTEXT")];

const JAAS: &str = "org.apache.kafka.common.security";

impl Listeners {
    /// Starts the broker with additional properties.
    pub(super) fn start(more: &str) -> Self {
        let [port, controller] = [free_port(), free_port()];
        let ports: Vec<(&str, u16)> = LISTENERS.iter().map(|(name, _)| (*name, free_port())).collect();
        let listeners: String = ports.iter().map(|(name, port)| format!(",{name}://127.0.0.1:{port}")).collect();
        let protocols: String = LISTENERS.iter().map(|(name, protocol)| format!(",{name}:{protocol}")).collect();
        // In a properties file, a line break is escaped.
        let pem = |names: &[&str]| -> String {
            let read = |name: &&str| fs::read_to_string(fixture(name)).unwrap();
            names.iter().map(read).collect::<String>().replace('\n', "\\n")
        };
        let users = ["SCRAM-SHA-256", "SCRAM-SHA-512"];
        let scram: String = ["sasl", "sasltls"]
            .iter()
            .flat_map(|name| {
                let scram = ["scram-sha-256", "scram-sha-512"].map(|mechanism| {
                    format!(
                        "listener.name.{name}.{mechanism}.sasl.jaas.config={JAAS}.scram.ScramLoginModule required;\n"
                    )
                });
                let plain = format!(
                    "listener.name.{name}.plain.sasl.jaas.config={JAAS}.plain.PlainLoginModule required user_ann=\"ann's\";\n"
                );
                [scram.concat(), plain]
            })
            .collect();
        let properties = format!(
            "listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{listeners}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}
listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasltls.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER
{scram}ssl.keystore.type=PEM
ssl.keystore.certificate.chain={}
ssl.keystore.key={}
ssl.truststore.type=PEM
ssl.truststore.certificates={}
listener.name.mtls.ssl.client.auth=required
listener.name.oauth.oauthbearer.sasl.jaas.config={JAAS}.oauthbearer.OAuthBearerLoginModule required;
listener.name.oauth.oauthbearer.sasl.server.callback.handler.class={JAAS}.oauthbearer.OAuthBearerValidatorCallbackHandler
sasl.oauthbearer.jwks.endpoint.url={}
sasl.oauthbearer.expected.audience=kafka
{more}",
            pem(&["server.pem"]),
            pem(&["server.key"]),
            pem(&["ca.pem"]),
            keys_url(),
        );
        let scram = users.map(|mechanism| format!("{mechanism}=[name=ann,password=ann's]"));
        let arguments: Vec<&str> = scram.iter().flat_map(|user| ["--add-scram", user]).collect();
        let broker = Broker::with_listeners(Release::of("4.1"), [port, controller], &properties, &arguments);
        Self { broker, ports }
    }

    pub(super) fn address(&self, name: &str) -> String {
        let (_, port) = self.ports.iter().find(|(listener, _)| *listener == name).unwrap();
        format!("127.0.0.1:{port}")
    }
}

#[test]
fn every_way_to_log_in_works_and_bad_credentials_are_told_with_the_reason() {
    let listeners = Listeners::start("");
    let mut driver = Driver::of(&listeners.broker);
    driver.topic("orders", 1, 10);
    driver.alter("g", "orders", 0, 4, "");

    let ca = format!("ssl.ca.location={}", fixture("ca.pem"));
    let other_ca = format!("ssl.ca.location={}", fixture("other-ca.pem"));
    let client = [("certificate", "client.pem"), ("key", "client.key")];
    let client = client.map(|(what, file)| format!("ssl.{what}.location={}", fixture(file)));
    let good = "sasl.password=ann's";
    let bad = "sasl.password=bob's";
    let plain = ["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=PLAIN", "sasl.username=ann"];
    let over_tls = ["security.protocol=SASL_SSL", "sasl.mechanism=SCRAM-SHA-512", "sasl.username=ann"];
    let scram = |mechanism| ["security.protocol=SASL_PLAINTEXT", mechanism, "sasl.username=ann"];
    let (scram256, scram512) = (scram("sasl.mechanism=SCRAM-SHA-256"), scram("sasl.mechanism=SCRAM-SHA-512"));
    let tls = "security.protocol=SSL";
    let mutual = [tls, &ca, &client[0], &client[1]];

    let password = ("Authentication failed", "check sasl.username and sasl.password");
    let scram_password = ("invalid credentials", "check sasl.username and sasl.password");
    let authority = ("certificate verify failed", "set ssl.ca.location");
    let protocol = ("check security.protocol and the port", "set security.protocol");
    let unsupported = ("supported mechanisms: OAUTHBEARER", "set sasl.mechanism");
    let certificate = ("the broker requires a client certificate that it trusts", "set ssl.certificate.location");
    let cases: Vec<(&str, &str, Vec<&str>, ExpectedError)> = vec![
        ("PLAIN", "SASL", [&plain[..], &[good]].concat(), None),
        ("PLAIN, wrong password", "SASL", [&plain[..], &[bad]].concat(), Some(password)),
        ("SCRAM-SHA-256", "SASL", [&scram256[..], &[good]].concat(), None),
        ("SCRAM-SHA-256, wrong password", "SASL", [&scram256[..], &[bad]].concat(), Some(scram_password)),
        ("SCRAM-SHA-512", "SASL", [&scram512[..], &[good]].concat(), None),
        ("SCRAM-SHA-512, wrong password", "SASL", [&scram512[..], &[bad]].concat(), Some(scram_password)),
        ("SASL over TLS", "SASLTLS", [&over_tls[..], &[good, &ca]].concat(), None),
        ("SASL over TLS, wrong password", "SASLTLS", [&over_tls[..], &[bad, &ca]].concat(), Some(scram_password)),
        ("SASL over TLS, another authority", "SASLTLS", [&over_tls[..], &[good, &other_ca]].concat(), Some(authority)),
        ("mTLS", "MTLS", mutual.to_vec(), None),
        ("mTLS without a certificate", "MTLS", vec![tls, &ca], Some(certificate)),
        ("TLS", "TLS", vec![tls, &ca], None),
        ("TLS, another authority", "TLS", vec![tls, &other_ca], Some(authority)),
        ("a mechanism that the broker does not support", "OAUTH", [&plain[..], &[good]].concat(), Some(unsupported)),
        ("no SASL where it is needed", "SASL", vec![], Some(protocol)),
        ("TLS where there is none", "SASL", vec![tls, &ca], Some(protocol)),
        ("no TLS where it is needed", "TLS", vec![], Some(protocol)),
    ];
    let mut wrong = vec![];
    for (case, listener, properties, told) in cases {
        let address = listeners.address(listener);
        let flags = properties.iter().flat_map(|property| ["-X", property]);
        let args = ["doctor", "--format", "json", "--bootstrap-servers", &address].into_iter().chain(flags);
        let out = offsetd(&args.collect::<Vec<_>>(), "");
        let text = String::from_utf8_lossy(&out.stdout);
        let as_expected = match told {
            None => out.status.success() && check(&text, "sasl")["result"] == "ok",
            Some((reason, remedy)) => {
                let sasl = check(&text, "sasl");
                let has = |field: &str, part: &str| sasl[field].as_str().is_some_and(|text| text.contains(part));
                out.status.code() == Some(1)
                    && sasl["result"] == "failed"
                    && has("found", reason)
                    && has("remedy", remedy)
            }
        };
        if !as_expected || text.contains("bob's") {
            wrong.push(format!("{case}: {out:?}"));
        }
        // The certificate is reported on every TLS listener.
        let tls = check(&text, "tls");
        if listener.ends_with("TLS")
            && properties.len() > 1
            && !tls["found"].to_string().contains("valid until 2120-01-01")
        {
            wrong.push(format!("{case}: {tls}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Expected parts of the error and of the advice.
type ExpectedError = Option<(&'static str, &'static str)>;

/// Returns one check from the output of `offsetd doctor`.
fn check(json: &str, name: &str) -> Value {
    let report: Value = serde_json::from_str(json).unwrap_or_default();
    let checks = report["clusters"][0]["checks"].as_array().cloned().unwrap_or_default();
    checks.into_iter().find(|check| check["check"] == name).unwrap_or_default()
}
