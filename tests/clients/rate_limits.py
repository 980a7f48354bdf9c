"""Asks the rate limit service with grpcio and the published messages, and through Envoy itself."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

http, address, envoy = sys.argv[1:]
# Far longer than anything takes that ever happens.
DEADLINE_S = 30

channel = grpc.insecure_channel(address)
service = rls_pb2_grpc.RateLimitServiceStub(channel)
OK, OVER = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT


def descriptor(*entries, **more):
    return ratelimit_pb2.RateLimitDescriptor(
        entries=[ratelimit_pb2.RateLimitDescriptor.Entry(key=key, value=value) for key, value in entries], **more
    )


def ask(*descriptors, **more):
    request = rls_pb2.RateLimitRequest(domain="edge", descriptors=descriptors, **more)
    return service.ShouldRateLimit(request, timeout=DEADLINE_S)


def refused(code, *descriptors, **more):
    try:
        sys.exit(f"it was not refused: {ask(*descriptors, **more)}")
    except grpc.RpcError as error:
        assert error.code() == code, error


# The standard health service.
health = health_pb2_grpc.HealthStub(channel)
for name in ("", "envoy.service.ratelimit.v3.RateLimitService", "ratelimit"):
    status = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=DEADLINE_S).status
    assert status == health_pb2.HealthCheckResponse.SERVING, (name, status)
watching = health.Watch(health_pb2.HealthCheckRequest(service=""), timeout=DEADLINE_S)
assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
watching.cancel()

# A day has the same number for as long as this runs, but once in 86 400 seconds.
answers = [ask(descriptor(("user", "python"))) for _ in range(5)]
assert [answer.overall_code for answer in answers] == [OK] * 3 + [OVER] * 2, answers
first, last = answers[0].statuses[0], answers[-1].statuses[0]
assert (first.limit_remaining, last.limit_remaining) == (2, 0), answers
assert first.current_limit.requests_per_unit == 3 and first.current_limit.name == "user", first
assert first.current_limit.unit == rls_pb2.RateLimitResponse.RateLimit.DAY, first
assert 0 < first.duration_until_reset.seconds <= 86_400, first

answer = ask(descriptor(("unknown", "x")), descriptor(("free", "x")), descriptor(("banned", "x")))
assert answer.overall_code == OVER, answer
assert [status.code for status in answer.statuses] == [OK, OK, OVER], answer
assert answer.statuses[1].limit_remaining == 2**32 - 1 and not answer.statuses[0].HasField("current_limit"), answer

# What the descriptor brings along takes the place of what is configured.
limit = ratelimit_pb2.RateLimitDescriptor.RateLimitOverride(requests_per_unit=2, unit=4)
answers = [ask(descriptor(("user", "override"), limit=limit)).overall_code for _ in range(3)]
assert answers == [OK, OK, OVER], answers

# Bytes that are counted afterwards: looked at before, charged behind, whatever they came to.
assert ask(descriptor(("bytes", "a"), hits_addend={"value": 0})).overall_code == OK
assert ask(descriptor(("bytes", "a"), hits_addend={"value": 5_000_000_000})).overall_code == OVER
assert ask(descriptor(("bytes", "a"), hits_addend={"value": 0})).overall_code == OVER
assert ask(descriptor(("bytes", "b")), hits_addend=999).statuses[0].limit_remaining == 1

refused(grpc.StatusCode.INVALID_ARGUMENT)
refused(grpc.StatusCode.INVALID_ARGUMENT, descriptor(("user", "x"), limit={"requests_per_unit": 1, "unit": 0}))
refused(grpc.StatusCode.INVALID_ARGUMENT, descriptor(("user", "x"), limit={"requests_per_unit": 1, "unit": 6}))
refused(grpc.StatusCode.INVALID_ARGUMENT, *[descriptor(("user", "x"))] * 129)
refused(grpc.StatusCode.RESOURCE_EXHAUSTED, descriptor(("user", "x" * 70_000)))

# Envoy, with its rate limit filter, in front of the node's own probe.
host, port = address.rsplit(":", 1)
behind_host, behind_port = http.removeprefix("http://").rsplit(":", 1)
CONFIG = f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: front
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                route: {{cluster: behind}}
              rate_limits:
              - actions:
                - request_headers: {{header_name: x-user, descriptor_key: user}}
          http_filters:
          - name: envoy.filters.http.ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
              domain: edge
              failure_mode_deny: true
              timeout: 5s
              enable_x_ratelimit_headers: DRAFT_VERSION_03
              rate_limit_service:
                transport_api_version: V3
                grpc_service: {{envoy_grpc: {{cluster_name: snowtide}}}}
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: behind
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: behind
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {behind_host}, port_value: {behind_port}}}}}}}
  - name: snowtide
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    health_checks:
    - timeout: 5s
      interval: 1s
      healthy_threshold: 1
      unhealthy_threshold: 3
      grpc_health_check: {{}}
    load_assignment:
      cluster_name: snowtide
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {host}, port_value: {port}}}}}}}
"""


def get(url, user):
    request = urllib.request.Request(url, headers={"x-user": user})
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


def eventually(what, found):
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        if value := found():
            return value
        time.sleep(0.05)
    sys.exit(f"in vain: {what}")


with tempfile.TemporaryDirectory() as folder:
    config, admin = Path(folder, "envoy.yaml"), Path(folder, "admin")
    config.write_text(CONFIG)
    log = Path(folder, "log")
    command = [envoy, "-c", config, "--admin-address-path", admin, "--base-id-path", Path(folder, "id"),
               "--use-dynamic-base-id", "--concurrency", "1", "--log-path", log]
    proxy = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, "HOME": folder})
    try:
        def front():
            assert proxy.poll() is None, log.read_text()
            if not admin.exists() or not admin.read_text():
                return None
            try:
                with urllib.request.urlopen(f"http://{admin.read_text()}/listeners", timeout=DEADLINE_S) as said:
                    lines = said.read().decode().splitlines()
                with urllib.request.urlopen(f"http://{admin.read_text()}/clusters", timeout=DEADLINE_S) as said:
                    lookout = said.read().decode().splitlines()
                    healthy = f"snowtide::{address}::health_flags::healthy" in lookout
            except urllib.error.URLError:
                return None
            return next((line.split("::")[1] for line in lines if line.startswith("front::")), None) if healthy else None

        url = f"http://{eventually('Envoy listens, and finds the node healthy', front)}/livez"
        answers = [get(url, "through envoy") for _ in range(4)]
        assert [status for status, _ in answers] == [200, 200, 200, 429], answers
        assert [headers["x-ratelimit-remaining"] for _, headers in answers] == ["2", "1", "0", "0"], answers
        assert answers[-1][1]["x-envoy-ratelimited"] == "true", answers
        assert get(url, "somebody else")[0] == 200
        # What Envoy asked is what others are told.
        assert ask(descriptor(("user", "through envoy"), hits_addend={"value": 0})).overall_code == OVER
    finally:
        proxy.terminate()
        proxy.wait(DEADLINE_S)
