"""Make docs/report.png: two sample documents as a report shows them, with the right answers.

python docs/picture.py        # wants a chromium on the PATH, and fonts that have Chinese

The answers were written by hand, in the form that a model is asked for: the picture shows the
report, and no model. The package reads and grounds them as it does a model's.
"""

from __future__ import annotations

import asyncio
import io
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from taiyi_ray import formats
from taiyi_ray.annotation import Annotated, Annotator
from taiyi_ray.engine.engine import Completion, Prompt
from taiyi_ray.job.report import write_report
from taiyi_ray.records import Document
from taiyi_ray.tasks import assign
from taiyi_ray.tasks.task import Question

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = {"pubmed-sample.xml": "14749521", "chinese-sample.jsonl": "zh-1"}
TYPES = ["chemical", "disease", "gene", "species", "anatomy", "symptom", "procedure"]
ANSWERS = {
    ("ner", "en"): (
        "chemical: antibiotic; antibiotics; aspirin\n"
        "disease: heart attack; heart damage\n"
        "gene or protein: cellular enzymes"
    ),
    ("re", "en"): "treatment: [heart attack, aspirin]; [heart damage, antibiotic]",
    ("ner", "zh"): (
        "药物：氨氯地平; 阿司匹林; 替格瑞洛; 氯吡格雷\n"
        "疾病：高血压; 急性下壁心肌梗死\n"
        "基因或蛋白质：肌钙蛋白I; BNP\n"
        "身体部位：冠状动脉; 胸部\n"
        "临床表现：胸痛; 呼吸困难\n"
        "医疗程序：心电图; 冠状动脉造影; 经皮冠状动脉介入治疗; X线片\n"
    ),
    ("re", "zh"): "药物治疗：[急性下壁心肌梗死，阿司匹林]\n药物致病：[呼吸困难，替格瑞洛]\n",
}


class ByHand:
    """An engine whose answers were written by hand."""

    context_length = 4096
    question_slots = len(ANSWERS)

    def prompt(self, question: Question) -> Prompt:
        return Prompt(question, 0)

    async def complete(self, question: Question, prompt: Prompt, max_tokens: int) -> Completion:
        return Completion(ANSWERS[question.key, question.language], "stop", 0, 0, 0)

    def close(self) -> None:
        pass


def sample(name: str, document_id: str) -> Document:
    """A document of examples/."""
    path = ROOT / "examples" / name
    format_ = formats.format_of(name)
    assert format_ is not None
    with path.open("rb") as file:
        found = formats.documents(file, name, format_, name, 0, 99)
        return next(document for document in found if document.document_id == document_id)


async def annotated() -> list[Annotated]:
    """The documents with what the answers say of them."""
    tasks = assign(["ner", "re"], {"ner": {"types": TYPES, "ask": "together"}, "re": {}})
    annotator = Annotator(ByHand(), tasks, max_tokens=512)
    return [await annotator.annotate(sample(*which)) for which in DOCUMENTS.items()]


def page() -> str:
    """The report, as HTML."""
    rows: list[dict[str, Any]] = [
        document.row(unit="", run_id="", fingerprint="") for document in asyncio.run(annotated())
    ]
    totals = {"documents": Counter(row["status"] for row in rows)}
    for kind in ("mentions", "relations"):
        totals[kind] = Counter(entry["type"] for row in rows for entry in row[kind])
    return write_report(rows, totals, {})


def take(html: str, to: Path) -> None:
    """Draw the documents of a report and the types above them, in few colours: a small file."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        view = browser.new_page(viewport={"width": 1000, "height": 2000}, device_scale_factor=1.5)
        view.set_content(html)
        top = view.locator("nav.filters").bounding_box()
        last = view.locator("article").last.bounding_box()
        assert top is not None and last is not None
        height = last["y"] + last["height"] + 20 - top["y"]
        clip = {"x": 0, "y": top["y"], "width": 1000, "height": height}
        drawn = io.BytesIO(view.screenshot(clip=clip))
        browser.close()
    Image.open(drawn).convert("RGB").quantize(256, kmeans=1).save(to, optimize=True)


if __name__ == "__main__":
    take(page(), ROOT / "docs" / "report.png")
