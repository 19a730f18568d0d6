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
    fn look(&mut self) -> Result<String, TailError> {
        let mut found = vec![];
        loop {
            let end = self.tail.read(&mut |piece| {
                found.push(match piece {
                    Piece::Start => "start".to_owned(),
                    Piece::Line(number, bytes) => format!("{number}:{}", String::from_utf8_lossy(bytes)),
                    Piece::TooLong(number) => format!("{number} too long"),
                    Piece::Unfinished(number) => format!("{number} unfinished"),
                });
            })?;
            if end.is_reached {
                return Ok(found.join(" "));
            }
        }
    }
}

#[test]
fn lines_come_once_with_their_numbers_and_half_a_line_waits_for_its_end() {
    let mut lab = Lab::new();
    lab.append("a\n\nb");
    assert_eq!(lab.look().unwrap(), "start 1:a 2:");
    assert_eq!(lab.look().unwrap(), "");
    lab.append("c\nd");
    assert_eq!(lab.look().unwrap(), "3:bc");
    lab.append("\n");
    assert_eq!(lab.look().unwrap(), "4:d");
}

#[test]
fn a_file_that_is_replaced_is_read_to_its_end_and_then_the_new_one_from_its_start() {
    let mut lab = Lab::new();
    lab.append("a\n");
    assert_eq!(lab.look().unwrap(), "start 1:a");
    lab.append("b\nhalf");
    fs::rename(lab.path(), lab.dir.path().join("offsets.1")).unwrap();
    assert_eq!(lab.dir.path().join("offsets.1").metadata().unwrap().len(), 8);
    let mut found = vec![];
    let error = lab.tail.read(&mut |piece| found.push(format!("{piece:?}"))).unwrap_err();
    assert!(matches!(error, TailError::Io(_)), "{error}");
    assert_eq!(found, ["Line(2, [98])"], "lines appended before the file was renamed are not lost");
    lab.append("c\n");
    assert_eq!(lab.look().unwrap(), "3 unfinished start 1:c");
}

#[test]
fn a_file_that_is_truncated_or_written_anew_is_read_from_its_start() {
    let mut lab = Lab::new();
    lab.append("a\nb\n");
    assert_eq!(lab.look().unwrap(), "start 1:a 2:b");
    fs::write(lab.path(), "c\n").unwrap();
    assert_eq!(lab.look().unwrap(), "start 1:c");
    // The new content is longer, so its length alone does not reveal the rewrite.
    fs::write(lab.path(), "d\ne\nf\n").unwrap();
    assert_eq!(lab.look().unwrap(), "start 1:d 2:e 3:f");
    fs::write(lab.path(), "").unwrap();
    assert_eq!(lab.look().unwrap(), "start");
    lab.append("g\n");
    assert_eq!(lab.look().unwrap(), "1:g");
}

#[test]
fn a_line_may_be_as_long_as_the_bound_and_a_longer_one_takes_no_memory_and_loses_itself_alone() {
    let mut lab = Lab::new();
    let longest = "x".repeat(LONGEST_LINE);
    lab.append(&format!("{longest}\n{longest}y\nz\n{}", "w".repeat(10 * LONGEST_LINE)));
    assert_eq!(lab.look().unwrap(), format!("start 1:{longest} 2 too long 3:z"));
    assert!(lab.tail.opened.as_ref().unwrap().partial.capacity() <= 2 * LONGEST_LINE);
    lab.append("w\nend\n");
    assert_eq!(lab.look().unwrap(), "4 too long 5:end");
}

#[test]
fn a_long_file_is_read_in_parts_and_is_loaded_at_the_end_that_it_had_at_first() {
    let mut lab = Lab::new();
    let line = format!("{}\n", "x".repeat(999));
    lab.append(&line.repeat(AT_MOST / 1000 + 100));
    let mut lines = 0;
    let mut count = |piece: Piece<'_>| lines += u64::from(matches!(piece, Piece::Line(..)));
    let first = lab.tail.read(&mut count).unwrap();
    assert_eq!(first, End { is_reached: false, is_loaded: false });
    let second = lab.tail.read(&mut count).unwrap();
    assert_eq!(second, End { is_reached: true, is_loaded: true });
    assert_eq!(lines, AT_MOST as u64 / 1000 + 100);
}

#[test]
fn what_is_no_regular_file_is_refused_and_never_waited_for() {
    let mut lab = Lab::new();
    assert!(matches!(lab.look(), Err(TailError::Io(error)) if error.kind() == io::ErrorKind::NotFound));
    fs::create_dir(lab.path()).unwrap();
    assert!(matches!(lab.look(), Err(TailError::NotRegular)));
    fs::remove_dir(lab.path()).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(lab.path()).status().unwrap().success());
    assert!(matches!(lab.look(), Err(TailError::NotRegular)));
}
