"""One training run: what is checked before, what is trained where, and what is written.

The output holds train.json (what the run is known by), tokens/, checkpoints/, run.json (how far it
is, the curves) and at the end adapter/ or model/.
"""

from __future__ import annotations

import tempfile
from typing import Any

from rich.console import Console
from transformers.utils.logging import disable_progress_bar

from taiyi_ray import models, storage
from taiyi_ray.config import TrainConfig
from taiyi_ray.corpus.output import JOB
from taiyi_ray.errors import ConfigError, first_line
from taiyi_ray.interrupts import terminable
from taiyi_ray.train import checks, estimate, identity, memory
from taiyi_ray.train.planning import described, planned
from taiyi_ray.train.progress import ReadingProgress, TrainingProgress
from taiyi_ray.train.record import TrainingRecord, finished, trained_address
from taiyi_ray.train.stages import train


def run(config: TrainConfig, *, dry_run: bool = False) -> int:
    """Train a model, or go on where an earlier run ended.

    Args:
        config: the settings.
        dry_run: print what would be trained and what it would take, and write nothing.

    Returns:
        The exit code.

    Raises:
        ConfigError: the data or the settings must be changed, or are not those of the earlier run.
        ModelError: the model cannot be trained so, its loss is no number, or the same step failed
            again and again.
        StorageError: the data cannot be read, or the output not be written.
        Unfinished: the workers are gone, or could not be had; the same command goes on.
        KeyboardInterrupt: Ctrl-C or SIGTERM interrupted it; the same command goes on.
    """
    # rich must not read brackets in a path as markup, nor break a long message into lines.
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    output = storage.absolute(config.output)
    config = identity.with_precision(config, output)
    model = models.resolve(config.model)
    adapter = models.find_adapter(config.adapter) if config.adapter else None
    tokenizer = models.load_tokenizer(
        model, config.chat, trust_remote_code=config.trust_remote_code
    )
    checks.check(config, model, tokenizer)
    needed = memory.estimate(model, config)
    reading = f"reading the instructions in {config.data} ..."
    read = ReadingProgress(console)
    if dry_run:
        console.print(reading)
        with tempfile.TemporaryDirectory() as tokens:
            plan = planned(config, tokens, model, adapter, tokenizer, read.show)
            for line in estimate.lines(plan, model, needed):
                console.print(line)
        identity.check_same(output, dict(plan.identity))
        memory.check(needed, config)
        return 0
    if storage.exists(storage.join(output, JOB)):
        raise ConfigError(f"{output}: is the output of a corpus job; give another --output")
    storage.probe(output)
    done = finished(output, config)
    if done is None:
        memory.check(needed, config)
        console.print(reading)
    tokens = storage.join(output, "tokens")
    plan = planned(config, tokens, model, adapter, tokenizer, read.show)
    identity.check_same(output, dict(plan.identity))
    if done is not None:
        console.print(f"done before: {done}")
        return 0
    console.print(described(plan))
    disable_progress_bar()  # those of transformers would tear ours
    with TrainingProgress(console, plan.steps) as progress:
        record = TrainingRecord(plan, progress.show)
        try:
            if config.worker_range[1]:
                from taiyi_ray.train.workers import on_workers

                on_workers(plan, record, progress)
            else:
                loading = f"loading {model.name} ..."
                progress.say(loading)
                with record.kept_fresh(loading), terminable():
                    start = adapter.path if adapter else None
                    train(plan, model.path, start, _device(), record.reporter())
        except KeyboardInterrupt:
            record.ended("interrupted")
            raise
        except Exception as error:
            record.ended(first_line(error))
            raise
    console.print(f"done: {trained_address(output, config)}")
    return 0


def _device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
