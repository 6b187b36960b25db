#!/usr/bin/env python3
"""Translates the same lines with `chorus translate` and with chorus.Translator, taking turns, and prints the ratio of their times.

    PYTHONPATH=build/release/python-package .venv/bin/python bench/python.py --model DIR --from en --to de --text FILE
        [--lines 512] [--beam 4] [--threads 1] [--rounds 5]

Times are of the processor, user and system, so that other work on the machine matters little. The program's are those of all
lines less those of none, since its start is none of the list's; the list's are those of one call.
"""
import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

import chorus
from chorus import _program


def program_seconds(a, lines):
    words = [_program.PROGRAM, "translate", "--model", a.model, "--from", a.source, "--to", a.target, "--beam", str(a.beam),
             "--threads", str(a.threads), "-q"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(words, input="".join(line + "\n" for line in lines), env=_program.environment(), capture_output=True, text=True,
                          check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, done.stdout.split("\n")[:-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--from", dest="source", required=True)
    parser.add_argument("--to", dest="target", required=True)
    parser.add_argument("--text", required=True)
    for name, default in (("lines", 512), ("beam", 4), ("threads", 1), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    a = parser.parse_args()
    with open(a.text, encoding="utf-8") as file:
        lines = file.read().splitlines()[: a.lines]
    chorus.set_threads(a.threads)
    translator = chorus.Translator(a.model, source=a.source, target=a.target)
    translator.translate(lines[:1], beam=a.beam)
    ratios = []
    for _ in range(a.rounds):
        whole, theirs = program_seconds(a, lines)
        program = whole - program_seconds(a, [])[0]
        began = time.process_time()
        ours = [t.text for t in translator.translate(lines, beam=a.beam)]
        seconds = time.process_time() - began
        if ours != theirs:
            sys.exit(f"{sum(x != y for x, y in zip(ours, theirs))} of {len(lines)} translations differ")
        ratios.append(seconds / program)
        print(f"program {program:.2f} s, list {seconds:.2f} s, ratio {ratios[-1]:.3f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.3f} over {len(lines)} lines, beam {a.beam}, threads {a.threads}, "
          f"{os.cpu_count()} cores; {translator.parameters:,} weights")


if __name__ == "__main__":
    main()
