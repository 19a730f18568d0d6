//! `[clusters.NAME.oauth]`: how a cluster's tokens of SASL/OAUTHBEARER are obtained.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use super::{
    error::{Key, Problem},
    kafka::Properties,
    resolve::Resolver,
    section::section,
    value::{OauthMethod, Secret},
};

section! {
    /// `[clusters.NAME.oauth]`: how to log in to Kafka by SASL/OAUTHBEARER.
    #[derive(Clone, Debug)]
    pub struct Oauth {
        /// Where tokens come from: a token endpoint (client_credentials), a file that is read again every few seconds, or
        /// the identity of the machine in AWS (msk_iam, for Amazon MSK). Empty: OAUTHBEARER is not used.
        pub method: OauthMethod = MethodName(""), "most clusters have other ways to log in";
        /// URL of the token endpoint.
        pub token_endpoint: String = HttpUrl(""), "client_credentials needs it";
        /// Client id at the token endpoint.
        pub client_id: String = Text(""), "client_credentials needs it";
        /// Client secret, sent to the token endpoint in the header Authorization.
        pub client_secret: Secret = SecretText(""), "client_credentials needs it, or private_key";
        /// Private key (PEM; RSA, or P-256 in PKCS #8) that signs a JWT in place of the client secret.
        pub private_key: Secret = SecretText(""), "a key need not be sent to anybody";
        /// Scope of the token, several separated by spaces.
        pub scope: String = Text(""), "some endpoints need it, as api://kafka/.default";
        /// SASL extensions sent to the broker beside the token, as logicalCluster=lkc-1.
        pub extensions: Vec<String> = Extensions(""), "Confluent Cloud needs logicalCluster and identityPoolId";
        /// File with the certificates that the token endpoint's certificate is verified with. Empty: those of the system.
        pub ca: Option<PathBuf> = OptionalPath(""), "the endpoint may be behind a private authority";
        /// File with the token. A token that is a JWT says itself when it expires.
        pub file: Option<PathBuf> = OptionalPath(""), "file needs it; Kubernetes renews such a file, for example";
        /// Region of the MSK cluster. Empty: that of bootstrap_servers, or of AWS_REGION.
        pub region: String = Text(""), "the names of MSK's brokers contain it";
        /// Role to assume before logging in.
        pub role_arn: String = Text(""), "the cluster may belong to another account";
        /// Profile of ~/.aws/credentials and ~/.aws/config. Empty: AWS_PROFILE, or else AWS's usual order: environment, web
        /// identity, container, instance.
        pub profile: String = Text(""), "most machines have one identity";
    }
    with {
        /// The variables of AWS.
        pub aws: AwsVariables,
    }
}

/// Variables of the environment that AWS's own tools read. `Debug` shows their names only.
#[derive(Clone, Default)]
pub struct AwsVariables(pub BTreeMap<String, String>);

impl AwsVariables {
    /// Takes them out of an environment.
    pub(super) fn of(env: &BTreeMap<String, String>) -> Self {
        let is_ours = |name: &str| name.starts_with("AWS_") || name == "HOME";
        let ours = env.iter().filter(|(name, value)| is_ours(name) && !value.is_empty());
        Self(ours.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Returns a variable that is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl fmt::Debug for AwsVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Whether a setting is wanted by a method.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Needed,
    Optional,
    Unused,
}

impl Oauth {
    /// Whether tokens are used at all.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.method != OauthMethod::None
    }

    /// Checks the settings that a method needs, and the properties of librdkafka beside them.
    pub(super) fn check(&self, resolver: &mut Resolver<'_>, cluster: &Key, kafka: &Properties) {
        use Use::{Needed, Optional, Unused};
        let section = cluster.child("oauth");
        let of = |credentials, file, msk| match self.method {
            OauthMethod::None => Unused,
            OauthMethod::ClientCredentials => credentials,
            OauthMethod::File => file,
            OauthMethod::MskIam => msk,
        };
        let secret = if self.private_key.is_empty() { Needed } else { Unused };
        let settings = [
            ("token_endpoint", self.token_endpoint.is_empty(), of(Needed, Unused, Unused)),
            ("client_id", self.client_id.is_empty(), of(Needed, Unused, Unused)),
            ("client_secret", self.client_secret.is_empty(), of(secret, Unused, Unused)),
            ("private_key", self.private_key.is_empty(), of(Optional, Unused, Unused)),
            ("scope", self.scope.is_empty(), of(Optional, Unused, Unused)),
            ("ca", self.ca.is_none(), of(Optional, Unused, Unused)),
            ("extensions", self.extensions.is_empty(), of(Optional, Optional, Unused)),
            ("file", self.file.is_none(), of(Unused, Needed, Unused)),
            ("region", self.region.is_empty(), of(Unused, Unused, Optional)),
            ("role_arn", self.role_arn.is_empty(), of(Unused, Unused, Optional)),
            ("profile", self.profile.is_empty(), of(Unused, Unused, Optional)),
        ];
        for (name, is_empty, wanted) in settings {
            let problem = match (wanted, is_empty) {
                (Needed, true) => Problem::OauthMissing(self.method.name()),
                (Unused, false) if !self.is_used() => Problem::OauthNoMethod,
                (Unused, false) => Problem::OauthUnused(self.method.name()),
                _ => continue,
            };
            resolver.error(&section.child(name), problem);
        }
        self.check_properties(resolver, &cluster.child("kafka"), kafka);
    }

    fn check_properties(&self, resolver: &mut Resolver<'_>, section: &Key, kafka: &Properties) {
        let given = |names: &[&'static str]| {
            names.iter().find_map(|name| kafka.get(*name).map(|value| (*name, value.to_ascii_uppercase())))
        };
        let mechanism = given(&["sasl.mechanisms", "sasl.mechanism"]);
        let unsecured = kafka.get("enable.sasl.oauthbearer.unsecure.jwt").is_some_and(|value| value == "true");
        let problem = match (&mechanism, given(&["security.protocol"])) {
            (Some((name, other)), _) if self.is_used() && other != "OAUTHBEARER" => {
                Some((*name, "oauth.method is set, which logs in by OAUTHBEARER; remove one of the two"))
            }
            (Some((name, mechanism)), _) if !self.is_used() && mechanism == "OAUTHBEARER" && !unsecured => {
                Some((*name, "OAUTHBEARER needs a token; set method in [clusters.NAME.oauth]"))
            }
            (_, Some((name, protocol))) if self.is_used() && !protocol.starts_with("SASL_") => {
                Some((name, "oauth.method is set, which needs SASL_SSL or SASL_PLAINTEXT"))
            }
            _ => None,
        };
        if let Some((name, why)) = problem {
            resolver.error(&section.child(name), Problem::Reserved { why });
        }
    }
}

#[cfg(test)]
mod tests;
