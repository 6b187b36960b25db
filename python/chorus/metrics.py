"""Scores of translations, equal to sacreBLEU's."""

from __future__ import annotations

from typing import Iterable

from chorus._load import load_core

_core = load_core()


def bleu(translations: Iterable[str], references: Iterable[str], *, tokenizer: str = "13a") -> float:
    """Corpus BLEU, 0 to 100. `tokenizer`: "13a", "intl", "zh", "char" or "none"."""
    return _core.bleu(list(translations), list(references), tokenizer)


def chrf(translations: Iterable[str], references: Iterable[str], *, word_order: int = 0) -> float:
    """Corpus chrF, 0 to 100; with `word_order` 2, chrF++."""
    return _core.chrf(list(translations), list(references), word_order)
