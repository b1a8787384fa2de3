"""Files and batches as objects: each owner's own, each put once, in a folder and on S3."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from openai.types import Batch, FileObject

from taiyi_ray import storage
from taiyi_ray.serve.batches import store as store_module
from taiyi_ray.serve.batches.store import BatchPlan, Ended, Store, UnitSpan
from taiyi_ray.serve.keys import Caller
from tests.serve.batches.batching import jsonl, line, ordered, results

ALICE, BOB = Caller("alice"), Caller("../alice", frozenset({"taiyi"}))


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path) -> Store:
    place = tmp_path / "batches" if request.param == "folder" else None
    return Store(str(place) if place else request.getfixturevalue("bucket") + "/batches")


def result(number: int, status: int | None = 200) -> dict:
    response = {"status_code": status, "request_id": "x", "body": {"text": "\ud800\u2028é"}}
    return {
        "id": f"batch_req_{number}",
        "custom_id": f"r{number}",
        "response": response if status else None,
        "error": None if status else {"code": "batch_cancelled", "message": "m"},
    }


def test_a_file_is_its_owners_alone_until_it_is_deleted(store):
    alice, bob = store.of(ALICE), store.of(BOB)
    file = alice.add_file("a b.jsonl", io.BytesIO(b"x" * 3_000_000))
    assert FileObject.model_validate(file.shown().model_dump(), strict=True).bytes == 3_000_000
    assert alice.file(file.id) == file and bob.file(file.id) is None
    assert storage.read(alice.content(file.id)) == b"x" * 3_000_000
    assert alice.files(None, 10) == ([file], False) and bob.files(None, 10) == ([], False)
    bob.remove_file(file.id)
    assert alice.file(file.id) == file
    alice.remove_file(file.id)
    assert alice.file(file.id) is None and storage.read(alice.content(file.id)) is None
    alice.remove_file(file.id)


def test_what_users_asked_is_not_for_others_on_the_machine(tmp_path):
    assert Path(Store(str(tmp_path / "a/b")).address).stat().st_mode & 0o777 == 0o700
    (tmp_path / "shared").mkdir(0o750)
    assert Path(Store(str(tmp_path / "shared")).address).stat().st_mode & 0o777 == 0o750


def test_pages_the_newest_first(store):
    shelf = store.of(ALICE)
    made = []
    for n in range(5):
        purpose = "batch" if n % 2 else "batch_output"
        made.append(shelf.add_file(str(n), io.BytesIO(b""), purpose=purpose).id)
        time.sleep(0.002)  # ids sort by milliseconds
    made.reverse()

    def page(*arguments):
        found, more = shelf.files(*arguments)
        return [file.id for file in found], more

    assert page(None, 2) == (made[:2], True)
    assert page(made[1], 3) == (made[2:], False)
    assert page(None, 5) == (made, False)
    assert page(made[-1], 5) == ([], False)
    assert page(None, 1, "batch") == ([made[1]], True)
    assert page(None, 9, "batch") == ([made[1], made[3]], False)


@pytest.mark.parametrize(
    "id_",
    ["", "x", "..", "../files/x", "file-", "batch_" + "0" * 31, "file-" + "G" * 32,
     "batch_" + "0" * 32 + "\n", "%2e%2e", "batch_../../0000000000000000000000000000"],
)  # fmt: skip
def test_what_is_no_id_is_not_there(tmp_path, id_):
    shelf = Store(str(tmp_path)).of(ALICE)
    (tmp_path / "x.json").write_text("{}")
    assert shelf.file(id_) is None and shelf.batch(id_) is None and shelf.ended(id_) is None


def test_ids_cannot_be_guessed_and_sort_by_time():
    ids = [store_module._new_id("file-") for _ in range(1000)]
    assert all(store_module._ID.fullmatch(id_) for id_ in ids)
    assert len({id_[17:] for id_ in ids}) == 1000
    assert [id_[:17] for id_ in ids] == sorted(id_[:17] for id_ in ids)
    assert abs(store_module.made_at(store_module._new_id("batch_")) - time.time()) < 60


def test_a_batch_from_order_to_end(store):
    order = ordered(store, jsonl([line(n) for n in range(5)]), BOB)
    shelf = store.of(BOB)
    assert shelf.batch(order.id) == order and store.of(ALICE).batch(order.id) is None
    assert order.caller == BOB
    assert [(s.owner, id_, c) for s, id_, c in store.open()] == [(shelf.owner, order.id, False)]
    assert shelf.shown(order).status == "validating"
    assert shelf.user_of(order.input_file_id) == order.id

    plan = BatchPlan(started_at=7, spans=[UnitSpan(0, 2, 0, 10), UnitSpan(3, 4, 10, 5)])
    assert shelf.put_plan(order.id, plan) == plan
    assert shelf.put_plan(order.id, plan.model_copy(update={"started_at": 8})) == plan
    shown = shelf.shown(order)
    assert (shown.status, shown.in_progress_at) == ("in_progress", 7)
    assert shown.request_counts.to_dict() == {"total": 5, "completed": 0, "failed": 0}

    first, second = (shelf.unit(order, span) for span in plan.spans)
    assert shelf.commit(second, [result(3, 422), result(4)])
    assert not shelf.commit(second, [result(3), result(4)]), "what stands, stands"
    shown = shelf.shown(order)
    assert shown.request_counts.to_dict() == {"total": 5, "completed": 1, "failed": 1}
    shelf.cancel(order.id)
    shelf.cancel(order.id)
    assert [cancelled for _, _, cancelled in store.open()] == [True]
    shown = shelf.shown(order)
    assert shown.status == "cancelling" and abs(shown.cancelling_at - time.time()) < 60

    assert shelf.commit(first, [result(0), result(1, 404), result(2, None)])
    counts = shelf.counts(list(shelf.committed(order.id)))
    assert counts == {"completed": 2, "failed": 2, "left": 1}
    lines = [*shelf.results(first), *shelf.results(second)]
    assert [json.loads(one)["custom_id"] for _, one in lines] == [f"r{n}" for n in range(5)]
    assert [completed for completed, _ in lines] == [True, False, False, False, True]

    ended = Ended(status="cancelled", times={"cancelled_at": 9}, total=5, completed=2, failed=2)
    shelf.end(order.id, ended)
    shelf.end(order.id, Ended(status="completed", times={}))
    assert list(store.open()) == [] and shelf.user_of(order.input_file_id) is None
    shown = shelf.shown(order)
    assert (shown.status, shown.cancelled_at, shown.errors) == ("cancelled", 9, None)
    assert Batch.model_validate(shown.model_dump(), strict=True)
    assert shelf.batches(None, 5) == ([shown], False)
    assert results(store, order) == []
