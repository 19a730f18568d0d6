use super::*;

#[test]
fn a_template_is_split_at_its_first_placeholder() {
    for (template, root, depth) in [
        ("/consumers/{group}/offsets/{topic}/{partition}", "/consumers", 4),
        ("/storm/kafka/{group}/partition_{partition}", "/storm/kafka", 2),
        ("/{topic}/{partition}", "/", 2),
        ("/spark/offsets", "/spark/offsets", 0),
    ] {
        let tree = PathTree::parse(template).unwrap();
        assert_eq!((&*tree.root, tree.depth()), (root, depth), "{template}");
    }
}

#[test]
fn invalid_paths_are_refused() {
    for (template, reason) in [
        ("consumers/{group}", "does not begin with /"),
        ("/consumers//{group}", "empty name"),
        ("/consumers/{group}/", "ends with /"),
        ("/../{group}", "\"..\""),
        ("/{grp}", "unknown placeholder {grp}"),
    ] {
        let error = PathTree::parse(template).unwrap_err().to_string();
        assert!(error.contains(reason), "{template}: {error}");
    }
}

#[test]
fn paths_are_matched_name_by_name() {
    let tree = PathTree::parse("/consumers/{group}/offsets/{topic}/{partition}").unwrap();
    let names = |path| tree.matching_names(path).map(|names| names.len());
    assert_eq!(names("/consumers/g/offsets/orders/0"), Some(4));
    assert_eq!(names("/consumers/g/offsets"), Some(2));
    assert_eq!(names("/consumers"), Some(0));
    for path in
        ["/consumers/g/owners", "/consumers/g/offsets/orders/x", "/consumers/g/offsets/orders/0/1", "/consumersg", "/a"]
    {
        assert_eq!(names(path), None, "{path}");
    }
    let parts = tree.parts("/consumers/g/offsets/orders");
    assert_eq!(parts.iter().find_map(|parts| parts.group.as_deref()), Some("g"));
    assert_eq!(parts.iter().find_map(|parts| parts.topic.as_deref()), Some("orders"));
    let root = PathTree::parse("/{topic}/{partition}").unwrap();
    assert_eq!(root.matching_names("/orders/3").map(|names| names.len()), Some(2));
    assert_eq!((child("/", "a"), child("/a", "b")), ("/a".to_owned(), "/a/b".to_owned()));
}

#[test]
fn the_layout_of_consumers_is_recognized_below_any_path() {
    let consumers = ["{group}", "offsets", "{topic}", "{partition}"];
    let ends = |template| PathTree::parse(template).unwrap().ends_with(&consumers);
    assert!(ends("/consumers/{group}/offsets/{topic}/{partition}"));
    assert!(ends("/a/{*}/consumers/{group}/offsets/{topic}/{partition}"));
    assert!(!ends("/consumers/x-{group}/offsets/{topic}/{partition}"));
    assert!(!ends("/consumers/{group}/offset/{topic}/{partition}"));
    assert!(!ends("/{topic}/{partition}"));
}
