#!/usr/bin/env python3
"""The planner against runs of random configurations: what `chorus plan` foresees and what `chorus train` then holds on the busiest rank,
tier by tier. Each seed is a configuration out of the schema: widths, depths, top-k, capacity, vocabulary, lengths, micro-batches, every
dropout, precision, recomputation, frozen parts, denoising tasks, tiers, compact state, ranks and their layout.

    bench/plan.py [--chorus build/release/chorus] [--seeds 1-60] [--text ../shared/data/multi30k] [--within 5] [--show]

Text: cuts of Multi30k where --text has it, else sentences made up with the lengths and frequencies of such text. A run makes two passes
over so little text that every micro-batch there is comes up; the first update, before which not all is there, is left out. Writes
build/bench/plan.md, the table of docs/planning.md; with --within the exit code is 1 if an error is larger, or if more is held than the
plan's bound and its margin of 5 %.
"""
import argparse, gzip, json, math, os, pathlib, random, shutil, statistics, subprocess, sys, tempfile

LANGUAGES = ["en", "de", "fr", "cs"]
LINES = 4000
SIZES = [400, 1500, 4000]  # of vocabularies
TIERS = ["device", "host", "nvme"]
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1",
                   OMPI_MCA_btl_vader_single_copy_mechanism="none", OMPI_MCA_mpi_yield_when_idle="1", OMP_NUM_THREADS="1")


def call(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=ENVIRONMENT)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr.strip()}")
    return done.stdout


def made_up(language):
    """Sentences of about 12 words, drawn by Zipf's law from 3,000 made of syllables."""
    rng = random.Random(language)
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    words = ["".join(rng.choice(syllables) for _ in range(rng.randint(1, 4))) for _ in range(3000)]
    weights = [1 / (i + 3) for i in range(len(words))]
    for _ in range(LINES):
        length = min(40, max(2, round(rng.lognormvariate(math.log(11), 0.35))))
        yield " ".join(rng.choices(words, weights, k=length))


def write_text(folder, text):
    for language in LANGUAGES:
        source = pathlib.Path(text) / f"train.{language}.gz"
        if source.exists():
            lines = [line.rstrip("\n") for line, _ in zip(gzip.open(source, "rt", encoding="utf-8"), range(LINES))]
        else:
            lines = list(made_up(language))
        (folder / f"all.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")


def layout(rng, ranks, heads, experts):
    """Degrees of parallelism that go with each other."""
    divisors = [n for n in (1, 2, 4) if ranks % n == 0]
    ep = rng.choice([n for n in divisors if experts == 0 and n == 1 or experts > 0 and experts % n == 0])
    etp = rng.choice([n for n in divisors if ranks % (ep * n) == 0 and (experts > 0 or n == 1)])
    return {"parallel.tp": rng.choice([n for n in divisors if heads % n == 0]), "parallel.ep": ep, "parallel.etp": etp,
            "parallel.zero": rng.randint(0, 3), "parallel.exchange_chunks": rng.choice([1, 1, 1, 2])}


def placement(rng, experts, recompute):
    if rng.random() < 0.4:
        return {}
    parts = ["parameters", "gradients", "optimizer"]
    tiers = {part: rng.choice(TIERS) for part in parts}
    if recompute:
        tiers["activations"] = rng.choice(TIERS)
    if experts > 0 and rng.random() < 0.4:
        tiers |= {f"expert_{part}": rng.choice(TIERS) for part in parts if rng.random() < 0.5}
    return {f"memory.{part}": tier for part, tier in tiers.items()}


def configuration(seed):
    """(ranks, pairs of sentences, TOML of the tables, settings)"""
    rng = random.Random(seed)
    def sometimes(share, values, otherwise=0):
        return rng.choice(values) if rng.random() < share else otherwise
    ranks = rng.choices([1, 2, 4], [6, 3, 2])[0]
    heads = rng.choice([2, 4, 4, 8])
    d = heads * rng.choice([8, 12, 16, 24, 32])
    experts = rng.choice([0, 2, 4, 4, 8, 8, 16, 32])
    tokens = rng.choice([256, 512, 1024, 1024, 2048, 4096])
    recompute = rng.random() < 0.3
    size = rng.choice(SIZES)
    length = rng.choice([48, 64, 96] if size == SIZES[0] else [24, 32, 48, 80])
    micro_batches = rng.choice([1, 1, 2, 3, 4, 6])
    languages = rng.sample(LANGUAGES, rng.choice([2, 2, 3]))
    settings = {
        "seed": seed, "precision": rng.choice(["fp32", "fp32", "bf16"]), "threads": 1,
        "data.batch_tokens": tokens, "data.micro_batches": micro_batches, "data.max_length": length,
        "data.temperature": rng.choice([1, 2, 5]), "data.pool_batches": 64,
        "model.d_model": d, "model.attention_heads": heads, "model.ffn_dim": rng.choice([1, 2, 3, 4]) * d + rng.choice([0, 0, 8]),
        "model.encoder_layers": rng.randint(1, 5), "model.decoder_layers": rng.randint(1, 5), "model.max_positions": rng.choice([96, 256, 1024]),
        "model.activation": rng.choice(["relu", "relu", "gelu", "swiglu"]),
        "model.dropout": rng.choice([0, 0.1, 0.1, 0.3]), "model.attention_dropout": sometimes(0.3, [0.1, 0.2]),
        "model.activation_dropout": sometimes(0.3, [0.1, 0.2]), "model.layer_dropout": sometimes(0.15, [0.05]),
        "moe.experts": experts, "moe.encoder_every": rng.choice([1, 2, 2, 3]), "moe.decoder_every": rng.choice([0, 1, 2, 2]),
        "moe.top_k": rng.randint(1, min(3, experts)) if experts else 1, "moe.capacity_factor": rng.choice([0, 0.75, 1, 1, 1.25, 2]),
        "moe.selection": rng.choice(["position", "probability", "random"]),
        "moe.gate_normalization": rng.choice(["none", "before_drop", "after_drop"]), "moe.jitter": rng.choice([0, 0.01]),
        "moe.balance_loss": rng.choice([0, 0.01, 0.1]), "moe.z_loss": sometimes(0.2, [0.001]),
        "moe.gating_dropout": sometimes(0.15, [0.1, 0.3]), "moe.expert_output_dropout": sometimes(0.2, [0.1, 0.3]),
        "optim.expert_state": rng.choice(["fp32", "fp32", "bf16", "fp8"]), "optim.warmup": "10u",
        "train.recompute": str(recompute).lower(), "train.label_smoothing": rng.choice([0, 0.1]),
        "train.duration": "2e", "train.log_every": 1, "train.checkpoint_every": 0,
    }
    sparse = experts > 0 and any(i % every == every - 1 for layers, every in (
        (settings["model.encoder_layers"], settings["moe.encoder_every"]), (settings["model.decoder_layers"], settings["moe.decoder_every"]))
        if every > 0 for i in range(layers))
    frozen = rng.choice(["embedding", "encoder.*", "*.self_attn.*"] + (["router", "expert", "dense"] if sparse else []))
    if rng.random() < 0.25:
        settings["train.freeze"] = json.dumps([frozen])
    settings |= layout(rng, ranks, heads, experts if sparse else 0) if ranks > 1 else {}
    settings |= placement(rng, experts if sparse else 0, recompute)
    settings["vocabulary.model"] = f"vocabulary.{size}.model"
    tables = f'[[data.train]]\nfiles = "text.{{lang}}"\nlanguages = {json.dumps(languages)}\n'
    parts = len(languages) * (len(languages) - 1)
    if rng.random() < 0.25:
        tables += f'[[data.denoise]]\nmask = {rng.choice([0.15, 0.3, 0.5])}\nspan = {rng.choice([1, 3.5])}\ndrop = {rng.choice([0, 0.1])}\n'
        parts += len(languages)
    pairs = min(LINES, max(60, round(rng.choice([2, 3, 4]) * micro_batches * tokens / 22 / parts)))
    return ranks, pairs, tables, settings


def settings_of(settings):
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def measure(chorus, folder, seed):
    """Planned and held bytes by tier, and what to call it."""
    ranks, pairs, tables, settings = configuration(seed)
    for language in LANGUAGES:
        lines = (folder / f"all.{language}").read_text(encoding="utf-8").split("\n")
        start = seed * 37 % (LINES - pairs + 1)
        (folder / f"text.{language}").write_text("\n".join(lines[start:start + pairs]) + "\n", encoding="utf-8")
    (folder / "run.toml").write_text(tables)
    shutil.rmtree(folder / "out", ignore_errors=True)
    plan = [chorus, "plan", "run.toml", "--world", str(ranks), "--run", "out", "--json"] + settings_of(settings)
    planned = json.loads(call(plan, folder))
    run = (["mpirun", "-n", str(ranks)] if ranks > 1 else []) + [chorus, "train", "run.toml", "--out", "out", "-q"]
    call(run + settings_of(settings), folder)
    records = [r for r in map(json.loads, open(folder / "out/metrics.jsonl")) if r["kind"] == "train"][1:]
    held = {tier: max(r["memory"][key] for r in records) for tier, key in (("device", "device_peak"), ("host", "host_peak"), ("nvme", "nvme"))}
    return planned, held, records, ranks, settings


def describe(settings):
    """What is unlike the defaults, in short."""
    words = [f"d {settings['model.d_model']}, {settings['model.encoder_layers']}+{settings['model.decoder_layers']}",
             f"{settings['data.micro_batches']} x {settings['data.batch_tokens']}"]
    if settings["moe.experts"]:
        words.append(f"{settings['moe.experts']} experts, top-{settings['moe.top_k']}, capacity {settings['moe.capacity_factor']}")
    if settings["precision"] == "bf16":
        words.append("bf16")
    if settings["train.recompute"] == "true":
        words.append("recomputed")
    for key, short in (("model.attention_dropout", "attention dropout"), ("model.layer_dropout", "layer dropout"),
                       ("moe.gating_dropout", "gating dropout"), ("train.freeze", "frozen")):
        if settings.get(key):
            words.append(short)
    words += [f"{key.split('.')[1]} {value}" for key, value in settings.items() if key.startswith("parallel.") and value > (0 if key == "parallel.zero" else 1)]
    words += [f"{key.split('.')[1]} on {value}" for key, value in settings.items() if key.startswith("memory.") and value != "device"]
    return ", ".join(words)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chorus", default="build/release/chorus")
    parser.add_argument("--seeds", default="1-60", help="FIRST-LAST, or some: 3,7,12")
    parser.add_argument("--text", default="../shared/data/multi30k")
    parser.add_argument("--within", type=float, help="largest error allowed, in per cent")
    parser.add_argument("--show", action="store_true", help="print what the plans and records hold")
    parser.add_argument("--out", default="build/bench/plan.md")
    arguments = parser.parse_args()
    chorus = pathlib.Path(arguments.chorus).resolve()
    first, _, last = arguments.seeds.partition("-")
    seeds = range(int(first), int(last) + 1) if last else [int(seed) for seed in first.split(",")]
    rows, errors, of_bound = [], {}, []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_text(folder, arguments.text)
        for size in SIZES:  # made once, and found by all
            (folder / "run.toml").write_text(f'[[data.train]]\nfiles = "all.{{lang}}"\nlanguages = {json.dumps(LANGUAGES)}\n')
            call([chorus, "plan", "run.toml", "--run", "made", "--set", f"vocabulary.size={size}", "--set", f"vocabulary.model=vocabulary.{size}.model"], folder)
        for seed in seeds:
            planned, held, records, ranks, settings = measure(chorus, folder, seed)
            cells = []
            of_bound.append((100 * held["device"] / planned["most"]["device"], seed))
            for tier in TIERS:
                there = planned["bytes"][tier]["total"]
                if max(there, held[tier]) < 1e5:  # next to nothing
                    cells.append("")
                    continue
                error = 100 * (there / max(held[tier], 1) - 1)
                errors.setdefault(tier, []).append((error, seed))
                cells.append(f"{there / 1e6:.2f} / {held[tier] / 1e6:.2f} ({error:+.1f} %)")
            rows.append(f"| {seed} | {describe(settings)} | {ranks} | " + " | ".join(cells) + " |")
            print(rows[-1], flush=True)
            if arguments.show:
                print(json.dumps(planned["bytes"]["device"]), json.dumps(planned["batch"]), "\n", [r["memory"]["device_peak"] for r in records],
                      "\n", [(round(r["dropped"], 3), {k: round(v["max_over_mean"], 2) for k, v in r.get("layers", {}).items()}) for r in records[-1:]])
    summary = []
    for tier, list_of in errors.items():
        sizes = sorted(abs(error) for error, _ in list_of)
        beyond = sorted((seed for error, seed in list_of if abs(error) > 5))
        summary.append(f"{tier}: {len(sizes)} runs, errors {min(list_of)[0]:+.1f} to {max(list_of)[0]:+.1f} %, half within {statistics.median(sizes):.1f} %, "
                       f"nine tenths within {sizes[math.ceil(0.9 * len(sizes)) - 1]:.1f} %, beyond 5 %: {len(beyond)}" + (f" (seeds {', '.join(map(str, beyond))})" if beyond else ""))
    summary.append(f"device, of what it may hold (the plan's 'at most'): up to {max(of_bound)[0]:.1f} % (seed {max(of_bound)[1]})")
    table = "| seed | configuration | ranks | device MB, planned / held | host | nvme |\n| --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows)
    out = pathlib.Path(arguments.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(table + "\n\n" + "\n".join(summary) + "\n")
    print("\n" + "\n".join(summary) + f"\nwritten to {out}")
    if arguments.within and (max(of_bound)[0] > 105 or any(abs(error) > arguments.within for list_of in errors.values() for error, _ in list_of)):
        sys.exit(1)


if __name__ == "__main__":
    main()
