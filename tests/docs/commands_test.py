#!/usr/bin/env python3
"""Runs the commands of the pages for users, so that no page names an option or a path that is not there.

usage: commands_test.py --chorus PATH_OF_CHORUS [--page how-to/pruning.md]... [--list]

The pages are README.md (its section "Your own text"), docs/first-model.md and docs/how-to/*.md. Of their fenced blocks

  ```sh                      is run by bash, which stops at the first command that fails
  ```sh (not run: REASON)    is not; the reason is printed
  ```toml                    is written to the file that its first line names (`# RUN.toml`). Without a name it is a piece of
                             a run file: its options must be known
  ```console                 is a picture of a terminal, and not run
  ```python                  is run by tests/python/test_docs.py

and any other block is an error. Each page has a folder of its own. README's and the tutorial's hold made-up text (prepare_*);
those of the how-to pages are copies of the one that the tutorial left, since they go on from it. The `chorus` that the
commands find is the real one, which gets a few more --set: a tiny model and a few updates, whatever the run file says.

Two reference pages are held against the program too: docs/commands.md names every command, and no option that a command does
not have; docs/files.md names every file of a run's folder and every key of metrics.jsonl.
"""
import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SECONDS_OF_A_BLOCK = 120

# What every training of the pages gets, and what only those that begin with no other model's weights may get.
SHORT = ["threads=1", "data.batch_tokens=256", "train.duration=8u", "train.checkpoint_every=4", "train.log_every=4",
         "optim.warmup=2u", "validation.every=4", "validation.sentences=20"]
TINY = ["model.d_model=16", "model.encoder_layers=2", "model.decoder_layers=2", "model.attention_heads=2", "model.ffn_dim=32",
        "vocabulary.size=0"]
# Open MPI: more ranks than cores, and by root where CI is.
MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
       "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMPI_MCA_mpi_yield_when_idle": "1"}

WORDS = {
    "en": "a the man woman dog child house street red blue old small runs sits reads plays in on with near".split(),
    "de": "ein der Mann Frau Hund Kind Haus Strasse rot blau alt klein rennt sitzt liest spielt in auf mit bei".split(),
    "fr": "un le homme femme chien enfant maison rue rouge bleu vieux petit court assis lit joue dans sur avec pres".split(),
    "nl": "een de man vrouw hond kind huis straat rood blauw oud klein rent zit leest speelt in op met bij".split(),
}


class PageError(Exception):
    """A page is wrong."""


def write_text(folder, languages, counts, seed):
    """counts: {"train": 400}; files train.en, train.de of so many lines that say the same, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    for part, lines in counts.items():
        rows = [[draw.randrange(20) for _ in range(draw.randint(4, 9))] + [i] for i in range(lines)]
        for language in languages:
            words = WORDS[language]
            text = "".join(" ".join([*(words[w] for w in row[:-1]), str(row[-1])]) + ".\n" for row in rows)
            (folder / f"{part}.{language}").write_text(text)


def prepare_readme(folder):
    write_text(folder / "corpora/mine", ["en", "de", "fr"], {"train": 400, "valid": 30}, 1)
    write_text(folder, ["en", "de"], {"test": 20}, 2)
    (folder / "test.en").rename(folder / "source.en")
    (folder / "test.de").rename(folder / "reference.de")


def prepare_tutorial(folder):
    write_text(folder / "raw", ["en", "de"], {"text": 1600}, 3)


def prepare_how_to(folder):
    """What the how-to pages take besides the tutorial's folder."""
    for part in ("valid", "test"):  # fewer lines than the tutorial sets aside: they are translated often
        for language in ("en", "de"):
            path = folder / f"corpora/mine/{part}.{language}"
            path.write_text("".join(path.read_text().splitlines(keepends=True)[:20]))
    write_text(folder / "corpora/medical", ["en", "de"], {"train": 200, "valid": 20}, 4)
    write_text(folder / "corpora/nl", ["en", "nl"], {"train": 200, "valid": 20}, 5)
    write_text(folder / "corpora/mono", ["de"], {"text": 40}, 6)
    (folder / "corpora/mono/text.de").rename(folder / "corpora/mono/de")


def prepare_hugging_face(folder):
    """What makes a folder as the hub has it: of a model that knows languages by NLLB's names, in transformers' form."""
    for language, name in (("en", "eng_Latn"), ("de", "deu_Latn")):
        shutil.copy(folder / f"corpora/mine/train.{language}", folder / f"nllb.{name}")
    (folder / "nllb.toml").write_text('[[data.train]]\nfiles = "nllb.{lang}"\nlanguages = ["eng_Latn", "deu_Latn"]\n')
    return "chorus train nllb.toml --out nllb-run -q; chorus export nllb-run --format m2m100 --out nllb-200-distilled-600M -q"


def blocks_of(path):
    """(line, info, text) of each fenced block; one in a list item may be indented."""
    found, begin = [], None
    lines = path.read_text().splitlines()
    if path.name == "README.md":
        first = lines.index("## Your own text")
        last = next(i for i in range(first + 1, len(lines)) if lines[i].startswith("## "))
        lines = [*([""] * first), *lines[first:last]]
    for number, line in enumerate(lines, 1):
        fence = re.match(r"( *)```(.*)$", line)
        if fence and begin is None:
            begin, indent, info, text = number, len(fence.group(1)), fence.group(2).strip(), []
        elif fence:
            found.append((begin, info, "".join(text)))
            begin = None
        elif begin is not None:
            text.append(line[indent:] + "\n")
    if begin is not None:
        raise PageError(f"{path}:{begin}: the block has no end")
    return found


def make_wrapper(folder, chorus):
    """The `chorus` that the pages' commands find."""
    folder.mkdir(parents=True)
    short, tiny = (" ".join(f"--set {x}" for x in options) for options in (SHORT, TINY))
    wrapper = folder / "chorus"
    wrapper.write_text(f"""#!/bin/bash
case $1 in
  train | plan)
    tiny="{tiny}"
    for word in "$@"; do
      case $word in
        train.init=*) tiny= ;;
        *.toml) grep -q '^init *=' "$word" && tiny= ;;
      esac
    done
    exec '{chorus}' "$@" {short} $tiny
    ;;
  *) exec '{chorus}' "$@" ;;
esac
""")
    wrapper.chmod(0o755)


class Pages:
    def __init__(self, chorus, work):
        self.chorus, self.work, self.failed, self.ran, self.skipped = chorus, work, 0, 0, []
        make_wrapper(work / "bin", chorus)
        self.environment = {**os.environ, **MPI, "PATH": f"{work / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
                            "GOMP_SPINCOUNT": "2000", "LC_ALL": "C.UTF-8"}

    def bash(self, folder, text):
        """"" or what went wrong."""
        try:
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=self.environment, text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=SECONDS_OF_A_BLOCK)
        except subprocess.TimeoutExpired:
            return f"it ran for more than {SECONDS_OF_A_BLOCK} s"
        return "" if done.returncode == 0 else f"exit code {done.returncode}:\n{done.stdout[-3000:]}"

    def complain(self, path, line, what):
        print(f"{path.relative_to(ROOT)}:{line}: {what}", file=sys.stderr)
        self.failed += 1

    def toml(self, path, folder, line, text):
        name = re.match(r"# ([\w.-]+\.toml)$", text.split("\n", 1)[0])
        file = folder / (name.group(1) if name else "piece.toml")
        file.write_text(text)
        done = subprocess.run([self.chorus, "train", file, "--dump-config"], cwd=folder, env=self.environment, text=True,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if done.returncode != 0:
            self.complain(path, line, done.stderr.strip())

    def run_page(self, path, folder):
        began = time.monotonic()
        for line, info, text in blocks_of(path):
            if info == "sh":
                wrong = self.bash(folder, text)
                self.ran += 1
                if wrong:
                    self.complain(path, line, f"{text}{wrong}")
                    break  # what follows goes on from it
            elif match := re.fullmatch(r"sh \(not run: (.+)\)", info):
                self.skipped.append(f"{path.relative_to(ROOT)}:{line}: {match.group(1)}")
            elif info == "toml":
                self.toml(path, folder, line, text)
            elif info not in {"console", "python"}:
                self.complain(path, line, f"a block of '{info}': this test knows sh, sh (not run: REASON), toml, console and python")
        print(f"{path.relative_to(ROOT)}: {time.monotonic() - began:.1f} s", flush=True)

    # ---- reference pages ----

    def says(self, *arguments):
        return subprocess.run([self.chorus, *arguments], env=self.environment, text=True, check=True, capture_output=True).stdout

    def check_commands(self):
        path = DOCS / "commands.md"
        sections, name = {}, None
        for line, text in enumerate(path.read_text().splitlines(), 1):
            if heading := re.fullmatch(r"### `chorus ([a-z ]+)`", text):
                name = heading.group(1)
                sections[name] = (line, [])
            elif text.startswith("#"):
                name = None
            elif name:
                sections[name][1].extend(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))
        listed = set(re.findall(r"^  ([a-z]+) {2,}\S", self.says("help"), re.M)) - {"help"}
        if missing := sorted(listed - {name.split()[0] for name in sections}):
            self.complain(path, 1, f"commands without a section: {', '.join(missing)}")
        for name, (line, options) in sections.items():
            known = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", self.says(*name.split(), "--help").split("Options of the run file")[0]))
            if unknown := sorted(set(options) - known):
                self.complain(path, line, f"`chorus {name}` has no {', '.join(unknown)}")

    def check_files(self, run):
        path = DOCS / "files.md"
        named = set(re.findall(r"`([^`\n]+)`", path.read_text()))
        patterns = [re.sub(r"NAME|HASH|STEP|\.\.\.", "*", name).rstrip("/") for name in named if re.search(r"\w", name)]
        for file in sorted(run.rglob("*")):
            if not any(file.match(pattern) for pattern in patterns):
                self.complain(path, 1, f"nothing about {file.relative_to(run)} of a run's folder")
        wanted = set()
        for text in (run / "metrics.jsonl").read_text().splitlines():
            record = json.loads(text)
            wanted |= set(record)
            layers = record.get("layers", [])
            for inner in [*(layers.values() if isinstance(layers, dict) else layers), record.get("memory", {}),
                          *record.get("directions", {}).values(), *record.get("tasks", {}).values()]:
                wanted |= set(inner)
        if missing := sorted(wanted - named):
            self.complain(path, 1, f"nothing about these keys of metrics.jsonl: {', '.join(missing)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chorus", required=True, help="path of the program")
    parser.add_argument("--page", action="append", default=[], help="of docs/how-to these alone (how-to/pruning.md)")
    parser.add_argument("--list", action="store_true", help="only say what is not run, and why")
    options = parser.parse_args()
    how_to = sorted((DOCS / "how-to").glob("*.md"))
    if options.page:
        how_to = [DOCS / page for page in options.page]
    if options.list:
        for path in [ROOT / "README.md", DOCS / "first-model.md", *how_to]:
            for line, info, _ in blocks_of(path):
                if "not run" in info:
                    print(f"{path.relative_to(ROOT)}:{line}: {info}")
        return 0
    with tempfile.TemporaryDirectory(prefix="chorus-docs-") as work:
        work = Path(work)
        pages = Pages(str(Path(options.chorus).resolve()), work)
        readme, tutorial = work / "readme", work / "tutorial"
        prepare_readme(readme)
        prepare_tutorial(tutorial)
        pages.run_page(ROOT / "README.md", readme)
        pages.run_page(DOCS / "first-model.md", tutorial)
        if pages.failed:
            return 1
        pages.check_commands()
        pages.check_files(tutorial / "runs/mine")
        prepare_how_to(tutorial)
        for path in how_to:
            folder = work / path.stem
            shutil.copytree(tutorial, folder)
            if path.stem == "hugging-face":
                if wrong := pages.bash(folder, prepare_hugging_face(folder)):
                    pages.complain(path, 1, f"what it needs was not made: {wrong}")
            pages.run_page(path, folder)
            shutil.rmtree(folder)
        print(f"{pages.ran} blocks ran, {pages.failed} mistakes; not run:")
        print("\n".join(f"  {line}" for line in pages.skipped))
        return 1 if pages.failed else 0


if __name__ == "__main__":
    sys.exit(main())
