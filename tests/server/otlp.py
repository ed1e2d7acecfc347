"""An OpenTelemetry collector for tests: decodes with opentelemetry-proto, refuses what the
standard refuses, and appends each request that it took as a line of JSON.

    otlp.py FILE

The first segment of the path decides what else it does: `/partial` rejects one item of each
request, `/busy` answers the first request for each signal with 429, `/large` accepts at most
100 items, `/halflogs` answers the first request for logs with 503.
"""

import base64
import collections
import gzip
import http.server
import json
import sys
import threading

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

SIGNALS = {
    "traces": (
        trace_service_pb2.ExportTraceServiceRequest,
        trace_service_pb2.ExportTraceServiceResponse,
        ("resourceSpans", "scopeSpans", "spans"),
        "rejected_spans",
    ),
    "logs": (
        logs_service_pb2.ExportLogsServiceRequest,
        logs_service_pb2.ExportLogsServiceResponse,
        ("resourceLogs", "scopeLogs", "logRecords"),
        "rejected_log_records",
    ),
    "metrics": (
        metrics_service_pb2.ExportMetricsServiceRequest,
        metrics_service_pb2.ExportMetricsServiceResponse,
        ("resourceMetrics", "scopeMetrics", "metrics"),
        "rejected_data_points",
    ),
}
IDS = {"traceId": 16, "spanId": 8, "parentSpanId": 8}
seen = collections.Counter()
lock = threading.Lock()


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def convert(value, change):
    """The value with all of its ids changed.

    In JSON, OTLP has them in hexadecimal, protobuf's own mapping in Base64.
    """
    if isinstance(value, list):
        return [convert(one, change) for one in value]
    if isinstance(value, dict):
        return {
            key: change(key, one) if key in IDS else convert(one, change)
            for key, one in value.items()
        }
    return value


def from_hex(key, text):
    if len(text) != 2 * IDS[key] or text.lower() != text:
        raise Refused(400, "%s is not in hexadecimal: %s" % (key, text))
    return base64.b64encode(bytes.fromhex(text)).decode()


def to_hex(_key, text):
    return base64.b64decode(text).hex()


def decode(kind, headers, body):
    request = kind()
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    media_type = headers.get("content-type")
    if media_type == "application/x-protobuf":
        request.ParseFromString(body)
        # Fields that are there twice would be written once.
        if len(request.SerializeToString()) != len(body):
            raise Refused(400, "repeated fields")
    elif media_type == "application/json":
        json_format.ParseDict(convert(json.loads(body), from_hex), request)
    else:
        raise Refused(415, "unsupported media type %s" % media_type)
    return convert(json_format.MessageToDict(request), to_hex), media_type


def check(signal, items):
    for item in items:
        if signal == "traces":
            for key in ("traceId", "spanId"):
                if len(item.get(key, "")) != 2 * IDS[key] or not int(item[key], 16):
                    raise Refused(400, "no %s" % key)
            if not item.get("name"):
                raise Refused(400, "a span has no name")
            if int(item["startTimeUnixNano"]) > int(item["endTimeUnixNano"]):
                raise Refused(400, "a span ends before it starts")
            if item.get("status", {}).get("code") == "STATUS_CODE_OK":
                raise Refused(400, "a status of OK is the user's alone")
        elif signal == "logs" and not (item.get("timeUnixNano") and item.get("severityNumber")):
            raise Refused(400, "a record has no time or no severity")
        elif signal == "metrics" and not (item.get("name") and item.get("unit")):
            raise Refused(400, "a metric has no name or no unit")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        mode, _, path = self.path.rpartition("/v1/")
        try:
            self.take(mode.strip("/"), path, body)
        except Refused as refused:
            self.answer(refused.status, "application/json", json.dumps({"message": str(refused)}))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a request
            text = json.dumps({"message": "%s: %s" % (type(error).__name__, error)})
            self.answer(400, "application/json", text)

    def take(self, mode, signal, body):
        if signal not in SIGNALS:
            raise Refused(404, "no such path")
        kind, response, names, rejected = SIGNALS[signal]
        with lock:
            seen[mode, signal] += 1
            first = seen[mode, signal] == 1
        if mode == "busy" and first:
            return self.answer(429, "application/json", "{}", {"Retry-After": "1"})
        if mode == "halflogs" and signal == "logs" and first:
            return self.answer(503, "application/json", "{}")
        message, media_type = decode(kind, self.headers, body)
        items = []
        for resource in message.get(names[0], []):
            attributes = {one["key"] for one in resource["resource"]["attributes"]}
            if "service.name" not in attributes:
                raise Refused(400, "no service.name")
            for scope in resource[names[1]]:
                items += scope.get(names[2], [])
        check(signal, items)
        if mode == "large" and len(items) > 100:
            return self.answer(413, "application/json", "{}")
        record = {
            "signal": signal,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "items": items,
            "message": message,
        }
        with lock, open(sys.argv[1], "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        answer = response()
        if mode == "partial":
            setattr(answer.partial_success, rejected, 1)
            answer.partial_success.error_message = "one is too old"
        if media_type == "application/json":
            return self.answer(200, media_type, json_format.MessageToJson(answer))
        return self.answer(200, media_type, answer.SerializeToString())

    def answer(self, status, media_type, body, headers=None):
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
