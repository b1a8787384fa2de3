"""Requests of batches are answered by the service's own routes, with the share that is theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from taiyi_ray.config import ServeConfig
from taiyi_ray.errors import EngineDied
from taiyi_ray.serve.keys import EVERYBODY, Caller
from taiyi_ray.serve.problems import Problem
from taiyi_ray.serve.service import Service
from tests.serve.batches.batching import URL

TEXT = "Aspirin eased headache in patients with migraine."


def served(act: Callable[[Service], Coroutine[Any, Any, None]], **settings: Any) -> None:
    """Do something with a replica of the fake engine, in this process."""

    async def inside() -> None:
        config = ServeConfig(engine="fake", context_length=4096, **settings)
        service = Service(config, "fake")
        service.__serve_build_asgi_app__()
        await act(service)

    asyncio.run(inside())


@pytest.mark.parametrize(
    ("url", "body", "status", "words"),
    [
        (URL, {"txt": TEXT}, 422, "txt"),
        (URL, {"text": ""}, 422, "text"),
        (URL, {"text": TEXT, "max_tokens": 10_000}, 422, "tokens"),
        (URL, {"text": TEXT, "model": "none"}, 404, "none"),
        (URL, {"documents": [{"text": TEXT}] * 65}, 413, "65 documents"),
        (URL, {"text": TEXT, "stream": True}, 400, "not supported in a batch"),
        ("/v1/embeddings", {"text": TEXT}, 404, "/v1/embeddings"),
    ],
)
def test_what_is_wrong_with_a_request_is_its_answer(url, body, status, words):
    async def act(service: Service) -> None:
        found, answer = await service.answer(url, body, EVERYBODY, "batch_req_1")
        assert found == status and words in answer["error"]["message"]
        assert answer["error"]["code"] == status

    served(act)


def test_it_is_answered_as_others_are():
    async def act(service: Service) -> None:
        status, answer = await service.answer(URL, {"text": TEXT}, EVERYBODY, "batch_req_1")
        assert status == 200 and answer["rows"][0]["status"] == "ok"
        assert answer["rows"][0]["run_id"] == "batch_req_1"
        caller = Caller("bob", frozenset({"taiyi:ner"}))
        status, answer = await service.answer(URL, {"text": TEXT}, caller, "batch_req_2")
        assert status == 403 and "bob" in answer["error"]["message"]

    served(act)


def test_batches_leave_half_of_the_slots_to_others():
    async def act(service: Service) -> None:
        two = {"documents": [{"text": TEXT}] * 2}
        answers = await asyncio.gather(
            *(service.answer(URL, two, EVERYBODY, str(n)) for n in range(5))
        )
        # One waits for the first two; those behind it are told to come again.
        assert sorted(status for status, _ in answers) == [200, 200, 200, 503, 503]
        assert service._admission.taken == 0
        with service._admission.take(7):  # others were first
            asking = asyncio.ensure_future(service.answer(URL, two, EVERYBODY, "6"))
            await asyncio.sleep(0.3)
            assert not asking.done() and service._admission.taken == 8
        assert (await asking)[0] == 200 and service._admission.taken == 0

    served(act, document_slots=8, engine_args={"latency": 0.1})


@pytest.mark.parametrize("documents", [4, 6, 64])
def test_a_request_of_many_documents_comes_to_its_turn_however_many_others_ask(documents):
    """Both those in batches, which have one document each, and those that come from outside."""

    async def act(service: Service) -> None:
        ended = asyncio.Event()

        async def others() -> None:
            while not ended.is_set():
                await service.answer(URL, {"text": TEXT}, EVERYBODY, "small")
                await asyncio.sleep(0)

        async def outside() -> None:
            while not ended.is_set():
                try:
                    with service._admission.take(1):
                        await asyncio.sleep(0.01)
                except Problem:
                    await asyncio.sleep(0.01)

        asking = [asyncio.ensure_future(one()) for one in [others] * 12 + [outside] * 12]
        await asyncio.sleep(0.1)
        large = {"documents": [{"text": TEXT}] * documents}
        async with asyncio.timeout(60):
            while (found := await service.answer(URL, large, EVERYBODY, "large"))[0] == 503:
                await asyncio.sleep(0.01)
        ended.set()
        await asyncio.gather(*asking)
        assert found[0] == 200 and len(found[1]["rows"]) == documents
        assert service._admission.taken == 0

    served(act, document_slots=8, engine_args={"latency": 0.01})


def test_who_waits_and_goes_away_gives_back_what_it_had():
    async def act(service: Service) -> None:
        four = {"documents": [{"text": TEXT}] * 4}
        with service._admission.take(6):
            asking = asyncio.ensure_future(service.answer(URL, four, EVERYBODY, "1"))
            while service._admission.taken < 8:
                await asyncio.sleep(0.01)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert service._admission.taken == 6
        assert (await service.answer(URL, four, EVERYBODY, "2"))[0] == 200

    served(act, document_slots=8)


def test_what_is_cancelled_gives_its_slot_back():
    async def act(service: Service) -> None:
        asking = asyncio.ensure_future(service.answer(URL, {"text": TEXT}, EVERYBODY, "1"))
        while not service._admission.taken:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert service._admission.taken == 0

    served(act, engine_args={"latency": 3600})


def test_an_engine_that_dies_at_it_is_told_from_one_that_is_dead():
    async def act(service: Service) -> None:
        body = {"text": f"poison {TEXT}"}
        with pytest.raises(EngineDied):
            await service.answer(URL, body, EVERYBODY, "1")
        assert (await service.answer(URL, body, EVERYBODY, "1"))[0] == 503

    served(act, engine_args={"die_on": "poison"})
