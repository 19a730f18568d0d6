//! Limits of a statement on text size, planning work, run time and memory, and the code that enforces them.

pub(super) mod functions;
pub(super) mod memory;
pub(super) mod planner_rules;
pub(super) mod statement_context;
pub(super) mod statement;
pub(super) mod tokens;

mod guard_exec;
mod operator_memory;
mod operators;
mod width;

pub(super) use operators::GuardRule;
pub(super) use statement_context::{StatementContext, check};
