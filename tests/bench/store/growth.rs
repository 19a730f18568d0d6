//! The same work at 1, 2, 4 and 8 times the size: the cost per item must stay flat. Each size runs in its own process
//! with fresh memory.

use std::process::{self, Command, ExitCode};
use std::time::Instant;

use tokio::runtime::Builder;

use offsetd::model::Revision;

use super::{Keys, empty, engine, event, rows};
use crate::kafka::this_program;
use crate::kafka::used::Used;
use crate::measure::{Goal, Report, middle};

/// Number of groups at the smallest size.
const GROUPS: usize = 2500;
const PARTITIONS: usize = 100;
const SIZES: [usize; 4] = [1, 2, 4, 8];
const PINS: usize = 1000;
/// Data beyond the CPU caches costs more than data in them, in any program.
const FLAT: Goal = Goal::AtMost(1.5);

/// Costs per record, key or group, in the order of [`WHAT`].
type Costs = [f64; 5];

const WHAT: [(&str, &str); 5] = [
    ("a new key", "s"),
    ("a commit of a known key", "s"),
    ("memory of a key", "B"),
    ("a pin, of one group", "s"),
    ("a row that is summed up", "s"),
];

pub(crate) fn run(report: &mut Report) {
    if !report.wants("growth") {
        return;
    }
    let rounds = report.few_rounds();
    let costs = SIZES.map(|size| {
        let rounds: Vec<Costs> = (0..rounds).map(|_| costs_aside(size)).collect();
        std::array::from_fn::<f64, 5, _>(|at| middle(&mut rounds.iter().map(|costs| costs[at]).collect::<Vec<_>>()))
    });
    for (at, (what, unit)) in WHAT.into_iter().enumerate() {
        for (size, of_size) in SIZES.iter().zip(&costs).skip(1) {
            let (ours, reference) = (of_size[at], costs[0][at]);
            let what = format!("growth: {what}, {size} x {} keys vs 1 x", GROUPS * PARTITIONS);
            report.row(&what, unit, ours, reference, ours / reference, FLAT);
        }
    }
}

fn costs_aside(size: usize) -> Costs {
    let out = Command::new(this_program()).args(["growth", &size.to_string()]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Prints the costs at one size.
pub(crate) fn main(size: &str) -> ExitCode {
    println!("{}", serde_json::to_string(&costs(size.parse().unwrap())).unwrap());
    ExitCode::SUCCESS
}

#[expect(clippy::cast_precision_loss, reason = "a few millions")]
fn costs(size: usize) -> Costs {
    let keys = Keys::new(GROUPS * size, PARTITIONS);
    let (store, shard) = empty();
    let resident = || Used::of(process::id()).resident;
    let of_each = |count: usize, run: &mut dyn FnMut()| {
        let started = Instant::now();
        run();
        started.elapsed().as_secs_f64() / count as f64
    };
    let before = resident();
    let new = of_each(keys.len(), &mut || keys.commit(&shard, 0));
    let memory = (resident() - before) / keys.len() as f64;
    let known = of_each(keys.len(), &mut || keys.commit(&shard, 1));
    // The order of the groups is computed once, by the first pin.
    drop(shard.pin());
    let group = &keys.groups[0];
    let changed_pin = |_| {
        shard.apply(&[event(group, "orders", 0, 7)], Revision(0));
        drop(shard.pin());
    };
    let pin = of_each(PINS * keys.groups.len(), &mut || (0..PINS).for_each(changed_pin));
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let engine = engine(&store, 1);
    let sum = "SELECT sum(committed_offset) FROM offsets";
    rows(&runtime, &engine, sum);
    let row = of_each(keys.len(), &mut || assert_eq!(rows(&runtime, &engine, sum), 1));
    [new, known, memory, pin, row]
}
