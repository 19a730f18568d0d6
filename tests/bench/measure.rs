//! Prints measurements as a table, and writes them as JSON.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Number of consecutive runs of one side.
const IN_A_ROW: u32 = 100;

/// All measurements so far; each is printed immediately.
#[derive(Debug)]
pub(crate) struct Report {
    rounds: usize,
    only: String,
    suite: &'static str,
    rows: Vec<Value>,
}

/// The goal of a ratio.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// Reported for comparison only.
    None,
}

impl Report {
    /// Creates a report. Each comparison with `only` in its name is run this many times.
    pub(crate) fn new(rounds: usize, only: String) -> Self {
        Self { rounds, only, suite: "", rows: vec![] }
    }

    pub(crate) fn suite(&mut self, name: &'static str) {
        self.suite = name;
        println!("\n{name}");
        println!("  {:<66} {:>12} {:>12} {:>8}  goal", "", "ours", "reference", "ratio");
    }

    /// Measures two things alternately; reports the medians, and how many times as long ours takes.
    pub(crate) fn compare(&mut self, what: &str, goal: Goal, ours: impl FnMut(), reference: impl FnMut()) {
        if let Some((ours, reference)) = self.medians(what, ours, reference) {
            self.row(what, "s", ours, reference, ours / reference, goal);
        }
    }

    /// The same, but reports how many times faster ours is.
    pub(crate) fn faster(&mut self, what: &str, goal: Goal, ours: impl FnMut(), reference: impl FnMut()) {
        if let Some((ours, reference)) = self.medians(what, ours, reference) {
            self.row(what, "s", ours, reference, reference / ours, goal);
        }
    }

    /// The same for runs of microseconds: each side runs [`IN_A_ROW`] times before the other, so that no side always
    /// begins with a cache that the other has filled.
    pub(crate) fn faster_in_a_row(&mut self, what: &str, goal: Goal, ours: impl FnMut(), reference: impl FnMut()) {
        if let Some((ours, reference)) = self.medians(what, in_a_row(ours), in_a_row(reference)) {
            self.row(what, "s", ours / f64::from(IN_A_ROW), reference / f64::from(IN_A_ROW), reference / ours, goal);
        }
    }

    /// Measures the cost of one item of many.
    pub(crate) fn each(&mut self, what: &str, count: usize, run: impl FnMut()) {
        self.each_of(what, count, run, || ());
    }

    /// The same, with a clean-up after each round.
    #[expect(clippy::cast_precision_loss, reason = "a few millions")]
    pub(crate) fn each_of(&mut self, what: &str, count: usize, mut run: impl FnMut(), mut after: impl FnMut()) {
        if !self.wants(what) {
            return;
        }
        let mut round = |_| {
            let took = time(&mut run).as_secs_f64() / count as f64;
            after();
            took
        };
        round(0);
        let mut took: Vec<f64> = (0..self.rounds).map(round).collect();
        self.row(what, "s", middle(&mut took), f64::NAN, f64::NAN, Goal::None);
    }

    /// Returns whether a comparison with this name is selected.
    pub(crate) fn wants(&self, what: &str) -> bool {
        what.contains(&self.only)
    }

    /// Returns the number of rounds for long measurements.
    pub(crate) fn few_rounds(&self) -> usize {
        self.rounds.min(3)
    }

    /// Reports the medians of two alternating measurements.
    pub(crate) fn pair(&mut self, what: &str, unit: &str, ours: &mut [f64], reference: &mut [f64], goal: Goal) {
        let (ours, reference) = (middle(ours), middle(reference));
        self.row(what, unit, ours, reference, ours / reference, goal);
    }

    /// Reports a measurement that is compared only with its goal.
    pub(crate) fn limit(&mut self, what: &str, unit: &str, ours: f64, goal: Goal) {
        self.row(what, unit, ours, f64::NAN, ours, goal);
    }

    fn medians(&self, what: &str, mut ours: impl FnMut(), mut reference: impl FnMut()) -> Option<(f64, f64)> {
        if !self.wants(what) {
            return None;
        }
        let (mut first, mut second) = (vec![], vec![]);
        // One round of each as a warm-up.
        ours();
        reference();
        for _ in 0..self.rounds {
            first.push(time(&mut ours));
            second.push(time(&mut reference));
        }
        Some((median(&mut first).as_secs_f64(), median(&mut second).as_secs_f64()))
    }

    /// Reports two measurements and their ratio.
    pub(crate) fn row(&mut self, what: &str, unit: &str, ours: f64, reference: f64, ratio: f64, goal: Goal) {
        let (text, met) = match goal {
            Goal::AtMost(limit) => (format!("<= {limit}"), Some(ratio <= limit)),
            Goal::AtLeast(limit) => (format!(">= {limit}"), Some(ratio >= limit)),
            Goal::None => (String::new(), None),
        };
        let missed = if met == Some(false) { "  MISSED" } else { "" };
        let factor = if ratio.is_nan() { String::new() } else { format!("{ratio:.2}") };
        println!("  {what:<66} {:>12} {:>12} {factor:>8}  {text}{missed}", shown(ours, unit), shown(reference, unit));
        self.rows.push(json!({
            "suite": self.suite, "what": what, "unit": unit, "ours": ours, "beside": reference, "ratio": ratio,
            "goal": text, "met": met,
        }));
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(&self.rows).unwrap()
    }
}

fn shown(value: f64, unit: &str) -> String {
    match unit {
        _ if value.is_nan() => String::new(),
        "s" if value < 1e-6 => format!("{:.0} ns", value * 1e9),
        "s" if value < 1e-3 => format!("{:.1} µs", value * 1e6),
        "s" if value < 1.0 => format!("{:.2} ms", value * 1e3),
        _ if value >= 100.0 => format!("{value:.0} {unit}"),
        _ => format!("{value:.2} {unit}"),
    }
}

fn in_a_row(mut run: impl FnMut()) -> impl FnMut() {
    move || (0..IN_A_ROW).for_each(|_| run())
}

fn time(run: &mut impl FnMut()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

/// Returns the median.
pub(crate) fn middle(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Returns the median.
pub(crate) fn median(times: &mut [Duration]) -> Duration {
    quantile(times, 0.5)
}

/// Returns the quantile: this part of the values is below it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
pub(crate) fn quantile(times: &mut [Duration], part: f64) -> Duration {
    times.sort();
    times[((times.len() as f64 * part) as usize).min(times.len() - 1)]
}
