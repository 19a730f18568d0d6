use super::*;

#[test]
fn every_asset_has_both_encodings_and_a_type() {
    let names: Vec<String> = Dist::iter().map(|name| name.to_string()).collect();
    assert!(names.iter().any(|name| name == "index.html"), "{names:?}");
    let assets: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("assets/")).collect();
    assert_eq!(assets.len() + 1, names.len(), "{names:?}");
    for brotli in assets.iter().filter_map(|name| name.strip_suffix(".br")) {
        assert!(assets.contains(&format!("{brotli}.gz").as_str()), "{brotli}");
        assert_ne!(content_type(brotli), "application/octet-stream", "{brotli}");
    }
    assert_eq!(assets.iter().filter(|name| name.ends_with(".br")).count() * 2, assets.len(), "{assets:?}");
}

#[test]
fn no_request_copies_a_file() {
    for name in Dist::iter() {
        assert!(matches!(Dist::get(&name).unwrap().data, Cow::Borrowed(_)), "{name}");
    }
}

#[test]
fn the_dashboard_routes_the_same_pages() {
    let router = include_str!("../../../clients/web/src/lib/router.svelte.ts");
    let list = router.split("PAGES = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
    let listed: Vec<&str> = list.split(',').map(|path| path.trim().trim_matches('"')).collect();
    assert_eq!(listed, PAGES);
}
