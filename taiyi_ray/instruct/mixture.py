"""The mixture: how often each dataset is asked about each task, as in the paper or as set.

The paper's instruction data (`data_file/final_instruction_data.md` of github.com/DUTIR-BioNLP/
Taiyi-LLM) has 1.0 records a document where one type is asked for, 1.3 for NER with more types, 1.6
for relations, about 1.9 for small corpora, and at most 10,000 records of most other sets. The
catalogue holds the count of each dataset; these rates serve the datasets that the paper left out.
"""

from __future__ import annotations

from taiyi_ray.catalogue import Entry
from taiyi_ray.config import InstructConfig
from taiyi_ray.instruct.instruction import Mix
from taiyi_ray.tasks import TASKS

RATES = {"ner": 1.3, "re": 1.6, "ee": 1.9}
"""Records a document where a question may name more than one type; elsewhere it is 1."""


def rate_of(entry: Entry, task: str, types: int, config: InstructConfig) -> float:
    """Records a document that training gets of a dataset and a task.

    Args:
        entry: the dataset.
        task: the name of the task.
        types: how many types, relations or labels the dataset annotates for the task.
        config: the settings; its `rates` win.
    """
    for name in (f"{entry.name}/{task}", entry.name, task):
        if name in config.rates:
            return config.rates[name]
    listed = entry.splits["train"].documents if "train" in entry.splits else None
    if (paper := entry.mix.get(task)) and listed:
        return paper / listed
    return RATES.get(task, 1.0) if types > 1 else 1.0
