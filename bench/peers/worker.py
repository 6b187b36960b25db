"""The peers' side of bench/run.py: the same protocol as chorus_bench (bench/main.cpp), the same works by other programs.

A work is a function of its case that returns (run, facts); see moe.py, model.py.
"""
import ctypes
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
    "optimizer": ["adamw"],
    "command": ["command"],
    "model": ["transformers_step", "transformers_translation", "ctranslate2_translation"],
}


def peak_bytes(run):
    """The highest resident memory while `run` runs."""
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")  # the peak starts again from what is resident now
    run()
    return status_bytes("VmHWM")


class Worker:
    def __init__(self):
        self.run, self.facts, self.idle_bytes = None, {}, None

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
            begun = time.perf_counter()
            for _ in range(request["run"]):
                self.run()
            return {"seconds": time.perf_counter() - begun}
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
    worker = Worker()
    for line in sys.stdin:
        try:
            reply = worker.answer(json.loads(line))
        except Exception as error:  # answered, whatever it is: the driver says it and goes on
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
