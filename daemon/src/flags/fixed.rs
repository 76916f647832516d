//! Flags of upstream that there is nothing to set by here, as a table for each daemon ([`super::parse_beside`]).
//! Such a flag may be given with a value that asks for what the daemon does anyway (upstream's default, mostly), so
//! that a unit file which spells its defaults out is taken. Any other value is refused by name.

use clap::{Arg, ArgAction, Command};

use super::{GoDuration, gates};

/// Which values a flag may have.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// Any: what it sets is not there, or it decides nothing that can be seen from outside.
    Any,
    /// One of these; durations count by their length.
    Only(&'static [&'static str]),
    /// Upstream's feature gates, each at its default.
    Gates,
    /// What this accepts; the error says why not.
    What(fn(&str) -> Result<(), String>),
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    pub name: &'static str,
    /// Stands alone for true.
    pub switch: bool,
    pub takes: Takes,
}

impl Fixed {
    pub const fn text(name: &'static str, takes: Takes) -> Self {
        Self { name, switch: false, takes }
    }

    pub const fn switch(name: &'static str, takes: Takes) -> Self {
        Self { name, switch: true, takes }
    }

    fn arg(self) -> Arg {
        let takes = self.takes;
        let arg = Arg::new(self.name)
            .long(self.name)
            .help_heading("Flags with nothing to set")
            .help(self.help())
            .value_parser(move |value: &str| check(takes, value))
            .action(ArgAction::Append);
        match self.switch {
            true => arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("bool"),
            false => arg.value_name("value").allow_hyphen_values(true),
        }
    }

    fn help(self) -> String {
        match self.takes {
            Takes::Any => "Has no effect".to_owned(),
            Takes::What(_) => "Only what is there anyway".to_owned(),
            Takes::Gates => "Pairs of a feature gate and its default: none can be changed".to_owned(),
            Takes::Only(values) => format!("Only {}", told(values)),
        }
    }
}

fn told(values: &[&str]) -> String {
    values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(" or ")
}

fn check(takes: Takes, value: &str) -> Result<String, String> {
    let same = |known: &&str| {
        let length = |text: &str| text.parse::<GoDuration>().ok().map(|d| d.0);
        let truth = |text: &str| super::parse_bool(text).ok();
        **known == *value
            || length(known).is_some_and(|of| Some(of) == length(value))
            || truth(known).is_some_and(|of| Some(of) == truth(value))
    };
    match takes {
        Takes::Any => {}
        Takes::Only(values) if values.iter().any(same) => {}
        Takes::Only(values) => return Err(format!("not supported, only {}", told(values))),
        Takes::What(check) => check(value)?,
        Takes::Gates => gates::held_to_defaults(value).map_err(|e| e.to_string())?,
    }
    Ok(value.to_owned())
}

/// The command with these flags beside its own.
pub(super) fn added(command: Command, fixed: &[Fixed]) -> Command {
    command.args(fixed.iter().map(|flag| flag.arg()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &str) -> Result<(), String> {
        const TABLE: &[Fixed] = &[
            Fixed::text("sync-period", Takes::Only(&["1m0s"])),
            Fixed::text("sni", Takes::Only(&[""])),
            Fixed::switch("http2-off", Takes::Only(&["false"])),
            Fixed::text("dir", Takes::Any),
            Fixed::text("feature-gates", Takes::Gates),
        ];
        let command = added(Command::new("t"), TABLE);
        command.try_get_matches_from(words.split(' ')).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_taken_and_others_refused_by_name() {
        for taken in [
            "t --sync-period=60s --sync-period 1m",
            "t --sni= --http2-off=F --dir=/x --dir=/y",
            "t --feature-gates=AllAlpha=false,SidecarContainers=true --feature-gates=MutableCSINodeAllocatableCount=true",
        ] {
            given(taken).unwrap();
        }
        for (refused, words) in [
            ("t --sync-period=5s", "'5s' for '--sync-period <value>': not supported, only \"1m0s\""),
            ("t --sni=a,b", "--sni"),
            ("t --http2-off", "'true' for '--http2-off[=<bool>]': not supported, only \"false\""),
            ("t --feature-gates=Nope=true", "unrecognized feature gate: Nope"),
            ("t --feature-gates=SidecarContainers=false", "feature is locked to true"),
            ("t --feature-gates=AllAlpha=true", "is false in this build"),
        ] {
            let error = given(refused).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
