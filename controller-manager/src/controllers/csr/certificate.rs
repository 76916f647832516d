//! The X.509 certificate that answers a request.
//!
//! Written in DER here because subject, key and alternative names pass through as the bytes that
//! were asked for: a library that rebuilds a subject keeps one organization of several, and each
//! organization is a group of the user.
//!
//! ```text
//! Certificate { TBS { [0] version 2, serial, algorithm, issuer, validity, subject, key,
//!               [3] extensions }, algorithm, signature }      (RFC 5280)
//! ```

use std::path::Path;

use anyhow::{Context as _, ensure};
use api_types::certificates::v1::KeyUsage;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, ToSpan as _};
use rcgen::{KeyPair, SigningKey as _};
use x509_parser::prelude::FromDer as _;

use super::request::Request;

/// Clocks of clients may be behind by so much.
const BACKDATE_MINUTES: i64 = 5;

/// The authority that signs: its certificate and key.
pub struct Authority {
    key: KeyPair,
    /// DER of the subject, the issuer of what we sign.
    name: Vec<u8>,
    key_id: Option<Vec<u8>>,
    not_after: Timestamp,
    /// DER of the signature's AlgorithmIdentifier.
    algorithm: &'static [u8],
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Authority {
    /// Reads both files.
    ///
    /// # Errors
    /// Names the flag, and what is wrong with its file.
    pub fn load(cert_file: &Path, key_file: &Path) -> anyhow::Result<Self> {
        let read = |flag: &str, path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("{flag}: cannot read {}", path.display()))
        };
        let cert = read("--cluster-signing-cert-file", cert_file)?;
        let key = read("--cluster-signing-key-file", key_file)?;
        Self::new(&cert, &key)
    }

    pub fn new(cert: &str, key: &str) -> anyhow::Result<Self> {
        let key = KeyPair::from_pem(key).context("--cluster-signing-key-file: no private key in PEM")?;
        let (_, block) = x509_parser::pem::parse_x509_pem(cert.as_bytes())
            .context("--cluster-signing-cert-file: no certificate in PEM")?;
        let (_, cert) = x509_parser::certificate::X509Certificate::from_der(&block.contents)
            .context("--cluster-signing-cert-file: not an X.509 certificate")?;
        ensure!(cert.is_ca(), "--cluster-signing-cert-file: the certificate is not an authority's");
        let key_id = cert.iter_extensions().find_map(|e| match e.parsed_extension() {
            x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        Ok(Self {
            algorithm: algorithm_of(&key)?,
            name: cert.subject().as_raw().to_vec(),
            key_id,
            not_after: Timestamp::from_second(cert.validity().not_after.timestamp())?,
            key,
        })
    }

    /// Signs a request, valid from shortly before `now` for `seconds`, as far as the authority's own
    /// validity goes. The chain is PEM.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn sign(
        &self,
        request: &Request,
        usages: &[KeyUsage],
        now: Timestamp,
        seconds: i64,
    ) -> Result<Vec<u8>, String> {
        let begin = now - BACKDATE_MINUTES.minutes();
        let end = (now + seconds.seconds()).min(self.not_after);
        let mut serial: [u8; 16] = std::array::from_fn(|_| fastrand::u8(..));
        // Positive and not zero.
        serial[0] = serial[0] & 0x7F | 0x01;
        let validity = [time(begin), time(end)].concat();
        let parts = [
            tagged(0xA0, &integer(&[2])),
            integer(&serial),
            self.algorithm.to_vec(),
            self.name.clone(),
            tagged(SEQUENCE, &validity),
            request.subject.clone(),
            request.public_key.clone(),
            tagged(0xA3, &tagged(SEQUENCE, &self.extensions(request, usages))),
        ];
        let body = tagged(SEQUENCE, &parts.concat());
        let signature = self.key.sign(&body).map_err(|e| e.to_string())?;
        let signature = tagged(0x03, &[&[0], signature.as_slice()].concat());
        let whole = tagged(SEQUENCE, &[body, self.algorithm.to_vec(), signature].concat());
        Ok(pem(&whole))
    }

    fn extensions(&self, request: &Request, usages: &[KeyUsage]) -> Vec<u8> {
        let mut all = Vec::new();
        let (bits, extended) = usage_parts(usages);
        if bits != 0 {
            all.extend(extension(&[0x55, 0x1D, 0x0F], true, &bit_string(bits)));
        }
        if !extended.is_empty() {
            all.extend(extension(&[0x55, 0x1D, 0x25], false, &tagged(SEQUENCE, &extended)));
        }
        // Basic constraints: no authority.
        all.extend(extension(&[0x55, 0x1D, 0x13], true, &tagged(SEQUENCE, &[])));
        if let Some(id) = &self.key_id {
            all.extend(extension(&[0x55, 0x1D, 0x23], false, &tagged(SEQUENCE, &tagged(0x80, id))));
        }
        if let Some(names) = &request.alternative_names {
            all.extend(extension(&[0x55, 0x1D, 0x11], false, names));
        }
        all
    }
}

fn algorithm_of(key: &KeyPair) -> anyhow::Result<&'static [u8]> {
    const ECDSA_SHA256: &[u8] = &[0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
    const ECDSA_SHA384: &[u8] = &[0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x03];
    const RSA_SHA256: &[u8] =
        &[0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B, 0x05, 0x00];
    const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70];
    for (algorithm, der) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, ECDSA_SHA256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, ECDSA_SHA384),
        (&rcgen::PKCS_RSA_SHA256, RSA_SHA256),
        (&rcgen::PKCS_ED25519, ED25519),
    ] {
        if key.is_compatible(algorithm) {
            return Ok(der);
        }
    }
    anyhow::bail!("--cluster-signing-key-file: the key is none of ECDSA P-256 or P-384, RSA, Ed25519")
}

const SEQUENCE: u8 = 0x30;

/// Tag, length, content.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
        out.push(0x80 | bytes.len() as u8);
        out.extend(bytes);
    }
    out.extend_from_slice(content);
    out
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    tagged(0x02, bytes)
}

/// UTCTime up to 2049, GeneralizedTime after.
fn time(at: Timestamp) -> Vec<u8> {
    let year: i32 = at.strftime("%Y").to_string().parse().unwrap_or(9999);
    if year < 2050 {
        tagged(0x17, at.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
    } else {
        tagged(0x18, at.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
    }
}

fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[0x01, 0x01, 0xFF] } else { &[] };
    tagged(SEQUENCE, &[tagged(0x06, oid), critical.to_vec(), tagged(0x04, value)].concat())
}

/// A named bit string of up to nine bits, the first bit highest, without trailing zero bits.
fn bit_string(bits: u16) -> Vec<u8> {
    let unused = (bits.trailing_zeros() % 8) as u8;
    let bytes = bits.to_be_bytes();
    let used: &[u8] = if bytes[1] == 0 { &bytes[..1] } else { &bytes };
    tagged(0x03, &[&[unused], used].concat())
}

/// Key usage bits, and the object identifiers of the extended ones.
fn usage_parts(usages: &[KeyUsage]) -> (u16, Vec<u8>) {
    let (mut bits, mut extended) = (0, Vec::new());
    for usage in usages {
        let bit = match usage {
            KeyUsage::Signing | KeyUsage::DigitalSignature => 0,
            KeyUsage::ContentCommitment => 1,
            KeyUsage::KeyEncipherment => 2,
            KeyUsage::DataEncipherment => 3,
            KeyUsage::KeyAgreement => 4,
            KeyUsage::CertSign => 5,
            KeyUsage::CrlSign => 6,
            KeyUsage::EncipherOnly => 7,
            KeyUsage::DecipherOnly => 8,
            other => {
                let purpose: &[u8] = match other {
                    KeyUsage::Any => &[0x55, 0x1D, 0x25, 0x00],
                    KeyUsage::ServerAuth => &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01],
                    KeyUsage::ClientAuth => &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02],
                    KeyUsage::CodeSigning => &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03],
                    KeyUsage::EmailProtection | KeyUsage::Smime => {
                        &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x04]
                    }
                    KeyUsage::IpsecEndSystem => &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x05],
                    KeyUsage::IpsecTunnel => &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x06],
                    KeyUsage::IpsecUser => &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x07],
                    KeyUsage::Timestamping => &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08],
                    KeyUsage::OcspSigning => &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09],
                    KeyUsage::MicrosoftSgc => &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x0A, 0x03, 0x03],
                    KeyUsage::NetscapeSgc => &[0x60, 0x86, 0x48, 0x01, 0x86, 0xF8, 0x42, 0x04, 0x01],
                    _ => continue,
                };
                extended.extend(tagged(0x06, purpose));
                continue;
            }
        };
        bits |= 0x8000u16 >> bit;
    }
    (bits, extended)
}

fn pem(der: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).expect("base64 is ASCII")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n")).into_bytes()
}
