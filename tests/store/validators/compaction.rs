//! What was compacted is refused, and nothing else is.

use crate::history::{History, Micros, Outcome, Violation, violated};
use crate::model::{COMPACTED, Request};

const FORGOTTEN: &str = "what was compacted is refused";
const KEPT: &str = "what was not compacted can be read";

pub fn check(history: &History) -> Result<(), Violation> {
    // Revisions that were cut at for certain by a time, and those that may have been.
    let mut certain: Vec<(Micros, i64)> = Vec::new();
    let mut possible: Vec<(Micros, i64)> = Vec::new();
    for operation in &history.operations {
        let Request::Compact(revision) = operation.request else { continue };
        match &operation.outcome {
            Outcome::Answered { at, .. } => {
                certain.push((*at, revision));
                possible.push((operation.sent, revision));
            }
            Outcome::Unknown => possible.push((operation.sent, revision)),
            Outcome::Refused { .. } => {}
        }
    }
    let highest = |cuts: &[(Micros, i64)], before: Micros| {
        cuts.iter().filter(|(at, _)| *at < before).map(|(_, revision)| *revision).max().unwrap_or(0)
    };
    for operation in &history.operations {
        let (request, read) = match &operation.request {
            Request::Range(range) if range.revision > 0 => (&operation.request, range.revision),
            _ => continue,
        };
        match &operation.outcome {
            Outcome::Answered { .. } if read < highest(&certain, operation.sent) => {
                return violated(FORGOTTEN, format!("{request:?} was answered"));
            }
            Outcome::Refused { at, message } if message == COMPACTED && read >= highest(&possible, *at) => {
                return violated(KEPT, format!("{request:?} was refused"));
            }
            _ => {}
        }
    }
    Ok(())
}
