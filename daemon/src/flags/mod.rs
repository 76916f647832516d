//! The command line as upstream's users know it, on top of clap's derive.
//!
//! [`parse`] gives every daemon pflag's habits: `--flag=value` and `--flag value`, booleans with and
//! without a value (`--leader-elect`, `--leader-elect=false`), `_` for `-` in names, the last of a
//! repeated flag wins, `--version`, help grouped in sections. A section is clap's `next_help_heading`;
//! a plain `#[arg(long)] on: bool` becomes a Go boolean by itself. An unknown flag is an error that
//! names it, exit code 1. Shared groups of flags live where they take effect: [`LoggingFlags`] here,
//! [`crate::serve::ServingFlags`] with the server.

mod duration;
mod feature_gates;
mod fixed;
mod gates;
mod key_values;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::OnceLock;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches};

pub use duration::{DurationError, GoDuration};
pub use feature_gates::{Feature, FeatureGateError, FeatureGates, Stage};
pub use fixed::{Fixed, Takes};
pub use gates::{FixedGateError, all_held_to_defaults, held_to_defaults};
pub use key_values::{KeyValues, KeyValuesError};

use crate::{logging, version};

/// `-v`, `--logging-format`: part of every daemon's flags (`#[command(flatten)]`).
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Logs flags")]
pub struct LoggingFlags {
    /// Number for the log level verbosity
    #[arg(short = 'v', long = "v", value_name = "Level", default_value_t = 0)]
    pub verbosity: u8,
    /// Sets the log format
    #[arg(long = "logging-format", value_name = "string", default_value = "text")]
    pub format: logging::Format,
}

impl LoggingFlags {
    /// Starts the process's logger.
    pub fn init(&self) {
        logging::init(self.format, self.verbosity);
    }
}

/// Every flag of this process with its value, as /flagz shows them. Filled by [`parse`].
static PARSED: OnceLock<BTreeMap<String, String>> = OnceLock::new();

/// Every flag of this process with its value, defaults included; empty before [`parse`].
pub fn parsed() -> &'static BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    PARSED.get().unwrap_or(&NONE)
}

/// The flags that the command line of this process names.
static GIVEN: OnceLock<BTreeSet<String>> = OnceLock::new();

/// Whether the command line of this process names a flag, at whatever value; false before [`parse`].
pub fn is_given(name: &str) -> bool {
    GIVEN.get().is_some_and(|given| given.contains(name))
}

fn given(command: &Command, matches: &ArgMatches) -> BTreeSet<String> {
    let named = command.get_arguments().filter(|arg| {
        let source = matches
            .try_get_raw(arg.get_id().as_str())
            .is_ok()
            .then(|| matches.value_source(arg.get_id().as_str()));
        source.flatten() == Some(ValueSource::CommandLine)
    });
    named.filter_map(|arg| arg.get_long().map(str::to_owned)).collect()
}

/// Flags and their values as Go's flag sets print them: lists in brackets, what is not set is empty.
fn values(command: &Command, matches: &ArgMatches) -> BTreeMap<String, String> {
    let value = |arg: &Arg| {
        let raw = matches.try_get_raw(arg.get_id().as_str()).ok().flatten();
        let texts: Vec<String> =
            raw.into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect();
        let is_list = matches!(arg.get_action(), ArgAction::Append) || arg.get_value_delimiter().is_some();
        if is_list { format!("[{}]", texts.join(",")) } else { texts.concat() }
    };
    let named = command.get_arguments().filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version"));
    named.filter_map(|arg| Some((arg.get_long()?.to_owned(), value(arg)))).collect()
}

/// Parses this process's command line. Prints and exits on `--help`, `--version` and errors.
pub fn parse<T: CommandFactory + FromArgMatches>() -> T {
    parse_beside::<T>(&[])
}

/// [`parse`] of a daemon that has flags with nothing to set beside those of `T`.
pub fn parse_beside<T: CommandFactory + FromArgMatches>(fixed: &[Fixed]) -> T {
    match try_parse_beside::<T, _>(std::env::args_os(), fixed) {
        Ok(Parsed::Flags(flags)) => flags,
        Ok(Parsed::Version(text)) => {
            println!("{text}");
            std::process::exit(0);
        }
        Err(error) => {
            // Help is an "error" that goes to stdout and succeeds. A closed pipe is no reason to panic.
            let _ = error.print();
            std::process::exit(i32::from(error.use_stderr()));
        }
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed<T> {
    Flags(T),
    /// `--version`: this text.
    Version(String),
}

/// [`parse`] without the exits, on the given words; the first one is the program.
///
/// # Errors
/// clap's, which print themselves; `--help` is one of them.
pub fn try_parse_from<T, I>(words: I) -> Result<Parsed<T>, clap::Error>
where
    T: CommandFactory + FromArgMatches,
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    try_parse_beside(words, &[])
}

/// [`parse_beside`] without the exits, as [`try_parse_from`].
///
/// # Errors
/// Likewise.
pub fn try_parse_beside<T, I>(words: I, fixed: &[Fixed]) -> Result<Parsed<T>, clap::Error>
where
    T: CommandFactory + FromArgMatches,
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let words: Vec<OsString> = words.into_iter().map(|w| normalized(w.into())).collect();
    // Before clap: `--version` must not trip over required flags.
    if let Some(text) = version_asked(&words) {
        return Ok(Parsed::Version(text));
    }
    let mut command = fixed::added(pflag_habits(T::command()), fixed);
    let matches = command.try_get_matches_from_mut(words)?;
    let _ = PARSED.set(values(&command, &matches));
    let _ = GIVEN.set(given(&command, &matches));
    T::from_arg_matches(&matches).map(Parsed::Flags).map_err(|e| e.format(&mut command))
}

/// `--bind_address=x` → `--bind-address=x`, as upstream's flag sets do.
fn normalized(word: OsString) -> OsString {
    let Some(text) = word.to_str().filter(|w| w.starts_with("--") && w.contains('_')) else { return word };
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let name = name.replace('_', "-");
    value.map_or(name.clone(), |v| format!("{name}={v}")).into()
}

fn version_asked(words: &[OsString]) -> Option<String> {
    let flag = words
        .iter()
        .skip(1)
        .take_while(|w| *w != "--")
        .find_map(|w| w.to_str()?.strip_prefix("--version"))?;
    match flag {
        "" | "=true" => Some(version::line()),
        "=raw" => Some(format!("{:#?}", version::info())),
        _ => None,
    }
}

fn pflag_habits(command: Command) -> Command {
    command
        .args_override_self(true)
        .disable_version_flag(true)
        .next_help_heading("Global flags")
        .disable_help_flag(true)
        .arg(Arg::new("help").short('h').long("help").action(ArgAction::Help).help("Show this help and exit"))
        .arg(
            Arg::new("version")
                .long("version")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_parser(["true", "false", "raw"])
                .value_name("version")
                .help("--version, --version=raw prints version information and quits"),
        )
        .mut_args(|arg| match arg.get_action() {
            ArgAction::SetTrue => go_boolean(arg),
            // pflag takes the next word as the value, whatever it looks like.
            ArgAction::Set | ArgAction::Append if !arg.is_require_equals_set() => {
                arg.allow_hyphen_values(true)
            }
            _ => arg,
        })
}

fn go_boolean(arg: Arg) -> Arg {
    let has_default = !arg.get_default_values().is_empty();
    let arg = arg
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_parser(parse_bool)
        .hide_possible_values(true)
        .value_name("bool");
    if has_default { arg } else { arg.default_value("false") }
}

/// Go's `strconv.ParseBool`.
///
/// # Errors
/// Go's text, for anything but 1, t, T, TRUE, true, True, 0, f, F, FALSE, false, False.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// A daemon for the test.
    #[derive(Parser, Debug)]
    #[command(name = "kube-test")]
    struct Flags {
        /// Where to listen
        #[arg(long, default_value = "0.0.0.0", help_heading = "Secure serving flags")]
        bind_address: String,
        /// Elect a leader
        #[arg(long, default_value_t = true, help_heading = "Leader election flags")]
        leader_elect: bool,
        /// Profile
        #[arg(long)]
        profiling: bool,
        #[arg(long, required = true)]
        config: String,
        #[arg(long, default_value_t = 0)]
        oom_score_adj: i32,
        #[command(flatten)]
        logging: LoggingFlags,
    }

    fn flags(words: &str) -> Flags {
        match try_parse_from(words.split(' ')).unwrap_or_else(|e: clap::Error| panic!("{e}")) {
            Parsed::Flags(f) => f,
            Parsed::Version(v) => panic!("{v}"),
        }
    }

    #[test]
    fn pflag_habits_hold() {
        let f = flags("t --config a --config=b --bind_address=::1 -v=4 --oom-score-adj -999");
        assert_eq!((f.config.as_str(), f.bind_address.as_str()), ("b", "::1"));
        assert_eq!((f.logging.verbosity, f.oom_score_adj), (4, -999));
        assert!(f.leader_elect && !f.profiling);
    }

    #[test]
    fn flags_are_told_with_their_values() {
        let mut command = pflag_habits(Flags::command());
        let words = "t --config a --config=b -v=4 --profiling".split(' ');
        let matches = command.try_get_matches_from_mut(words).unwrap();
        assert_eq!(given(&command, &matches), ["config", "profiling", "v"].map(str::to_owned).into());
        let told = values(&command, &matches);
        let value = |name: &str| told.get(name).map(String::as_str);
        assert_eq!((value("config"), value("v"), value("profiling")), (Some("b"), Some("4"), Some("true")));
        assert_eq!((value("bind-address"), value("help")), (Some("0.0.0.0"), None));
    }

    #[test]
    fn booleans_take_a_value_or_none() {
        let f = flags("t --config a --leader-elect=false --profiling");
        assert!(!f.leader_elect && f.profiling);
        assert!(flags("t --config a --profiling=T").profiling);
    }

    #[test]
    fn version_needs_no_other_flag() {
        match try_parse_from::<Flags, _>(["t", "--version"]).unwrap() {
            Parsed::Version(v) => assert_eq!(v, version::line()),
            Parsed::Flags(f) => panic!("{f:?}"),
        }
    }

    #[test]
    fn unknown_flags_are_named() {
        let error = try_parse_from::<Flags, _>(["t", "--config=a", "--no-such"]).unwrap_err();
        assert!(error.to_string().contains("--no-such"), "{error}");
    }

    #[test]
    fn help_is_grouped_in_sections() {
        let help = try_parse_from::<Flags, _>(["t", "--help"]).unwrap_err().to_string();
        for section in ["Secure serving flags:", "Leader election flags:", "Logs flags:", "Global flags:"] {
            assert!(help.contains(section), "{section} missing in\n{help}");
        }
    }
}
