//! Answers of a plugin, as long as they hold: by image, by registry, or for all images. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

/// What an answer is kept by when it holds for all images; no image is called so.
const ALL: &str = "<global>";

/// The answers. Times come in from outside.
#[derive(Debug, Default)]
pub struct Kept(HashMap<(String, String), (Value, Instant)>);

/// The registry of an image.
fn registry(image: &str) -> &str {
    image.split('/').next().unwrap_or(image)
}

impl Kept {
    /// What is known for an image, and for a service account where that matters.
    pub fn get(&self, image: &str, account: &str, now: Instant) -> Option<&Value> {
        [image, registry(image), ALL].into_iter().find_map(|key| {
            let (auths, until) = self.0.get(&(key.to_owned(), account.to_owned()))?;
            (now <= *until).then_some(auths)
        })
    }

    /// Keeps an answer, and lets go of those that hold no more.
    ///
    /// # Errors
    /// It does not say for what it holds.
    pub fn put(
        &mut self,
        kind: &str,
        image: &str,
        account: &str,
        life: Duration,
        now: Instant,
        auths: &Value,
    ) -> Result<(), String> {
        let key = match kind {
            "Image" => image,
            "Registry" => registry(image),
            "Global" => ALL,
            other => {
                return Err(format!(
                    "credential provider plugin did not return a valid cacheKeyType: {other}"
                ));
            }
        };
        self.0.retain(|_, (_, until)| now <= *until);
        if !life.is_zero() {
            self.0.insert((key.to_owned(), account.to_owned()), (auths.clone(), now + life));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_hold_for_what_they_say() {
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        let check = |kind: &str, asked: &str, expected: bool| {
            let mut kept = Kept::default();
            kept.put(kind, "r.io/a", "", minute, now, &Value::from(1)).unwrap();
            assert_eq!(kept.get(asked, "", now).is_some(), expected, "{kind} {asked}");
            // Not for one who shows a token.
            assert_eq!(kept.get(asked, "ns/robot", now), None);
        };
        check("Image", "r.io/a", true);
        check("Image", "r.io/b", false);
        check("Registry", "r.io/b", true);
        check("Registry", "s.io/a", false);
        check("Global", "s.io/a", true);
    }

    #[test]
    fn and_as_long() {
        let now = Instant::now();
        let mut kept = Kept::default();
        kept.put("Image", "r.io/a", "", Duration::from_secs(60), now, &Value::from(1)).unwrap();
        let later = now + Duration::from_secs(61);
        assert_eq!(kept.get("r.io/a", "", now + Duration::from_secs(60)), Some(&Value::from(1)));
        assert_eq!(kept.get("r.io/a", "", later), None);
        kept.put("Image", "r.io/b", "", Duration::ZERO, later, &Value::from(2)).unwrap();
        assert!(kept.0.is_empty());
        let refused = "credential provider plugin did not return a valid cacheKeyType: Some";
        assert_eq!(kept.put("Some", "a", "", Duration::ZERO, now, &Value::Null), Err(refused.into()));
    }
}
