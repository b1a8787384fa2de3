"""What the tests of an output share: rows with something in them, and units of these."""

from __future__ import annotations

from typing import Any

from taiyi_ray.annotation import Annotated
from taiyi_ray.corpus.units import Unit
from taiyi_ray.records import (
    Annotations,
    Answer,
    Argument,
    Document,
    Event,
    Failure,
    Label,
    Mention,
    Relation,
    Text,
    passages,
)

SOURCE = "a%2F病历.jsonl-01234567"


def unit(first: int, last: int, source: str = SOURCE) -> Unit:
    return Unit(source=source, path="/in/a.jsonl", first=first, last=last)


def row(position: int, run_id: str = "run-1") -> dict[str, Any]:
    """A row with something in it: every third one failed, every second one has findings."""
    document = Document(
        f"d{position}",
        passages([("text", "zh", "糖尿病 😀 metformin")]),
        metadata={"year": "2020"},
        source=SOURCE,
        position=position,
    )
    annotated = Annotated(document)
    if position % 2:
        annotated.annotations = Annotations(
            mentions=[
                Mention(0, "disease", "糖尿病", 0, 3, passage=0),
                Mention(1, None, "nowhere", None, None, grounded="none"),
            ],
            relations=[Relation(0, "treatment", "metformin", "糖尿病", [], [0], 0.5)],
            events=[Event(0, "Binding", 0, [Argument("Theme", 1, "nowhere")])],
            labels=[Label("tc", "治疗", 0.5)],
            texts=[Text("mt:zh", "糖尿病")],
        )
    if position % 3 == 0:
        annotated.status = "failed"
        annotated.errors = [
            Failure("engine_error", "ner", "refused"),
            Failure("not_applicable", "dialogue", "no turns"),
        ]
    annotated.answers = [
        Answer("ner", ["disease"], "zh", 0, 0, "疾病：糖尿病", 100, 50, 5, "stop", None),
        Answer("mt:zh", [], "zh", 0, 0, None, 70, 0, 0, None, "engine_error"),
    ]
    made = annotated.row(unit="", run_id=run_id, fingerprint="f")
    return made


def rows(of: Unit, run_id: str = "run-1") -> list[dict[str, Any]]:
    return [row(n, run_id) | {"unit": of.name} for n in range(of.first, of.last + 1)]
