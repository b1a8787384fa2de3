"""The settings of a command: one frozen model, made from flags, a YAML file, or both.

TaskSettings say what to ask, EngineSettings what answers. A command has one class, which composes
those that it needs. The descriptions of the fields are the help texts of the options.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
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
from taiyi_ray.names import AROUND_HEADS, checked_name

_log = logging.getLogger(__name__)

# ------------------------------------------------------------------------------ what may be chosen

Key = Literal["document_id", "text", "passages", "title", "language", "version", "metadata"]
"""The keys of a record in JSON lines or Parquet that describe its document."""

Ask = Literal["together", "apart"]
"""Whether one question asks about all mention types, or about one type each."""

EngineName = Literal["vllm", "http", "fake"]
CLIENTS = frozenset({"http"})
"""The engines that ask a server. They need its `url`; the service does not take such an engine."""

ChatForm = Literal["template", "taiyi1"]
"""The form of prompts: the model's own chat template, or the form in which Taiyi 1 was trained."""

Grounding = Literal["grammar", "align"]
"""Whether answers are constrained to words of the text, or are only located in it afterwards."""

EMBEDDED_MODEL = "smollm2-135m-instruct"
"""The shipped base, which knows none of the tasks: training begins with it."""
DEMO_MODEL = "taiyi-demo"
"""The shipped base with the adapter that this program trained (`models/demo/`)."""
SHIPPED_MODELS = (EMBEDDED_MODEL, DEMO_MODEL)
DEFAULT_MODEL = EMBEDDED_MODEL
"""The model that answers where none is named."""

DEFAULT_CONTEXT = 4096
"""Tokens of a prompt and its answer together, unless the user or the model says otherwise."""

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_RANGE = re.compile(r"(\d{1,5})(?::(\d{1,5}))?")

# ---------------------------------------------------------------------------------------- old names

RENAMED = {
    "context_limit": "context_length",
    "max_in_flight": "document_slots",
    "most_in_flight": "question_slots",
}
"""The names that settings and engine arguments have now, by the names that they had before."""


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by the names that they have now; each old name is a warning in the log.

    Raises:
        ConfigError: a value is given under its old name and its new one.
    """
    current = {}
    for name, value in values.items():
        now = RENAMED.get(name, name)
        if now != name and now in values:
            raise ConfigError(f"{name} is the old name of {now}; give only {now}")
        if now != name:
            _log.warning("%s is called %s now; please use the new name", name, now)
        current[now] = value
    return current


def recorded(config: Settings) -> dict[str, Any]:
    """Return the settings as job.json and run.json hold them.

    There each setting keeps the name that it had first, so that what reads these files still works.
    """
    first = {now: name for name, now in RENAMED.items()}
    return {first.get(name, name): value for name, value in config.model_dump().items()}


def completed(
    begun: Mapping[str, Any], now: Mapping[str, Any], kind: type[Settings]
) -> dict[str, Any]:
    """Return the settings that an output was begun with, and those that did not exist then.

    Those are at their defaults: a setting that is added has the default that leaves everything as
    it was.

    Args:
        begun: the settings as the output holds them.
        now: the settings of this run, as it would write them.
        kind: the class of the settings.
    """
    fields = {name: field for name, field in kind.model_fields.items() if name in now}
    added = {name: field.get_default() for name, field in fields.items() if not field.is_required()}
    return added | dict(begun)


# ------------------------------------------------------------------------------------ the secrets

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


# ----------------------------------------------------------------------------------- the settings


def _without_secrets(arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if name := _secret_in(arguments):
        # The error does not show the value, because the error may be logged.
        raise PydanticCustomError(
            "secret",
            "{name} looks like a secret, which would be written into job.json; give it in the "
            "environment of the engine (HF_TOKEN, TAIYI_RAY_API_KEY)",
            {"name": name},
        )
    return arguments


def _numbers(text: str) -> tuple[int, int]:
    """The fewest and the most of a number or of MIN:MAX; -1 and -1 where the text is neither."""
    found = _RANGE.fullmatch(text)
    if found is None or int(found[2] or found[1]) < int(found[1]):
        return -1, -1
    return int(found[1]), int(found[2] or found[1])


class Settings(BaseModel):
    """The settings of any command, with or without an engine: they are frozen and hold no secret.

    Settings are written into job.json and run.json, and the dashboard of a cluster shows the
    command of a job.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _unicode(cls, value: object) -> object:
        """Refuse a path that is not UTF-8: Python has it as surrogates, which JSON cannot hold."""
        for text in _all_texts(value):
            if text == text.encode("utf-8", "ignore").decode():
                continue
            message = "{text} is not UTF-8; rename the file or folder"
            raise PydanticCustomError("no_unicode", message, {"text": repr(text)})
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _no_password(cls, value: object) -> object:
        if any(_URL_WITH_PASSWORD.search(text) for text in _texts(value)):
            raise PydanticCustomError(
                "secret",
                "the address holds a password, which would be written into job.json; give it in "
                "the environment",
            )
        return value


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
        "template", description="form of the prompts: the model's chat template, or that of Taiyi 1"
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
        dict[str, JsonValue], AfterValidator(renamed), AfterValidator(_without_secrets)
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
        return _numbers(self.engines)

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
        if _numbers(engines)[0] < 1:
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


class JobSettings(Settings):
    """How a job over documents ends, and whether it asks again."""

    max_failed: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of failed documents above which the job ends with exit code 3",
    )
    stall_minutes: float = Field(
        60, gt=0, description="end the job when it committed nothing for so many minutes"
    )
    retry_failed: bool = Field(False, description="annotate failed and partial documents again")


class AnnotateConfig(JobSettings, AskConfig):
    """The settings of `taiyi-ray annotate`."""

    inputs: list[str] = Field(
        min_length=1, description="files, folders (with all folders in them) or globs"
    )
    output: str = Field(min_length=1, description="folder of the output, local or s3://")
    columns: dict[Key, str] = Field(
        {},
        description="name that JSON lines or Parquet files have for a key of a document, as in "
        "text=abstract",
    )
    limit: int | None = Field(None, ge=1, description="most documents in the output")
    reuse: str | None = Field(
        None,
        min_length=1,
        description="lake, or output of annotate: what was answered there about the same text and "
        "with the same fingerprint is copied, and not asked again",
    )
    price: float | None = Field(
        None, ge=0, description="price of one hour of one engine, for the cost in metrics and plan"
    )


class EvaluateConfig(JobSettings, EngineSettings):
    """The settings of `taiyi-ray evaluate`."""

    benchmarks: list[str] | None = Field(
        None,
        min_length=1,
        description="benchmarks to do, or `all`; the default is all whose files are there",
    )
    split: Literal["train", "dev", "test"] | None = Field(
        None,
        description="split to score; the default is test, and dev where no test part is public",
    )
    data_root: str = Field(
        min_length=1, description="folder below which your corpora lie, or s3://bucket/prefix"
    )
    output: str = Field(min_length=1, description="folder of the output, local or s3://")
    limit: int | None = Field(None, ge=1, description="most documents of each benchmark")
    ask: Ask | None = Field(
        None, description="ask about all mention types in one question, or about each type apart"
    )
    shots: int = Field(
        0, ge=0, description="examples from the training split that stand before each question"
    )
    shots_by: Literal["seed", "similarity"] = Field(
        "seed",
        description="take the same examples for all documents, drawn by --seed, or for each "
        "document those whose words are most like its own",
    )
    seed: int = Field(0, ge=0, description="seed of the choice of examples and of the intervals")
    thresholds: str | None = Field(
        None,
        description="output of an evaluation of dev with --scores; mentions, relations and labels "
        "with lower scores than were best there do not count",
    )

    @field_validator("thresholds", mode="after")
    @classmethod
    def _thresholds_need_scores(cls, thresholds: str | None, info: ValidationInfo) -> str | None:
        if thresholds is not None and not info.data.get("scores"):
            raise ValueError("thresholds are compared with the model's scores; give --scores too")
        return thresholds

    def as_job(self, inputs: list[str]) -> AnnotateConfig:
        """The settings of the corpus job that asks about these inputs."""
        shared = (EngineSettings.model_fields | JobSettings.model_fields).keys()
        given = {name: getattr(self, name) for name in shared & self.model_fields_set}
        return AnnotateConfig(inputs=inputs, output=self.output, **given)


class NotebookConfig(AskConfig):
    """The settings of `ty.annotate`, which runs one engine in this process."""

    engines: Literal["1"] = Field("1", description="always one, in this process")
    gpu: None = Field(None, description="always the GPUs that this process sees")
    options: dict[str, dict[str, Any]] = Field(
        {}, description="options of tasks, as in a task file; they win over the file"
    )


class ServeConfig(EngineSettings):
    """The settings of `taiyi-ray serve`."""

    name: str = Field("taiyi", pattern=_NAME, description="name that clients give the model")
    adapters: dict[str, str] = Field(
        {},
        description="LoRA folders by name; clients call the model NAME:ADAPTER. An adapter is "
        "loaded when it is first asked for",
    )
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address to listen on; one that other machines can reach needs "
        "--api-keys-file or --without-keys",
    )
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    api_keys_file: str | None = Field(
        None,
        description="YAML file of hashed keys, which --new-key writes; only requests with one of "
        "these keys are answered",
    )
    without_keys: bool = Field(False, description="answer everybody who can reach the address")
    batches: str | None = Field(
        None,
        description="folder or s3:// address for files and batches, which all nodes must be able "
        "to reach; the default is in the user's data folder",
    )
    max_documents: int = Field(64, ge=1, description="most documents of a request")
    max_megabytes: int = Field(
        8, ge=1, description="most megabytes of a request; files of batches may be larger"
    )
    max_characters: int = Field(
        32_000_000,
        ge=1,
        description="most characters of all prompts of a request together: about the length of "
        "its text times the number of questions",
    )
    document_slots: int | None = Field(
        None,
        ge=1,
        description="documents and chats that an engine works on at once; a request that finds too "
        "few free slots is refused (503); the default is what the engine takes",
    )
    time_limit: float = Field(
        300, gt=0, description="seconds after which the work on a request ends"
    )

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

    @field_validator("adapter", mode="after")
    @classmethod
    def _adapters_instead(cls, adapter: str | None) -> str | None:
        if adapter is not None:
            raise ValueError("the service loads adapters beside the model; name each in adapters")
        return adapter

    @field_validator("adapters", mode="after")
    @classmethod
    def _adapter_names(cls, adapters: dict[str, str]) -> dict[str, str]:
        if wrong := [name for name in adapters if not re.fullmatch(_NAME, name)]:
            raise ValueError(f"{wrong[0]!r} is not a name of letters, digits and . _ -")
        return adapters

    @model_validator(mode="after")
    def _locked(self) -> Self:
        if not (self.api_keys_file or self.without_keys or is_loopback(self.host)):
            raise ValueError(
                f"--host {self.host}: other machines can reach it; give --api-keys-file, or "
                "--without-keys if everybody there may use the service"
            )
        return self


BENCHMARKS = "benchmarks"
"""The word for all splits that benchmarks measure with, in `held_out`."""


class InstructConfig(Settings):
    """The settings of `taiyi-ray build-instructions`; the descriptions are its help texts."""

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
    task_file: str | None = Field(
        None, description="YAML file of the tasks' options, such as the terms of nen"
    )
    seed: int = Field(0, ge=0, description="of all random choices")
    limit: int | None = Field(None, ge=1, description="at most this many documents of a split")
    ask: Literal["mixed", "together", "apart"] = Field(
        "mixed",
        description="about all types in one question, about each in its own, or mixed as the paper",
    )
    rates: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        {},
        description="records a document, by dataset, task or DATASET/TASK; by default the paper's",
    )
    most: int | None = Field(
        None,
        ge=1,
        description="records of a dataset and a task at most, documents where --ask is not mixed; "
        "by default 10,000, or the paper's number where that is higher",
    )
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
    held_out: list[str] = Field(
        [BENCHMARKS],
        description="what no dataset trains on: datasets, or DATASET/SPLIT; `benchmarks` stands "
        "for all that benchmarks measure with",
    )
    dev_documents: int = Field(
        200, ge=0, description="held-out documents of a dataset, for the loss during training"
    )
    train_on_dev: bool = Field(
        False,
        description="train on the development splits too, for a last training when all choices "
        "are made: what `evaluate --split dev` says of such a model means nothing",
    )
    workers: int | None = Field(
        None, ge=1, description="tasks side by side; by default as many as the cluster has CPUs"
    )


Preset = Literal["default", "paper"]
"""The presets of training: files of `train/presets/`, which say where their values are from."""

_PRESETS = Path(__file__).parent / "train" / "presets"


class TrainStage(BaseModel):
    """A stage of training: which data, how often.

    Attributes:
        data: folders of the instruction data.
        epochs: how often every record is seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: list[str] = Field(min_length=1)
    epochs: int = Field(ge=1)


class TrainConfig(Settings):
    """The settings of `taiyi-ray train`. A preset gives all values without a default here."""

    data: str = Field(min_length=1, description="output of build-instructions, local or s3://")
    output: str = Field(min_length=1, description="folder of the output, local or s3://")
    preset: Preset = Field(
        "default", description="values of all settings that are not given, each with its source"
    )
    model: str = Field(
        EMBEDDED_MODEL,
        description="model to train: a local folder, a Hugging Face id or an s3:// address",
    )
    adapter: str | None = Field(None, description="LoRA folder to start from, local or s3://")
    chat: ChatForm = Field(
        "template", description="form of the conversations: the model's chat template, or Taiyi 1's"
    )
    stages: Literal["both", "1", "2", "single"] = Field(
        "both",
        description="all stages one after the other, one of them alone, or all data at once "
        "(single) with the epochs of the last stage",
    )
    stage_data: list[TrainStage] = Field(
        min_length=1, description="the folders of the data and the epochs of each stage"
    )
    method: Literal["lora", "qlora", "full"] = Field(
        description="train an adapter (lora), one on a base of 4 bits (qlora), or all weights"
    )
    workers: str = Field(
        "0",
        description="number of workers on a Ray cluster, a GPU each; MIN:MAX follows what the "
        "cluster has; 0 trains in this process",
    )
    seed: int = Field(0, ge=0, description="of the order of records, of first weights, of dropout")
    batch: int = Field(ge=1, description="records of a step, over all workers")
    row_tokens: int = Field(
        ge=16, description="most tokens of a record and of a row; longer records are left out"
    )
    max_steps: int | None = Field(None, ge=1, description="most steps of a stage")
    learning_rate: float = Field(gt=0, description="the highest learning rate")
    lr_schedule: Literal["constant", "cosine"] = Field(
        description="whether the rate stays after the warm-up, or falls along a cosine"
    )
    warmup: float = Field(ge=0, lt=1, description="share of a stage in which the rate rises")
    weight_decay: float = Field(ge=0, description="of AdamW")
    clip: float = Field(gt=0, description="largest norm of the gradients of a step")
    rank: int = Field(ge=1, description="rank of the adapter")
    alpha: float = Field(gt=0, description="the adapter's product is multiplied with alpha / rank")
    dropout: float = Field(ge=0, lt=1, description="dropout of the adapter")
    rslora: bool = Field(description="multiply with alpha / sqrt(rank) instead")
    lora_plus: float = Field(gt=0, description="rate of an adapter's B, in rates of its A (LoRA+)")
    targets: list[str] | Literal["all-linear"] = Field(
        description="layers that get an adapter, or all-linear"
    )
    precision: Literal["bf16", "float32"] = Field("bf16", description="of the computation")
    activation_checkpointing: bool = Field(
        False, description="compute activations twice, to need less memory"
    )
    fsdp: bool = Field(
        False, description="divide the weights among the workers (FSDP2), to need less memory each"
    )
    prefix_sharing: bool = Field(
        True, description="compute what questions on one document share once"
    )
    checkpoint_every: int = Field(200, ge=1, description="steps between two checkpoints")
    keep: int = Field(2, ge=1, description="checkpoints that are kept")
    eval_every: int | None = Field(
        None, ge=1, description="steps between two looks at the loss on the data's folder dev"
    )
    gpu: str | None = Field(
        None, min_length=1, description="kind of GPU that workers run on, as Ray names it"
    )
    price: float | None = Field(
        None, ge=0, description="price of one hour of one worker, for the cost in a dry run"
    )
    stall_minutes: float = Field(
        60, gt=0, description="end a run on workers when it made no step for so many minutes"
    )
    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, values: Any) -> Any:
        name = values.get("preset", "default")
        file = _PRESETS / f"{name}.yaml"
        if name not in get_args(Preset):  # the field says so
            file = _PRESETS / "default.yaml"
        return yaml.safe_load(file.read_text("utf-8")) | values

    @property
    def stages_to_train(self) -> list[TrainStage]:
        """The stages that this run trains."""
        if self.stages == "both":
            return self.stage_data
        if self.stages == "single":
            folders = [folder for stage in self.stage_data for folder in stage.data]
            last = self.stage_data[-1]
            return [TrainStage(data=list(dict.fromkeys(folders)), epochs=last.epochs)]
        return [self.stage_data[int(self.stages) - 1]]

    @property
    def worker_range(self) -> tuple[int, int]:
        """The fewest and the most workers; both are 0 where this process trains."""
        return _numbers(self.workers)

    @field_validator("stages", "workers", mode="before")
    @classmethod
    def _number_as_text(cls, number: object) -> object:
        return str(number) if type(number) is int else number

    @field_validator("workers", mode="after")
    @classmethod
    def _fewest_before_most(cls, workers: str) -> str:
        least, most = _numbers(workers)
        if least < (most > 0):
            raise ValueError("expected a number of workers, or MIN:MAX as in 2:8")
        return workers

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.stages in ("1", "2") and int(self.stages) > len(self.stage_data):
            raise ValueError(f"stages: there is no stage {self.stages} in stage_data")
        if self.method == "full" and self.adapter is not None:
            raise ValueError("adapter: method full trains all weights; merge the adapter first")
        if self.method == "qlora" and self.fsdp:
            raise ValueError(
                "fsdp: weights of 4 bits are not divided; give method lora or full, or no fsdp"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can connect to this host."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    # A socket that serves both versions of IP shows an IPv4 address as a mapped IPv6 address.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


AnySettings = TypeVar("AnySettings", bound=Settings)


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


def _texts(value: object) -> list[str]:
    """The texts of a setting that may be addresses: its value, or those of its list or mapping."""
    if isinstance(value, dict):
        value = list(value.values())
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


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


def load(kind: type[AnySettings], path: str | None, flags: dict[str, Any]) -> AnySettings:
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
        values = renamed(loaded)
    values |= renamed(flags)
    try:
        return kind(**values)
    except ValidationError as error:
        raise ConfigError(explain(error, kind)) from error
    except TypeError as error:  # a key that is no string
        raise ConfigError(f"--config {path}: {error}") from error


_MOST_SHOWN = 120
"""The most characters that an error shows of a list or a mapping."""


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Everything that is wrong with the values of a pydantic model, in one line."""
    return "; ".join(_explain(e, model) for e in error.errors())


def _inner(kind: Any) -> Iterator[type[BaseModel]]:
    """The models that a type holds."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for one in get_args(kind):
        yield from _inner(one)


def _explain(error: Any, model: type[BaseModel]) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if not name:  # the error is about more than one setting
        return str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        *outer, last = error["loc"]
        inner = [one for field in model.model_fields.values() for one in _inner(field.annotation)]
        known = [key for one in (inner if outer else [model]) for key in one.model_fields]
        return f"unknown setting {name!r}{nearest(str(last), known)}"
    if error["type"] == "missing":
        return f"{name} is missing"
    if error["type"] in ("secret", "no_unicode"):
        return f"{name}: {error['msg']}"
    given = repr(error["input"])
    if len(given) > _MOST_SHOWN and not isinstance(error["input"], str):
        given = f"{given[:_MOST_SHOWN]} ..."
    return f"{name}: {error['msg'].removeprefix('Value error, ')}, got {given}"
