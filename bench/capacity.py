#!/usr/bin/env python3
"""The largest MoE model that trains for three updates within a device budget: everything on the device, then on the host, then on NVMe.

    bench/capacity.py [--budget 256MiB] [--chorus build/release/chorus]

Layers are added until the program says that the budget is exceeded; each number is a run that ended well, and its peaks are what
the program counted. Writes build/bench/capacity.md. docs/memory.md explains the rows.
"""
import argparse, json, pathlib, shutil, subprocess, sys, tempfile

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
size = 300
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
FORMS = {"device": [], "host": ["parameters", "gradients", "optimizer"], "nvme": ["parameters", "gradients", "optimizer"]}


def write_text(folder):
    words = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()
    lines = [(words[i % 10], words[i // 10 % 10], words[i * 7 % 10]) for i in range(400)]
    (folder / "train.xx").write_text("".join(" ".join(line) + "\n" for line in lines))
    (folder / "train.yy").write_text("".join(" ".join(line[::-1]) + "\n" for line in lines))
    (folder / "run.toml").write_text(RUN)


def attempt(chorus, folder, budget, tier, layers):
    """The numbers of a run of three updates, or None where the budget does not allow it."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    settings = {"model.encoder_layers": layers, "model.decoder_layers": layers, "memory.device_budget": budget}
    settings |= {f"memory.{what}": tier for what in FORMS[tier]}
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


def largest(chorus, folder, budget, tier, begin):
    """As `attempt`, of the model with the most layers that fits: by doubling, then by halving what is between."""
    best, fits, fails = None, 0, None
    layers = begin
    while fails is None or fails - fits > max(1, fits // 16):
        result = attempt(chorus, folder, budget, tier, layers)
        print(f"capacity: {tier}, {layers}+{layers} layers: "
              + (f"{result['parameters'] / 1e6:.0f} M parameters, {result['seconds']:.1f} s an update" if result else "too much"),
              flush=True)
        if result:
            best, fits = result, layers
        else:
            fails = layers
        layers = 2 * fits if fails is None else (fits + fails) // 2
        if layers == 0:
            sys.exit(f"not even one layer fits into {budget}")
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="256MiB")
    parser.add_argument("--chorus", default="build/release/chorus")
    settings = parser.parse_args()
    chorus = str(pathlib.Path(settings.chorus).resolve())
    report = pathlib.Path("build/bench/capacity.md").resolve()
    report.parent.mkdir(parents=True, exist_ok=True)
    rows = ["| everything on | layers | parameters | of the device's | s an update | device peak | host peak | nvme |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    with tempfile.TemporaryDirectory(dir=report.parent) as name:
        folder = pathlib.Path(name)
        write_text(folder)
        plain = None
        for tier, begin in (("device", 1), ("host", 16), ("nvme", 16)):
            best = largest(chorus, folder, settings.budget, tier, begin)
            plain = plain or best
            rows.append(f"| {tier} | {best['layers']}+{best['layers']} | {best['parameters'] / 1e6:.1f} M | "
                        f"{best['parameters'] / plain['parameters']:.1f} | {best['seconds']:.2f} | {best['device_peak'] / 2**20:.0f} MiB | "
                        f"{best['host_peak'] / 2**20:.0f} MiB | {best['nvme'] / 2**20:.0f} MiB |")
    report.write_text("\n".join(rows) + "\n")
    print(f"capacity: wrote {report}")


main()
