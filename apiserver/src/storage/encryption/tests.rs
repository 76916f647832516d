//! Values sealed and opened, keys and providers changed in between, values that were tampered with.

use super::*;

const KEY: &[u8] = b"/registry/secrets/default/s";
/// 32 bytes.
const SECRET: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const OTHER: &str = "YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI=";

fn encryption(providers: &str) -> Encryption {
    let text = format!(
        "{{kind: EncryptionConfiguration, apiVersion: apiserver.config.k8s.io/v1, resources: [{{resources: [secrets, \
         deployments.apps, '*.example.org'], providers: [{providers}]}}]}}"
    );
    Encryption::parse(&text, "/registry").unwrap_or_else(|error| panic!("{error}"))
}

fn keys(provider: &str, name: &str, secret: &str) -> String {
    format!("{{{provider}: {{keys: [{{name: {name}, secret: {secret}}}]}}}}")
}

#[test]
fn what_is_sealed_can_be_opened_and_read_by_nobody_else() {
    for (provider, overhead) in [("aesgcm", 28), ("aescbc", 16), ("secretbox", 40)] {
        let own = encryption(&format!("{}, {{identity: {{}}}}", keys(provider, "k1", SECRET)));
        for value in [&b"hello"[..], b"", &[7; 4096]] {
            let sealed = own.seal(KEY, value).expect("sealed");
            let prefix = format!("k8s:enc:{provider}:v1:k1:");
            assert!(sealed.starts_with(prefix.as_bytes()));
            assert!(sealed.len() >= prefix.len() + overhead + value.len());
            assert_eq!(own.open(KEY, &sealed).as_deref(), Ok(value));
            let other = encryption(&keys(provider, "k1", OTHER));
            assert!(other.open(KEY, &sealed).is_err() || provider == "aescbc");
            assert_eq!(encryption("{identity: {}}").open(KEY, &sealed), Err(SealError::Prefix));
        }
        // What was written before encryption was turned on.
        assert_eq!(own.open(KEY, b"plain").as_deref(), Ok(&b"plain"[..]));
        assert!(own.open(KEY, format!("k8s:enc:{provider}:v1:k2:x").as_bytes()).is_err());
    }
}

#[test]
fn authenticated_values_cannot_be_changed_nor_gcms_moved() {
    for provider in ["aesgcm", "secretbox"] {
        let own = encryption(&keys(provider, "k", SECRET));
        let mut sealed = own.seal(KEY, b"hello").expect("sealed");
        if let Some(last) = sealed.last_mut() {
            *last ^= 1;
        }
        assert_eq!(own.open(KEY, &sealed), Err(SealError::Broken));
    }
    let own = encryption(&keys("aesgcm", "k", SECRET));
    let sealed = own.seal(KEY, b"hello").expect("sealed");
    assert_eq!(own.open(b"/registry/secrets/default/t", &sealed), Err(SealError::Broken));
}

#[test]
fn keys_are_rotated_by_putting_the_new_one_first() {
    let old = encryption(&keys("secretbox", "old", SECRET));
    let sealed = old.seal(KEY, b"hello").expect("sealed");
    let both =
        format!("{{secretbox: {{keys: [{{name: new, secret: {OTHER}}}, {{name: old, secret: {SECRET}}}]}}}}");
    let both = encryption(&both);
    assert_eq!(both.open(KEY, &sealed).as_deref(), Ok(&b"hello"[..]));
    assert!(both.seal(KEY, b"").expect("sealed").starts_with(b"k8s:enc:secretbox:v1:new:"));
}

#[test]
fn only_the_named_resources_are_sealed() {
    let own = encryption(&keys("aescbc", "k", SECRET));
    let sealed = |key: &str| own.seal(key.as_bytes(), b"x").expect("sealed").starts_with(b"k8s:enc:");
    assert!(sealed("/registry/secrets/default/s"));
    assert!(sealed("/registry/deployments/default/d"));
    assert!(sealed("/registry/example.org/things/default/t"));
    assert!(!sealed("/registry/configmaps/default/c"));
    assert!(!sealed("/registry/other.org/things/default/t"));
    assert!(!sealed("/registry/ranges/serviceips"));
}

#[test]
fn what_is_refused() {
    let check = |provider: &str, text: &str| {
        let file = format!(
            "{{kind: EncryptionConfiguration, apiVersion: apiserver.config.k8s.io/v1, resources: [{{resources: \
             [secrets], providers: [{provider}]}}]}}"
        );
        let error = Encryption::parse(&file, "/registry").err().expect("refused").to_string();
        assert_eq!(error, format!("invalid configuration: resources[0].providers[0]{text}"));
    };
    check(
        "{kms: {apiVersion: v2, name: x, endpoint: 'unix:///x'}}",
        ".kms: Forbidden: kms providers are not supported by this server",
    );
    check(
        &keys("secretbox", "k", "c2hvcnQ="),
        ".secretbox.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 5, expected \
         one of [32]",
    );
    check(
        "{}",
        ": Required value: provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, \
         Identity",
    );
}
