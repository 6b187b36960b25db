import json
import shutil
from pathlib import Path

import pytest

import chorus

from conftest import SOURCES, TARGETS, command


def translates(folder):
    return len(chorus.Translator(folder, source="xx", target="yy").translate(SOURCES[:3]))


def test_inspect(model):
    said = chorus.inspect(model)
    assert said["languages"] == ["xx", "yy"] and said["parameters"]["experts"] > 0 and said["tensors"] == []
    assert said["parameters"]["total"] == chorus.Translator(model).parameters
    assert len(chorus.inspect(model, tensors=True)["tensors"]) > 10
    for wrong in ("nowhere", "a\0b", "\ud800"):
        with pytest.raises(chorus.UserError, match="nowhere|cannot be given its arguments"):
            chorus.inspect(wrong)


def test_prune(model, text, tmp_path):
    which = {"keep": 0.5, "data": text / "train.{lang}", "directions": "xx-yy", "sentences": 50}
    report = chorus.prune(model, tmp_path / "half", **which)
    merged = chorus.prune(model, tmp_path / "merged", method="merge", refit=False, **which)
    dropped = chorus.prune(model, tmp_path / "dropped", method="drop", refit=False, **which)
    assert merged == report and [layer["kept"] for layer in dropped["layers"]] == [layer["kept"] for layer in report["layers"]]
    assert -1 in dropped["layers"][0]["becomes"] and -1 not in report["layers"][0]["becomes"]
    assert len({(tmp_path / name / "model.safetensors").read_bytes() for name in ("half", "merged", "dropped")}) == 3
    assert [len(layer["kept"]) for layer in report["layers"]] == [2, 2] and report["directions"][0]["sentences"] == 50
    assert translates(tmp_path / "half") == 3
    with pytest.raises(chorus.UserError, match="there already"):
        chorus.prune(model, tmp_path / "half", keep=0.5, data=text / "train.{lang}")
    with pytest.raises(chorus.UserError, match="text"):
        chorus.prune(model, tmp_path / "other", keep=0.5, data=[])


def test_quantize(model, text, tmp_path):
    assert chorus.quantize(model, tmp_path / "int4") == []
    said = chorus.quantize(model, tmp_path / "int8", experts="int8", data=[text / "train.{lang}"], sentences=20)
    assert {row["direction"] for row in said} == {"xx-yy", "yy-xx"} and "loss" in said[0]["before"]
    assert translates(tmp_path / "int4") == translates(tmp_path / "int8") == 3
    with pytest.raises(chorus.UserError):
        chorus.quantize(model, tmp_path / "other", experts="int5")


def test_no_path_is_an_option(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model, "-model")
    assert chorus.inspect("-model")["languages"] == ["xx", "yy"]
    assert chorus.export_model("-model", "--help", format="nllb-moe") == Path("--help") and Path("--help/config.json").exists()
    chorus.quantize("-model", "-q")
    assert translates("./-q") == 3
    for wrong in ("--help", "--version"):
        with pytest.raises(chorus.UserError):
            chorus.import_model(wrong + "x", tmp_path / "back")
    with pytest.raises(chorus.UserError, match="no such folder"):
        chorus.inspect("--version")
    with pytest.raises(chorus.UserError):
        chorus.train("--help", tmp_path / "run")


def test_to_transformers_and_back(model, translator, tmp_path):
    theirs = chorus.export_model(model, tmp_path / "theirs", format="nllb-moe")
    back = chorus.import_model(theirs, tmp_path / "back")
    made = chorus.Translator(back, source="xx", target="yy").translate(SOURCES[:5])
    assert [t.text for t in made] == [t.text for t in translator.translate(SOURCES[:5])]
    with pytest.raises(chorus.UserError, match="nllb-moo"):
        chorus.export_model(model, tmp_path / "other", format="nllb-moo")
