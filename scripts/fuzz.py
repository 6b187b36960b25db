#!/usr/bin/env python3
"""Runs the fuzz targets of the preset `fuzz` (libFuzzer, AddressSanitizer, UBSan) side by side, each for its share of the time.

    scripts/fuzz.py --minutes 10 [--only http,safetensors] [-j 2]

Inputs begin with tests/ROOM/NAME_seeds/, which are in the repository, and grow under build/fuzz/corpus/NAME/ from run to run; words of a
format are in tests/ROOM/NAME.dict. A crash, a report of a sanitizer, a leak, an input that takes over 30 s, and more than 512 MB
beyond what the program holds at its start are findings: each is printed with its file, which lies in build/fuzz/findings/, and the
line that repeats it. The run ends with a table: inputs executed, edges of the program and features (edges with how often they are
taken) that the corpus reaches, inputs in it, executions per second, peak memory; the same goes, a JSON line for each target,
to build/fuzz/results.jsonl, and over all runs of it `in all` counts. Exit code: 0 nothing found, 1 something, 2 no programs.
"""

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build/fuzz"
RESULTS = BUILD / "results.jsonl"
TIMEOUT_S = 30
MEMORY_MB = 512
OPTIONS = {
    "ASAN_OPTIONS": "quarantine_size_mb=16:detect_stack_use_after_return=0:strict_string_checks=1:allocator_may_return_null=0",
    "LSAN_OPTIONS": f"suppressions={ROOT}/tests/sanitizers/lsan.txt:print_suppressions=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "ASAN_SYMBOLIZER_PATH": shutil.which("llvm-symbolizer-19") or "",
    "OMP_NUM_THREADS": "1",
}
STATUS = re.compile(r"#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+) corp: (\d+)/\S+.*? rss: (\d+)Mb")


def command_of(source, *more):
    """What runs the target of a source file, less its corpora and time, and its name."""
    name = source.stem.removesuffix("_fuzz")
    program = BUILD / "tests/fuzz" / f"fuzz_{name}"
    dictionary = source.with_name(f"{name}.dict")
    words = [f"-dict={dictionary}"] if dictionary.exists() else []
    return name, [program, *words, f"-timeout={TIMEOUT_S}", *more]


def memory_at_start(command, environment):
    """MB of the program once it has run an empty input: torch's libraries take their part."""
    output = subprocess.run([*command, "-runs=1"], env=environment, capture_output=True, encoding="utf-8", errors="replace").stderr
    found = STATUS.findall(output)
    return int(found[-1][4]) if found else 0


def fuzz(source, seconds, seed, temporary):
    """Runs one target; what to report of it."""
    name, command = command_of(source)
    corpus, findings, seeds = BUILD / "corpus" / name, BUILD / "findings", source.with_name(f"{source.stem[:-5]}_seeds")
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **OPTIONS, "TMPDIR": temporary}
    limit = MEMORY_MB + memory_at_start(command, environment)
    command += [f"-rss_limit_mb={limit}", f"-malloc_limit_mb={MEMORY_MB}"]
    began = time.monotonic()
    run = subprocess.run(
        [*command, f"-max_total_time={max(1, seconds)}", f"-seed={seed}", "-print_final_stats=1",
         f"-artifact_prefix={findings}/{name}-", corpus, *([seeds] if seeds.is_dir() else [])],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8", errors="replace")  # fmt: skip
    status = STATUS.findall(run.stderr)
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", run.stderr))
    executions = int(stats.get("number_of_executed_units", status[-1][0] if status else 0))
    result = {
        "target": name,
        "executions": executions,
        "seconds": round(time.monotonic() - began, 1),
        "edges": int(status[-1][1]) if status else 0,
        "features": int(status[-1][2]) if status else 0,
        "corpus": int(status[-1][3]) if status else 0,
        "peak_mb": int(stats.get("peak_rss_mb", 0)),
        "seed": seed,
        "finding": None,
    }
    if run.returncode != 0:
        written = re.search(r"Test unit written to (\S+)", run.stderr)
        result["finding"] = written.group(1) if written else "none was written"
        log = findings / f"{name}.log"
        log.write_text(run.stderr)
        summary = re.search(r"SUMMARY: (.*)", run.stderr)
        variables = " ".join(f"{key}={value}" for key, value in OPTIONS.items())
        print(
            f"fuzz: {name}: {summary.group(1) if summary else f'ended with {run.returncode}'}\n  input: {result['finding']}\n"
            f"  log: {log}\n  repeat with: {variables} {' '.join(map(str, command))} {result['finding']}",
            flush=True,
        )
    return result


def executions_in_all():
    """Of each target, over all runs."""
    count = {}
    for line in RESULTS.read_text().splitlines():
        record = json.loads(line)
        count[record["target"]] = count.get(record["target"], 0) + record["executions"]
    return count


def print_table(results):
    in_all = executions_in_all()
    head = ("target", "executions", "in all", "edges", "features", "corpus", "exec/s", "peak MB")
    rows = [
        (r["target"], r["executions"], in_all[r["target"]], r["edges"], r["features"], r["corpus"],
         int(r["executions"] / max(r["seconds"], 0.1)), r["peak_mb"])
        for r in results
    ]  # fmt: skip
    rows.append(("in all", *(sum(row[i] for row in rows) for i in range(1, 6)), "", max(row[7] for row in rows)))
    for row in (head, *rows):
        print(f"{row[0]:18}" + "".join(f"{cell:>13}" if isinstance(cell, str) else f"{cell:>13,}" for cell in row[1:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="in all, shared among the targets")
    parser.add_argument("--only", default="", help="these targets, parted by commas")
    parser.add_argument("--seed", type=int, default=0, help="of libFuzzer's draws; 0: the time")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count(), help="programs at a time")
    arguments = parser.parse_args()
    only = set(filter(None, arguments.only.split(",")))
    sources = [s for s in sorted(ROOT.glob("tests/*/*_fuzz.cpp")) if not only or s.stem.removesuffix("_fuzz") in only]
    if unknown := only - {s.stem.removesuffix("_fuzz") for s in sources}:
        print(f"fuzz: no target {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    missing = [name for name, command in map(command_of, sources) if not command[0].exists()]
    if missing or not sources:
        print(f"fuzz: no program for {', '.join(missing) or arguments.only}: `make fuzz` builds them", file=sys.stderr)
        return 2
    jobs = min(arguments.jobs, len(sources))
    seconds = int(arguments.minutes * 60 * jobs / len(sources))
    seed = arguments.seed or int(time.time())
    print(f"fuzz: {len(sources)} targets, {jobs} at a time, {max(1, seconds)} s each, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chorus-fuzz-", dir="/dev/shm") as temporary:
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            results = list(pool.map(lambda source: fuzz(source, seconds, seed, temporary), sources))
    with RESULTS.open("a") as file:
        file.writelines(json.dumps(result) + "\n" for result in results)
    print_table(results)
    return 1 if any(result["finding"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
