//! The structure that `src/lib.rs` promises, read from the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

const LONGEST: usize = 450;

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![];
    walk(&root, &mut files);
    assert!(files.len() > 80, "found only {} files", files.len());
    let read = |file: PathBuf| (file.strip_prefix(&root).unwrap().to_owned(), fs::read_to_string(&file).unwrap());
    files.into_iter().map(read).collect()
}

/// The module below the root that a file belongs to.
fn module(file: &Path) -> String {
    let first = file.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Lines that are code: no comments.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The modules below the root that a file names: `crate::a`, and each of `crate::{a, b::{c, d}}`.
fn uses(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let path = Regex::new(r"\bcrate::([a-z_]+)").unwrap();
    found.extend(path.captures_iter(text).map(|captures| captures[1].to_owned()));
    for group in text.split("crate::{").skip(1) {
        let (mut depth, mut name) = (1, String::new());
        for character in group.chars() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 1 && (character.is_alphanumeric() || character == '_') {
                name.push(character);
            } else if depth == 1 && character == ':' {
                found.insert(std::mem::take(&mut name));
                name.push(' ');
            } else if character == ',' || depth == 0 {
                found.insert(std::mem::take(&mut name));
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.retain(|name| !name.is_empty() && !name.starts_with(' '));
    found
}

#[test]
fn a_module_uses_only_those_above_it_in_the_map() {
    let sources = sources();
    let map = &sources.iter().find(|(file, _)| file == Path::new("lib.rs")).unwrap().1;
    let order: Vec<String> = Regex::new(r"(?m)^pub mod ([a-z_]+);")
        .unwrap()
        .captures_iter(map)
        .map(|captures| captures[1].to_owned())
        .collect();
    let place = |name: &str| order.iter().position(|module| module == name);
    assert!(order.len() > 15, "{order:?}");
    let mut wrong = vec![];
    let mut seen = 0;
    for (file, text) in &sources {
        let Some(own) = place(&module(file)) else { continue };
        for used in uses(&code(text)) {
            let Some(other) = place(&used) else { continue };
            seen += 1;
            if other > own {
                wrong.push(format!("{}: {used} stands below {}", file.display(), module(file)));
            }
        }
    }
    assert!(seen > 100, "only {seen} uses found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The paths of all `use` declarations of a text, each as its segments.
fn paths(text: &str) -> Vec<Vec<String>> {
    fn tree(text: &str, before: &[String], found: &mut Vec<Vec<String>>) {
        let (mut depth, mut start, mut parts) = (0, 0, vec![]);
        for (at, character) in text.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    parts.push(&text[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        parts.push(&text[start..]);
        for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
            let (head, group) = part.split_once('{').map_or((part, None), |(head, rest)| (head, Some(rest)));
            let mut path = before.to_vec();
            path.extend(head.split("::").map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
            match group.and_then(|group| group.rsplit_once('}')) {
                Some((group, _)) => tree(group, &path, found),
                None => found.push(path),
            }
        }
    }
    let declaration = Regex::new(r"(?m)^(?:pub(?:\([a-z :]+\))? )?use ([^;]+);").unwrap();
    let mut found = vec![];
    declaration.captures_iter(text).for_each(|captures| tree(&captures[1], &[], &mut found));
    found
}

/// Which modules right below a folder name which others.
fn edges(folder: &str, sources: &[(PathBuf, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in sources {
        let Ok(below) = file.strip_prefix(folder) else { continue };
        let names: Vec<&str> = below.iter().map(|name| name.to_str().unwrap().trim_end_matches(".rs")).collect();
        if names.contains(&"tests") {
            continue;
        }
        let text = code(text);
        let text = text.split("#[cfg(test)]").next().unwrap();
        let own = edges.entry(names[0].to_owned()).or_default();
        for path in paths(text) {
            let up = path.iter().take_while(|name| *name == "super").count();
            if up == names.len() && path.len() > up && path[up] != names[0] {
                own.insert(path[up].clone());
            }
        }
    }
    let known: BTreeSet<String> = edges.keys().cloned().collect();
    edges.values_mut().for_each(|named| named.retain(|name| known.contains(name)));
    edges
}

#[test]
fn modules_of_one_folder_do_not_import_each_other_in_a_circle() {
    let sources = sources();
    for folder in ["sql"] {
        let mut edges = edges(folder, &sources);
        assert!(edges.values().map(BTreeSet::len).sum::<usize>() > 10, "{folder}: {edges:?}");
        // What imports nothing that is left is in no circle.
        while let Some(leaf) = edges.iter().find(|(_, named)| named.is_empty()).map(|(name, _)| name.clone()) {
            edges.remove(&leaf);
            edges.values_mut().for_each(|named| drop(named.remove(&leaf)));
        }
        assert!(edges.is_empty(), "{folder}: in a circle, or behind one: {edges:?}");
    }
}

#[test]
fn libraries_stay_behind_the_modules_that_wrap_them() {
    let allowed: [(&str, &[&str]); 4] = [
        (r"\brdkafka(_sys)?::", &["source/kafka", "demo"]),
        (r"\bdatafusion::", &["sql"]),
        (r"\btonic(_health|_web|_reflection)?::", &["rpc", "cli"]),
        (r"\bunsafe\b", &["source/kafka/ffi"]),
    ];
    for (pattern, places) in allowed {
        let pattern = Regex::new(pattern).unwrap();
        let users: Vec<String> = sources()
            .into_iter()
            .filter(|(_, text)| pattern.is_match(&code(text)))
            .map(|(file, _)| file.to_str().unwrap().trim_end_matches(".rs").to_owned())
            .collect();
        assert!(!users.is_empty(), "nobody uses {pattern}: is it spelt right?");
        let within = |user: &String| places.iter().any(|place| user == place || user.starts_with(&format!("{place}/")));
        let outside: Vec<&String> = users.iter().filter(|user| !within(user)).collect();
        assert!(outside.is_empty(), "{pattern} outside {places:?}: {outside:?}");
    }
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > LONGEST)
        .map(|(file, _)| file.display().to_string())
        .collect();
    assert!(long.is_empty(), "more than {LONGEST} lines: {long:?}");
}

#[test]
fn the_parser_of_this_test_sees_nested_uses() {
    let text = "use crate::{a, b::{c, d}, e::F};\nlet x = crate::g::h();";
    let found: Vec<String> = uses(text).into_iter().collect();
    assert_eq!(found, ["a", "b", "e", "g"]);
}

#[test]
fn paths_of_nested_uses_are_whole() {
    let text = "use super::{super::{a::B, c}, d};\npub(super) use x::y;\nlet z = 1;";
    let found: Vec<String> = paths(text).into_iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["super::super::a::B", "super::super::c", "super::d", "x::y"]);
}
