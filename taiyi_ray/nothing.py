"""The usual wordings of nothing: what models write, in both languages, when they find nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

WORDS = (
    *("none", "nothing", "nil", "null", "no", "n/a"),
    *("not applicable", "not available", "not found", "not mentioned", "none mentioned"),
    *("none found", "not specified", "not stated", "not provided", "none of the above"),
    *("无", "無", "没有", "沒有", "暂无", "空", "不适用", "不存在", "未找到", "都不是", "均不是"),
    *("未提及", "未提到", "未涉及", "没提到", "没有提及", "没有提到", "并未提及", "以上都不是"),
)
"""The short wordings, in lower case. None of them is a gold mention in the corpora of the tests."""

_NAMES = frozenset({"NO"})
"""Names that differ from a short wording only in case: nitric oxide."""

_AROUND = " \t\r\n*_`#~\"'“”‘’「」『』«»()（）[]【】{}<>《》.。…,，;；:：!！?？、|/\\-–—"
"""Signs that are ignored around a wording: blanks, punctuation, brackets, quotes, Markdown."""

# An answer may go on behind a wording of nothing: `None; the text is about cells`, `无（未提及）`.
_OPENING = re.compile(
    r"none\b(?!-)|(?:nothing|nil|n/a|not (?:applicable|mentioned)|[无無]|[没沒]有|未提[及到]|暂无)"
    r"\s*[.,;:。，；：（(—]"
)

# A sentence of nothing holds only three kinds of words: negations, subjects of a question (the
# text, and what the question asks for), and words that link them. "No metastases were found" holds
# another word, and says something.
_NEGATIONS, _SUBJECTS, _LINKS = (
    frozenset(words.split())
    for words in (
        "no not none nothing neither nor never without cannot unable",
        "text texts passage document sentence abstract paragraph article title input context "
        "report case note dialogue excerpt answer annotation annotations entity entities mention "
        "mentions mentioned mentioning relation relations relationship relationships pair pairs "
        "event events label labels category categories type types option options match matches "
        "item items instance instances example examples information",
        "a an the this that these those there it i is are was were be been being do does did has "
        "have had can could may of in on to from for with within between by as at or and any such "
        "other explicit explicitly specific specifically specified given provided above following "
        "listed requested asked relevant matching corresponding related named name names naming "
        "list lists biomedical medical clinical directly clearly identified identify identifies "
        "found find finds present appear appears contain contains contained containing include "
        "includes included including describe describes described discuss discussed state states "
        "stated report reported extract extracted detect detected apply applies applicable fit "
        "fits true available exist exists provide provides therefore so all both",
    )
)
_WORD = re.compile(r"[^\W_]+")
_NOT = re.compile(r"(?:\bca)?n['’]t\b")

_ZH_NEGATIONS = "没有|沒有|没|未能|未|暂无|并无|无|無|不存在|不包含|不|均无|皆无"
_ZH_SUBJECTS = (
    "文本|文中|文章|原文|全文|本文|句子|句中|段落|文档|摘要|题目|病例|对话|报告|材料|内容|信息|"
    "实体|关系|事件|标签|类别|类型|选项|结果|答案|提及|提到|涉及|包含|包括|属于|符合|抽取|提取"
)
_ZH_LINKS = (
    "上述|以上|上面|下列|以下|给定|所给|该|本|此|这|这些|其中|其他|其它|任何|任一|相关|有关|明确|具体|"
    "直接|对应|相应|匹配|满足|合适|适合|适用|要求|条件|指定|具有|存在|含有|含|有|出现|发现|找到|识别|"
    "检测|给出|提供|说明|描述|列出|可以|可|能够|能|被|中|里|内|到|出|并|均|都|也|皆|类|种|个|对|间|之间|"
    "的|与|和|或|及|所|是|因此|[，,、：:。.；;\\s]"
)


def is_word(text: str) -> bool:
    """Whether a text is one of the short wordings, in any case and with any signs around it.

    A text of such signs alone counts as a wording of nothing, too; an empty text does not.
    """
    bare = " ".join(text.strip(_AROUND).split())
    return bool(text) and (not bare or (bare.casefold() in WORDS and bare not in _NAMES))


def is_said(text: str, labels: Sequence[str] = ()) -> bool:
    """Whether a text says that there is nothing: in a short wording, or in sentences.

    Args:
        text: an answer, or a part of one.
        labels: the names of what was asked for, which a sentence may use (`No diseases found.`).
    """
    if is_word(text):
        return True
    said = text.strip(_AROUND).casefold()
    if _OPENING.match(said):
        return True
    english, chinese = _of(tuple(labels))
    words = _WORD.findall(_NOT.sub(" not", said))
    if words and all(word in english or word in _NEGATIONS or word in _LINKS for word in words):
        return not _NEGATIONS.isdisjoint(words) and not english.isdisjoint(words)
    return bool(chinese.fullmatch(said))


@lru_cache(maxsize=256)
def _of(labels: tuple[str, ...]) -> tuple[frozenset[str], re.Pattern[str]]:
    """The subjects of English sentences of nothing, and the pattern of Chinese ones.

    Both include the names of what was asked for.
    """
    words = {word for label in labels for word in _WORD.findall(label.casefold())}
    plurals = {word + ending for word in words for ending in ("s", "es")}
    plurals |= {word[:-1] + "ies" for word in words if word.endswith("y")}
    names = "|".join(re.escape(label.casefold()) for label in sorted(labels, key=len, reverse=True))
    subjects = f"{names}|{_ZH_SUBJECTS}" if names else _ZH_SUBJECTS
    anything = f"(?:{subjects}|{_ZH_NEGATIONS}|{_ZH_LINKS})*+"
    return _SUBJECTS | ((words | plurals) - _NEGATIONS - _LINKS), re.compile(
        f"(?=.*?(?:{_ZH_NEGATIONS}))(?=.*?(?:{subjects})){anything}", re.DOTALL
    )


def _spellings(word: str, bound: str) -> re.Pattern[str]:
    spelled = r"\s+".join(map(re.escape, word.split()))
    return re.compile(rf"(?<!{bound}){spelled}(?!{bound})" if bound else spelled, re.IGNORECASE)


# A piece of a Chinese text is any run of characters; a piece of another text is a run of words.
_IN_CHINESE = {word: _spellings(word, "") for word in WORDS}
_IN_OTHERS = {word: _spellings(word, r"\w") for word in WORDS}


@lru_cache(maxsize=16)
def standing_in(text: str, language: str) -> tuple[str, ...]:
    """The short wordings that are pieces of a text, as the text spells them."""
    folded = text.casefold()
    spelled = {
        match.group()
        for word, pattern in (_IN_CHINESE if language == "zh" else _IN_OTHERS).items()
        if word.split()[0] in folded
        for match in pattern.finditer(text)
    }
    return tuple(sorted(found for found in spelled if is_word(found)))
