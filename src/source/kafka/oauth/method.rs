//! The methods of obtaining a token.

use std::{path::PathBuf, time::Duration};

use super::{endpoint::Endpoint, error::TokenError, file, msk::Msk, token::Token};
use crate::{
    clock::Clock,
    config::{self, OauthMethod},
};

/// Time between two reads of a token file.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A configured method of obtaining a token.
#[derive(Debug)]
pub(super) struct Method {
    kind: MethodKind,
    extensions: Vec<String>,
}

#[derive(Debug)]
enum MethodKind {
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
            OauthMethod::None | OauthMethod::File => MethodKind::File(oauth.file.clone().unwrap_or_default()),
            OauthMethod::ClientCredentials => MethodKind::Endpoint(Endpoint::new(oauth)?),
            OauthMethod::MskIam => MethodKind::Msk(Msk::new(cluster)?),
        };
        Ok(Self { kind, extensions: oauth.extensions.clone() })
    }

    /// Obtains a token.
    ///
    /// # Errors
    /// Returns why there is no token.
    pub(super) async fn token(&self, clock: &Clock) -> Result<Token, TokenError> {
        let token = match &self.kind {
            MethodKind::Endpoint(endpoint) => endpoint.token(clock).await?,
            MethodKind::File(path) => file::token(path, clock.now())?,
            MethodKind::Msk(msk) => msk.token(clock).await?,
        };
        Ok(token.with_extensions(&self.extensions))
    }

    /// Returns the maximum time until the next attempt.
    pub(super) fn max_wait(&self) -> Duration {
        if matches!(self.kind, MethodKind::File(_)) { FILE_CHECK_INTERVAL } else { Duration::MAX }
    }
}
