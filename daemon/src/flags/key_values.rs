//! `key=value` lists: labels, node labels, reserved resources, eviction thresholds.

use std::collections::BTreeMap;
use std::str::FromStr;

/// `a=1,b=2`; the last of a repeated key wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValues(pub BTreeMap<String, String>);

/// A part without `=`; worded as upstream's map flags word it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed pair, expect string=string")]
pub struct KeyValuesError;

impl FromStr for KeyValues {
    type Err = KeyValuesError;

    fn from_str(text: &str) -> Result<Self, KeyValuesError> {
        let pairs = text.split(',').filter(|part| !part.trim().is_empty()).map(|part| {
            let (key, value) = part.split_once('=').ok_or(KeyValuesError)?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pairs_and_keeps_equals_signs_in_values() {
        let parsed: KeyValues = "a=1, b=x=y,,a=2".parse().unwrap();
        assert_eq!(parsed.0, BTreeMap::from([("a".into(), "2".into()), ("b".into(), "x=y".into())]));
        assert_eq!("".parse::<KeyValues>(), Ok(KeyValues::default()));
        assert_eq!("novalue".parse::<KeyValues>(), Err(KeyValuesError));
    }
}
