#!/usr/bin/env python3
"""Tests of the runner with a chorus that only writes what a training run would: experiments/run_test.py"""
import argparse
import json
import pathlib
import sys
import tempfile
import unittest
import unittest.mock

import report
import run
import svg

CHORUS = """#!/usr/bin/env python3
import json, pathlib, sys
words = sys.argv[1:]
calls = pathlib.Path(__file__).with_name("calls")
calls.write_text((calls.read_text() if calls.exists() else "") + " ".join(words) + "\\n")
if words[0] == "vocab":
    print(json.dumps({"languages": ["de", "en"]}))
elif words[0] == "merge":
    pass
elif words[0] == "assess":
    print(json.dumps({"languages": ["de", "en"], "directions": [{"name": "en-de", "bleu": 12.345, "chrf": 40, "length_ratio": 1.01}], "load": []}))
elif "moe.experts=3" in words:
    sys.exit("chorus: error: three experts are a crowd")
else:
    seed = int(words[words.index("--set") + 1].removeprefix("seed="))
    out = pathlib.Path(words[words.index("--out") + 1])
    out.mkdir(parents=True, exist_ok=True)
    layer = {"unused_experts": 0, "max_over_mean": 1.5}
    lines = [{"kind": "train", "update": 20, "dropped": 0.25, "layers": {"encoder.layers.1": layer}}]
    lines += [{"kind": "validation", "update": u, "loss": 5 - u / 20 + seed / 10, "directions": {"en-de": {"loss": 4}},
               "layers": [{"by_language": [1, 3, 2, 2]}]} for u in (10, 20)]
    (out / "metrics.jsonl").write_text("".join(json.dumps(l) + "\\n" for l in lines))
"""

TOML = """
title = "t"
base = "base.toml"
seeds = [1, 2]
set = ["a.b=1"]
[[row]]
label = "dense"
[[row]]
label = "with experts"
set = ["moe.experts=2"]
steps = ["train {base} --out {run} --set seed={seed} {set}", "assess --model {run} --json"]
[[table]]
name = "loss"
of = "loss"
[[table]]
name = "times"
of = "speedup dense"
[[plot]]
kind = "curves"
file = "updates.svg"
title = "t"
x = "updates"
[[plot]]
kind = "heat"
file = "heat.svg"
row = "dense"
title = "h"
"""


class Runner(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        run.ROOT, run.HERE = self.root, self.root / "experiments"
        (run.HERE / "one").mkdir(parents=True)
        (run.HERE / "one" / "experiment.toml").write_text(TOML)
        (run.HERE / "base.toml").write_text("threads = 1")
        self.program = self.root / "chorus"
        self.program.write_text(CHORUS)
        self.program.chmod(0o755)

    def run_all(self, **changes):
        settings = {"only": [], "seeds": None, "again": False, "program": str(self.program)}
        run.run(run.load("one"), argparse.Namespace(**{**settings, **changes}))
        return run.read_results(run.HERE / "one" / "results.jsonl")

    def calls(self, word):
        return [line for line in (self.root / "calls").read_text().splitlines() if line.startswith(word)]

    def test_runs_every_row_with_every_seed_once(self):
        results = self.run_all()
        self.assertEqual([(r["row"], r["seed"]) for r in results],
                         [("dense", 1), ("with experts", 1), ("dense", 2), ("with experts", 2)])
        self.assertEqual(self.calls("train")[1], "train experiments/base.toml --out runs/experiments/one/with-experts/1 "
                                                 "--set seed=1 --set a.b=1 --set moe.experts=2 --quiet")
        self.run_all()
        self.assertEqual(len(self.calls("train")), 4)

    def test_runs_again_what_has_changed_and_what_it_is_told_to(self):
        self.run_all()
        path = run.HERE / "one" / "experiment.toml"
        path.write_text(TOML.replace("moe.experts=2", "moe.experts=4"))
        self.run_all()
        self.assertEqual(len(self.calls("train")), 6)
        results = self.run_all(only=["dense"], seeds=[2], again=True)
        self.assertEqual(len(self.calls("train")), 7)
        (run.HERE / "base.toml").write_text("threads = 2")
        self.run_all()
        self.assertEqual(len(self.calls("train")), 11)
        self.assertEqual(len(results), 4)

    def test_goes_on_where_it_was_cut_short(self):
        row = {"only": ["with experts"], "seeds": [1]}
        working = self.program.read_text()
        self.program.write_text(working.replace('== "assess":', '== "assess":\n    sys.exit("no room")'))
        with self.assertRaisesRegex(run.ExperimentError, "no room"):
            self.run_all(**row)
        self.program.write_text(working)
        (result,) = self.run_all(**row)
        self.assertEqual((len(self.calls("train")), len(self.calls("assess"))), (1, 2))
        self.assertEqual((result["curve"], result["bleu"]), ([[10, 4.6], [20, 4.1]], {"en-de": 12.35}))

        self.program.write_text(working.replace(
            "    layer =", "    (out / 'checkpoints/step-00000010').mkdir(parents=True)\n    sys.exit('killed')\n    layer ="))
        with self.assertRaisesRegex(run.ExperimentError, "killed"):
            self.run_all(**row, again=True)
        self.assertEqual(run.updates_saved("runs/experiments/one/with-experts/1"), 10)
        self.program.write_text(working)
        call = run.call
        with unittest.mock.patch("run.call", lambda *words: (call(*words)[0], 4.0)):
            (result,) = self.run_all(**row, again=True)
        self.assertEqual((len(self.calls("train")), len(self.calls("assess"))), (3, 3))
        self.assertEqual(result["seconds"], {"train": 8.0, "assess": 4.0})  # of 20 updates 10 were made in four seconds

    def test_a_row_with_each_stands_for_several(self):
        rows = [*run.expand({"label": "{n}, {x} of {lang}", "set": ["a={n}"], "each": {"n": [1, 2], "x": [0.5]}})]
        self.assertEqual(rows, [{"label": "1, 0.5 of {lang}", "set": ["a=1"]}, {"label": "2, 0.5 of {lang}", "set": ["a=2"]}])

    def test_a_row_finds_or_makes_what_it_needs(self):
        needy = TOML.replace('steps = ["train {base}', 'needs = "dense"\nsteps = ["merge {needed}", "train {base}')
        (run.HERE / "one" / "experiment.toml").write_text(needy)
        self.run_all(only=["with experts"], seeds=[1])
        self.run_all(seeds=[1])
        self.assertEqual(self.calls("merge"), ["merge runs/experiments/one/dense/1 --quiet"])
        self.assertEqual(len(self.calls("train")), 2)

    def test_reads_training_and_assessment(self):
        dense, experts = self.run_all(seeds=[1])
        self.assertEqual(dense["curve"], [[10, 4.6], [20, 4.1]])
        self.assertEqual(dense["load"], [[[1, 3], [2, 2]]])
        self.assertEqual(dense["dropped"], 0.25)
        self.assertEqual(experts["bleu"], {"en-de": 12.35})

    def test_says_what_is_wrong_in_a_line(self):
        for name, changed, message in [("two", TOML, "no experiment 'two'; there are one"),
                                       ("one", TOML + "speed = 1\n[more]\n", "unknown key"),
                                       ("one", TOML.replace('"with experts"', '"dense"'), "two rows of one label")]:
            (run.HERE / "one" / "experiment.toml").write_text(changed)
            with self.assertRaisesRegex(run.ExperimentError, message):
                run.load(name)
        (run.HERE / "one" / "experiment.toml").write_text(TOML.replace("experts=2", "experts=3"))
        with self.assertRaisesRegex(run.ExperimentError, "three experts are a crowd"):
            self.run_all()

    def test_writes_tables_and_plots_between_the_marks_of_the_page(self):
        page = self.root / "results.md"
        page.write_text("before\n<!-- experiments/one -->\nold\n<!-- end of experiments/one -->\nafter\n")
        report.write(run.load("one"), self.run_all(), run.HERE, page)
        self.assertEqual(page.read_text(), "before\n<!-- experiments/one -->\n"
                         "| | seeds | loss | times |\n| --- | --- | --- | --- |\n"
                         "| dense | 2 | 4.000 ± 0.000 | not by all |\n| with experts | 2 | 4.000 ± 0.000 | not by all |\n"
                         "\n![t](../experiments/one/updates.svg)\n\n![h](../experiments/one/heat.svg)\n"
                         "<!-- end of experiments/one -->\nafter\n")
        self.assertIn("75 %", (run.HERE / "one" / "heat.svg").read_text())


class Measures(unittest.TestCase):
    def test_updates_to_a_loss_lie_between_the_points(self):
        self.assertEqual(report.updates_to([(10, 4.0), (20, 3.0)], 3.25), 17.5)
        self.assertEqual(report.updates_to([(10, 4.0), (20, 3.0)], 4.5), 10)
        self.assertIsNone(report.updates_to([(10, 4.0), (20, 3.0)], 2.9))

    def test_a_measure_is_the_mean_of_the_directions_that_match(self):
        result = {"directions": {"en-de": 2.0, "de-en": 3.0, "fr-en": 4.0}}
        self.assertEqual(report.measure(result, "loss *-en"), 3.5)
        self.assertEqual(report.measure(result, "loss en-*,fr-*"), 3.0)
        self.assertEqual(report.measure(result, "loss"), 3.0)
        self.assertIsNone(report.measure(result, "chrf"))
        with self.assertRaises(report.ReportError):
            report.measure(result, "speed")

    def test_ticks_are_round_and_inside(self):
        self.assertEqual(svg.ticks(0, 800), [0, 200, 400, 600, 800])
        self.assertEqual(svg.ticks(2.31, 2.69), [2.4, 2.5, 2.6])


if __name__ == "__main__":
    unittest.main()
