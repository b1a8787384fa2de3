"""What people use for the same work, each in a process of its own, as its own pages show it.

    python -m benchmarks.peer_sides SIDE SETTINGS FILE

writes what was found into the file, as JSON. The settings are those of our job; engine arguments
and environment are the product's. The clock runs from when the engine is ready to the last answer.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import corpora, serve
from benchmarks.gold import DATA
from taiyi_ray import models
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.engine.vllm import engine_arguments, prepare_environment
from taiyi_ray.records import Annotations, Mention, Relation
from taiyi_ray.tasks import TASKS, assigned
from taiyi_ray.tasks.ner import Options as Mentions
from taiyi_ray.tasks.relations import Options as Relations
from taiyi_ray.tasks.vocabulary import Term
from tests import samples

CORPUS = "bc5cdr"
HAS = {"chemical", "disease", "chemical_induced_disease"}
"""The corpus of the abstracts, and what its gold names."""


@dataclass(frozen=True)
class Found:
    """What a side found.

    Attributes:
        seconds: from when the engine was ready to the last answer.
        prompt_tokens: of all prompts.
        output_tokens: of all answers.
        mentions: for each document its mentions, by type and text.
        relations: for each document its relations, by type and the texts of both ends.
    """

    seconds: float
    prompt_tokens: int
    output_tokens: int
    mentions: list[list[list[str]]]
    relations: list[list[list[str]]]

    def annotations(self, number: int) -> Annotations:
        """What was found in a document, by its number."""
        return Annotations(
            [Mention(0, *parts, None, None) for parts in self.mentions[number]],
            [Relation(0, *parts, [], []) for parts in self.relations[number]],
        )


class Work:
    """What all sides do: the abstracts, what is asked about them, the model and its engine."""

    def __init__(self, config: AnnotateConfig) -> None:
        prepare_environment()
        assert config.context_length is not None
        self.config = config
        self.documents = corpora.read(Path(config.inputs[0]))
        self.types: list[Term] = []
        self.relations: list[Term] = []
        for assignment in assigned(config)[0]:
            match assignment.options:
                case Mentions(types=types):
                    self.types += types
                case Relations(relations=relations):
                    self.relations += relations
        self.engine = engine_arguments(
            str(models.resolve(config.model).path),
            context_length=config.context_length,
            trust_remote_code=False,
            arguments=dict(config.engine_args),
        )

    def schema(self) -> dict[str, Any]:
        """A JSON schema with a list for each type of mentions, and one of pairs for relations.

        The lists are bounded, because a small model repeats itself until it must stop.
        """
        text = {"type": "string", "maxLength": 80}
        pair = {"type": "array", "items": text, "minItems": 2, "maxItems": 2}
        properties = {
            term.name: {"type": "array", "items": items, "maxItems": 24}
            for items, terms in ((text, self.types), (pair, self.relations))
            for term in terms
        }
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def wish(self) -> str:
        """What is asked for, in words."""
        wish = "all mentions of " + ", ".join(term.en for term in self.types)
        for term in self.relations:
            wish += f", and all pairs that have the relation {term.en}"
        return wish


# ------------------------------------------------------------------------------- ray.data.llm


def ray_data_llm(work: Work) -> Found:
    """Our own questions, one a row, in the order of documents, under a regular expression.

    It allows any line that begins as the model was trained to begin. The answers are read as ours.
    """
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    asked = corpora.questions(work.config)
    rows = [
        {
            "number": number,
            "messages": question.messages,
            "regex": re.escape(question.given) + r" [^\n]+",
        }
        for number, (question, _) in enumerate(asked)
    ]
    # The three stages around the engine take a processor each, in Ray's books.
    cores = max(8, os.cpu_count() or 1)
    ray.init(
        address="local", num_cpus=cores, include_dashboard=False, object_store_memory=512 << 20
    )
    settings = vLLMEngineProcessorConfig(
        model_source=work.engine.pop("model"),
        engine_kwargs=work.engine,
        placement_group_config={"bundles": [{"CPU": 1}]},
    )

    def before(row: dict[str, Any]) -> dict[str, Any]:
        sampling = {
            "temperature": 0.0,
            "max_tokens": work.config.max_tokens,
            "structured_outputs": {"regex": row["regex"]},
        }
        return {"messages": row["messages"], "sampling_params": sampling, "number": row["number"]}

    def behind(row: dict[str, Any]) -> dict[str, Any]:
        return {
            "number": row["number"],
            "answer": row["generated_text"],
            "came": row["metrics"]["arrival_time"],
            "tokens": [row["num_input_tokens"], row["num_generated_tokens"]],
        }

    processor = build_processor(settings, preprocess=before, postprocess=behind)
    with tempfile.TemporaryDirectory() as folder:
        processor(ray.data.from_items(rows)).write_parquet(folder)
        ended = time.time()
        answers = ray.data.read_parquet(folder).take_all()
    ray.shutdown()
    found = {id(document): Annotations() for _, document in asked}
    for row in answers:
        question, document = asked[row["number"]]
        parsed = TASKS[question.task].parse(row["answer"], question, document).annotations
        found[id(document)].mentions += parsed.mentions
        found[id(document)].relations += parsed.relations
    return _found(
        ended - min(row["came"] for row in answers),
        (row["tokens"] for row in answers),
        found.values(),
    )


# ----------------------------------------------------------------------------------- LLM.chat


def llm_chat(work: Work) -> Found:
    """One prompt a document for everything, the answer in one JSON schema."""
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    names = [*work.types, *work.relations]
    sampling = SamplingParams(
        temperature=0.0,
        max_tokens=work.config.max_tokens * len(names),
        structured_outputs=StructuredOutputsParams(json=work.schema()),
    )
    ask = f"List {work.wish()}, as they are written in the text. Answer in JSON.\n\n"
    llm = LLM(**work.engine)
    began = time.perf_counter()
    outputs = llm.chat(
        [[{"role": "user", "content": ask + document.text}] for document in work.documents],
        sampling,
        use_tqdm=False,
    )
    seconds = time.perf_counter() - began
    return _found(
        seconds,
        ((len(o.prompt_token_ids or ()), len(o.outputs[0].token_ids)) for o in outputs),
        (_of_json(work, output.outputs[0].text) for output in outputs),
    )


def _of_json(work: Work, text: str) -> Annotations:
    try:
        named = json.loads(text)
    except json.JSONDecodeError:  # it was cut: a user has nothing of it
        return Annotations()
    found = Annotations()
    for term in work.types:
        found.mentions += [Mention(0, term.name, text, None, None) for text in named[term.name]]
    for term in work.relations:
        found.relations += [Relation(0, term.name, *pair, [], []) for pair in named[term.name]]
    return found


# --------------------------------------------------------------------------------- langextract


def langextract(work: Work) -> Found:
    """Its own prompt with one example, on a server of vLLM, which holds to the schema it sends."""
    import langextract as lx

    port = serve.free_port()
    with tempfile.TemporaryDirectory() as name:
        command = serve.vllm_serve(port, work.engine | {"disable_log_stats": False}, Path(name))
        with serve.started(port, command, Path(name, "log")) as served:
            config = lx.factory.ModelConfig(
                model_id=serve.MODEL,
                provider="OpenAILanguageModel",
                provider_kwargs={
                    "api_key": "none",
                    "base_url": f"{served.address}/v1",
                    "temperature": 0.0,
                    "max_output_tokens": work.config.max_tokens * 2,
                    "max_workers": 64,
                },
            )
            began = time.perf_counter()
            annotated = lx.extract(
                [lx.data.Document(d.text, document_id=str(d.document_id)) for d in work.documents],
                prompt_description=f"Extract {work.wish()}. Use exact text for extractions.",
                examples=[_example(work)],
                config=config,
                batch_length=64,
                max_workers=64,
                show_progress=False,
            )
            seconds = time.perf_counter() - began
            tokens = [
                _counted(served.address, f"{kind}_tokens") for kind in ("prompt", "generation")
            ]
    by_id = {one.document_id: one.extractions or [] for one in annotated}
    return _found(
        seconds,
        [tokens],
        (_of_extractions(work, by_id[str(d.document_id)]) for d in work.documents),
    )


def _example(work: Work) -> Any:
    """The first abstract of the training part that has all that the corpus has of what is asked.

    A relation is an extraction of its tail, whose attribute is its head.
    """
    import langextract as lx

    asked = {term.name for term in (*work.types, *work.relations)}
    for document, gold in samples.corpus(DATA, CORPUS, "train"):
        found = [lx.data.Extraction(str(m.type), m.text) for m in gold.mentions]
        found += [
            lx.data.Extraction(r.type, r.tail_text, attributes={"of": r.head_text})
            for r in gold.relations
        ]
        named = [one for one in found if one.extraction_class in asked]
        if {one.extraction_class for one in named} == asked & HAS:
            return lx.data.ExampleData(document.text, named)
    raise AssertionError("no abstract has all that is asked for")


def _of_extractions(work: Work, extractions: Iterable[Any]) -> Annotations:
    types, relations = ({term.name for term in terms} for terms in (work.types, work.relations))
    found = Annotations()
    for one in extractions:
        if one.extraction_class in types:
            found.mentions.append(Mention(0, one.extraction_class, one.extraction_text, None, None))
        elif one.extraction_class in relations:
            head = str((one.attributes or {}).get("of", ""))
            found.relations.append(
                Relation(0, one.extraction_class, head, one.extraction_text, [], [])
            )
    return found


def _counted(address: str, name: str) -> int:
    """A counter of a server of vLLM."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=30) as response:
        lines = response.read().decode().splitlines()
    return sum(
        int(float(li.rsplit(" ", 1)[1])) for li in lines if li.startswith(f"vllm:{name}_total")
    )


def _found(seconds: float, tokens: Iterable[Iterable[int]], found: Iterable[Annotations]) -> Found:
    given, written = map(sum, zip(*tokens, strict=True))
    all_ = list(found)
    return Found(
        seconds,
        given,
        written,
        [[[m.type, m.text] for m in one.mentions if m.type is not None] for one in all_],
        [[[r.type, r.head_text, r.tail_text] for r in one.relations] for one in all_],
    )


SIDES: dict[str, Callable[[Work], Found]] = {
    "ray.data.llm": ray_data_llm,
    "LLM.chat": llm_chat,
    "langextract": langextract,
}

if __name__ == "__main__":
    side, settings, file = sys.argv[1:]
    made = SIDES[side](Work(AnnotateConfig.model_validate_json(settings)))
    Path(file).write_text(json.dumps(asdict(made)), encoding="utf-8")
