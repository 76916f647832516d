//! Selectors of classes and claims, compiled once.

use std::collections::HashMap;
use std::sync::Arc;

use api_types::resource::v1::{Device, DeviceSelector};
use expressions::device::Selector;
use parking_lot::Mutex;

/// Expressions that are remembered; a cluster has a handful.
const MOST: usize = 256;

/// Compiled expressions, or why they are none.
#[derive(Debug, Default)]
pub struct Selectors(Mutex<HashMap<String, Arc<Result<Selector, String>>>>);

impl Selectors {
    fn get(&self, expression: &str) -> Arc<Result<Selector, String>> {
        let mut all = self.0.lock();
        if let Some(known) = all.get(expression) {
            return known.clone();
        }
        if all.len() >= MOST {
            all.clear();
        }
        let compiled = Arc::new(Selector::compile(expression).map_err(|error| error.to_string()));
        all.insert(expression.to_owned(), compiled.clone());
        compiled
    }

    /// Whether all selectors pick the device. `whose` begins the message when one fails.
    ///
    /// # Errors
    /// In upstream's words.
    pub fn all_match(
        &self,
        whose: impl Fn() -> String,
        selectors: &[DeviceSelector],
        driver: &str,
        device: &Device,
    ) -> Result<bool, String> {
        for (place, selector) in selectors.iter().enumerate() {
            let expression = selector.cel.as_ref().map_or("", |cel| &cel.expression);
            let failed = |what: &str, error: &str| {
                format!("{}: selector #{place}: CEL {what} error: {error}", whose())
            };
            let compiled = self.get(expression);
            let compiled = compiled.as_ref().as_ref().map_err(|error| failed("compile", error))?;
            if !compiled.matches(driver, device).map_err(|error| failed("runtime", &error))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
