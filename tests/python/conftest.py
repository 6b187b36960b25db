"""Tiny models, made once: text of three words and their reverse."""

import subprocess
import sys
from pathlib import Path

import pytest

import chorus
from chorus import _program

STARTER = Path(__file__).parents[2] / "models" / "help-24"
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()
PAIRS = [(f"{WORDS[i % 10]} {WORDS[i // 10 % 10]} {WORDS[i * 7 % 10]}", i) for i in range(300)]
SOURCES = [text for text, _ in PAIRS]
TARGETS = [" ".join(reversed(text.split())) for text in SOURCES]


def run_of(folder, **sections):
    """A run file as a dict, over train.xx and train.yy in the folder."""
    return {
        "threads": 1,
        "data": {"train": [{"files": f"{folder}/train.{{lang}}", "languages": ["xx", "yy"]}], "batch_tokens": 512,
                 "max_length": 24},
        "vocabulary": {"size": 290},
        "model": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "attention_heads": 2, "ffn_dim": 64,
                  "max_positions": 64},
        "moe": {"experts": 4, "encoder_every": 2, "decoder_every": 2, "top_k": 2, "gate_normalization": "after_drop"},
        "optim": {"learning_rate": 5e-3, "warmup": "20u"},
        "train": {"duration": "60u", "log_every": 20},
        **sections,
    }


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for language, lines in (("xx", SOURCES), ("yy", TARGETS)):
        (folder / f"train.{language}").write_text("".join(line + "\n" for line in lines))
    return folder


@pytest.fixture(scope="session")
def trained(text, tmp_path_factory):
    """(the run's folder, the records that the callback was given)"""
    records = []
    out = chorus.train(run_of(text), tmp_path_factory.mktemp("runs") / "run", callback=records.append, quiet=True)
    return out, records


@pytest.fixture(scope="session")
def model(trained):
    return trained[0]


@pytest.fixture(scope="session")
def translator(model):
    chorus.set_threads(1)
    return chorus.Translator(model, source="xx", target="yy")


def command(*words, given=""):
    """What the program answers on standard output."""
    done = subprocess.run([_program.PROGRAM, *map(str, words)], input=given, capture_output=True, text=True,
                          env=_program.environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(code, *arguments, **options):
    """Runs Python code in a process of its own, with the package as it is here."""
    package = str(Path(chorus.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {package!r})\n{code}", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
