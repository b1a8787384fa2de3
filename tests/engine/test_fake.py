"""The fake engine: the same answers every time, and every kind of trouble in its share."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taiyi_ray.engine.engine import Completion
from taiyi_ray.engine.fake import FakeEngine
from taiyi_ray.errors import EngineDied, QuestionError
from taiyi_ray.records import Document
from taiyi_ray.tasks import TASKS
from taiyi_ray.tasks.task import Question
from tests.samples import asked, chinese, english

WORDS = "aspirin for fever, naloxone for morphine; warfarin and heparin, cocaine and renal failure"


def document(text: str) -> Document:
    return english(text) if text.isascii() else chinese(text)


def ask(text: str, task: str = "ner") -> Question:
    (question,) = asked(task, {"ner": "disease,gene", "re": "treatment"}[task]).questions(
        document(text)
    )
    return question


def answer(engine: FakeEngine, question: Question, max_tokens: int = 512) -> Completion:
    return asyncio.run(engine.complete(question, engine.prompt(question), max_tokens))


@pytest.mark.parametrize("task", ["ner", "re"])
@pytest.mark.parametrize(
    "text", [WORDS, "急性胰腺炎患者出现头痛和高血压，给予硝苯地平治疗后好转。"]
)
def test_answers_are_the_same_every_time_and_are_read_without_a_problem(
    task: str, text: str
) -> None:
    question = ask(text, task)
    first, again = answer(FakeEngine(4096), question), answer(FakeEngine(2048), question)
    assert first == again
    assert first.finish_reason == "stop"
    parsed = TASKS[task].parse(first.text, question, document(text))
    assert parsed.problem is None


def test_some_answers_name_mentions_and_relations_of_the_text() -> None:
    for task in ("ner", "re"):
        question = ask(WORDS, task)
        parsed = TASKS[task].parse(
            answer(FakeEngine(4096), question).text, question, english(WORDS)
        )
        assert parsed.annotations.mentions
        assert bool(parsed.annotations.relations) == (task == "re")


def test_tokens_are_four_characters_each() -> None:
    question = ask(WORDS)
    engine = FakeEngine(4096)
    prompt = engine.prompt(question)
    assert prompt.tokens == len(question.messages[0]["content"]) // 4 + 1
    whole = answer(engine, question)
    assert (whole.prompt_tokens, whole.output_tokens) == (prompt.tokens, -(-len(whole.text) // 4))
    short = answer(engine, question, max_tokens=3)
    assert short == Completion(whole.text[:12], "length", prompt.tokens, 0, 3)


def test_a_known_head_is_of_the_prompt_and_the_answer_is_whole() -> None:
    (plain,) = asked("ner", "disease").questions(english(WORDS))
    (question,) = replace(asked("ner", "disease"), headed=True).questions(english(WORDS))
    engine = FakeEngine(4096, scores=True)
    prompt, before = engine.prompt(question), engine.prompt(plain)
    head = "Here are the disease entities mentioned in the text:"
    assert (prompt.head, before.head) == (head, "")
    assert prompt.tokens - before.tokens == len(head) // 4
    whole, found = answer(engine, question), answer(engine, plain)
    assert whole.text == found.text and whole.text.startswith(head)
    assert found.output_tokens - whole.output_tokens == len(head) // 4
    assert whole.scores is not None
    assert whole.scores.text == whole.text
    assert whole.scores.starts[0] == len(head)


def test_nothing_is_said_behind_the_head_that_the_prompt_holds() -> None:
    (question,) = replace(asked("ner", "disease"), headed=True).questions(english("No pain."))
    text = answer(FakeEngine(4096), question).text
    assert text == "Here are the disease entities mentioned in the text: none"
    parsed = TASKS["ner"].parse(text, question, english("No pain."))
    assert (parsed.annotations.mentions, parsed.problem) == ([], None)


@pytest.mark.parametrize(
    ("trouble", "check"),
    [
        ("garbage", lambda c, right: (c.finish_reason, "[a" in c.text) == ("stop", True)),
        ("repeat", lambda c, right: c.finish_reason == "repetition" and c.text.startswith(right)),
        ("cut", lambda c, right: c.finish_reason == "length" and right.startswith(c.text)),
    ],
)
def test_trouble_on_request(trouble: str, check: Any) -> None:
    question = ask(WORDS)
    right = answer(FakeEngine(4096), question).text
    assert check(answer(FakeEngine(4096, **{trouble: 1.0}), question), right)


def test_cut_answer_is_whole_when_asked_for_with_four_times_the_tokens() -> None:
    engine = FakeEngine(8192, cut=1.0)
    assert answer(engine, ask(WORDS), 512).finish_reason == "length"
    assert answer(engine, ask(WORDS), 4 * 512) == answer(FakeEngine(8192), ask(WORDS), 2048)


def test_refused_question_raises() -> None:
    with pytest.raises(QuestionError, match="refuses this question"):
        answer(FakeEngine(4096, refuse=1.0), ask(WORDS))


def test_shares_of_trouble_are_kept_and_the_same_question_always_has_the_same_trouble() -> None:
    engine = FakeEngine(4096, garbage=0.2, repeat=0.3, refuse=0.1)

    def what(number: int) -> str:
        try:
            completion = answer(engine, ask(f"case {number}"))
        except QuestionError:
            return "refuse"
        return "garbage" if "[a" in completion.text else completion.finish_reason

    seen = [what(number) for number in range(400)]
    assert seen[:20] == [what(number) for number in range(20)]
    for trouble, share in (("garbage", 0.2), ("repetition", 0.3), ("refuse", 0.1), ("stop", 0.4)):
        assert abs(seen.count(trouble) / 400 - share) < 0.07, trouble


def test_engine_dies_on_the_word_and_stays_dead() -> None:
    engine = FakeEngine(4096, die_on="poison")
    answer(engine, ask("harmless"))
    for text in ("a poisonous text", "harmless"):
        with pytest.raises(EngineDied):
            answer(engine, ask(text))


def test_one_engine_dies_when_its_file_appears(tmp_path: Path) -> None:
    file = tmp_path / "die"
    first, second = (FakeEngine(4096, die_when=str(file)) for _ in range(2))
    answer(first, ask("harmless"))
    file.touch()
    for _ in range(2):
        with pytest.raises(EngineDied):
            answer(first, ask("harmless"))
    assert not file.exists()
    answer(second, ask("harmless"))


def test_closed_engine_is_dead() -> None:
    engine = FakeEngine(4096)
    engine.close()
    with pytest.raises(EngineDied):
        answer(engine, ask("harmless"))


def test_engine_that_cannot_start_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"^no GPU here$"):
        FakeEngine(4096, start_error="no GPU here")


def test_kill_on_ends_the_process() -> None:
    program = (
        "from tests.engine.test_fake import FakeEngine, answer, ask\n"
        "answer(FakeEngine(4096, kill_on='poison'), ask('poison'))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
