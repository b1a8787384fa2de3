"""The default mention and relation types, with their names in English and Chinese prompts.

Any other type that a user names works too: it is asked for under that name in both languages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taiyi_ray.errors import nearest


@dataclass(frozen=True, slots=True)
class Term:
    """A type: `name` stands in the rows, `en` and `zh` in prompts and answers."""

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


def terms(names: Sequence[str | Term] | None, known: Sequence[Term]) -> tuple[Term, ...]:
    """Return the terms of these names (of all known ones when None), each once, in order.

    A name is looked up among the names and both labels; an unknown one stands for itself.
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
    """One line for each unknown name: it is accepted, yet may be a slip of the pen."""
    labels = [label for term in known for label in (term.name, term.en, term.zh)]
    return [
        f"{name!r} is not one of the default types{nearest(name, labels)}"
        for name in names or ()
        if name not in labels
    ]
