//! The results of the checks.

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The check succeeded.
    Works,
    /// The check failed, and offsetd works with less function.
    Warning,
    /// The check failed, and offsetd does not work without it.
    Failed,
    /// The check was not run.
    Skipped,
}

impl Outcome {
    /// Returns the word that the report shows.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Works => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Name of the check, such as `dns` or `tcp`.
    pub name: &'static str,
    /// Object of the check, such as a broker; empty for the whole cluster.
    pub object: String,
    /// The outcome.
    pub outcome: Outcome,
    /// Finding, as text.
    pub found: String,
    /// Remedy, if one is known.
    pub remedy: Option<String>,
}

impl Check {
    pub(super) fn works(name: &'static str, object: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name, object: object.into(), outcome: Outcome::Works, found: found.into(), remedy: None }
    }

    pub(super) fn fails(
        name: &'static str,
        object: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name,
            object: object.into(),
            outcome: Outcome::Failed,
            found: found.into(),
            remedy: Some(remedy.into()).filter(|remedy| !remedy.is_empty()),
        }
    }

    pub(super) fn skipped(name: &'static str, why: &str) -> Self {
        Self { name, object: String::new(), outcome: Outcome::Skipped, found: why.to_owned(), remedy: None }
    }

    /// Turns a failure into a warning.
    pub(super) fn into_warning(self) -> Self {
        match self.outcome {
            Outcome::Failed => Self { outcome: Outcome::Warning, ..self },
            _ => self,
        }
    }
}

/// The results of a cluster's checks, in the order in which they ran.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The results.
    pub checks: Vec<Check>,
}

impl Report {
    pub(super) fn add(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// Turns failures of these checks into warnings, because offsetd does not depend on them in the chosen mode.
    pub(super) fn downgrade(&mut self, names: &[&str]) {
        let is_named = |check: &&mut Check| names.contains(&check.name) && check.outcome == Outcome::Failed;
        self.checks.iter_mut().filter(is_named).for_each(|check| check.outcome = Outcome::Warning);
    }

    /// Returns whether no check failed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.checks.iter().any(|check| check.outcome == Outcome::Failed)
    }
}
