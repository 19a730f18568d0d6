//! `offsetd check-config`: checks the configuration, and shows each effective value with its origin.

use std::{collections::BTreeMap, io::Write};

use clap::Args;

use super::{Failure, serve::ClusterArgs, text::width};
use crate::{
    access::Access,
    config::{EffectiveValue, example},
    source,
};

mod matching;

pub(super) const EXAMPLES: &str = "\
The output is a configuration file with the effective values. Secrets are shown as ***. If the configuration has errors,
all of them are reported, and the exit status is 64.

Examples:
  offsetd check-config --config offsetd.toml
  offsetd check-config --example > offsetd.toml
  offsetd check-config --config offsetd.toml --match redis offset:orders:billing 3 1200";

/// Arguments of `check-config`.
#[derive(Debug, Args)]
pub struct CheckConfigArgs {
    /// The configuration arguments of `serve`.
    #[command(flatten)]
    pub config: ClusterArgs,
    /// Write an example file: every setting with its meaning, unit, default and the reason for the default.
    #[arg(long, exclusive = true)]
    pub example: bool,
    /// Show which parts of an offset a source's layout takes from an example: the name of the source, a key (for a hash, a
    /// key and a field), and, optionally, a value. Give it as the last argument.
    #[arg(long = "match", value_names = ["SOURCE", "KEY"], num_args = 2..=4, allow_hyphen_values = true)]
    pub matches: Vec<String>,
}

/// Runs `check-config`.
///
/// # Errors
/// Returns all errors of the configuration, or an error of the files of tokens or certificates.
pub(super) fn run(args: &CheckConfigArgs, env: &BTreeMap<String, String>, out: &mut impl Write) -> Result<(), Failure> {
    if args.example {
        out.write_all(example(&source::kinds()).as_bytes())?;
    } else {
        let loaded = args.config.load(env)?;
        Access::new(&loaded.config.server).map_err(|error| Failure::Usage(error.to_string()))?;
        if args.matches.is_empty() {
            write(out, &loaded.effective)?;
        } else {
            matching::explain(&loaded.config.sources, &args.matches, out)?;
        }
    }
    out.flush()?;
    Ok(())
}

/// Width, in columns, up to which a line takes part in the alignment of the origins. Longer lines are not aligned.
const WIDEST: usize = 60;

/// Writes one line per setting, with the origin of the value in a comment.
fn write(out: &mut impl Write, effective: &[EffectiveValue]) -> std::io::Result<()> {
    let line = |value: &EffectiveValue| match &value.value {
        Some(text) => format!("{} = {text}", value.key),
        None => format!("# {} is not set", value.key),
    };
    let lines: Vec<(String, &EffectiveValue)> = effective.iter().map(|value| (line(value), value)).collect();
    let wide = lines.iter().map(|(line, _)| width(line)).filter(|wide| *wide <= WIDEST).max().unwrap_or(0);
    for (line, value) in &lines {
        let pad = " ".repeat(wide.saturating_sub(width(line)));
        writeln!(out, "{line}{pad}  # {}", value.origin)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
