"""The runner: every request answered once, in order, however often it is started again."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taiyi_ray import storage
from taiyi_ray.serve.batches import runner as runner_module
from taiyi_ray.serve.batches.store import WINDOW, Store, _new_id
from taiyi_ray.serve.keys import EVERYBODY, Caller
from tests.serve.batches.batching import (
    Service,
    jsonl,
    line,
    ordered,
    results,
    runner,
    running,
    until,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "batches"))


def shown(store, order):
    return store.of(order.caller).shown(order)


def ended(store, *orders):
    return lambda: all(store.of(order.caller).ended(order.id) for order in orders)


def ids(lines) -> list[str]:
    return [one["custom_id"] for one in lines]


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_batch_is_answered_in_order_and_errors_are_apart(kind, request, tmp_path):
    place = str(tmp_path) if kind == "folder" else request.getfixturevalue("bucket")
    store = Store(place)
    order = ordered(store, jsonl([line(n) for n in range(40)]))
    service = Service(0.01, lambda body: 422 if "7" in body["text"] else 200)
    asyncio.run(running(runner(store, service), ended(store, order)))
    failed = [f"r{n}" for n in (7, 17, 27, 37)]
    output, errors = results(store, order), results(store, order, "error")
    assert ids(output) == [f"r{n}" for n in range(40) if f"r{n}" not in failed]
    assert ids(errors) == failed
    assert {one["response"]["status_code"] for one in errors} == {422}
    for one in output:
        text = line(int(one["custom_id"][1:]))["body"]["text"]
        assert one["response"]["body"] == {"echo": text} and one["error"] is None
    assert len({one["id"] for one in output + errors}) == 40
    assert set(service.asked.values()) == {1} and service.most <= 8
    found = shown(store, order)
    assert found.status == "completed"
    assert found.request_counts.to_dict() == {"total": 40, "completed": 36, "failed": 4}
    assert found.created_at <= found.in_progress_at <= found.finalizing_at <= found.completed_at
    assert list(store.open()) == []


def test_a_runner_that_is_started_again_does_only_what_was_not_committed(store):
    order = ordered(store, jsonl([line(n) for n in range(200)]))
    shelf = store.of(EVERYBODY)
    first, second = Service(0.02), Service(0.0)
    asyncio.run(running(runner(store, first), lambda: len(shelf.committed(order.id)) >= 5))
    there = shelf.committed(order.id)
    assert shelf.ended(order.id) is None and len(there) < 17
    asyncio.run(running(runner(store, second), ended(store, order)))
    assert {name: tag for name, tag in shelf.committed(order.id).items() if name in there} == there
    done = sum(shelf.counts(list(there)).values())
    assert second.asked.total() == 200 - done and set(second.asked.values()) == {1}
    assert ids(results(store, order)) == [f"r{n}" for n in range(200)]


@settings(max_examples=15)
@given(
    number=st.integers(1, 60),
    stops=st.lists(st.floats(0, 0.05), max_size=6),
    together=st.booleans(),
)
def test_results_are_there_once_wherever_runners_are_stopped(
    tmp_path_factory, number, stops, together
):
    store = Store(str(tmp_path_factory.mktemp("batches")))
    order = ordered(store, jsonl([line(n) for n in range(number)]))

    async def disturbed() -> None:
        service = Service(0.003)
        for seconds in stops:
            others = [running(runner(store, service), asyncio.sleep(seconds))]
            if together:
                others.append(running(runner(store, service), asyncio.sleep(seconds / 2)))
            await asyncio.gather(*others)
        await running(runner(store, service), ended(store, order))

    asyncio.run(disturbed())
    assert ids(results(store, order)) == [f"r{n}" for n in range(number)]
    assert shown(store, order).request_counts.completed == number


def test_two_runners_at_once_make_the_same_files(store):
    order = ordered(store, jsonl([line(n) for n in range(100)]))

    async def both() -> None:
        service = Service(0.005)
        await asyncio.gather(
            *(running(runner(store, service), ended(store, order)) for _ in range(2))
        )

    asyncio.run(both())
    assert ids(results(store, order)) == [f"r{n}" for n in range(100)]
    assert len(store.of(EVERYBODY).files(None, 10)[0]) == 2


def test_cancelled_it_stops_at_once_and_keeps_what_was_answered(store):
    order = ordered(store, jsonl([line(n) for n in range(100)]))
    shelf = store.of(EVERYBODY)
    # All but the first answers of a unit take for ever.
    service = Service(3600)

    async def ask(url, body, order, id_):
        number = int(body["text"].split()[-1].rstrip("."))
        service.seconds = 0 if number < 8 else 3600
        return await service(url, body, order, id_)

    async def cancelled() -> None:
        worker = runner(store, ask)

        async def steps() -> None:
            await until(lambda: service.at_work == 8)
            shelf.cancel(order.id)
            assert shown(store, order).status == "cancelling"
            worker.look()
            await until(ended(store, order))

        await running(worker, steps())

    asyncio.run(cancelled())
    assert service.broken_off == 8 and service.asked.total() == 16
    found = shown(store, order)
    assert found.status == "cancelled" and found.cancelled_at >= found.cancelling_at
    assert found.request_counts.to_dict() == {"total": 100, "completed": 8, "failed": 0}
    assert ids(results(store, order)) == [f"r{n}" for n in range(8)]
    left = results(store, order, "error")
    assert ids(left) == [f"r{n}" for n in range(8, 100)]
    assert {one["error"]["code"] for one in left} == {"batch_cancelled"}
    assert {one["response"] for one in left} == {None}


def test_one_cancelled_before_it_began_asks_nothing(store):
    order = ordered(store, jsonl([line(n) for n in range(100)]))
    store.of(EVERYBODY).cancel(order.id)
    service = Service()
    asyncio.run(running(runner(store, service), ended(store, order)))
    assert not service.asked and shown(store, order).status == "cancelled"
    assert len(results(store, order, "error")) == 100 and results(store, order) == []
    assert list(store.open()) == []


def test_after_its_window_a_batch_expires_with_what_was_answered(store):
    order = ordered(store, jsonl([line(n) for n in range(20)]))
    answered = Service()

    async def ask(url, body, order, id_):
        answered.seconds = 3600 if answered.asked.total() >= 4 else 0
        return await answered(url, body, order, id_)

    # It was created almost a window ago.
    path = next(
        one.path for one in storage.walk(store.address) if f"batches/{order.id}" in one.path
    )
    old = order.model_copy(update={"created_at": int(time.time()) - WINDOW + 2})
    storage.replace(path, old.model_dump_json().encode())
    asyncio.run(running(runner(store, ask), ended(store, order)))
    found = shown(store, old)
    assert found.status == "expired" and found.expired_at >= found.expires_at
    assert found.request_counts.to_dict() == {"total": 20, "completed": 4, "failed": 0}
    left = results(store, order, "error")
    assert {one["error"]["code"] for one in left} == {"batch_expired"} and len(left) == 16
    assert {*ids(results(store, order)), *ids(left)} == {f"r{n}" for n in range(20)}
    assert [int(id_[1:]) for id_ in ids(left)] == sorted(int(id_[1:]) for id_ in ids(left))


def test_an_input_that_is_wrong_or_gone_fails_the_batch(store):
    wrong = ordered(store, jsonl([line(0), line(0)]))
    gone = ordered(store, jsonl([line(0)]))
    store.of(EVERYBODY).remove_file(gone.input_file_id)
    service = Service()
    asyncio.run(running(runner(store, service), ended(store, wrong, gone)))
    found = shown(store, wrong)
    assert found.status == "failed" and found.failed_at and found.output_file_id is None
    assert [(e.code, e.line) for e in found.errors.data] == [("duplicate_custom_id", 2)]
    assert [e.code for e in shown(store, gone).errors.data] == ["file_not_found"]
    assert not service.asked and list(store.open()) == []


def test_a_batch_of_another_model_waits_for_it(store):
    other = ordered(store, jsonl([line(0)]), digest="other")
    mine = ordered(store, jsonl([line(1)]))
    service = Service()
    asyncio.run(running(runner(store, service), ended(store, mine)))
    assert list(service.asked) == [line(1)["body"]["text"]]
    assert shown(store, other).status == "validating"
    asyncio.run(running(runner(store, service, digest="other"), ended(store, other)))
    assert ids(results(store, other)) == ["r0"]


def test_a_batch_rests_while_its_key_is_taken_out(store, monkeypatch):
    """What is at work is broken off; it goes on where it was when the key is back."""
    monkeypatch.setattr(runner_module, "_AGAIN", 0.1)
    monkeypatch.setattr(runner_module, "_LOOK", 0.05)
    alice = ordered(store, jsonl([line(n) for n in range(100)]), Caller("alice"))
    bob = ordered(store, jsonl([line(n) for n in range(200, 210)]), Caller("bob"))
    shelf, keys = store.of(Caller("alice")), {"alice", "bob"}
    service = Service()

    async def ask(url, body, order, id_):
        number = int(body["text"].split()[-1].rstrip("."))
        service.seconds = 3600 if "alice" in keys and 8 <= number < 200 else 0
        return await service(url, body, order, id_)

    async def known(key: str) -> bool:
        return key in keys

    async def taken_out() -> None:
        await until(lambda: service.at_work == 8 and shelf.committed(alice.id))
        keys.remove("alice")
        await until(ended(store, bob))
        await until(lambda: service.at_work == 0)
        asked = service.asked.total()
        await asyncio.sleep(0.5)  # several looks
        assert service.asked.total() == asked and shown(store, alice).status == "in_progress"

    async def back() -> None:
        keys.add("alice")
        await until(ended(store, alice))

    asyncio.run(running(runner(store, ask, known), taken_out()))
    assert service.broken_off == 8
    there = shelf.committed(alice.id)
    asyncio.run(running(runner(store, Service(), known), back()))
    assert {name: tag for name, tag in shelf.committed(alice.id).items() if name in there} == there
    assert ids(results(store, alice)) == [f"r{n}" for n in range(100)]


def test_a_batch_whose_key_stays_away_expires(store):
    order = ordered(store, jsonl([line(n) for n in range(4)]), Caller("alice"))
    path = next(
        one.path for one in storage.walk(store.address) if f"batches/{order.id}" in one.path
    )
    old = order.model_copy(update={"created_at": int(time.time()) - WINDOW})
    storage.replace(path, old.model_dump_json().encode())
    service = Service()

    async def nobody(key: str) -> bool:
        return False

    asyncio.run(running(runner(store, service, nobody), ended(store, order)))
    assert not service.asked and shown(store, old).status == "expired"


def test_a_fault_in_one_batch_is_tried_again_and_holds_no_other(store, monkeypatch):
    monkeypatch.setattr(runner_module, "_AGAIN", 0.1)
    faulty = ordered(store, jsonl([line(n) for n in range(100)]))
    sound = ordered(store, jsonl([line(n) for n in range(100, 120)]))
    service, faults = Service(), Counter[str]()

    async def ask(url, body, order, id_):
        if order.id == faulty.id and faults[id_] < 2 and body["text"].endswith("50."):
            faults[id_] += 1
            raise OSError("a cable")
        return await service(url, body, order, id_)

    asyncio.run(running(runner(store, ask), ended(store, faulty, sound)))
    assert faults.total() == 2
    for order, numbers in ((faulty, range(100)), (sound, range(100, 120))):
        assert ids(results(store, order)) == [f"r{n}" for n in numbers]


def test_owners_take_turns(store, monkeypatch):
    monkeypatch.setattr(runner_module, "_AT_ONCE", 2)
    alice = [ordered(store, jsonl([line(n) for n in range(30)]), Caller("alice")) for _ in range(4)]
    bob = ordered(store, jsonl([line(n) for n in range(30)]), Caller("bob"))
    service = Service(0.01)
    asyncio.run(running(runner(store, service), ended(store, bob)))
    assert sum(ended(store, order)() for order in alice) <= 2
    asyncio.run(running(runner(store, service), ended(store, *alice)))


def test_only_units_at_work_are_in_memory(store):
    """Of a large file about as many requests are read as can be in flight."""
    body = {"text": "x" * 50_000}
    order = ordered(store, jsonl([line(n, body) for n in range(400)]))
    read = Counter[str]()
    whole = storage.read_part
    service = Service(3600)

    def counted(path, start, size):
        read["bytes"] += size
        return whole(path, start, size)

    async def steps(patch) -> None:
        patch.setattr(storage, "read_part", counted)
        worker = runner(store, service)
        await running(worker, until(lambda: service.at_work == 8))
        assert storage.stat(store.of(EVERYBODY).content(order.input_file_id)).size > 20_000_000
        assert read["bytes"] < 3_000_000

    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(steps(patch))


def test_marks_without_a_batch_are_taken_away_when_they_are_old(store):
    shelf = store.of(EVERYBODY)
    old, new = _new_id("batch_"), _new_id("batch_")
    old = f"batch_{int((time.time() - 7200) * 1000):012x}{old[-20:]}"
    for id_ in (old, new):
        storage.put_if_absent(f"{store.address}/open/{shelf.owner}/{id_}", b"")
    done = ordered(store, jsonl([line(0)]))
    asyncio.run(running(runner(store, Service()), ended(store, done)))
    shelf.cancel(done.id)  # as one who looked just before its end
    asyncio.run(
        running(runner(store, Service()), lambda: [id_ for _, id_, _ in store.open()] == [new])
    )
    assert shown(store, done).status == "completed"


def test_the_output_is_json_lines_whatever_an_answer_holds(store):
    nasty = 'a\nb\r\u2028\u2029\x85\x1c"\ud800'

    async def ask(url, body, order, id_):
        return await Service()(url, {"text": nasty}, order, id_)

    order = ordered(store, jsonl([line(0)]))
    asyncio.run(running(runner(store, ask), ended(store, order)))
    assert results(store, order)[0]["response"]["body"] == {"echo": nasty}
    path = store.of(EVERYBODY).content(shown(store, order).output_file_id)
    assert json.loads(io.BytesIO(storage.read(path) or b"").read())
