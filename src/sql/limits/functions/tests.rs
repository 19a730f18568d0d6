use arrow::array::{ArrayRef, AsArray as _, Int64Array, ListArray, StringArray};
use arrow::datatypes::{Field, Int64Type};
use datafusion::{common::config::ConfigOptions, execution::SessionStateDefaults};

use super::*;
use crate::sql::functions::{self, NUMBERS, OTHERS, TIMES, scalar};

fn function(name: &str) -> Arc<ScalarUDF> {
    let mut all = SessionStateDefaults::default_scalar_functions().into_iter();
    all.find(|function| function.name() == name).unwrap()
}

fn call(function: &ScalarUDF, args: &[ArrayRef]) -> Result<ArrayRef> {
    let fields: Vec<FieldRef> =
        args.iter().map(|array| Arc::new(Field::new("x", array.data_type().clone(), true))).collect();
    let scalars = vec![None; args.len()];
    let of = ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &scalars };
    let (return_field, rows) = (function.return_field_from_args(of)?, args[0].len());
    let value = function.invoke_with_args(ScalarFunctionArgs {
        args: args.iter().map(|array| ColumnarValue::Array(Arc::clone(array))).collect(),
        arg_fields: fields.clone(),
        number_rows: rows,
        return_field,
        config_options: Arc::new(ConfigOptions::new()),
    })?;
    value.into_array(rows)
}

fn texts(lengths: impl Iterator<Item = usize>) -> ArrayRef {
    Arc::new(
        lengths.enumerate().map(|(at, length)| Some(format!("{at}-{}", "ab".repeat(length)))).collect::<StringArray>(),
    )
}

fn refusal(result: Result<ArrayRef>) -> String {
    match SqlError::from_datafusion(&result.unwrap_err()) {
        SqlError::Limit { what, .. } => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_function_is_known_to_be_cheap_or_has_bounds() {
    let all = scalar();
    assert!(all.len() > 100);
    for function in all {
        let name = function.name();
        let is_fixed = [NUMBERS, TIMES, OTHERS].into_iter().any(|list| functions::names(list).contains(&name));
        let is_plain = table::names().any(|known| known == name) && cost_model(name).is_none();
        assert!(is_fixed || is_plain || cost_model(name).is_some(), "{name}");
        assert!(!(is_fixed && cost_model(name).is_some()), "{name}");
    }
}

#[test]
fn a_call_in_slices_gives_the_same() {
    // More bytes than one slice reads, in rows of very different sizes.
    let wide = texts((0..4000).map(|at| if at % 100 == 0 { 40_000 } else { at % 50 }));
    let short = texts((0..4000).map(|at| at % 3));
    for (name, args) in [
        ("upper", vec![&wide]),
        ("strpos", vec![&wide, &short]),
        ("split_part", vec![&wide, &short]),
        ("contains", vec![&wide, &short]),
    ] {
        let mut args: Vec<ArrayRef> = args.into_iter().map(Arc::clone).collect();
        if name == "split_part" {
            args.push(Arc::new(Int64Array::from(vec![1; 4000])));
        }
        let inner = function(name);
        let expected = call(&inner, &args).unwrap();
        assert_eq!(&call(&bounded(inner, 1 << 20), &args).unwrap(), &expected, "{name}");
    }
}

#[test]
fn lists_that_would_be_compared_item_by_item_are_refused() {
    let list = |items: i64, from: i64| -> ArrayRef {
        let items = (0..items).map(|item| Some(item + from)).collect::<Vec<_>>();
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(items)]))
    };
    let function = bounded(function("array_has_any"), 1 << 20);
    let few = call(&function, &[list(1000, 0), list(1000, 999)]).unwrap();
    assert!(few.as_boolean().value(0));
    let what = refusal(call(&function, &[list(40_000, 0), list(40_000, 40_000)]));
    assert!(what.starts_with("array_has_any may take"), "{what}");
}

#[test]
fn a_regular_expression_is_bounded_by_its_size_and_that_of_the_text() {
    let function = bounded(function("regexp_like"), 1 << 20);
    let pattern = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let of = |bytes: usize| texts(std::iter::once(bytes / 2));
    assert!(call(&function, &[of(100_000), pattern("ab$")]).unwrap().as_boolean().value(0));
    assert!(call(&function, &[of(20), pattern("(.{0,20}[a-f]){5}")]).is_ok());
    let what = refusal(call(&function, &[of(60_000), pattern("(.{0,20}[a-f]){20}zz")]));
    assert!(what.starts_with("regexp_like may take"), "{what}");
    let error = call(&function, &[of(10), pattern("((a{1000}){1000}){1000}")]).unwrap_err();
    assert!(matches!(SqlError::from_datafusion(&error), SqlError::Invalid(text) if text.contains("compiled")));
}

#[test]
fn a_value_that_would_be_too_long_is_refused() {
    let function = bounded(function("repeat"), 1000);
    let times = |times: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![times])) };
    assert!(call(&function, &[texts(std::iter::once(2)), times(10)]).is_ok());
    let what = refusal(call(&function, &[texts(std::iter::once(2)), times(1000)]));
    assert!(what.contains("1000 are allowed"), "{what}");
}
