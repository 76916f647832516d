//! Selectors of devices (KEP-4381): what the apiserver checks when they are written, and the scheduler asks of devices.
//!
//! They see `device`: its driver, whether it can be allocated more than once (KEP-5075), and its attributes and
//! capacities by domain and name. A name without a domain belongs to the driver's; a domain that a device knows
//! nothing of is an empty map, so that a selector need not ask for it first.

use super::library::semver::Semver;
use super::types::QUANTITY;
use super::value::{Key, Text};
use super::{Activation, CompileError, Decl, Env, Program, Type, Value};
use api_types::resource::v1::{Device, DeviceAttribute};
use indexmap::IndexMap;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Cost that a selector may have at most.
const MOST_COST: u64 = 1_000_000;
/// Attributes and capacities of a device.
const MOST_PARTS: u64 = 32;
const LONGEST_DRIVER: u64 = 63;
const LONGEST_ATTRIBUTE: u64 = 64;

/// What selectors see: `device`.
static ENV: LazyLock<Env> = LazyLock::new(|| {
    let by_name = |of: Decl| Decl::map(Decl::map(of, Some(MOST_PARTS)), Some(MOST_PARTS));
    let fields = [
        ("driver", Decl::sized(Type::String, 2, LONGEST_DRIVER)),
        ("allowMultipleAllocations", Decl::scalar(Type::Bool, 4)),
        // By domain, then by name. What an attribute is only its device knows.
        ("attributes", by_name(Decl::sized(Type::Any, 2, LONGEST_ATTRIBUTE))),
        ("capacity", by_name(Decl::sized(QUANTITY, 2, 0))),
    ];
    let fields: BTreeMap<String, Arc<Decl>> =
        fields.into_iter().map(|(name, decl)| (name.to_owned(), Arc::new(decl))).collect();
    let device = Arc::new(Decl::object("kubernetes.DRADevice", fields, 2));
    Env::default().with_decl("device", &device, false).with_binds()
});

/// A compiled selector.
#[derive(Debug)]
pub struct Selector(Program);

/// Why an expression is no selector, in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("compilation failed: {0}")]
    Compile(CompileError),
    /// With the type that it gives.
    #[error("must evaluate to bool or the unknown type, not {0}")]
    NoBool(String),
}

impl Selector {
    /// Compiles an expression, whatever it may cost.
    ///
    /// # Errors
    /// What `SelectorError` says.
    pub fn compile(expression: &str) -> Result<Self, SelectorError> {
        let program = ENV.compile(expression).map_err(SelectorError::Compile)?;
        match program.ty() {
            Type::Bool | Type::Any => Ok(Self(program)),
            ty => Err(SelectorError::NoBool(ty.to_string().replace("any", "google.protobuf.Any"))),
        }
    }

    /// Whether it may cost more than a selector may.
    pub fn is_costly(&self) -> bool {
        self.0.estimated_cost() > MOST_COST
    }

    /// Whether it picks a device of a driver.
    ///
    /// # Errors
    /// In upstream's words, when an attribute has no value that is known, the evaluation fails or gives no bool.
    pub fn matches(&self, driver: &str, device: &Device) -> Result<bool, String> {
        let activation = Activation::new(vec![seen(driver, device)?], &[]);
        match self.0.eval(&activation).0.map_err(|error| error.to_string())? {
            Value::Bool(picks) => Ok(picks),
            other => Err(no_bool(&other)),
        }
    }
}

fn seen<'a>(driver: &'a str, device: &'a Device) -> Result<Value<'a>, String> {
    let attributes = device.attributes.iter().map(|(name, attribute)| {
        attribute_value(attribute)
            .map(|value| (name, value))
            .map_err(|error| format!("attribute {name}: {error}"))
    });
    let attributes: Vec<(&String, Value<'a>)> = attributes.collect::<Result<_, _>>()?;
    let capacity = device.capacity.iter().map(|(name, of)| (name, Value::Quantity(of.value)));
    let fields = [
        ("driver", Value::String(Text::Borrowed(driver))),
        ("allowMultipleAllocations", Value::Bool(device.allow_multiple_allocations == Some(true))),
        ("attributes", by_domain(driver, attributes.into_iter())),
        ("capacity", by_domain(driver, capacity)),
    ];
    let fields = fields.into_iter().map(|(name, value)| (Key::String(name.into()), value));
    Ok(Value::Map(Arc::new(fields.collect())))
}

fn by_domain<'a>(driver: &'a str, values: impl Iterator<Item = (&'a String, Value<'a>)>) -> Value<'a> {
    let mut domains: IndexMap<&str, IndexMap<Key, Value<'a>>> = IndexMap::new();
    for (name, value) in values {
        let (domain, id) = name.split_once('/').unwrap_or((driver, name));
        domains.entry(domain).or_default().insert(Key::String(id.into()), value);
    }
    let domains = domains.into_iter().map(|(domain, of)| (Key::String(domain.into()), Value::Map(of.into())));
    Value::Domains(Arc::new(domains.collect()))
}

fn attribute_value(attribute: &DeviceAttribute) -> Result<Value<'_>, String> {
    if let Some(number) = attribute.int {
        return Ok(Value::Int(number));
    }
    if let Some(is) = attribute.bool {
        return Ok(Value::Bool(is));
    }
    if let Some(text) = &attribute.string {
        return Ok(Value::String(Text::Borrowed(text)));
    }
    let Some(version) = &attribute.version else { return Err("unsupported attribute value".into()) };
    let version = Semver::parse(version, false)
        .ok_or_else(|| "parse semantic version: No Major.Minor.Patch elements found".to_owned())?;
    Ok(Value::Semver(Arc::new(version)))
}

fn no_bool(value: &Value<'_>) -> String {
    let name = value.type_name();
    let why = match value {
        Value::String(_) => "unsupported native conversion from string to 'bool'".to_owned(),
        Value::Int(_) => "unsupported type conversion from 'int' to bool".to_owned(),
        Value::Semver(_) => "type conversion error from 'Semver' to 'bool'".to_owned(),
        _ => format!("type conversion error from {name} to 'bool'"),
    };
    format!("CEL result of type {name} could not be converted to bool: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::Quantity;
    use api_types::resource::v1::DeviceCapacity;

    fn device() -> Device {
        let attribute = |change: fn(&mut DeviceAttribute)| {
            let mut made = DeviceAttribute::default();
            change(&mut made);
            made
        };
        let capacity = |text: &str| DeviceCapacity {
            value: Quantity::parse(text).expect("a quantity"),
            ..DeviceCapacity::default()
        };
        Device {
            name: "gpu-0".into(),
            attributes: [
                ("model".to_owned(), attribute(|a| a.string = Some("a100".into()))),
                ("slots".to_owned(), attribute(|a| a.int = Some(4))),
                ("fast".to_owned(), attribute(|a| a.bool = Some(true))),
                ("dra.example.com/version".to_owned(), attribute(|a| a.version = Some("1.10.0".into()))),
                ("other.example.com/rack".to_owned(), attribute(|a| a.string = Some("r1".into()))),
            ]
            .into(),
            capacity: [("memory".to_owned(), capacity("40Gi"))].into(),
            ..Device::default()
        }
    }

    #[track_caller]
    fn check(expression: &str, expected: Result<bool, &str>) {
        let selector = Selector::compile(expression).expect(expression);
        let found = selector.matches("dra.example.com", &device());
        assert_eq!(found.as_ref().copied().map_err(String::as_str), expected, "{expression}");
    }

    #[test]
    fn what_a_selector_sees() {
        check(r#"device.driver == "dra.example.com""#, Ok(true));
        check(r#"device.attributes["dra.example.com"].model == "a100""#, Ok(true));
        check(r#"device.attributes["dra.example.com"].slots > 4"#, Ok(false));
        check(r#"device.attributes["dra.example.com"].fast"#, Ok(true));
        check(r#"device.attributes["other.example.com"].rack in ["r1", "r2"]"#, Ok(true));
        let version = r#"device.attributes["dra.example.com"].version.compareTo(semver("1.9.0")) > 0"#;
        check(version, Ok(true));
        let memory = r#"device.capacity["dra.example.com"].memory.compareTo(quantity("41Gi")) >= 0"#;
        check(memory, Ok(false));
        let bound = r#"cel.bind(dra, device.attributes["dra.example.com"], dra.fast && dra.slots == 4)"#;
        check(bound, Ok(true));
        check("device.allowMultipleAllocations", Ok(false));
    }

    #[test]
    fn a_domain_that_the_device_does_not_know_is_empty() {
        check(r#"has(device.attributes["none.example.com"].model)"#, Ok(false));
        check(r#"device.capacity["none.example.com"].size() == 0"#, Ok(true));
        check(r#""none.example.com" in device.attributes"#, Ok(false));
        check(r#""other.example.com" in device.attributes"#, Ok(true));
        check(r#"device.attributes.size() == 2"#, Ok(true));
        check(r#"device.attributes["none.example.com"].model == "x""#, Err("no such key: model"));
    }

    #[test]
    fn what_gives_no_bool_fails() {
        let text = r#"device.attributes["dra.example.com"].model"#;
        check(
            text,
            Err(
                "CEL result of type string could not be converted to bool: unsupported native conversion from string to 'bool'",
            ),
        );
    }
}
