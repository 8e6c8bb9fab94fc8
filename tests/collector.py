"""A collector: takes OTLP over HTTP as JSON, and reads it with the protocol's own definitions, which refuse what they do not know."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from conftest import free_port

T = TypeVar("T")


class Collector(ThreadingHTTPServer):
    """What was told of calls. `status` is what it answers."""

    def __init__(self) -> None:
        self.status, self.bodies, self.headers = 200, list[bytes](), list[dict[str, str]]()
        self.spans: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        self.metrics: dict[str, Any] = {}
        super().__init__(("127.0.0.1", free_port()), _Told)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def table(self) -> str:
        return f'[telemetry]\nendpoint = "http://127.0.0.1:{self.server_port}"\n'

    def take(self, path: str, body: bytes) -> None:
        data = _as_protobuf_has_it(json.loads(body))
        if path == "/v1/traces":
            told = json_format.ParseDict(data, ExportTraceServiceRequest())
            for resource in told.resource_spans:
                self.resources.append(values(resource.resource.attributes))
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        else:
            assert path == "/v1/metrics"
            found = json_format.ParseDict(data, ExportMetricsServiceRequest())
            for one in found.resource_metrics:
                self.metrics |= {metric.name: metric for scope in one.scope_metrics for metric in scope.metrics}

    def wait_for(self, find: Callable[[], T], deadline_s: float = 20.0) -> T:
        until = time.monotonic() + deadline_s
        while not (found := find()):
            assert time.monotonic() < until, (len(self.bodies), len(self.spans))
            time.sleep(0.05)
        return found

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as plain values."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def _as_protobuf_has_it(data: Any) -> Any:
    """Ids are hexadecimal in OTLP's JSON, and base64 in everybody else's (OTLP 1.x, JSON Protobuf Encoding)."""
    if isinstance(data, list):
        return [_as_protobuf_has_it(one) for one in data]
    if not isinstance(data, dict):
        return data
    ids = ("traceId", "spanId", "parentSpanId")
    return {
        key: base64.b64encode(bytes.fromhex(value)).decode() if key in ids else _as_protobuf_has_it(value)
        for key, value in data.items()
    }


class _Told(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Collector)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.bodies.append(body)
        server.headers.append({name.lower(): value for name, value in self.headers.items()})
        if server.status == 200:
            server.take(self.path, body)
        self.send_response(server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass
