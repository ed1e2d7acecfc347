//! Messages of OTLP (opentelemetry-proto 1.9), as far as they are sent: as protobuf, and in its mapping to JSON.
//!
//! The documentation of the fields is that of the `.proto` files of opentelemetry-proto.

use prost::{Message, Oneof};
use serde::{Serialize, Serializer};

use crate::net::digest::hex;

/// A value of an attribute or a body.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5, 6")]
    #[serde(flatten)]
    pub value: Option<Value>,
}

/// Content of a value.
#[derive(Clone, PartialEq, Oneof, Serialize)]
pub enum Value {
    #[prost(string, tag = "1")]
    #[serde(rename = "stringValue")]
    Text(String),
    #[prost(bool, tag = "2")]
    #[serde(rename = "boolValue")]
    Flag(bool),
    #[prost(int64, tag = "3")]
    #[serde(rename = "intValue")]
    Integer(#[serde(serialize_with = "text")] i64),
    #[prost(double, tag = "4")]
    #[serde(rename = "doubleValue")]
    Double(f64),
    #[prost(message, tag = "5")]
    #[serde(rename = "arrayValue")]
    List(ArrayValue),
    #[prost(message, tag = "6")]
    #[serde(rename = "kvlistValue")]
    Map(KeyValueList),
}

/// A list of values.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<AnyValue>,
}

/// A map of values.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct KeyValueList {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<KeyValue>,
}

/// An attribute.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct KeyValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// Origin of signals: a controller.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// Program that made the signals: this one.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct Scope {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub version: String,
}

/// Declares a request for a signal: its resources, and their scopes.
macro_rules! request {
    ($request:ident $resources:ident, $resource:ident $scopes:ident, $scope:ident $items:ident $item:ident) => {
        #[doc = concat!("Request with `", stringify!($item), "`s.")]
        #[derive(Clone, PartialEq, Message, Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $request {
            #[prost(message, repeated, tag = "1")]
            pub $resources: Vec<$resource>,
        }

        #[doc = concat!("`", stringify!($item), "`s of a resource.")]
        #[derive(Clone, PartialEq, Message, Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $resource {
            #[prost(message, optional, tag = "1")]
            pub resource: Option<Resource>,
            #[prost(message, repeated, tag = "2")]
            pub $scopes: Vec<$scope>,
        }

        #[doc = concat!("`", stringify!($item), "`s of a scope.")]
        #[derive(Clone, PartialEq, Message, Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $scope {
            #[prost(message, optional, tag = "1")]
            pub scope: Option<Scope>,
            #[prost(message, repeated, tag = "2")]
            pub $items: Vec<$item>,
        }

        impl $request {
            /// Creates the request of these resources, each with what it sent.
            pub fn of(sent: Vec<(Resource, Vec<$item>)>, scope: &Scope) -> $request {
                let resource = |(resource, $items): (Resource, Vec<$item>)| $resource {
                    resource: Some(resource),
                    $scopes: vec![$scope {
                        scope: Some(scope.clone()),
                        $items,
                    }],
                };
                $request {
                    $resources: sent.into_iter().map(resource).collect(),
                }
            }
        }
    };
}

request!(TracesRequest resource_spans, ResourceSpans scope_spans, ScopeSpans spans Span);
request!(LogsRequest resource_logs, ResourceLogs scope_logs, ScopeLogs log_records LogRecord);
request!(MetricsRequest resource_metrics, ResourceMetrics scope_metrics, ScopeMetrics metrics Metric);

/// Kinds of spans.
pub const INTERNAL: i32 = 1;
/// Kind of the span of a run, which others may call.
pub const SERVER: i32 = 2;
/// Status code of a failure.
pub const ERROR: i32 = 2;
/// Temporality of metrics that count what happened since the last ones.
pub const DELTA: i32 = 1;

/// A span.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "id")]
    pub trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    #[serde(serialize_with = "id")]
    pub span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    #[serde(serialize_with = "id", skip_serializing_if = "Vec::is_empty")]
    pub parent_span_id: Vec<u8>,
    #[prost(fixed32, tag = "16")]
    pub flags: u32,
    #[prost(string, tag = "5")]
    pub name: String,
    #[prost(int32, tag = "6")]
    pub kind: i32,
    #[prost(fixed64, tag = "7")]
    #[serde(serialize_with = "text")]
    pub start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    #[serde(serialize_with = "text")]
    pub end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// Status of a span that failed.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct Status {
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(int32, tag = "3")]
    pub code: i32,
}

/// A record of a log.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogRecord {
    #[prost(fixed64, tag = "1")]
    #[serde(serialize_with = "text")]
    pub time_unix_nano: u64,
    #[prost(fixed64, tag = "11")]
    #[serde(serialize_with = "text")]
    pub observed_time_unix_nano: u64,
    #[prost(int32, tag = "2")]
    pub severity_number: i32,
    #[prost(string, tag = "3")]
    pub severity_text: String,
    #[prost(message, optional, tag = "5")]
    pub body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    pub attributes: Vec<KeyValue>,
    #[prost(fixed32, tag = "8")]
    pub flags: u32,
    #[prost(bytes = "vec", tag = "9")]
    #[serde(serialize_with = "id")]
    pub trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    #[serde(serialize_with = "id")]
    pub span_id: Vec<u8>,
    #[prost(string, tag = "12")]
    pub event_name: String,
}

/// A metric.
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct Metric {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub description: String,
    #[prost(string, tag = "3")]
    pub unit: String,
    #[prost(oneof = "Data", tags = "7, 9")]
    #[serde(flatten)]
    pub data: Option<Data>,
}

/// Data of a metric.
#[derive(Clone, PartialEq, Oneof, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Data {
    #[prost(message, tag = "7")]
    Sum(Sum),
    #[prost(message, tag = "9")]
    Histogram(Histogram),
}

/// Counts.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sum {
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<NumberDataPoint>,
    #[prost(int32, tag = "2")]
    pub aggregation_temporality: i32,
    #[prost(bool, tag = "3")]
    pub is_monotonic: bool,
}

/// Durations.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Histogram {
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<HistogramDataPoint>,
    #[prost(int32, tag = "2")]
    pub aggregation_temporality: i32,
}

/// A count.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NumberDataPoint {
    #[prost(message, repeated, tag = "7")]
    pub attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    #[serde(serialize_with = "text")]
    pub start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    #[serde(serialize_with = "text")]
    pub time_unix_nano: u64,
    #[prost(sfixed64, optional, tag = "6")]
    #[serde(serialize_with = "optional_text")]
    pub as_int: Option<i64>,
}

/// Durations in seconds, by buckets.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistogramDataPoint {
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    #[serde(serialize_with = "text")]
    pub start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    #[serde(serialize_with = "text")]
    pub time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    #[serde(serialize_with = "text")]
    pub count: u64,
    #[prost(double, optional, tag = "5")]
    pub sum: Option<f64>,
    #[prost(fixed64, repeated, tag = "6")]
    #[serde(serialize_with = "texts")]
    pub bucket_counts: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    pub explicit_bounds: Vec<f64>,
    #[prost(double, optional, tag = "11")]
    pub min: Option<f64>,
    #[prost(double, optional, tag = "12")]
    pub max: Option<f64>,
}

/// Response to a request for any signal.
#[derive(Clone, PartialEq, Message)]
pub struct Response {
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// Part of a request that was not accepted.
#[derive(Clone, PartialEq, Message)]
pub struct PartialSuccess {
    /// Number of spans, records or data points.
    #[prost(int64, tag = "1")]
    pub rejected: i64,
    #[prost(string, tag = "2")]
    pub error_message: String,
}

impl KeyValue {
    /// Creates an attribute.
    pub fn new(key: &str, value: impl Into<Value>) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(value.into()),
            }),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Value {
        Value::Flag(flag)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Integer(number)
    }
}

impl From<serde_json::Value> for AnyValue {
    fn from(json: serde_json::Value) -> AnyValue {
        use serde_json::Value as Json;
        let value = match json {
            Json::Bool(flag) => Value::Flag(flag),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Value::Integer(integer),
                (None, Some(float)) if float.is_finite() => Value::Double(float),
                _ => Value::Text(number.to_string()),
            },
            // A value without content is valid, but some collectors refuse it.
            Json::Null => Value::Text("null".to_owned()),
            Json::String(text) => Value::Text(text),
            Json::Array(values) => Value::List(ArrayValue {
                values: values.into_iter().map(AnyValue::from).collect(),
            }),
            Json::Object(members) => {
                let is_set = |(_, value): &(String, Json)| !value.is_null();
                let member = |(key, value): (String, Json)| KeyValue {
                    key,
                    value: Some(value.into()),
                };
                Value::Map(KeyValueList {
                    values: members.into_iter().filter(is_set).map(member).collect(),
                })
            }
        };
        AnyValue { value: Some(value) }
    }
}

// In JSON, numbers of 64 bits are texts, and ids are hexadecimal (OTLP 1.9, "JSON Protobuf Encoding").

fn text<S: Serializer>(number: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&number.to_string())
}

fn optional_text<S: Serializer>(number: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    number
        .map(|number| number.to_string())
        .serialize(serializer)
}

fn texts<S: Serializer>(numbers: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(numbers.iter().map(u64::to_string))
}

fn id<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}
