"""The OpenAI routes on the real engine, by OpenAI's client; adapters; the same rows as the job."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from taiyi_ray import models, storage
from tests.annotate.jobs import annotate as run_job
from tests.annotate.jobs import processes, table
from tests.serve.serving import MIGRAINE, sent, server
from tests.serve.test_metrics import asked_for
from tests.test_models import make_adapter

# torch and peft warn of their own affairs while the adapters are made.
pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("default")]

QUESTION: Any = [{"role": "user", "content": "Name a drug for diabetes."}]
SETTINGS = ("--engine-arg", "dtype=float32", "--context-limit", "1024")


class Live:
    """The service with the real engine and two adapters, one of which is in S3."""

    def __init__(self, address: str, pid: int, log: Path) -> None:
        self.address, self.pid, self.log = address, pid, log
        self.http = httpx.Client(base_url=address, timeout=120)
        self.openai = openai.OpenAI(
            base_url=f"{address}/v1", api_key="none", timeout=120, max_retries=0
        )

    def questions(self) -> int:
        """Questions in the engine."""
        return int(self.http.get("/health").json()["questions"])

    def kill(self, name: str) -> None:
        """Kill the process whose command line holds this."""
        (found,) = (int(line.split()[0]) for line in processes(name))
        assert self.pid in (p.pid for p in psutil.Process(found).parents())
        os.kill(found, signal.SIGKILL)

    def healed(self) -> bool:
        try:
            return self.http.get("/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def chat(self, **wanted: Any) -> Any:
        asked = {"model": "taiyi", "messages": QUESTION, "temperature": 0, "max_tokens": 8}
        return self.openai.chat.completions.create(**(asked | wanted))


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory, s3_server: str, monkeypatch_module: pytest.MonkeyPatch
) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("adapters")
    base = models.resolve().path
    near = make_adapter(folder / "near", base)
    far = make_adapter(folder / "far", base)
    environment = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": s3_server,
    }
    for name, value in environment.items():
        monkeypatch_module.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3 = s3fs.S3FileSystem(endpoint_url=s3_server, use_listings_cache=False)
    s3.makedirs("adapters")
    for file in far.iterdir():
        storage.replace(f"s3://adapters/far/{file.name}", file.read_bytes())
    arguments = ["--adapter", f"near={near}", "--adapter", "far=s3://adapters/far", *SETTINGS]
    arguments += ["--adapter", f"broken={folder / 'broken'}"]
    (folder / "broken").mkdir()
    (folder / "broken/adapter_config.json").write_text('{"r": 8}')
    log = folder / "log"
    with server(log, *arguments, VLLM_CPU_KVCACHE_SPACE="1", **environment) as (address, pid):
        found = Live(address, pid, log)
        with found.http, found.openai:
            yield found
    s3.rm("adapters", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_the_models_are_listed_adapters_that_are_not_loaded_yet_too(live):
    listed = {model.id: model for model in live.openai.models.list()}
    assert set(listed) == {"taiyi", "taiyi:near", "taiyi:far", "taiyi:broken"}
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
        ({"model": "gpt-4"}, 404, "no model 'gpt-4'; there are taiyi, taiyi:near, taiyi:far"),
        ({"model": "taiyi:broken"}, 503, "has no adapter_model.safetensors"),
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


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/v1/completions"])
def test_nothing_that_a_fuzzer_sends_is_a_fault(live, path):
    schema = schemathesis.openapi.from_dict(live.http.get("/openapi.json").json())
    method = "GET" if path == "/v1/models" else "POST"
    seen: Counter[int] = Counter()
    for mode, examples in ((GenerationMode.POSITIVE, 12), (GenerationMode.NEGATIVE, 25)):

        @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
        @given(schema[path][method].as_strategy(generation_mode=mode))
        def check(case: schemathesis.Case) -> None:
            if isinstance(case.body, dict):  # a small model goes on and on
                case.body = {**case.body, "max_tokens": 2}
                case.body.pop("max_completion_tokens", None)
            answer = sent(live.http, case)
            seen[answer.status_code] += 1
            assert answer.status_code < 500, answer.text
            if answer.status_code >= 400:
                assert answer.json()["error"]["code"] == answer.status_code

        check()
    assert seen[200] or method == "POST"


def test_what_vllm_counts_is_where_the_dashboard_looks(live):
    """Gauges are there while something changes, hits of the cache once a prompt comes again."""
    wanted = {f"ray_{name}" for name in asked_for() if name.startswith("vllm")}
    assert len(wanted) >= 6
    address = live.log.read_text().rpartition("metrics: ")[2].split()[0]
    until = time.monotonic() + 60
    seen: set[str] = set()
    while not wanted <= seen:
        assert time.monotonic() < until, wanted - seen
        live.chat(messages=[{"role": "user", "content": MIGRAINE * 4}])
        seen |= set(re.findall(r"^(\w+)\{", live.http.get(address).text, re.MULTILINE))
    assert "ray_vllm_time_to_first_token_seconds_bucket" in seen


@pytest.mark.slow
def test_a_document_has_the_same_row_as_in_the_corpus_job(live, tmp_path: Path):
    """The real engine in float32, one question at a time in both."""
    records = [
        {"document_id": str(number), "text": text}
        for number, text in enumerate([MIGRAINE, "Metformin lowered glucose in diabetes mellitus."])
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    wanted = ("--tasks", "ner", "--types", "disease", "--engine-arg", "max_num_seqs=1")
    run_job(source, "-o", tmp_path / "out", *wanted, *SETTINGS)
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
