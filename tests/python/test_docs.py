"""The code of docs/how-to/python.md, from top to bottom, and the examples."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import chorus

from conftest import run_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the pages take: runs/mine, and one that can be exported; the text they were made of."""
    folder = tmp_path_factory.mktemp("page")
    text = folder / "corpora/mine"
    text.mkdir(parents=True)
    english = "a the man woman dog child house runs sits reads The A price is".split()
    german = "ein der Mann Frau Hund Kind Haus rennt sitzt liest Der Ein Preis ist".split()
    rows = [[i % 14, i // 14 % 14, i * 5 % 14] for i in range(200)]
    for language, words in (("en", english), ("de", german)):
        lines = [" ".join(words[w] for w in row) + ".\n" for row in rows]
        for name, part in (("train", lines), ("valid", lines[:20]), ("test", lines[20:30])):
            (text / f"{name}.{language}").write_text("".join(part))
    languages = {"languages": ["en", "de"]}
    run = run_of(text, data={"train": [{"files": f"{text}/train.{{lang}}", **languages}], "batch_tokens": 256, "max_length": 24,
                             "valid": [{"files": f"{text}/valid.{{lang}}", **languages}]},
                 train={"duration": "4u", "log_every": 2}, validation={"every": 2}, vocabulary={"size": 300})
    for name in ("mine", "exportable"):
        chorus.train(run, folder / "runs" / name, quiet=True)
    import tomli_w
    (folder / "RUN.toml").write_text(tomli_w.dumps(run))
    return folder


def test_the_page(folder, monkeypatch):
    monkeypatch.chdir(folder)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/how-to/python.md").read_text(), re.M | re.S)
    assert len(blocks) > 5
    names = {}
    for block in blocks:
        exec(compile(block, f"docs/how-to/python.md: {block.splitlines()[0]}", "exec"), names)
    assert (folder / "small" / "config.json").exists()


def example(folder, name, *words, given=""):
    done = subprocess.run([sys.executable, ROOT / f"python/examples/{name}.py", *words], cwd=folder, input=given,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_examples(folder):
    said = example(folder, "translate_file", "runs/mine", "en", "de", given="The man reads.\n\nA dog runs.\n")
    assert len(said.splitlines()) == 3
    said = example(folder, "compare_models", "en", "de", "corpora/mine/test.en", "corpora/mine/test.de", "runs/mine",
                   "runs/exportable")
    assert said.count("BLEU") == 2 and said.count("reference") == 3
    said = example(folder, "experts_of_words", "runs/mine", "en", "de", "The man reads.")
    assert "encoder.layers.1" in said and "</s>" in said
    said = example(folder, "train_and_watch", "RUN.toml", "runs/watched")
    assert "validation loss" in said and "weights in runs/watched" in said
