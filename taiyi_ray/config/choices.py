"""What settings may be, and the names of the shipped models."""

from __future__ import annotations

from typing import Literal

Key = Literal["document_id", "text", "passages", "title", "language", "version", "metadata"]
"""The keys of a record in JSON lines or Parquet that describe its document."""

Ask = Literal["together", "apart"]
"""Whether one question asks about all mention types, or about one type each."""

EngineName = Literal["vllm", "http", "fake"]
CLIENTS = frozenset({"http"})
"""The engines that ask a server. They need its `url`; the service does not take such an engine."""

ChatForm = Literal["template", "taiyi1", "taiyi2"]
"""The form of prompts: the model's own chat template, or that in which a Taiyi was trained."""

Grounding = Literal["grammar", "align"]
"""Whether answers are constrained to words of the text, or are only located in it afterwards."""

EMBEDDED_MODEL = "smollm2-135m-instruct"
"""The shipped base, which knows none of the tasks: training begins with it."""
DEMO_MODEL = "taiyi-demo"
"""The shipped base with the adapter that this program trained (`models/demo/`)."""
SHIPPED_MODELS = (EMBEDDED_MODEL, DEMO_MODEL)
DEFAULT_MODEL = DEMO_MODEL
"""The model that answers where none is named."""

DEFAULT_CONTEXT = 4096
"""Tokens of a prompt and its answer together, unless the user or the model says otherwise."""

BENCHMARKS = "benchmarks"
"""The word for all splits that benchmarks measure with, in `held_out`."""

STAGE_FOLDERS = ("stage1", "stage2")
"""The folders of instruction data, by the stage of training that their tasks belong to."""

Preset = Literal["default", "paper"]
"""The presets of training: files of `train/presets/`, which say where their values are from."""
