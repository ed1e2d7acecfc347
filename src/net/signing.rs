//! Signatures of webhook requests, which let the receiver verify the sender.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hyper::header::{HeaderName, HeaderValue};

use crate::config::advice;
use crate::config::section::Section;
use crate::net::digest::{hex, hmac_sha256};
use crate::secret::{self, Secret};

/// Signature scheme of a body, with its keys.
pub enum Signing {
    /// Standard Webhooks 1.0.0: id, time and body, signed once per key, so that keys can be rotated.
    Standard(Vec<Vec<u8>>),
    /// The scheme of GitHub: the body, with one key.
    Sha256(Secret),
}

impl Signing {
    /// Reads `sign` and `signing_secret`.
    pub fn read(section: &Section) -> Option<Signing> {
        let secret = section.secret("signing_secret");
        let Some(sign) = section.text("sign") else {
            if secret.is_some() {
                section.needs("signing_secret", "sign");
            }
            return None;
        };
        match sign {
            "standard" => {
                let secret = secret.or_else(|| section.missing("signing_secret"))?;
                let keys: Option<Vec<_>> = secret.expose().split_whitespace().map(key).collect();
                let form = "`signing_secret` must be `whsec_` followed by base64; separate several with spaces or line breaks";
                keys.map(Signing::Standard).or_else(|| {
                    section.problem("signing_secret", form);
                    None
                })
            }
            "sha256" => {
                let secret = secret.or_else(|| section.missing("signing_secret"))?;
                Some(Signing::Sha256(secret))
            }
            _ => {
                let names = ["standard", "sha256"].into_iter();
                section.problem("sign", advice::none_of("sign", names, sign));
                None
            }
        }
    }

    /// Returns the header that signs exactly these bytes.
    pub fn sign(
        &self,
        id: &HeaderValue,
        timestamp: &HeaderValue,
        body: &[u8],
    ) -> (HeaderName, HeaderValue) {
        let (name, value) = match self {
            Signing::Standard(keys) => {
                let signed = [id.as_bytes(), timestamp.as_bytes(), body].join(&b'.');
                let sign =
                    |key: &Vec<u8>| format!("v1,{}", STANDARD.encode(hmac_sha256(key, &signed)));
                let signatures: Vec<String> = keys.iter().map(sign).collect();
                ("webhook-signature", signatures.join(" "))
            }
            Signing::Sha256(secret) => {
                let signature = hex(&hmac_sha256(secret.expose().as_bytes(), body));
                ("x-hub-signature-256", format!("sha256={signature}"))
            }
        };
        let value = HeaderValue::from_str(&value).expect("a signature is plain text");
        (HeaderName::from_static(name), value)
    }
}

/// Decodes a Standard Webhooks secret to its bytes.
fn key(text: &str) -> Option<Vec<u8>> {
    secret::mask(text);
    let encoded = text.strip_prefix("whsec_").unwrap_or(text);
    secret::mask(encoded);
    let key = STANDARD_NO_PAD.decode(encoded.trim_end_matches('='));
    key.ok().filter(|key| !key.is_empty())
}
