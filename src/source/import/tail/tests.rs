use std::{fs, io::Write as _};

use super::*;

struct Lab {
    dir: tempfile::TempDir,
    tail: Tail,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tail = Tail::new(dir.path().join("offsets"));
        Self { dir, tail }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("offsets")
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Returns the pieces read until the end: `start` for a start, `1:a` for line 1.
    fn read_all(&mut self) -> Result<String, TailError> {
        let mut found = vec![];
        loop {
            let end = self.tail.read(&mut |item| {
                found.push(match item {
                    FileItem::Start => "start".to_owned(),
                    FileItem::Line(number, bytes) => format!("{number}:{}", String::from_utf8_lossy(bytes)),
                    FileItem::TooLong(number) => format!("{number} too long"),
                    FileItem::Unfinished(number) => format!("{number} unfinished"),
                });
            })?;
            if end.is_reached {
                return Ok(found.join(" "));
            }
        }
    }
}

#[test]
fn each_line_is_returned_once_and_only_when_complete() {
    let mut lab = Lab::new();
    lab.append("a\n\nb");
    assert_eq!(lab.read_all().unwrap(), "start 1:a 2:");
    assert_eq!(lab.read_all().unwrap(), "");
    lab.append("c\nd");
    assert_eq!(lab.read_all().unwrap(), "3:bc");
    lab.append("\n");
    assert_eq!(lab.read_all().unwrap(), "4:d");
}

#[test]
fn a_replaced_file_is_read_to_its_end_before_the_new_one() {
    let mut lab = Lab::new();
    lab.append("a\n");
    assert_eq!(lab.read_all().unwrap(), "start 1:a");
    lab.append("b\nhalf");
    fs::rename(lab.path(), lab.dir.path().join("offsets.1")).unwrap();
    assert_eq!(lab.dir.path().join("offsets.1").metadata().unwrap().len(), 8);
    let mut found = vec![];
    let error = lab.tail.read(&mut |item| found.push(format!("{item:?}"))).unwrap_err();
    assert!(matches!(error, TailError::Io(_)), "{error}");
    assert_eq!(found, ["Line(2, [98])"], "lines appended before the file was renamed are not lost");
    lab.append("c\n");
    assert_eq!(lab.read_all().unwrap(), "3 unfinished start 1:c");
}

#[test]
fn a_truncated_or_rewritten_file_is_read_from_its_start() {
    let mut lab = Lab::new();
    lab.append("a\nb\n");
    assert_eq!(lab.read_all().unwrap(), "start 1:a 2:b");
    fs::write(lab.path(), "c\n").unwrap();
    assert_eq!(lab.read_all().unwrap(), "start 1:c");
    // The new content is longer, so its length alone does not reveal the rewrite.
    fs::write(lab.path(), "d\ne\nf\n").unwrap();
    assert_eq!(lab.read_all().unwrap(), "start 1:d 2:e 3:f");
    fs::write(lab.path(), "").unwrap();
    assert_eq!(lab.read_all().unwrap(), "start");
    lab.append("g\n");
    assert_eq!(lab.read_all().unwrap(), "1:g");
}

#[test]
fn only_a_line_above_the_limit_is_skipped_without_being_buffered() {
    let mut lab = Lab::new();
    let longest = "x".repeat(MAX_LINE_BYTES);
    lab.append(&format!("{longest}\n{longest}y\nz\n{}", "w".repeat(10 * MAX_LINE_BYTES)));
    assert_eq!(lab.read_all().unwrap(), format!("start 1:{longest} 2 too long 3:z"));
    assert!(lab.tail.opened.as_ref().unwrap().partial.capacity() <= 2 * MAX_LINE_BYTES);
    lab.append("w\nend\n");
    assert_eq!(lab.read_all().unwrap(), "4 too long 5:end");
}

#[test]
fn a_long_file_is_read_in_parts_until_its_initial_length() {
    let mut lab = Lab::new();
    let line = format!("{}\n", "x".repeat(999));
    lab.append(&line.repeat(MAX_BYTES_PER_READ / 1000 + 100));
    let mut lines = 0;
    let mut count = |item: FileItem<'_>| lines += u64::from(matches!(item, FileItem::Line(..)));
    let first = lab.tail.read(&mut count).unwrap();
    assert_eq!(first, ReadProgress { is_reached: false, is_loaded: false });
    let second = lab.tail.read(&mut count).unwrap();
    assert_eq!(second, ReadProgress { is_reached: true, is_loaded: true });
    assert_eq!(lines, MAX_BYTES_PER_READ as u64 / 1000 + 100);
}

#[test]
fn a_path_that_is_not_a_regular_file_is_refused_without_blocking() {
    let mut lab = Lab::new();
    assert!(matches!(lab.read_all(), Err(TailError::Io(error)) if error.kind() == io::ErrorKind::NotFound));
    fs::create_dir(lab.path()).unwrap();
    assert!(matches!(lab.read_all(), Err(TailError::NotRegular)));
    fs::remove_dir(lab.path()).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(lab.path()).status().unwrap().success());
    assert!(matches!(lab.read_all(), Err(TailError::NotRegular)));
}
