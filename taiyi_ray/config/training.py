"""The settings of what makes a model: instructions, and the training on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from taiyi_ray.config.choices import BENCHMARKS, EMBEDDED_MODEL, ChatForm, Preset
from taiyi_ray.config.settings import Settings, numbers


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
    accept_terms: list[str] = Field([], description="datasets whose terms you have read and accept")
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
    rates: dict[str, Annotated[float, Field(ge=0)]] = Field(
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


_PRESETS = Path(__file__).parents[1] / "train" / "presets"


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
        "template",
        description="form of the conversations: the model's chat template, Taiyi 1's or Taiyi 2's",
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
    seed: int = Field(
        0, ge=0, lt=1 << 63, description="of the order of records, of first weights, of dropout"
    )
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
        min_length=1, description="layers that get an adapter, or all-linear"
    )
    precision: Literal["auto", "bf16", "float32"] = Field(
        "auto",
        description="of the computation; auto: bf16 on GPUs and on processors that are fast at it, "
        "and what the run began with",
    )
    activation_checkpointing: bool = Field(
        False, description="compute activations twice, to need less memory"
    )
    compile: bool = Field(
        False,
        description="compile the layers when the training begins, which takes a minute and a C++ "
        "compiler; it pays where all weights are trained",
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
        return numbers(self.workers)

    @field_validator("stages", "workers", mode="before")
    @classmethod
    def _number_as_text(cls, number: object) -> object:
        return str(number) if type(number) is int else number

    @field_validator("targets", mode="before")
    @classmethod
    def _one_as_list(cls, targets: object) -> object:
        return [targets] if isinstance(targets, str) and targets != "all-linear" else targets

    @field_validator("workers", mode="after")
    @classmethod
    def _fewest_before_most(cls, workers: str) -> str:
        least, most = numbers(workers)
        if least < (most > 0):
            raise ValueError("expected a number of workers, or MIN:MAX as in 2:8")
        return workers

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.stages in ("1", "2") and int(self.stages) > len(self.stage_data):
            raise ValueError(f"stages: there is no stage {self.stages} in stage_data")
        if self.method == "full" and self.adapter is not None:
            raise ValueError("adapter: method full trains all weights; merge the adapter first")
        if self.compile and (self.method == "qlora" or self.fsdp):
            raise ValueError("compile: is for method lora or full, without fsdp; leave it out")
        if self.method == "qlora" and self.fsdp:
            raise ValueError(
                "fsdp: weights of 4 bits are not divided; give method lora or full, or no fsdp"
            )
        return self
