"""Training: the program in a process of its own, and what it records."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Mapping

from chorus import _program
from chorus._check import StrPath
from chorus._errors import UserError

if TYPE_CHECKING:
    import pandas


def train(
    run: StrPath | Mapping[str, Any],
    out: StrPath | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], Any] | None = None,
    accept_changes: bool = False,
    quiet: bool = False,
) -> Path:
    """Trains what a run file says, and returns the run's folder, which `Translator` takes. The same call again goes on.

    run: a run file, or its contents as a dict ({"data": {"train": [{"files": "train.{lang}", ...}]}, "moe": {...}}).
    out: the run's folder; of a file by default runs/ and its name.
    settings: options that go before the file's: {"train.duration": "5e"}.
    callback: is given each record of metrics.jsonl as it is written, as a dict; returning False ends the training.
    accept_changes: go on with a run whose settings or text have changed.
    quiet: only warnings on sys.stderr.

    It trains in a process of its own: `chorus train`, whose memory goes back when it ends. On Ctrl-C, and when the callback
    raises or returns False, everything is saved first. For many processes there is `mpirun chorus train`.
    """
    words = [word for name, value in (settings or {}).items() for word in ("--set", f"{name}={_toml_value(value)}")]
    words += _program.options(accept_changes=accept_changes)
    on_line: Callable[[str], Any] | None = None
    if callback is not None:
        words.append("--records")
        on_line = lambda line: callback(json.loads(line))  # noqa: E731
    if not isinstance(run, Mapping):
        folder = Path(out) if out is not None else Path("runs") / Path(run).stem
        _program.run("train", _program.place(run), *_program.options(out=folder), *words, quiet=quiet, on_line=on_line)
        return folder
    if out is None:
        raise UserError("train(dict, out): name the folder of the run")
    import tomli_w

    with tempfile.TemporaryDirectory(prefix="chorus-") as scratch:
        file = Path(scratch) / "run.toml"
        try:
            file.write_text(tomli_w.dumps(run), encoding="utf-8")
        except (TypeError, ValueError) as error:
            raise UserError(f"train(dict): it cannot be written as a run file: {error}") from error
        _program.run("train", file, *_program.options(out=out), *words, quiet=quiet, on_line=on_line)
    return Path(out)


def load_metrics(run: StrPath, kind: str | None = "train") -> pandas.DataFrame:
    """The records of a run (docs/files.md) as a pandas frame with a row for each, in order of updates; what is nested has
    columns like "memory.device_peak". `kind`: "train", "validation", or None for both."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("load_metrics makes a frame of pandas, which is not here: pip install pandas") from error
    file = Path(run) / "metrics.jsonl"
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; a run has it from its first update on") from error
    records = [json.loads(line) for line in lines[:-1]]  # the last may be on its way
    return pandas.json_normalize([record for record in records if kind in (None, record["kind"])])


def _toml_value(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (bool, list)) else str(value)
