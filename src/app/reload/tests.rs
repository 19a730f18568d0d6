//! Tests of the reload of the configuration file.

use std::fs;

use super::*;
use crate::{clock::Clock, config::Origin, store::cut::Settings};

struct Lab {
    follower: Follower,
    store: Arc<Store>,
}

impl Lab {
    fn new(text: &str) -> Self {
        let settings = Settings { window: 1, active_within: 1, commits_kept: 100, watch_queue: 1 };
        let store = Arc::new(Store::new(vec![], Clock::manual(1_700_000_000_000), settings));
        let load: Arc<Load> = Arc::new(|_| Err(ConfigErrors(vec![])));
        let reload = Reload { path: "offsetd.toml".into(), text: text.to_owned(), effective: vec![], load };
        let (follower, _) = Follower::new(&reload, &store);
        Self { follower, store }
    }

    /// Processes a read that returned `text`; returns the text to load, if any.
    fn process_read(&mut self, text: &str) -> Option<String> {
        self.follower.process_read(Ok(text.to_owned()))
    }

    fn fail_read(&mut self) -> Option<String> {
        self.follower.process_read(Err(ReadError::NotRegular("offsetd.toml".into())))
    }

    fn error(&self) -> Option<String> {
        self.store.config().error.clone()
    }
}

#[test]
fn a_text_counts_once_two_looks_have_found_it_and_never_while_it_is_written() {
    let mut lab = Lab::new("a");
    assert_eq!((lab.process_read("a"), lab.process_read("a")), (None, None), "nothing changed");
    for half in ["b", "bb", "bbb"] {
        assert_eq!(lab.process_read(half), None, "a half-written file is ignored");
    }
    assert_eq!(lab.process_read("bbb").as_deref(), Some("bbb"));
}

#[test]
fn a_text_that_is_wrong_is_told_once_and_what_is_in_force_again_clears_it() {
    let mut lab = Lab::new("a");
    lab.process_read("b");
    let text = lab.process_read("b").unwrap();
    lab.follower.reject(Some(text), "bad");
    assert_eq!(lab.error().as_deref(), Some("bad"));
    assert_eq!((lab.process_read("b"), lab.process_read("b")), (None, None), "it is not loaded again");
    assert_eq!((lab.process_read("a"), lab.error()), (None, None), "the text is the one in force");
}

#[test]
fn a_signal_reads_again_what_did_not_change() {
    let mut lab = Lab::new("a");
    lab.follower.is_requested = true;
    assert_eq!((lab.process_read("a"), lab.process_read("a").as_deref()), (None, Some("a")));
    assert_eq!((lab.process_read("a"), lab.process_read("a")), (None, None));
    lab.follower.reject(Some("a".to_owned()), "a secret is gone");
    lab.process_read("a");
    assert_eq!(lab.error().as_deref(), Some("a secret is gone"), "until the next load succeeds");
}

#[test]
fn a_file_that_is_away_for_a_moment_is_no_error_and_one_that_stays_away_is() {
    let mut lab = Lab::new("a");
    lab.process_read("a");
    lab.fail_read();
    assert_eq!(lab.error(), None);
    lab.process_read("a");
    lab.fail_read();
    assert_eq!(lab.error(), None);
    lab.fail_read();
    assert!(lab.error().unwrap().contains("is not a regular file"));
    lab.process_read("");
    assert!(lab.process_read("").is_some(), "an empty file is a changed file");
    assert_eq!((lab.process_read("a"), lab.error()), (None, None));
}

#[test]
fn only_settings_that_are_in_force_after_a_restart_are_named() {
    let of = |key: &str, value: &str| EffectiveValue {
        key: key.to_owned(),
        value: Some(value.to_owned()),
        origin: Origin::Default,
    };
    let before = [of("sql.timeout", "1"), of("lag.window", "1"), of("clusters.a.mode", "1"), of("sources.b.kind", "1")];
    let after = [of("sql.timeout", "2"), of("lag.window", "1"), of("clusters.a.mode", "2"), of("sources.c.kind", "1")];
    assert_eq!(changed(&before, &after), ["sql.timeout"]);
}

#[test]
fn a_configuration_that_is_no_file_or_too_long_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("offsetd.toml");
    assert!(matches!(read(&path), Err(ReadError::Io { .. })));
    assert!(matches!(read(dir.path()), Err(ReadError::NotRegular(_))));
    fs::write(&path, "a = 1").unwrap();
    assert_eq!(read(&path).unwrap(), "a = 1");
    fs::File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
    assert!(matches!(read(&path), Err(ReadError::NotRegular(_))));
}
