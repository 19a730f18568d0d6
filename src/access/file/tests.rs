//! Tests of values that are built from files.

use std::{fs, process::Command};

use super::*;

fn first(contents: &[Vec<u8>], _: Option<&Vec<u8>>) -> Result<Vec<u8>, FileError> {
    Ok(contents[0].clone())
}

#[test]
fn only_regular_files_of_a_reasonable_length_are_read_and_reading_never_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("tokens"), "old").unwrap();
    let value = FileBacked::new("n", vec![path("tokens")], first).unwrap();
    let made = Command::new("mkfifo").arg(path("pipe")).status().unwrap();
    assert!(made.success());
    fs::write(path("long"), vec![b'x'; usize::try_from(MAX_FILE_BYTES).unwrap() + 1]).unwrap();
    fs::rename(path("pipe"), path("tokens")).unwrap();
    // The pipe has no writer, so a blocking read would never return.
    value.reload();
    assert_eq!(*value.get(), b"old");
    let error = |name: &str| FileBacked::new("n", vec![path(name)], first).err().unwrap().to_string();
    assert!(error("tokens").ends_with("it is not a regular file"), "{}", error("tokens"));
    assert!(error("").ends_with("it is not a regular file"), "{}", error(""));
    assert!(error("long").ends_with("it is longer than 4194304 bytes"), "{}", error("long"));
}

#[test]
fn a_file_that_cannot_be_used_leaves_the_previous_value() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("number");
    fs::write(&path, "1").unwrap();
    let parse = |contents: &[Vec<u8>], _: Option<&i32>| {
        let text = String::from_utf8_lossy(&contents[0]).into_owned();
        text.parse::<i32>().map_err(|_| FileFault::NoToken.of(Path::new("")))
    };
    assert!(FileBacked::new("n", vec![dir.path().join("none")], parse).is_err());
    let number = FileBacked::new("n", vec![path.clone()], parse).unwrap();
    let reload = || {
        number.reload();
        *number.get()
    };
    assert_eq!(reload(), 1);
    fs::write(&path, "x").unwrap();
    assert_eq!((reload(), reload()), (1, 1));
    fs::write(&path, "2").unwrap();
    assert_eq!(reload(), 2);
    fs::remove_file(&path).unwrap();
    assert_eq!(reload(), 2);
    fs::write(&path, "3").unwrap();
    assert_eq!(reload(), 3);
}
