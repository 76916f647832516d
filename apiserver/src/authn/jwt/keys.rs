//! JSON Web Keys (RFC 7517) of an issuer, and whether a signature is by one of them (RFC 7515, RFC 7518).

use aws_lc_rs::signature::{
    self, EcdsaVerificationAlgorithm, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// What tokens may be signed with.
pub const ALGORITHMS: [&str; 9] =
    ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// One public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub id: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// The curve, and the point without compression.
    Ec(String, Vec<u8>),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    #[serde(default)]
    kty: String,
    #[serde(default)]
    kid: String,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
}

/// The keys of a set; those of other sorts are passed over.
///
/// # Errors
/// For what is no set.
pub fn parse(text: &[u8]) -> Result<Vec<Key>, String> {
    let set: Set = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    Ok(set.keys.into_iter().filter_map(Key::of).collect())
}

impl Key {
    fn of(member: Member) -> Option<Self> {
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let kind = match member.kty.as_str() {
            "RSA" => {
                let number = |text: &str| {
                    let bytes = bytes(text)?;
                    let first = bytes.iter().position(|byte| *byte != 0)?;
                    Some(bytes[first..].to_vec())
                };
                Kind::Rsa { modulus: number(&member.n)?, exponent: number(&member.e)? }
            }
            "EC" => {
                let size = match member.crv.as_str() {
                    "P-256" => 32,
                    "P-384" => 48,
                    "P-521" => 66,
                    _ => return None,
                };
                let mut point = vec![4];
                for text in [&member.x, &member.y] {
                    let part = bytes(text).filter(|part| part.len() <= size)?;
                    point.extend(std::iter::repeat_n(0, size - part.len()));
                    point.extend(part);
                }
                Kind::Ec(member.crv, point)
            }
            _ => return None,
        };
        Some(Self { id: member.kid, kind })
    }

    /// Whether a signature over a message is by this key.
    pub fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        match &self.kind {
            Kind::Rsa { modulus, exponent } => rsa(algorithm).is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, signature).is_ok()
            }),
            Kind::Ec(curve, point) => ecdsa(algorithm, curve)
                .is_some_and(|how| UnparsedPublicKey::new(how, point).verify(message, signature).is_ok()),
        }
    }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn ecdsa(algorithm: &str, curve: &str) -> Option<&'static EcdsaVerificationAlgorithm> {
    Some(match (algorithm, curve) {
        ("ES256", "P-256") => &signature::ECDSA_P256_SHA256_FIXED,
        ("ES384", "P-384") => &signature::ECDSA_P384_SHA384_FIXED,
        ("ES512", "P-521") => &signature::ECDSA_P521_SHA512_FIXED,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::json;

    #[test]
    fn a_set_gives_the_keys_that_are_known() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let point = pair.public_key().as_ref();
        let part = |range| URL_SAFE_NO_PAD.encode(&point[range]);
        let set = json!({"keys": [
            {"kty": "EC", "kid": "a", "crv": "P-256", "x": part(1..33), "y": part(33..65), "use": "sig"},
            {"kty": "oct", "k": "AA"},
            {"kty": "EC", "kid": "odd", "crv": "secp256k1", "x": "AA", "y": "AA"},
            {"kty": "RSA", "kid": "r", "n": "AMA", "e": "AQAB"}
        ]});
        let keys = parse(set.to_string().as_bytes()).expect("a set");
        let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        assert_eq!(ids, ["a", "r"]);
        let own = pair.sign(&SystemRandom::new(), b"message").expect("a signature");
        assert!(keys[0].verifies("ES256", b"message", own.as_ref()));
        assert!(!keys[0].verifies("ES256", b"other", own.as_ref()));
        assert!(!keys[0].verifies("ES384", b"message", own.as_ref()));
        assert!(!keys[0].verifies("RS256", b"message", own.as_ref()));
        assert!(!keys[1].verifies("RS256", b"message", own.as_ref()), "a key of two bytes is none");
        assert!(parse(b"[]").is_err());
    }
}
