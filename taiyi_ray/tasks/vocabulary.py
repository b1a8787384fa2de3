"""The default mention and relation types, with their names in English and Chinese prompts.

A user may also name any other type. Then the prompts in both languages use that name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from taiyi_ray.errors import nearest

Language = Literal["en", "zh"]
"""A language that questions are put in."""
LANGUAGES: dict[str, str] = {"en": "English", "zh": "Chinese"}
"""The languages that questions are put in, by their ISO 639-1 codes, and what people call them."""


@dataclass(frozen=True, slots=True)
class Term:
    """A type of mention, relation or event, or another label.

    Attributes:
        name: the name in the rows of an output.
        en: the label in English prompts and answers.
        zh: the label in Chinese prompts and answers.
    """

    name: str
    en: str
    zh: str

    def label(self, language: str) -> str:
        return self.zh if language == "zh" else self.en


MENTION_TYPES = (
    Term("chemical", "chemical", "药物"),
    Term("disease", "disease", "疾病"),
    Term("gene", "gene or protein", "基因或蛋白质"),
    Term("variant", "variant", "基因变异"),
    Term("species", "species", "物种"),
    Term("cell_line", "cell line", "细胞系"),
    Term("anatomy", "anatomy", "身体部位"),
    Term("symptom", "symptom", "临床表现"),
    Term("procedure", "procedure", "医疗程序"),
)

RELATION_TYPES = (
    Term("treatment", "treatment", "药物治疗"),
    Term("chemical_induced_disease", "chemical-induced disease", "药物致病"),
    Term("gene_disease", "gene-disease association", "基因与疾病关联"),
    Term("drug_interaction", "drug interaction", "药物相互作用"),
    Term("protein_interaction", "protein interaction", "蛋白质相互作用"),
    Term("manifestation", "clinical manifestation", "临床表现"),
)

RELATION_ENDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    name: (frozenset(one), frozenset(other))
    for name, one, other in (
        ("treatment", ("chemical", "procedure"), ("disease", "symptom")),
        ("chemical_induced_disease", ("chemical",), ("disease", "symptom")),
        ("gene_disease", ("gene", "variant"), ("disease", "symptom")),
        ("drug_interaction", ("chemical",), ("chemical",)),
        ("protein_interaction", ("gene",), ("gene",)),
        ("manifestation", ("disease",), ("symptom", "disease")),
    )
}
"""The types of the mentions that each relation is between, in whatever order a pair names them."""


def terms(names: Sequence[str | Term] | None, known: Sequence[Term]) -> tuple[Term, ...]:
    """Return the terms of these names, each once, in order; all known terms when `names` is None.

    A name may be the name or any label of a known term. Any other name makes a term in which it is
    the label in both languages.
    """
    if names is None:
        return tuple(known)
    by_name = {label: term for term in known for label in (term.zh, term.en, term.name)}
    return tuple(
        dict.fromkeys(
            name if isinstance(name, Term) else by_name.get(name, Term(name, name, name))
            for name in names
        )
    )


def hints(names: Sequence[str] | None, known: Sequence[Term]) -> list[str]:
    """One line for each unknown name, which is accepted but may be a slip of the pen."""
    labels = [label for term in known for label in (term.name, term.en, term.zh)]
    return [
        f"{name!r} is not one of the default types{nearest(name, labels)}"
        for name in names or ()
        if name not in labels
    ]
