//! Bearer tokens: none, fixed, from a file that others renew, or from a cell that we renew ourselves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;
use parking_lot::{Mutex, RwLock};

use crate::error::Error;

/// How long a token read from a file is used before it is read again (client-go's period).
const REREAD: Duration = Duration::from_secs(60);

/// Where the bearer token comes from.
#[derive(Clone, Default)]
pub enum TokenSource {
    #[default]
    None,
    Fixed(String),
    /// Read again each minute, and after a 401.
    File(Arc<TokenFile>),
    /// Set by whoever renews it.
    Cell(TokenCell),
}

// Not derived: a token must not reach a log.
impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Fixed(_) => "Fixed",
            Self::File(_) => "File",
            Self::Cell(_) => "Cell",
        })
    }
}

/// A token in a file.
pub struct TokenFile {
    path: PathBuf,
    last: Mutex<Option<(Instant, String)>>,
}

/// A token that its owner replaces while clients use it. Empty means no token yet.
#[derive(Clone, Default)]
pub struct TokenCell(Arc<RwLock<String>>);

impl TokenCell {
    pub fn set(&self, token: String) {
        *self.0.write() = token;
    }
}

impl TokenSource {
    pub fn fixed(token: impl Into<String>) -> Self {
        Self::Fixed(token.into())
    }

    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(Arc::new(TokenFile { path: path.into(), last: Mutex::default() }))
    }

    /// The value of the Authorization header.
    pub(crate) fn header(&self) -> Result<Option<HeaderValue>, Error> {
        let token = match self {
            Self::None => return Ok(None),
            Self::Fixed(token) => token.clone(),
            Self::File(file) => file.token()?,
            Self::Cell(cell) => cell.0.read().clone(),
        };
        if token.is_empty() {
            return Ok(None);
        }
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| Error::Token("it holds characters that a header cannot".into()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Forgets what was read: the server did not take it.
    pub(crate) fn refused(&self) {
        if let Self::File(file) = self {
            *file.last.lock() = None;
        }
    }
}

impl TokenFile {
    fn token(&self) -> Result<String, Error> {
        let mut last = self.last.lock();
        if let Some((read, token)) = &*last
            && read.elapsed() < REREAD
        {
            return Ok(token.clone());
        }
        match std::fs::read_to_string(&self.path) {
            Ok(text) => {
                let token = text.trim().to_owned();
                *last = Some((Instant::now(), token.clone()));
                Ok(token)
            }
            Err(error) => match &*last {
                // A file that is just being replaced: the old token is better than none.
                Some((_, token)) => Ok(token.clone()),
                None => Err(Error::Token(format!("{}: {error}", self.path.display()))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_token_is_read_again() {
        let folder = std::env::temp_dir().join(format!("token-{}", std::process::id()));
        std::fs::write(&folder, "one\n").unwrap();
        let source = TokenSource::file(&folder);
        let header = || source.header().unwrap().unwrap().to_str().unwrap().to_owned();
        assert_eq!(header(), "Bearer one");
        std::fs::write(&folder, "two").unwrap();
        assert_eq!(header(), "Bearer one");
        source.refused();
        assert_eq!(header(), "Bearer two");
        std::fs::remove_file(&folder).unwrap();
    }
}
