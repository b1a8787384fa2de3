"""The settings of a command: one frozen model, made from flags, a YAML file, or both."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from taiyi_ray import storage
from taiyi_ray.errors import ConfigError, nearest

Key = Literal["document_id", "text", "passages", "title", "language", "version", "metadata"]
"""The keys of a record in JSON lines or Parquet that describe its document."""

EngineName = Literal["vllm", "http", "fake"]
CLIENTS = frozenset({"http"})
"""The engines that ask a server. They need its `url`; the service does not take such an engine."""

EMBEDDED_MODEL = "smollm2-135m-instruct"

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_ENGINES = re.compile(r"([1-9]\d{0,4})(?::([1-9]\d{0,4}))?")


# Matches names of secrets, such as vLLM's hf_token or an api_key in extra_body, but not
# max_num_batched_tokens.
_SECRET = re.compile(
    r"(^|[_-])(secrets?|passwor[dt]s?|passwd|credentials?|authorization"
    r"|((api|access|private|secret|aws)[_-]?)+keys?"
    r"|(hf|api|auth|access|bearer|session)[_-]?tokens?)$"
    r"|^(key|token)$",
    re.IGNORECASE,
)
_NAMED_TEXT = re.compile(r"\s*(?:-{1,2})?([A-Za-z][\w-]*)\s*[:=]\s*\S")
_URL_WITH_PASSWORD = re.compile(r"//[^/@\s]*:[^/@\s]*@")


class EngineConfig(BaseModel):
    """The settings of every feature with an engine: what answers the questions, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        EMBEDDED_MODEL,
        description="local folder, Hugging Face id or s3:// address",
    )
    chat: Literal["template", "taiyi1"] = Field("template", description="form of the prompt")
    engine: EngineName = Field("vllm", description="what answers the questions")
    engines: str = Field(
        "1",
        description="engines side by side, one an actor; MIN:MAX lets their number follow the work",
    )
    gpu: str | None = Field(
        None,
        min_length=1,
        description="kind of GPU that engines run on, as Ray names it (L4, A100-80G, H100 ...)",
    )
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
    trust_remote_code: bool = Field(False, description="run code that comes with the model")

    @property
    def engine_range(self) -> tuple[int, int]:
        """The fewest and the most engines."""
        least, _, most = self.engines.partition(":")
        return int(least), int(most or least)

    @field_validator("engines", mode="before")
    @classmethod
    def _number_of_engines(cls, engines: object) -> object:
        return str(engines) if type(engines) is int else engines

    @field_validator("engines", mode="after")
    @classmethod
    def _least_before_most(cls, engines: str) -> str:
        numbers = _ENGINES.fullmatch(engines)
        if numbers is None or int(numbers[2] or numbers[1]) < int(numbers[1]):
            raise ValueError("expected a number of engines, or MIN:MAX as in 1:8")
        return engines

    @field_validator("*", mode="before")
    @classmethod
    def _unicode(cls, value: object) -> object:
        """Refuse a path that is no UTF-8: Python has it as surrogates, which JSON cannot hold."""
        for text in _all_texts(value):
            if text == text.encode("utf-8", "ignore").decode():
                continue
            message = "{text} is no UTF-8; rename what it names"
            raise PydanticCustomError("no_unicode", message, {"text": repr(text)})
        return value

    # The settings must not hold secrets: they are written into job.json and run.json, and the
    # dashboard of a cluster shows the command of a job.

    @field_validator("engine_args", mode="after")
    @classmethod
    def _no_secrets(cls, arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if name := _secret_in(arguments):
            # The error does not show the value, because the error may be logged.
            raise PydanticCustomError(
                "secret",
                "{name} looks like a secret, which would be written into job.json; give it in the "
                "environment of the engine (HF_TOKEN, TAIYI_RAY_API_KEY)",
                {"name": name},
            )
        return arguments

    @field_validator(
        "inputs", "output", "model", "adapter", "url", "adapters", "api_keys_file", "batches",
        mode="after", check_fields=False,
    )  # fmt: skip
    @classmethod
    def _no_password(cls, value: Any) -> Any:
        if any(_URL_WITH_PASSWORD.search(text) for text in _texts(value)):
            raise PydanticCustomError(
                "secret",
                "the address holds a password, which would be written into job.json; give it in "
                "the environment",
            )
        return value


class AskConfig(EngineConfig):
    """The settings that a corpus job and a notebook share: the tasks, and what answers."""

    tasks: list[str] | None = Field(
        None,
        min_length=1,
        description="tasks to do; by default those of the task file, without one ner and re",
    )
    task_file: str | None = Field(None, description="YAML file of the tasks' options")
    ask: Literal["together", "apart"] | None = Field(
        None,
        description="about all mention types in one question, or about each in its own (default)",
    )
    types: list[str] | None = Field(None, min_length=1, description="mention types to find")
    relations: list[str] | None = Field(None, min_length=1, description="relation types to find")
    adapter: str | None = Field(None, description="LoRA folder, merged into the model")
    url: str | None = Field(
        None,
        validate_default=True,
        description="of an OpenAI-compatible server (engine http), where --model is the name it "
        "serves; its key is in the environment variable TAIYI_RAY_API_KEY",
    )

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
        if engine is None:  # the value of `engine` was refused already
            return url
        if engine in CLIENTS and url is None:
            raise ValueError(f"the engine {engine} wants the server's, as in http://host:8000/v1")
        if engine not in CLIENTS and url is not None:
            raise ValueError(f"the engine {engine} has none; leave it out or give --engine http")
        return url


class AnnotateConfig(AskConfig):
    """The settings of `taiyi-ray annotate`; the descriptions of the fields are its help texts."""

    inputs: list[str] = Field(min_length=1, description="files, folders (recursive) or globs")
    output: str = Field(min_length=1, description="folder of the output")
    columns: dict[Key, str] = Field(
        {}, description="what JSON lines and Parquet call a key of a document, as in text=abstract"
    )
    limit: int | None = Field(None, ge=1, description="at most this many documents in the output")
    max_failed: float = Field(0.05, ge=0, le=1, description="share of failed documents to accept")
    stall_minutes: float = Field(60, gt=0, description="end when nothing was committed so long")
    retry_failed: bool = Field(False, description="do the failed and partial documents again")
    price: float | None = Field(
        None, ge=0, description="of an hour of one engine, for the cost in metrics and plan"
    )


class NotebookConfig(AskConfig):
    """The settings of `ty.annotate`, which runs one engine in this process."""

    engines: Literal["1"] = Field("1", description="one, in this process")
    gpu: None = Field(None, description="the ones of this process")
    options: dict[str, dict[str, Any]] = Field(
        {}, description="options by task, as in a task file, which they win over"
    )


class ServeConfig(EngineConfig):
    """The settings of `taiyi-ray serve`; the descriptions of the fields are its help texts."""

    name: str = Field("taiyi", pattern=_NAME, description="what clients call the model")
    adapters: dict[str, str] = Field(
        {},
        description="LoRA folders by name: clients call the model NAME:ADAPTER; each is loaded "
        "when it is first asked for",
    )
    host: str = Field(
        "127.0.0.1", min_length=1, description="address to listen on; another wants --api-keys-file"
    )
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    api_keys_file: str | None = Field(
        None,
        description="YAML file of hashed keys (--new-key writes it); only who has one is let in",
    )
    without_keys: bool = Field(False, description="let everybody in who reaches the address")
    batches: str | None = Field(
        None,
        description="folder or s3:// address of files and batches, which all nodes must reach; by "
        "default in the user's data folder",
    )
    max_documents: int = Field(64, ge=1, description="documents of a request")
    max_megabytes: int = Field(8, ge=1, description="size of a request, files of batches aside")
    max_characters: int = Field(
        32_000_000,
        ge=1,
        description="characters of all prompts of a request: about its text times the questions",
    )
    max_in_flight: int | None = Field(
        None,
        ge=1,
        description="documents and chats that an engine has at once, more are refused for the "
        "moment (503); by default what the engine takes",
    )
    time_limit: float = Field(300, gt=0, description="seconds for which a request is worked on")

    @property
    def models(self) -> list[str]:
        """The model names for clients: the base model, and the base model with each adapter."""
        return [self.name, *(f"{self.name}:{adapter}" for adapter in self.adapters)]

    @property
    def hosts(self) -> list[str] | None:
        """The host names that requests may carry; None when any is allowed.

        A service without keys on this machine checks them, so that a page of another site cannot
        use it through the user's browser. Where keys are needed, such a page has none.
        """
        if self.api_keys_file or not is_loopback(self.host):
            return None
        return ["127.0.0.1", "::1", "localhost", self.host]

    @field_validator("engine", mode="after")
    @classmethod
    def _own_engine(cls, engine: str) -> str:
        if engine in CLIENTS:
            raise ValueError("the service runs the model itself; ask that server directly")
        return engine

    @field_validator("adapters", mode="after")
    @classmethod
    def _adapter_names(cls, adapters: dict[str, str]) -> dict[str, str]:
        if wrong := [name for name in adapters if not re.fullmatch(_NAME, name)]:
            raise ValueError(f"{wrong[0]!r} is no name: letters, digits and . _ - only")
        return adapters

    @model_validator(mode="after")
    def _locked(self) -> Self:
        if not (self.api_keys_file or self.without_keys or is_loopback(self.host)):
            raise ValueError(
                f"--host {self.host} can be reached from elsewhere: give --api-keys-file, or "
                "--without-keys if everybody there may use it"
            )
        return self


class InstructConfig(BaseModel):
    """The settings of `taiyi-ray build-instructions`; the descriptions are its help texts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_root: str = Field(min_length=1, description="folder of the corpora, or s3:// address")
    output: str = Field(min_length=1, description="folder of the instructions")
    datasets: list[str] | None = Field(
        None,
        min_length=1,
        description="datasets of the catalogue; by default all that are in the data root and may "
        "train a model",
    )
    accept_terms: list[str] = Field(
        [], description="datasets whose terms you have read and accept; may be repeated"
    )
    tasks: list[str] | None = Field(
        None, min_length=1, description="tasks; by default all that the datasets have gold for"
    )
    seed: int = Field(0, ge=0, description="of all random choices")
    limit: int | None = Field(None, ge=1, description="at most this many documents of a split")
    ask: Literal["mixed", "together", "apart"] = Field(
        "mixed",
        description="about all types in one question, about each in its own, or mixed as the paper",
    )
    rates: dict[str, float] = Field(
        {},
        description="records a document, by dataset, task or DATASET/TASK; by default the paper's",
    )
    most: int = Field(10_000, ge=1, description="documents of a dataset that a task uses at most")
    negatives: float = Field(
        1.0, ge=0, le=1, description="share of the questions about one type that nothing answers"
    )
    wordings: Literal["all", "short"] = Field(
        "all", description="the wordings of questions to draw from"
    )
    document_first: float = Field(
        0.5, ge=0, le=1, description="share of documents that stand before the instruction"
    )
    characters: int = Field(
        6000, ge=100, description="of a document that one question shows at most"
    )
    overlap: float = Field(
        0.2,
        gt=0,
        le=1,
        description="share of a test document's n-grams that takes a training document out",
    )
    dev_documents: int = Field(
        200, ge=0, description="held-out documents of a dataset, for the loss during training"
    )
    workers: int | None = Field(
        None, ge=1, description="tasks side by side; by default as many as the cluster has CPUs"
    )


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can connect to this host."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    # A socket that serves both versions of IP shows an IPv4 address as a mapped IPv6 address.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


Config = TypeVar("Config", bound=EngineConfig)


def _secret_in(value: JsonValue) -> str | None:
    """The name of a text in `value`, at any depth, that looks like a secret; None without one.

    The name may be the key of the text, or stand before it in a list of pairs
    (`[["api_key", "..."]]`), beside it (`{"name": "api_key", "value": "..."}`) or in the text
    itself (`Authorization: ...`, `--api-key=...`). An address with a password counts, too.
    """
    if isinstance(value, str):
        named = _NAMED_TEXT.match(value)
        if named and _SECRET.search(named[1]):
            return named[1]
        return "an address with a password" if _URL_WITH_PASSWORD.search(value) else None
    if isinstance(value, dict):
        pairs = [*value.items(), (value.get("name"), value.get("value"))]
        for name, inner in pairs:
            if isinstance(name, str) and _SECRET.search(name) and _holds_text(inner):
                return name
        value = list(value.values())
    if isinstance(value, list):
        for pair in value:
            match pair:
                case [str(name), inner] if _SECRET.search(name) and _holds_text(inner):
                    return name
        return next((found for inner in value if (found := _secret_in(inner))), None)
    return None


def _holds_text(value: JsonValue) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return (
        any(map(_holds_text, value))
        if isinstance(value, list)
        else isinstance(value, str) and bool(value)
    )


def _all_texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _all_texts(inner)


def _texts(value: dict[str, str] | list[str] | str | None) -> list[str]:
    if isinstance(value, dict):
        return list(value.values())
    return [value] if isinstance(value, str) else value or []


def read_yaml(option: str, path: str) -> Any:
    """Read the YAML file that an option names, at a path or an s3:// address.

    Args:
        option: the option as it is written on the command line, for the errors.
        path: the path or the address.

    Raises:
        ConfigError: the file is not there, cannot be read, or is no YAML in UTF-8.
        StorageError: the store of the address cannot be read.
    """
    address = storage.absolute(path)
    try:
        # `storage.read` reads only files, and a path may be a pipe (`--config <(make-it)`).
        here = storage.is_local(address)
        data = Path(address).read_bytes() if here else storage.read(address)
        if data is None:
            raise ConfigError(f"{option} {path}: no such file")
        return yaml.safe_load(data.decode())
    except OSError as error:
        raise ConfigError(f"{option} {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{option} {path}: not YAML in UTF-8: {reason}") from error


def load(kind: type[Config], path: str | None, flags: dict[str, Any]) -> Config:
    """Make the settings from a YAML file and flags; a flag replaces the value in the file.

    Args:
        kind: the class of the settings.
        path: the YAML file, if there is one.
        flags: the flags that the user gave, by the names of the settings.

    Raises:
        ConfigError: a setting is unknown or missing or has a wrong value; the message names all.
    """
    values: dict[str, Any] = {}
    if path is not None:
        loaded = read_yaml("--config", path)
        if not isinstance(loaded, dict):
            raise ConfigError(f"--config {path}: expected keys and values, as in `tasks: [ner]`")
        values = loaded
    values |= flags
    try:
        return kind(**values)
    except ValidationError as error:
        raise ConfigError(explain(error, kind)) from error
    except TypeError as error:  # a key that is no string
        raise ConfigError(f"--config {path}: {error}") from error


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Everything that is wrong with the values of a pydantic model, in one line."""
    return "; ".join(_explain(e, model) for e in error.errors())


def _explain(error: Any, model: type[BaseModel]) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if not name:  # the error is about several settings together
        return str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"unknown setting {name!r}{nearest(name, model.model_fields)}"
    if error["type"] == "missing":
        return f"{name} is missing"
    if error["type"] in ("secret", "no_unicode"):
        return f"{name}: {error['msg']}"
    return f"{name}: {error['msg'].removeprefix('Value error, ')}, got {error['input']!r}"
