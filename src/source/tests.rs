//! Helpers of the tests of sources.

use std::collections::BTreeMap;

use crate::config::{Config, Flags, Layers, LoadContext, LoadedConfig};

/// Loads a configuration with one cluster and one source, named `name`.
pub(in crate::source) fn load(name: &str, section: &str) -> Result<LoadedConfig, String> {
    let text = format!("[clusters.east]\nbootstrap_servers = \"h:1\"\n[sources.{name}]\n{section}");
    let flags = Flags { config: Some("offsetd.toml".into()), ..Flags::default() };
    let layers = Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
    let context = LoadContext { kinds: &super::kinds(), file: Some(&text), ..LoadContext::default() };
    Config::load_with(layers, context).map_err(|errors| errors.to_string())
}
