#!/usr/bin/env python3
"""What an update moves and takes when few experts get tokens, with everything on NVMe: one model, updates of more and more tokens.

    bench/expert_use.py [--chorus build/release/chorus]

Writes build/bench/expert_use.md. docs/memory.md explains the rows.
"""
import argparse, json, pathlib, subprocess, tempfile

from capacity import write_text

RUN = """
threads = 2
[[data.train]]
files = "train.{lang}"
languages = ["xx", "yy"]
[data]
micro_batches = 1
max_length = 12
[vocabulary]
size = 290
model = "vocabulary.model"
[model]
d_model = 256
attention_heads = 4
ffn_dim = 1024
max_positions = 32
encoder_layers = 3
decoder_layers = 3
[moe]
experts = 64
top_k = 1
encoder_every = 1
decoder_every = 1
[train]
duration = "6u"
log_every = 1
checkpoint_every = 0
[memory]
parameters = "nvme"
gradients = "nvme"
optimizer = "nvme"
"""
LAYERS, EXPERTS = 6, 64


def measure(chorus, folder, tokens):
    """The table's row: of the last three updates."""
    out = f"out-{tokens}"
    subprocess.run([chorus, "train", "run.toml", "--out", out, "-q", "--set", f"data.batch_tokens={tokens}"], cwd=folder, check=True)
    records = [r for r in map(json.loads, open(folder / out / "metrics.jsonl")) if r["kind"] == "train"]
    last = records[-3:]
    mean = lambda values: sum(values) / len(last)
    used = mean([sum(EXPERTS - layer["unused_experts"] for layer in r["layers"].values()) for r in last]) / (LAYERS * EXPERTS)
    read, written = (mean([r["memory"][key] for r in last]) / 1e9 for key in ("nvme_read", "nvme_written"))
    seconds = (last[-1]["seconds"] - records[-4]["seconds"]) / len(last)
    return f"| {tokens} | {100 * used:.0f} % | {read:.2f} | {written:.2f} | {seconds:.2f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chorus", default="build/release/chorus")
    settings = parser.parse_args()
    chorus = str(pathlib.Path(settings.chorus).resolve())
    report = pathlib.Path("build/bench/expert_use.md").resolve()
    report.parent.mkdir(parents=True, exist_ok=True)
    rows = ["| tokens per update, at most | experts with tokens | GB read | GB written | s per update |", "| --- | --- | --- | --- | --- |"]
    with tempfile.TemporaryDirectory(dir=report.parent) as name:
        folder = pathlib.Path(name)
        write_text(folder, RUN, 4000)
        for tokens in (12, 48, 192, 4096):
            rows.append(measure(chorus, folder, tokens))
            print(rows[-1], flush=True)
    report.write_text("\n".join(rows) + "\n")
    print(f"expert_use: wrote {report}")


main()
