"""Models made of models, and what a model is: each is a command of the program, whose page says more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Sequence

from chorus import _check, _program
from chorus._check import StrPath

Paths = StrPath | Sequence[StrPath]


def inspect(model: StrPath, *, tensors: bool = False) -> dict[str, Any]:
    """What a model is made of and what it costs: "config", "languages", "vocabulary", "parameters" (by role), "layers",
    "flops", "memory_bytes"; with `tensors`, also each of "tensors". As `chorus inspect --json`."""
    return _program.run_json("inspect", _program.place(model), *_program.options(tensors=tensors), quiet=False)


def prune(
    model: StrPath,
    out: StrPath,
    *,
    keep: float,
    data: Paths,
    languages: str | Sequence[str] = (),
    directions: str | Sequence[str] = (),
    sentences: int = 0,
    by: str = "utilization",
    method: str = "auto",
    refit: bool = True,
) -> dict[str, Any]:
    """Writes the model folder `out`, with the share `keep` of the experts of each MoE layer: those that `data` needs most.

    data: aligned text, "valid.{lang}", one file for each language; or TSV files with a column for each of `languages`.
    directions: "en-de", "*-en"; by default all. sentences: of each direction, at most; 0: all.
    by: "utilization", "importance", "gate". method: "drop" the other experts, or "merge" them into similar ones; "auto"
    merges unless the model's weights are quantized. refit: correct those that stay by least squares, so that for `data`
    each layer gives what it gave before (not where weights are quantized).
    Returns what was kept, layer by layer. As `chorus prune --json`.
    """
    return _program.run_json(
        "prune", _program.place(model),
        *_program.options(out=out, keep=keep, by=by, method=method, no_refit=not refit, data=_files(data), **_which(languages, directions, sentences)))


def quantize(
    model: StrPath,
    out: StrPath,
    *,
    experts: str = "int4",
    dense: str = "int8",
    data: Paths = (),
    languages: str | Sequence[str] = (),
    directions: str | Sequence[str] = (),
    sentences: int = 0,
) -> list[dict[str, Any]]:
    """Writes the model folder `out`, with weights in "int8" or "int4" ("none": as they are): those of the experts, and the
    other ones. With `data`, as `prune` takes it, scales are chosen by what that text makes the weights compute, and what
    changed is returned direction by direction: loss, BLEU, chrF, before and after; else []. As `chorus quantize --json`."""
    words = [_program.place(model), *_program.options(out=out, experts=experts, dense=dense)]
    files = _files(data)
    if not files:
        _program.run("quantize", *words)
        return []
    return _program.run_json("quantize", *words, *_program.options(data=files, **_which(languages, directions, sentences)))


def import_model(folder: StrPath, out: StrPath, *, quantize: str | None = None) -> Path:
    """Turns a folder of transformers (NLLB-MoE, M2M100, NLLB, SMaLL-100, OPUS-MT, Switch, T5, MADLAD-400), as
    `huggingface_hub.snapshot_download` or `save_pretrained` leave it, into the model folder `out`, which it returns."""
    _program.run("import", _program.place(folder), *_program.options(out=out, quantize=quantize))
    return Path(out)


def export_model(model: StrPath, out: StrPath, *, format: str) -> Path:
    """Writes a model as transformers reads it, and returns `out`. `format`: "nllb-moe", "m2m100", "marian", "switch", "t5"."""
    _program.run("export", _program.place(model), *_program.options(out=out, format=format))
    return Path(out)


def _files(data: Paths) -> list[StrPath]:
    return [data] if isinstance(data, (str, os.PathLike)) else list(data)


def _which(languages: str | Sequence[str], directions: str | Sequence[str], sentences: int) -> dict[str, Any]:
    listed = {"languages": ",".join(_check.names(languages)), "directions": ",".join(_check.names(directions))}
    return {**{name: names or None for name, names in listed.items()}, "sentences": sentences}
