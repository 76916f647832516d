//! Sets of completion indexes, written as the status has them: `1,3-5,7`.

use std::fmt;

/// Ranges in order, both ends included, that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads the text of a status or policy; what is not below `completions` is left out, and so is
    /// what cannot be read.
    pub(super) fn parse(text: &str, completions: i32) -> Self {
        let mut all = Self::default();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) else { continue };
            if first >= completions {
                break;
            }
            all.add(first, last.min(completions - 1));
        }
        all
    }

    /// Of single indexes, in any order.
    pub(super) fn of(indexes: impl IntoIterator<Item = i32>) -> Self {
        let mut indexes: Vec<_> = indexes.into_iter().collect();
        indexes.sort_unstable();
        let mut all = Self::default();
        for index in indexes {
            all.add(index, index);
        }
        all
    }

    /// Adds a range that does not begin before the last one.
    fn add(&mut self, first: i32, last: i32) {
        match self.0.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => self.0.push((first, last)),
        }
    }

    pub(super) fn with(&self, other: &Self) -> Self {
        let mut ranges: Vec<_> = self.0.iter().chain(&other.0).copied().collect();
        ranges.sort_unstable();
        let mut all = Self::default();
        for (first, last) in ranges {
            all.add(first, last);
        }
        all
    }

    pub(super) fn has(&self, index: i32) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&index))
    }

    /// How many there are.
    pub(super) fn count(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many are in both.
    pub(super) fn common(&self, other: &Self) -> i32 {
        let overlap = |a: &(i32, i32), b: &(i32, i32)| (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
        self.0.iter().map(|a| other.0.iter().map(|b| overlap(a, b)).sum::<i32>()).sum()
    }

    /// The lowest that are not in the set, below `completions`.
    pub(super) fn absent(&self, completions: i32) -> impl Iterator<Item = i32> + '_ {
        (0..completions).filter(|index| !self.has(*index))
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (first, last)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written() {
        for text in ["", "0", "0,1", "1,3-5,7", "0-9"] {
            assert_eq!(Indexes::parse(text, 10).to_string(), text);
        }
        assert_eq!(Indexes::parse("1,x,3-12", 10).to_string(), "1,3-9");
        assert_eq!(Indexes::parse("1,2,3", 10).to_string(), "1-3");
        assert_eq!(Indexes::of([5, 3, 4, 1]).to_string(), "1,3-5");
    }

    #[test]
    fn sets_are_merged_counted_and_compared() {
        let (a, b) = (Indexes::parse("0-3,8", 20), Indexes::parse("2-5,9", 20));
        assert_eq!(a.with(&b).to_string(), "0-5,8,9");
        assert_eq!((a.count(), a.common(&b)), (5, 2));
        assert!(a.has(2) && !a.has(4));
        assert_eq!(a.absent(7).collect::<Vec<_>>(), [4, 5, 6]);
    }
}
