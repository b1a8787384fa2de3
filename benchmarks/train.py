"""A training step beside Hugging Face's Trainer and TRL's SFTTrainer: the same model and records.

Every side makes one optimiser step over all records, from the same first weights: so all must see
the same loss. LoRA on all linear layers of the embedded model, in bfloat16 where the processor is
fast at that, else in float32. The Trainer pads, four records at a time; SFTTrainer packs
(`packing="bfd"`, padding-free, a dense mask where there is no FlashAttention). Attention of both is
torch's SDPA. Rates come twice, by wall time and by the CPU time of all threads: only the second can
be compared where other work takes the cores meanwhile.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from datasets import Dataset
from peft import PeftModel
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

from benchmarks.gold import DATA, Form
from benchmarks.measure import Row, in_turn, write
from taiyi_ray import models
from taiyi_ray.config import EMBEDDED_MODEL
from taiyi_ray.placement import fast_bfloat16
from taiyi_ray.records import Annotations, Document
from taiyi_ray.tasks import ner
from taiyi_ray.tasks.vocabulary import MENTION_TYPES
from taiyi_ray.train.network import NetworkSettings, Precision, load
from taiyi_ray.train.packing import TokenRecord, blocks, packed
from taiyi_ray.train.step import Stepper, StepSettings
from tests import samples
from tests.conftest import free_port

ROW_TOKENS = 2048
PADDED_TOGETHER = 4
"""Records of a batch of the Trainer, whose gradients are added up to one step."""

ONE, NINE = "(a) a question a document", "(b) nine questions a document"
DOCUMENTS = {ONE: 24, NINE: 3}
DOCUMENTS_OF_WORKERS = 4
"""Documents for one worker and for two: each takes whole ones."""
CORPORA = ("bc5cdr", "biored")
ROUNDS = 3
RATE = 2e-4
RANK = 32
OURS, UNSHARED, PADDED, TRL = "ours", "ours, nothing shared", "Trainer", "TRL, bfd"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BF16 = fast_bfloat16()


def records(
    tokenizer: PreTrainedTokenizerBase, data_root: Path, data: str, size: int
) -> list[TokenRecord]:
    """Questions about mentions in abstracts with their gold answers, the document first."""
    made = []
    for number, (document, gold) in enumerate(_abstracts(data_root, size)):
        asked = Form(together=False, document_first=True).questions(document, MENTION_TYPES)
        if data == ONE:
            asked = [asked[number % 2]]  # a chemical, a disease
        for question in asked:
            answer = {"role": "assistant", "content": ner.target(question, gold)}
            turns: Any = [*question.messages, answer]
            (spelled,) = models.conversation_tokens(tokenizer, turns)
            ids, answers = np.array(spelled.ids, np.int64), tuple(spelled.answers)
            made.append(TokenRecord(ids, answers, 0, number))
    assert max(len(record.ids) for record in made) <= ROW_TOKENS
    return made


def _abstracts(data_root: Path, size: int) -> Iterator[tuple[Document, Annotations]]:
    corpora = [samples.corpus(data_root, name, "train") for name in CORPORA]
    pairs = zip(*corpora, strict=False)
    return islice((document for pair in pairs for document in pair), size)


def network(path: Path, attention: str | None = None) -> torch.nn.Module:
    """The model with a new adapter, always with the same first weights."""
    precision: Precision = "bf16" if BF16 else "float32"
    model = load(path, NetworkSettings(rank=RANK, alpha=RANK, precision=precision), DEVICE)
    if attention:
        assert isinstance(model, PeftModel)
        model.get_base_model().set_attn_implementation(attention)
    return model


@dataclass(slots=True)
class Figures:
    """What a side computed: the same in each round."""

    loss: float = 0.0
    computed: int = 0
    room: int = 0


class Clock(TrainerCallback):
    """The seconds of a step, by wall time and by the CPU time of this process, in all rounds."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._began = _now(), time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        wall, cpu = self._began
        self.wall.append(_now() - wall)
        self.cpu.append(time.process_time() - cpu)


@dataclass(slots=True)
class Sides:
    """The trainers on one list of records; a measurement is in records a second."""

    path: Path
    tokenizer: PreTrainedTokenizerBase
    records: Sequence[TokenRecord]
    figures: dict[str, Figures] = field(default_factory=dict)
    clocks: dict[str, Clock] = field(default_factory=lambda: defaultdict(Clock))

    def ours(self, name: str, *, share: bool) -> float:
        """Our own step, with packing."""
        stepper = Stepper(network(self.path), StepSettings(bf16=BF16), 1, DEVICE)
        clock = self.clocks[name]
        clock.on_train_begin()
        made = blocks(self.records, ROW_TOKENS, share=share)
        (rows,) = packed(made, 1, ROW_TOKENS)
        targets = sum(record.targets for record in self.records)
        result = stepper.step(rows, targets, RATE, 0)
        clock.on_step_end()
        computed = sum(block.tokens for block in made)
        self.figures[name] = Figures(result.loss, computed, len(rows) * ROW_TOKENS)
        return len(self.records) / clock.wall[-1]

    def padded(self, name: str) -> float:
        """Hugging Face's Trainer."""
        batches = [
            self.records[at : at + PADDED_TOGETHER]
            for at in range(0, len(self.records), PADDED_TOGETHER)
        ]
        room = sum(len(batch) * max(len(r.ids) for r in batch) for batch in batches)
        tokens = sum(len(record.ids) for record in self.records)
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                model=network(self.path, "sdpa"),
                args=TrainingArguments(
                    folder,
                    per_device_train_batch_size=PADDED_TOGETHER,
                    gradient_accumulation_steps=len(batches),
                    train_sampling_strategy="sequential",
                    **_PLAIN,
                ),
                train_dataset=self._dataset(),
                data_collator=DataCollatorForSeq2Seq(self.tokenizer),
            )
            return self._trained(name, trainer, tokens, room)

    def trl(self, name: str) -> float:
        """TRL's SFTTrainer, which packs when it is made."""
        with tempfile.TemporaryDirectory() as folder:
            make = partial(
                SFTConfig,
                folder,
                packing=True,
                packing_strategy="bfd",
                max_length=ROW_TOKENS,
                per_device_train_batch_size=1,
                gradient_checkpointing=False,
                **_PLAIN,
            )
            rows = self._sft(make()).train_dataset
            assert isinstance(rows, Dataset)
            trainer = self._sft(make(gradient_accumulation_steps=len(rows)))
            tokens = sum(len(ids) for ids in rows["input_ids"])
            return self._trained(name, trainer, tokens, len(rows) * ROW_TOKENS)

    def _sft(self, config: SFTConfig) -> SFTTrainer:
        return SFTTrainer(
            model=network(self.path, "sdpa"),
            args=config,
            train_dataset=self._dataset(),
            processing_class=self.tokenizer,
        )

    def _dataset(self) -> Dataset:
        labels = []
        for record in self.records:
            of_one = np.full(len(record.ids), -100)
            for start, end in record.answers:
                of_one[start:end] = record.ids[start:end]
            labels.append(of_one.tolist())
        ids = [record.ids.tolist() for record in self.records]
        return Dataset.from_dict({"input_ids": ids, "labels": labels})

    def _trained(self, name: str, trainer: Trainer, computed: int, room: int) -> float:
        clock = self.clocks[name]
        trainer.add_callback(clock)
        loss = trainer.train().training_loss
        self.figures[name] = Figures(loss, computed, room)
        return len(self.records) / clock.wall[-1]


_PLAIN: dict[str, Any] = {
    "num_train_epochs": 1,
    "learning_rate": RATE,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 1.0,
    "weight_decay": 0.0,
    "bf16": BF16,
    "use_cpu": DEVICE.type == "cpu",
    "logging_strategy": "no",
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
}
"""What both trainers are told alike."""


def _now() -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


# ---------------------------------------------------------------------------------- several workers


def together(
    workers: int, path: Path, found: Sequence[TokenRecord], *, apart: bool = False
) -> float:
    """Records a second of so many workers of one thread each, on the CPU.

    With `apart` they do not add up their gradients: what the machine gives so many processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "seconds"
        arguments = (workers, free_port(), path, found, told, apart)
        torch.multiprocessing.spawn(_worker, arguments, nprocs=workers)
        return len(found) / float(told.read_text())


def _worker(
    rank: int,
    workers: int,
    port: int,
    path: Path,
    found: Sequence[TokenRecord],
    told: Path,
    apart: bool,
) -> None:
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, workers, is_master=rank == 0)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=workers)
    stepper = Stepper(network(path), StepSettings(bf16=BF16), 1, DEVICE)
    targets = sum(record.targets for record in found)
    dist.barrier()
    if apart:
        dist.destroy_process_group()
    began = _now()
    mine = packed(blocks(found, ROW_TOKENS), workers, ROW_TOKENS)[rank]
    stepper.step(mine, targets, RATE, 0)
    if rank == 0:
        told.write_text(str(_now() - began))
    if not apart:
        dist.destroy_process_group()


# ------------------------------------------------------------------------------------------ the run


def main() -> None:
    """Measure the step beside others, or two workers beside one, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["train", "workers"])
    parser.add_argument("--data-root", type=Path, default=DATA)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    path = models.resolve(EMBEDDED_MODEL).path
    tokenizer = models.load_tokenizer(models.resolve(EMBEDDED_MODEL))
    made = partial(records, tokenizer, arguments.data_root)
    settings = {
        "device": str(DEVICE),
        "bfloat16": BF16,
        "documents": DOCUMENTS,
        "corpora": CORPORA,
        "rounds": arguments.rounds,
        "row_tokens": ROW_TOKENS,
        "rank": RANK,
        "load": os.getloadavg(),
    }
    packages = ("torch", "transformers", "peft", "trl")
    if arguments.what == "train":
        data = {name: made(name, size) for name, size in DOCUMENTS.items()}
        rows, rates = _beside_others(path, tokenizer, data, arguments.rounds)
        write("train", rows, packages=packages, settings=settings | {"rates": rates})
    else:
        settings |= {"documents": DOCUMENTS_OF_WORKERS}
        rows = _beside_one(path, made(NINE, DOCUMENTS_OF_WORKERS), arguments.rounds)
        write("train-workers", rows, packages=packages, settings=settings)


def _beside_others(
    path: Path, tokenizer: PreTrainedTokenizerBase, data: dict[str, list[TokenRecord]], rounds: int
) -> tuple[list[Row], dict[str, dict[str, list[float]]]]:
    """The lines of the table, and the rates of all rounds."""
    rows: list[Row] = []
    rates: dict[str, dict[str, list[float]]] = {}
    for name, found in data.items():
        sides = Sides(path, tokenizer, found)
        ways: dict[str, Callable[[], float]] = {
            OURS: partial(sides.ours, OURS, share=True),
            PADDED: partial(sides.padded, PADDED),
            TRL: partial(sides.trl, TRL),
        }
        if name == NINE:
            ways[UNSHARED] = partial(sides.ours, UNSHARED, share=False)
        else:
            warm = Sides(path, tokenizer, found[:2])
            warm.ours("", share=True), warm.padded(""), warm.trl("")
        rates[name] = in_turn(ways, rounds)
        rows += _rows(name, sides)
    return rows, rates


def _beside_one(path: Path, found: Sequence[TokenRecord], rounds: int) -> list[Row]:
    """The lines of the table: two workers of one thread each beside one."""
    sides = {
        "1 worker": partial(together, 1, path, found),
        "2 workers": partial(together, 2, path, found),
        "2 processes that add up nothing": partial(together, 2, path, found, apart=True),
    }
    rates = {name: median(each) for name, each in in_turn(sides, rounds).items()}
    one, _, most = rates.values()
    return [
        {
            "side": name,
            "records/s": rate,
            "of twice one, %": 50 * rate / one,
            "of what adds up nothing, %": 100 * rate / most,
        }
        for name, rate in rates.items()
    ]


def _rows(data: str, sides: Sides) -> Iterator[Row]:
    number = len(sides.records)
    tokens = sum(len(record.ids) for record in sides.records)
    for name, clock in sides.clocks.items():
        seconds, cpu, its = median(clock.wall), median(clock.cpu), sides.figures[name]
        yield {
            "data": data,
            "trainer": name,
            "records": number,
            "records/s": number / seconds,
            "tokens/s": tokens / seconds,
            "records/CPU s": number / cpu,
            "beside TRL": median(sides.clocks[TRL].wall) / seconds,
            "beside TRL, CPU": median(sides.clocks[TRL].cpu) / cpu,
            "tokens computed": its.computed,
            "rows filled, %": 100 * its.computed / its.room,
            "loss": round(its.loss, 4),
        }


if __name__ == "__main__":
    main()
