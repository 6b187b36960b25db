#!/usr/bin/env python3
"""Measures chorus against its peers, in interleaved runs, and writes one table. docs/benchmarks.md says how to read it.

    bench/run.py [--only PREFIX,...] [--quick] [--again] [--minutes M] [--threads N] [--list | --table]

A cell is one case: the same work by two programs or more, each a process that holds it prepared and runs it when told to.
They take turns; the table has the median of the ratios of neighbouring runs. What was measured already with the same
chorus_bench is not measured again, so a run that was cut short goes on where it stopped.
"""
import argparse
import dataclasses
import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import time

BENCH = pathlib.Path(__file__).resolve().parent
ROOT = BENCH.parent
OUT = ROOT / "build" / "bench"
PROGRAM = ROOT / "build" / "release" / "bench" / "chorus_bench"
VENV = pathlib.Path(os.environ.get("BENCH_VENV") or OUT / "venv")

SHORT = 0.15  # seconds: a run repeats its work until it takes as long
PAUSE = 0.02  # seconds between runs, in which the other process's threads come to rest


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


# ---- the peers' virtual environment -----------------------------------------------------------------------------------

def make_venv():
    """Installs requirements.txt, unless BENCH_VENV names an environment to take as it is."""
    stamp, requirements = VENV / "bench-requirements", (BENCH / "requirements.txt").read_text()
    if os.environ.get("BENCH_VENV") or (stamp.exists() and stamp.read_text() == requirements):
        return
    say(f"installing the peers into {VENV.relative_to(ROOT)} (torch's public index serves several GB)")
    subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    packages = [line for line in requirements.splitlines() if line and not line.startswith("#")]
    first = [p for p in packages if p.startswith("torch==")]
    deepspeed = [p for p in packages if p.startswith("deepspeed")]
    pip = [VENV / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *first, "setuptools", "wheel", "ninja", "psutil", "py-cpuinfo"], check=True)
    subprocess.run([*pip, *[p for p in packages if p not in first + deepspeed]], check=True)
    subprocess.run([*pip, "--no-build-isolation", *deepspeed], check=True, env={**os.environ, "DS_BUILD_OPS": "0"})
    stamp.write_text(requirements)


def enter_venv():
    """Goes on in the peers' environment, with the folders there that results and data go to."""
    for folder in ("cells", "data"):
        (OUT / folder).mkdir(parents=True, exist_ok=True)
    make_venv()
    if pathlib.Path(sys.prefix).resolve() != VENV.resolve():
        os.execv(VENV / "bin" / "python", [str(VENV / "bin" / "python"), *sys.argv])


# ---- workers -----------------------------------------------------------------------------------------------------------

class WorkerError(Exception):
    pass


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy_seconds():
    """Of all processors together, since the machine started."""
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, open("/proc/stat").readline().split()[1:])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# For mpirun: by root, as in containers; more ranks than the slots it counts; ranks go where the system puts them.
MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
       "OMPI_MCA_hwloc_base_binding_policy": "none"}


# What holds CTranslate2, libtorch and the libraries behind them to an instruction set; chorus_bench is told by its case.
ISA = {None: {}, "avx2": {"CT2_FORCE_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}}


class Worker:
    """A process, or as many as a side has ranks, of which rank 0 reads and answers."""

    def __init__(self, program, ranks, threads, isa=None):
        command = [PROGRAM] if program == "chorus" else [sys.executable, BENCH / "peers" / "worker.py"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false",
                       "OPENBLAS_THREAD_TIMEOUT": "16",  # 2^16 cycles: its threads would spin on into the others' time
                       "TRANSFORMERS_VERBOSITY": "error", "DS_ACCELERATOR": "cpu", "LOCAL_SIZE": str(ranks),
                       "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}", "TORCH_EXTENSIONS_DIR": str(OUT / "extensions"), **ISA[isa]}
        if ranks > 1:
            command = ["mpirun", "-n", str(ranks), *command]
            environment |= {**MPI, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        self.name = program
        self.log = open(OUT / f"{program}.log", "a")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        env=environment)

    def cpu_seconds(self):
        """Of all its processes."""
        pids, seconds = [self.process.pid], 0
        while pids:
            pid = pids.pop()
            seconds += cpu_seconds(pid)
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        return seconds

    def ask(self, request):
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            reply = json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise WorkerError(f"{self.name} ended with {self.process.wait()} (see {self.log.name})") from None
        if "error" in reply:
            raise WorkerError(f"{self.name}: {reply['error']}")
        return reply

    def close(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:  # it has died
            pass
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Pool:
    """Processes live from cell to cell: importing a peer takes longer than most cases."""

    def __init__(self):
        self.workers = {}

    def get(self, cell, threads):
        """One worker per side, each a process of its own unless they are together."""
        keys = {}
        for name, side in cell.sides.items():
            wanted = (side.program, side.ranks, side.threads or threads, side.isa)
            keys[name] = (*wanted, 0 if cell.together else sum(key[:-1] == wanted for key in keys.values()))
        if {key[1:3] for key in self.workers} - {key[1:3] for key in keys.values()}:
            self.close()  # what they keep of earlier cells would be missing here
        for key in keys.values():
            if key not in self.workers:
                self.workers[key] = Worker(*key[:-1])
        return {name: self.workers[key] for name, key in keys.items()}

    def drop_cases(self):
        for worker in self.workers.values():
            worker.ask({"case": None})

    def close(self):
        for worker in self.workers.values():
            worker.close()
        self.workers = {}


# ---- measuring -----------------------------------------------------------------------------------------------------------

def timed(name, worker, others, repeats, machine):
    """Seconds per repetition, and what share of the machine others used meanwhile."""
    time.sleep(PAUSE)
    begun, busy, own = time.perf_counter(), busy_seconds(), worker.cpu_seconds()
    idle = [other.cpu_seconds() for other in others]
    seconds = worker.ask({"run": repeats, "as": name})["seconds"]
    wall = time.perf_counter() - begun
    foreign = busy_seconds() - busy - (worker.cpu_seconds() - own)
    machine["foreign"].append(max(0.0, foreign / wall / os.cpu_count()))
    machine["idle_worker"].append(max([0.0] + [(o.cpu_seconds() - i) / wall for o, i in zip(others, idle)]))
    return seconds / repeats


def rounds_for(seconds_per_round, quick):
    if seconds_per_round > 60:
        return 1
    most = 3 if quick else 11
    return max(3, min(most, int((10 if quick else 30) / seconds_per_round)))


def measure_time(cell, pool, threads, quick):
    pool.drop_cases()
    workers = pool.get(cell, threads)
    facts = {name: workers[name].ask({"case": {**side.case, "threads": side.threads or threads, "isa": side.isa}, "as": name})["facts"]
             for name, side in cell.sides.items()}
    machine = {"foreign": [], "idle_worker": []}
    others = {name: [w for w in workers.values() if w is not worker] for name, worker in workers.items()}
    first = {name: timed(name, worker, others[name], 1, machine) for name, worker in workers.items()}
    repeats = {name: max(1, math.ceil(SHORT / max(seconds, 1e-5))) for name, seconds in first.items()}
    total = sum(first[name] * repeats[name] for name in first)
    seconds = {name: [] for name in workers}
    for _ in range(rounds_for(total, quick)):
        for name, worker in workers.items():
            seconds[name].append(timed(name, worker, others[name], repeats[name], machine))
    return {"sides": {name: {"seconds": seconds[name], "facts": facts[name]} for name in workers},
            "foreign": statistics.median(machine["foreign"]), "idle_worker": statistics.median(machine["idle_worker"])}


def measure_peak(cell, pool, threads):
    """Each side alone, in a process of its own."""
    pool.close()
    sides = {}
    for name, side in cell.sides.items():
        worker = Worker(side.program, side.ranks, side.threads or threads, side.isa)
        try:
            facts = worker.ask({"case": {**side.case, "threads": threads, "isa": side.isa}})["facts"]
            replies = [worker.ask({"peak": True}) for _ in range(2)]
            sides[name] = {key: [reply[key] for reply in replies] for key in replies[0]} | {"facts": facts}
        finally:
            worker.close()
    return {"sides": sides}


def disagreement(sides):
    """What the sides' checks do not agree on, or an empty text."""
    complaints = []
    for key in sorted({key for side in sides.values() for key in side["facts"].get("checks", {})}):
        values = {name: side["facts"]["checks"][key] for name, side in sides.items() if key in side["facts"].get("checks", {})}
        if max(values.values()) > 1.02 * min(values.values()):
            complaints.append(f"{key}: " + ", ".join(f"{name} {value:.5g}" for name, value in values.items()))
    kept = {side["facts"]["kept"] for side in sides.values() if "kept" in side["facts"]}
    if len(kept) > 1:
        complaints.append(f"kept choices: {sorted(kept)}")
    return "; ".join(complaints)


def ratios_of(cell, sides):
    for ratio in cell.ratios:
        field = "bytes" if cell.kind == "peak" else "seconds"
        figures = {name: [side["facts"][ratio.fact]] if ratio.fact else side[field] for name, side in sides.items()
                   if name in (ratio.ours, ratio.peer)}
        ours, peer = figures[ratio.ours], figures.get(ratio.peer)
        if peer is None:
            pairs = ours
        elif cell.kind == "peak":
            pairs = [min(ours) / min(peer)]
        else:
            pairs = [p / o for o, p in zip(ours, peer)]
        yield {**dataclasses.asdict(ratio), "median": statistics.median(pairs), "low": min(pairs), "high": max(pairs), "pairs": len(pairs)}


def measure(cell, pool, settings):
    threads = cell.threads or settings.threads
    result = {"id": cell.id, "threads": threads, "date": datetime.datetime.now().isoformat(timespec="seconds"),
              "program": settings.program_hash, "quick": settings.quick, "machine": settings.machine}
    if cell.needs_bf16 and not settings.machine["bf16"]:
        return {**result, "skipped": "not measurable here: this CPU has no bf16 arithmetic"}
    begun = time.monotonic()
    data = cell.prepare(OUT / "data") if cell.prepare else None
    try:
        if cell.kind == "peak":
            result |= measure_peak(cell, pool, threads)
        else:
            result |= measure_time(cell, pool, threads, settings.quick)
    finally:
        for path in data or []:
            path.unlink(missing_ok=True)
    result["differs"] = disagreement(cell.check(result["sides"]))
    result["ratios"] = list(ratios_of(cell, result["sides"]))
    result["took"] = time.monotonic() - begun
    return result


# ---- the run ---------------------------------------------------------------------------------------------------------------

def machine():
    info = dict(line.split(":", 1) for line in open("/proc/cpuinfo").read().split("\n\n")[0].splitlines())
    info = {key.strip(): value.strip() for key, value in info.items()}
    flags = set(info["flags"].split())
    isa = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if name in flags]
    memory = int(open("/proc/meminfo").readline().split()[1]) / 2**20
    peers = ("torch", "transformers", "deepspeed", "ctranslate2", "sentencepiece")
    there = {package.metadata["Name"]: package.version for package in importlib.metadata.distributions()}
    return {"cpu": f"{info['model name']} (family {info['cpu family']}, model {info['model']})", "cores": os.cpu_count(),
            "isa": isa, "bf16": bool({"avx512_bf16", "amx_bf16"} & flags), "memory_gb": round(memory),
            "versions": {name: there.get(name, "not there") for name in peers}}  # BENCH_VENV may have some only


def result_path(cell_id):
    return OUT / "cells" / (cell_id.replace("/", "_") + ".json")


def load_result(cell_id):
    try:
        return json.loads(result_path(cell_id).read_text())
    except (OSError, json.JSONDecodeError):
        return None


def line_of(result):
    if "error" in result or "skipped" in result:
        return result.get("error") or result["skipped"]
    text = ", ".join(f"{r['what']} {r['median']:.2f}" for r in result["ratios"])
    return text + (f"  [differs: {result['differs']}]" if result["differs"] else "")


def run(cells, settings):
    todo = [cell for cell in cells
            if settings.again or (load_result(cell.id) or {}).get("program") != settings.program_hash or "error" in load_result(cell.id)]
    say(f"{len(cells)} cells, {len(cells) - len(todo)} of them measured already; at most {settings.minutes} minutes")
    begun, pool, guess = time.monotonic(), Pool(), {}
    deadline = begun + 60 * settings.minutes
    for cell in todo:  # what a cell took the last time, else 25 s
        guess[cell.id] = (load_result(cell.id) or {}).get("took", 25)
    for number, cell in enumerate(todo):
        left = sum(guess[c.id] for c in todo[number:])
        if time.monotonic() + guess[cell.id] > deadline:
            say(f"out of time: {len(todo) - number} cells left; the same command goes on with them")
            break
        say(f"[{number + 1}/{len(todo)}, about {left / 60:.0f} minutes left] {cell.id}")
        try:
            result = measure(cell, pool, settings)
        except WorkerError as error:
            pool.close()
            result = {"id": cell.id, "program": settings.program_hash, "error": str(error), "machine": settings.machine}
        say("    " + line_of(result))
        result_path(cell.id).write_text(json.dumps(result, indent=1) + "\n")
    pool.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="prefixes of cells, separated by commas")
    parser.add_argument("--quick", action="store_true", help="the few cells that show each row, three pairs each")
    parser.add_argument("--again", action="store_true", help="also measure what was measured already")
    parser.add_argument("--minutes", type=float, default=120, help="stop before it takes longer (default 120)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of each program (default: as many as cores)")
    parser.add_argument("--list", action="store_true", help="only list the cells")
    parser.add_argument("--table", action="store_true", help="only write the table of what was measured")
    settings = parser.parse_args()
    enter_venv()
    import rows
    import table
    cells = rows.all_cells(OUT, PROGRAM)
    prefixes = [prefix for prefix in settings.only.split(",") if prefix]
    chosen = [cell for cell in cells if (cell.quick or not settings.quick) and (not prefixes or cell.id.startswith(tuple(prefixes)))]
    if settings.list:
        print("\n".join(cell.id for cell in chosen))
        return
    if not settings.table:
        if not chosen:
            sys.exit(f"bench: no cell begins with {settings.only}; --list shows them")
        settings.program_hash = hashlib.blake2b(PROGRAM.read_bytes(), digest_size=8).hexdigest()
        settings.machine = machine()
        run(chosen, settings)
    (OUT / "table.md").write_text(table.markdown(cells, load_result))
    say(f"wrote {(OUT / 'table.md').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
