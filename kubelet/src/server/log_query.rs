//! The parameters of a node log query (KEP-2258), checked as upstream checks them. What becomes an
//! argument of journalctl consists of harmless characters only.

use std::path::Path;

use jiff::Timestamp;

use super::{parameter, parameters, system_logs};

/// Lines that can be asked for.
const MOST_LINES: i64 = 100_000;
const MOST_SERVICES: usize = 4;
const LONGEST_NAME: usize = 256;

/// A query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// Services, by name.
    pub services: Vec<String>,
    /// Files below the log directory.
    pub files: Vec<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    lines: Option<i64>,
    boot: Option<i64>,
    pattern: String,
}

/// A query that is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A parameter cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// It asks for what may not be asked for.
    #[error("{0}")]
    Refused(String),
}

/// COMPAT: how upstream joins what is wrong with a query.
fn join(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

impl Query {
    /// Reads and checks; errors are worded as upstream's.
    pub fn parse(query: &str, root: &Path) -> Result<Self, QueryError> {
        let query = Some(query);
        let mut errors = Vec::new();
        let mut parsed = Self::default();
        let asked = parameters(query, "query");
        for name in &asked {
            if name.contains(['/', '\\']) {
                parsed.files.push(name.clone());
            } else if !name.trim().is_empty() {
                parsed.services.push(name.clone());
            }
        }
        if !asked.is_empty() && parsed.files.is_empty() && parsed.services.is_empty() {
            errors.push(format!("unit: Invalid value: {asked:?}: unit cannot be empty"));
        }
        let mut time = |name: &str| {
            let text = parameter(query, name).filter(|text| !text.is_empty())?;
            let time = text.parse::<Timestamp>().ok();
            if time.is_none() {
                errors.push(format!("{name}: Invalid value: {text:?}: invalid time format"));
            }
            time
        };
        (parsed.since, parsed.until) = (time("sinceTime"), time("untilTime"));
        let mut number = |name: &str| {
            let text = parameter(query, name).filter(|text| !text.is_empty())?;
            let number = text.parse::<i64>().ok();
            if number.is_none() {
                let cause = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
                errors.push(format!("{name}: Invalid value: {text:?}: {cause}"));
            }
            number
        };
        (parsed.lines, parsed.boot) = (number("tailLines"), number("boot"));
        parsed.pattern = parameter(query, "pattern").unwrap_or_default();
        if !errors.is_empty() {
            return Err(QueryError::Malformed(join(&errors)));
        }
        parsed.check(root, &mut errors);
        if errors.is_empty() { Ok(parsed) } else { Err(QueryError::Refused(join(&errors))) }
    }

    fn check(&self, root: &Path, errors: &mut Vec<String>) {
        let safe = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
        for name in &self.services {
            if name.len() > LONGEST_NAME {
                errors
                    .push(format!("query: Invalid value: {name:?}: length must be less than {LONGEST_NAME}"));
            } else if !name.chars().all(safe) {
                errors.push(format!("query: Invalid value: {name:?}: input contains unsupported characters"));
            }
        }
        if self.services.len() > MOST_SERVICES {
            let count = self.services.len();
            errors.push(format!("query: Too many: {count}: must have at most {MOST_SERVICES} items"));
        }
        let shown = format!("{:?}", self.files);
        if !self.files.is_empty() && !self.services.is_empty() {
            errors.push(format!("query: Invalid value: {shown}: cannot specify a file and service"));
        } else if self.files.len() > 1 {
            errors.push(format!("query: Invalid value: {shown}: cannot specify more than one file"));
        } else if let [file] = self.files.as_slice() {
            if self.has_options() {
                errors.push(format!("query: Invalid value: {shown}: cannot specify file with options"));
            } else if system_logs::resolve(root, file).is_none() {
                let cause = format!("statat {file}: no such file or directory");
                errors.push(format!("query: Invalid value: {shown}: {cause}"));
            }
        }
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since > until
        {
            errors.push(format!("untilTime: Invalid value: \"{until}\": must be after `sinceTime`"));
        }
        if let Some(boot) = self.boot.filter(|boot| *boot > 0) {
            errors.push(format!("boot: Invalid value: {boot}: must be less than 1"));
        }
        if let Some(lines) = self.lines.filter(|lines| !(0..=MOST_LINES).contains(lines)) {
            let cause = format!("must be between 0 and {MOST_LINES}, inclusive");
            errors.push(format!("tailLines: Invalid value: {lines}: {cause}"));
        }
    }

    /// More than names was given.
    pub fn has_options(&self) -> bool {
        self.since.is_some()
            || self.until.is_some()
            || self.lines.is_some()
            || self.boot.is_some()
            || !self.pattern.is_empty()
    }

    /// The arguments of journalctl.
    pub fn arguments(&self, services: &[String]) -> Vec<String> {
        let time = |time: Timestamp| time.strftime("%Y-%-m-%-d %-H:%-M:%-S").to_string();
        let mut arguments = vec!["--utc".to_owned(), "--no-pager".to_owned()];
        arguments.extend(self.since.map(|since| format!("--since={}", time(since))));
        arguments.extend(self.until.map(|until| format!("--until={}", time(until))));
        if let Some(lines) = self.lines {
            arguments.extend(["--pager-end".to_owned(), format!("--lines={lines}")]);
        }
        arguments.extend(services.iter().map(|service| format!("--unit={service}")));
        if !self.pattern.is_empty() {
            arguments.extend([format!("--grep={}", self.pattern), "--case-sensitive=false".to_owned()]);
        }
        if let Some(boot) = self.boot {
            arguments.extend(["--boot".to_owned(), boot.to_string()]);
        }
        arguments.push("--output=short-precise".into());
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_the_journal() {
        let query = "query=kubelet&sinceTime=2026-01-02T03:04:05Z&tailLines=10&pattern=err&boot=-1";
        let parsed = Query::parse(query, Path::new("/nowhere")).unwrap();
        assert_eq!(
            parsed.arguments(&parsed.services),
            [
                "--utc",
                "--no-pager",
                "--since=2026-1-2 3:4:5",
                "--pager-end",
                "--lines=10",
                "--unit=kubelet",
                "--grep=err",
                "--case-sensitive=false",
                "--boot",
                "-1",
                "--output=short-precise"
            ]
        );
    }

    #[test]
    fn refusals() {
        let check = |query: &str, expected: &str| {
            assert_eq!(Query::parse(query, Path::new("/nowhere")).unwrap_err().to_string(), expected);
        };
        check("query=+", "unit: Invalid value: [\" \"]: unit cannot be empty");
        check("query=a%3Bb", "query: Invalid value: \"a;b\": input contains unsupported characters");
        check("query=a&boot=1", "boot: Invalid value: 1: must be less than 1");
        check("query=a&sinceTime=x", "sinceTime: Invalid value: \"x\": invalid time format");
        check(
            "query=a&tailLines=-1",
            "tailLines: Invalid value: -1: must be between 0 and 100000, inclusive",
        );
        check("query=/a&query=b", "query: Invalid value: [\"/a\"]: cannot specify a file and service");
    }
}
