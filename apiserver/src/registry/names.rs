//! Names made by the server: `generateName` and five letters that read as no word.

/// Upstream's alphabet: no vowels, nothing that looks like another.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;
/// What is left of the prefix so that the whole fits into a label.
const LONGEST_PREFIX: usize = 63 - SUFFIX;

/// A name that begins with `prefix`, cut where the whole would be too long.
pub fn generated(prefix: &str) -> String {
    let mut cut = prefix.len().min(LONGEST_PREFIX);
    while !prefix.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut name = prefix[..cut].to_owned();
    for _ in 0..SUFFIX {
        name.push(char::from(ALPHABET[fastrand::usize(..ALPHABET.len())]));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_prefixes_are_cut() {
        let name = generated(&"a".repeat(80));
        assert_eq!(name.len(), 63);
        assert!(generated("web-").starts_with("web-"));
    }
}
