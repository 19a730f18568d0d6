//! The server arguments of the client commands, and the profiles in `~/.config/offsetd/config.toml`.
//!
//! A profile has the URL of a server, its token and its certificates. A token is sent only to the server of its own
//! profile: if the server is given by a flag or in the environment, nothing from the file is used.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Deserialize;

use super::Failure;

/// The profile that is used if neither a profile nor a server is given.
const DEFAULT_PROFILE: &str = "default";

/// The server that is used if neither the arguments nor the profile name one.
pub(super) const DEFAULT_SERVER: &str = "http://127.0.0.1:8088";

/// The arguments that select the server, the token and the certificates of a client command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// URL of the server, http:// or https://. Default: the URL in the profile, or http://127.0.0.1:8088.
    #[arg(long, value_name = "URL", env = "OFFSETD_SERVER")]
    pub server: Option<String>,
    /// Use section [profiles.NAME] of ~/.config/offsetd/config.toml, which may set server, token or token_file,
    /// ca_cert, client_cert and client_key. Default: "default", if the file has it and --server is not given.
    #[arg(long, value_name = "NAME", env = "OFFSETD_PROFILE")]
    pub profile: Option<String>,
    /// Token for authentication.
    #[arg(long, env = "OFFSETD_TOKEN", hide_env_values = true)]
    pub token: Option<Token>,
    /// PEM file with the CA certificates to trust for https. Default: those of the operating system.
    #[arg(long, value_name = "PATH", env = "OFFSETD_CA_CERT")]
    pub ca_cert: Option<PathBuf>,
    /// PEM file with the client certificate, for servers that require one.
    #[arg(long, value_name = "PATH", env = "OFFSETD_CLIENT_CERT", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// PEM file with the private key of the client certificate.
    #[arg(long, value_name = "PATH", env = "OFFSETD_CLIENT_KEY", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
}

/// The token of a client. `Debug` does not show it.
#[derive(Clone, serde::Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// Returns the token itself.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Token {
    fn from(token: String) -> Self {
        Self(token)
    }
}

impl ServerArgs {
    /// Returns the arguments, completed with the values of the profile.
    ///
    /// # Errors
    /// Returns an error if the profile does not exist or cannot be read.
    pub(super) fn resolve(&self) -> Result<Self, Failure> {
        resolve(self, config_path().as_deref())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The contents of the configuration file of the clients.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profiles {
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

/// A section `[profiles.NAME]`: a server, its token and its certificates.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    server: Option<String>,
    token: Option<Token>,
    token_file: Option<PathBuf>,
    ca_cert: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
}

/// Returns the arguments, completed with the values of the profile in `file`. Flags take precedence over the profile.
/// If the arguments name a server, no profile is used.
///
/// # Errors
/// Returns [`Failure::Usage`] if the file cannot be read or parsed, if it does not have the profile, or if both a
/// server and a profile are given.
fn resolve(args: &ServerArgs, file: Option<&Path>) -> Result<ServerArgs, Failure> {
    let profile_name = args.profile.as_deref().filter(|name| !name.is_empty());
    match (&args.server, profile_name) {
        (Some(_), None) => return Ok(args.clone()),
        (Some(server), Some(profile)) => {
            let problem = format!(
                "--profile {profile} cannot be combined with --server {server}; unset one of them (or of \
                 OFFSETD_PROFILE and OFFSETD_SERVER)"
            );
            return Err(Failure::Usage(problem));
        }
        (None, _) => {}
    }
    let shown = file.map_or_else(|| "~/.config/offsetd/config.toml".to_owned(), |file| file.display().to_string());
    let profiles = file.map(read).transpose()?.unwrap_or_default().profiles;
    let profile = match (profiles.get(profile_name.unwrap_or(DEFAULT_PROFILE)), profile_name) {
        (Some(profile), _) => profile.clone(),
        (None, None) => Profile::default(),
        (None, Some(name)) => {
            let known: Vec<&str> = profiles.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Failure::Usage(format!("no profile {name:?} in {shown}; existing profiles: {known}")));
        }
    };
    let token = match (&profile.token, &profile.token_file) {
        (Some(_), Some(_)) => return Err(Failure::Usage(format!("{shown}: set either token or token_file, not both"))),
        (token, None) => token.clone(),
        (None, Some(path)) => Some(first_line(&expand_home(path))?.into()),
    };
    Ok(ServerArgs {
        profile: None,
        server: Some(profile.server.unwrap_or_else(|| DEFAULT_SERVER.to_owned())),
        token: args.token.clone().or(token),
        ca_cert: args.ca_cert.clone().or(profile.ca_cert.as_deref().map(expand_home)),
        client_cert: args.client_cert.clone().or(profile.client_cert.as_deref().map(expand_home)),
        client_key: args.client_key.clone().or(profile.client_key.as_deref().map(expand_home)),
    })
}

/// Returns `$XDG_CONFIG_HOME/offsetd/config.toml`, or `~/.config/offsetd/config.toml` if the variable is not set.
fn config_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(config.join("offsetd").join("config.toml"))
}

/// Reads the profiles of a file. Returns none if the file does not exist.
fn read(file: &Path) -> Result<Profiles, Failure> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Profiles::default()),
        text => text.map_err(|error| cannot_read(file, &error))?,
    };
    toml::from_str(&text).map_err(|error| {
        // The full message of `toml` quotes the line of the file, which may contain a token.
        let line = error.span().map_or(1, |span| 1 + text.get(..span.start).unwrap_or_default().matches('\n').count());
        Failure::Usage(format!("{}: line {line}: {}", file.display(), error.message()))
    })
}

/// Returns the first line of a token file.
fn first_line(file: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(file).map_err(|error| cannot_read(file, &error))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn cannot_read(file: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("cannot read {}: {error}", file.display()))
}

/// Returns a path in which `~` at the start is replaced by the user's home directory.
fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests;
