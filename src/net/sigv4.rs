//! Signatures of requests to Amazon's services (AWS, "Signature Version 4 for API requests").

use hyper::Method;
use jiff::Timestamp;
use url::Url;

use crate::net::digest::{hex, hmac_sha256, sha256_hex};
use crate::secret::Secret;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Credentials that sign requests.
#[derive(Clone)]
pub struct Keys {
    pub id: Secret,
    pub secret: Secret,
    /// Only temporary keys have one.
    pub session_token: Option<Secret>,
}

/// Signs requests to one service in one region.
pub struct Signer {
    pub region: String,
    pub service: String,
    pub keys: Keys,
}

impl Signer {
    /// Returns the headers of a request signed at `now`, including `Content-Type`. The URL must have no
    /// query.
    pub fn headers(
        &self,
        method: &Method,
        url: &Url,
        content_type: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Vec<(&'static str, String)> {
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut signed = vec![
            ("content-type", content_type.to_owned()),
            ("host", host(url)),
            ("x-amz-date", time.clone()),
        ];
        let token = self.keys.session_token.as_ref();
        signed.extend(token.map(|token| ("x-amz-security-token", token.expose().to_owned())));
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines = signed
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"));
        let lines: String = lines.collect();
        let (path, hash) = (url.path(), sha256_hex(body));
        let request = format!("{method}\n{path}\n\n{lines}\n{names}\n{hash}");
        let (scope, signature) = self.signature(&time, &request);
        let id = self.keys.id.expose();
        let authorization = format!(
            "{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        // The client adds `Host` itself.
        signed.retain(|(name, _)| *name != "host");
        signed.push(("authorization", authorization));
        signed
    }

    /// Returns the credential scope, and the signature of a canonical request.
    fn signature(&self, time: &str, request: &str) -> (String, String) {
        let (date, region, service) = (&time[..8], &self.region, &self.service);
        let scope = format!("{date}/{region}/{service}/aws4_request");
        let text = format!(
            "{ALGORITHM}\n{time}\n{scope}\n{}",
            sha256_hex(request.as_bytes())
        );
        let secret = format!("AWS4{}", self.keys.secret.expose()).into_bytes();
        let key = [date, region, service, "aws4_request"]
            .into_iter()
            .fold(secret, |key, part| hmac_sha256(&key, part.as_bytes()));
        (scope, hex(&hmac_sha256(&key, text.as_bytes())))
    }
}

/// Returns the host in the form the client sends: with the port if it is not the scheme's default.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `post-x-www-form-urlencoded` of AWS's published Signature Version 4 test suite.
    #[test]
    fn the_published_example_holds() {
        let signer = Signer {
            region: "us-east-1".into(),
            service: "service".into(),
            keys: Keys {
                id: Secret::new("AKIDEXAMPLE"),
                secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
                session_token: None,
            },
        };
        let url = "https://example.amazonaws.com/".parse().unwrap();
        let content_type = "application/x-www-form-urlencoded";
        let now = "2015-08-30T12:36:00Z".parse().unwrap();
        let headers = signer.headers(&Method::POST, &url, content_type, b"Param1=value1", now);
        let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
            SignedHeaders=content-type;host;x-amz-date, \
            Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";
        assert_eq!(
            headers.last(),
            Some(&("authorization", expected.to_owned()))
        );
    }
}
