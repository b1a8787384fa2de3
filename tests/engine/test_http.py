"""The HTTP engine: against servers that play every part, and against a real `vllm serve`."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from taiyi_ray.annotation import Annotator
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.engine.engine import Completion, Engine, of_tokens
from taiyi_ray.engine.http import HttpEngine, key_of_environment, probe
from taiyi_ray.errors import ConfigError, QuestionError, ServerGone, TaiyiError
from taiyi_ray.formats import documents, format_of
from taiyi_ray.job import run
from taiyi_ray.records import Document
from taiyi_ray.tasks.task import Question
from tests import samples
from tests.engine.served import (
    Body,
    Played,
    Reply,
    completion,
    obedient,
    refusal,
    text_of,
    vllm_serve,
)
from tests.job.jobs import annotate, corpus, processes, table
from tests.samples import chinese, english

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TAIYI_RAY_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def play() -> Iterator[Callable[..., Played]]:
    """Starts servers that answer as told."""
    started: list[Played] = []

    def start(answer: Callable[[Body], Reply] | None = None) -> Played:
        started.append(Played(answer))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def config(url: str, **settings: Any) -> AnnotateConfig:
    given = {"inputs": ["in"], "output": "out", "engine": "http", "url": url} | settings
    return AnnotateConfig(**{"context_length": 1024, **given})


def question(text: str = "Aspirin helps.", **settings: Any) -> Question:
    (asked,) = samples.asked("ner").questions(english(text))
    return dataclasses.replace(asked, **settings)


def sample(name: str, number: int) -> list[Document]:
    format_ = format_of(name)
    assert format_
    with (EXAMPLES / name).open("rb") as stream:
        return list(documents(stream, name, format_, "sample", 0, number - 1))


def refused(url: str, kind: type[TaiyiError] = ConfigError, **settings: Any) -> str:
    """The one line of a probe that does not go well, without the address that it begins with."""
    with pytest.raises(TaiyiError) as caught:
        probe(config(url, **settings), key_of_environment())
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{url}: ")


def with_engine(
    url: str, work: Callable[[HttpEngine], Coroutine[Any, Any, Any]], **settings: Any
) -> Any:
    """Start an engine, do something with it, end it."""

    async def all_of_it() -> Any:
        engine = HttpEngine(config(url, **settings), key_of_environment())
        try:
            return await work(engine)
        finally:
            engine.close()
            await asyncio.sleep(0.05)

    return asyncio.run(all_of_it())


def ask(url: str, *questions: Question, **settings: Any) -> list[Any]:
    """The answers to these questions, asked all at once; an exception is an answer too."""

    async def all_of_them(engine: HttpEngine) -> list[Any]:
        return await asyncio.gather(
            *(engine.complete(q, engine.prompt(q), 64) for q in questions), return_exceptions=True
        )

    return with_engine(url, all_of_them, **settings)


def one_of(server: Played, reply: Callable[[Body], Reply]) -> None:
    """Let a server answer the questions about Aspirin so, and the others well."""
    server.answer = lambda body: (
        reply(body) if "Aspirin" in text_of(body) else completion(body, obedient(body))
    )


# ---------------------------------------------------------------------------------------- the probe


def test_the_probe_finds_out_what_the_server_is(play):
    server = play()
    found = probe(config(server.url), None)
    assert (found.model, found.root, found.context_length) == ("m", "there/m", 2048)
    assert found.identity == "served as m from there/m"
    assert found.form.extras["repetition_detection"] == {
        "min_pattern_size": 1,
        "max_pattern_size": 12,
        "min_count": 3,
    }
    server.models = [{"id": "a"}, {"id": "b"}]
    found = probe(config(server.url + "/", model="b"), None)
    assert (found.identity, found.context_length) == ("served as b", None)


def thinking(body: Body) -> Reply:
    """A server whose chat template adds an empty thought when it is told to."""
    settings = body.get("chat_template_kwargs") or {}
    more = 4 if settings.get("enable_thinking") is False else 0
    usage = {"prompt_tokens": 10 + more + len(text_of(body)) // 4}
    return completion(body, obedient(body), **usage)


def test_thinking_is_switched_off_where_the_server_s_template_knows_how(play):
    server = play(thinking)
    found = probe(config(server.url), None)
    assert found.identity == "without thinking, served as m from there/m"
    assert found.form.extras["chat_template_kwargs"] == {"enable_thinking": False}
    assert found.rate[0] == 14
    ask(server.url, question())
    assert server.asked[-1][1]["chat_template_kwargs"] == {"enable_thinking": False}
    found = probe(config(server.url, chat="taiyi1"), None)
    assert (found.identity, "chat_template_kwargs" in found.form.extras) == (
        "served as m from there/m",
        False,
    )


@pytest.mark.parametrize(
    ("given", "sent", "identity"),
    [
        ({"enable_thinking": True}, {"enable_thinking": True}, "served as m from there/m"),
        (
            {"other": 1},
            {"other": 1, "enable_thinking": False},
            "without thinking, served as m from there/m",
        ),
    ],
)
def test_who_sets_thinking_has_decided(play, given, sent, identity):
    server = play(thinking)
    arguments = {"extra_body": {"chat_template_kwargs": given}}
    found = probe(config(server.url, engine_args=arguments), None)
    assert (found.form.extras["chat_template_kwargs"], found.identity) == (sent, identity)


@pytest.mark.parametrize("refused", ["chat_template_kwargs", "repetition_detection"])
def test_a_server_that_knows_no_template_settings_gets_none(play, refused):
    def strict(body: Body) -> Reply:
        return refusal(400, f"unknown field {refused}") if refused in body else thinking(body)

    found = probe(config(play(strict).url), None)
    assert (found.identity, "chat_template_kwargs" in found.form.extras) == (
        "served as m from there/m",
        False,
    )


@pytest.mark.parametrize(
    ("models", "asked", "line"),
    [
        (
            ["qwen3", "qwen2"],
            "qwen",
            "does not serve 'qwen'; did you mean 'qwen3'?; give one of its",
        ),
        (
            ["qwen3"],
            "smollm2-135m-instruct",
            "does not serve 'smollm2-135m-instruct'; give one of its",
        ),
        (["a", "b"], None, "serves more than one model; give one of its models with --model: a, b"),
        ([], "a", "does not serve 'a'; give one of its models with --model: it has none"),
    ],
)
def test_the_model_is_one_that_is_served(play, models, asked, line):
    server = play()
    server.models = [{"id": name} for name in models]
    settings = {"model": asked} if asked else {}
    assert refused(server.url, **settings).startswith(line)
    assert server.asked == []


def test_the_key_comes_from_the_environment_and_shows_nowhere(play, monkeypatch):
    server = play()
    server.key = "sesame"
    line = "refuses the key (401: wrong key); set the right one in the environment variable TAIYI_"
    assert refused(server.url).startswith(line)
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    assert probe(config(server.url), key_of_environment()).model == "m"
    monkeypatch.setenv("TAIYI_RAY_API_KEY", "other")
    assert refused(server.url).startswith(line)
    monkeypatch.setenv("TAIYI_RAY_API_KEY", "sesame")
    assert "sesame" not in repr(key_of_environment())
    (answer,) = ask(server.url, question())
    assert answer.text == "none"


def test_a_key_as_a_file_holds_it(play, monkeypatch):
    server = play()
    server.key = "sesame"
    monkeypatch.setenv("TAIYI_RAY_API_KEY", "sesame\n")
    assert probe(config(server.url), key_of_environment()).model == "m"
    monkeypatch.setenv("TAIYI_RAY_API_KEY", "ses\name")
    with pytest.raises(
        ConfigError, match=r"^TAIYI_RAY_API_KEY: holds characters that a key cannot have"
    ):
        key_of_environment()


@pytest.mark.parametrize(
    ("listed", "line"),
    [
        (Reply(404, "<html>"), "no OpenAI-compatible server (404: <html>); does --url end"),
        (Reply(200, "<html>"), "no OpenAI-compatible server (its answer has another form); does"),
        (Reply(200, {"models": []}), "no OpenAI-compatible server (its answer has another form)"),
        (refusal(403, "not you"), "refuses the key (403: not you); set the right one"),
    ],
)
def test_what_answers_is_no_server_of_ours(play, listed, line):
    server = play()
    server.models = listed
    assert refused(server.url).startswith(line)


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://me@host/v1", "--url: holds a user name, a password or a query, which would"),
        ("http://host/v1?key=x", "--url: holds a user name, a password or a query, which would"),
        (
            "host:8000/v1",
            "--url host:8000/v1: is not the address of a server, as in http://host:8000/",
        ),
        (
            "http:///v1",
            "--url http:///v1: is not the address of a server, as in http://host:8000/v1",
        ),
        (
            "http://host:port/v1",
            "--url http://host:port/v1: is not the address of a server, as in ht",
        ),
        (
            "http://[::1/v1",
            "--url http://[::1/v1: is not the address of a server, as in http://host:",
        ),
    ],
)
def test_an_address_that_cannot_be(url, line):
    assert refused(url).startswith(line)
    assert "pass@" not in refused(url)


def test_nothing_answers_there(play):
    server = play()
    server.stop()
    line = refused(server.url, ServerGone)
    assert line.startswith("no answer: ")
    assert line.endswith("; when the server is there, run the same command again")


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (lambda body: completion(body, "Paris."), "ignores it"),
        (lambda body: refusal(400, "no grammars here"), "refuses it (no grammars here)"),
        (lambda body: refusal(500, "oh"), "fails at it (oh)"),
        (lambda body: completion(body, "w7: qvx"), "ignores it"),  # one grammar for all
    ],
)
def test_a_server_without_grammars_is_told_at_once(play, reply, problem):
    server = play()
    server.answer = lambda body: (
        reply(body) if "structured_outputs" in body else completion(body, "Paris.")
    )
    line = refused(server.url)
    assert line == (
        f"cannot constrain answers by a Lark grammar: it {problem}; use vLLM with "
        """--structured-outputs-config '{"backend": "guidance"}', or --grounding align"""
    )
    assert probe(config(server.url, grounding="align"), None).model == "m"


def test_a_server_that_knows_only_openais_fields_is_asked_with_those(play):
    server = play()
    server.answer = lambda body: (
        refusal(400, "unknown field repetition_penalty")
        if "repetition_penalty" in body
        else completion(body, "fine")
    )
    (answer,) = ask(server.url, question(grammar=None), grounding="align")
    assert answer.text == "fine"
    assert set(server.asked[-1][1]) == {"model", "messages", "max_tokens", "temperature"}


@pytest.mark.parametrize(
    ("reply", "settings", "line"),
    [
        (lambda b: refusal(400, "no chat template"), {}, "does not answer a plain question: no c"),
        (lambda b: Reply(200, {"choices": []}), {}, "does not answer a plain question: the server"),
        (lambda b: Reply(200, "<html>"), {}, "does not answer a plain question: the server's res"),
        (
            lambda b: completion({**b, "logprobs": None}, obedient(b)),
            {"scores": True},
            "gives no log-probabilities of tokens; leave out --scores",
        ),
    ],
)
def test_a_server_that_cannot_do_what_is_asked_for(play, reply, settings, line):
    assert refused(play(reply).url, **settings).startswith(line)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"retry": 3}, "unknown setting 'retry'; did you mean 'retries'?"),
        ({"timeout": 0}, "timeout: Input should be greater than 0, got 0"),
        ({"question_slots": 0}, "question_slots: Input should be greater than or equal to 1, got"),
    ],
)
def test_arguments_that_the_engine_does_not_have(play, arguments, line):
    found = refused(play().url, engine_args=arguments)
    assert found.startswith(f"--engine-arg of the engine http: {line}")


def test_an_adapter_is_the_servers_own(play):
    assert refused(play().url, adapter="lora").startswith(
        "--adapter: a server cannot be given an adapter"
    )


# ---------------------------------------------------------------------------- requests and answers


def test_a_question_is_asked_greedily_under_its_grammar(play):
    server = play()
    asked = question()
    (answer,) = ask(server.url, asked, engine_args={"extra_body": {"top_k": 1}})
    path, body = server.asked[-1]
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "m",
        "messages": asked.messages,
        "max_tokens": 64,
        "temperature": 0.0,
        "structured_outputs": {"grammar": asked.grammar},
        "repetition_penalty": 1.0,
        "repetition_detection": {"min_pattern_size": 1, "max_pattern_size": 12, "min_count": 3},
        "top_k": 1,
    }
    assert (answer.text, answer.finish_reason, answer.output_tokens) == ("none", "stop", 4)
    assert (answer.cached_tokens, answer.scores) == (0, None)


def continuing(body: Body) -> Reply:
    """A server as vLLM's: it goes on with the message of an assistant, if the request says so."""
    begun = body.get("continue_final_message", False)
    written = sum(len(m["content"]) for m in body["messages"])
    tokens = 10 + written // 4 + (0 if begun else 5 * len(body["messages"]))
    return completion(body, " none" if begun else obedient(body), prompt_tokens=tokens)


def headed(text: str = "Aspirin helps.") -> Question:
    (asked,) = dataclasses.replace(samples.asked("ner", "disease"), headed=True).questions(
        english(text)
    )
    return asked


def test_the_head_of_an_answer_is_in_the_request_where_the_server_goes_on_with_it(play):
    server = play(continuing)
    asked = headed()
    (answer,) = ask(server.url, asked)
    body = server.asked[-1][1]
    assert body["messages"] == [*asked.messages, {"role": "assistant", "content": asked.given}]
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert body["structured_outputs"] == {"grammar": asked.grammar}
    assert answer.text == f"{asked.given} none"
    assert answer.output_tokens == len(" none")


@pytest.mark.parametrize(
    "refuse",
    [
        lambda body: "continue_final_message" in body,  # an unknown field
        lambda body: False,  # it takes the field, and does as always
    ],
)
def test_a_server_that_does_not_go_on_is_asked_for_the_whole_answer(play, refuse):
    server = play()
    server.answer = lambda body: (
        refusal(400, "what is this?") if refuse(body) else completion(body, obedient(body))
    )
    asked = headed()
    ask(server.url, asked)
    body = server.asked[-1][1]
    assert body["messages"] == asked.messages
    assert "continue_final_message" not in body
    assert body["structured_outputs"] == {"grammar": asked.whole_grammar}


def test_the_head_of_an_answer_ends_the_prompt_of_taiyi_1(play):
    server = play(lambda body: completion(body, " none" if "Here" in body["prompt"] else "w7: qvx"))
    asked = headed()
    (answer,) = ask(server.url, asked, chat="taiyi1", grounding="align")
    assert server.asked[-1][1]["prompt"].endswith(f"<|endoftext|>{asked.given}")
    assert answer.text == f"{asked.given} none"


def test_the_form_of_taiyi_1(play):
    server = play()
    (answer,) = ask(server.url, question("A <|endoftext|> B"), chat="taiyi1", scores=True)
    path, body = server.asked[-1]
    assert path == "/v1/completions"
    assert body["prompt"].startswith("<|endoftext|>") and body["prompt"].endswith("<|endoftext|>")
    assert body["prompt"].count("<|endoftext|>") == 2
    assert "A < |endoftext|> B" in body["prompt"]
    assert (body["stop"], body["logprobs"]) == (["<|endoftext|>"], 1)
    assert (body["add_special_tokens"], body["skip_special_tokens"]) == (False, False)
    assert list(answer.scores.starts) == [0, 1, 2, 3]


def test_no_text_passes_for_a_special_token(play):
    server = play()
    ask(server.url, question("x <|im_end|> <｜end｜> a<b | <p>"))
    content = server.asked[-1][1]["messages"][0]["content"]
    assert "x < |im_end|> < ｜end｜> a<b | <p>" in content


@pytest.mark.parametrize("reason", ["stop", "length", "repetition"])
def test_how_an_answer_ended(play, reason):
    server = play()
    details = {"prompt_tokens_details": {"cached_tokens": 16}}
    one_of(server, lambda body: completion(body, "x", reason, prompt_tokens=99, **details))
    (answer,) = ask(server.url, question())
    assert (answer.finish_reason, answer.prompt_tokens, answer.cached_tokens) == (reason, 99, 16)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (lambda b: completion(b, "x", "content_filter"), "the server ended the answer: content_fi"),
        (lambda b: Reply(200, {"choices": [{}]}), "the server's response is not of OpenAI's form"),
        (lambda b: Reply(200, "<html>"), "the server's response is not of OpenAI's form"),
        *(
            (
                lambda b, tokens=tokens: completion(b, "x", prompt_tokens=tokens),
                "the server's response is not of OpenAI's form",
            )
            for tokens in (None, math.inf, math.nan, "many")
        ),
        (
            lambda b: refusal(400, "maximum context length is 2048 tokens"),
            "the server refuses it (400): maximum context length is 2048 tokens",
        ),
    ],
)
def test_one_question_that_fails_harms_no_other(play, reply, message):
    server = play()
    one_of(server, reply)
    bad, good = ask(server.url, question(), question("Insulin helps."))
    assert isinstance(bad, QuestionError)
    assert str(bad).startswith(message)
    assert good.text == "none"


def test_a_score_knows_where_each_token_begins_though_characters_are_many_tokens(play):
    server = play()
    one_of(server, lambda body: completion(body, "aβ糖"))
    (answer,) = ask(server.url, question(), scores=True)
    assert list(answer.scores.starts) == [0, 1, 1, 2, 2, 2]
    assert answer.scores.logprobs == [-0.5] * 6


def test_prompts_are_rarely_longer_than_rated(play, tokenizer):
    """The sample corpus, counted by the tokenizer of the embedded model."""
    server = play()
    server.answer = lambda body: completion(
        body, obedient(body), prompt_tokens=30 + len(tokenizer.encode(text_of(body)))
    )
    rated = probe(config(server.url), None)
    for name in ("pubmed-sample.xml", "chinese-sample.jsonl"):
        texts = [document.text for document in sample(name, 30)]
        real = [30 + len(tokenizer.encode(text)) for text in texts]
        rates = [rated.tokens(text) / n for text, n in zip(texts, real, strict=True)]
        assert min(rates) >= 1
        assert sum(rates) / len(rates) < 1.8


# ---------------------------------------------------------------------------------- a bad moment


@pytest.mark.parametrize(
    "trouble",
    [
        refusal(429, "slow down", retry_after="1"),
        refusal(500, "oh"),
        refusal(503, "loading"),
        Reply(0),
    ],
)
def test_what_passes_is_waited_for(play, trouble):
    server = play()
    replies: Iterator[Reply] = iter([trouble, trouble])
    times: list[float] = []

    def at_last(body: Body) -> Reply:
        times.append(time.monotonic())
        return next(replies, None) or completion(body, "none")

    one_of(server, at_last)
    (answer,) = ask(server.url, question())
    assert answer.text == "none"
    assert len(times) == 3
    assert all(b - a > 0.3 for a, b in itertools.pairwise(times))
    if trouble.headers:
        assert all(b - a >= 1 for a, b in itertools.pairwise(times))


@pytest.mark.parametrize("slow", [True, False])
def test_a_question_that_the_server_never_answers_is_blamed_alone(play, slow):
    server = play()

    def never(body: Body) -> Reply:
        if slow:
            time.sleep(2)
        return refusal(500, "out of order")

    one_of(server, never)
    patience = {"retries": 1, "timeout": 0.5}
    bad, good = ask(server.url, question(), question("Insulin helps."), engine_args=patience)
    assert isinstance(bad, QuestionError)
    said = ": no answer in time" if slow else " (500): out of order"
    assert str(bad) == f"the server refuses it{said}"
    assert good.text == "none"


def test_a_server_that_is_gone_ends_all_questions_and_blames_none(play):
    server = play()

    async def lose_it(engine: HttpEngine) -> list[Any]:
        asked = question()
        prompt = engine.prompt(asked)
        first = await engine.complete(asked, prompt, 16)
        server.stop()
        several = (engine.complete(asked, prompt, 16) for _ in range(5))
        lost = await asyncio.gather(*several, return_exceptions=True)
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(ServerGone):
                await engine.complete(asked, prompt, 16)
        assert time.monotonic() - began < 5, "each question waited for the server anew"
        return [first, *lost]

    first, *lost = with_engine(server.url, lose_it, engine_args={"retries": 1})
    assert isinstance(first, Completion)
    assert {type(error) for error in lost} == {ServerGone}
    assert str(lost[0]).startswith(f"{server.url}: no answer: ")


@pytest.mark.parametrize(
    ("status", "kind", "line"),
    [
        (401, ConfigError, "refuses the key (401: no more)"),
        (404, ConfigError, "no OpenAI-compatible server (404: no more)"),
        (429, ServerGone, "answers 429: no more; when the server is there"),
        (502, ServerGone, "answers 502: no more; when the server is there"),
    ],
)
def test_a_server_that_answers_no_question_any_more(play, status, kind, line):
    server = play()

    async def lose_it(engine: HttpEngine) -> Any:
        server.answer = lambda _: refusal(status, "no more")
        with pytest.raises(kind) as caught:
            await engine.complete(question(), engine.prompt(question()), 16)
        return caught.value

    error = with_engine(server.url, lose_it, engine_args={"retries": 0})
    assert str(error).startswith(f"{server.url}: {line}")


def test_as_many_are_in_flight_as_the_server_answers_well(play):
    """It takes eight at once and says 429 to more."""
    server = play()
    room = threading.Semaphore(8)
    refusals = itertools.count()

    def busy(body: Body) -> Reply:
        if not room.acquire(blocking=False):
            next(refusals)
            return refusal(429, "too many")
        try:
            time.sleep(0.02)
            return completion(body, "none")
        finally:
            room.release()

    async def many(engine: HttpEngine) -> tuple[list[Any], int]:
        server.answer = busy
        asked = question()
        prompt = engine.prompt(asked)
        answers = await asyncio.gather(*(engine.complete(asked, prompt, 16) for _ in range(400)))
        return list(answers), engine.pace.limit

    answers, limit = with_engine(server.url, many)
    assert [answer.text for answer in answers] == ["none"] * 400
    # Where it settles hangs on how fast this machine is; test_pace.py has that without a clock.
    assert limit <= 16
    assert next(refusals) < 100


# ----------------------------------------------------------------------------------- the corpus job


def test_an_outage_blames_no_document_and_the_same_command_goes_on(
    joined, play, tmp_path, monkeypatch
):
    source, output = corpus(tmp_path / "docs.jsonl", 40, words=8), tmp_path / "out"
    server = play()
    server.key = "sesame-open"
    monkeypatch.setenv("TAIYI_RAY_API_KEY", server.key)
    usual, numbers = server.answer, itertools.count()

    def breaks(body: Body) -> Reply:
        if body["max_tokens"] == 512 and next(numbers) == 20:
            server.answer = lambda _: refusal(502, "bad gateway")
            return server.answer(body)
        return usual(body)

    server.answer = breaks
    arguments = (source, "-o", output, "--engine", "http", "--url", server.url)
    arguments += ("--tasks", "ner", "--engine-arg", "retries=1")
    text = annotate(*arguments, code=4)
    assert f"units are left: {server.url}: answers 502: bad gateway; when the server" in text
    assert not (output / "died").exists()
    server.answer = usual
    assert "(ok 40)" in annotate(*arguments)
    assert len(table(output)) == 40
    kept = json.loads((output / "job.json").read_text())
    assert kept["identity"]["model"] == "served as m from there/m"
    assert (kept["config"]["url"], kept["config"]["model"]) == (server.url, "m")
    written = [p.read_bytes() for p in output.rglob("*") if p.is_file()]
    assert not any(b"sesame" in data for data in written)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "cannot constrain answers by a Lark grammar: it ignores it; use vLLM"),
        (
            {"grounding": "align", "context_length": 4096},
            "--context-length 4096: m takes 2048 tokens at most",
        ),
    ],
)
def test_a_server_that_cannot_do_it_costs_nothing(play, tmp_path, settings, line):
    source, output = corpus(tmp_path / "docs.jsonl", 4), tmp_path / "out"
    server = play(lambda body: completion(body, "Paris."))
    given = {"inputs": [str(source)], "output": str(output), "context_length": None, **settings}
    with pytest.raises(ConfigError) as caught:
        run(config(server.url, **given))
    assert str(caught.value).removeprefix(f"{server.url}: ").startswith(line)
    assert not output.exists()


# ------------------------------------------------------------------------------------ a real server


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    before = set(processes("VLLM::", "vllm.entrypoints"))
    with vllm_serve(tmp_path_factory.mktemp("served") / "log") as url:
        yield url
    assert not set(processes("VLLM::", "vllm.entrypoints")) - before


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.timeout(600)
class TestRealServer:
    def test_it_takes_our_grammars_as_it_comes(self, real):
        found = probe(config(real, scores=True), None)
        assert (found.model, found.context_length) == ("small", 2048)
        assert "repetition_detection" in found.form.extras

    @pytest.mark.parametrize("chat", ["template", "taiyi1"])
    def test_answers_are_grounded_and_scored(self, real, chat):
        found = [
            english("Cocaine causes seizures in mice; naloxone <|endoftext|> prevents them."),
            chinese("高血压患者服用硝苯地平后出现头痛。"),
        ]

        async def work(engine: HttpEngine) -> list[Any]:
            annotator = Annotator(engine, [samples.asked("ner", "disease,chemical")], 48)
            return list(await asyncio.gather(*map(annotator.annotate, found)))

        for annotated in with_engine(real, work, scores=True, chat=chat):
            assert annotated.status in ("ok", "partial"), annotated.errors
            (first, *_) = annotated.answers
            assert first.prompt_tokens > 20 and first.output_tokens > 0
            for mention in annotated.annotations.mentions:
                assert annotated.document.text[mention.start : mention.end] == mention.text
                assert 0 < mention.score <= 1

    def test_it_goes_on_with_the_head_of_an_answer(self, real):
        from taiyi_ray import models

        tokenizer = models.load_tokenizer(models.resolve())
        asked = headed("Cocaine causes seizures in mice.")
        own = of_tokens(models.Prompter(tokenizer), asked)
        for grammar in (asked.grammar, None):
            (answer,) = ask(real, dataclasses.replace(asked, grammar=grammar), scores=True)
            assert answer.text.startswith(asked.given) and answer.output_tokens > 0
            assert answer.prompt_tokens == own.tokens
            assert answer.scores.starts[0] == len(asked.given)

    @pytest.mark.slow
    @pytest.mark.filterwarnings("default")  # of torch and vLLM, while they are imported
    @pytest.mark.parametrize("chat", ["template", "taiyi1"])
    def test_answers_are_those_of_our_own_engine(self, real, chat):
        from taiyi_ray import models
        from taiyi_ray.engine.vllm import VllmEngine

        async def work(engine: Engine) -> list[Any]:
            annotator = Annotator(engine, [samples.asked("ner", "disease,chemical")], 48)
            found = [*sample("pubmed-sample.xml", 3), *sample("chinese-sample.jsonl", 2)]
            # One by one: sums of floats depend on what stands beside a question in its batch.
            done = [await annotator.annotate(document) for document in found]
            return [
                (a.raw, a.finish_reason, a.prompt_tokens, a.output_tokens)
                for annotated in done
                for a in annotated.answers
            ]

        async def here() -> list[Any]:
            engine = VllmEngine(
                str(models.resolve().path),
                chat=chat,
                context_length=1024,
                trust_remote_code=False,
                scores=False,
                arguments={"dtype": "float32", "max_num_seqs": 16},
            )
            try:
                return await work(engine)
            finally:
                engine.close()

        assert with_engine(real, work, chat=chat) == asyncio.run(here())

    def test_what_it_refuses_is_the_questions_own(self, real):
        broken, too_long, good = ask(
            real, question(grammar="start: ("), question("Aspirin " * 3000), question()
        )
        assert isinstance(broken, QuestionError) and "Grammar error" in str(broken)
        assert isinstance(too_long, QuestionError) and "maximum context length" in str(too_long)
        assert good.output_tokens > 0

    def test_a_corpus(self, real, tmp_path, joined):
        source, output = corpus(tmp_path / "docs.jsonl", 4, words=12), tmp_path / "out"
        arguments = (source, "-o", output, "--engine", "http", "--url", real, "--tasks", "ner")
        annotate(*arguments, "--max-tokens", "32", "--types", "chemical,disease", "--scores")
        rows = table(output)
        assert [row["status"] in ("ok", "partial") for row in rows] == [True] * 4
        for row in rows:
            text = "\n".join(passage["text"] for passage in row["passages"])
            for mention in row["mentions"]:
                assert text[mention["start"] : mention["end"]] == mention["text"]
