#!/usr/bin/env python3
"""Kills chorus at random moments and starts it again, until it has ended by itself: what it has made then is what it makes undisturbed.

    kill.py --chorus PATH --library PATH [--mpirun PATH] [--kills N] [--seed S] [--only SCENARIO,...]

A moment is a time; or the n-th call that changes or reads a file (tests/faults/preload.cpp), which falls into starts and saves more often than
any time does; of ranks, on one of them or all at once. One in seven is SIGTERM instead of SIGKILL. One in three starts is killed again. The seed of a
failure is printed: `--seed THAT --kills 1` repeats it, up to what the clock decides. Never is the newest checkpoint that was there gone or older.
"""
import argparse
import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from faults import RUN, Counts, complaint, difference, environment, execute, plain_environment, tree, write_corpus

SECONDS = 120
STAGES = RUN + """[[train.stage]]
name = "a"
set = ["train.duration=3u"]
[[train.stage]]
name = "b"
set = ["train.duration=3u", "seed=2"]
[[train.stage]]
name = "large"
init = ["a", "b"]
set = ["train.duration=4u"]
"""


class Scenario:
    def __init__(self, name, out, command, ranks=1, replaces=True):
        self.name, self.out, self.command, self.ranks = name, out, command, ranks
        self.replaces = replaces  # or refuses a result that is there

    def line(self, mpirun, faults, struck):
        """The command; of ranks, only `struck` has the environment of the faults."""
        if self.ranks == 1:
            return ["env", *faults, *self.command] if faults else self.command
        line = [mpirun]
        for rank in range(self.ranks):
            line += [":"] * (rank > 0) + ["-n", "1", *(["env", *faults] if faults and rank == struck else []), *self.command]
        return line


def make_scenarios(chorus):
    train = [chorus, "train", "run.toml", "-q", "--out", "run", "--set", "train.duration=8u"]
    tiers = [f"--set=memory.{what}=nvme" for what in ("parameters", "gradients", "optimizer")]
    return [
        Scenario("one process", "run", train),
        Scenario("tiers", "run", [*train, *tiers]),
        Scenario("3 ranks", "run", [*train, "--set", "parallel.zero=2"], ranks=3),
        Scenario("3 ranks in parts", "run", [*train, "--set", "parallel.zero=2", "--set", "train.checkpoint_part_size=1MiB"], ranks=3),
        Scenario("3 ranks with tiers", "run", [*train, "--set", "parallel.zero=3", *tiers], ranks=3),
        Scenario("stages", "run", [chorus, "train", "stages.toml", "-q", "--out", "run"]),
        Scenario("export", "made", [chorus, "export", "trained", "--out", "made", "--format", "nllb-moe", "-q"]),
        Scenario("quantize", "made", [chorus, "quantize", "trained", "--out", "made", "-q"], replaces=False),
    ]


def prepare(base, chorus):
    base.mkdir()
    write_corpus(base)
    (base / "stages.toml").write_text(STAGES)
    done = subprocess.run([chorus, "train", "run.toml", "-q", "--out", "trained", "--set", "train.duration=1u", "--set", "train.checkpoint_every=0",
                           "--set", "validation.every=0"], cwd=base, env=plain_environment(), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)


def newest(folder):
    """The newest checkpoint of each run below a folder."""
    found = {}
    for state in folder.rglob("checkpoints/step-*/state.json"):
        run, step = str(state.parents[2].relative_to(folder)), int(state.parent.name[5:])
        found[run] = max(found.get(run, 0), step)
    return found


def final(found, expected):
    """Of what `tree` found, all but checkpoints that are not the last: SIGTERM saves, and keeps, what nobody else would."""
    def step_of(name):
        run, slash, rest = name.partition("/checkpoints/step-")
        return (run, rest.split("/")[0]) if slash else None
    last = dict(step for name in sorted(expected) if (step := step_of(name)))
    return {name: what for name, what in found.items() if not (step := step_of(name)) or last.get(step[0]) == step[1]}


def children(process):
    """The process ids of those that a process has started, whether or not they have groups of their own."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True).stdout
    below = [int(pid) for pid in listed.split()]
    return below + [pid for child in below for pid in children(child)]


def kill_at(process, seconds, sign, ranks, chooser):
    """Waits, and kills: the process, or of mpirun one rank, or all at once as when the power fails."""
    time.sleep(seconds)
    targets = [process.pid]
    if ranks > 1 and sign == signal.SIGKILL:
        below = children(process.pid)
        targets = [chooser.choice(below)] if below and chooser.random() < 0.7 else [*below, process.pid]
    for pid in targets:
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            pass


def kill_once(scenario, folder, mpirun, library, counts, chooser, times, calls):
    """One start that is killed. (how, exit code, what it said)"""
    sign = signal.SIGTERM if chooser.random() < 1 / 7 else signal.SIGKILL
    by_time = chooser.random() < 0.4
    counts.clear()
    faults = {}
    if not by_time:
        at = chooser.randint(1, calls[scenario.name])
        faults = environment(library, counts, folder, "any", at, "kill" if sign == signal.SIGKILL else "term")
    seconds = chooser.uniform(0, times[scenario.name])
    how = f"{sign.name} {f'after {seconds:.2f} s' if by_time else f'at call {at}'}"
    process = subprocess.Popen(scenario.line(mpirun, [f"{k}={v}" for k, v in faults.items()], chooser.randrange(scenario.ranks)), cwd=folder,
                               env=plain_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if by_time:
        kill_at(process, seconds, sign, scenario.ranks, chooser)
    try:
        _, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        for pid in [*children(process.pid), process.pid]:
            os.kill(pid, signal.SIGKILL)
        return how, None, process.communicate()[1]
    return how, process.returncode, err


def one(scenario, base, folder, seed, arguments, counts, expected, times, calls):
    """Kills, starts again, compares. (kills, what is wrong or "")"""
    chooser = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    story = []
    while True:
        before = newest(folder)
        how, code, err = kill_once(scenario, folder, arguments.mpirun, arguments.library, counts, chooser, times, calls)
        story.append(f"{how}: code {code}")
        if code is None:
            return story, f"hangs: {err[-300:]}"
        if code in (1, 2) and scenario.ranks == 1 and complaint(code, err):
            return story, complaint(code, err)
        after = newest(folder)
        if any(after.get(run, -1) < step for run, step in before.items()):
            return story, f"the newest checkpoints were {before} and are {after}"
        if chooser.random() < 2 / 3:
            break
    if scenario.replaces or not (folder / scenario.out).exists():
        code, _, err = execute(scenario.line(arguments.mpirun, {}, 0), folder, {}, SECONDS)
        if code != 0:
            return story, f"started again, it ends with code {code}: {err[-400:]}"
    return story, difference(final(expected, expected), final(tree(folder), expected))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chorus", required=True, type=Path)
    parser.add_argument("--library", required=True, type=Path, help="the preloaded library, build/release/tests/faults/libfaults.so")
    parser.add_argument("--mpirun", default="mpirun")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", type=lambda text: text.split(","), help="these scenarios")
    arguments = parser.parse_args()
    arguments.library = arguments.library.resolve()
    began = time.monotonic()
    print(f"SEED={arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        top = Path(os.path.realpath(name))
        base, folder = top / "base", top / "work"
        prepare(base, str(arguments.chorus.resolve()))
        counts = Counts(top / "counts")
        made = [s for s in make_scenarios(str(arguments.chorus.resolve())) if not arguments.only or s.name in arguments.only]
        expected, times, calls = {}, {}, {}
        for scenario in made:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(base, folder)
            counts.clear()
            start = time.monotonic()
            faults = environment(arguments.library, counts, folder)
            code, _, err = execute(scenario.line(arguments.mpirun, [f"{k}={v}" for k, v in faults.items()], 0), folder, {}, SECONDS)
            if code != 0:
                sys.exit(f"{scenario.name}: undisturbed, it ends with code {code}: {err}")
            times[scenario.name], calls[scenario.name] = time.monotonic() - start, counts.read()[1]
            expected[scenario.name] = tree(folder)
        kills, wrong, seed = collections.Counter(), 0, arguments.seed
        while sum(kills.values()) < arguments.kills:
            scenario = made[random.Random(f"scenario {seed}").randrange(len(made))]
            story, problem = one(scenario, base, folder, seed, arguments, counts, expected[scenario.name], times, calls)
            kills[scenario.name] += len(story)
            if problem:
                wrong += 1
                print(f"WRONG  SEED={seed} {scenario.name}: {'; '.join(story)}: {problem}", flush=True)
            seed += 1
            if (seed - arguments.seed) % 50 == 0:
                print(f"{sum(kills.values())} kills, {seed - arguments.seed} runs, {wrong} wrong, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{sum(kills.values())} kills, {seed - arguments.seed} runs, {wrong} wrong, {time.monotonic() - began:.0f} s: "
          + ", ".join(f"{name} {n}" for name, n in sorted(kills.items())))
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
