"""The application as a whole: health, keys, its description, and requests that a fuzzer makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from taiyi_ray.serve.keys import add_key
from tests.serve.serving import MIGRAINE, client, fuzz


@pytest.fixture(scope="module")
def service() -> Iterator[TestClient]:
    with client() as testing:
        yield testing


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/annotate"), ("GET", "/v1/tasks"), ("GET", "/health"), ("GET", "/ready")],
)
def test_nothing_that_a_fuzzer_sends_is_a_fault(service, method, path):
    seen = fuzz(service, method, path, good=40, bad=40 if method == "POST" else 0)
    assert seen[200] or method == "POST"


_LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)


@given(
    headers=st.dictionaries(
        st.sampled_from(
            ["host", "origin", "accept", "content-type", "authorization", "accept-encoding",
             "cookie", "x-request-id", "transfer-encoding", "content-encoding", "expect"]
        ),
        _LATIN
        | st.sampled_from(
            ["[", "http://[", "application/json; charset=\xff", "multipart/form-data",
             "multipart/form-data; boundary=\xff", "application/x-www-form-urlencoded",
             "application/json; charset=utf-16", "text/plain", "*/*;q=\xb2", "gzip"]
        ),
    ),
    body=st.binary(max_size=40) | st.just(b'{"text": "a", "tasks": ["tc"]}'),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"]),
    path=st.sampled_from(["/", "/health", "/v1/annotate", "/v1/tasks", "/nope", "/openapi.json"]),
    query=_LATIN,
)  # fmt: skip
def test_whatever_the_headers_and_the_body_are_is_no_fault_of_ours(
    service, headers, body, method, path, query
):
    given_ = {"host": "localhost", "content-type": "application/json", **headers}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in given_.items()]
    answer = service.request(
        method, path, params={"q": query}, content=body, headers=raw, follow_redirects=False
    )
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400 and method != "HEAD":
        assert answer.json()["error"]["code"] == answer.status_code


def test_health_and_readiness(service):
    health = service.get("/health").json()
    assert health == {
        "status": "alive", "model": "taiyi", "slots_taken": 0, "slots": 64, "questions": 0,
    }  # fmt: skip
    assert service.get("/ready").json()["status"] == "ready"


def test_an_engine_that_ended_is_neither_alive_nor_ready():
    with client(engine_args={"die_on": "poison"}) as service:
        answer = service.post("/v1/annotate", json={"text": "a poison"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
        for path in ("/health", "/ready"):
            assert service.get(path).status_code == 503


def test_with_keys_the_routes_are_closed_and_the_page_is_not(tmp_path):
    file = str(tmp_path / "keys.yaml")
    key = add_key(file, "alice")
    with client(api_keys_file=file) as service:
        for path in ("/", "/health", "/ready", "/openapi.json"):
            assert service.get(path).status_code == 200
        assert service.get("/v1/tasks").status_code == 401
        assert service.post("/v1/annotate", json={"text": "a"}).status_code == 401
        service.headers["authorization"] = f"Bearer {key}"
        assert service.get("/v1/tasks").status_code == 200
        assert service.post("/v1/annotate", json={"text": MIGRAINE}).status_code == 200


def test_a_key_for_another_model_is_refused(tmp_path):
    file = tmp_path / "keys.yaml"
    key = add_key(str(file), "alice")
    file.write_text(file.read_text() + "  models: ['taiyi:ner']\n")
    with client(api_keys_file=str(file)) as service:
        answer = service.post(
            "/v1/annotate", json={"text": "a"}, headers={"authorization": f"Bearer {key}"}
        )
    assert answer.status_code == 403
    assert "it is for taiyi:ner" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nope", 404), ("GET", "/v1/annotate", 405)]
)
def test_what_is_not_there_is_told_as_all_else(service, method, path, status):
    answer = service.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == status
    assert f"{method} {path}" in answer.json()["error"]["message"]


def test_the_description_names_all_and_has_examples(service):
    found = service.get("/openapi.json").json()
    assert {"/v1/annotate", "/v1/tasks", "/health", "/ready"} <= set(found["paths"])
    assert found["components"]["schemas"]["AnnotateRequest"]["examples"]
    content = found["paths"]["/v1/annotate"]["post"]["responses"]["200"]["content"]
    assert "application/bioc+xml" in content and "application/json" in content
    assert found["components"]["securitySchemes"]
    for path, operations in found["paths"].items():
        for operation in operations.values():
            assert operation["summary"] and operation["responses"], path


def test_the_examples_of_the_description_are_answered(service):
    schemas = service.get("/openapi.json").json()["components"]["schemas"]
    for example in schemas["AnnotateRequest"]["examples"]:
        answer = service.post("/v1/annotate", json=example)
        assert answer.status_code == 200
        assert answer.json()["rows"][0]["status"] == "ok"


def test_the_page_runs_and_fetches_nothing_from_elsewhere(service):
    policy = service.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "http" not in policy
