"""Scores of translations, equal to sacreBLEU's."""

from __future__ import annotations

from typing import Iterable

from chorus import _check
from chorus._load import load_core

_core = load_core()


def bleu(translations: Iterable[str], references: Iterable[str], *, tokenizer: str = "13a") -> float:
    """Corpus BLEU, 0 to 100. `tokenizer`: "13a", "intl", "zh", "char" or "none"."""
    return _core.bleu(_check.texts(translations), _check.texts(references), _check.text(tokenizer, "tokenizer"))


def chrf(translations: Iterable[str], references: Iterable[str], *, word_order: int = 0) -> float:
    """Corpus chrF, 0 to 100; with `word_order` 2, chrF++."""
    return _core.chrf(_check.texts(translations), _check.texts(references), _check.whole(word_order, "word_order"))
