"""The peers' side of bench/run.py: the same protocol as chorus_bench (bench/main.cpp), the same works by other programs.

A work is a function of its case that returns (run, facts); see moe.py, model.py. Where run() returns a float, these are the
seconds that count of it. On several ranks, as mpirun starts them,
rank 0 reads the requests and answers; all run.
"""
import ctypes
import datetime
import importlib
import json
import os
import sys
import time
import traceback

from memory import status_bytes

# module: works. Imported when first asked for, so that a row needs only its own peer.
WORKS = {
    "moe": ["nllb_moe_layer", "deepspeed_layer", "bare_experts"],
    "optimizer": ["adamw", "deepspeed_offload"],
    "product": ["openblas_product"],
    "disk": ["fio"],
    "command": ["command"],
    "ranks": ["deepspeed_stack"],
    "model": ["transformers_step", "transformers_translation", "ctranslate2_translation"],
}


def peak_bytes(run):
    """The highest resident memory while `run` runs."""
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")  # the peak starts again from what is resident now
    run()
    return status_bytes("VmHWM")


class Ranks:
    """The processes of which this is one; alone unless mpirun started it."""

    def __init__(self):
        self.rank, self.size = (int(os.environ.get(f"OMPI_COMM_WORLD_{what}", one)) for what, one in (("RANK", 0), ("SIZE", 1)))
        if self.size > 1:
            import torch.distributed
            os.environ |= {"RANK": str(self.rank), "LOCAL_RANK": str(self.rank), "WORLD_SIZE": str(self.size)}
            self.collectives = torch.distributed
            self.collectives.init_process_group("gloo", timeout=datetime.timedelta(days=1))

    def next_line(self):
        """Of rank 0's input; empty at its end."""
        line = [sys.stdin.readline() if self.rank == 0 else None]
        if self.size > 1:
            self.collectives.broadcast_object_list(line)
        return line[0]

    def barrier(self):
        if self.size > 1:
            self.collectives.barrier()


class Worker:
    def __init__(self, ranks):
        self.run, self.facts, self.idle_bytes, self.ranks = None, {}, None, ranks

    def prepare(self, case):
        self.run, self.facts = None, {}  # the memory of the case before goes first
        if case is None:
            return {"facts": None}
        module = next(name for name, works in WORKS.items() if case["work"] in works)
        work = getattr(importlib.import_module(module), case["work"])
        if self.idle_bytes is None:
            self.idle_bytes = status_bytes("VmRSS")
        self.run, self.facts = work(case)
        return {"facts": self.facts}

    def answer(self, request):
        if "case" in request:
            return self.prepare(request["case"])
        if "run" in request:
            self.ranks.barrier()
            seconds = 0
            for _ in range(request["run"]):
                begun = time.perf_counter()
                counted = self.run()
                self.ranks.barrier()
                seconds += counted if isinstance(counted, float) else time.perf_counter() - begun
            return {"seconds": seconds}
        beyond = self.idle_bytes + self.facts.get("state_bytes", 0)
        reply = {"bytes": peak_bytes(self.run) - beyond}
        if "forward_peak" in self.facts:  # of a work that has no gradients until its backward
            reply["forward_bytes"] = self.facts["forward_peak"] - beyond + self.facts["gradient_bytes"]
        return reply


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    with open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")  # a case too large for the machine ends this process first
    ranks = Ranks()
    worker = Worker(ranks)
    while line := ranks.next_line():
        try:
            reply = worker.answer(json.loads(line))
        except Exception as error:  # answered, whatever it is: the driver says it and goes on
            traceback.print_exc()
            if ranks.size > 1:
                os._exit(1)  # the others wait for what will not come: mpirun ends them
            reply = {"error": f"{type(error).__name__}: {error}"}
        if ranks.rank == 0:
            answers.write(json.dumps(reply) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
