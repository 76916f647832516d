//! The JWT of a service account that stands in a Secret: claims in the form from before tokens were
//! bound and expired (`kubernetes.io/serviceaccount/...`), signed by RSA or ECDSA.

use std::path::Path;

use anyhow::Context as _;
use api_types::core::v1::ServiceAccount;
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// COMPAT: the issuer by which servers tell these tokens from others.
const ISSUER: &str = "kubernetes/serviceaccount";

enum Private {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
}

/// A key, and how its tokens begin.
pub struct Signer {
    private: Private,
    /// The encoded header.
    header: String,
}

impl Signer {
    /// Reads a private key (PKCS#1, PKCS#8 or SEC1) from a PEM file.
    ///
    /// # Errors
    /// When there is none that can be used.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let name = "--service-account-private-key-file";
        let key = PrivateKeyDer::from_pem_file(path)
            .map_err(|e| anyhow::anyhow!("{name}: cannot read {}: {e}", path.display()))?;
        Self::new(key.secret_der()).with_context(|| format!("{name}: {} holds no usable key", path.display()))
    }

    fn new(der: &[u8]) -> Option<Self> {
        // COMPAT: upstream names keys so; servers look them up by it.
        let header = |algorithm: &str, public: &[u8]| {
            let id = URL_SAFE_NO_PAD.encode(Sha256::digest(public));
            URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{algorithm}","kid":"{id}"}}"#))
        };
        if let Ok(pair) = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)) {
            let public =
                aws_lc_rs::encoding::AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).ok()?;
            let header = header("RS256", public.as_ref());
            return Some(Self { private: Private::Rsa(pair), header });
        }
        let curves: [(&'static EcdsaSigningAlgorithm, &str); 3] = [
            (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, "ES256"),
            (&signature::ECDSA_P384_SHA384_FIXED_SIGNING, "ES384"),
            (&signature::ECDSA_P521_SHA512_FIXED_SIGNING, "ES512"),
        ];
        curves.into_iter().find_map(|(curve, algorithm)| {
            let pair = EcdsaKeyPair::from_pkcs8(curve, der)
                .or_else(|_| EcdsaKeyPair::from_private_key_der(curve, der))
                .ok()?;
            let public = pair.public_key().as_der().ok()?.as_ref().to_vec();
            Some(Self { header: header(algorithm, &public), private: Private::Ecdsa(pair) })
        })
    }

    /// The account's token that stands in the Secret of this name.
    pub fn token(&self, account: &ServiceAccount, secret: &str) -> String {
        let meta = &account.metadata;
        let claims = json!({
            "iss": ISSUER,
            "kubernetes.io/serviceaccount/namespace": meta.namespace,
            "kubernetes.io/serviceaccount/secret.name": secret,
            "kubernetes.io/serviceaccount/service-account.name": meta.name,
            "kubernetes.io/serviceaccount/service-account.uid": meta.uid,
            "sub": format!("system:serviceaccount:{}:{}", meta.namespace, meta.name),
        });
        let message = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match &self.private {
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature)
                    .expect("a key that was read can sign");
                signature
            }
            Private::Ecdsa(pair) => {
                let signature = pair.sign(&random, message.as_bytes()).expect("a key that was read can sign");
                signature.as_ref().to_vec()
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
