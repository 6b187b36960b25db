"""chorus: sparse mixture-of-experts translation models, from Python.

    import chorus

    translator = chorus.Translator("runs/mine", source="en", target="de")
    for translation in translator.translate(["Good morning.", "How are you?"]):
        print(translation.text, translation.score)

Models that are there are run in this process, by the same code as `chorus translate`. What trains or writes models
(`train`, `prune`, `quantize`, `import_model`, `export_model`) and `inspect` run the program `chorus`, which comes with the
package, in a process of its own. What fails raises `Error`, or `UserError` where the caller can mend it.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from chorus._errors import Error, UserError

if TYPE_CHECKING:  # "as": what is not imported so is not exported to a strict type checker
    from chorus._build import VERSION as __version__
    from chorus.metrics import bleu as bleu, chrf as chrf
    from chorus.models import export_model as export_model, import_model as import_model, inspect as inspect
    from chorus.models import prune as prune, quantize as quantize
    from chorus.training import load_metrics as load_metrics, train as train
    from chorus.translator import Encoded as Encoded, Options as Options, Score as Score, Token as Token
    from chorus.translator import Translation as Translation, Translator as Translator, set_threads as set_threads
    from chorus.vocabulary import Vocabulary as Vocabulary

# Threads of OpenMP that wait spin, by default for so long that several busy processes on a machine slow each other down. The
# runtime, which comes with torch, reads this when it is loaded; the program sets it as well.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# Loaded when they are first asked for: torch takes a second or two, and what runs the program does not need it.
_HOMES = {
    "metrics": ("bleu", "chrf"),
    "models": ("export_model", "import_model", "inspect", "prune", "quantize"),
    "training": ("load_metrics", "train"),
    "translator": ("Encoded", "Options", "Score", "Token", "Translation", "Translator", "set_threads"),
    "vocabulary": ("Vocabulary",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["Error", "UserError", "__version__"]
__all__ += sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = importlib.import_module("chorus._build").VERSION
    elif name in _HOME:
        value = getattr(importlib.import_module(f"chorus.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'chorus' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
