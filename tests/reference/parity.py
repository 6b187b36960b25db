"""What the comparisons with Hugging Face transformers share: the Python that has it, the program, counting, text."""

import argparse
import contextlib
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
PACKAGES = ("transformers", "sentencepiece", "safetensors", "numpy")
TOLERANCE = 1e-4
TIE = 1e-5  # of two experts' probabilities


def run_inside(venv):
    """Starts this script again under the Python of `venv`, which has transformers."""
    python = venv / "bin/python"
    imports = "import torch, transformers, sentencepiece, safetensors, numpy; assert transformers.__version__[:4] == '4.57'"
    ready = python.exists() and subprocess.run([python, "-c", imports], capture_output=True)
    if not ready or ready.returncode != 0:
        wanted = [line for line in REQUIREMENTS.read_text().split("\n") if line.startswith(PACKAGES)]
        print(f"installing {' '.join(wanted)} into {venv}", flush=True)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="warning")
    os.execv(python, [str(python), *sys.argv, "--inside"])


def start(description, numbers):
    """The arguments, and the programs to compare, in the Python that has transformers."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chorus", type=Path, default=Path("build/release/chorus"))
    parser.add_argument("--venv", type=Path, default=Path(".venv"))
    parser.add_argument("--keep", type=Path, help="a folder to leave the models in")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    for name, value in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{value} where it is not given")
    args = parser.parse_args()
    probe = args.chorus.parent / "tests/probe"
    for program in (args.chorus, probe):
        if not program.is_file():
            sys.exit(f"{program}: no such program: build it first (make build), or name chorus with --chorus")
    if not args.inside:
        run_inside(args.venv.absolute())
    return args, Chorus(args.chorus.absolute(), probe.absolute())


@contextlib.contextmanager
def comparing(description, **numbers):
    """Checks, chorus, a folder for what is compared, and the values of the options `numbers`, whose defaults are given, where
    there are any; then how many comparisons were equal, and the script's end."""
    args, chorus = start(description, numbers)

    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    started = time.monotonic()
    checks = Checks()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        chosen = [getattr(args, name) for name in numbers]
        yield checks, chorus, folder, *chosen
    seconds = time.monotonic() - started
    print(f"transformers {transformers.__version__}: {checks.equal} comparisons equal, {checks.different} different; {seconds:.0f} s")
    sys.exit(1 if checks.different or not checks.equal else 0)


class Chorus:
    def __init__(self, program, probe):
        self.program, self.probe_program = program, probe

    def encode(self, vocabulary, lines):
        """Of each line the ids."""
        output = self.run("vocab", "--model", vocabulary, "--encode", input="".join(line + "\n" for line in lines).encode())
        return [[int(word) for word in row.split()] for row in output.decode().split("\n")[:-1]]

    def decode(self, vocabulary, rows):
        """Of each list of ids the text."""
        text = "".join(" ".join(map(str, row)) + "\n" for row in rows).encode()
        return self.run("vocab", "--model", vocabulary, "--decode", input=text).decode().split("\n")[:-1]

    def run(self, *arguments, input=None):
        command = [self.program, *map(str, arguments)]
        done = subprocess.run(command, input=input, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.decode()}")
        return done.stdout

    def refusal(self, *arguments):
        done = subprocess.run([self.program, *map(str, arguments)], capture_output=True)
        return done.stderr.decode() if done.returncode == 2 else ""

    def probe(self, model, data, output):
        import safetensors.torch

        subprocess.run([self.probe_program, model, data, output], check=True)
        return safetensors.torch.load_file(f"{output}.safetensors"), json.loads(Path(f"{output}.json").read_text())


class Checks:
    """How many comparisons were equal, within `tolerance` where they are of numbers."""

    def __init__(self):
        self.equal, self.different, self.tolerance = 0, 0, TOLERANCE

    def __call__(self, name, good, detail=""):
        self.equal += bool(good)
        self.different += not good
        if not good:
            print(f"DIFFERENT: {name} {detail}", flush=True)

    def close(self, name, ours, theirs, where=None):
        import torch

        if ours.shape != theirs.shape:
            return self(name, False, f"shapes {tuple(ours.shape)} and {tuple(theirs.shape)}")
        error = (ours.double() - theirs.double()).abs()
        if where is not None:
            error = error[where]
        worst = error.max().item() if error.numel() else 0.0
        self(name, error.numel() > 0 and not torch.isnan(error).any() and worst <= self.tolerance, f"by up to {worst:.2e}")
        return worst


def padded(rows, pad):
    """Lists of ids as a tensor, each as long as the longest."""
    import torch

    longest = max(map(len, rows))
    return torch.tensor([row + [pad] * (longest - len(row)) for row in rows])


def training_lines(rng, count):
    """Text that begets a few hundred pieces."""
    from sacrebleu_parity import NASTY_PIECES

    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "ei", "ü")]
    for _ in range(count):
        words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(rng.randint(2, 9))]
        words += rng.choices(NASTY_PIECES, k=2)
        rng.shuffle(words)
        yield " ".join(words).replace("\n", " ").replace("\r", " ")


def train_sentencepiece(folder, name, **options):
    import sentencepiece

    text = folder / f"{name}.txt"
    text.write_text("\n".join(training_lines(random.Random(3), 3000)), encoding="utf-8", newline="\n")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / name),
        hard_vocab_limit=False,
        minloglevel=2,
        **{"vocab_size": 400, **options},
    )
    return folder / f"{name}.model"


class Listener(logging.Handler):
    """What transformers says."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


def load_quietly(checks, name, folder, known=(), **options):
    """A model and tokenizer, and a check that transformers had nothing to say but what is known."""
    import transformers

    listener = Listener()
    logger = logging.getLogger("transformers")
    logger.addHandler(listener)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model, info = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, output_loading_info=True, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, use_fast=False)
    logger.removeHandler(listener)
    said = listener.said + [str(w.message) for w in warned]
    said += [f"{key} {value}" for key, value in info.items() if value]
    said = [line for line in said if line not in known]
    checks(f"{name}: transformers loads it without a word", not said, said)
    return model.eval(), tokenizer


def same_tensors(a, b):
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and a[k].equal(b[k]) for k in a)
