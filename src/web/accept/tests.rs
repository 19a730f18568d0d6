use super::*;

fn accepting(values: &[&'static str]) -> HeaderMap {
    values.iter().map(|value| (header::ACCEPT, header::HeaderValue::from_static(value))).collect()
}

fn chosen(values: &[&'static str]) -> &'static str {
    let offers = ["application/json", "application/x-ndjson", "text/csv"];
    best(&accepting(values), &offers, |offer| offer).map_or("", |offer| *offer)
}

#[test]
fn the_weight_decides_then_the_exactness_then_the_servers_order() {
    let [json, ndjson, csv] = ["application/json", "application/x-ndjson", "text/csv"];
    let cases: [(&str, &[&'static str]); 20] = [
        (json, &[]),
        (json, &[""]),
        (json, &["*/*"]),
        (csv, &["text/*"]),
        (csv, &["text/csv, */*"]),
        (csv, &["*/*, TEXT/CSV"]),
        (json, &["text/csv, application/json"]),
        (csv, &["application/json;q=0.5, text/csv"]),
        (csv, &["application/json;q=0.5", "text/csv;q=0.9"]),
        (ndjson, &["application/json; q=0.1, application/x-ndjson ; charset=utf-8 ; Q=0.2"]),
        (json, &["text/html, application/x-ndjson;q=0.9, */*"]),
        (ndjson, &["application/json;q=0, application/*"]),
        (csv, &["application/*;q=0, */*;q=0.001"]),
        (json, &["text/csv;q=nonsense, application/json"]),
        (json, &["application/json;q=7, text/csv;q=1"]),
        ("", &["*/*;q=0"]),
        ("", &["*/*;q=0.0001"]),
        ("", &["image/png"]),
        ("", &["json"]),
        ("", &["application/json;q=0, image/*"]),
    ];
    for (expected, values) in cases {
        assert_eq!(chosen(values), expected, "{values:?}");
    }
}

#[test]
fn a_range_is_distinguished_from_a_name() {
    let of = |value| quality(&accepting(&[value]), "text/html");
    assert!(of("text/html;q=0.1").unwrap().is_exact() && !of("*/*").unwrap().is_exact());
    assert!(of("text/html;q=0.1").unwrap().is_below(of("*/*").unwrap()));
    assert_eq!(of("text/html;q=0, */*"), None);
}
