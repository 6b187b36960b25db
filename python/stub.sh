#!/bin/sh
# Writes chorus/_core.pyi anew, from the extension of a development build.
set -e
cd "$(dirname "$0")/.."
cmake --install build/release --component python --prefix build/release/python-package
PYTHONPATH=build/release/python-package .venv/bin/python -c "import chorus.translator; from nanobind.stubgen import main; main(['-q', '-m', 'chorus._core', '-O', 'python/chorus'])"
