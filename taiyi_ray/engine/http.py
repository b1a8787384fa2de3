"""The HTTP engine: it asks an OpenAI-compatible server, such as `vllm serve`.

`probe` finds out what the server can do by asking it, before a run writes anything and again when
an engine starts. The openai package makes the requests and retries them, with back-off and
`Retry-After`.
"""

from __future__ import annotations

import asyncio
import codecs
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import urlsplit

import openai
from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, ValidationError

from taiyi_ray.config import EngineSettings, explain
from taiyi_ray.engine.engine import (
    DECODING,
    REPETITION_DETECTION,
    Completion,
    FinishReason,
    Prompt,
    behind_head,
    grammar_of,
    scores_of,
)
from taiyi_ray.engine.pace import Pace
from taiyi_ray.errors import ConfigError, QuestionError, ServerGone, TaiyiError, nearest
from taiyi_ray.grounding import mentions_grammar
from taiyi_ray.models.chat import TAIYI1_SEPARATOR, THINKING
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import Message, Question

KEYS = ("TAIYI_RAY_API_KEY", "OPENAI_API_KEY")
"""The environment variables that may hold the key of the server; the first that is set counts."""

_CONNECT = 5.0
_TOO_MUCH = (408, 429, 502, 503, 504)
"""Statuses that mean that the server has too many requests at once."""

_OF_A_QUESTION = (400, 413, 422)
"""Statuses that are about one request; with any other, the server may refuse all requests."""

_SPECIAL = re.compile("<(?=[|｜])")
"""Begins a special token in most chat forms; a blank after the `<` makes it plain text."""

_TEMPLATE_SETTINGS = "chat_template_kwargs"
"""The field of a request in which vLLM takes settings for the chat template."""

_GO_ON = {"continue_final_message": True, "add_generation_prompt": False}
"""The fields of a request by which vLLM goes on with the last message, an assistant's."""

_MARGIN = 1.25
"""Prompts are measured by their characters. This factor allows for texts that take more tokens for
each character than the samples do."""

_SAMPLES = (
    "Patients with type 2 diabetes mellitus who were treated with metformin had lower glycated "
    "haemoglobin (HbA1c 6.8% vs 7.4%, P < 0.001) and fewer cardiovascular events than those on "
    "placebo; the effect was mediated by AMPK signalling and reduced expression of IL-6 and "
    "TNF-alpha in hepatocytes, whereas thrombocytopenia and hyperkalaemia occurred in 12 of 148 "
    "patients.",
    "糖尿病患者服用二甲双胍后，糖化血红蛋白显著下降，少数病例出现恶心、腹泻及乳酸酸中毒；"
    "肝硬化合并门静脉血栓形成者，应慎用低分子肝素，并监测凝血功能和血小板计数。",
)
_NONSENSE = (("qvx wkz jjq", "en"), ("龘靐齉爩", "zh"))
_PROBE_TOKENS = 24


class Arguments(BaseModel):
    """What `--engine-arg` sets of this engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question_slots: int = Field(
        256, ge=1, le=1000, description="questions that each engine asks at once, at most"
    )
    timeout: float = Field(240.0, gt=0, description="seconds until an answer is given up")
    retries: int = Field(
        12,
        ge=0,
        description="how often a question is asked again: 12 take about a minute, 60 some seven "
        "minutes, in which a server can restart",
    )
    extra_body: dict[str, JsonValue] = Field({}, description="further fields of each request")


@dataclass(frozen=True, slots=True)
class Server:
    """What the probe found out about a server.

    Attributes:
        model: the name of the model in requests.
        root: where the server has that model from, if it says so.
        context_length: the most tokens of a prompt and its answer together, if the server says so.
        form: how its requests are written and its answers read.
        rate: the tokens of a prompt without text, of an ASCII character, and of any other one.
        quiet: whether our requests tell the model not to think before it answers.
    """

    model: str
    root: str | None
    context_length: int | None
    form: Form
    rate: tuple[int, float, float]
    quiet: bool

    @property
    def identity(self) -> str:
        """What stands for the model in the fingerprint, as the digest of its files is unknown."""
        served = f"served as {self.model}" + (f" from {self.root}" if self.root else "")
        return f"without thinking, {served}" if self.quiet else served

    def tokens(self, text: str) -> int:
        """Estimate the tokens of a prompt with this text; the estimate is seldom too low."""
        template, plain, other = self.rate
        ascii_ = _ascii(text)
        return template + math.ceil(_MARGIN * (plain * ascii_ + other * (len(text) - ascii_)))


@dataclass(frozen=True, slots=True)
class Form:
    """How a question becomes a request, and a response becomes an answer.

    Attributes:
        model: the name of the model in requests.
        chat: the form of the prompt (`template` or `taiyi1`).
        scores: whether requests ask for the log-probabilities of tokens.
        extras: further fields of each request: those that vLLM knows beyond OpenAI's interface,
            and the user's `extra_body`.
        goes_on: whether the server goes on with an answer whose head is in the request.
    """

    model: str
    chat: str
    scores: bool
    extras: dict[str, Any]
    goes_on: bool = False

    @property
    def path(self) -> str:
        return "/completions" if self.chat == "taiyi1" else "/chat/completions"

    def content(self, messages: Sequence[Message], head: str = "") -> list[Message] | str:
        """The prompt, in which no text spells a special token of the form `<|...|>`.

        A server would take such text for the special token, so it gets a blank after its `<`.
        Other special tokens, such as `</s>`, stay as they are: only the server knows them.

        Args:
            messages: the messages of the question.
            head: the head of the answer, if the prompt holds it.
        """
        plain = [{**m, "content": _SPECIAL.sub("< ", m["content"])} for m in messages]
        if self.chat == "template":
            return [*plain, {"role": "assistant", "content": head}] if head else plain
        told = "".join(f"{TAIYI1_SEPARATOR}{m['content']}" for m in plain)
        return told + TAIYI1_SEPARATOR + head

    def body(
        self, content: list[Message] | str, grammar: str | None, max_tokens: int
    ) -> dict[str, Any]:
        """The body of a request, as JSON values.

        Args:
            content: the prompt, as `content` made it.
            grammar: the Lark grammar of the answer, if it is constrained.
            max_tokens: the most tokens of the answer.
        """
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": max_tokens,
            "temperature": DECODING["temperature"],
        }
        if self.chat == "taiyi1":
            body |= {"prompt": content, "stop": [TAIYI1_SEPARATOR]}
            body |= {"logprobs": 1} if self.scores else {}
        else:
            body |= {"messages": content}
            body |= {"logprobs": True} if self.scores else {}
            body |= _GO_ON if content[-1]["role"] == "assistant" else {}  # type: ignore[index]
        if grammar is not None:
            body["structured_outputs"] = {"grammar": grammar}
        return body | self.extras

    def read(self, response: Any) -> Completion:
        """Read the answer from the JSON of a response.

        Raises:
            QuestionError: the response is not of OpenAI's form, or the answer ended for another
                reason than those of `FinishReason`.
        """
        try:
            (choice,) = response["choices"]
            usage = response["usage"]
            details = usage.get("prompt_tokens_details") or {}
            text = choice["text"] if self.chat == "taiyi1" else choice["message"]["content"]
            completion = Completion(
                text=text or "",
                finish_reason=cast(FinishReason, choice["finish_reason"]),
                prompt_tokens=int(usage["prompt_tokens"]),
                cached_tokens=int(details.get("cached_tokens") or 0),
                output_tokens=int(usage["completion_tokens"]),
                scores=_scores(text or "", choice.get("logprobs")) if self.scores else None,
            )
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise QuestionError(
                f"the server's response is not of OpenAI's form ({type(error).__name__}: {error}): "
                f"{str(response)[:200]}"
            ) from error
        if completion.finish_reason not in ("stop", "length", "repetition"):
            raise QuestionError(f"the server ended the answer: {completion.finish_reason}")
        return completion


def _scores(text: str, logprobs: Any) -> Scores | None:
    """The scores of an answer, from either of OpenAI's two forms of log-probabilities."""
    if not logprobs:
        return None
    if logprobs.get("tokens") is not None:
        return scores_of(text, logprobs["tokens"], logprobs["token_logprobs"])
    entries = logprobs["content"] or []
    # When several tokens make one character, some servers give each token's bytes of it.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    tokens = [
        t["token"] if t.get("bytes") is None else decoder.decode(bytes(t["bytes"])) for t in entries
    ]
    return scores_of(text, tokens, [t["logprob"] for t in entries])


def _ascii(text: str) -> int:
    return len(text.encode("ascii", "ignore"))


# ---------------------------------------------------------------------------------------- the probe


def key_of_environment() -> SecretStr | None:
    """The key for the server, wrapped so that no log shows it; None when no variable holds one.

    Raises:
        ConfigError: the key has characters that a header cannot carry. If it were sent, the error
            would show it.
    """
    for name in KEYS:
        key = os.environ.get(name, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(f"{name}: holds characters that a key cannot have; set it again")
        if key:
            return SecretStr(key)
    return None


def probe(config: EngineSettings, key: SecretStr | None) -> Server:
    """Find out what the server at `--url` is and can do, with four to twelve small requests.

    Raises:
        ConfigError: the URL, the key, the model or an engine argument is wrong, or the server
            cannot do what the settings ask for.
        ServerGone: no server answers there.
    """
    arguments = arguments_of(config.engine_args)
    url = _url(config)
    with openai.OpenAI(
        base_url=url,
        api_key=_key(key),
        max_retries=2,
        timeout=openai.Timeout(arguments.timeout, connect=_CONNECT),
    ) as client:
        try:
            model = _model(config, url, client.get("/models", cast_to=object))
            form, answers = _form(config, arguments, model["id"], client)
            quiet = _quiet(form, client, answers[0])
            if quiet:
                form, answers = quiet, _sampled(quiet, client)
            form = replace(form, goes_on=_goes_on(form, client))
            if config.grounding == "grammar":
                _check_grammar(form, client, url)
        except openai.APIError as error:
            raise _ended(url, error) from error
        except ValueError as error:  # no JSON
            raise _no_server(url) from error
    if config.scores and answers[0].scores is None:
        raise ConfigError(f"{url}: gives no log-probabilities of tokens; leave out --scores")
    length = model.get("max_model_len")
    return Server(model["id"], model.get("root"), length, form, _rate(answers), bool(quiet))


def arguments_of(values: Mapping[str, JsonValue]) -> Arguments:
    """Return the engine arguments; raises ConfigError for one that this engine does not have."""
    try:
        return Arguments.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"--engine-arg of the engine http: {explain(error, Arguments)}") from None


def _url(config: EngineSettings) -> str:
    url = (config.url or "").rstrip("/")
    if "@" in url or "?" in url:
        raise ConfigError(
            "--url: holds a user name, a password or a query, which would stand in the output; "
            f"give a key in the environment variable {KEYS[0]}"
        )
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, an open bracket
        fits = False
    if not fits:
        raise ConfigError(f"--url {url}: is not the address of a server, as in http://host:8000/v1")
    if config.adapter is not None:
        raise ConfigError(
            "--adapter: a server cannot be given an adapter; name a model that it serves with "
            "--model"
        )
    return url


def _key(key: SecretStr | None) -> str:
    return key.get_secret_value() if key else "none"  # the package insists on one


def _model(config: EngineSettings, url: str, listed: Any) -> dict[str, Any]:
    """The server's entry for the model that the settings name, or for its only model.

    Args:
        config: the settings.
        url: the server, for error messages.
        listed: the server's list of models.
    """
    try:
        models = {str(entry["id"]): cast(dict[str, Any], entry) for entry in listed["data"]}
    except (KeyError, TypeError) as error:
        raise _no_server(url) from error
    named = "model" in config.model_fields_set
    if not named and len(models) == 1:
        return next(iter(models.values()))
    if not named or config.model not in models:
        problem = f"does not serve {config.model!r}" if named else "serves more than one model"
        raise ConfigError(
            f"{url}: {problem}{nearest(config.model, models) if named else ''}; give one of its "
            f"models with --model: {', '.join(models) or 'it has none'}"
        )
    return models[config.model]


def _form(
    config: EngineSettings, arguments: Arguments, model: str, client: openai.OpenAI
) -> tuple[Form, list[Completion]]:
    """The form of requests that the server takes, and its answers to an empty text and the samples.

    Args:
        config: the settings.
        arguments: the engine arguments.
        model: the name of the model in requests.
        client: sends requests to the server.

    Raises:
        ConfigError: the server refuses even a plain question.
    """
    ours: dict[str, Any] = {
        "repetition_penalty": 1.0,  # else vLLM takes the one of the model's generation config
        "repetition_detection": REPETITION_DETECTION,
    }
    if config.chat == "taiyi1":
        # The prompt begins with the separator already, and the server must show the separator that
        # ends an answer.
        ours |= {"add_special_tokens": False, "skip_special_tokens": False}
    refusal = ""
    for extras in (ours, {}):
        form = Form(model, config.chat, config.scores, {**extras, **arguments.extra_body})
        try:
            return form, _sampled(form, client)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            refusal = _message(error)
        except QuestionError as error:
            refusal = str(error)
    raise ConfigError(f"{config.url}: does not answer a plain question: {refusal}")


def _sampled(form: Form, client: openai.OpenAI) -> list[Completion]:
    """The answers to an empty text and to the samples."""
    return [_asked(form, client, text, 1) for text in ("", *_SAMPLES)]


def _quiet(form: Form, client: openai.OpenAI, plain: Completion) -> Form | None:
    """The form that tells the model not to think, if its chat template can do that.

    If it can, the prompt has another length. A user who sets this in `extra_body` has decided, so
    nothing is tried then.

    Args:
        form: the usual form.
        client: sends requests to the server.
        plain: the answer to an empty text in the usual form.
    """
    given = form.extras.get(_TEMPLATE_SETTINGS) or {}
    knows_ours = "repetition_detection" in form.extras
    if form.chat != "template" or not knows_ours or not isinstance(given, dict):
        return None
    if THINKING in given:
        return None
    settings = {_TEMPLATE_SETTINGS: {THINKING: False, **given}}
    quiet = replace(form, extras=form.extras | settings)
    try:
        answer = _asked(quiet, client, "", 1)
    except (openai.BadRequestError, openai.UnprocessableEntityError, QuestionError):
        return None
    return quiet if answer.prompt_tokens != plain.prompt_tokens else None


def _goes_on(form: Form, client: openai.OpenAI) -> bool:
    """Whether the server goes on with an answer whose head is in the request.

    A chat server that does not know the fields for this ends the assistant's message and begins
    another one. That takes more tokens than to go on with it.

    Args:
        form: the usual form.
        client: sends requests to the server.
    """
    if form.chat != "template":
        return True  # the prompt is a text, and the head stands at its end
    if "repetition_detection" not in form.extras:
        return False  # the server is not vLLM
    content = form.content([{"role": "user", "content": ""}], "Result:")
    body = form.body(content, None, 1)
    try:
        on, anew = (
            form.read(client.post(form.path, cast_to=object, body=one)).prompt_tokens
            for one in (body, {k: v for k, v in body.items() if k not in _GO_ON})
        )
    except (openai.BadRequestError, openai.UnprocessableEntityError, QuestionError):
        return False
    return on < anew


def _asked(
    form: Form, client: openai.OpenAI, text: str, max_tokens: int, grammar: str | None = None
) -> Completion:
    content = form.content([{"role": "user", "content": text}])
    body = form.body(content, grammar, max_tokens)
    return form.read(client.post(form.path, cast_to=object, body=body))


def _check_grammar(form: Form, client: openai.OpenAI, url: str) -> None:
    """Check that answers obey a grammar, with one in each language that no model obeys by chance.

    Raises:
        ConfigError: the server refuses a grammar, fails at it or ignores it.
    """
    for text, language in _NONSENSE:
        grammar = mentions_grammar(["w7: "], "", "k3", text, language)
        problem = ""
        try:
            answer = _asked(form, client, "What is the capital of France?", _PROBE_TOKENS, grammar)
        except openai.InternalServerError as error:
            problem = f"fails at it ({_message(error)})"
        except (openai.BadRequestError, openai.UnprocessableEntityError, QuestionError) as error:
            problem = f"refuses it ({_message(error)})"
        else:
            mention = answer.text.removeprefix("w7: ")[:1]
            if answer.text != "k3" and not (answer.text.startswith("w7: ") and mention in text):
                problem = "ignores it"
        if problem:
            raise ConfigError(
                f"{url}: cannot constrain answers by a Lark grammar: it {problem}; use vLLM with "
                """--structured-outputs-config '{"backend": "guidance"}', or --grounding align"""
            )


def _rate(answers: Sequence[Completion]) -> tuple[int, float, float]:
    template, english, chinese = (answer.prompt_tokens for answer in answers)
    plain = max(0, english - template) / len(_SAMPLES[0])
    ascii_ = _ascii(_SAMPLES[1])
    other = (chinese - template - plain * ascii_) / (len(_SAMPLES[1]) - ascii_)
    return template, plain, max(plain, other)


# --------------------------------------------------------------------------------------- the errors


def _message(error: Exception) -> str:
    """What a server says about a refusal, in one line."""
    said: object = error
    if isinstance(error, openai.APIStatusError):
        body = error.body
        said = body.get("message") if isinstance(body, dict) else None
        said = said or error.response.text or error.response.reason_phrase
    elif isinstance(error, openai.APITimeoutError):
        said = "no answer in time"
    elif isinstance(error, openai.APIConnectionError):
        said = error.__cause__ or error
    return " ".join(str(said).split())[:300] or type(error).__name__


def _no_server(url: str, said: str = "its answer has another form") -> ConfigError:
    return ConfigError(f"{url}: no OpenAI-compatible server ({said}); does --url end with /v1?")


def _ended(url: str, error: openai.APIError) -> TaiyiError:
    """The error that says why a server answers no question at all."""
    status = error.status_code if isinstance(error, openai.APIStatusError) else None
    if status in (401, 403):
        return ConfigError(
            f"{url}: refuses the key ({status}: {_message(error)}); set the right one in the "
            f"environment variable {KEYS[0]}"
        )
    if status == 404:
        return _no_server(url, f"404: {_message(error)}")
    what = f"answers {status}: " if status else "no answer: "
    return ServerGone(
        f"{url}: {what}{_message(error)}; when the server is there, run the same command again"
    )


# --------------------------------------------------------------------------------------- the engine


class _Client(openai.DefaultAsyncHttpxClient):
    """Sends as many requests at once as the server answers well.

    The openai package retries above this client, so a request that waits for its retry takes no
    slot here.
    """

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    async def send(self, request: Any, **how: Any) -> Any:
        async with self._pace.slot() as slot:
            try:
                response = await super().send(request, **how)
            except Exception:  # no answer in time, or a connection that was closed
                slot.refused = True
                raise
            slot.refused = response.status_code in _TOO_MUCH
            return response


class HttpEngine:
    """Asks an OpenAI-compatible server.

    Args:
        config: the settings, which name the server; `prepare` settled context length and model.
        key: the key for the server, if there is one.

    Raises:
        ConfigError, ServerGone: as `probe`.
    """

    def __init__(self, config: EngineSettings, key: SecretStr | None) -> None:
        assert config.context_length is not None and config.url is not None
        arguments = arguments_of(config.engine_args)
        self._url = config.url
        self._server = probe(config, key)
        self._form = self._server.form
        self.pace = Pace(arguments.question_slots)
        self._client = openai.AsyncOpenAI(
            base_url=config.url,
            api_key=_key(key),
            max_retries=arguments.retries,
            timeout=openai.Timeout(arguments.timeout, connect=_CONNECT),
            http_client=_Client(self.pace),
        )
        self._ended: TaiyiError | None = None
        self._asking_why = asyncio.Lock()
        self.context_length = config.context_length
        self.question_slots = arguments.question_slots

    def prompt(self, question: Question) -> Prompt:
        head = question.given if self._form.goes_on else ""
        content = self._form.content(question.messages, head)
        text = content if isinstance(content, str) else "".join(m["content"] for m in content)
        return Prompt(content, self._server.tokens(text), head)

    async def complete(self, question: Question, prompt: Prompt, max_tokens: int) -> Completion:
        if self._ended:
            raise self._ended
        body = self._form.body(prompt.content, grammar_of(question, prompt), max_tokens)
        try:
            completion = await self._post(body)
        except openai.APIError as error:
            raise await self._blame(error) from error
        self.pace.worked(completion.output_tokens)
        return behind_head(completion, prompt.head)

    async def _post(self, body: dict[str, Any], **options: Any) -> Completion:
        client = self._client.with_options(**options) if options else self._client
        try:
            response = await client.post(self._form.path, cast_to=object, body=body)
        except ValueError as error:
            raise QuestionError(f"the question or its answer is no JSON: {error}") from error
        return self._form.read(response)

    async def _blame(self, error: openai.APIError) -> TaiyiError | QuestionError:
        """The error to raise: about this question, or about a server that answers no question."""
        status = error.status_code if isinstance(error, openai.APIStatusError) else None
        if status not in _OF_A_QUESTION:
            await self._see_whether_it_answers()
        what = f" ({status})" if status else ""
        return self._ended or QuestionError(f"the server refuses it{what}: {_message(error)}")

    async def _see_whether_it_answers(self) -> None:
        async with self._asking_why:
            if self._ended is None:
                try:
                    content = self._form.content([{"role": "user", "content": ""}])
                    await self._post(self._form.body(content, None, 1), max_retries=2)
                except openai.APIError as other:
                    self._ended = _ended(self._url, other)

    def close(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no loop runs: the connections ended with theirs
            return
        self._closing = loop.create_task(self._client.close())
