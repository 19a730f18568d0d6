//! Checks the structure that `src/lib.rs` promises, by reading the sources.

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

/// Returns the top-level module that a file belongs to.
fn module(file: &Path) -> String {
    let first = file.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Returns the lines of code, without comment lines.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Returns the top-level modules that a file names: `crate::a`, and each of `crate::{a, b::{c, d}}`.
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
                wrong.push(format!("{}: {used} is below {}", file.display(), module(file)));
            }
        }
    }
    assert!(seen > 100, "only {seen} uses found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The path of a module, from the root.
type Module = Vec<String>;

/// Returns the paths that a file names, in `use` or in code: `super::a::B`, and each of `crate::{a, b::{c, d}}`; with
/// the name that each gets.
fn paths(text: &str) -> Vec<(Vec<String>, String)> {
    fn expand(prefix: &[String], tree: &str, found: &mut Vec<(Vec<String>, String)>) {
        let (head, branches) = match tree.split_once('{') {
            Some((head, branches)) => (head, branches.trim_end().strip_suffix('}')),
            None => (tree, None),
        };
        let (head, alias) = head.split_once(" as ").map_or((head, None), |(head, alias)| (head, Some(alias.trim())));
        let mut path = prefix.to_vec();
        path.extend(head.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
        let Some(branches) = branches else {
            let last = path.last().cloned().unwrap_or_default();
            return found.push((path, alias.map_or(last, str::to_owned)));
        };
        let (mut depth, mut from) = (0, 0);
        for (at, character) in branches.char_indices().chain([(branches.len(), ',')]) {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    let branch = branches.get(from..at).unwrap().trim();
                    if !branch.is_empty() {
                        expand(&path, branch, found);
                    }
                    from = at + 1;
                }
                _ => {}
            }
        }
    }
    let mut found = vec![];
    let uses = Regex::new(r"(?m)^\s*(?:pub(?:\([^)]*\))?\s+)?use\s+([^;]+);").unwrap();
    for captures in uses.captures_iter(text) {
        expand(&[], &captures[1].replace('\n', " "), &mut found);
    }
    let spelt = Regex::new(r"\b(?:crate|super)(?:::[A-Za-z0-9_]+)+").unwrap();
    for path in spelt.find_iter(text) {
        expand(&[], path.as_str(), &mut found);
    }
    found
}

/// Returns the module that a path leads to, and the rest of the path.
fn resolve(modules: &BTreeSet<Module>, own: &Module, path: &[String]) -> (Module, Vec<String>) {
    let mut rest = path;
    let mut at = match rest.first().map(String::as_str) {
        Some("crate") => {
            rest = &rest[1..];
            vec![]
        }
        Some("self") => {
            rest = &rest[1..];
            own.clone()
        }
        _ => own.clone(),
    };
    while rest.first().is_some_and(|name| name == "super") {
        at.pop();
        rest = &rest[1..];
    }
    while let Some(name) = rest.first() {
        at.push(name.clone());
        if !modules.contains(&at) {
            at.pop();
            break;
        }
        rest = &rest[1..];
    }
    (at, rest.to_vec())
}

/// Returns, by module, which of its submodules use which. A re-exported name counts as a use of the module that defines
/// it.
fn uses_of_siblings(sources: &[(PathBuf, String)]) -> BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> {
    let module = |file: &Path| -> Module {
        let names = file.with_extension("");
        names.iter().map(|name| name.to_str().unwrap().to_owned()).collect()
    };
    // Modules that are only compiled for tests.
    let declared = Regex::new(r"#\[cfg\(test\)\]\s+(?:#\[[^\n]*\]\s+)*(?:pub(?:\([^)]*\))?\s+)?mod (\w+);").unwrap();
    let mut of_tests: BTreeSet<Module> = BTreeSet::new();
    for (file, text) in sources {
        let name = |captures: regex::Captures<'_>| [module(file), vec![captures[1].to_owned()]].concat();
        of_tests.extend(declared.captures_iter(&code(text)).map(name));
    }
    let is_test = |module: &Module| (1..=module.len()).any(|length| of_tests.contains(&module[..length]));
    let files: BTreeMap<Module, Vec<(Vec<String>, String)>> = sources
        .iter()
        .map(|(file, text)| (module(file), code(text.split("#[cfg(test)]\nmod tests {").next().unwrap())))
        .filter(|(module, _)| !is_test(module) && !["lib", "main"].contains(&module[0].as_str()))
        .map(|(module, code)| (module, paths(&code)))
        .collect();
    let modules: BTreeSet<Module> = files.keys().cloned().collect();
    let mut handed_on: BTreeMap<(Module, String), Module> = BTreeMap::new();
    for (own, paths) in &files {
        for (path, name) in paths {
            let (from, rest) = resolve(&modules, own, path);
            if from != *own && rest.len() == 1 {
                handed_on.insert((own.clone(), name.clone()), from);
            }
        }
    }
    let mut uses: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (own, paths) in &files {
        for (path, _) in paths {
            if !["crate", "super", "self"].contains(&path[0].as_str()) {
                continue;
            }
            let (mut used, rest) = resolve(&modules, own, path);
            let mut passed = BTreeSet::new();
            while let Some(from) = rest.first().and_then(|name| handed_on.get(&(used.clone(), name.clone())))
                && passed.insert(used.clone())
            {
                used = from.clone();
            }
            let shared = own.iter().zip(&used).take_while(|(left, right)| left == right).count();
            if let (Some(user), Some(used)) = (own.get(shared), used.get(shared)) {
                uses.entry(own[..shared].to_vec()).or_default().entry(user.clone()).or_default().insert(used.clone());
            }
        }
    }
    uses
}

/// Returns the groups of names that reach each other.
fn cycles(uses: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<Vec<String>> {
    let reached = |from: &String| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(name) = open.pop() {
            open.extend(uses.get(name).into_iter().flatten().filter(|next| reached.insert((*next).clone())));
        }
        reached
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = uses.keys().map(|name| (name, reached(name))).collect();
    let cycle = |name: &&String| -> Vec<String> {
        let back = |other: &&String| reached.get(*other).is_some_and(|names| names.contains(*name));
        reached[*name].iter().filter(back).cloned().collect()
    };
    reached.keys().map(cycle).filter(|cycle| cycle.len() > 1).collect()
}

#[test]
fn submodules_of_a_module_do_not_use_each_other_in_a_circle() {
    let uses = uses_of_siblings(&sources());
    assert!(uses.values().map(BTreeMap::len).sum::<usize>() > 100, "{uses:?}");
    let mut found = BTreeSet::new();
    for (module, uses) in uses.iter().filter(|(module, _)| !module.is_empty()) {
        found.extend(cycles(uses).into_iter().map(|cycle| (module.join("::"), cycle)));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_search_for_cycles_sees_names_that_a_module_hands_on() {
    let file = |name: &str, text: &str| (PathBuf::from(name), text.to_owned());
    let sources = [
        file("m.rs", "mod a;\nmod b;\nmod c;\npub use a::Thing;\npub(super) use b::{self, Other as Renamed};"),
        file("m/a.rs", "use super::{\n    Renamed,\n};"),
        file("m/b.rs", "use super::Thing;"),
        file("m/c.rs", "use crate::m::a::Thing;\nlet _ = super::b::f();"),
        file("m/c/d.rs", "use super::super::b;"),
    ];
    let uses = uses_of_siblings(&sources);
    let module = &uses[&vec!["m".to_owned()]];
    let used = |name: &str| module[name].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!((used("a"), used("b"), used("c")), (vec!["b"], vec!["a"], vec!["a", "b"]));
    assert_eq!(cycles(module), [vec!["a".to_owned(), "b".to_owned()]].into());
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
        assert!(!users.is_empty(), "no module uses {pattern}: is it spelled correctly?");
        let within = |user: &String| places.iter().any(|place| user == place || user.starts_with(&format!("{place}/")));
        let outside: Vec<&String> = users.iter().filter(|user| !within(user)).collect();
        assert!(outside.is_empty(), "{pattern} outside {places:?}: {outside:?}");
    }
}

#[test]
fn the_store_does_not_know_what_a_source_is() {
    let word = Regex::new(r"(?i)kafka|log_partition|overlay").unwrap();
    let mut seen = 0;
    let mut named = vec![];
    for (file, text) in sources().iter().filter(|(file, _)| module(file) == "store") {
        seen += 1;
        let code = code(text);
        let lines = code.lines().filter(|line| word.is_match(line));
        named.extend(lines.map(|line| format!("{}: {}", file.display(), line.trim())));
    }
    assert!(seen > 30, "only {seen} files of the store found");
    assert!(named.is_empty(), "{}", named.join("\n"));
}

#[test]
fn the_files_that_contributing_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join(".github/CONTRIBUTING.md")).unwrap();
    let path = Regex::new(r"`((?:src|tests|proto|\.ci|\.github)/[\w./-]+|README\.md)`").unwrap();
    let named: BTreeSet<&str> = path.captures_iter(&text).map(|captures| captures.get(1).unwrap().as_str()).collect();
    assert!(named.len() > 20, "{named:?}");
    // The files of a new table, source or record type do not exist yet.
    let is_new = |name: &&&str| name.contains("NAME") || name.contains("GROUP");
    let missing: Vec<_> = named.iter().filter(|name| !is_new(name) && !root.join(name).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn no_queue_is_without_a_bound() {
    let unbounded = Regex::new(r"mpsc::channel(::<[^>]*>)?\(\)|unbounded(_channel)?\(").unwrap();
    let is_test = |file: &Path| file.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests");
    let mut found = vec![];
    for (file, text) in sources().iter().filter(|(file, _)| !is_test(file)) {
        let code = code(text);
        let lines = code.lines().filter(|line| unbounded.is_match(line));
        found.extend(lines.map(|line| format!("{}: {}", file.display(), line.trim())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
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
