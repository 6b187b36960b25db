#!/usr/bin/env python3
"""Where the processor's time goes in a training step and in translation, as the table of docs/performance.md: our side of rows of
bench/run.py under `perf record`, which counts samples by function.

    make bench BENCH=--list >/dev/null       # builds chorus_bench
    bench/where_time_goes.py [--threads N] [--seconds S]

Needs perf (Debian: linux-perf) and the right to use it (kernel.perf_event_paranoid <= 1, or root).
"""
import argparse
import collections
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import run

CASES = {"dense step": "step-time/fp32/dense", "MoE step, 32 experts": "step-time/fp32/moe",
         "translation, dense, beam 4, batch 32": "translate/dense/fp32/beam4/batch32", "the same, MoE": "translate/moe/fp32/beam4/batch32"}
# The first that matches "object function" names what a sample was doing.
KINDS = [
    ("arithmetic of products", r"multiply<|multiply_few|multiply_block"),
    ("copying their operands into blocks", r"pack_panel|pack_right|LeftBlock|convert_elements|for_steps|for_parts"),
    ("what follows them: transposing, bias, relu, residual", r"\bwrite<|run_few|run_by_(left|right)|product_by"),
    ("attention", r"attention|mkl_|[Aa]ttend|softmax"),
    ("softmax of the loss; best tokens", r"cross_entropy|best_tokens|rows_on_cpu|for_rows"),
    ("dropout and jitter", r"map_with_bits|random_halves"),
    ("AdamW and the gradient's norm", r"adamw|AdamW|sum_of_squares"),
    ("norms, forward and backward", r"norm_rows|LayerNorm"),
    ("routing, dispatch and combine of the experts", r"gather_rows|combine_rows|sum_rows|[Rr]oute|sort_by_expert"),
    ("libtorch's other operators", r"^libtorch|^libc10"),
    ("threads waiting for each other", r"^libgomp"),
    ("the system", r"^\[kernel"),
    ("the rest", r""),
]


def record(cell, threads, seconds):
    """Seconds of one repetition, and percent of the samples by kind."""
    written = cell.prepare(run.OUT / "data")
    worker = run.Worker("chorus", 1, threads)
    try:
        worker.ask({"case": cell.sides["chorus"].case})
        once = worker.ask({"run": 1})["seconds"]
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "perf.data"
            recorder = subprocess.Popen(["perf", "record", "--quiet", "--freq", "499", "--pid", str(worker.process.pid), "--output", data],
                                        stderr=subprocess.PIPE, text=True)
            time.sleep(0.5)  # until it counts
            if recorder.poll() is not None:
                sys.exit(f"where_time_goes: perf record: {recorder.stderr.read().strip()}")
            count = max(1, round(seconds / once))
            taken = worker.ask({"run": count})["seconds"] / count
            recorder.send_signal(signal.SIGINT)
            recorder.wait()
            report = subprocess.run(["perf", "report", "--input", data, "--no-children", "--stdio", "--call-graph", "none", "--fields",
                                     "overhead,dso,sym"], capture_output=True, text=True, check=True).stdout
    finally:
        worker.close()
        for path in written:
            path.unlink(missing_ok=True)
    shares = collections.Counter()
    for line in report.splitlines():
        if found := re.match(r"\s*([\d.]+)%\s+(\S+)\s+\[.\] (.*)", line):
            function = f"{found[2]} {found[3]}"
            shares[next(kind for kind, pattern in KINDS if re.search(pattern, function))] += float(found[1])
    return taken, shares


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each case (default: as many as cores)")
    parser.add_argument("--seconds", type=float, default=20, help="how long each case is watched, at least one repetition")
    arguments = parser.parse_args()
    run.enter_venv()
    import rows
    cells = {cell.id: cell for cell in rows.all_cells(run.OUT, run.PROGRAM)}
    columns = {}
    for name, cell in CASES.items():
        run.say(f"watching: {name}")
        columns[name] = record(cells[cell], arguments.threads, arguments.seconds)
    print("| | " + " | ".join(columns) + " |\n|" + " --- |" * (1 + len(columns)))
    print("| time | " + " | ".join(f"{taken:.3g} s" for taken, _ in columns.values()) + " |")
    for kind, _ in KINDS:
        shown = [f"{shares[kind]:.1f}" if shares[kind] >= 0.05 else "" for _, shares in columns.values()]
        if any(shown):
            print(f"| {kind} | " + " | ".join(shown) + " |")


if __name__ == "__main__":
    main()
