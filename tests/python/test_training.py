import json
import signal
import sys
import time

import pytest

import chorus

from conftest import SOURCES, python, run_of


def records_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_callback_is_given_every_record(trained):
    run, records = trained
    assert records == records_of(run) and [r["update"] for r in records if r["kind"] == "train"] == [20, 40, 60]


def test_a_run_file_goes_on(text, tmp_path, capfd):
    import tomli_w
    file = tmp_path / "RUN.toml"
    file.write_text(tomli_w.dumps(run_of(text)))
    out = chorus.train(file, tmp_path / "run", settings={"train.duration": "4u", "train.log_every": 2})
    assert [r["update"] for r in records_of(out)] == [2, 4]
    said = capfd.readouterr().err
    assert "the model is" in said
    seen = []
    chorus.train(str(file), out, settings={"train.duration": "6u", "train.log_every": 2}, callback=seen.append, quiet=True)
    assert [r["update"] for r in seen] == [6] and len(records_of(out)) == 3
    assert capfd.readouterr() == ("", "")
    assert chorus.Translator(out, source="xx", target="yy").translate(SOURCES[0]).text is not None


def test_a_callback_ends_it(text, tmp_path):
    run = run_of(text, train={"duration": "100000u", "log_every": 1})
    seen = []
    out = chorus.train(run, tmp_path / "run", callback=lambda record: seen.append(record) or len(seen) < 3, quiet=True)
    assert len(seen) == 3
    done = records_of(out)[-1]["update"]
    assert done >= 3 and (out / "checkpoints" / f"step-{done:08}").is_dir(), "what was made is saved"

    def fails(record):
        raise LookupError(record["update"])

    with pytest.raises(LookupError):  # and it went on where it was
        chorus.train(run, out, callback=fails, quiet=True)
    assert records_of(out)[-1]["update"] > done


def test_ctrl_c_saves(text, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(run_of(text, train={"duration": "100000u", "log_every": 1})))
    process = python("""
import json, sys, chorus
run = json.load(open(sys.argv[1] + "/run.json"))
try:
    chorus.train(run, sys.argv[1] + "/run", callback=lambda record: print(record["update"], flush=True), quiet=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
""", tmp_path)
    try:
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert said.endswith("interrupted\n"), errors
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_mistakes(text, tmp_path):
    with pytest.raises(chorus.UserError, match="experst"):
        chorus.train(run_of(text, moe={"experst": 4}), tmp_path / "run", quiet=True)
    with pytest.raises(chorus.UserError, match="missing.toml"):
        chorus.train(tmp_path / "missing.toml", tmp_path / "run", quiet=True)
    with pytest.raises(chorus.UserError, match="name the folder"):
        chorus.train(run_of(text))
    with pytest.raises(chorus.UserError, match="cannot be written as a run file"):
        chorus.train({"train": {"duration": object()}}, tmp_path / "run", quiet=True)
    with pytest.raises(chorus.UserError, match="train.duration"):
        chorus.train(run_of(text), tmp_path / "run", settings={"train.duration": "soon"}, quiet=True)


def test_metrics_as_a_frame(trained):
    pandas = pytest.importorskip("pandas")
    run, records = trained
    frame = chorus.load_metrics(run)
    assert isinstance(frame, pandas.DataFrame) and list(frame["update"]) == [20, 40, 60]
    assert list(frame["loss"]) == [r["loss"] for r in records if r["kind"] == "train"]
    assert frame["memory.device_peak"].iloc[0] > 0
    assert len(chorus.load_metrics(run, None)) == len(records) and len(chorus.load_metrics(run, "validation")) == 0
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "stage", "name": "a\u2028b\u0085c"}\n')
        file.write('{"update": 8')  # as a run that goes on leaves it for an instant
    assert len(chorus.load_metrics(run)) == 3
    assert list(chorus.load_metrics(run, "stage")["name"]) == ["a\u2028b\u0085c"]
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b"\xc3")  # within a character
    assert len(chorus.load_metrics(run)) == 3
    with pytest.raises(chorus.UserError, match="nowhere"):
        chorus.load_metrics("nowhere")
