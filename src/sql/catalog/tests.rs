use super::{
    super::{table::COMMENT, views::ViewDefinition},
    *,
};

/// Plans a view over the tables alone.
fn plan_view(definition: &'static ViewDefinition) -> Result<View> {
    View::new(definition, &register(base_session(1), &[])?)
}

#[test]
fn every_view_is_sound_and_every_column_has_a_comment() {
    let names: Vec<_> = VIEWS.iter().map(|view| view.definition.name).collect();
    assert_eq!(names, DEFINITIONS.iter().map(|definition| definition.name).collect::<Vec<_>>());
    for view in &*VIEWS {
        assert!(!view.definition.comment.is_empty());
        assert!(view.schema().fields().iter().all(|field| !field.metadata()[COMMENT].is_empty()), "{view:?}");
    }
}

#[test]
fn a_view_stands_for_all_tables_that_it_reads() {
    assert!(relation_count("consumers") >= 4, "offsets, assignments, members and groups");
    assert!(relation_count("active_consumers") >= 3, "those of the view that it reads");
    assert_eq!((relation_count("topics"), relation_count("nowhere")), (1, 1));
}

#[test]
fn a_column_of_branches_of_several_types_has_the_type_of_its_values() {
    let sql = "SELECT CASE WHEN lag IS NULL THEN 0 ELSE lag_seconds END AS x FROM lag UNION ALL SELECT 1";
    let definition = Box::leak(Box::new(ViewDefinition { name: "v", comment: "c", sql, comments: &[("x", "x")] }));
    let schema = plan_view(definition).unwrap().schema();
    assert_eq!(schema.field(0).data_type(), &arrow::datatypes::DataType::Float64);
}

#[test]
fn a_definition_that_is_wrong_is_refused() {
    let wrong = |sql, comments| {
        let definition = Box::leak(Box::new(ViewDefinition { name: "v", comment: "c", sql, comments }));
        plan_view(definition).unwrap_err().to_string()
    };
    assert!(wrong("SELECT nothing FROM lag", &[("nothing", "n")]).contains("nothing"));
    assert!(wrong("SELECT lag FROM lag", &[("lags", "n")]).contains("a comment on the unknown column lags"));
    assert!(wrong("SELECT lag + 1 AS more FROM lag", &[]).contains("no comment on the column more"));
}
