//! Compression of the bodies of requests: the key `compress`.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{CONTENT_ENCODING, HeaderValue};

use crate::config::section::Section;
use crate::net::http::Request;

/// Value of the key `compress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    #[default]
    None,
    /// gzip (RFC 1952), at its fastest level: events of a run repeat most of their text.
    Gzip,
}

impl Compress {
    /// Reads `compress`; without it, `default` is used.
    pub fn read(section: &Section, default: Compress) -> Compress {
        let choices = [("none", Compress::None), ("gzip", Compress::Gzip)];
        section.choice("compress", default, &choices)
    }

    /// Returns the request with its body compressed, and the header that says so.
    pub fn apply(self, mut request: Request) -> Request {
        if self == Compress::None || request.body.is_empty() {
            return request;
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        // Memory accepts every write; if not, the request is sent as it is.
        if packed.write_all(&request.body).is_ok()
            && let Ok(body) = packed.finish()
        {
            request.body = body.into();
            let gzip = HeaderValue::from_static("gzip");
            request.headers.insert(CONTENT_ENCODING, gzip);
        }
        request
    }
}
