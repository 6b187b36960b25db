#!/usr/bin/env python3
"""MoE models trained for three updates within one device budget: the largest with everything on the device, then one of eight times
what that budget could hold at 16 bytes per weight with everything on the host, then one of thirty times with everything on NVMe.

    bench/capacity.py [--budget 256] [--chorus build/release/chorus]

Each row is a run that ended well, and its peaks are what the program counted. Writes build/bench/capacity.md. docs/memory.md explains
the rows.
"""
import argparse, json, math, pathlib, shutil, subprocess, sys, tempfile

RUN = """
threads = 2
[[data.train]]
files = "train.{lang}"
languages = ["xx", "yy"]
[data]
batch_tokens = 512
micro_batches = 1
max_length = 24
[vocabulary]
size = 290
model = "vocabulary.model"
[model]
d_model = 256
attention_heads = 4
ffn_dim = 1024
max_positions = 32
[moe]
experts = 8
top_k = 2
encoder_every = 1
decoder_every = 1
[train]
duration = "3u"
log_every = 1
checkpoint_every = 0
recompute = true
"""
PARTS = ["parameters", "gradients", "optimizer", "activations"]


def write_text(folder, run, count):
    """A corpus of `count` lines and the run file."""
    words = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()
    lines = [(words[i % 10], words[i // 10 % 10], words[i * 7 % 10]) for i in range(count)]
    (folder / "train.xx").write_text("".join(" ".join(line) + "\n" for line in lines))
    (folder / "train.yy").write_text("".join(" ".join(line[::-1]) + "\n" for line in lines))
    (folder / "run.toml").write_text(run)


def attempt(chorus, folder, budget, tier, layers):
    """The numbers of a run of three updates, or None where the budget does not allow it."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    settings = {"model.encoder_layers": layers, "model.decoder_layers": layers, "memory.device_budget": budget}
    settings |= {f"memory.{part}": tier for part in PARTS}
    command = [chorus, "train", "run.toml", "--out", "out", "-q"]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        if "memory.device_budget" not in done.stderr:
            sys.exit(f"{tier}, {layers} layers: {done.stderr.strip()}")
        return None
    records = [r for r in map(json.loads, open(out / "metrics.jsonl")) if r["kind"] == "train"]
    memory = {kind: max(r["memory"][kind] for r in records) for kind in records[0]["memory"]}
    inspect = json.loads(subprocess.run([chorus, "inspect", "out/model", "--json"], cwd=folder, capture_output=True, text=True,
                                        check=True).stdout)
    # An update and its neighbour: the second to the third.
    return {"layers": layers, "parameters": inspect["parameters"]["total"],
            "seconds": records[2]["seconds"] - records[1]["seconds"], **memory}


def say(tier, layers, result):
    print(f"capacity: {tier}, {layers}+{layers} layers: "
          + (f"{result['parameters'] / 1e6:.0f} M parameters, {result['seconds']:.1f} s per update" if result else "too much"), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=256, metavar="MIB")
    parser.add_argument("--chorus", default="build/release/chorus")
    settings = parser.parse_args()
    chorus = str(pathlib.Path(settings.chorus).resolve())
    report = pathlib.Path("build/bench/capacity.md").resolve()
    report.parent.mkdir(parents=True, exist_ok=True)
    bound = settings.budget * 2**20 / 16  # weights, gradients, two moments, in fp32
    rows = [f"| everything on | layers | parameters | of the {bound / 1e6:.1f} M that fit at 16 bytes | s per update | device peak | host peak | nvme |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    with tempfile.TemporaryDirectory(dir=report.parent) as name:
        folder = pathlib.Path(name)
        write_text(folder, RUN, 400)

        def row(tier, layers):
            result = attempt(chorus, folder, f"{settings.budget}MiB", tier, layers)
            say(tier, layers, result)
            if result:
                rows.append(f"| {tier} | {layers}+{layers} | {result['parameters'] / 1e6:.1f} M | {result['parameters'] / bound:.1f} | "
                            f"{result['seconds']:.2f} | {result['device_peak'] / 2**20:.0f} MiB | {result['host_peak'] / 2**20:.0f} MiB | "
                            f"{result['nvme'] / 2**20:.0f} MiB |")
            return result

        layers, best = 1, None
        while fits := row("device", layers):
            layers, best = layers + 1, fits
        if not best:
            sys.exit("not even one layer fits into the budget")
        del rows[2:-1]  # the largest alone
        each = best["parameters"] / best["layers"]
        row("host", math.ceil(8 * bound / each))
        row("nvme", math.ceil(30 * bound / each))
    report.write_text("\n".join(rows) + "\n")
    print(f"capacity: wrote {report}")


if __name__ == "__main__":
    main()
