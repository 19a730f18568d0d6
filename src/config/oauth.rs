//! `[clusters.NAME.oauth]`: the settings for the login to Kafka by SASL/OAUTHBEARER.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use super::{
    error::{Key, Problem},
    kafka::Properties,
    resolve::Resolver,
    section::section,
    value::{OauthMethod, Secret},
};

section! {
    /// `[clusters.NAME.oauth]`: the login to Kafka by SASL/OAUTHBEARER.
    #[derive(Clone, Debug)]
    pub struct Oauth {
        /// Origin of the tokens: client_credentials requests them from a token endpoint; file reads them from a file,
        /// which is read again every few seconds; msk_iam, for Amazon MSK, uses the AWS identity of the machine. Empty:
        /// OAUTHBEARER is not used.
        pub method: OauthMethod = MethodName(""), "most clusters use another login";
        /// URL of the token endpoint.
        pub token_endpoint: String = HttpUrl(""), "only method client_credentials needs it";
        /// Client id at the token endpoint.
        pub client_id: String = Text(""), "only method client_credentials needs it";
        /// Client secret. It is sent to the token endpoint in the header Authorization.
        pub client_secret: Secret = SecretText(""), "only method client_credentials needs it, unless private_key is set";
        /// Private key in PEM (RSA, or P-256 in PKCS #8). It signs a JWT that is sent instead of the client secret.
        pub private_key: Secret = SecretText(""), "most token endpoints use a client secret";
        /// Scope of the token; several scopes are separated by spaces.
        pub scope: String = Text(""), "only some endpoints need it, for example api://kafka/.default";
        /// SASL extensions that are sent to the broker with the token, for example logicalCluster=lkc-1.
        pub extensions: Vec<String> = Extensions(""), "only Confluent Cloud needs some: logicalCluster and identityPoolId";
        /// PEM file of CA certificates to verify the token endpoint with. Empty: those of the operating system.
        pub ca: Option<PathBuf> = OptionalPath(""), "only an endpoint with a certificate of a private CA needs it";
        /// File with the token. If the token is a JWT, its expiry is read from it.
        pub file: Option<PathBuf> = OptionalPath(""), "only method file needs it; Kubernetes, for example, renews such a file";
        /// AWS region of the MSK cluster. Empty: the region in bootstrap_servers, or else AWS_REGION.
        pub region: String = Text(""), "the host names of MSK brokers contain the region";
        /// ARN of the AWS role to assume before the login.
        pub role_arn: String = Text(""), "only a cluster of another AWS account needs it";
        /// Profile in ~/.aws/credentials and ~/.aws/config. Empty: AWS_PROFILE, or else the usual AWS sources, in the
        /// order environment, web identity, container, instance.
        pub profile: String = Text(""), "most machines have one identity";
    }
    with {
        /// The environment variables of AWS.
        pub aws: AwsVariables,
    }
}

/// The environment variables that the tools of AWS read. `Debug` shows only their names.
#[derive(Clone, Default)]
pub struct AwsVariables(pub BTreeMap<String, String>);

impl AwsVariables {
    /// Returns the AWS variables of an environment.
    pub(super) fn of(env: &BTreeMap<String, String>) -> Self {
        let is_aws = |name: &str| name.starts_with("AWS_") || name == "HOME";
        let aws = env.iter().filter(|(name, value)| is_aws(name) && !value.is_empty());
        Self(aws.map(|(name, value)| (name.clone(), value.clone())).collect())
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

/// Whether a method uses a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Usage {
    Required,
    Optional,
    Unused,
}

impl Oauth {
    /// Returns whether the cluster uses OAUTHBEARER.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.method != OauthMethod::None
    }

    /// Checks that the settings and the properties of librdkafka fit the method. Adds the errors to the resolver.
    pub(super) fn check(&self, resolver: &mut Resolver<'_>, cluster: &Key, kafka: &Properties) {
        use Usage::{Optional, Required, Unused};
        let section = cluster.child("oauth");
        let of = |credentials, file, msk| match self.method {
            OauthMethod::None => Unused,
            OauthMethod::ClientCredentials => credentials,
            OauthMethod::File => file,
            OauthMethod::MskIam => msk,
        };
        let secret = if self.private_key.is_empty() { Required } else { Unused };
        let settings = [
            ("token_endpoint", self.token_endpoint.is_empty(), of(Required, Unused, Unused)),
            ("client_id", self.client_id.is_empty(), of(Required, Unused, Unused)),
            ("client_secret", self.client_secret.is_empty(), of(secret, Unused, Unused)),
            ("private_key", self.private_key.is_empty(), of(Optional, Unused, Unused)),
            ("scope", self.scope.is_empty(), of(Optional, Unused, Unused)),
            ("ca", self.ca.is_none(), of(Optional, Unused, Unused)),
            ("extensions", self.extensions.is_empty(), of(Optional, Optional, Unused)),
            ("file", self.file.is_none(), of(Unused, Required, Unused)),
            ("region", self.region.is_empty(), of(Unused, Unused, Optional)),
            ("role_arn", self.role_arn.is_empty(), of(Unused, Unused, Optional)),
            ("profile", self.profile.is_empty(), of(Unused, Unused, Optional)),
        ];
        for (name, is_empty, usage) in settings {
            let problem = match (usage, is_empty) {
                (Required, true) => Problem::OauthMissing(self.method.name()),
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
                Some((*name, "oauth.method is set, which uses OAUTHBEARER; remove one of the two"))
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
