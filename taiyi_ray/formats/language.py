"""The language of a text by its script, and language names and codes as ISO 639-1.

PubMed names languages by ISO 639-2/B codes (https://www.nlm.nih.gov/bsd/language_table.html).
"""

from __future__ import annotations

import re

from taiyi_ray.forms import HAN

# ISO 639-2 codes (bibliographic, and terminological where it differs) and their ISO 639-1 code.
_CODES = """
    afr-af alb-sq sqi-sq amh-am ara-ar arm-hy hye-hy aze-az baq-eu eus-eu bel-be ben-bn bos-bs
    bul-bg bur-my mya-my cat-ca chi-zh zho-zh cze-cs ces-cs dan-da dut-nl nld-nl eng-en epo-eo
    est-et fin-fi fre-fr fra-fr geo-ka kat-ka ger-de deu-de gla-gd gle-ga glg-gl gre-el ell-el
    heb-he hin-hi hrv-hr hun-hu ice-is isl-is ind-id ita-it jpn-ja kaz-kk khm-km kin-rw kir-ky
    kor-ko lat-la lav-lv lit-lt ltz-lb mac-mk mkd-mk mal-ml mao-mi mri-mi may-ms msa-ms mlt-mt
    mon-mn nep-ne nno-nn nob-nb nor-no per-fa fas-fa pol-pl por-pt pus-ps roh-rm rum-ro ron-ro
    rus-ru san-sa sin-si slo-sk slk-sk slv-sl spa-es srp-sr swa-sw swe-sv tam-ta tel-te tgk-tg
    tgl-tl tha-th tib-bo bod-bo tuk-tk tur-tr uig-ug ukr-uk urd-ur uzb-uz vie-vi wel-cy cym-cy
    xho-xh yid-yi yor-yo zul-zu
"""
_TWO_LETTERS = dict(pair.split("-") for pair in _CODES.split())
_NAMES = {"english": "en", "英文": "en", "chinese": "zh", "中文": "zh", "汉语": "zh"}

_LONGEST = 35
"""The most characters of a code or tag (RFC 5646, 4.4.1). Every passage names its language, so that
the copies of a very long name would fill the memory."""

_HAN = re.compile(f"[{HAN}]")
_LETTER = re.compile(r"[^\W\d_]")

# A Chinese abstract holds many gene names and units in Latin letters; an English abstract holds at
# most a few names in Han characters.
_CHINESE_SHARE = 0.2


def two_letter(code: str) -> str:
    """Return the ISO 639-1 code of an ISO 639-2 code, or the code itself, cut to _LONGEST."""
    return _TWO_LETTERS.get(code, code[:_LONGEST])


def normalised(name: str) -> str:
    """Return the ISO 639-1 code for a code, tag or name: `zh-CN`, `chi`, `Chinese` -> `zh`.

    An unknown name is returned in lower case, without its region.
    """
    name = name.strip().lower()
    primary = name.replace("_", "-").partition("-")[0]
    return _NAMES.get(name) or two_letter(primary)


def has_han(text: str) -> bool:
    """Tell whether the text holds any Han character."""
    return _HAN.search(text) is not None


def of_text(text: str) -> str:
    """Return `zh` where enough of the text's letters are Han characters, else `en`."""
    if text.isascii():
        return "en"
    han, letters = len(_HAN.findall(text)), len(_LETTER.findall(text))
    return "zh" if han and han >= _CHINESE_SHARE * letters else "en"
