"""Loads the extension, onto the torch of this environment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chorus import _build

if TYPE_CHECKING:
    from types import ModuleType

# The Debian packages of the libraries that the extension and the program link.
PACKAGES = {
    "libsentencepiece": "libsentencepiece0", "libicu": "libicu72", "libfmt": "libfmt9", "libtomlplusplus": "libtomlplusplus3",
    "libzstd": "libzstd1", "libz": "zlib1g", "liburing": "liburing2", "libjemalloc": "libjemalloc2", "libmpi": "libopenmpi3"}


def missing_library(message: str) -> str | None:
    """One line for what the dynamic loader says when a library is missing, or None when it says something else."""
    found = re.search(r"((lib[a-z]+)[\w.+-]*\.so[\w.]*): cannot open shared object file", message)
    if not found:
        return None
    library, name = found[1], found[2]
    package = next((package for start, package in PACKAGES.items() if name.startswith(start)), None)
    how = f"apt-get install {package}" if package else f"reinstall chorus, which was built with torch {_build.TORCH}"
    return f"chorus needs {library}, which is not here: {how}"


def load_core() -> ModuleType:
    """The extension. ImportError, one line, when torch or a library is not there, or is not the one it was built with."""
    try:
        import torch  # its libraries are now loaded, and the extension finds them by name
    except ImportError as error:
        raise ImportError(f"chorus needs torch {_build.TORCH}, which cannot be imported: {error}") from error
    release = torch.__version__.split("+")[0].rsplit(".", 1)[0]
    cuda = torch.version.cuda is not None
    if release != _build.TORCH.rsplit(".", 1)[0] or (_build.CUDA and not cuda):
        kind = " for CUDA" if _build.CUDA else ""
        raise ImportError(
            f"chorus was built with torch {_build.TORCH}{kind}, and this environment has {torch.__version__}: install chorus "
            "again (pip install --force-reinstall --no-deps .), or that torch")
    try:
        from chorus import _core
    except ImportError as error:
        raise ImportError(missing_library(str(error)) or str(error)) from error
    return _core
