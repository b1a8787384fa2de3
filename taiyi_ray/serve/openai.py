"""The OpenAI routes: vLLM's own serving classes use the service's engine and its adapters.

vLLM's classes render chats, stream, constrain and count. This module finds and loads the adapters,
and turns vLLM's answers and errors into responses; `requests.py` has the fields of requests.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ValidationError

from taiyi_ray import models
from taiyi_ray.config import ServeConfig
from taiyi_ray.engine.prepare import asking_form
from taiyi_ray.engine.vllm import VllmEngine
from taiyi_ray.errors import ConfigError, ModelError, StorageError
from taiyi_ray.serve.admission import Admission
from taiyi_ray.serve.gate import Asked
from taiyi_ray.serve.problems import ErrorBody, Problem, engine_ended
from taiyi_ray.serve.requests import ChatRequest, CompletionRequest
from taiyi_ray.serve.task_routes import ServedModel
from taiyi_ray.tasks.template import AskingForm

_log = logging.getLogger(__name__)

_MOST_AT_ONCE = 8
"""Adapters of which vLLM answers requests at the same time: each takes memory beside the model."""

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM accepts as `max_lora_rank`."""


def adapter_arguments(config: ServeConfig) -> dict[str, Any]:
    """Return the engine arguments for the adapters: room for the largest rank. Empty without any.

    Raises:
        ModelError: an adapter does not exist, or has a rank that vLLM cannot serve.
    """
    if not config.adapters:
        return {}
    ranks = {name: models.adapter_rank(address) for name, address in config.adapters.items()}
    name, rank = max(ranks.items(), key=lambda item: item[1])
    if rank > _RANKS[-1]:
        raise ModelError(f"adapter {name}: its rank {rank} is above {_RANKS[-1]}, vLLM's most")
    return {
        "enable_lora": True,
        "max_loras": min(len(ranks), _MOST_AT_ONCE),
        "max_cpu_loras": len(ranks),
        "max_lora_rank": next(room for room in _RANKS if room >= rank),
    }


class OpenAI:
    """vLLM's serving classes, and the adapters that are loaded.

    Args:
        engine: its AsyncLLM answers.
        config: gives the model's name, and its adapters' names and addresses.
        model: gives the model's folder and digest.
    """

    def __init__(self, engine: VllmEngine, config: ServeConfig, model: models.Model) -> None:
        from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
        from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
        from vllm.entrypoints.openai.models.protocol import BaseModelPath
        from vllm.entrypoints.openai.models.serving import OpenAIServingModels
        from vllm.renderers.online_renderer import OnlineRenderer

        self._config, self._identity = config, models.identity(model, config.chat)
        client = engine.client
        template = models.CHAT_TEMPLATES.get(config.chat)
        self._serving = OpenAIServingModels(
            engine_client=client,
            base_model_paths=[BaseModelPath(name=config.name, model_path=model.name)],
        )
        renderer = OnlineRenderer(
            model_config=client.model_config,
            renderer=client.renderer,
            request_logger=None,
            chat_template=template,
            chat_template_content_format="string",
        )
        self._chat = OpenAIServingChat(
            client,
            self._serving,
            "assistant",
            online_renderer=renderer,
            request_logger=None,
            chat_template=template,
            chat_template_content_format="string",
            enable_prompt_tokens_details=True,
        )
        self._completion = OpenAIServingCompletion(
            client,
            self._serving,
            online_renderer=renderer,
            request_logger=None,
            enable_prompt_tokens_details=True,
        )
        self._stop_token_ids = list(engine.stop_token_ids) if template else []
        self._loading: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._model, self._form = model, asking_form(config, model)
        self._digests: dict[str, str] = {}
        self._forms: dict[str, AskingForm] = {}

    async def listed(self) -> dict[str, Any]:
        """Return the body of /v1/models: the model and all adapters, loaded or not."""
        listed = (await self._serving.show_available_models()).model_dump()
        card = listed["data"][0]
        known = {one["id"] for one in listed["data"]}
        for id_ in self._config.models:
            if id_ not in known:
                listed["data"].append(card | {"id": id_, "parent": card["id"]})
        for one in listed["data"]:
            one["root"] = one["id"]  # vLLM has the server's path here, which is not for clients
        return dict(listed)

    async def find(self, name: str | None) -> ServedModel:
        """Return the model of a name, with its adapter loaded.

        Raises:
            Problem: there is no such model (404), or its adapter cannot be loaded (503).
        """
        base = self._config.name
        if name in (None, base):
            return ServedModel(None, self._identity, self._form)
        assert name is not None
        address = self._config.adapters.get(name.removeprefix(f"{base}:"))
        if address is None or not name.startswith(f"{base}:"):
            known = ", ".join(self._config.models)
            raise Problem(404, f"there is no model {name!r}; the models are {known}", param="model")
        async with self._loading[name]:
            if name not in self._serving.lora_requests:
                await self._load(name, address)
        digest = f"{self._identity}+{self._digests[name]}"
        return ServedModel(self._serving.lora_requests[name], digest, self._forms[name])

    async def _load(self, name: str, address: str) -> None:
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse
        from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest

        try:
            adapter = await asyncio.to_thread(models.find_adapter, address)
            form = asking_form(self._config, adapter, self._model)
        except (ConfigError, ModelError, StorageError) as error:
            raise _not_loaded(name, str(error)) from error
        wanted = LoadLoRAAdapterRequest(lora_name=name, lora_path=str(adapter.path))
        loaded = await self._serving.load_lora_adapter(wanted)
        if isinstance(loaded, ErrorResponse):
            raise _not_loaded(name, " ".join(loaded.error.message.split()))
        self._digests[name] = adapter.digest
        self._forms[name] = form

    async def chat(self, request: ChatRequest) -> Any:
        """Return a response of vLLM's, or a stream of events; raises Problem."""
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

        await self.find(request.model)
        wanted = _taken_over(ChatCompletionRequest, request, self._stop_token_ids)
        return await _answered(self._chat.create_chat_completion(wanted))

    async def complete(self, request: CompletionRequest) -> Any:
        """Return a response of vLLM's, or a stream of events; raises Problem."""
        from vllm.entrypoints.openai.completion import protocol

        await self.find(request.model)
        wanted = _taken_over(protocol.CompletionRequest, request, self._stop_token_ids)
        return await _answered(self._completion.create_completion(wanted))


def _not_loaded(name: str, why: str) -> Problem:
    """Return the error for a client; the reason names addresses, so it goes to the log only."""
    _log.warning("model %s: %s", name, why)
    message = f"model {name}: its adapter cannot be loaded; the service's log tells why"
    return Problem(503, message, param="model", retry_after=60)


def _taken_over(kind: Any, request: BaseModel, stop_token_ids: list[int]) -> Any:
    """Turn a request into vLLM's own class; raises Problem (400) if vLLM refuses it.

    Args:
        kind: that class.
        request: the request.
        stop_token_ids: tokens that end an answer; none are set if it is empty.
    """
    from vllm.exceptions import VLLMError

    values = request.model_dump(exclude_none=True, by_alias=True, exclude_unset=True)
    if stop_token_ids:
        values["stop_token_ids"] = stop_token_ids
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"]) or None
        raise Problem(400, str(first["msg"]), param=param) from error
    except (VLLMError, ValueError) as error:
        raise Problem(400, str(error)) from error


async def _answered(answering: Any) -> Any:
    from vllm.entrypoints.serve.engine.protocol import ErrorResponse
    from vllm.exceptions import VLLMError
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    try:
        answer = await answering
    except EngineDeadError as error:
        raise engine_ended() from error
    except EngineGenerateError as error:
        raise Problem(
            400, f"the engine refuses this request: {error.__cause__ or error}"
        ) from error
    except (VLLMError, ValueError, TypeError) as error:
        # vLLM's own server answers these errors with 400 too.
        message = " ".join(str(error).split())
        raise Problem(400, message, param=getattr(error, "parameter", None)) from error
    if isinstance(answer, ErrorResponse):
        raise Problem(answer.error.code, answer.error.message, param=answer.error.param)
    return answer


def router(openai: OpenAI, config: ServeConfig, admission: Admission) -> APIRouter:
    """Make the routes `GET /v1/models`, `POST /v1/chat/completions` and `POST /v1/completions`.

    Args:
        openai: answers the requests.
        config: the settings of the service.
        admission: gives the slots.
    """
    routes = APIRouter(tags=["openai"])
    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorBody} for status in (400, 401, 403, 404, 413, 429, 503)
    }
    answers: dict[int | str, dict[str, Any]] = {
        **problems,
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
    }

    @routes.get(
        "/v1/models",
        summary="List the model and its adapters",
        responses={401: {"model": ErrorBody}, 429: {"model": ErrorBody}},
    )
    async def models_() -> dict[str, Any]:
        """Each entry has the name by which requests choose the model."""
        return await openai.listed()

    @routes.post("/v1/chat/completions", responses=answers, summary="Answer a chat")
    async def chat(request: ChatRequest, raw: Request) -> Response:
        """OpenAI's form, with streams, log-probabilities and constrained answers."""
        asked = await admitted(raw, request.model, request.n)
        return _response(await openai.chat(request), asked)

    @routes.post("/v1/completions", responses=answers, summary="Continue a text")
    async def completions(request: CompletionRequest, raw: Request) -> Response:
        """OpenAI's form. The model continues the prompt as it is, without a chat template."""
        asked = await admitted(raw, request.model, request.answers)
        return _response(await openai.complete(request), asked)

    async def admitted(raw: Request, model: str | None, answers: int) -> Asked:
        asked: Asked = raw.state.asked
        asked.caller.check_model(model or config.name)
        await admission.enter(asked.held, answers)
        return asked

    return routes


def _response(answer: Any, asked: Asked) -> Response:
    if hasattr(answer, "__aiter__"):
        return StreamingResponse(answer, media_type="text/event-stream")
    if answer.usage:
        asked.noted["prompt_tokens"] = answer.usage.prompt_tokens
        asked.noted["output_tokens"] = answer.usage.completion_tokens
    return JSONResponse(answer.model_dump())
