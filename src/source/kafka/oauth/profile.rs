//! Profiles of AWS's own tools, in `~/.aws/credentials` and `~/.aws/config`.

use std::{collections::BTreeMap, path::PathBuf};

use object_store::aws::AwsCredential;

use super::{error::TokenError, file};
use crate::config::AwsVariables;

/// The paths of the profile files.
#[derive(Debug)]
pub(super) struct ProfileFiles {
    credentials: Option<PathBuf>,
    config: Option<PathBuf>,
}

impl ProfileFiles {
    /// Returns the paths that AWS's own tools would use.
    pub(super) fn of(aws: &AwsVariables) -> Self {
        let home = |name: &str| aws.get("HOME").map(|home| PathBuf::from(home).join(".aws").join(name));
        let given = |variable: &str, name: &str| aws.get(variable).map(PathBuf::from).or_else(|| home(name));
        Self {
            credentials: given("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            config: given("AWS_CONFIG_FILE", "config"),
        }
    }

    /// Returns whether the keys of this profile can be read.
    pub(super) fn has(&self, name: &str) -> bool {
        self.read(name).is_ok()
    }

    /// Reads the keys of a profile; those in the credentials file take precedence. The files may change at any time.
    ///
    /// # Errors
    /// Returns why the profile has no keys.
    pub(super) fn read(&self, name: &str) -> Result<AwsCredential, TokenError> {
        let missing = |what| TokenError::Profile { name: name.to_owned(), what };
        let in_config = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        let (mut values, mut unreadable) = (BTreeMap::new(), None);
        for (path, heading) in [(&self.config, in_config.as_str()), (&self.credentials, name)] {
            let Some(path) = path else { continue };
            match file::read(path) {
                Ok(text) => values.extend(section(&text, heading)),
                Err(error) => unreadable = Some(error),
            }
        }
        let mut take = |key: &str| values.remove(key).filter(|value| !value.is_empty());
        match (take("aws_access_key_id"), take("aws_secret_access_key"), take("aws_session_token")) {
            (Some(key_id), Some(secret_key), token) => Ok(AwsCredential { key_id, secret_key, token }),
            (Some(_), None, _) => Err(missing("it has no aws_secret_access_key")),
            (None, ..) if !values.is_empty() => Err(missing(
                "it has no aws_access_key_id; single sign-on, credential_process and source_profile are not supported",
            )),
            (None, ..) => Err(unreadable.unwrap_or_else(|| missing("the profile does not exist"))),
        }
    }
}

/// Returns the keys and values below a heading.
fn section(text: &str, heading: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut inside = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = name.split_whitespace().eq(heading.split_whitespace());
        } else if let Some((key, value)) = line.split_once('=').filter(|_| inside) {
            values.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    values
}

#[cfg(test)]
mod tests;
