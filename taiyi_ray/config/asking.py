"""What to ask, and what answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    ValidationInfo,
    field_validator,
    model_validator,
)

from taiyi_ray.config.choices import (
    CLIENTS,
    DEFAULT_CONTEXT,
    DEFAULT_MODEL,
    EMBEDDED_MODEL,
    SHIPPED_MODELS,
    Ask,
    ChatForm,
    EngineName,
    Grounding,
)
from taiyi_ray.config.secrets import without_secrets
from taiyi_ray.config.settings import Settings, numbers, renamed
from taiyi_ray.names import AROUND_HEADS, checked_name


class TaskSettings(Settings):
    """What to ask."""

    tasks: list[str] | None = Field(
        None,
        min_length=1,
        description="tasks to do; the default is those of the task file, or ner and re if there is "
        "no task file",
    )
    task_file: str | None = Field(None, description="YAML file with the options of tasks")
    ask: Ask | None = Field(
        None,
        description="ask about all mention types in one question, or about each type in a question "
        "of its own (apart, the default)",
    )
    types: list[str] | None = Field(None, min_length=1, description="mention types to find")
    relations: list[str] | None = Field(None, min_length=1, description="relation types to find")

    @field_validator("tasks", "types", "relations", mode="after")
    @classmethod
    def _checked_names(cls, names: list[str] | None) -> list[str] | None:
        return names and [checked_name(name, AROUND_HEADS) for name in names]


class EngineSettings(Settings):
    """What answers the questions, and how."""

    model: str = Field(
        DEFAULT_MODEL,
        description=f"model that answers: {', '.join(SHIPPED_MODELS)}, a local folder, a Hugging "
        f"Face id or an s3:// address; with an adapter and no model, {EMBEDDED_MODEL}",
    )
    adapter: str | None = Field(
        None, description="LoRA folder, local or s3://, that is merged into the model"
    )
    chat: ChatForm = Field(
        "template",
        description="form of the prompts: the model's chat template, Taiyi 1's or Taiyi 2's",
    )
    engine: EngineName = Field("vllm", description="what answers the questions")
    url: str | None = Field(
        None,
        validate_default=True,
        description="address of an OpenAI-compatible server, for the engine http; --model is then "
        "the name that the server uses, and the environment variable TAIYI_RAY_API_KEY holds its "
        "key",
    )
    engines: str = Field(
        "1",
        description="number of engines that work side by side; MIN:MAX lets it follow the work",
    )
    gpu: str | None = Field(
        None,
        min_length=1,
        description="kind of GPU that engines run on, as Ray names it (L4, A100-80G, H100 ...)",
    )
    engine_args: Annotated[
        dict[str, JsonValue], AfterValidator(renamed), AfterValidator(without_secrets)
    ] = Field({}, description="further arguments of the engine")
    wording: Literal["short"] | int | None = Field(
        None,
        description="number of the wording of the questions, from 1, or short: the fewest tokens, "
        "for a model that was trained so; the default is what the model's folder names, else 1",
    )
    grounding: Grounding = Field(
        "grammar",
        description="constrain answers to words of the text (grammar), or let the model write "
        "freely and look for its words in the text (align)",
    )
    scores: bool = Field(
        False, description="say how certain the model is of each mention and relation"
    )
    context_length: int | None = Field(
        None,
        ge=256,
        description=f"most tokens of a prompt and its answer together; the default is "
        f"{DEFAULT_CONTEXT}, or the model's context length if that is shorter",
    )
    max_tokens: int = Field(
        512,
        ge=16,
        description="most tokens of an answer; one that is cut off there is asked for once more, "
        "with twice as many",
    )
    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")

    @field_validator("engine", mode="after")
    @classmethod
    def _server_has_the_template(cls, engine: EngineName, info: ValidationInfo) -> EngineName:
        if engine in CLIENTS and info.data.get("chat") == "taiyi2":
            raise ValueError(
                "a server writes prompts by its own chat template: start it with that of Taiyi 2, "
                "and give --chat template here"
            )
        return engine

    @model_validator(mode="before")
    @classmethod
    def _base_of_an_adapter(cls, values: Any) -> Any:
        """An adapter is trained on a base: it never comes on top of another one by default."""
        if "model" not in values and (values.get("adapter") or values.get("adapters")):
            return {**values, "model": EMBEDDED_MODEL}
        return values

    @property
    def engine_range(self) -> tuple[int, int]:
        """The fewest and the most engines."""
        return numbers(self.engines)

    @field_validator("wording", mode="before")
    @classmethod
    def _short_or_a_number(cls, wording: object) -> object:
        number = int(wording) if isinstance(wording, str) and wording.isdecimal() else wording
        if number in (None, "short") or (type(number) is int and number >= 1):
            return number
        raise ValueError("expected short, or the number of a wording, from 1")

    @field_validator("engines", mode="before")
    @classmethod
    def _number_of_engines(cls, engines: object) -> object:
        return str(engines) if type(engines) is int else engines

    @field_validator("engines", mode="after")
    @classmethod
    def _least_before_most(cls, engines: str) -> str:
        if numbers(engines)[0] < 1:
            raise ValueError("expected a number of engines, or MIN:MAX as in 1:8")
        return engines

    @field_validator("url", mode="after")
    @classmethod
    def _url_of_http_only(cls, url: str | None, info: ValidationInfo) -> str | None:
        engine = info.data.get("engine")
        if engine is None:  # the value of `engine` was refused already
            return url
        if engine in CLIENTS and url is None:
            raise ValueError(
                f"the engine {engine} needs the address of a server, as in http://host:8000/v1"
            )
        if engine not in CLIENTS and url is not None:
            raise ValueError(
                f"the engine {engine} asks no server; leave the url out, or give --engine http"
            )
        return url


class AskConfig(TaskSettings, EngineSettings):
    """The settings of every command that asks tasks: what to ask, and what answers."""
