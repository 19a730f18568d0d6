//! What an examination found.

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It works.
    Works,
    /// It does not, and offsetd works without it, less well.
    Warning,
    /// It does not work, and is needed.
    Failed,
    /// It was not tried.
    Skipped,
}

impl Outcome {
    /// Returns the word that is shown.
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

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked: `dns`, `tcp` and so on.
    pub name: &'static str,
    /// What it was checked for, as a broker; empty for the whole cluster.
    pub object: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// What to do.
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

    /// Makes a failure a warning.
    pub(super) fn not_needed(self) -> Self {
        match self.outcome {
            Outcome::Failed => Self { outcome: Outcome::Warning, ..self },
            _ => self,
        }
    }
}

/// What the checks of one cluster found, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    pub(super) fn add(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// Makes failures of these checks warnings: offsetd goes another way.
    pub(super) fn does_not_need(&mut self, names: &[&str]) {
        let is_named = |check: &&mut Check| names.contains(&check.name) && check.outcome == Outcome::Failed;
        self.checks.iter_mut().filter(is_named).for_each(|check| check.outcome = Outcome::Warning);
    }

    /// Returns whether everything that is needed works.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.checks.iter().any(|check| check.outcome == Outcome::Failed)
    }
}
