#!/usr/bin/env python3
"""Runs an experiment, or what is left of it, and writes its results, tables and plots.

    experiments/run.py NAME [--only ROW]... [--seeds 1,2,3] [--again | --plot-only] [--program FILE] [--list]

experiments/NAME/experiment.toml says what is run: README.md beside this file says how. What results.jsonl has already, by
the same commands, is not run again; a run that was cut short is resumed.
"""
import argparse
import hashlib
import itertools
import json
import os
import pathlib
import re
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tomllib

import report

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
TRAIN = "train {base} --out {run} --set seed={seed} {set}"  # the steps of a row that names none


class ExperimentError(Exception):
    pass


def say(text):
    print(f"experiments: {text}", file=sys.stderr, flush=True)


# ---- what is to be run -------------------------------------------------------------------------------------------------

def load(name):
    """The experiment's settings, with what they leave out."""
    path = HERE / name / "experiment.toml"
    if not path.exists():
        known = sorted(p.parent.name for p in HERE.glob("*/experiment.toml"))
        raise ExperimentError(f"no experiment {name!r}; there are {', '.join(known)}")
    try:
        experiment = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ExperimentError(f"{path.relative_to(ROOT)}: {error}") from error
    known = {"title", "base", "seeds", "set", "prepare", "row", "table", "plot"}
    if unknown := set(experiment) - known:
        raise ExperimentError(f"{path.relative_to(ROOT)}: unknown key {min(unknown)!r}; there are {', '.join(sorted(known))}")
    experiment["row"] = [r for row in experiment["row"] for r in expand(row)]
    labels = [row["label"] for row in experiment["row"]]
    if len(set(labels)) < len(labels):
        raise ExperimentError(f"{path.relative_to(ROOT)}: two rows of one label")
    if missing := {row["needs"] for row in experiment["row"] if "needs" in row} - set(labels):
        raise ExperimentError(f"{path.relative_to(ROOT)}: a row needs {min(missing)!r}, which is none")
    return {"seeds": [1, 2, 3], "set": [], "prepare": [], "table": [], "plot": [], **experiment, "name": name}


def fill(text, words):
    """The text with each {name} of the words replaced; other braces stay."""
    for name, value in words.items():
        text = text.replace("{" + name + "}", value)
    return text


def expand(row):
    """The rows that a row with `each` stands for: one for each choice of a value of each of its names."""
    lists = row.pop("each", {})
    for values in itertools.product(*lists.values()):
        words = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in zip(lists, values)}
        yield {k: [fill(s, words) for s in v] if isinstance(v, list) else fill(v, words) for k, v in row.items()}


def folder(experiment, row, seed):
    return f"runs/experiments/{experiment['name']}/{re.sub('[^A-Za-z0-9.]+', '-', row['label'])}/{seed}"


def commands(experiment, row, seed, out):
    """The command lines of a row, each a list of words without the program's name; `out` is the row's folder."""
    words = {
        "base": f"experiments/{experiment['base']}",
        "run": out,
        "seed": str(seed),
        "set": " ".join(f"--set {shlex.quote(s)}" for s in experiment["set"] + row.get("set", [])),
    }
    rows = {r["label"]: r for r in experiment["row"]}
    words["needed"] = folder(experiment, rows[row["needs"]], seed) if "needs" in row else ""
    return [shlex.split(fill(step, words)) for step in row.get("steps", [TRAIN])]


def runs(experiment, only, seeds):
    """(row, seed) of what is asked for, the first seed of all rows first."""
    rows = [row for row in experiment["row"] if not only or row["label"] in only]
    if missing := set(only) - {row["label"] for row in rows}:
        raise ExperimentError(f"no row {min(missing)!r} in {experiment['name']}: see --list")
    for seed in seeds or experiment["seeds"]:
        for row in rows:
            yield row, seed


# ---- running -----------------------------------------------------------------------------------------------------------

def call(program, words):
    """Runs chorus; its standard output and the processor seconds it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([program, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise ExperimentError(f"chorus {shlex.join(words)}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return done.stdout, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def by_language(layers, languages):
    """[layer][language][expert]: tokens, of the source language in the encoder's layers, the target's in the decoder's."""
    experts = [len(layer["by_language"]) // len(languages) for layer in layers]
    return [[layer["by_language"][i * n : (i + 1) * n] for i in range(len(languages))] for layer, n in zip(layers, experts)]


def tenths(records, key):
    """Mean of a layer's rates by tenths over the MoE layers and the records."""
    lists = [layer[key] for record in records for layer in record.get("layers", {}).values() if key in layer]
    return [round(statistics.fmean(column), 4) for column in zip(*lists)]


def read_training(program, folder):
    """What a run's metrics.jsonl tells: validation losses over updates, those of the last by direction, drops, experts."""
    lines = [json.loads(line) for line in (ROOT / folder / "metrics.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["kind"] == "train"]
    valid = [line for line in lines if line["kind"] == "validation"]
    last = train[-1] if train else {}
    languages = json.loads(call(program, ["vocab", "--model", f"{folder}/model", "--json"])[0])["languages"]
    return {
        "updates": last.get("update", 0),
        "curve": [[line["update"], round(line["loss"], 4)] for line in valid],
        "directions": {d: round(v["loss"], 4) for d, v in valid[-1]["directions"].items()} if valid else {},
        "dropped": round(last.get("dropped", 0), 4),
        "unused": sum(layer["unused_experts"] for layer in last.get("layers", {}).values()),
        "max_over_mean": max((layer["max_over_mean"] for layer in last.get("layers", {}).values()), default=1),
        "dropped_in_batch": tenths(train[len(train) // 2 :], "dropped_in_batch"),
        "dropped_in_sentence": tenths(train[len(train) // 2 :], "dropped_in_sentence"),
        "languages": languages,
        "load": by_language(valid[-1].get("layers", []) if valid else [], languages),
    }


def read_assessment(text):
    """Scores by direction, and of each MoE layer the share of each language's tokens that goes to each expert."""
    found = json.loads(text)
    return {
        "bleu": {d["name"]: round(d["bleu"], 2) for d in found["directions"]},
        "chrf": {d["name"]: round(d["chrf"], 2) for d in found["directions"]},
        "length": {d["name"]: round(d["length_ratio"], 4) for d in found["directions"]},
        "languages": found["languages"],
        "load": by_language(found["load"], found["languages"]),
        "layers": [layer["name"] for layer in found["load"]],
    }


def updates_saved(folder):
    """The update from which a training in the folder goes on."""
    return max((int(path.name.removeprefix("step-")) for path in (ROOT / folder / "checkpoints").glob("step-*")), default=0)


def run_row(program, steps, begun):
    """Runs those of a row's commands that the file `begun` does not count as done, and keeps count there; what the last
    training and the last assessment of all say. A training that was cut short is resumed: its seconds are those of its last
    start, times all updates over those made since."""
    state = json.loads(begun.read_text())
    result = state["result"]
    for words in steps[state["done"] :]:
        run_folder = words[words.index("--out") + 1] if words[0] == "train" else None
        saved = updates_saved(run_folder) if run_folder else 0
        output, seconds = call(program, [*words, "--quiet"])
        if run_folder:
            found = read_training(program, run_folder)
            seconds *= found["updates"] / max(1, found["updates"] - saved)
            result.update(found)
        elif words[0] == "assess":
            result.update(read_assessment(output))
        result["seconds"][words[0]] = round(result["seconds"].get(words[0], 0) + seconds, 1)
        state["done"] += 1
        write(begun, json.dumps(state))
    return result


def run(experiment, arguments):
    """Runs what has no result yet and appends it, run by run. Another experiment's result of the same commands counts."""
    for command in experiment["prepare"]:
        subprocess.run(command, shell=True, check=True, cwd=ROOT, env={**os.environ, "CHORUS": arguments.program})
    rows = {row["label"]: row for row in experiment["row"]}
    for row, seed in runs(experiment, arguments.only, arguments.seeds):
        if needed := rows.get(row.get("needs")):
            there = (ROOT / folder(experiment, needed, seed)).exists()
            settle(experiment, needed, seed, arguments.program, [HERE / experiment["name"] / "results.jsonl"] if there else [])
        settle(experiment, row, seed, arguments.program, [] if arguments.again else HERE.glob("*/results.jsonl"))


def settle(experiment, row, seed, program, results):
    """Puts a result of the row into the experiment's file: one out of the files of results, or of a run."""
    path = HERE / experiment["name"] / "results.jsonl"
    steps = [shlex.join(words) for words in commands(experiment, row, seed, "RUN")]
    same = {"seed": seed, "steps": steps, "run_files": hash_of_files(steps)}
    result = next((r for file in results for r in read_results(file) if same.items() <= r.items()), None)
    if result is None:
        say(f"{experiment['name']}: {row['label']}, seed {seed}")
        out = ROOT / folder(experiment, row, seed)
        begun = out.with_suffix(".json")
        if not begun.exists() or not same.items() <= json.loads(begun.read_text()).items():  # else it is resumed
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            write(begun, json.dumps({**same, "done": 0, "result": {"seconds": {}}}))
        result = run_row(program, commands(experiment, row, seed, folder(experiment, row, seed)), begun)
        begun.unlink()
    others = [r for r in read_results(path) if (r["row"], r["seed"]) != (row["label"], seed)]
    write_results(path, [*others, {**result, "row": row["label"], **same}])


def hash_of_files(steps):
    """Of the run files that the steps name, so that a change of one is noticed."""
    names = sorted({word for step in steps for word in shlex.split(step) if word.endswith(".toml")})
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in names)).hexdigest()[:16]


def read_results(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def write_results(path, results):
    write(path, "".join(json.dumps(r) + "\n" for r in results))


def write(path, text):
    """Whole or not at all, as a reader or a second runner may look on."""
    part = path.with_suffix(".part")
    part.write_text(text)
    os.replace(part, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--only", action="append", default=[], metavar="ROW", help="only this row (repeatable)")
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], help="these seeds instead of the experiment's")
    parser.add_argument("--again", action="store_true", help="also run rows that have a result")
    parser.add_argument("--plot-only", action="store_true", help="run nothing; tables and plots of what there is")
    parser.add_argument("--list", action="store_true", help="print the commands that would be run")
    parser.add_argument("--program", default=str(ROOT / "build" / "release" / "chorus"), help="the chorus to run", metavar="FILE",
                        type=os.path.abspath)
    arguments = parser.parse_args()
    try:
        experiment = load(arguments.name)
        if arguments.list:
            for row, seed in runs(experiment, arguments.only, arguments.seeds):
                steps = commands(experiment, row, seed, folder(experiment, row, seed))
                print(f"# {row['label']}, seed {seed}", *(f"chorus {shlex.join(s)}" for s in steps), sep="\n")
            return
        if not arguments.plot_only:
            run(experiment, arguments)
        report.write(experiment, read_results(HERE / experiment["name"] / "results.jsonl"), HERE, ROOT / "docs" / "results.md")
    except (ExperimentError, report.ReportError, subprocess.CalledProcessError) as error:
        sys.exit(f"experiments: error: {error}")


if __name__ == "__main__":
    main()
