"""The mixture: how often each dataset is asked about each task, as in the paper or as set.

The paper's instruction data (`data_file/final_instruction_data.md` of github.com/DUTIR-BioNLP/
Taiyi-LLM) has 1.0 records a document where one type is asked for, 1.3 for NER with more types, 1.6
for relations, about 1.9 for small corpora, and at most 10,000 records of most other sets. The
catalogue holds the count of each dataset; RATES serve the datasets that the paper left out.
"""

from __future__ import annotations

from collections import Counter

from taiyi_ray.catalogue import Entry
from taiyi_ray.config import InstructConfig
from taiyi_ray.instruct.instruction import Mix
from taiyi_ray.tasks import select, template
from taiyi_ray.tasks.task import Task

RATES = {"ner": 1.3, "re": 1.6, "ee": 1.9}
"""Records a document where a question may name more than one type; elsewhere it is 1."""

MOST = 10_000
"""Records of a dataset and a task at most, but for those of which the paper has more."""

GENERAL = 502_527
"""Records of general dialogue in the paper's mix, which belong to no dataset: nobody itemises them,
so that no share of a dataset or task counts them."""

_CODES = {
    "NER": "ner", "RE": "re", "EE": "ee", "TC": "tc", "TP-ss": "similarity", "TP-te": "entailment",
    "TT-ds": "title", "MT-zh2en": "mt", "QA_choice": "qa", "QA_cqa": "qa", "QA_sqa": "qa",
    "MRD": "dialogue", "COT": "chat",
}  # fmt: skip
"""The tasks by the codes of the published mix. `ADD` there is the task of its dataset."""


def shares(entry: Entry, stage: int | None = None) -> Counter[str]:
    """The instructions that the paper's mix has of a dataset, by task.

    A share whose code is none of the dataset's tasks is one of its first task: the mix calls
    dialogues of one dataset questions. Where no task here asks for its gold, the code decides.

    Args:
        entry: the dataset.
        stage: the first stage that trains them, 1 or 2; None for both.
    """
    found: Counter[str] = Counter()
    for share in entry.mix:
        if stage not in (None, 1 if share.stage == "1+2" else 2):
            continue
        task = _CODES.get(share.task, "")
        found[task if task in entry.tasks or not entry.tasks else entry.tasks[0]] += share.records
    return found


def published(entry: Entry, task: str) -> int | None:
    """The instructions that the paper's mix has of a dataset and a task; None where it has none."""
    return shares(entry)[task] or None


def rate_of(entry: Entry, task: str, documents: int, config: InstructConfig) -> float:
    """Records a document that training gets of a dataset and a task.

    Where the paper's mix has the dataset, this is its rate. A data root may hold the dataset in
    other pieces, sentences for example: then the number of records is the paper's.

    Args:
        entry: the dataset.
        task: the name of the task.
        documents: the number of documents of the split.
        config: the settings; its `rates` win.
    """
    for name in (f"{entry.name}/{task}", entry.name, task):
        if name in config.rates:
            return config.rates[name]
    listed, records = entry.listed.get("train"), published(entry, task)
    if records and listed:
        return records / max(listed, documents)
    options = entry.options_of(task)
    types = options.get("types") or options.get("relations") or ()
    return RATES.get(task, 1.0) if len(types) > 1 else 1.0


def mix_of(entry: Entry, task: str, documents: int, together: int, config: InstructConfig) -> Mix:
    """How a dataset's documents become instructions of a task.

    Args:
        entry: the dataset.
        task: the name of the task.
        documents: the number of documents of the split that the rate is of.
        together: the number of documents that give the most records of a dataset together.
        config: the settings.
    """
    (known,) = select([task], training=True)
    most = config.most or max(MOST, published(entry, task) or 0)
    return Mix(
        rate=min(rate_of(entry, task, documents, config), most / together),
        ask=config.ask,
        negatives=config.negatives,
        wordings=wordings(known, config),
        first=config.document_first,
        characters=config.characters,
        headed=config.wordings == "short" and template.SHORT_FORM.headed,
    )


def wordings(task: Task, config: InstructConfig) -> tuple[int, ...]:
    """The numbers of the wordings that questions of a task are drawn from."""
    if config.wordings == "short" and task.wordings >= template.SHORT:
        return (template.SHORT,)
    return tuple(range(1, task.wordings + 1))
