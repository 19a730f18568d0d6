//! Compiles the .proto with protox (no protoc needed) and records the git revision.

use std::{env, error::Error, fs, path::PathBuf, process::Command};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    // Embedded; what is new there is nobody's file yet.
    println!("cargo::rerun-if-changed=clients/web/dist");
    let descriptors = protox::compile(["offsetd/v1/offsets.proto"], ["proto"])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;

    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rustc-env=OFFSETD_GIT_REVISION={}", git_revision());
    Ok(())
}

/// Short commit hash, or "unknown" outside a git checkout (a source archive).
fn git_revision() -> String {
    Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |revision| revision.trim().to_owned())
}
