//! The methods of obtaining a token.

use std::{path::PathBuf, time::Duration};

use super::{endpoint::Endpoint, error::TokenError, file, msk::Msk, token::Token};
use crate::{
    clock::Clock,
    config::{self, OauthMethod},
};

/// Time between two reads of a token file.
const FILE_INTERVAL: Duration = Duration::from_secs(5);

/// A configured method of obtaining a token.
#[derive(Debug)]
pub(super) struct Method {
    kind: Kind,
    extensions: Vec<String>,
}

#[derive(Debug)]
enum Kind {
    Endpoint(Endpoint),
    File(PathBuf),
    Msk(Msk),
}

impl Method {
    /// Creates the method that a cluster is configured with.
    ///
    /// # Errors
    /// Returns an error if a certificate, key or region is unusable.
    pub(super) fn new(cluster: &config::Cluster) -> Result<Self, TokenError> {
        let oauth = &cluster.oauth;
        let kind = match oauth.method {
            OauthMethod::None | OauthMethod::File => Kind::File(oauth.file.clone().unwrap_or_default()),
            OauthMethod::ClientCredentials => Kind::Endpoint(Endpoint::new(oauth)?),
            OauthMethod::MskIam => Kind::Msk(Msk::new(cluster)?),
        };
        Ok(Self { kind, extensions: oauth.extensions.clone() })
    }

    /// Obtains a token.
    ///
    /// # Errors
    /// Returns why there is no token.
    pub(super) async fn token(&self, clock: &Clock) -> Result<Token, TokenError> {
        let token = match &self.kind {
            Kind::Endpoint(endpoint) => endpoint.token(clock).await?,
            Kind::File(path) => file::token(path, clock.now())?,
            Kind::Msk(msk) => msk.token(clock).await?,
        };
        Ok(token.with_extensions(&self.extensions))
    }

    /// Returns the maximum time until the next attempt.
    pub(super) fn longest_wait(&self) -> Duration {
        if matches!(self.kind, Kind::File(_)) { FILE_INTERVAL } else { Duration::MAX }
    }
}
