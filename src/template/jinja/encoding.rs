//! Filters to and from other text formats: JSON, YAML, base64, digests, URLs.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, State};
use serde::Serialize as _;

use super::arguments::{Arguments, Given};
use super::{error, items_of, pairs_of, text_of, yaml};
use crate::template::context::from_json;
use crate::template::limits::{ensure_bytes, weigh};

/// Approximate memory of a value parsed from text, in bytes.
const VALUE: usize = 64;

/// Adds these filters.
pub fn add_to(environment: &mut Environment) {
    environment.add_filter("to_json", to_json);
    environment.add_filter("to_nice_json", to_nice_json);
    environment.add_filter("from_json", |state: &State, text: &Value| {
        let text = text_of(text)?;
        ensure_values(state, &text, &[',', ':', '[', '{'])?;
        serde_json::from_str::<serde_json::Value>(&text)
            .map(from_json)
            .map_err(|reason| error(format!("not JSON: {reason}")))
    });
    environment.add_filter("to_yaml", |state: &State, value: &Value, given: Given| {
        let given = Arguments::new(given, ["indent", "default_flow_style"])?;
        ensure_bytes(state, weigh(value)?.saturating_mul(2))?;
        let style = match given.get(1) {
            Some(style) if style.is_true() => yaml::Style::Flow,
            Some(style) if style.kind() == ValueKind::Bool => yaml::Style::Block,
            _ => yaml::Style::Leaves,
        };
        yaml::write(value, style, given.size(0, 2)?)
    });
    environment.add_filter(
        "to_nice_yaml",
        |state: &State, value: &Value, given: Given| {
            let given = Arguments::new(given, ["indent"])?;
            ensure_bytes(state, weigh(value)?.saturating_mul(2))?;
            yaml::write(value, yaml::Style::Block, given.size(0, 4)?)
        },
    );
    environment.add_filter("from_yaml", |state: &State, text: &Value| {
        let Some(source) = text.as_str() else {
            return Ok(text.clone());
        };
        ensure_values(state, source, &[',', ':', '[', '{', '-', '\n'])?;
        yaml::read(source)
    });
    environment.add_filter("b64encode", |text: &Value, given: Given| {
        let given = Arguments::new(given, ["encoding", "urlsafe"])?;
        let engine = if given.flag(1) { &URL_SAFE } else { &STANDARD };
        Ok::<String, Error>(engine.encode(text_of(text)?))
    });
    environment.add_filter("b64decode", |text: &Value, given: Given| {
        let given = Arguments::new(given, ["encoding", "urlsafe"])?;
        let engine = if given.flag(1) { &URL_SAFE } else { &STANDARD };
        let decoded = engine.decode(text_of(text)?.trim());
        let decoded = decoded.map_err(|reason| error(format!("not base64: {reason}")))?;
        String::from_utf8(decoded).map_err(|_| error("the decoded data is not UTF-8"))
    });
    environment.add_filter("hash", |text: &Value, given: Given| {
        let given = Arguments::new(given, ["hashtype"])?;
        digest(&text_of(text)?, &given.text(0, "sha1")?)
    });
    environment.add_filter("checksum", |text: &Value| digest(&text_of(text)?, "sha1"));
    environment.add_filter("md5", |text: &Value| digest(&text_of(text)?, "md5"));
    environment.add_filter("sha1", |text: &Value| digest(&text_of(text)?, "sha1"));
    environment.add_filter("to_uuid", to_uuid);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("urldecode", |text: &Value| {
        let spaced = text_of(text)?.replace('+', " ");
        let decoded = percent_encoding::percent_decode_str(&spaced);
        Ok::<String, Error>(decoded.decode_utf8_lossy().into_owned())
    });
    environment.add_filter("urlsplit", urlsplit);
}

/// Fails if the remaining fuel does not cover the values that a text may contain, one after each of these
/// characters.
fn ensure_values(state: &State, text: &str, before: &[char]) -> Result<(), Error> {
    ensure_bytes(state, text.matches(before).count() * VALUE)
}

/// Returns JSON as written by Python's `json.dumps`: a space after `,` and `:`, and ASCII only.
fn to_json(state: &State, value: &Value, given: Given) -> Result<String, Error> {
    let given = Arguments::new(given, ["indent", "sort_keys", "ensure_ascii", "separators"])?;
    let indent = match given.get(0) {
        Some(indent) if !indent.is_none() => Some(given.size(0, 0)?),
        _ => None,
    };
    let ascii = given.get(2).is_none_or(Value::is_true);
    let separators = match given.get(3) {
        Some(pair) if !pair.is_none() => Some(items_of(pair)?),
        _ => None,
    };
    let (comma, colon) = match separators.as_deref() {
        Some([comma, colon]) => (text_of(comma)?, text_of(colon)?),
        Some(_) => return Err(error("`separators` must have two strings")),
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    write_json(
        state,
        value,
        JsonFormat {
            sorted: given.flag(1),
            indent,
            ascii,
            comma,
            colon,
        },
    )
}

fn to_nice_json(state: &State, value: &Value, given: Given) -> Result<String, Error> {
    let given = Arguments::new(given, ["indent", "sort_keys", "ensure_ascii"])?;
    let form = JsonFormat {
        sorted: given.get(1).is_none_or(Value::is_true),
        indent: Some(given.size(0, 4)?),
        ascii: given.get(2).is_none_or(Value::is_true),
        comma: ",".to_owned(),
        colon: ": ".to_owned(),
    };
    write_json(state, value, form)
}

fn write_json(state: &State, value: &Value, form: JsonFormat) -> Result<String, Error> {
    let indent = form.indent.unwrap_or(0);
    if indent > 100 {
        return Err(error("an indent must be at most 100"));
    }
    ensure_bytes(state, weigh(value)?.saturating_mul(2 + indent))?;
    let mut json = serde_json::to_value(value).map_err(|reason| error(reason.to_string()))?;
    if form.sorted {
        json.sort_all_objects();
    }
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(
        &mut out,
        PythonFormatter {
            form,
            depth: 0,
            empty: true,
        },
    );
    json.serialize(&mut serializer)
        .map_err(|reason| error(reason.to_string()))?;
    String::from_utf8(out).map_err(|reason| error(reason.to_string()))
}

/// Layout of JSON.
struct JsonFormat {
    /// True if the keys are sorted.
    sorted: bool,
    indent: Option<usize>,
    ascii: bool,
    comma: String,
    colon: String,
}

/// Writes JSON in the layout of Python's encoder.
struct PythonFormatter {
    form: JsonFormat,
    depth: usize,
    /// True if the innermost open list or dictionary has no items yet.
    empty: bool,
}

type Written = std::io::Result<()>;

impl PythonFormatter {
    fn new_line<W: std::io::Write + ?Sized>(&self, writer: &mut W) -> Written {
        let Some(indent) = self.form.indent else {
            return Ok(());
        };
        write!(writer, "\n{:width$}", "", width = indent * self.depth)
    }

    fn begin<W: std::io::Write + ?Sized>(&mut self, writer: &mut W, bracket: &[u8]) -> Written {
        self.depth += 1;
        self.empty = true;
        writer.write_all(bracket)
    }

    fn end<W: std::io::Write + ?Sized>(&mut self, writer: &mut W, bracket: &[u8]) -> Written {
        self.depth -= 1;
        if !std::mem::take(&mut self.empty) {
            self.new_line(writer)?;
        }
        writer.write_all(bracket)
    }

    fn begin_item<W: std::io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> Written {
        self.empty = false;
        if !first {
            writer.write_all(self.form.comma.as_bytes())?;
        }
        self.new_line(writer)
    }
}

impl serde_json::ser::Formatter for PythonFormatter {
    fn begin_array<W: std::io::Write + ?Sized>(&mut self, writer: &mut W) -> Written {
        self.begin(writer, b"[")
    }

    fn end_array<W: std::io::Write + ?Sized>(&mut self, writer: &mut W) -> Written {
        self.end(writer, b"]")
    }

    fn begin_array_value<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> Written {
        self.begin_item(writer, first)
    }

    fn end_array_value<W: std::io::Write + ?Sized>(&mut self, _writer: &mut W) -> Written {
        self.empty = false;
        Ok(())
    }

    fn begin_object<W: std::io::Write + ?Sized>(&mut self, writer: &mut W) -> Written {
        self.begin(writer, b"{")
    }

    fn end_object<W: std::io::Write + ?Sized>(&mut self, writer: &mut W) -> Written {
        self.end(writer, b"}")
    }

    fn begin_object_key<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> Written {
        self.begin_item(writer, first)
    }

    fn begin_object_value<W: std::io::Write + ?Sized>(&mut self, writer: &mut W) -> Written {
        writer.write_all(self.form.colon.as_bytes())
    }

    fn end_object_value<W: std::io::Write + ?Sized>(&mut self, _writer: &mut W) -> Written {
        self.empty = false;
        Ok(())
    }

    fn write_string_fragment<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> Written {
        if !self.form.ascii {
            return writer.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            if character.is_ascii() && character != '\u{7f}' {
                write!(writer, "{character}")?;
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

/// Returns the digest of a text, in hexadecimal.
fn digest(text: &str, name: &str) -> Result<String, Error> {
    use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
    let algorithm = match name {
        "md5" => {
            use md5::Digest as _;
            return Ok(hex(&md5::Md5::digest(text)));
        }
        "sha1" => &SHA1_FOR_LEGACY_USE_ONLY,
        "sha256" => &SHA256,
        "sha384" => &SHA384,
        "sha512" => &SHA512,
        other => {
            return Err(error(format!(
                "the hash must be md5, sha1, sha256, sha384 or sha512, not `{other}`"
            )));
        }
    };
    Ok(hex(
        ring::digest::digest(algorithm, text.as_bytes()).as_ref()
    ))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the UUID (version 5) of a text in Ansible's namespace, or in another one.
fn to_uuid(text: &Value, given: Given) -> Result<String, Error> {
    let given = Arguments::new(given, ["namespace"])?;
    // ansible-core's `UUID_NAMESPACE_ANSIBLE`.
    let namespace = given.text(0, "361e6d51-faec-444a-9079-341386da8e2e")?;
    let namespace: uuid::Uuid = namespace
        .parse()
        .map_err(|_| error(format!("the namespace `{namespace}` is not a UUID")))?;
    Ok(uuid::Uuid::new_v5(&namespace, text_of(text)?.as_bytes()).to_string())
}

/// Characters that Python's `quote` leaves unchanged, besides letters and digits.
const UNRESERVED: percent_encoding::AsciiSet = percent_encoding::NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~');

/// The same characters, and `/`, for a path.
const IN_PATH: percent_encoding::AsciiSet = UNRESERVED.remove(b'/');

/// Percent-encodes a text, except for `/`; pairs become a query.
fn urlencode(value: &Value) -> Result<String, Error> {
    let query = |text: &str| {
        percent_encoding::utf8_percent_encode(text, &UNRESERVED)
            .to_string()
            .replace("%20", "+")
    };
    let pairs = match value.kind() {
        ValueKind::Map => pairs_of(value)?,
        ValueKind::Seq | ValueKind::Iterable => items_of(value)?
            .iter()
            .map(|pair| match items_of(pair)?.as_slice() {
                [key, value] => Ok((key.clone(), value.clone())),
                _ => Err(error("`urlencode` needs pairs")),
            })
            .collect::<Result<_, _>>()?,
        _ => {
            let text = text_of(value)?;
            return Ok(percent_encoding::utf8_percent_encode(&text, &IN_PATH).to_string());
        }
    };
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(key, value)| {
            Ok(format!(
                "{}={}",
                query(&text_of(key)?),
                query(&text_of(value)?)
            ))
        })
        .collect::<Result<_, Error>>()?;
    Ok(pairs.join("&"))
}

/// Returns the parts of a URL, or one of them, named as in Python's `urlsplit`.
fn urlsplit(value: &Value, given: Given) -> Result<Value, Error> {
    let given = Arguments::new(given, ["query", "alias"])?;
    let text = text_of(value)?;
    let (rest, fragment) = text.split_once('#').unwrap_or((&text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|one| one.is_ascii_alphanumeric() || "+-.".contains(one))
    };
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
        _ => (String::new(), rest),
    };
    let (netloc, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let (user, host) = netloc
        .rsplit_once('@')
        .map_or((None, netloc), |(user, host)| (Some(user), host));
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let name = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_lowercase();
    let (username, password) = match user.map(|user| user.split_once(':').unwrap_or((user, "\0"))) {
        None => (Value::from(()), Value::from(())),
        Some((username, "\0")) => (Value::from(username), Value::from(())),
        Some((username, password)) => (Value::from(username), Value::from(password)),
    };
    let port = port.and_then(|port| port.parse::<u16>().ok());
    let parts = Value::from_pairs([
        ("fragment", Value::from(fragment)),
        (
            "hostname",
            if name.is_empty() {
                Value::from(())
            } else {
                Value::from(name)
            },
        ),
        ("netloc", Value::from(netloc)),
        ("password", password),
        ("path", Value::from(path)),
        ("port", port.map_or(Value::from(()), Value::from)),
        ("query", Value::from(query)),
        ("scheme", Value::from(scheme)),
        ("username", username),
    ]);
    match given.text(0, "")?.as_str() {
        "" => Ok(parts),
        name => match parts.get_attr(name)? {
            part if part.is_undefined() => Err(error(format!("a URL has no part `{name}`"))),
            part => Ok(part),
        },
    }
}
