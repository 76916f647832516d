//! What was measured, as a table: a row for each workload, servers side by side, and how the first
//! compares with each other one.

use std::fmt;
use std::future::Future;

use anyhow::Result;

use crate::load::Done;
use crate::server::Server;

struct Figures {
    per_second: f64,
    p50: f64,
    p99: f64,
    /// Of the server, microseconds for an operation.
    cpu: f64,
}

/// What each server came to, under the name of what was measured.
type Rows<T> = Vec<(String, Vec<Option<T>>)>;

pub struct Report {
    servers: Vec<String>,
    rows: Rows<Figures>,
    /// MB: resident, and anonymous of it.
    memory: Rows<(f64, f64)>,
}

/// The row of that name, made at the end when there is none.
fn row<T>(rows: &mut Rows<T>, name: &str, servers: usize) -> usize {
    if let Some(n) = rows.iter().position(|(row, _)| row == name) {
        return n;
    }
    rows.push((name.to_owned(), (0..servers).map(|_| None).collect()));
    rows.len() - 1
}

impl Report {
    pub fn new(servers: Vec<String>) -> Self {
        Self { servers, rows: Vec::new(), memory: Vec::new() }
    }

    /// Runs a workload and takes down what it cost.
    pub async fn line(
        &mut self,
        server: usize,
        name: String,
        process: &Server,
        work: impl Future<Output = Result<Done>>,
    ) -> Result<()> {
        let before = process.cpu()?;
        let done = work.await?;
        let cpu = (process.cpu()? - before) * 1e6 / done.operations.max(1) as f64;
        let percentile = |of: f64| {
            let at = (done.latencies.len().saturating_sub(1) as f64 * of) as usize;
            f64::from(done.latencies.get(at).copied().unwrap_or(0)) / 1000.0
        };
        let per_second = done.operations as f64 / done.took.as_secs_f64();
        let figures = Figures { per_second, p50: percentile(0.5), p99: percentile(0.99), cpu };
        eprintln!(
            "{:>8}  {name}: {per_second:.0}/s, p50 {:.2} ms, p99 {:.2} ms, {cpu:.1} µs CPU each",
            self.servers[server], figures.p50, figures.p99
        );
        let at = row(&mut self.rows, &name, self.servers.len());
        self.rows[at].1[server] = Some(figures);
        Ok(())
    }

    pub fn memory(&mut self, server: usize, name: &str, process: &Server) -> Result<()> {
        let memory = process.memory()?;
        let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (resident, anonymous) = (megabytes(memory.resident), megabytes(memory.anonymous));
        eprintln!(
            "{:>8}  memory, {name}: {resident:.0} MB, {anonymous:.0} of them anonymous",
            self.servers[server]
        );
        let at = row(&mut self.memory, name, self.servers.len());
        self.memory[at].1[server] = Some((resident, anonymous));
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = &self.servers[0];
        writeln!(f, "| workload | server | per second | p50 ms | p99 ms | CPU µs each | CPU, {first} = 1 |")?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- | --- |")?;
        for (name, servers) in &self.rows {
            let ours = servers[0].as_ref().map(|figures| figures.cpu);
            for (server, figures) in self.servers.iter().zip(servers) {
                let Some(Figures { per_second, p50, p99, cpu }) = figures else { continue };
                let ratio = ours
                    .filter(|ours| *ours > 0.0)
                    .map_or("–".to_owned(), |ours| format!("{:.2}", cpu / ours));
                writeln!(
                    f,
                    "| {name} | {server} | {per_second:.0} | {p50:.2} | {p99:.2} | {cpu:.1} | {ratio} |"
                )?;
            }
        }
        writeln!(f, "\n| memory | server | resident MB | anonymous MB | resident, {first} = 1 |")?;
        writeln!(f, "| --- | --- | --- | --- | --- |")?;
        for (name, servers) in &self.memory {
            let ours = servers[0].map(|(resident, _)| resident);
            for (server, memory) in self.servers.iter().zip(servers) {
                let Some((resident, anonymous)) = memory else { continue };
                let ratio = ours
                    .filter(|ours| *ours > 0.0)
                    .map_or("–".to_owned(), |ours| format!("{:.2}", resident / ours));
                writeln!(f, "| {name} | {server} | {resident:.0} | {anonymous:.0} | {ratio} |")?;
            }
        }
        Ok(())
    }
}
