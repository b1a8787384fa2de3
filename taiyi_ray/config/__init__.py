"""The settings of a command: one frozen model, made from flags, a YAML file, or both.

TaskSettings say what to ask, EngineSettings what answers. A command has one class, which composes
those that it needs. The descriptions of the fields are the help texts of the options.

choices.py   what settings may be, and the names of the shipped models
settings.py  what all settings have in common, and their old names
secrets.py   what looks like a secret
asking.py    what to ask, and what answers
jobs.py      annotate, evaluate, and annotating in a notebook
serve.py     the service
training.py  build-instructions and train
reading.py   settings of flags and a YAML file
"""

from taiyi_ray.config.asking import AskConfig, EngineSettings, TaskSettings
from taiyi_ray.config.choices import (
    BENCHMARKS,
    CLIENTS,
    DEFAULT_CONTEXT,
    DEFAULT_MODEL,
    DEMO_MODEL,
    EMBEDDED_MODEL,
    SHIPPED_MODELS,
    STAGE_FOLDERS,
    Ask,
    ChatForm,
    EngineName,
    Grounding,
    Key,
    Preset,
)
from taiyi_ray.config.jobs import AnnotateConfig, EvaluateConfig, JobSettings, NotebookConfig
from taiyi_ray.config.reading import AnySettings, explain, load, read_yaml
from taiyi_ray.config.serve import ServeConfig, is_loopback
from taiyi_ray.config.settings import RENAMED, Settings, completed, recorded, renamed
from taiyi_ray.config.training import InstructConfig, TrainConfig, TrainStage

__all__ = [
    "BENCHMARKS",
    "CLIENTS",
    "DEFAULT_CONTEXT",
    "DEFAULT_MODEL",
    "DEMO_MODEL",
    "EMBEDDED_MODEL",
    "RENAMED",
    "SHIPPED_MODELS",
    "STAGE_FOLDERS",
    "AnnotateConfig",
    "AnySettings",
    "Ask",
    "AskConfig",
    "ChatForm",
    "EngineName",
    "EngineSettings",
    "EvaluateConfig",
    "Grounding",
    "InstructConfig",
    "JobSettings",
    "Key",
    "NotebookConfig",
    "Preset",
    "ServeConfig",
    "Settings",
    "TaskSettings",
    "TrainConfig",
    "TrainStage",
    "completed",
    "explain",
    "is_loopback",
    "load",
    "read_yaml",
    "recorded",
    "renamed",
]
