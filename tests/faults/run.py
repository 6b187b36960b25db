#!/usr/bin/env python3
"""Makes system calls of chorus fail, one at a time, and looks at what becomes of it.

    run.py --chorus PATH --library PATH [--mpirun PATH] [--all | --sample N] [--seed S] [--only SCENARIO,...] [--calls KIND,...]

A scenario is a command. It runs undisturbed, which gives its result and how often it makes each kind of call; then again with the n-th call
of a kind failing, for each kind and effect, and every n (--all) or a seeded sample. Each time:

- the fault is gone round, exit code 0, with the undisturbed result byte for byte; what must be gone round (EINTR, short reads) always is;
- or there is one line that says why, exit code 1 or 2; and the same command, started again, ends in the undisturbed result, with nothing left over.
"""
import argparse
import collections
import concurrent.futures
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import scenarios
from faults import Counts, complaint, difference, environment, tree

HARMLESS = {"EINTR", "short"}  # the call is simply to be made again
EFFECTS = {
    "open": ["EMFILE", "EIO", "ENOMEM", "EINTR", "EACCES"], "list": ["EMFILE", "EIO", "EACCES"], "read": ["EIO", "EINTR", "short"],
    "write": ["ENOSPC", "ENOSPC+", "EIO", "EINTR", "short"], "sync": ["EIO", "ENOSPC", "EINTR"],
    "rename": ["EIO", "ENOSPC", "EACCES"], "mmap": ["ENOMEM"], "space": ["ENOSPC", "EIO", "EINTR"], "close": ["EIO", "ENOSPC", "EINTR"],
    "unlink": ["EIO", "EACCES"], "mkdir": ["ENOSPC", "EACCES"], "stat": ["EIO", "ENOMEM", "EACCES"], "flock": ["ENOLCK"],
    "uring": ["EIO", "ENOSPC", "EINTR", "EAGAIN", "short"], "submit": ["EAGAIN", "EINTR", "ENOMEM"],
    "await": ["EINTR", "EAGAIN"], "begin": ["ENOSYS", "ENOMEM", "EPERM"], "spawn": ["EAGAIN", "ENOMEM"], "thread": ["EAGAIN"],
    "socket": ["EMFILE", "EACCES"], "accept": ["EMFILE", "ECONNRESET", "EINTR", "EAGAIN"],
    "receive": ["ECONNRESET", "EIO", "EINTR", "EAGAIN", "short"], "send": ["EPIPE", "ECONNRESET", "EINTR", "EAGAIN", "short"],
    "mpi_start": ["EIO"], "mpi_send": ["EIO"], "mpi_receive": ["EIO"], "mpi_wait": ["EIO"],
}


# Once wrong, always tried.
ALWAYS = {
    "train": [("write", 1, "short"), ("space", 1, "EINTR"), ("open", 1, "EINTR"), ("thread", 1, "EAGAIN"),
              ("stat", 63, "EIO"), ("stat", 64, "EIO"), ("stat", 161, "EIO")],
    "tiers": [("space", 4, "EINTR")],
    "report": [("stat", 1, "EIO"), ("list", 1, "EIO"), ("open", 2, "EINTR")],
    "translate": [("stat", 1, "EIO")],
    "ranks": [("mpi_send", 82, "EIO"), ("write", 5, "ENOSPC+")],
}


class Worker:
    """A folder of its own, in which a scenario's copy lies while it runs."""

    def __init__(self, folder, library):
        self.folder = folder
        self.library = library
        self.counts = Counts(folder.with_suffix(".counts"))

    def fresh(self, base):
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(base, self.folder, symlinks=True)
        self.counts.clear()

    def run(self, scenario, *fault):
        return scenario.run(self.folder, environment(self.library, self.counts, self.folder, *fault))


def try_fault(worker, base, scenario, expected, call, at, effect):
    """(what happened: "went on", "ended" or "not reached", what is wrong with it or "", what the program said)"""
    worker.fresh(base)
    code, out, err = worker.run(scenario, call, f"{at}+" if effect[-1] == "+" else at, effect.rstrip("+"))
    struck = worker.counts.read()[2]
    if not struck:
        return "not reached", "", ""
    words = [line for line in err.splitlines() if line.startswith("chorus: error: ")] or err.strip().splitlines() or ["no word"]
    where = f"{struck}: {words[0]}".replace(f"{worker.folder}/", "")
    if code == 0:
        wrong = difference(expected, {**tree(worker.folder), "standard output": out})
        if wrong and effect not in HARMLESS:  # what the next start cleans is no matter
            scenario.again(worker.folder)
            wrong = difference(expected, {**tree(worker.folder), "standard output": out})
        return "went on", wrong and f"code 0, but {wrong}", where
    if wrong := complaint(code, err, scenario.alone):
        return "ended", f"{wrong}: {err[-300:]}", where
    if effect in HARMLESS or (call in ("uring", "submit", "await", "begin") and effect in ("EAGAIN", "ENOSYS")):
        return "ended", "is to go on", where
    code, out, err = scenario.again(worker.folder)
    if code != 0:
        return "ended", f"started again, it ends with code {code}: {err[-300:]}", where
    wrong = difference(expected, {**tree(worker.folder), "standard output": expected["standard output"] if out is None else out})
    return "ended", wrong and f"started again, it has another result: {wrong}", where


def numbers(count, arguments, chooser):
    if arguments.all or count <= arguments.sample:
        return list(range(1, count + 1))
    return sorted({1, count, *chooser.sample(range(1, count + 1), arguments.sample)})[:arguments.sample]


def run_scenario(scenario, arguments, workers, base):
    began = time.monotonic()
    worker = workers[0]
    worker.fresh(base)
    code, out, err = worker.run(scenario)
    if code != 0:
        sys.exit(f"{scenario.name}: undisturbed, it ends with code {code}: {err}")
    expected = {**tree(worker.folder), "standard output": out}
    uses = {kind: n for kind, n in worker.counts.read()[0].items() if n and kind in (arguments.calls or EFFECTS) and kind in scenario.kinds}
    chooser = random.Random(f"{arguments.seed} {scenario.name}")
    tasks = [(call, at, effect) for call, n in uses.items() for effect in EFFECTS[call] for at in numbers(n, arguments, chooser)]
    if arguments.cut:
        tasks = sorted({*chooser.sample(tasks, min(len(tasks), arguments.cut)), *ALWAYS.get(scenario.name, [])})
    idle, lock = list(workers), threading.Lock()
    tally, wrong = collections.defaultdict(collections.Counter), []

    def one(task):
        with lock:
            mine = idle.pop()
        try:
            happened, complaint_, where = try_fault(mine, base, scenario, expected, *task)
        finally:
            with lock:
                idle.append(mine)
        with lock:
            tally[task[0], task[2]][happened] += 1
            if complaint_:
                wrong.append(task)
                print(f"WRONG  {scenario.name}: {task[0]} {task[1]} {task[2]}: {complaint_}\n       {where}", flush=True)
            elif arguments.verbose:
                print(f"       {scenario.name}: {task[0]} {task[1]} {task[2]}: {happened}; {where}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(len(workers)) as pool:
        list(pool.map(one, tasks))
    print(f"{scenario.name}: {len(tasks)} faults, {len(wrong)} wrong, {time.monotonic() - began:.0f} s; uses: "
          + ", ".join(f"{kind} {n}" for kind, n in uses.items()), flush=True)
    for (call, effect), seen in sorted(tally.items()):
        print(f"    {call:12}{effect:12}" + ", ".join(f"{n} {what}" for what, n in sorted(seen.items())))
    return len(tasks), len(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chorus", required=True, type=Path)
    parser.add_argument("--library", required=True, type=Path, help="the preloaded library, build/release/tests/faults/libfaults.so")
    parser.add_argument("--mpirun", default="mpirun")
    parser.add_argument("--all", action="store_true", help="every n")
    parser.add_argument("--sample", type=int, default=8, help="n of each kind of call and effect, at most")
    parser.add_argument("--cut", type=int, default=0, help="faults of a scenario, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=lambda text: text.split(","), help="these scenarios")
    parser.add_argument("--calls", type=lambda text: text.split(","), help="these kinds of calls")
    parser.add_argument("-j", type=int, default=2, help="runs at a time")
    parser.add_argument("-v", "--verbose", action="store_true", help="what became of each fault")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(os.path.realpath(name))
        made = scenarios.prepare(folder / "base", str(arguments.chorus.resolve()), arguments.mpirun)
        workers = [Worker(folder / f"work{i}", arguments.library.resolve()) for i in range(arguments.j)]
        results = [run_scenario(scenario, arguments, workers, folder / "base") for scenario in made
                   if not arguments.only or scenario.name in arguments.only]
    faults, wrong = (sum(column) for column in zip(*results))
    print(f"{faults} faults in {len(results)} scenarios, {wrong} wrong (seed {arguments.seed})")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
