"""Models that are there: translating, scoring, and what the encoder makes of a text."""

from __future__ import annotations

import difflib
import itertools
import os
import typing
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Literal, Mapping, NamedTuple, Sequence, TypedDict, overload

from chorus import _check
from chorus._check import StrPath
from chorus._errors import UserError
from chorus._load import load_core
from chorus.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    import torch
    from typing_extensions import Unpack

_core = load_core()


class Options(TypedDict, total=False):
    """How `Translator` searches, as options by name, each with its default, as `chorus translate` has them.

    beam: hypotheses looked at together; 1: greedy. 5
    length_penalty: above 0 prefers long translations. 1
    max_length_factor: tokens at most per token of the text, beside max_length. 2
    max_length: tokens that a translation may have beyond that. 30
    min_length: tokens at least, tag and end counted. 0
    no_repeat_ngram: above 0: no run of so many tokens occurs twice. 0
    repetition_penalty: above 1: tokens that were already written become less likely. 1
    guard: translate again, with no_repeat_ngram=3, what repeats itself until it is cut off. False
    diversity: above 0: what a hypothesis loses where those before it have taken the same word. 0
    beam_groups: of diversity: groups that the beam is cut into; 0: one for each hypothesis. 0
    prefix: what every translation begins with
    sentences: translate every sentence of a text by itself. False
    terms: where a text has the first phrase, its translation has the second
    keep: regular expression (ICU's): what it matches is in the translation as it is
    alignment: fill in Translation.alignment. False
    shortlist: file of `chorus shortlist`: only pieces of the target language, which is faster
    sample: draw translations instead of searching for the best. False
    temperature: of sample: below 1 keeps closer to what is probable. 1
    top_k: of sample: draw from the k most probable tokens; 0: all. 0
    top_p: of sample: from the most probable ones that have this probability together. 1
    epsilon: of sample: only tokens of this probability. 0
    seed: of sample: the same one draws the same translations of the same texts. 1
    mbr: choose, of several candidates, the one most like the others
    candidates: of mbr. 64 samples, or all hypotheses of the beam
    """

    beam: int
    length_penalty: float
    max_length_factor: float
    max_length: int
    min_length: int
    no_repeat_ngram: int
    repetition_penalty: float
    guard: bool
    diversity: float
    beam_groups: int
    prefix: str
    sentences: bool
    terms: Mapping[str, str] | Iterable[tuple[str, str]]
    keep: str
    alignment: bool
    shortlist: StrPath
    sample: bool
    temperature: float
    top_k: int
    top_p: float
    epsilon: float
    seed: int
    mbr: Literal["chrf", "bleu"]
    candidates: int


class Token(NamedTuple):
    """A piece as the vocabulary writes it ("▁the", "</s>"), and its natural logarithm of probability."""

    piece: str
    log_probability: float


@dataclass(frozen=True)
class Translation:
    """A translation of a text; str() gives its text alone.

    score: the sum of log-probabilities over tokens ** length_penalty; with mbr the mean, 0 to 100, of a text in parts their sum
    log_probability: the sum over the tokens
    tokens: the pieces and the end ("</s>"), each with its own log-probability
    alignment: words of the text and of the translation that belong together, counted from 0; None unless asked for
    ended: False where it was cut at the longest length
    """

    text: str
    score: float
    log_probability: float
    tokens: list[Token] = field(repr=False, hash=False)
    alignment: list[tuple[int, int]] | None = field(repr=False, hash=False)
    ended: bool = True

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Score:
    """How probable a translation is: natural logarithms, of the whole and of its pieces and the end."""

    log_probability: float
    tokens: list[Token] = field(repr=False, hash=False)


@dataclass(frozen=True, eq=False)  # arrays have no one answer to ==
class Encoded:
    """What the encoder makes of a text.

    tokens: tag, pieces, end
    states: fp32 [tokens, d_model]: the encoder's output
    routers: by the name of an MoE layer of the encoder, "encoder.layers.1": fp32 [tokens, experts], each token's sum to 1
    """

    tokens: list[str]
    states: np.ndarray | torch.Tensor = field(repr=False)
    routers: dict[str, np.ndarray | torch.Tensor] = field(repr=False)


class Translator:
    """A model that translates. Threads may share one; long calls let other threads of Python run.

    path: a model folder, a run (its best model so far) or a checkpoint; several are an ensemble.
    source, target: languages, as the model calls them, of calls that name none.
    device: "cpu", "cuda", or "auto": the accelerator that is there, or else the CPU.
    precision: "fp32" or "bf16", of the arithmetic; of a quantized model only of what is kept from step to step.
    memory: most bytes for the weights, or "8GB" and the like, or "auto": experts beyond it stay in the model's file.
    """

    def __init__(
        self,
        path: StrPath | Sequence[StrPath],
        *,
        source: str | None = None,
        target: str | None = None,
        device: str = "cpu",
        precision: str = "fp32",
        memory: int | str | None = None,
    ) -> None:
        paths = [path] if isinstance(path, (str, bytes, os.PathLike)) or not isinstance(path, Iterable) else list(path)
        if not paths:
            raise UserError("a Translator has one model or several, not none")
        if memory is not None and len(paths) > 1:
            raise UserError("memory is for one model, not for an ensemble")
        if isinstance(memory, str):
            most = _core.parse_memory(_check.text(memory, "memory"))
        else:
            most = _check.whole(memory or 0, "memory", 0, 2**63 - 1)
        how = (_check.text(device, "device"), _check.text(precision, "precision"), most)
        self._models = [_core.Model(_check.path(one, "a model"), *how) for one in paths]
        self._source, self._target = source or "", target or ""
        self._made: dict[Any, Any] = {}

    @property
    def languages(self) -> list[str]:
        """As the model calls them: "en", "deu_Latn". Empty where it has none."""
        return self._models[0].languages

    @property
    def directions(self) -> list[str]:
        """What it was trained to translate, "en-de"; empty where that is not known."""
        return self._models[0].directions

    @property
    def parameters(self) -> int:
        """Weights, all experts included; of an ensemble the first model's."""
        return self._models[0].parameters

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self._models[0])

    @overload
    def translate(  # type: ignore[overload-overlap]  # a string is an iterable of strings too, but no list of texts
        self, texts: str, source: str | None = None, target: str | None = None, **options: Unpack[Options]
    ) -> Translation: ...
    @overload
    def translate(
        self, texts: Iterable[str], source: str | None = None, target: str | None = None, **options: Unpack[Options]
    ) -> list[Translation]: ...
    def translate(self, texts, source=None, target=None, **options):
        """The best translation of each text, in order; of a single string, its translation. Many at once are faster than
        one after the other. A text is one line: a line end within it is white space. `options`: see `Options`."""
        search = self._search(source, target, 1, options)
        if isinstance(texts, str):
            return _translation(search.nbest(_check.texts([texts]), 0)[0][0], options)
        return [_translation(best[0], options) for best in _best(search, texts)]

    def stream(
        self,
        texts: Iterable[str],
        source: str | None = None,
        target: str | None = None,
        *,
        window: int = 1024,
        **options: Unpack[Options],
    ) -> Iterator[Translation]:
        """The same for texts that are not all there yet, or more than memory holds: reads `window` of them, translates
        them together, gives their translations, and goes on."""
        window = _check.whole(window, "window", 1)
        _check.no_letters(texts)
        search = self._search(source, target, 1, options)

        return (_translation(best[0], options) for best in _best(search, texts, window))

    def nbest(
        self,
        texts: Iterable[str],
        source: str | None = None,
        target: str | None = None,
        *,
        n: int = 5,
        **options: Unpack[Options],
    ) -> list[list[Translation]]:
        """The `n` best translations of each text, best first, or with `sample` so many samples, as they are drawn. A beam
        has no more than it is wide."""
        search = self._search(source, target, _check.whole(n, "n", 1), options)
        return [[_translation(one, options) for one in best] for best in _best(search, texts)]

    def score(
        self,
        sources: Iterable[str],
        targets: Iterable[str],
        source: str | None = None,
        target: str | None = None,
    ) -> list[Score]:
        """How probable targets[i] is as a translation of sources[i]; of an ensemble to the first model."""
        given, written = _check.texts(sources), _check.texts(targets)
        scorer = _core.Scorer(self._models[0], *self._languages(source, target))
        if len(given) != len(written):
            scorer.score(given, written)  # says so
        scores = []
        for first in range(0, len(given), _PAIRS):
            part = slice(first, first + _PAIRS)
            for pieces, numbers in scorer.score(given[part], written[part]):
                scores.append(Score(sum(numbers), [Token(*both) for both in zip(pieces, numbers, strict=True)]))
        return scores

    def encode(
        self,
        texts: Iterable[str],
        source: str | None = None,
        target: str | None = None,
        *,
        return_tensors: Literal["np", "pt"] = "np",
    ) -> list[Encoded]:
        """The encoder's output for each text, and what the routers of its MoE layers say, of an ensemble the first model's:
        arrays of numpy ("np"), or tensors of torch ("pt") on the CPU."""
        if return_tensors not in ("np", "pt"):
            raise UserError(f"return_tensors='{return_tensors}': choose 'np' or 'pt'")
        encoder = _core.Encoder(self._models[0], *self._languages(source, target))
        wrap = _to_torch if return_tensors == "pt" else lambda array: array
        given = _check.texts(texts)
        return [
            Encoded(tokens, wrap(states), {name: wrap(array) for name, array in routers})
            for first in range(0, len(given), _PAIRS)
            for tokens, states, routers in encoder.encode(given[first : first + _PAIRS])
        ]

    def _languages(self, source: str | None, target: str | None) -> tuple[str, str]:
        return (_check.text(self._source if source is None else source, "source"),
                _check.text(self._target if target is None else target, "target"))

    def _search(self, source: str | None, target: str | None, nbest: int, options: Mapping[str, Any]) -> Any:
        """Made once for the same languages and options: it may read a shortlist, or lay out weights."""
        language = self._languages(source, target)
        options = _lasting(options)
        made = _core_options(nbest, options)
        key = (language, nbest, repr(sorted(options.items(), key=lambda item: item[0])))
        search = self._made.get(key)
        if search is None:  # or another thread has just cleared what is kept
            if len(self._made) >= _KEPT:
                self._made.clear()
            search = self._made[key] = _core.Translator(self._models, *language, made)
            _warn_of_untrained(self.directions, "-".join(language))
        return search


def set_threads(threads: int) -> None:
    """Threads that one computation takes, in the whole process, torch's included; 0: one for each core that the process may
    use."""
    _core.set_threads(_check.whole(threads, "threads"))


# Of a process that forks, the child has none of the threads that OpenMP waits for.
os.register_at_fork(after_in_child=lambda: _core.set_threads(1))

_TEXTS = 8192  # of a list, translated together: enough for batches of one length, and not all that a list may hold
_PAIRS = 1024  # scored or encoded at a time: between them Ctrl-C is noticed
_KEPT = 16

_KINDS = typing.get_type_hints(Options)
_OF_SAMPLE = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "epsilon": 0.0, "seed": 1}


def _warn_of_untrained(trained: list[str], direction: str) -> None:
    if trained and direction not in trained:
        more = f" and {len(trained) - 12} more" if len(trained) > 12 else ""
        warnings.warn(f"this model was trained to translate {', '.join(trained[:12])}{more}, not {direction}", stacklevel=4)


def _lasting(options: Mapping[str, Any]) -> dict[str, Any]:
    """Looked at, and as lists and strings what says nothing of itself, and may be read only once."""
    return {name: _lasting_option(name, value) for name, value in options.items()}


def _lasting_option(name: str, value: Any) -> Any:
    if name not in _KINDS:
        near = difflib.get_close_matches(name, _KINDS, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(_KINDS)}"
        raise UserError(f"unknown option '{name}': {hint}")
    kind = _KINDS[name]
    if name == "terms":
        return _pairs(value)
    if name == "shortlist":
        return _check.path(value, name)
    if name == "seed":
        return _check.whole(value, name, 0, 2**64 - 1)
    if kind is int:
        return _check.whole(value, name)
    if kind is float:
        return _check.real(value, name)
    if kind is bool:
        if not isinstance(value, bool):
            raise UserError(f"{name} is True or False, not {value!r}")
        return value
    return _check.text(value, name)


def _pairs(terms: Any) -> list[tuple[str, str]]:
    if isinstance(terms, Mapping):
        terms = terms.items()
    _check.no_letters(terms, "terms")
    made = []
    for number, pair in enumerate(terms, 1):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise UserError(f"term {number} is a phrase and its translation, not {pair!r}")
        made.append((_check.text(pair[0], f"term {number}"), _check.text(pair[1], f"term {number}")))
    return made


def _core_options(nbest: int, options: Mapping[str, Any]) -> Any:
    made = _core.Options()
    made.nbest = nbest
    for name, value in options.items():
        if name in _OF_SAMPLE and not options.get("sample"):
            raise UserError(f"{name} is of sample=True, which is missing")
        if name not in ("sample", "mbr", "candidates", *_OF_SAMPLE):
            setattr(made, name, value)
    if options.get("sample"):
        made.sample(**{name: options.get(name, default) for name, default in _OF_SAMPLE.items()})
    if "candidates" in options and "mbr" not in options:
        raise UserError("candidates is of mbr, which is missing")
    if "mbr" in options:
        made.choose_by(options["mbr"], options.get("candidates", 0))
    return made


def _best(search: Any, texts: Iterable[str], window: int = _TEXTS) -> Iterator[list[Any]]:
    """The translations of each text, of as many as `window` at a time."""
    _check.no_letters(texts)
    coming, first = iter(texts), 0
    while batch := _check.texts(itertools.islice(coming, window), first):
        yield from search.nbest(batch, first)
        first += len(batch)


def _translation(scored: Any, options: Mapping[str, Any]) -> Translation:
    return Translation(
        scored.text, scored.score, scored.log_probability,
        [Token(token.piece, token.log_probability) for token in scored.tokens],
        scored.alignment if options.get("alignment") else None, scored.ended)


def _to_torch(array: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(array)
