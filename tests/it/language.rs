//! Checks that texts are plain technical English: comments, doc comments and string literals of the sources, and the text of
//! all other files, contain none of the words and phrases in [`FORBIDDEN`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// Words and phrases that are forbidden, as regular expressions. Case is ignored, and a space stands for any white space.
const FORBIDDEN: [&str; 24] = [
    // Things are named: client, caller, reader, operator, record, value.
    "who(?:ever|m)?",
    "nobody",
    "somebody",
    "everybody",
    "anybody",
    "no one",
    "what is",
    "what was",
    "what are",
    "what there is",
    // The words of the field are used: again, misplaced, continue, poll, as many as.
    "anew",
    "astray",
    "strays?",
    "scribe",
    "for ever",
    "the former",
    "the latter",
    "goes? on",
    "going on",
    "went on",
    "looks? again",
    "so many",
    "so long",
    "such a one",
];

/// Phrases that contain a forbidden word and are correct. They are removed before the search.
const ALLOWED: [&str; 1] = [
    // A question of the README's cookbook.
    "What was rewound today?",
];

/// Folders and files that are checked.
const ROOTS: [&str; 6] = ["src", "proto", "tests", "clients", "README.md", ".github"];

/// Folders that are skipped: fixtures and recorded data, packages of others, and the built dashboard.
const SKIPPED: [&str; 4] = ["fixtures", "proptest-regressions", "node_modules", "dist"];

/// Extensions of files of which only comments and string literals are checked.
const SOURCES: [&str; 4] = ["rs", "proto", "java", "go"];

/// Extensions of files that are checked completely.
const TEXTS: [&str; 17] = [
    "md", "txt", "toml", "yaml", "yml", "json", "sql", "slt", "py", "sh", "html", "css", "svg", "ts", "js", "mjs",
    "svelte",
];

/// A forbidden word.
#[derive(Debug, PartialEq, Eq)]
struct Hit {
    /// Line of its first character, from 1.
    line: usize,
    word: String,
}

/// Returns the text with all code blanked out: comments and string literals stay in their lines.
///
/// Code becomes `|`, so that no phrase reaches over it. Comment markers, quotes and line continuations become spaces, so
/// that a phrase is found across lines.
fn prose(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut shown = String::with_capacity(text.len());
    let mut index = 0;
    while index < chars.len() {
        match (at(index), at(index + 1)) {
            ('/', '/') => {
                while index < chars.len() && at(index) != '\n' {
                    shown.push(if matches!(at(index), '/' | '!') { ' ' } else { at(index) });
                    index += 1;
                }
            }
            ('/', '*') => {
                while index < chars.len() && (at(index), at(index + 1)) != ('*', '/') {
                    shown.push(if matches!(at(index), '/' | '*') { ' ' } else { at(index) });
                    index += 1;
                }
                index += 2;
            }
            ('r', '"' | '#') if !is_in_name(&chars, index) => index = raw_string(&chars, index, &mut shown),
            ('"', _) => {
                index += 1;
                while index < chars.len() && at(index) != '"' {
                    if at(index) == '\\' {
                        // A line continuation is white space; an escaped character ends a phrase.
                        index += 1;
                        shown.push(if at(index) == '\n' { '\n' } else { '|' });
                    } else {
                        shown.push(at(index));
                    }
                    index += 1;
                }
                shown.push('|');
                index += 1;
            }
            // A character literal, which may be a quote; a lifetime has no second apostrophe.
            ('\'', '\\') => {
                shown.push('|');
                index += 3;
                while index < chars.len() && at(index) != '\'' && at(index) != '\n' {
                    index += 1;
                }
                index += 1;
            }
            ('\'', _) if at(index + 2) == '\'' => {
                shown.push('|');
                index += 3;
            }
            (code, _) => {
                shown.push(match code {
                    '\n' => '\n',
                    code if code.is_whitespace() => ' ',
                    code if code.is_alphanumeric() || code == '_' => '_',
                    _ => '|',
                });
                index += 1;
            }
        }
    }
    shown
}

/// Returns whether the character continues a name; the prefix of a byte string is not a name.
fn is_in_name(chars: &[char], index: usize) -> bool {
    let is_name = |char: &char| char.is_alphanumeric() || *char == '_';
    match &chars[..index] {
        [before @ .., 'b'] => before.last().is_some_and(is_name),
        before => before.last().is_some_and(is_name),
    }
}

/// Copies a raw string literal, or one character if there is none; returns the index after it.
fn raw_string(chars: &[char], start: usize, shown: &mut String) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|char| **char == '#').count();
    let first = start + 1 + hashes;
    if chars.get(first) != Some(&'"') {
        shown.push('_');
        return start + 1;
    }
    let end: String = format!("\"{}", "#".repeat(hashes));
    let end: Vec<char> = end.chars().collect();
    let length = chars[first + 1..].windows(end.len()).position(|window| window == end);
    let last = length.map_or(chars.len(), |length| first + 1 + length);
    shown.extend(&chars[first + 1..last]);
    shown.push('|');
    last + end.len()
}

/// Returns the forbidden words of a text, in order.
fn forbidden(text: &str) -> Vec<Hit> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
        let words = FORBIDDEN.map(|word| word.replace(' ', r"\s+")).join("|");
        Regex::new(&format!(r"(?i)\b(?:{words})\b")).unwrap()
    });
    let text = ALLOWED.iter().fold(text.to_owned(), |text, phrase| text.replace(phrase, "|"));
    let hit = |found: regex::Match<'_>| {
        let line = text.get(..found.start()).unwrap_or_default().matches('\n').count() + 1;
        Hit { line, word: found.as_str().split_whitespace().collect::<Vec<_>>().join(" ") }
    };
    PATTERN.find_iter(&text).map(hit).collect()
}

/// Collects the files below a path that are checked.
fn walk(path: &Path, found: &mut Vec<PathBuf>) {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if path.is_dir() {
        if !SKIPPED.contains(&name) {
            fs::read_dir(path).unwrap().for_each(|entry| walk(&entry.unwrap().path(), found));
        }
        return;
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    // Shell scripts have no extension.
    let is_script = || fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"#!"));
    let is_lock = name == "package-lock.json";
    if !is_lock && (SOURCES.contains(&extension) || TEXTS.contains(&extension) || extension.is_empty() && is_script()) {
        found.push(path.to_owned());
    }
}

#[test]
fn texts_contain_no_forbidden_words() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![];
    ROOTS.iter().for_each(|path| walk(&root.join(path), &mut files));
    files.sort();
    assert!(files.len() > 400, "only {} files found", files.len());
    let mut wrong = vec![];
    // This file lists the words.
    for file in files.iter().filter(|file| !file.ends_with("it/language.rs")) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let is_source = file.extension().is_some_and(|extension| SOURCES.iter().any(|source| extension == *source));
        let text = if is_source { prose(&text) } else { text };
        let name = file.strip_prefix(root).unwrap().display();
        wrong.extend(forbidden(&text).iter().map(|hit| format!("{name}:{}: {:?}", hit.line, hit.word)));
    }
    assert!(wrong.is_empty(), "{} forbidden words; see FORBIDDEN for replacements\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn forbidden_words_are_found_in_comments_and_literals_and_not_in_code() {
    let text = r##"//! Whoever reads this.
/// A word at the end: what
/// is on two lines.
fn nobody(anew: char) -> &'static str {
    let quote = ('"', '\'', 'a'); // and so many
    let text = "an \"escaped\" quote \
                goes \
                on";
    /* a block
     * for ever */
    let raw = (r#"a "quoted" astray"#, br#"\""#, r"\"); // anew
    let who = b"the\nformer";
    what.is(who)
}"##;
    let hits = |text: &str| forbidden(text).into_iter().map(|hit| (hit.line, hit.word)).collect::<Vec<_>>();
    let found = hits(&prose(text));
    let expected = [
        (1, "Whoever"),
        (2, "what is"),
        (5, "so many"),
        (7, "goes on"),
        (10, "for ever"),
        (11, "astray"),
        (11, "anew"),
    ];
    assert_eq!(found, expected.map(|(line, word)| (line, word.to_owned())));
    assert_eq!(hits("One question: What was rewound today?\nwhom and whole"), [(2, "whom".to_owned())]);
    assert_eq!(prose("let a = \"b\";").matches('\n').count(), 0);
}
