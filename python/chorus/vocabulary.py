"""Text as the tokens of a model, and back."""

from __future__ import annotations

from typing import Any, Iterable

from chorus import _check
from chorus._check import StrPath
from chorus._load import load_core

_core = load_core()


class Vocabulary:
    """The vocabulary of a model folder, a run or a checkpoint, whose weights are not read. Threads may share one.

    >>> vocabulary = chorus.Vocabulary("runs/mine")
    >>> vocabulary.pieces("Good morning.")
    ['▁Good', '▁morning', '.']
    """

    def __init__(self, model: StrPath | Any) -> None:
        self._core = _core.Vocabulary(model if isinstance(model, _core.Model) else _check.path(model, "a model"))

    def __len__(self) -> int:
        """Ids are below it."""
        return self._core.size()

    @property
    def languages(self) -> list[str]:
        """As the model calls them: "en", "deu_Latn". Empty where it has none."""
        return self._core.languages()

    def encode(self, text: str, language: str = "") -> list[int]:
        """The ids of a text's pieces, without the language's tag and the end. `language` matters where source and target are
        cut otherwise (OPUS-MT); by default the text is a source."""
        return self._core.encode(_check.text(text, "text"), _check.text(language, "language"))

    def pieces(self, text: str, language: str = "") -> list[str]:
        """The same as pieces."""
        return [self._core.piece(i) for i in self.encode(text, language)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; tags and special tokens are left out."""
        return self._core.decode([_check.whole(i, "token") for i in ids])

    def piece(self, token: int) -> str:
        """What an id stands for: "▁the", "</s>", "__de__" for the tag of de; "" where it stands for nothing."""
        return self._core.piece(_check.whole(token, "token"))

    def tag(self, language: str) -> int | None:
        """The id of a language's tag; None where it has none."""
        found = self._core.tag(_check.text(language, "language"))
        return None if found < 0 else found
