"""The package itself: what is loaded when, the command, the stubs, the vocabulary, the metrics."""

import ast
import pydoc
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

import chorus
from chorus import _build, _load, _program

from conftest import SOURCES, TARGETS, command, python

PACKAGE = Path(chorus.__file__).parent


def test_everything_is_there():
    for name in chorus.__all__:
        assert getattr(chorus, name).__doc__, name
    assert set(chorus.__all__) <= set(dir(chorus)) and chorus.__version__ == _build.VERSION
    with pytest.raises(AttributeError):
        chorus.translate


@pytest.mark.parametrize("name", ["Options", "Translation", "Encoded"])
def test_help_says_what_each_field_is(name):
    made = getattr(chorus, name)
    told = pydoc.render_doc(made, renderer=pydoc.plaintext)
    for one in set(made.__annotations__) - {"text"}:
        assert re.search(rf"^ \|  {one}: \w", told, re.M), one


def test_strict_type_checkers_see_every_name():
    imports = [node for node in ast.walk(ast.parse((PACKAGE / "__init__.py").read_text())) if isinstance(node, ast.ImportFrom)]
    assert {name.name for node in imports for name in node.names if name.asname == name.name} == set(chorus._HOME)


def test_torch_is_loaded_when_it_is_needed():
    said, errors = python("""
import sys, chorus
chorus.train, chorus.inspect, chorus.UserError
assert "torch" not in sys.modules and "numpy" not in sys.modules
chorus.Translator
assert "torch" in sys.modules and "pandas" not in sys.modules
print("ok")
""").communicate(timeout=120)
    assert said == "ok\n", errors


def test_the_command():
    process = python("import sys; from chorus._program import main; sys.argv = ['chorus', '--version']; main()")
    assert process.communicate(timeout=60) == (f"chorus {_build.VERSION}\n", "")
    process = python("import sys; from chorus._program import main; sys.argv = ['chorus', 'hepl']; main()")
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and "did you mean 'help'?" in errors and said == ""


def test_the_stub_is_that_of_the_extension():
    pytest.importorskip("nanobind")
    code = "import chorus.translator; from nanobind.stubgen import main; main(['-q', '-m', 'chorus._core', '-O', sys.argv[1]])"
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        process = python(code, folder)
        assert process.wait(60) == 0, process.stderr.read()
        made = next(Path(folder).rglob("_core.pyi")).read_text()
    assert made == (PACKAGE / "_core.pyi").read_text(), "make it anew: python/stub.sh"


@pytest.mark.parametrize(("said", "words"), [
    ("libsentencepiece.so.0: cannot open shared object file: No such file", "apt-get install libsentencepiece0"),
    ("chorus: error while loading shared libraries: libicuuc.so.72: cannot open shared object file", "libicu72"),
    ("libzstd.so.1: cannot open shared object file", "libzstd1"),
    ("libz.so.1: cannot open shared object file", "zlib1g"),
    ("libtorch_cuda.so: cannot open shared object file", f"torch {_build.TORCH}"),
])
def test_a_missing_library_is_one_line(said, words):
    line = _load.missing_library(said)
    assert words in line and "\n" not in line


@pytest.mark.parametrize(("code", "words"), [(-9, "chorus train was ended by SIGKILL"), (-40, "chorus train was ended by signal 40"),
                                             (1, "chorus train failed with exit code 1")])
def test_how_the_program_ended(code, words):
    with pytest.raises(chorus.Error, match=f"^{words}$"):
        _program._fail("train", code, [])


def test_other_errors_of_the_loader_stay_as_they_are():
    assert _load.missing_library("undefined symbol: _ZN2at") is None


def test_packages_name_every_library():
    linked = subprocess.run(["ldd", PACKAGE / "bin" / "chorus", *PACKAGE.glob("_core*.so")], capture_output=True, text=True,
                            env=_program.environment(), check=True).stdout
    assert "not found" not in linked
    core = subprocess.run(["readelf", "-d", *PACKAGE.glob("_core*.so")], capture_output=True, text=True, check=True).stdout
    assert "libsentencepiece.so" in core
    assert not any(name in core for name in ("libmpi", "jemalloc", "sentencepiece_train", "libpython"))


def test_another_torch_is_one_line():
    said, errors = python("""
import torch, chorus
torch.__version__ = "2.99.0"
try:
    chorus.Translator
except ImportError as error:
    print(error)
""").communicate(timeout=120)
    assert said.startswith(f"chorus was built with torch {_build.TORCH}") and said.count("\n") == 1, errors


def test_vocabulary(model, translator):
    vocabulary = chorus.Vocabulary(model)
    ids = vocabulary.encode("alpha beta")
    assert vocabulary.decode(ids) == "alpha beta" and [vocabulary.piece(i) for i in ids] == vocabulary.pieces("alpha beta")
    assert ids == [int(i) for i in command("vocab", "--model", model, "--encode", given="alpha beta\n").split()]
    assert translator.vocabulary.encode("alpha beta") == ids and vocabulary.encode("") == []
    assert vocabulary.languages == ["xx", "yy"] and vocabulary.piece(vocabulary.tag("yy")) == "__yy__"
    assert max(ids) < len(vocabulary)
    for wrong in (-1, len(vocabulary)):
        with pytest.raises(chorus.UserError, match="is no token"):
            vocabulary.decode([wrong])
    for wrong in ("12", [1.5], [2**40]):
        with pytest.raises(chorus.UserError, match="token"):
            vocabulary.decode(wrong)
    with pytest.raises(chorus.UserError, match="unknown language"):
        vocabulary.encode("a", "zz")


def test_metrics():
    sacrebleu = pytest.importorskip("sacrebleu")
    draw = random.Random(1)
    made = [" ".join(draw.sample(line.split(), 3)) + "." for line in TARGETS]
    wanted = [line + "." for line in TARGETS]
    assert chorus.bleu(made, wanted) == pytest.approx(sacrebleu.corpus_bleu(made, [wanted]).score)
    assert chorus.bleu(made, wanted, tokenizer="char") == pytest.approx(
        sacrebleu.corpus_bleu(made, [wanted], tokenize="char").score)
    assert chorus.chrf(made, wanted) == pytest.approx(sacrebleu.corpus_chrf(made, [wanted]).score)
    assert chorus.chrf(made, wanted, word_order=2) == pytest.approx(sacrebleu.corpus_chrf(made, [wanted], word_order=2).score)
    with pytest.raises(chorus.UserError):
        chorus.bleu(made, wanted[1:])
    with pytest.raises(chorus.UserError, match="a string is a list of letters"):
        chorus.bleu("alpha", "alpha")
    for order in (-1, 10**9):
        with pytest.raises(chorus.UserError, match="word order"):
            chorus.chrf(made, wanted, word_order=order)
    with pytest.raises(chorus.UserError, match="moses"):
        chorus.bleu(made, wanted, tokenizer="moses")


def test_threads():
    chorus.set_threads(2)
    chorus.set_threads(1)
    with pytest.raises(chorus.UserError):
        chorus.set_threads(-1)
