"""Each grammar is checked and compiled once, for all questions that have it.

The questions on one document often have the same grammar. vLLM checks and compiles the grammar of
every request anew, which takes the host some ten milliseconds. Here a compiled grammar is kept, and
each request gets a copy of it: copies share the lexer and what it has learned of the text, and each
has a state of its own.

`checked_parameters` does this in our process, `OneGrammarScheduler` in that of vLLM's engine.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from vllm import SamplingParams

KEPT = 32
"""The grammars that are kept, of some 4 MB each once answers were written by them. An engine has
128 questions at once, and those on one document come together."""

Value = TypeVar("Value")


class OnceEach(Generic[Value]):
    """Makes a value once for each key, in the thread that asks first; keeps the last KEPT of them.

    Attributes:
        made: how many values were made.
    """

    def __init__(self) -> None:
        self.made = 0
        self._kept: OrderedDict[Hashable, Future[Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key. Other threads that ask for it meanwhile wait for the same one.

        Args:
            key: the key.
            make: makes the value; what it raises is raised to all who wait, and not kept.
        """
        with self._lock:
            first = key not in self._kept
            kept = self._kept.setdefault(key, Future())
            self._kept.move_to_end(key)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            self.made += first
        if first:
            try:
                kept.set_result(make())
            except Exception as error:
                kept.set_exception(error)
                with self._lock:
                    self._kept.pop(key, None)
        return kept.result()


class GuidanceOnce:
    """vLLM's backend for llguidance, but that it compiles each grammar once.

    Args:
        backend: vLLM's backend, which does everything else.

    Attributes:
        compiled: the grammars, each in its first state.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.compiled: OnceEach[Any] = OnceEach()

    def compile_grammar(self, request_type: Any, grammar_spec: str, **more: Any) -> Any:
        """Return a grammar in its first state, as vLLM's own backend does."""

        def make() -> Any:
            return self._backend.compile_grammar(request_type, grammar_spec, **more)

        first = self.compiled.get((request_type, grammar_spec), make)
        return replace(first, ll_matcher=first.ll_matcher.deep_copy())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class OneGrammarScheduler:
    """Stands in for vLLM's scheduler: it makes that one, and gives GuidanceOnce to its manager.

    `scheduler_cls` is the argument of vLLM by which code comes into the process of its engine. The
    scheduler itself stays vLLM's own.
    """

    def __new__(cls, *, vllm_config: Any, structured_output_manager: Any, **others: Any) -> Any:
        if vllm_config.structured_outputs_config.backend == "guidance":
            from vllm.v1.structured_output.backend_guidance import GuidanceBackend

            backend = GuidanceBackend(
                vllm_config,
                tokenizer=structured_output_manager.tokenizer,
                vocab_size=vllm_config.model_config.get_vocab_size(),
            )
            structured_output_manager.backend = GuidanceOnce(backend)
        settings = vllm_config.scheduler_config
        settings.scheduler_cls = None
        own = settings.get_scheduler_cls()
        return own(
            vllm_config=vllm_config, structured_output_manager=structured_output_manager, **others
        )


# vLLM warns that a scheduler of somebody else's may be slow; this one makes vLLM's own.
logging.getLogger("vllm.config.scheduler").addFilter(
    lambda record: OneGrammarScheduler not in (record.args or ())
)


@cache
def checked_parameters() -> type[SamplingParams]:
    """Return SamplingParams whose grammar vLLM checks once, not for each question that has it."""
    from vllm import SamplingParams

    class CheckedParams(SamplingParams):  # type: ignore[misc]
        def _validate_structured_outputs(self, model: Any, settings: Any, tokenizer: Any) -> None:
            wanted = self.structured_outputs

            def check() -> Any:
                super(CheckedParams, self)._validate_structured_outputs(model, settings, tokenizer)
                return wanted._backend

            wanted._backend = _CHECKED.get((settings.backend, wanted.grammar), check)

    return CheckedParams


_CHECKED: OnceEach[Any] = OnceEach()
"""The grammars that vLLM found right, each with the backend that takes it."""
