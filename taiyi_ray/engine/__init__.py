"""Engines answer questions: `vllm` runs a model, `http` asks a server, `fake` needs neither.

`engine.py` defines their interface, `prepare.py` finds and checks what an engine needs, and
`start.py` starts an engine. ENGINES describes each kind of engine: to add one, write a module and
an entry there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pydantic import SecretStr

from taiyi_ray import models, placement
from taiyi_ray.config import EngineSettings
from taiyi_ray.engine.engine import Engine
from taiyi_ray.models import Model
from taiyi_ray.placement import Resources


@dataclass(frozen=True, slots=True)
class Answering:
    """What answers the questions of a run: a model, a server or the fake engine.

    Attributes:
        name: its name in messages and reports.
        identity: what stands for it in the fingerprint.
        digest: the digest of its model, by which each node checks that it has the same model; the
            identity for an engine without a model of its own.
        context_length: the most tokens of a prompt and its answer together, if that is known.
        model: the model, for an engine that runs one.
        key: the key of its server, if the user gave one.
        settings: the settings that it decides, by name.
    """

    name: str
    identity: str
    digest: str
    context_length: int | None = None
    model: Model | None = None
    key: SecretStr | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineKind:
    """One kind of engine.

    Attributes:
        runs_model: whether it loads a model's folder, which each node finds itself.
        answers_as: the value of `engine` in the fingerprint.
        answer_arguments: the engine arguments that can change an answer and so belong to the
            fingerprint.
        question_slots: (settings) -> how many questions one engine answers at once.
        resources: (settings) -> what one engine takes of a Ray cluster.
        probe: (settings) -> what answers; it also checks that this is there.
        start: (settings, model, key, metrics) -> a started engine; a real one takes up to a minute.
            The model is for an engine that runs one, the key for a server. With metrics, the engine
            counts what it can as Ray's metrics.
    """

    runs_model: bool
    answers_as: Literal["model", "fake"]
    answer_arguments: tuple[str, ...]
    question_slots: Callable[[EngineSettings], int]
    resources: Callable[[EngineSettings], Resources]
    probe: Callable[[EngineSettings], Answering]
    start: Callable[[EngineSettings, Model | None, SecretStr | None, bool], Engine]


# -------------------------------------------------------------------------------------------- vllm


def _vllm_question_slots(config: EngineSettings) -> int:
    from taiyi_ray.engine import vllm

    return vllm.question_slots(config.engine_args)


def _vllm_probe(config: EngineSettings) -> Answering:
    model = models.resolve(config.model, config.adapter)
    return Answering(
        name=model.name,
        identity=models.identity(model, config.chat),
        digest=model.digest,
        context_length=models.context_length(model),
        model=model,
    )


def _vllm_start(
    config: EngineSettings, model: Model | None, _: SecretStr | None, metrics: bool
) -> Engine:
    from taiyi_ray.engine.vllm import VllmEngine

    assert model is not None and config.context_length is not None
    return VllmEngine(
        str(model.path),
        chat=config.chat,
        context_length=config.context_length,
        trust_remote_code=config.trust_remote_code,
        scores=config.scores,
        arguments=dict(config.engine_args),
        metrics=metrics,
    )


# -------------------------------------------------------------------------------------------- http


def _http_question_slots(config: EngineSettings) -> int:
    from taiyi_ray.engine import http

    return http.arguments_of(config.engine_args).question_slots


def _http_probe(config: EngineSettings) -> Answering:
    from taiyi_ray.engine import http

    key = http.key_of_environment()
    server = http.probe(config, key)
    return Answering(
        name=server.model,
        identity=server.identity,
        digest=server.identity,
        context_length=server.context_length,
        key=key,
        settings={"model": server.model},
    )


def _http_start(config: EngineSettings, _: Model | None, key: SecretStr | None, __: bool) -> Engine:
    from taiyi_ray.engine.http import HttpEngine

    return HttpEngine(config, key)


# -------------------------------------------------------------------------------------------- fake


def _fake_question_slots(config: EngineSettings) -> int:
    from taiyi_ray.engine.fake import QUESTION_SLOTS

    return int(cast(int, config.engine_args.get("question_slots", QUESTION_SLOTS)))


def _fake_start(config: EngineSettings, _: Model | None, __: SecretStr | None, ___: bool) -> Engine:
    from taiyi_ray.engine.fake import FakeEngine

    options: dict[str, Any] = dict(config.engine_args)
    assert config.context_length is not None
    return FakeEngine(config.context_length, scores=config.scores, **options)


ENGINES: dict[str, EngineKind] = {
    "vllm": EngineKind(
        runs_model=True,
        answers_as="model",
        answer_arguments=(
            *("dtype", "quantization", "kv_cache_dtype"),
            *("hf_overrides", "rope_scaling", "revision"),
        ),
        question_slots=_vllm_question_slots,
        resources=placement.of_model,
        probe=_vllm_probe,
        start=_vllm_start,
    ),
    "http": EngineKind(
        runs_model=False,
        answers_as="model",
        answer_arguments=("extra_body",),
        question_slots=_http_question_slots,
        resources=placement.of_client,
        probe=_http_probe,
        start=_http_start,
    ),
    "fake": EngineKind(
        runs_model=False,
        answers_as="fake",
        answer_arguments=("garbage", "cut", "repeat", "refuse"),
        question_slots=_fake_question_slots,
        resources=placement.of_rehearsal,
        probe=lambda _: Answering(name="fake", identity="fake", digest="fake"),
        start=_fake_start,
    ),
}
"""The engines, by the names that `--engine` knows (`config.EngineName`)."""
