"""The bodies of requests, with the meaning of their fields, which /openapi.json shows."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from taiyi_ray.config import Ask, Grounding
from taiyi_ray.tasks.vocabulary import Language


class Body(BaseModel):
    """A body of valid Unicode; a field that is not known is refused by its name."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _no_surrogates(cls, values: Any) -> Any:
        try:
            json.dumps(values, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            message = "a string holds a lone surrogate (\\ud800 to \\udfff): not valid Unicode"
            raise ValueError(message) from None
        except RecursionError:
            raise ValueError("nested more deeply than can be read") from None
        return values


MOST_NAMES = 1000
"""Names in the types, relations and options of a request at most: the engine may be asked about
each name in a question of its own."""

MOST_TURNS = 1000
"""Turns of a chat, together with the parts of turns, at most."""


def _names(value: Any) -> int:
    """Count the scalars and the keys in nested lists and objects; stop above MOST_NAMES."""
    left, count = [value], 0
    while left and count <= MOST_NAMES:
        one = left.pop()
        if isinstance(one, dict):
            left += one.values()
            count += len(one)
        elif isinstance(one, list):
            left += one
        else:
            count += 1
    return count


class AnnotateRequest(Body):
    """One text or a list of documents, and what to find in them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "text": "Aspirin eased pain in patients with migraine.",
                    "tasks": ["ner", "re"],
                    "types": ["disease", "chemical"],
                },
                {
                    "documents": [
                        {"document_id": "1", "text": "阿司匹林可以缓解头痛。", "language": "zh"},
                        {
                            "document_id": "2",
                            "passages": [
                                {"type": "title", "text": "Metformin in type 2 diabetes"},
                                {"type": "abstract", "text": "Metformin lowered glucose."},
                            ],
                        },
                    ],
                    "tasks": ["ner", "tc"],
                    "options": {"tc": {"labels": ["treatment", "prevention"]}},
                },
            ]
        },
    )

    text: str | None = Field(None, min_length=1, description="the text of one document")
    documents: list[dict[str, Any]] | None = Field(
        None,
        min_length=1,
        description="documents with the keys of the format `jsonl`: `text` or `passages`, and, if "
        "you like, `document_id`, `title`, `language` and `metadata`",
    )
    model: str | None = Field(
        None, description="a name that /v1/models lists; the default is the base model"
    )
    tasks: list[str] = Field(
        ["ner", "re"],
        min_length=1,
        max_length=64,
        description="what to do: names that /v1/tasks lists",
    )
    types: list[str] | None = Field(None, min_length=1, description="mention types to find (ner)")
    relations: list[str] | None = Field(
        None, min_length=1, description="relation types to find (re)"
    )
    ask: Ask | None = Field(
        None, description="ask about all mention types in one question, or about each in its own"
    )
    options: dict[str, dict[str, Any]] = Field(
        {}, description="options by task, as in a task file; /v1/tasks lists them"
    )
    language: Literal["auto", Language] = Field(
        "auto", description="of documents that state none; `auto` decides by the script"
    )
    grounding: Grounding | None = Field(
        None,
        description="`grammar` lets the model write only what stands in the text, `align` looks "
        "for free answers in the text; the default is the service's (--grounding)",
    )
    scores: bool | None = Field(
        None,
        description="give mentions and relations the model's certainty; the default is the "
        "service's (--scores)",
    )
    max_tokens: int | None = Field(
        None, ge=16, description="of an answer at the first attempt; the service has a limit"
    )
    prompts: bool = Field(False, description="return the prompts that the model got, too")

    @model_validator(mode="after")
    def _few_names(self) -> Self:
        if _names([self.types or [], self.relations or [], self.options]) > MOST_NAMES:
            raise ValueError(
                f"types, relations and options hold more than {MOST_NAMES:,} names and values"
            )
        return self


class TextPart(BaseModel):
    """A part of a turn's text."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """A turn of a chat, with text only."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None


class JsonSchema(BaseModel):
    """A named JSON schema."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    name: str
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """Free text, any JSON object, or JSON of a schema."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(BaseModel):
    """Exactly one constraint on the answer (vLLM's `structured_outputs`); `grammar` is Lark."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    json_: dict[str, Any] | str | None = Field(None, alias="json")
    regex: str | None = None
    choice: list[str] | None = Field(None, min_length=1)
    grammar: str | None = None


class StreamOptions(BaseModel):
    """What a stream holds besides the answer."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False


_Stop = Annotated[list[str], Field(max_length=16)]


class _Sampling(Body):
    """The fields that both of OpenAI's routes have."""

    model: str | None = Field(
        None, description="a name that /v1/models lists; the default is the base model"
    )
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=100_000)
    min_p: float | None = Field(None, ge=0, le=1)
    n: int = Field(1, ge=1, le=16)
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63)
    stop: str | _Stop | None = None
    stream: bool = False
    stream_options: StreamOptions | None = Field(None, description="only with `stream`")
    structured_outputs: StructuredOutputs | None = None
    response_format: ResponseFormat | None = None
    user: str | None = Field(None, description="accepted and ignored")


class ChatRequest(_Sampling):
    """A chat in OpenAI's form, with text only and without tools."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "taiyi",
                    "messages": [{"role": "user", "content": "Name a drug for diabetes."}],
                    "max_completion_tokens": 32,
                    "temperature": 0,
                }
            ]
        },
    )

    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1, description="older name of `max_completion_tokens`")
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20, description="only with `logprobs`")

    @model_validator(mode="after")
    def _few_turns(self) -> Self:
        parts = sum(len(m.content) for m in self.messages if isinstance(m.content, list))
        if len(self.messages) + parts > MOST_TURNS:
            raise ValueError(f"a chat has at most {MOST_TURNS:,} turns and parts of turns")
        return self


class CompletionRequest(_Sampling):
    """A text to continue, in OpenAI's form."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "taiyi", "prompt": "Aspirin is", "max_tokens": 16, "temperature": 0}
            ]
        },
    )

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=64)]
    max_tokens: int = Field(16, ge=1)
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=20)

    @property
    def answers(self) -> int:
        """The number of answers that the request asks for."""
        return self.n * (1 if isinstance(self.prompt, str) else len(self.prompt))
