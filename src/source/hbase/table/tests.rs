use proptest::prelude::*;

use super::*;

fn cell(row: &str, family: &str, qualifier: &str, value: &[u8]) -> Cell {
    let (row, family, qualifier) = (row.into(), family.into(), qualifier.into());
    Cell { row, family, qualifier, timestamp: 1, value: value.to_vec() }
}

fn encoded(cells: &[Cell], partial: bool) -> Vec<u8> {
    Row { cells: cells.iter().map(Cell::encode_to_vec).collect(), partial }.encode_to_vec()
}

/// Reads rows and returns their cells, as row and qualifier, and the position afterwards.
fn read(rows: &[Vec<u8>], position: &str) -> Result<(Vec<String>, String), RpcError> {
    let (mut cells, mut position) = (vec![], position.as_bytes().to_vec());
    read_rows(rows, &mut position, &mut |cell| {
        cells.push(String::from_utf8_lossy(&[&*cell.row, b"/", &*cell.qualifier].concat()).into_owned());
    })?;
    Ok((cells, String::from_utf8(position).unwrap()))
}

#[test]
fn a_scan_continues_after_the_last_complete_row_or_at_the_incomplete_one() {
    let a = cell("a", "f", "0", b"1");
    let b = [cell("b", "f", "0", b"1"), cell("b", "f", "1", b"1")];
    let complete = [encoded(std::slice::from_ref(&a), false), encoded(&b, false)];
    assert_eq!(read(&complete, "").unwrap(), (vec!["a/0".into(), "b/0".into(), "b/1".into()], "b\0".into()));
    let partial = [encoded(&[a], false), encoded(&b[..1], true)];
    assert_eq!(read(&partial, "").unwrap(), (vec!["a/0".into(), "b/0".into()], "b".into()));
    assert_eq!(read(&[encoded(&b[1..], false)], "b").unwrap(), (vec!["b/1".into()], "b\0".into()));
    assert_eq!(read(&[encoded(&[], false)], "b").unwrap(), (vec![], "b".into()));
}

#[test]
fn rows_before_the_position_of_a_scan_are_an_error() {
    let row = |name| encoded(&[cell(name, "f", "0", b"1")], false);
    for rows in [&[row("a")][..], &[row("c"), row("b")], &[row("c"), row("c")]] {
        assert!(matches!(read(rows, "b"), Err(RpcError::Unexpected("rows out of order"))), "{rows:?}");
    }
}

#[test]
fn the_rows_of_a_prefix_end_before_the_next_prefix() {
    for (prefix, end) in
        [(&b""[..], &b""[..]), (b"app:", b"app;"), (b"a\xff", b"b"), (b"\xff\xff", b""), (b"a\xfe\xff", b"a\xff")]
    {
        assert_eq!(end_of_prefix(prefix), end, "{prefix:?}");
    }
}

fn region(start: &str, end: &str, split: bool) -> Vec<u8> {
    let (start, end) = (start.into(), end.into());
    let info = RegionInfo { start, end, offline: split, split, replica: 0 };
    [MESSAGE_PREFIX, &info.encode_to_vec()].concat()
}

#[test]
fn regions_are_read_without_those_that_were_split() {
    let mut rows = MetaRows::default();
    for cell in [
        cell("t,,1", "info", "regioninfo", &region("", "m", true)),
        cell("t,,1", "info", "server", b"h:1"),
        cell("t,,2", "info", "regioninfo", &region("", "g", false)),
        cell("t,,2", "info", "server", b"h:2"),
        cell("t,,2", "info", "state", b"OPEN"),
        cell("t,g,2", "info", "regioninfo", &region("g", "m", false)),
        cell("t,m,1", "info", "server", b"h:3"),
        cell("t,m,1", "info", "regioninfo", b"PBUF\xff\xff"),
    ] {
        rows.add(&cell);
    }
    let regions: Vec<Region> = rows.regions.into_iter().filter_map(MetaRow::region).collect();
    let servers: Vec<_> = regions.iter().map(|region| (&*region.name, region.server.as_deref())).collect();
    assert_eq!(servers, [(&b"t,,2"[..], Some("h:2")), (b"t,g,2", None)]);
    assert!(!rows.is_disabled);
    assert!(regions[0].contains(b"") && regions[0].contains(b"f\xff") && !regions[0].contains(b"g"));
    assert!(!regions[1].contains(b"f") && regions[1].contains(b"g"));
}

#[test]
fn the_state_of_a_table_is_read() {
    for (state, is_disabled) in [(0, false), (1, true), (2, true), (3, false)] {
        let mut rows = MetaRows::default();
        let state = TableState { state }.encode_to_vec();
        rows.add(&cell("t", "table", "state", &[MESSAGE_PREFIX, &state].concat()));
        assert_eq!(rows.is_disabled, is_disabled, "{state:?}");
        assert!(rows.regions.is_empty());
    }
}

proptest! {
    #[test]
    fn arbitrary_rows_are_cells_or_errors(rows in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..4)) {
        let mut position = vec![];
        let mut meta = MetaRows::default();
        let _ = read_rows(&rows, &mut position, &mut |cell| meta.add(cell));
    }

    #[test]
    fn cells_are_decoded_as_they_were_encoded(names in proptest::collection::btree_set("[a-d]{1,3}", 0..6), value in proptest::collection::vec(any::<u8>(), 0..20)) {
        let cells: Vec<Cell> = names.iter().map(|name| cell(name, "f", "q", &value)).collect();
        let rows: Vec<Vec<u8>> = cells.iter().map(|cell| encoded(std::slice::from_ref(cell), false)).collect();
        let mut decoded = vec![];
        read_rows(&rows, &mut vec![], &mut |cell| decoded.push(cell.clone())).unwrap();
        prop_assert_eq!(decoded, cells);
    }
}
