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
fn only_pages_of_the_given_origins_may_show_the_dashboard_in_a_frame() {
    let directive = |headers: &HeaderMap| {
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        policy.split("; ").find(|part| part.starts_with("frame-ancestors")).unwrap().to_owned()
    };
    let none = security(&[]);
    assert_eq!(
        (directive(&none).as_str(), none[header::X_FRAME_OPTIONS].as_bytes()),
        ("frame-ancestors 'none'", &b"DENY"[..])
    );
    let some = security(&["https://a.example".to_owned(), "http://b:8080".to_owned()]);
    assert_eq!(directive(&some), "frame-ancestors https://a.example http://b:8080");
    assert!(!some.contains_key(header::X_FRAME_OPTIONS));
    assert_eq!(some.len() + 1, none.len());
}

#[test]
fn the_dashboard_routes_the_same_pages() {
    let router = include_str!("../../../clients/web/src/lib/router.svelte.ts");
    let list = router.split("PAGES = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
    let listed: Vec<&str> = list.split(',').map(|path| path.trim().trim_matches('"')).collect();
    assert_eq!(listed, PAGES);
}
