"""The proxy's own pages over plain HTTP: status, health, metrics, the shape of its errors.

Only the standard library is used, so that no client library smooths anything over.
"""

import json
import time
import urllib.error
import urllib.request

INSTANCE_FIELDS = {
    "name": str,
    "status": str,
    "current_tpm": int,
    "max_tpm": int,
    "tpm_usage_percent": (int, float),
    "error_count": int,
    "last_error": (str, type(None)),
    "rate_limited_until": (int, float, type(None)),
    "priority": int,
    "weight": int,
    "last_used": (int, float, type(None)),
}

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(url, body=None):
    """Sends a GET, or a POST when there is a body; returns status, headers and body whatever the status."""
    headers = {} if body is None else {"content-type": "application/json"}
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with DIRECT.open(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.headers, answer.read()


def chat(proxy_url):
    body = {"model": "gpt-4o-mini", "max_tokens": 16, "messages": [{"role": "user", "content": "Hello"}]}
    status, _, answer = call(f"{proxy_url}/v1/chat/completions", json.dumps(body).encode())
    assert status == 200, answer


def read_status(proxy_url):
    status, headers, body = call(f"{proxy_url}/v1/instances/status")
    assert status == 200
    assert headers.get_content_type() == "application/json"
    return json.loads(body)


def test_the_status_has_every_documented_field_in_its_type(proxy_url):
    chat(proxy_url)

    status = read_status(proxy_url)

    assert status["status"] == "success"
    assert type(status["timestamp"]) is int
    assert abs(status["timestamp"] - time.time()) < 60
    assert status["total_instances"] == 3
    assert status["healthy_instances"] == 3
    assert status["routing_strategy"] in {"failover", "priority", "round_robin", "weighted", "least_loaded"}
    assert [instance["name"] for instance in status["instances"]] == ["east", "west", "north"]
    for instance in status["instances"]:
        for field, types in INSTANCE_FIELDS.items():
            assert isinstance(instance[field], types) and not isinstance(instance[field], bool), (field, instance)
        assert instance["status"] == "healthy", instance


def test_the_status_shows_the_tokens_of_a_request(proxy_url):
    chat(proxy_url)

    status = read_status(proxy_url)

    assert sum(instance["current_tpm"] for instance in status["instances"]) > 0
    used = [instance["last_used"] for instance in status["instances"] if instance["last_used"] is not None]
    assert used and abs(max(used) - time.time()) < 60
    for instance in status["instances"]:
        share = 100 * instance["current_tpm"] / instance["max_tpm"]
        assert abs(instance["tpm_usage_percent"] - share) < 0.01, instance


def test_the_server_is_healthy_and_ready(proxy_url):
    for path in ("/health", "/health/ready"):
        status, _, body = call(proxy_url + path)

        assert status == 200, (path, body)


def test_metrics_are_in_the_text_format(proxy_url):
    chat(proxy_url)

    status, headers, body = call(f"{proxy_url}/metrics")

    assert status == 200
    assert headers.get_content_type() == "text/plain"
    lines = body.decode().splitlines()
    assert any(line.startswith("# TYPE ") for line in lines)
    assert any(line and not line.startswith("#") and float(line.rsplit(" ", 1)[1]) > 0 for line in lines)


def test_the_front_page_is_html(proxy_url):
    status, headers, body = call(f"{proxy_url}/")

    assert status == 200
    assert headers.get_content_type() == "text/html"
    assert b"<html" in body.lower()


def test_a_body_that_is_not_json_is_refused_in_the_shape_of_openai(proxy_url):
    status, headers, body = call(f"{proxy_url}/v1/chat/completions", b'{"model": "gpt-4o", ')

    assert status == 400
    assert headers.get_content_type() == "application/json"
    error = json.loads(body)["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


def test_an_unknown_path_is_a_404_in_the_shape_of_openai(proxy_url):
    status, _, body = call(f"{proxy_url}/v1/no-such-thing")

    assert status == 404
    assert json.loads(body)["error"]["message"]


def test_a_wrong_method_is_a_405_in_the_shape_of_openai(proxy_url):
    status, _, body = call(f"{proxy_url}/v1/chat/completions")

    assert status == 405
    assert json.loads(body)["error"]["message"]
