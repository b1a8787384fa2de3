"""Grammars are checked and compiled once, and copies of one do not disturb each other."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from taiyi_ray.grounding import mentions_grammar

# vLLM is imported, but no engine starts.
pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("default")]

TEXT = "Aspirin eased pain and fever in patients with type 2 diabetes."
GRAMMAR = mentions_grammar([" "], "", " none", TEXT, "en")


@pytest.fixture
def grammars() -> Any:
    from taiyi_ray.engine import grammars

    return grammars


@pytest.fixture
def backend(grammars: Any, tokenizer: Any) -> Any:
    from vllm.v1.structured_output.backend_guidance import GuidanceBackend

    settings = SimpleNamespace(disable_any_whitespace=False, disable_additional_properties=False)
    config = SimpleNamespace(structured_outputs_config=settings)
    own = GuidanceBackend(config, tokenizer=tokenizer, vocab_size=len(tokenizer))
    return grammars.GuidanceOnce(own)


def compile_(backend: Any, grammar: str = GRAMMAR) -> Any:
    from vllm.v1.structured_output.backend_types import StructuredOutputOptions

    return backend.compile_grammar(StructuredOutputOptions.GRAMMAR, grammar, stop_token_ids={0})


def masks(backend: Any, grammar: Any, tokens: list[int]) -> list[list[int]]:
    """What is allowed before each token, and at the end."""
    found = []
    mask = backend.allocate_token_bitmask(1)
    for token in [*tokens, None]:
        grammar.fill_bitmask(mask, 0)
        found.append(mask[0].tolist())
        if token is not None:
            assert grammar.accept_tokens("", [token])
    return found


def test_a_grammar_is_compiled_once_for_all_questions_that_have_it(backend: Any) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: compile_(backend), range(32)))
    assert backend.compiled.made == 1
    assert len({id(grammar.ll_matcher) for grammar in made}) == 32
    compile_(backend, GRAMMAR.replace(" none", " nothing"))
    assert backend.compiled.made == 2


def test_a_copy_allows_what_a_grammar_of_its_own_allows_whatever_other_copies_do(
    grammars: Any, backend: Any, tokenizer: Any
) -> None:
    answers = [" Aspirin; pain", " none", " type 2 diabetes; fever; pain", " patients with type"]
    walks = [tokenizer.encode(answer, add_special_tokens=False) for answer in answers]
    fresh = [masks(backend, backend._backend.compile_grammar(*_grammar()), walk) for walk in walks]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(5):
            copies = list(threads.map(lambda walk: masks(backend, compile_(backend), walk), walks))
            assert copies == fresh
    assert backend.compiled.made == 1


def _grammar() -> tuple[Any, str]:
    from vllm.v1.structured_output.backend_types import StructuredOutputOptions

    return StructuredOutputOptions.GRAMMAR, GRAMMAR


def test_only_the_last_grammars_are_kept(grammars: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammars, "KEPT", 2)
    once: Any = grammars.OnceEach()
    assert [once.get(key, lambda key=key: key) for key in (1, 2, 1, 3, 1)] == [1, 2, 1, 3, 1]
    assert once.made == 3
    once.get(2, lambda: 2)
    assert once.made == 4


def test_who_asks_while_a_value_is_made_waits_for_it(grammars: Any) -> None:
    once: Any = grammars.OnceEach()
    go = threading.Event()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(once.get, "a", lambda: go.wait(30) and "made")
        while not once.made:
            pass
        second = threads.submit(once.get, "a", lambda: "another")
        go.set()
        assert (first.result(30), second.result(30)) == ("made", "made")


def test_why_a_value_cannot_be_made_is_told_and_the_next_one_tries_again(grammars: Any) -> None:
    once: Any = grammars.OnceEach()

    def fail() -> None:
        raise ValueError("no such rule")

    for _ in range(2):
        with pytest.raises(ValueError, match="no such rule"):
            once.get("a", fail)
    assert once.get("a", lambda: "made") == "made"
    assert once.made == 3


def test_vllm_checks_a_grammar_once_and_refuses_a_wrong_one_each_time(
    grammars: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.exceptions import VLLMValidationError
    from vllm.v1.structured_output import backend_guidance

    from taiyi_ray.engine.vllm import sampling_parameters

    checked = []
    validate = backend_guidance.validate_guidance_grammar

    def counted(params: Any, tokenizer: Any = None) -> None:
        checked.append(params.structured_outputs.grammar)
        validate(params, tokenizer=tokenizer)

    monkeypatch.setattr(backend_guidance, "validate_guidance_grammar", counted)
    monkeypatch.setattr(grammars, "_CHECKED", grammars.OnceEach())
    settings = SimpleNamespace(backend="guidance")
    model = SimpleNamespace(is_diffusion=False)
    for _ in range(5):
        params = sampling_parameters(GRAMMAR, 16, [2])
        params._validate_structured_outputs(model, settings, tokenizer)
        assert params.clone().structured_outputs._backend == "guidance"
    assert checked == [GRAMMAR]
    for _ in range(2):
        with pytest.raises(VLLMValidationError):
            sampling_parameters("start: (", 16, [2])._validate_structured_outputs(
                model, settings, tokenizer
            )
    assert checked == [GRAMMAR, "start: (", "start: ("]


def test_the_engine_gets_parameters_as_vllm_writes_them(grammars: Any) -> None:
    from vllm import SamplingParams
    from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

    from taiyi_ray.engine.vllm import sampling_parameters

    params = sampling_parameters(GRAMMAR, 16, [2])
    back = MsgpackDecoder(SamplingParams).decode(MsgpackEncoder().encode(params))
    assert type(back) is SamplingParams
    assert (back.max_tokens, back.structured_outputs.grammar) == (16, GRAMMAR)


def test_the_scheduler_is_vllms_own(grammars: Any, backend: Any, tokenizer: Any) -> None:
    made = []

    class Scheduler:
        def __init__(self, **given: Any) -> None:
            made.append(given)

    settings = SimpleNamespace(
        scheduler_cls=grammars.OneGrammarScheduler, get_scheduler_cls=lambda: Scheduler
    )
    config = SimpleNamespace(
        scheduler_config=settings,
        structured_outputs_config=SimpleNamespace(
            backend="guidance", disable_any_whitespace=False, disable_additional_properties=False
        ),
        model_config=SimpleNamespace(get_vocab_size=lambda: len(tokenizer)),
    )
    manager = SimpleNamespace(tokenizer=tokenizer, backend=None)
    own = grammars.OneGrammarScheduler(
        vllm_config=config, structured_output_manager=manager, block_size=32
    )
    assert type(own) is Scheduler
    assert settings.scheduler_cls is None
    assert isinstance(manager.backend, grammars.GuidanceOnce)
    assert made == [{"vllm_config": config, "structured_output_manager": manager, "block_size": 32}]
