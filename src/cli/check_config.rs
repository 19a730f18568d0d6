//! `offsetd check-config`.

use std::{collections::BTreeMap, io::Write};

use clap::Args;

use super::{Failure, serve::ClusterArgs, text::width};
use crate::{
    access::Access,
    config::{EffectiveValue, example},
    source,
};

pub(super) const EXAMPLES: &str = "\
The output is TOML: a configuration file that says the same, but for secrets, which show as ***.
All errors are reported at once, with status 64.

Examples:
  offsetd check-config --config offsetd.toml
  offsetd check-config --example > offsetd.toml";

/// Arguments of `check-config`.
#[derive(Debug, Args)]
pub struct CheckConfigArgs {
    /// What `serve` would be given.
    #[command(flatten)]
    pub config: ClusterArgs,
    /// Write a file with every setting, its unit, its default and why.
    #[arg(long, exclusive = true)]
    pub example: bool,
}

pub(super) fn run(args: &CheckConfigArgs, env: &BTreeMap<String, String>, out: &mut impl Write) -> Result<(), Failure> {
    if args.example {
        out.write_all(example(&source::forms()).as_bytes())?;
    } else {
        let loaded = args.config.load(env)?;
        Access::new(&loaded.config.server).map_err(|error| Failure::Usage(error.to_string()))?;
        write(out, &loaded.effective)?;
    }
    out.flush()?;
    Ok(())
}

/// Widest that a value may be for the origins to stand below each other.
const WIDEST: usize = 60;

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
