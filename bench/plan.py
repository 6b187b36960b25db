#!/usr/bin/env python3
"""The planner against runs: what `chorus plan` foresees and what `chorus train` then holds on the busiest rank, tier by tier, over
layouts, tiers, sizes and skew of the routing.

    bench/plan.py [--chorus build/release/chorus] [--only NAME]

All sentences have one length, so that micro-batches have the shape that is planned for; the planner is told the load of each rank of ep that
the run measured. Writes build/bench/plan.md, the table of docs/memory.md.
"""
import argparse, json, os, pathlib, shutil, subprocess, sys, tempfile

RUN = """
[[data.train]]
files = "train.{lang}"
languages = ["xx", "yy"]
[data]
batch_tokens = 1024
max_length = 64
[vocabulary]
size = 290
model = "vocabulary.model"
[model]
d_model = 128
attention_heads = 4
encoder_layers = 4
decoder_layers = 4
ffn_dim = 512
max_positions = 64
[moe]
experts = 8
capacity_factor = 0
[train]
duration = "8u"
log_every = 1
checkpoint_every = 0
"""
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()


def places(**tiers):
    return {f"memory.{part}": tier for part, tier in tiers.items()}


ALL = dict(parameters="nvme", gradients="nvme", optimizer="nvme", activations="nvme")
TOP2 = {"moe.top_k": 2}
WIDE = {"model.d_model": 256, "model.ffn_dim": 1024}
EVERY = {"moe.encoder_every": 1, "moe.decoder_every": 1}
# name, ranks, corpus, settings
RUNS = [
    ("dense", 1, "even", {"moe.experts": 0}),
    ("E", 1, "even", {}),
    ("wide", 1, "even", WIDE),
    ("every layer", 1, "even", EVERY),
    ("top-2, gelu", 1, "even", TOP2 | {"model.activation": "gelu"}),
    ("recomputed", 1, "even", WIDE | {"train.recompute": "true"}),
    ("capacity 1", 1, "even", {"moe.capacity_factor": 1}),
    ("one word: all to few experts", 1, "skewed", {}),
    ("optimizer on host", 1, "even", places(optimizer="host")),
    ("gradients, optimizer on host", 1, "even", WIDE | places(optimizer="host", gradients="host")),
    ("everything on host", 1, "even", EVERY | {"train.recompute": "true"} | places(**dict.fromkeys(ALL, "host"))),
    ("everything on nvme", 1, "even", EVERY | {"train.recompute": "true"} | places(**ALL)),
    ("experts on nvme", 1, "even", WIDE | places(expert_parameters="nvme", expert_optimizer="nvme", expert_gradients="host")),
    ("bf16, optimizer on nvme", 1, "even", {"precision": "bf16"} | places(optimizer="nvme")),
    ("four micro-batches, gradients on host", 1, "even", {"data.micro_batches": 4} | places(gradients="host")),
    ("D 2", 2, "even", {"data.micro_batches": 2}),
    ("E 2", 2, "even", {"data.micro_batches": 2, "parallel.ep": 2}),
    ("E 2, skewed", 2, "skewed", {"data.micro_batches": 2, "parallel.ep": 2, "moe.experts": 2}),
    ("E 2, Z 1", 2, "even", {"data.micro_batches": 2, "parallel.ep": 2, "parallel.zero": 1}),
    ("D 2, Z 2", 2, "even", WIDE | {"data.micro_batches": 2, "parallel.zero": 2}),
    ("D 2, Z 3", 2, "even", WIDE | {"data.micro_batches": 2, "parallel.zero": 3}),
    ("D 2, Z 3, optimizer on nvme", 2, "even", WIDE | {"data.micro_batches": 2, "parallel.zero": 3} | places(optimizer="nvme")),
    ("M 2", 2, "even", {"parallel.tp": 2}),
    ("E 2, M 2", 2, "even", {"parallel.tp": 2, "parallel.ep": 2} | TOP2),
    ("E 4", 4, "even", {"data.micro_batches": 4, "parallel.ep": 4}),
    ("E 4, skewed", 4, "skewed", {"data.micro_batches": 4, "parallel.ep": 4, "moe.experts": 4}),
    ("E 4, skewed, capacity 2", 4, "skewed", {"data.micro_batches": 4, "parallel.ep": 4, "moe.experts": 4, "moe.capacity_factor": 2}),
    ("E 2, D 2, Z 3, everything on host", 4, "even", {"data.micro_batches": 4, "parallel.ep": 2, "parallel.zero": 3,
                                                     "train.recompute": "true"} | places(**dict.fromkeys(ALL, "host"))),
    ("E 2, M 2, Z 2, optimizer on nvme", 4, "even", {"data.micro_batches": 2, "parallel.ep": 2, "parallel.tp": 2, "parallel.zero": 2}
     | places(optimizer="nvme")),
    ("E 2, experts cut by 2", 4, "even", {"data.micro_batches": 4, "parallel.ep": 2, "parallel.etp": 2}),
]
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1",
                   OMPI_MCA_mpi_yield_when_idle="1", OMP_NUM_THREADS="1")


def write_text(folder):
    """Each sentence has the same words, so the same number of pieces; the skewed ones have one word."""
    for corpus in ("even", "skewed"):
        (folder / corpus).mkdir()
        for language, step in (("xx", 3), ("yy", 7)):
            with open(folder / corpus / f"train.{language}", "w") as out:
                for i in range(600):
                    words = [WORDS[(i + j * step) % 10] if corpus == "even" else "alpha" for j in range(10)]
                    out.write(" ".join(words) + "\n")
        (folder / corpus / "run.toml").write_text(RUN)


def call(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=ENVIRONMENT)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr.strip()}")
    return done.stdout


def settings_of(settings):
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def measure(chorus, folder, ranks, settings):
    """The peaks of the busiest rank after the first update, at the last update, over the mean, the load of the busiest
    expert and of each rank of ep."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = (["mpirun", "-n", str(ranks)] if ranks > 1 else []) + [chorus, "train", "run.toml", "--out", "out", "-q"]
    call(command + settings_of(settings), folder)
    records = [r for r in map(json.loads, open(out / "metrics.jsonl")) if r["kind"] == "train"][1:]
    held = {tier: max(r["memory"][key] for r in records)
            for tier, key in (("device", "device_peak"), ("host", "host_peak"), ("nvme", "nvme"))}
    # The load of each rank of ep over the mean, layer by layer.
    layers = records[-1].get("layers", {})  # "encoder.layers.1": ...
    last = [layers[name] for name in sorted(layers, key=lambda name: (name[0] == "d", int(name.rsplit(".", 1)[1])))]
    ep = settings.get("parallel.ep", 1)
    each = len(last[0]["load"]) // ep if last else 0
    skew = [",".join(f"{ep * sum(layer['load'][r * each:(r + 1) * each]):.3f}" for layer in last) for r in range(ep)]
    busiest = max((layer["max_over_mean"] for layer in last), default=1)
    return held, busiest, skew


def length_of(folder):
    """Tokens of a sentence as micro-batches have it, with its language's tag."""
    part = json.loads((folder / "out/data.train.json").read_text())["parts"][0]
    return part["source_tokens"] // part["examples"] + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chorus", default="build/release/chorus")
    parser.add_argument("--only", help="runs whose name has this")
    parser.add_argument("--out", default="build/bench/plan.md")
    arguments = parser.parse_args()
    chorus = pathlib.Path(arguments.chorus).resolve()
    rows, worst = [], 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_text(folder)
        measure(chorus, folder / "even", 1, {})  # makes the vocabulary
        shutil.copy(folder / "even/vocabulary.model", folder / "skewed/vocabulary.model")
        for name, ranks, corpus, settings in RUNS:
            if arguments.only and arguments.only not in name:
                continue
            held, busiest, skew = measure(chorus, folder / corpus, ranks, settings)
            command = [chorus, "plan", "run.toml", "--world", str(ranks), "--length", str(length_of(folder / corpus)), "--json"]
            plans = [json.loads(call(command + settings_of(settings) + told, folder / corpus))
                     for told in ([["--skew", of_rank] for of_rank in skew] if len(skew) > 1 else [[]])]
            plan = max(plans, key=lambda plan: plan["bytes"]["device"]["total"])
            cells = []
            for tier in ("device", "host", "nvme"):
                planned = plan["bytes"][tier]["total"]
                if max(planned, held[tier]) == 0:
                    cells.append("")
                    continue
                error = 100 * (planned / max(held[tier], 1) - 1)
                worst = max(worst, abs(error))
                cells.append(f"{planned / 1e6:.1f} / {held[tier] / 1e6:.1f} ({error:+.1f} %)")
            rows.append(f"| {name} | {ranks} | {plan['parameters'] / 1e6:.1f} M | {busiest:.1f} | " + " | ".join(cells) + " |")
            print(rows[-1], flush=True)
    table = "| run | ranks | parameters | busiest expert / mean | device MB, planned / held | host | nvme |\n"
    table += "| --- | --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows) + f"\n\n{len(rows)} runs; the largest error is {worst:.1f} %.\n"
    out = pathlib.Path(arguments.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(table)
    print(f"\n{len(rows)} runs; the largest error is {worst:.1f} %; written to {out}")


if __name__ == "__main__":
    main()
