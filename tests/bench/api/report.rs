//! What was measured, as a table: a row for each figure, servers side by side, and how much better the first
//! is than each other one. Costs are better when smaller, rates when larger.

use std::fmt;
use std::time::Duration;

use crate::server::Cost;

struct Row {
    workload: String,
    what: &'static str,
    more_is_better: bool,
    of: Vec<Option<f64>>,
}

pub struct Report {
    servers: Vec<String>,
    rows: Vec<Row>,
    /// Whose figures come in.
    now: usize,
}

impl Report {
    pub fn new(servers: Vec<String>) -> Self {
        Self { servers, rows: Vec::new(), now: 0 }
    }

    pub fn of(&mut self, server: usize) {
        self.now = server;
    }

    fn figure(&mut self, workload: &str, what: &'static str, more_is_better: bool, figure: f64) {
        eprintln!("{:>8}  {workload}: {} {what}", self.servers[self.now], number(figure));
        let found = self.rows.iter().position(|row| row.workload == workload && row.what == what);
        let at = found.unwrap_or_else(|| {
            let of = vec![None; self.servers.len()];
            self.rows.push(Row { workload: workload.to_owned(), what, more_is_better, of });
            self.rows.len() - 1
        });
        self.rows[at].of[self.now] = Some(figure);
    }

    pub fn cost(&mut self, workload: &str, what: &'static str, figure: f64) {
        self.figure(workload, what, false, figure);
    }

    pub fn rate(&mut self, workload: &str, what: &'static str, figure: f64) {
        self.figure(workload, what, true, figure);
    }

    pub fn memory(&mut self, workload: &str, bytes: u64) {
        self.cost(workload, "MB resident", bytes as f64 / f64::from(1 << 20));
    }

    /// Many of one operation.
    pub fn operations(&mut self, workload: &str, count: usize, cost: &Cost, mut latencies: Vec<Duration>) {
        latencies.sort_unstable();
        let milliseconds = |part: f64| {
            let at = (latencies.len().saturating_sub(1) as f64 * part) as usize;
            latencies.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        self.rate(workload, "a second", count as f64 / cost.seconds);
        self.cost(workload, "ms p50", milliseconds(0.5));
        self.cost(workload, "ms p99", milliseconds(0.99));
        self.cost(workload, "CPU µs each", cost.cpu * 1e6 / count.max(1) as f64);
    }
}

/// Three digits that count.
fn number(figure: f64) -> String {
    match figure.abs() {
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, others) = self.servers.split_first().expect("there is a server");
        write!(f, "| workload | figure | {first} |")?;
        for other in others {
            write!(f, " {other} | {first} is better by |")?;
        }
        writeln!(f, "\n| --- | --- | --- |{}", " --- | --- |".repeat(others.len()))?;
        for row in &self.rows {
            let cell = |figure: Option<f64>| figure.map_or("–".to_owned(), number);
            write!(f, "| {} | {} | {} |", row.workload, row.what, cell(row.of[0]))?;
            for other in &row.of[1..] {
                let better = match (row.of[0], *other) {
                    (Some(ours), Some(theirs)) if row.more_is_better && theirs > 0.0 => Some(ours / theirs),
                    (Some(ours), Some(theirs)) if !row.more_is_better && ours > 0.0 => Some(theirs / ours),
                    _ => None,
                };
                write!(f, " {} | {} |", cell(*other), cell(better))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
