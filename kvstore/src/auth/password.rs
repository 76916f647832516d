//! Passwords: bcrypt, as etcd has it.

use crate::error::Error;

/// Costs that bcrypt knows.
pub const COSTS: std::ops::RangeInclusive<u32> = 4..=31;
pub const DEFAULT_COST: u32 = 10;
/// What bcrypt looks at: a longer password would be cut.
const LONGEST: usize = 72;

/// Hashes a password; takes long by design (tens of milliseconds at the default cost).
pub fn hash(password: &str, cost: u32) -> Result<String, Error> {
    if password.len() > LONGEST {
        return Err(Error::PasswordTooLong);
    }
    let hashed =
        bcrypt::hash_with_result(password, cost).map_err(|error| Error::Internal(error.to_string()))?;
    // COMPAT: Go's bcrypt writes 2a, and it is the same from 2b on.
    Ok(hashed.format_for_version(bcrypt::Version::TwoA))
}

/// Whether a password is the one that was hashed; takes as long.
pub fn matches(password: &str, hashed: &[u8]) -> bool {
    let Ok(hashed) = std::str::from_utf8(hashed) else { return false };
    password.len() <= LONGEST && bcrypt::verify(password, hashed).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_its_hash_alone() {
        let hashed = hash("secret", 4).unwrap();
        assert!(hashed.starts_with("$2a$04$"), "{hashed}");
        assert!(matches("secret", hashed.as_bytes()));
        assert!(!matches("Secret", hashed.as_bytes()));
        assert!(!matches("", b""));
        // Made by golang.org/x/crypto/bcrypt's own test.
        let go = b"$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga";
        assert!(matches("allmine", go));
        assert_eq!(hash(&"x".repeat(73), 4), Err(Error::PasswordTooLong));
    }
}
