//! Build script: compiles the .proto file with protox (no protoc needed) and records the git revision.

use std::{env, error::Error, fs, path::PathBuf, process::Command};

use prost::Message as _;
use tonic_prost_build::{Builder, FileDescriptorSet};

/// Messages that `src/rpc/json.rs` also shows as JSON.
const JSON: [&str; 16] = [
    "ClusterSnapshot",
    "ClusterStatus",
    "Consumer",
    "ConsumerEdge",
    "GetStatusResponse",
    "HistoryStore",
    "LogPartitionStatus",
    "OffsetChange",
    "OffsetEntry",
    "Owner",
    "QueryResponse",
    "Resync",
    "ShardPosition",
    "Snapshot",
    "SourceStatus",
    "TopicPartitions",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    // The dashboard is embedded, and cargo does not track files that were added to the directory.
    println!("cargo::rerun-if-changed=clients/web/dist");
    let descriptors = protox::compile(["offsetd/v1/offsets.proto"], ["proto"])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    json(tonic_prost_build::configure(), &descriptors).compile_fds(descriptors)?;

    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rustc-env=OFFSETD_GIT_REVISION={}", git_revision());
    Ok(())
}

/// Derives `Serialize` for the messages that are also shown as JSON.
fn json(mut builder: Builder, descriptors: &FileDescriptorSet) -> Builder {
    let messages = descriptors.file.iter().flat_map(|file| &file.message_type);
    for message in messages.filter(|message| JSON.contains(&message.name())) {
        builder = builder.type_attribute(message.name(), "#[derive(serde::Serialize)]");
        for field in &message.field {
            let function = match (field.r#type().as_str_name(), field.type_name()) {
                ("TYPE_INT64", _) => "int64",
                ("TYPE_UINT64", _) => "uint64",
                (_, ".google.protobuf.Timestamp") => "timestamp",
                (_, ".google.protobuf.Duration") => "seconds",
                (_, ".offsetd.v1.LagUnknown") => "lag_unknown",
                _ => continue,
            };
            let attribute = format!("#[serde(serialize_with = \"crate::rpc::json::field::{function}\")]");
            builder = builder.field_attribute(format!("{}.{}", message.name(), field.name()), attribute);
        }
    }
    let seconds = "#[serde(rename = \"remaining_seconds\")]";
    builder = builder.field_attribute("ClusterStatus.remaining", seconds);
    let skipped = ["GetStatusResponse.held_bytes", "GetStatusResponse.resident_bytes"];
    skipped.into_iter().fold(builder, |builder, field| builder.field_attribute(field, "#[serde(skip)]"))
}

/// Returns the short commit hash, or "unknown" outside of a git checkout (a source archive).
fn git_revision() -> String {
    Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |revision| revision.trim().to_owned())
}
