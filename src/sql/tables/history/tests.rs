//! Tests of the memory that the table uses.

use super::*;
use crate::{
    history::tests::{Lab, lab},
    sql::table::AnyTable,
    store::history_store::{Budget as _, FixedBudget},
};

const KEYS: i32 = 100;
const SAMPLES: usize = 200;

/// Returns a store with a group that commits between any two samples.
fn moving() -> Lab {
    let mut lab = lab(usize::MAX);
    for sample in 0..SAMPLES {
        let offset = i64::try_from(sample).unwrap() * 1000;
        (0..KEYS).for_each(|partition| lab.commit("g", ("orders", partition), offset));
        lab.sample();
    }
    lab
}

/// Returns the number of rows of each batch of the whole table.
fn read(lab: &Lab, bounds: &Bounds) -> datafusion::common::Result<Vec<usize>> {
    let (table, cut) = (AnyTable::of::<History>(), lab.store.cut("", false).unwrap());
    let unit = Unit { cut: &cut, cluster: &cut.sources[0], group: None, offsets: 0..0 };
    let columns = table.schema.fields().iter().map(|field| field.name().clone()).collect();
    let predicate = super::super::super::predicate::ScanPredicate::new(&[], columns);
    let request = ScanRequest {
        predicate,
        columns: (0..table.schema.fields().len()).collect(),
        schema: Arc::clone(&table.schema),
        limit: None,
    };
    let batches = (table.scan)(Box::new(std::iter::once(unit)), &request, bounds.clone());
    batches.map(|batch| batch.map(|batch| batch.num_rows())).collect()
}

#[test]
fn batches_are_bounded_whatever_a_key_holds() {
    let rows = read(&moving(), &Bounds::default()).unwrap();
    assert_eq!(rows.iter().sum::<usize>(), usize::try_from(KEYS).unwrap() * SAMPLES);
    assert!(rows.iter().all(|rows| *rows <= BATCH_ROWS), "{rows:?}");
}

#[test]
fn a_statement_fails_when_its_samples_exceed_its_memory() {
    let lab = moving();
    let budget = Arc::new(FixedBudget::new(100_000));
    let bounds = Bounds { budget: Some(Arc::<FixedBudget>::clone(&budget) as _), ..Bounds::default() };
    let error = SqlError::from_datafusion(&read(&lab, &bounds).unwrap_err());
    assert!(matches!(&error, SqlError::Limit { setting: "sql.memory_per_query", .. }), "{error}");
    assert!(budget.reserve(100_000), "all of it was released");
}
