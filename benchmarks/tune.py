"""Fine-tunes a copy of the embedded model on gold mentions, within half an hour on two cores.

The embedded model knows nothing of the task, so that figures of it alone say little about the form
of a question. This copy has seen every form equally often: each document's is drawn by chance.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import AutoModelForCausalLM

from benchmarks.gold import TYPES, Form, train
from benchmarks.measure import say
from taiyi_ray import models

TUNED = Path(__file__).parent / "tuned"
"""Where the copy lies: made once, not in the repository."""

DOCUMENTS = {"BC5CDR": 260, "NCBI disease": 240, "cMedQANER": 440}
"""Of each corpus, whose owners allow to train on it; a Chinese document is a sentence or two."""

MOST_TOKENS = 768
BATCH_TOKENS = 2048
PEAK_RATE = 3e-4
SEED = 0


class Example(NamedTuple):
    """The tokens of a question and its answer, and where the answer begins."""

    tokens: list[int]
    answer: int


def examples(model: models.Model) -> Iterator[Example]:
    """Questions with their answers in a form drawn for each document.

    Of a document asked about by type, at most two types are taken, so that both ways weigh about
    the same.
    """
    tokenizer = models.load_tokenizer(model)
    draw = random.Random(SEED)
    for corpus, size in DOCUMENTS.items():
        for document, gold in islice(train(corpus), size):
            form = Form(*(draw.random() < 0.5 for _ in range(4)))
            asked = form.questions(document, TYPES[corpus])
            for question in draw.sample(asked, min(2, len(asked))):
                prompt = models.prompt_tokens(tokenizer, question.messages)
                answer = tokenizer.encode(form.target(question, gold, draw))
                tokens = [*prompt, *answer, tokenizer.eos_token_id]
                if len(tokens) <= MOST_TOKENS:
                    yield Example(tokens, len(prompt))


def batches(found: list[Example], draw: random.Random) -> list[list[Example]]:
    """Examples of about the same length together, BATCH_TOKENS of them with their padding."""
    made: list[list[Example]] = [[]]
    for example in sorted(found, key=lambda e: len(e.tokens) + draw.random() * 16):
        if (len(made[-1]) + 1) * len(example.tokens) > BATCH_TOKENS:
            made.append([])
        made[-1].append(example)
    draw.shuffle(made)
    return made


def tune(folder: Path) -> None:
    """Write the fine-tuned copy to `folder`."""
    torch.manual_seed(SEED)
    base = models.resolve()
    network = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32)
    network.train()
    found = list(examples(base))
    steps = batches(found, random.Random(SEED))
    say(f"{len(found)} examples, {sum(len(e.tokens) for e in found)} tokens, {len(steps)} steps")
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, PEAK_RATE, total_steps=len(steps), pct_start=0.1
    )
    for number, batch in enumerate(steps, 1):
        loss = _loss(network, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if number % 10 == 0 or number == len(steps):
            say(f"step {number} of {len(steps)}: loss {loss.item():.3f}")
    made = folder.with_name(folder.name + ".making")
    network.to(torch.bfloat16).save_pretrained(made)
    for file in base.path.iterdir():
        if not (made / file.name).exists():
            shutil.copyfile(file, made / file.name)
    made.rename(folder)


def _loss(network: torch.nn.Module, batch: list[Example]) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens; logits are made for these only.

    What pads a row stands behind all of its tokens, none of which looks ahead: no mask is needed.
    """
    width = max(len(e.tokens) for e in batch)
    tokens = torch.zeros(len(batch), width, dtype=torch.long)
    answers = torch.zeros(len(batch), width, dtype=torch.bool)
    for row, example in enumerate(batch):
        tokens[row, : len(example.tokens)] = torch.tensor(example.tokens)
        answers[row, example.answer : len(example.tokens)] = True
    hidden = network.model(input_ids=tokens).last_hidden_state
    logits = network.lm_head(hidden[:, :-1][answers[:, 1:]])
    return torch.nn.functional.cross_entropy(logits, tokens[:, 1:][answers[:, 1:]])


if __name__ == "__main__":
    tune(TUNED)
