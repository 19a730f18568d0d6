use super::*;

/// Loads queries, with a check that refuses statements that contain `wrong`.
fn queries(text: &str) -> Result<Vec<NamedQuery>, Vec<String>> {
    let flags = Flags { config: Some("offsetd.toml".into()), ..Flags::default() };
    let file = format!("[clusters.east]\nbootstrap_servers = 'a:1'\n{text}");
    let check: CheckStatement = |sql, _| if sql.contains("wrong") { Err("a syntax error".into()) } else { Ok(()) };
    let context = LoadContext { check_statement: Some(check), file: Some(&file), ..LoadContext::default() };
    let loaded = Config::load_with(Layers { flags: &flags, env: &BTreeMap::new(), check_property: None }, context);
    loaded.map(|loaded| loaded.config.queries).map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
}

#[test]
fn a_query_has_a_name_a_statement_and_maybe_a_description() {
    let text = "[queries.stopped]\nstatement = '''\nSELECT 1\n'''\ndescription = 'Groups'\n[queries.a-b]\nstatement = 'SELECT 2'\n";
    let query = |name: &str, statement: &str, description: &str| NamedQuery {
        name: name.to_owned(),
        statement: statement.to_owned(),
        description: description.to_owned(),
    };
    assert_eq!(queries(text), Ok(vec![query("a-b", "SELECT 2", ""), query("stopped", "SELECT 1\n", "Groups")]));
    assert_eq!(queries("[queries]\n"), Ok(vec![]));
}

#[test]
fn a_bad_query_is_an_error_with_its_place() {
    for (text, says) in [
        ("[queries.a]\ndescription = 'b'\n", "queries.a.statement: not set; allowed: one SQL statement"),
        ("[queries.a]\nstatement = ' '\n", ":4: queries.a.statement: bad value \" \" (it is empty)"),
        ("[queries.a]\nstatement = 'wrong'\n", ":4: queries.a.statement: a syntax error"),
        ("[queries.a]\nstatement = 1\n", ":4: queries.a.statement: an integer is not allowed here"),
        ("[queries.'a b']\nstatement = 'SELECT 1'\n", "a query name consists of"),
        ("[queries.a]\nstatement = 'SELECT 1'\nsql = 'x'\n", ":5: queries.a.sql: unknown key"),
        ("[queries]\na = 'SELECT 1'\n", "queries.a"),
    ] {
        let errors = queries(text).unwrap_err();
        assert!(errors.iter().any(|error| error.contains(says)), "{says}: {errors:?}");
    }
}
