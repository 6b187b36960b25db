#!/usr/bin/env python3
"""How long saving holds training up: seconds per update of one run without saves, with saves beside training, with saves that
training waits for (memory.save_budget = ""), and beside it in parts (train.checkpoint_part_size), taking turns.

    bench/saving.py [--rounds 3] [--every 20] [--updates 60] [--threads N] [--program build/release/chorus] [--set KEY=VALUE ...]

A model of 26 million weights on text that this makes, of which an update takes about a second on two cores; the first ten updates of a run do not count.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile

RUN = """
[[data.train]]
files = "train.{lang}"
languages = ["xx", "yy"]
[data]
batch_tokens = 4096
max_length = 64
[vocabulary]
size = 5000
model = "vocabulary.model"
[model]
d_model = 256
encoder_layers = 4
decoder_layers = 2
attention_heads = 4
ffn_dim = 512
max_positions = 128
[moe]
experts = 32
encoder_every = 2
decoder_every = 2
[train]
log_every = 1
keep = 1
"""
FIRST = 10


def make_text(folder):
    draw = random.Random(1)
    words = ["".join(draw.choice("abcdefghijklmnop") for _ in range(draw.randint(2, 9))) for _ in range(6000)]
    with open(f"{folder}/train.xx", "w") as xx, open(f"{folder}/train.yy", "w") as yy:
        for _ in range(20000):
            line = draw.choices(words, k=draw.randint(4, 30))
            xx.write(" ".join(line) + "\n")
            yy.write(" ".join(reversed(line)) + "\n")
    with open(f"{folder}/run.toml", "w") as file:
        file.write(RUN)


def run(a, folder, name, every, settings):
    """Seconds per update; those of it that training stood still for saves; and what a save adds to the updates up to the next one: their
    time beyond as many of the median, which most of them have that no save disturbs."""
    words = [os.path.abspath(a.program), "train", "run.toml", "--out", name, "-q", "--set", f"train.duration={FIRST + a.updates + 1}u", "--set",
             f"train.checkpoint_every={every}", "--set", f"threads={a.threads}"]
    for setting in settings + a.set:
        words += ["--set", setting]
    subprocess.run(words, cwd=folder, check=True)
    with open(f"{folder}/{name}/metrics.jsonl") as file:
        records = {r["update"]: r for r in map(json.loads, file) if r["kind"] == "train"}
    first, last = records[FIRST], records[FIRST + a.updates]
    held = sum(records[u]["saving_seconds"] for u in range(FIRST + 1, FIRST + a.updates + 1))
    subprocess.run(["rm", "-r", name], cwd=folder, check=True)
    added = []
    for save in range(-(-FIRST // a.every) * a.every, FIRST + a.updates - a.every + 1, a.every):
        taken = [records[u]["seconds"] - records[u - 1]["seconds"] for u in range(save + 1, save + a.every + 1)]
        added.append(sum(taken) - len(taken) * statistics.median(taken))
    return (last["seconds"] - first["seconds"]) / a.updates, held / a.updates, statistics.mean(added or [0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 3), ("every", 20), ("updates", 60), ("threads", os.cpu_count())):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--program", default="build/release/chorus")
    parser.add_argument("--set", action="append", default=[])
    a = parser.parse_args()
    cases = {"no saves": (0, []), "beside": (a.every, []), "waits": (a.every, ['memory.save_budget=""']),
             "in parts": (a.every, ["train.checkpoint_part_size=256MiB"])}
    seen = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as folder:
        make_text(folder)
        run(argparse.Namespace(**{**vars(a), "updates": 1}), folder, "run", 0, [])  # makes the vocabulary
        for _ in range(a.rounds):
            for name, (every, settings) in cases.items():
                seen[name].append(run(a, folder, "run", every, settings))
    base = statistics.median(r[0] for r in seen["no saves"])
    for name, results in seen.items():
        seconds = statistics.median(r[0] for r in results)
        held = statistics.median(r[1] for r in results)
        added = statistics.mean(r[2] for r in results)
        print(f"{name:9} {seconds:.3f} s per update ({100 * (seconds / base - 1):+.1f} %), of which training stood still {held:.4f} s ({100 * held / base:.2f} %); "
              f"a save adds {added:.2f} s, {100 * added / (a.every * base):.1f} %")
    print(f"medians of {a.rounds} runs of {a.updates} updates, a save every {a.every}, {a.threads} threads, {os.cpu_count()} cores")


if __name__ == "__main__":
    sys.exit(main())
