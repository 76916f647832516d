//! What goes wrong: expressions that do not compile, and evaluations that fail or are stopped.

use std::fmt;

/// One mistake in an expression, at a line and a column, both from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

/// Why an expression does not compile; printed as upstream prints it, each mistake above the line it is in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CompileError {
    pub text: String,
    pub issues: Vec<Issue>,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, issue) in self.issues.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            write!(f, "ERROR: <input>:{}:{}: {}", issue.line, issue.column, issue.message)?;
            if let Some(line) = self.text.lines().nth(issue.line.saturating_sub(1)) {
                let dots = ".".repeat(issue.column.saturating_sub(1));
                write!(f, "\n | {}\n | {dots}^", line.replace('\t', " "))?;
            }
        }
        Ok(())
    }
}

/// Why an evaluation gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The call cost more than it may.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimit,
    /// It took more steps than any expression may, whatever they cost.
    #[error("operation interrupted")]
    Interrupted,
    #[error("no such overload")]
    NoSuchOverload,
    #[error("no such key: {0}")]
    NoSuchKey(String),
    #[error("{0}")]
    Failed(String),
}

impl EvalError {
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    /// Whether the evaluation was stopped, as opposed to a part of it having failed: `||` and `&&` pass
    /// over failures only.
    pub fn is_stop(&self) -> bool {
        matches!(self, Self::CostLimit | Self::Interrupted)
    }
}
