//! `offsetd check-config --match`: shows which parts of an offset a source's layout takes from an example key and value.

use std::{cell::RefCell, io::Write};

use crate::{
    cli::Failure,
    config,
    source::{
        self,
        layout::{Entry, Layout, Mismatch, OffsetParts, Topics},
    },
};

/// Shows how the source called by the first text reads the others: its keys in order, then, if given, the value.
///
/// # Errors
/// Returns a usage error for an unknown source or a wrong number of texts, and an error if a text does not match.
pub(super) fn explain(sources: &[config::Source], texts: &[String], out: &mut impl Write) -> Result<(), Failure> {
    let (name, texts) =
        texts.split_first().ok_or_else(|| Failure::Usage("--match needs a source and a key".to_owned()))?;
    let source = sources.iter().find(|source| source.name == *name).ok_or_else(|| {
        let known: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        Failure::Usage(format!("no source is named {name:?}; the configuration has: {}", known.join(", ")))
    })?;
    let layout = source::layout_of(source)
        .ok_or_else(|| Failure::Usage(format!("source {name:?} of kind {} has no layout of keys", source.kind)))?;
    let keys = layout.names().len();
    if texts.len() != keys && texts.len() != keys + 1 {
        let expected =
            if keys == 1 { "a key and, optionally, its value" } else { "a key, a field and, optionally, the value" };
        return Err(Failure::Usage(format!("source {name:?} has {expected}; {} texts are given", texts.len())));
    }
    let mut matched = true;
    for (template, text) in layout.names().iter().zip(texts) {
        let parts = with_candidates(|topics| template.read(text, topics));
        matched &= write_parts(out, text, parts)?;
    }
    if let (Some(value), true) = (texts.get(keys), matched) {
        matched &= write_value(out, &layout, texts, value)?;
    }
    out.flush()?;
    if matched { Ok(()) } else { Err(Failure::Command(format!("the layout of source {name:?} does not match"))) }
}

/// A reading, and the topics that would decide between several.
type Reading<T> = (Result<T, Mismatch>, Vec<String>);

/// Reads without knowing the topics of the cluster, and collects the topics that the reading depends on.
fn with_candidates<T>(read: impl FnOnce(Topics<'_>) -> Result<T, Mismatch>) -> Reading<T> {
    let candidates = RefCell::new(vec![]);
    let collect = |topic: &str| {
        candidates.borrow_mut().push(topic.to_owned());
        false
    };
    let result = read(Some(&collect));
    let mut candidates = candidates.into_inner();
    candidates.sort_unstable();
    candidates.dedup();
    (result, candidates)
}

fn write_parts(out: &mut impl Write, text: &str, (parts, candidates): Reading<OffsetParts>) -> std::io::Result<bool> {
    writeln!(out, "{text}")?;
    match parts {
        Err(Mismatch::NoMatch) => writeln!(out, "  does not match")?,
        _ if candidates.len() > 1 => {
            writeln!(
                out,
                "  matches in several ways; the topic that the cluster has decides, else the longest: {}",
                candidates.join(", ")
            )?;
        }
        Err(Mismatch::Ambiguous) => writeln!(out, "  matches in several ways, and no topic decides between them")?,
        Ok(parts) => {
            let OffsetParts { group, topic, partition, offset, batch, at, metadata } = parts;
            let numbers =
                [("partition", partition.map(i64::from)), ("offset", offset), ("batch", batch), ("at_ms", at)];
            for (name, value) in [("group", group), ("topic", topic), ("metadata", metadata)] {
                if let Some(value) = value {
                    writeln!(out, "  {name}: {value}")?;
                }
            }
            for (name, value) in numbers {
                if let Some(value) = value {
                    writeln!(out, "  {name}: {value}")?;
                }
            }
            return Ok(true);
        }
    }
    Ok(candidates.len() > 1)
}

/// Shows the offsets of a value. The topics that decide were shown with the keys already.
fn write_value(out: &mut impl Write, layout: &Layout, texts: &[String], value: &str) -> std::io::Result<bool> {
    let names: Vec<&str> = texts.iter().map(String::as_str).collect();
    writeln!(out, "{value}")?;
    let entries = match layout.read(&names, value.as_bytes(), None) {
        Ok(entries) => entries,
        Err(_) => {
            let parts = layout.value().read(value.as_bytes(), None);
            let readable = parts.iter().filter(|parts| parts.is_ok()).count();
            writeln!(out, "  offsets: {readable}")?;
            return Ok(readable == parts.len());
        }
    };
    let mut all = true;
    for entry in entries {
        match entry {
            Ok(Entry { group, topic, partition, committed_offset, .. }) => {
                writeln!(
                    out,
                    "  → group {group}, topic {topic}, partition {partition}, committed_offset {committed_offset}"
                )?;
            }
            Err(_) => {
                all = false;
                writeln!(out, "  does not match")?;
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
