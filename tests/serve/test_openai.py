"""The OpenAI routes on the real engine, by OpenAI's client; adapters; the same rows as the job."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import httpx
import openai
import pytest

from taiyi_ray import models
from taiyi_ray.config import EMBEDDED_MODEL
from tests.job.jobs import annotate as run_job
from tests.job.jobs import table
from tests.serve.live import QUESTION, SETTINGS, Live
from tests.serve.serving import MIGRAINE, fuzz
from tests.serve.test_metrics import asked_for

# torch and peft warn of their own affairs while the adapters are made.
pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("default")]


def test_the_models_are_listed_adapters_that_are_not_loaded_yet_too(live):
    listed = {model.id: model for model in live.openai.models.list()}
    assert set(listed) == {"taiyi", "taiyi:near", "taiyi:far", "taiyi:broken"}
    assert all(one.to_dict()["root"] == name for name, one in listed.items()), "no places of ours"
    assert listed["taiyi:far"].model_extra["parent"] == "taiyi"


def test_a_stream_is_the_answer_piece_by_piece(live):
    whole = live.chat(max_tokens=12)
    events = list(live.chat(max_tokens=12, stream=True, stream_options={"include_usage": True}))
    pieces = [event.choices[0].delta.content or "" for event in events if event.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len([piece for piece in pieces if piece]) > 3
    assert events[-1].usage.completion_tokens == whole.usage.completion_tokens == 12


def test_answers_can_be_constrained(live):
    schema = {
        "type": "object",
        "properties": {"drug": {"enum": ["metformin", "insulin"]}},
        "required": ["drug"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "drug", "schema": schema}}
    answer = live.chat(max_tokens=30, response_format=form).choices[0].message.content
    assert json.loads(answer)["drug"] in ("metformin", "insulin")
    for constraint, allowed in (
        ({"choice": ["yes", "no"]}, ("yes", "no")),
        ({"grammar": 'start: "aspirin" | "ibuprofen"'}, ("aspirin", "ibuprofen")),
        ({"regex": "[ab]{3}"}, tuple(a + b + c for a in "ab" for b in "ab" for c in "ab")),
    ):
        found = live.chat(extra_body={"structured_outputs": constraint})
        assert found.choices[0].message.content in allowed


def test_log_probabilities_and_several_answers(live):
    found = live.chat(logprobs=True, top_logprobs=2, n=2, temperature=1, seed=3)
    assert len(found.choices) == 2
    for choice in found.choices:
        content = choice.logprobs.content
        assert content and all(token.logprob <= 0 for token in content)
        assert all(len(token.top_logprobs) >= 2 for token in content)


def test_a_text_is_gone_on_with(live):
    asked = {"model": "taiyi", "temperature": 0, "max_tokens": 6}
    one = live.openai.completions.create(prompt="Aspirin is", echo=True, **asked)
    assert one.choices[0].text.startswith("Aspirin is")
    two = live.openai.completions.create(prompt=["Aspirin is", "Insulin is"], **asked)
    assert len(two.choices) == 2
    streamed = live.openai.completions.create(prompt="Aspirin is", stream=True, **asked)
    pieces = [event.choices[0].text for event in streamed]
    assert "".join(pieces) == two.choices[0].text == one.choices[0].text.removeprefix("Aspirin is")


def test_content_in_parts_and_turns(live):
    parts = [{"type": "text", "text": "Name a drug "}, {"type": "text", "text": "for diabetes."}]
    turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": parts}]
    assert live.chat(messages=turns).usage.completion_tokens == 8


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools: not supported"),
        ({"messages": []}, 400, "at least 1 item"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "'text'"),
        ({"temperature": 3}, 400, "temperature"),
        ({"max_tokens": 5000}, 400, "5000"),
        ({"extra_body": {"structured_outputs": {"regex": "("}}}, 400, "regex"),
        ({"extra_body": {"structured_outputs": {}}}, 400, "one kind"),
        ({"top_logprobs": 2}, 400, "logprobs"),
        ({"model": "gpt-4"}, 404, "no model 'gpt-4'; the models are taiyi, taiyi:near, taiyi:far"),
        ({"model": "taiyi:broken"}, 503, "its adapter cannot be loaded"),
        ({"messages": [{"role": "user", "content": "long " * 2000}]}, 400, "1024"),
    ],
)
def test_what_cannot_be_answered_is_told_clearly(live, wanted, error, message):
    with pytest.raises(openai.APIStatusError) as refused:
        live.chat(**wanted)
    assert refused.value.status_code == error
    assert message in refused.value.body["message"]
    assert "Traceback" not in refused.value.response.text


def test_adapters_answer_each_in_its_way(live):
    """Loaded when they are asked for first, one from S3; the base model stays as it was."""
    before = live.chat(max_tokens=16).choices[0].message.content
    answers = {name: live.chat(model=name, max_tokens=16) for name in ("taiyi:near", "taiyi:far")}
    assert {name: answer.model for name, answer in answers.items()} == {n: n for n in answers}
    contents = {answer.choices[0].message.content for answer in answers.values()}
    assert before not in contents and len(contents) >= 1
    assert live.chat(max_tokens=16).choices[0].message.content == before


def test_task_routes_know_the_adapters(live):
    body = {"text": MIGRAINE, "tasks": ["ner"], "types": ["disease"]}
    answers = [
        live.http.post("/v1/annotate", json={**body, "model": model}).json()
        for model in ("taiyi", "taiyi:near", "taiyi")
    ]
    plain, adapted, again = (answer["rows"][0] for answer in answers)
    assert answers[1]["model"] == "taiyi:near"
    assert plain["fingerprint"] == again["fingerprint"] != adapted["fingerprint"]
    assert plain["answers"][0]["raw"] == again["answers"][0]["raw"]


def test_a_client_that_goes_away_ends_its_generation(live):
    """Its stream or its connection closed: the engine's count falls before the answer would end."""
    long = {"max_tokens": 900, "extra_body": {"structured_outputs": {"regex": "(a b ){400}"}}}
    with live.chat(stream=True, **long) as stream:
        next(iter(stream))
        assert live.questions() == 1
    _falls(live)
    with pytest.raises(openai.APITimeoutError):
        live.openai.with_options(timeout=1).chat.completions.create(
            model="taiyi", messages=QUESTION, temperature=0, **long
        )
    _falls(live)
    body = {"documents": [{"text": MIGRAINE}] * 8}
    with pytest.raises(httpx.TimeoutException):
        live.http.post("/v1/annotate", json=body, timeout=1)
    _falls(live)


def _falls(live: Live) -> None:
    until = time.monotonic() + 10  # 900 tokens take much longer
    while live.questions():
        assert time.monotonic() < until, "the engine still answers"
        time.sleep(0.05)


@pytest.mark.slow
def test_nothing_that_a_fuzzer_sends_is_a_fault(live):
    """Every route that the description names, by valid and by invalid requests."""
    described = live.http.get("/openapi.json").json()["paths"]
    operations = [
        (method.upper(), path) for path, methods in described.items() for method in methods
    ]
    assert len(operations) >= 14
    for method, path in operations:
        takes = described[path][method.lower()]
        invalid = "requestBody" in takes or any(
            p.get("schema") for p in takes.get("parameters", ())
        )
        fuzz(live.http, method, path, good=6, bad=12 if invalid else 0)


def test_what_vllm_counts_is_where_the_dashboard_looks(live):
    """Gauges are there while something changes, hits of the cache once a prompt comes again.

    Only whole blocks are kept in the cache: the prompt has some 350 tokens, a block on CPU 128.
    """
    wanted = {f"ray_{name}" for name in asked_for() if name.startswith("vllm")}
    assert len(wanted) >= 6
    address = live.log.read_text().rpartition("metrics: ")[2].split()[0]
    until = time.monotonic() + 60
    seen: set[str] = set()
    while not wanted <= seen:
        assert time.monotonic() < until, wanted - seen
        live.chat(messages=[{"role": "user", "content": MIGRAINE * 16}])
        seen |= set(re.findall(r"^(\w+)\{", live.http.get(address).text, re.MULTILINE))
    assert "ray_vllm_time_to_first_token_seconds_bucket" in seen


def test_chats_of_the_first_taiyi_have_its_form(tokenizer):
    """As the task routes lay them out; vLLM renders the template."""
    turns = [
        {"role": "user", "content": "Is aspirin a drug?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "阿司匹林呢？"},
    ]
    rendered = tokenizer.apply_chat_template(
        turns, chat_template=models.CHAT_TEMPLATES["taiyi1"], tokenize=True, return_dict=False
    )
    assert rendered == models.prompt_tokens(tokenizer, turns, "taiyi1")


@pytest.mark.slow
def test_every_task_works_through_its_route(live):
    """The examples of /v1/tasks in both languages; a tiny model need not be right."""
    for described in live.http.get("/v1/tasks").json()["tasks"]:
        answer = live.http.post("/v1/annotate", json=described["example"] | {"max_tokens": 64})
        assert answer.status_code == 200, answer.text
        for row in answer.json()["rows"]:
            asked = {one["task"].partition(":")[0] for one in row["answers"]}
            assert asked == {described["name"]} and all(a["raw"] for a in row["answers"])
            text = "\n".join(passage["text"] for passage in row["passages"])
            for mention in row["mentions"]:
                assert text[mention["start"] : mention["end"]] == mention["text"]


@pytest.mark.slow
def test_a_document_has_the_same_row_as_in_the_corpus_job(live, tmp_path: Path):
    """The real engine in float32, one question at a time in both."""
    records = [
        {"document_id": str(number), "text": text}
        for number, text in enumerate([MIGRAINE, "Metformin lowered glucose in diabetes mellitus."])
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    # A service that has adapters takes the bare model for their base.
    wanted = ("--model", EMBEDDED_MODEL, "--tasks", "ner", "--types", "disease")
    alone = ("--engine-arg", "max_num_seqs=1")
    run_job(source, "-o", tmp_path / "out", *wanted, *alone, *SETTINGS)
    for row in table(tmp_path / "out"):
        body = {"documents": [records[row["position"]]], "tasks": ["ner"], "types": ["disease"]}
        served = live.http.post("/v1/annotate", json={**body, "ask": "together"}).json()["rows"][0]
        its_own = ("source", "position", "unit", "run_id", "answers", "metadata")
        assert {k: v for k, v in served.items() if k not in its_own} == {
            k: v for k, v in row.items() if k not in its_own
        }
        assert [a["raw"] for a in served["answers"]] == [a["raw"] for a in row["answers"]]


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["VLLM::EngineCore", "ServeReplica:taiyi:Service"])
def test_a_stream_that_loses_its_engine_does_not_look_whole(live, victim):
    """Its client has an error, whatever died; the service heals."""
    long = {"max_tokens": 900, "extra_body": {"structured_outputs": {"regex": "(a b ){400}"}}}
    with live.chat(stream=True, **long) as stream:
        events = iter(stream)
        next(events)
        live.kill(victim)
        with pytest.raises((openai.APIError, httpx.HTTPError)):
            list(events)
    until = time.monotonic() + 300
    while not live.healed():
        assert time.monotonic() < until
        time.sleep(1)
    assert live.chat().usage.completion_tokens == 8
