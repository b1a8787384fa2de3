"""The settings of a run: one frozen model, from flags, a YAML file, or both."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from taiyi_ray.errors import ConfigError, nearest

Key = Literal["document_id", "text", "passages", "title", "language", "version", "metadata"]
"""What a record of JSON lines or Parquet says of its document."""

EMBEDDED_MODEL = "smollm2-135m-instruct"


class AnnotateConfig(BaseModel):
    """What `taiyi-ray annotate` does; the field descriptions are the command's help."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: list[str] = Field(min_length=1, description="files, folders (recursive) or globs")
    output: str = Field(min_length=1, description="folder of the output")
    columns: dict[Key, str] = Field(
        {}, description="what JSON lines and Parquet call a key of a document, as in text=abstract"
    )
    tasks: list[str] = Field(["ner", "re"], min_length=1, description="tasks to do")
    ask: Literal["together", "apart"] = Field(
        "apart",
        description="about all mention types in one question, or about each in its own",
    )
    types: list[str] | None = Field(None, min_length=1, description="mention types to find")
    relations: list[str] | None = Field(None, min_length=1, description="relation types to find")
    model: str = Field(
        EMBEDDED_MODEL,
        description="local folder, Hugging Face id or s3:// address; with --url its name there",
    )
    adapter: str | None = Field(None, description="LoRA folder, merged into the model")
    chat: Literal["template", "taiyi1"] = Field("template", description="form of the prompt")
    engine: Literal["vllm", "http", "fake"] = Field(
        "vllm", description="what answers the questions"
    )
    url: str | None = Field(
        None,
        validate_default=True,
        description="of an OpenAI-compatible server (engine http); its key is in the environment "
        "variable TAIYI_RAY_API_KEY",
    )
    engines: int = Field(1, ge=1, description="engines side by side, one an actor")
    engine_args: dict[str, JsonValue] = Field({}, description="further arguments of the engine")
    grounding: Literal["grammar", "align"] = Field(
        "grammar", description="constrain answers to the text, or only align them with it"
    )
    scores: bool = Field(False, description="give mentions and relations the model's certainty")
    context_limit: int | None = Field(
        None,
        ge=256,
        description="tokens of a prompt and its answer; by default 4096 or the model's",
    )
    max_tokens: int = Field(512, ge=16, description="tokens of an answer, at the first attempt")
    limit: int | None = Field(None, ge=1, description="at most this many documents in the output")
    max_failed: float = Field(0.05, ge=0, le=1, description="share of failed documents to accept")
    stall_minutes: float = Field(60, gt=0, description="end when nothing was committed so long")
    retry_failed: bool = Field(False, description="do the failed and partial documents again")
    trust_remote_code: bool = Field(False, description="run code that comes with the model")

    @field_validator("tasks", "types", "relations", mode="after")
    @classmethod
    def _no_blank_names(cls, names: list[str] | None) -> list[str] | None:
        if names and any(not n.strip() or set(n) & set(";:：\n[]") for n in names):
            raise ValueError("a name must not be empty nor hold any of ; : ： [ ] or a line break")
        return names

    @field_validator("url", mode="after")
    @classmethod
    def _url_of_http_only(cls, url: str | None, info: ValidationInfo) -> str | None:
        engine = info.data.get("engine")
        if engine == "http" and url is None:
            raise ValueError("the engine http wants the server's, as in http://host:8000/v1")
        if engine in ("vllm", "fake") and url is not None:
            raise ValueError(f"the engine {engine} has none; leave it out or give --engine http")
        return url


def load(path: str | None, flags: dict[str, Any]) -> AnnotateConfig:
    """Build the configuration: the YAML file's values, then the flags that were given.

    Raises:
        ConfigError: naming every key that is unknown or has a wrong value.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"--config {path}: {error.strerror}") from error
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"--config {path}: not YAML in UTF-8: {reason}") from error
        if not isinstance(loaded, dict):
            raise ConfigError(f"--config {path}: expected keys and values, as in `tasks: [ner]`")
        values = loaded
    values |= flags
    try:
        return AnnotateConfig(**values)
    except ValidationError as error:
        raise ConfigError(explain(error, AnnotateConfig)) from error
    except TypeError as error:  # a key that is no string
        raise ConfigError(f"--config {path}: {error}") from error


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """All that is wrong with the settings of a model, in one line."""
    return "; ".join(_explain(e, model) for e in error.errors())


def _explain(error: Any, model: type[BaseModel]) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown setting {name!r}{nearest(name, model.model_fields)}"
    if error["type"] == "missing":
        return f"{name} is missing"
    return f"{name}: {error['msg'].removeprefix('Value error, ')}, got {error['input']!r}"
