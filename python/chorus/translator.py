"""Models that are there: translating, scoring, and what the encoder makes of a text."""

from __future__ import annotations

import difflib
import itertools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Literal, Mapping, NamedTuple, Sequence, TypedDict, overload

from chorus._errors import UserError
from chorus._load import load_core
from chorus.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    import torch
    from typing_extensions import Unpack

_core = load_core()

StrPath = str | os.PathLike


class Options(TypedDict, total=False):
    """How `Translator` searches, as options by name; each is that of `chorus translate`."""

    beam: int  # hypotheses looked at together; 1: greedy. 5
    length_penalty: float  # above 0 prefers long translations. 1
    min_length: int  # tokens at least, tag and end counted. 0
    no_repeat_ngram: int  # above 0: no run of so many tokens occurs twice. 0
    diversity: float  # above 0: what a hypothesis loses where those before it have taken the same word. 0
    sentences: bool  # translate every sentence of a text by itself. False
    terms: Mapping[str, str] | Iterable[tuple[str, str]]  # where a text has the first phrase, its translation has the second
    keep: str  # regular expression (ICU's): what it matches is in the translation as it is
    alignment: bool  # fill in Translation.alignment. False
    shortlist: StrPath  # file of `chorus shortlist`: only pieces of the target language, which is faster
    sample: bool  # draw translations instead of searching for the best. False
    temperature: float  # of sample: below 1 keeps closer to what is probable. 1
    top_k: int  # of sample: draw from the k most probable tokens; 0: all. 0
    top_p: float  # of sample: from the most probable ones that have this probability together. 1
    epsilon: float  # of sample: only tokens of this probability. 0
    seed: int  # of sample: the same one draws the same translations of the same texts. 1
    mbr: Literal["chrf", "bleu"]  # choose, of several candidates, the one most like the others
    candidates: int  # of mbr. 64


class Token(NamedTuple):
    piece: str  # as the vocabulary writes it: "▁the", "</s>"
    log_probability: float


@dataclass(frozen=True)
class Translation:
    text: str
    score: float  # sum of log-probabilities over tokens ** length_penalty; with mbr the mean, 0 to 100
    log_probability: float  # the sum over the tokens
    tokens: list[Token] = field(repr=False)
    alignment: list[tuple[int, int]] | None = field(repr=False)  # words of the text and of the translation, from 0
    ended: bool = True  # False: cut at the longest length

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Score:
    """How probable a translation is."""

    log_probability: float  # natural logarithm, summed over the tokens
    tokens: list[Token] = field(repr=False)  # the pieces and the end


@dataclass(frozen=True)
class Encoded:
    """What the encoder makes of a text."""

    tokens: list[str]  # tag, pieces, end
    states: np.ndarray | torch.Tensor = field(repr=False)  # fp32 [tokens, d_model]: the encoder's output
    # By the name of an MoE layer of the encoder, "encoder.layers.1": fp32 [tokens, experts], each token's sum to 1.
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
        paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
        if not paths:
            raise UserError("a Translator has one model or several, not none")
        if memory is not None and len(paths) > 1:
            raise UserError("memory is for one model, not for an ensemble")
        most = _core.parse_memory(memory) if isinstance(memory, str) else memory or 0
        self._models = [_core.Model(os.fspath(one), device, precision, most) for one in paths]
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
            return _translation(search.nbest([texts], 0)[0][0], options)
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
        if window < 1:
            raise UserError(f"a window of {window} texts: it holds one at least")
        _check_list(texts)
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
        search = self._search(source, target, n, options)
        return [[_translation(one, options) for one in best] for best in _best(search, texts)]

    def score(
        self,
        sources: Iterable[str],
        targets: Iterable[str],
        source: str | None = None,
        target: str | None = None,
    ) -> list[Score]:
        """How probable targets[i] is as a translation of sources[i]; of an ensemble to the first model."""
        given, written = _list(sources), _list(targets)
        language = self._languages(source, target)
        scorer = _core.Scorer(self._models[0], *language)
        if len(given) != len(written):
            scorer.score(given, written)  # says so
        vocabulary = self.vocabulary
        scores = []
        for first in range(0, len(given), _PAIRS):
            part = slice(first, first + _PAIRS)
            for text, numbers in zip(written[part], scorer.score(given[part], written[part])):
                pieces = [*vocabulary.pieces(text, language[1]), "</s>"]
                scores.append(Score(sum(numbers), [Token(*both) for both in zip(pieces, numbers)]))
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
        given = _list(texts)
        return [
            Encoded(tokens, wrap(states), {name: wrap(array) for name, array in routers})
            for first in range(0, len(given), _PAIRS)
            for tokens, states, routers in encoder.encode(given[first : first + _PAIRS])
        ]

    def _languages(self, source: str | None, target: str | None) -> tuple[str, str]:
        return (self._source if source is None else source, self._target if target is None else target)

    def _search(self, source: str | None, target: str | None, nbest: int, options: Mapping[str, Any]) -> Any:
        """Made once for the same languages and options: it may read a shortlist, or lay out weights."""
        language = self._languages(source, target)
        options = _lasting(options)
        made = _core_options(nbest, options)
        key = (language, nbest, repr(sorted(options.items(), key=lambda item: item[0])))
        if key not in self._made:
            if len(self._made) >= _KEPT:
                self._made.clear()
            self._made[key] = _core.Translator(self._models, *language, made)
        return self._made[key]


def set_threads(threads: int) -> None:
    """Threads that one computation takes, in the whole process, torch's included; 0: one for each core that the process may
    use."""
    _core.set_threads(threads)


_TEXTS = 8192  # of a list, translated together: enough for batches of one length, and not all that a list may hold
_PAIRS = 1024  # scored or encoded at a time: between them Ctrl-C is noticed
_KEPT = 16

_OF_SAMPLE = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "epsilon": 0.0, "seed": 1}


def _lasting(options: Mapping[str, Any]) -> dict[str, Any]:
    """As lists and strings what says nothing of itself, and may be read only once."""
    made = dict(options)
    if "terms" in made:
        terms = made["terms"]
        made["terms"] = [(a, b) for a, b in (terms.items() if isinstance(terms, Mapping) else terms)]
    if "shortlist" in made:
        made["shortlist"] = os.fspath(made["shortlist"])
    return made


def _core_options(nbest: int, options: Mapping[str, Any]) -> Any:
    known = Options.__annotations__
    made = _core.Options()
    made.nbest = nbest
    for name, value in options.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"
            raise UserError(f"unknown option '{name}': {hint}")
        if name in _OF_SAMPLE and not options.get("sample"):
            raise UserError(f"{name} is of sample=True, which is missing")
        if name not in ("sample", "mbr", "candidates", *_OF_SAMPLE):
            setattr(made, name, value)
    if options.get("sample"):
        made.sample(**{name: options.get(name, default) for name, default in _OF_SAMPLE.items()})
    if "candidates" in options and "mbr" not in options:
        raise UserError("candidates is of mbr, which is missing")
    if "mbr" in options:
        made.choose_by(options["mbr"], options.get("candidates", 64))
    return made


def _best(search: Any, texts: Iterable[str], window: int = _TEXTS) -> Iterator[list[Any]]:
    """The translations of each text, of as many as `window` at a time."""
    _check_list(texts)
    coming, first = iter(texts), 0
    while batch := _list(itertools.islice(coming, window), first):
        yield from search.nbest(batch, first)
        first += len(batch)


def _check_list(texts: Iterable[str]) -> None:
    if isinstance(texts, str):
        raise UserError("give a list of texts; a string is a list of letters")


def _list(texts: Iterable[str], first: int = 0) -> list[str]:
    _check_list(texts)
    made = list(texts)
    for number, text in enumerate(made, first + 1):
        if not isinstance(text, str):
            raise UserError(f"text {number} is {type(text).__name__}, not str")
    return made


def _translation(scored: Any, options: Mapping[str, Any]) -> Translation:
    return Translation(
        scored.text, scored.score, scored.log_probability,
        [Token(token.piece, token.log_probability) for token in scored.tokens],
        scored.alignment if options.get("alignment") else None, scored.ended)


def _to_torch(array: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(array)
