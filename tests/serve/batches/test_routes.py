"""The routes of files and batches: OpenAI's shapes, and to each key its own."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fastapi import APIRouter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types import Batch, FileDeleted, FileObject
from starlette.testclient import TestClient

from taiyi_ray.serve import api
from taiyi_ray.serve.batches import routes
from taiyi_ray.serve.batches.store import Store
from taiyi_ray.serve.keys import Caller, Keys
from tests.serve.batches.batching import URL, Service, jsonl, line, results, runner, running

KEYS = {"alice": "taiyi-a", "bob": "taiyi-b"}
GOOD = jsonl([line(n) for n in range(3)])


class Counts:
    def request(self, route, status, first_byte, seconds):
        assert status


class Served:
    """The routes in this process; `client` is alice's."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(str(folder / "store"))
        self.told = 0
        entries = {
            name: {"sha256": hashlib.sha256(key.encode()).hexdigest(), "requests_a_minute": 10_000}
            for name, key in KEYS.items()
        }
        (folder / "keys.yaml").write_text(yaml.safe_dump(entries))
        app = api.application(
            [routes.router(self.store, [URL, "/v1/completions"], "m", self.tell)],
            Keys(str(folder / "keys.yaml")),
            Counts(),
            APIRouter(),
            most_bytes=1 << 20,
            most_bytes_at={"/v1/files": 3 << 20},
            time_limit=60,
        )
        self.client, self.bob = (
            TestClient(app, headers={"authorization": f"Bearer {key}"}) for key in KEYS.values()
        )

    def tell(self) -> None:
        self.told += 1

    def upload(self, data: bytes = GOOD, name: str = "in.jsonl", purpose: str = "batch"):
        return self.client.post(
            "/v1/files", files={"file": (name, data)}, data={"purpose": purpose}
        )

    def create(self, file: str, **more):
        body = {"input_file_id": file, "endpoint": URL, "completion_window": "24h", **more}
        return self.client.post("/v1/batches", json=body)

    def work(self) -> None:
        """Have a runner answer all there is."""
        asyncio.run(running(runner(self.store, Service()), lambda: not list(self.store.open())))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    yield Served(tmp_path)


def problem(response, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == status and all(word in error["message"] for word in words), error


def test_a_file_comes_back_as_it_was(served):
    data = "名\r\n\x00".encode() * 100_000
    response = served.upload(data, "名 a.jsonl")
    file = FileObject.model_validate(response.json(), strict=True)
    assert (file.bytes, file.filename, file.purpose) == (len(data), "名 a.jsonl", "batch")
    assert served.client.get(f"/v1/files/{file.id}").json() == response.json()
    content = served.client.get(f"/v1/files/{file.id}/content")
    assert content.content == data and content.headers["content-length"] == str(len(data))
    listed = served.client.get("/v1/files").json()
    assert listed == {
        "object": "list", "data": [response.json()],
        "first_id": file.id, "last_id": file.id, "has_more": False,
    }  # fmt: skip
    deleted = served.client.delete(f"/v1/files/{file.id}").json()
    assert FileDeleted.model_validate(deleted, strict=True).deleted
    for path in (f"/v1/files/{file.id}", f"/v1/files/{file.id}/content"):
        problem(served.client.get(path), 404, file.id)
    assert served.client.get("/v1/files").json()["data"] == []


def test_a_file_that_is_too_large_or_for_something_else_is_refused(served):
    problem(served.upload(b"x" * (4 << 20)), 413, "3 MB")
    problem(served.upload(purpose="assistants"), 400, "purpose")
    problem(served.client.post("/v1/files", data={"purpose": "batch"}), 400, "file")
    problem(served.client.post("/v1/files", json={"file": "x"}), 400)
    assert served.client.get("/v1/files").json()["data"] == []


_PARTS = st.lists(
    st.tuples(
        st.sampled_from(
            [b'name="file"; filename="a"', b'name="purpose"', b'name="file"', b'name="x"', b"",
             b'name="file"; filename="\xff\xed\xa0\x80"', b"name=file; filename*=utf-16''%d8%00"]
        ),
        st.binary(max_size=20) | st.sampled_from([b"batch", GOOD, b"\r\n--", b"--B"]),
    ),
    max_size=4,
)  # fmt: skip


# Starlette leaves the file of a form that ends early to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=_PARTS,
    kind=st.sampled_from(
        ["multipart/form-data; boundary=B", "multipart/form-data", "multipart/form-data; boundary=",
         "multipart/form-data; boundary=B; charset=utf-16", "multipart/form-data; charset=no",
         "multipart/form-data; boundary=\xff", "application/x-www-form-urlencoded", "text/plain"]
    ),
    end=st.sampled_from([b"--B--\r\n", b"--B--", b"--B", b""]),
)  # fmt: skip
def test_whatever_is_uploaded_is_no_fault_of_ours(served, parts, kind, end):
    body = b"".join(
        b"--B\r\ncontent-disposition: form-data; " + head + b"\r\n\r\n" + data + b"\r\n"
        for head, data in parts
    )
    header = [(b"content-type", kind.encode("latin-1"))]
    answer = served.client.post("/v1/files", content=body + end, headers=header)
    assert answer.status_code < 500, answer.text
    if answer.status_code == 200:
        assert served.client.get(f"/v1/files/{answer.json()['id']}").status_code == 200


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/v1/files", "/v1/batches"]),
    query=st.dictionaries(
        st.sampled_from(["after", "limit", "order", "purpose"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
        | st.sampled_from(["\0", "9" * 5000, "-1", "1e9", "batch", "desc"]),
    ),
)
def test_whatever_a_list_is_asked_with_is_no_fault_of_ours(served, path, query):
    assert served.client.get(path, params=query).status_code < 500


def test_a_batch_from_upload_to_download(served):
    file = served.upload().json()["id"]
    response = served.create(file, metadata={"run": "7"})
    batch = Batch.model_validate(response.json(), strict=True)
    assert (batch.status, batch.input_file_id, batch.metadata) == ("validating", file, {"run": "7"})
    assert batch.expires_at == batch.created_at + 24 * 3600 and served.told == 1
    problem(served.client.delete(f"/v1/files/{file}"), 409, batch.id, "cancel the batch first")
    served.work()
    batch = Batch.model_validate(served.client.get(f"/v1/batches/{batch.id}").json(), strict=True)
    assert batch.status == "completed" and batch.error_file_id is None and batch.completed_at
    content = served.client.get(f"/v1/files/{batch.output_file_id}/content").text
    assert content.count("\n") == 3
    of_batch = served.client.get("/v1/files", params={"purpose": "batch_output"}).json()
    assert [one["id"] for one in of_batch["data"]] == [batch.output_file_id]
    problem(served.client.post(f"/v1/batches/{batch.id}/cancel"), 409, "completed")
    problem(served.create(batch.output_file_id), 400, "uploaded")
    assert served.client.delete(f"/v1/files/{file}").status_code == 200


def test_a_cancelled_batch(served):
    id_ = served.create(served.upload().json()["id"]).json()["id"]
    for _ in range(2):
        response = served.client.post(f"/v1/batches/{id_}/cancel")
        assert Batch.model_validate(response.json(), strict=True).status == "cancelling"
    assert served.told == 3
    served.work()
    assert served.client.get(f"/v1/batches/{id_}").json()["status"] == "cancelled"


def test_what_a_batch_must_say(served):
    file = served.upload().json()["id"]
    problem(served.create("file-" + "0" * 32), 400, "no file")
    problem(served.create("../keys"), 400, "no file")
    problem(served.create(file, endpoint="/v1/embeddings"), 400, "/v1/embeddings", URL)
    problem(served.create(file, completion_window="1h"), 400, "completion_window")
    problem(served.create(file, output_expires_after={}), 400, "output_expires_after")
    problem(served.create(file, metadata={str(n): "" for n in range(17)}), 400, "metadata")
    problem(served.create(file, metadata={"a": "b" * 513}), 400, "metadata")
    assert served.told == 0 and served.client.get("/v1/batches").json()["data"] == []


def test_batches_by_pages(served):
    file = served.upload().json()["id"]
    made = {served.create(file).json()["id"] for _ in range(5)}
    first = served.client.get("/v1/batches", params={"limit": 2}).json()
    second = served.client.get("/v1/batches", params={"after": first["last_id"]}).json()
    assert first["has_more"] and not second["has_more"]
    ids = [one["id"] for one in first["data"] + second["data"]]
    assert set(ids) == made and ids == sorted(ids, key=lambda id_: id_[:18], reverse=True)
    assert (second["first_id"], second["last_id"]) == (ids[2], ids[4])
    problem(served.client.get("/v1/batches", params={"limit": 0}), 400, "limit")


def test_nobody_sees_what_is_anothers(served):
    file = served.upload().json()["id"]
    batch = served.create(file).json()["id"]
    served.work()
    output = served.client.get(f"/v1/batches/{batch}").json()["output_file_id"]
    bob = served.bob
    for id_ in (file, output):
        problem(bob.get(f"/v1/files/{id_}"), 404)
        problem(bob.get(f"/v1/files/{id_}/content"), 404)
        problem(bob.delete(f"/v1/files/{id_}"), 404)
    problem(bob.get(f"/v1/batches/{batch}"), 404)
    problem(bob.post(f"/v1/batches/{batch}/cancel"), 404)
    body = {"input_file_id": file, "endpoint": URL, "completion_window": "24h"}
    problem(bob.post("/v1/batches", json=body), 400, "no file")
    assert bob.get("/v1/files").json()["data"] == bob.get("/v1/batches").json()["data"] == []
    assert len(results(served.store, served.store.of(Caller("alice")).batch(batch))) == 3
    for path in ("/v1/files", "/v1/batches"):
        problem(TestClient(bob.app).get(path), 401)


@pytest.mark.parametrize(
    "id_", ["..", "%2e%2e%2fplans%2fx", "file-..%2f..%2fopen", "a" * 5000, "file-" + "0" * 32]
)
def test_an_id_is_no_path(served, id_):
    served.create(served.upload().json()["id"])
    for path in (f"/v1/files/{id_}", f"/v1/files/{id_}/content", f"/v1/batches/{id_}"):
        assert served.client.get(path).status_code in (404, 200) and (
            served.client.get(path).status_code == 404 or path.endswith("..")
        )
