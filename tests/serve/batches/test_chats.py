"""A batch of chats on the real engine, by OpenAI's client."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from tests.serve.batches.batching import jsonl
from tests.serve.live import Live

# torch and peft warn of their own affairs while the adapters are made.
pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("default")]

CHATS: Any = "/v1/chat/completions"


@pytest.fixture
def client(live: Live) -> openai.OpenAI:
    return live.openai


def chat(number: int, **more: Any) -> dict[str, Any]:
    body = {
        "model": "taiyi",
        "messages": [{"role": "user", "content": f"Is {number} even? Answer yes or no."}],
        "temperature": 0,
        **more,
    }
    return {"custom_id": f"c{number}", "method": "POST", "url": CHATS, "body": body}


def created(client: openai.OpenAI, lines: list[dict[str, Any]]) -> str:
    file = client.files.create(file=("chats.jsonl", jsonl(lines)), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=CHATS, completion_window="24h")
    return batch.id


def ended(client: openai.OpenAI, id_: str) -> Any:
    until = time.monotonic() + 240
    while not (batch := client.batches.retrieve(id_)).completed_at and not batch.cancelled_at:
        assert time.monotonic() < until and batch.status != "failed", batch
        time.sleep(0.2)
    return batch


def test_chats_are_answered_as_their_route_answers(client):
    lines = [chat(n, structured_outputs={"choice": ["yes", "no"]}) for n in range(12)]
    lines.append(chat(12, max_tokens=2, logprobs=True))
    lines += [chat(13, tools=[]), chat(14, stream=True)]
    batch = ended(client, created(client, lines))
    assert batch.request_counts.to_dict() == {"total": 15, "completed": 13, "failed": 2}
    output = [json.loads(x) for x in client.files.content(batch.output_file_id).text.splitlines()]
    answers = [ChatCompletion.model_validate(one["response"]["body"]) for one in output]
    assert [one["custom_id"] for one in output] == [f"c{n}" for n in range(13)]
    assert {answer.choices[0].message.content for answer in answers[:12]} <= {"yes", "no"}
    assert answers[12].usage and answers[12].usage.completion_tokens == 2
    assert answers[12].choices[0].logprobs is not None
    errors = [json.loads(x) for x in client.files.content(batch.error_file_id).text.splitlines()]
    said = [one["response"]["body"]["error"]["message"] for one in errors]
    assert "tools" in said[0] and "not supported in a batch" in said[1]


def test_cancelled_the_engine_writes_no_further(live, client):
    endless = {"regex": "[a-z ]{3000}"}
    id_ = created(client, [chat(n, structured_outputs=endless, max_tokens=900) for n in range(20)])
    until = time.monotonic() + 60
    while live.questions() < 4:
        assert time.monotonic() < until
        time.sleep(0.05)
    client.batches.cancel(id_)
    batch = ended(client, id_)
    assert batch.status == "cancelled" and batch.request_counts.completed < 20
    assert live.questions() == 0
