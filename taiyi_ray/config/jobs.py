"""The settings of what annotates documents: a corpus, benchmarks, a notebook."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from taiyi_ray.config.asking import AskConfig, EngineSettings
from taiyi_ray.config.choices import Ask, Key
from taiyi_ray.config.settings import Settings


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
