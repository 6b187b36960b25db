import itertools
import json
import math
import pickle
import signal
import threading
import time

import numpy as np
import pytest

import chorus

from conftest import SOURCES, STARTER, TARGETS, command, python

ODD = ["alpha beta gamma", "", "  ", "alpha\tbeta", "Ünïcödé 👍 日本語", "a\nb\r\nc", "alpha " * 200, "\u200b", "__yy__ beta"]


def translate(model, texts, *words):
    given = "".join(text.replace("\r\n", " ").replace("\n", " ") + "\n" for text in texts)
    return command("translate", "--model", model, "--threads", 1, "--from", "xx", "--to", "yy", "-q", *words, given=given)


def test_is_what_the_program_says(model, translator):
    texts = SOURCES[:40] + ODD
    made = [t.text for t in translator.translate([x.replace("\r\n", " ").replace("\n", " ") for x in texts], beam=4)]
    assert made == translate(model, texts, "--beam", 4).split("\n")[:-1]
    assert translator.translate(SOURCES[3], beam=4).text == made[3]
    assert [str(t) for t in translator.translate(iter(SOURCES[:3]), "xx", "yy", beam=4)] == made[:3]
    assert translator.translate([]) == []


def test_a_model_that_has_learnt_says_what_the_program_says():
    texts = (STARTER / "sample" / "test.fr").read_text(encoding="utf-8").splitlines()[:20]
    made = [t.text for t in chorus.Translator(STARTER, source="fr", target="en").translate(texts, beam=3)]
    theirs = command("translate", "--model", STARTER, "--threads", 1, "--from", "fr", "--to", "en", "--beam", 3, "-q",
                     given="\n".join(texts) + "\n")
    assert made == theirs.split("\n")[:-1]
    references = (STARTER / "sample" / "test.en").read_text(encoding="utf-8").splitlines()[:20]
    assert chorus.bleu(made, references) > 20


def test_odd_texts_have_one_line_each(translator):
    made = translator.translate(ODD)
    assert len(made) == len(ODD) and all("\n" not in t.text for t in made)
    assert [t.text for t in made[1:3]] == ["", ""] and made[1].tokens == []


def test_nbest_tokens_and_alignments(model, translator):
    texts = SOURCES[:10]
    lines = translate(model, texts, "--beam", 4, "--nbest", 3, "--json", "--alignments", "--length-penalty", 0.5).splitlines()
    best = translator.nbest(texts, n=3, beam=4, alignment=True, length_penalty=0.5)
    for line, ours in zip(lines, best, strict=True):
        theirs = json.loads(line)["translations"]
        assert len(theirs) == len(ours)
        for a, b in zip(theirs, ours):
            assert b.text == a["text"] and b.score == pytest.approx(a["score"], abs=1e-5)
            assert [t.piece for t in b.tokens] == [t["piece"] for t in a["tokens"]]
            assert b.log_probability == pytest.approx(sum(t.log_probability for t in b.tokens), abs=1e-4)
            assert [list(link) for link in b.alignment] == a["alignment"] and b.ended == a.get("ended", True)
    assert translator.translate(texts[0]).alignment is None


def test_options(model, translator):
    texts = SOURCES[:10]
    kept = translator.translate([f"{x} {{v}}" for x in texts], keep=r"\{[a-z]+\}", terms={"alpha": "omega"})
    for text, made in zip(texts, kept):
        assert "{v}" in made.text and ("omega" in made.text) == ("alpha" in text)
    drawn = [t.text for t in translator.translate(texts, sample=True, seed=7, temperature=2.0)]
    assert drawn == translate(model, texts, "--sample", "--seed", 7, "--temperature", 2).split("\n")[:-1]
    assert [t.text for t in translator.stream(texts, window=3, sample=True, seed=7, temperature=2.0)] == drawn
    chosen = translator.translate(texts, sample=True, mbr="chrf", candidates=8)
    assert all(0 <= t.score <= 100 for t in chosen)
    assert [t.text for t in translator.translate(texts, mbr="chrf", beam=8)] == \
        translate(model, texts, "--mbr", "chrf", "--beam", 8).split("\n")[:-1]
    assert all(len(t.tokens) >= 9 for t in translator.translate(texts, beam=2, min_length=10))
    for options in (dict(max_length=2, max_length_factor=0.25), dict(repetition_penalty=1.5), dict(beam=4, diversity=0.5, beam_groups=2),
                    dict(prefix="omega")):
        flags = [word for name, value in options.items() for word in ("--" + name.replace("_", "-"), value)]
        assert [t.text for t in translator.translate(texts, **options)] == translate(model, texts, *flags).split("\n")[:-1], options
    assert not any(t.ended for t in translator.translate(texts, max_length=0, max_length_factor=0.25))
    assert [t.text for t in translator.translate(texts, guard=True)] == translate(model, texts, "--guard").split("\n")[:-1]
    for wrong in (dict(max_length=-1), dict(max_length_factor=float("nan")), dict(repetition_penalty=0.0), dict(beam=4, diversity=1.0, beam_groups=3)):
        with pytest.raises(chorus.UserError):
            translator.translate(texts, **wrong)


def test_a_direction_that_the_model_has_not_learnt(translator):
    with pytest.warns(UserWarning, match="trained to translate .*, not xx-xx"):
        translator.translate("alpha", "xx", "xx", beam=3)


def test_terms_of_any_iterable(translator):
    text = "alpha beta gamma"
    for word in ("omega", "sigma", "lambda"):  # one after the other at the same address
        assert word in translator.translate(text, terms=zip(["alpha"], [word])).text
        assert word in translator.translate(text, terms=(pair for pair in [("alpha", word)])).text
    made = len(translator._made)
    translator.translate(text, terms={"alpha": "lambda"})
    assert len(translator._made) == made  # the same terms


def test_an_ensemble_of_a_model_with_itself(model, translator):
    both = chorus.Translator([model, str(model)], source="xx", target="yy")
    assert [t.text for t in both.translate(SOURCES[:5])] == [t.text for t in translator.translate(SOURCES[:5])]


def test_stream_reads_no_further_than_its_window(translator):
    read = []
    coming = (read.append(text) or text for text in itertools.cycle(SOURCES))
    made = translator.stream(coming, window=4, beam=1)
    assert read == []
    first = next(made)
    assert read == SOURCES[:4] and first == translator.translate(SOURCES[0], beam=1)
    assert len(list(itertools.islice(made, 7))) == 7 and len(read) == 8
    assert list(translator.stream([])) == []
    with pytest.raises(chorus.UserError):  # at once, not when it is first asked
        translator.stream(SOURCES, beams=3)
    with pytest.raises(chorus.UserError):
        translator.stream(SOURCES, window=0)


def test_scores(model, translator):
    scores = translator.score(SOURCES[:20], TARGETS[:20])
    (model / "s").write_text("\n".join(SOURCES[:20]) + "\n")
    (model / "t").write_text("\n".join(TARGETS[:20]) + "\n")
    said = command("score", "--model", model, "--from", "xx", "--to", "yy", "--source", model / "s", "--target", model / "t",
                   "-q").splitlines()
    assert [s.log_probability for s in scores] == pytest.approx([float(x) for x in said], abs=1e-4)
    assert scores[0].tokens[-1].piece == "</s>"
    assert "".join(t.piece for t in scores[0].tokens[:-1]).replace("▁", " ").strip() == TARGETS[0]
    with pytest.raises(chorus.UserError, match="2 sources and 1 target"):
        translator.score(["a", "b"], ["c"])


def test_encoder(translator):
    texts = ["alpha beta gamma", "kappa", ""]
    alone = [translator.encode([text])[0] for text in texts]
    for one, again, text in zip(translator.encode(texts), alone, texts):
        assert one.tokens == ["__xx__", *translator.vocabulary.pieces(text), "</s>"]
        assert one.states.shape == (len(one.tokens), 32) and one.states.dtype == np.float32
        assert list(one.routers) == ["encoder.layers.1"]
        router = one.routers["encoder.layers.1"]
        assert router.shape == (len(one.tokens), 4) and router.sum(1) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(one.states, again.states, atol=1e-4)
    tensors = translator.encode(texts, return_tensors="pt")
    assert (tensors[0].states.numpy() == translator.encode(texts)[0].states).all()
    assert tensors[0].routers["encoder.layers.1"].shape[1] == 4
    with pytest.raises(chorus.UserError, match="'np' or 'pt'"):
        translator.encode(texts, return_tensors="tf")


def test_states_outlive_the_model(model):
    encoded = chorus.Translator(model, source="xx", target="yy").encode(["alpha"])[0]
    assert math.isfinite(float(encoded.states.sum()))


def test_mistakes(model, translator, tmp_path):
    def refuses(match, what):
        with pytest.raises(chorus.UserError, match=match) as caught:
            what()
        assert "\n" not in str(caught.value) and isinstance(caught.value, (ValueError, chorus.Error))

    refuses("unknown language 'zz': this vocabulary knows xx, yy", lambda: translator.translate("a", "zz"))
    refuses("did you mean 'beam'", lambda: translator.translate("a", beams=2))
    refuses("temperature is of sample=True", lambda: translator.translate("a", temperature=2.0))
    refuses("n", lambda: translator.nbest(["a"], n=2.0))
    refuses("candidates is of mbr", lambda: translator.translate("a", candidates=3))
    refuses("choose 'chrf' or 'bleu'", lambda: translator.translate("a", mbr="comet"))
    refuses("a string is a list of letters", lambda: list(translator.stream("abc")))
    refuses("text 2 is int, not str", lambda: translator.translate(["a", 2]))
    refuses("text 2 is int, not str", lambda: list(translator.stream(["a", 2], window=1)))
    refuses("nowhere: no such folder", lambda: chorus.Translator("nowhere"))
    refuses("is no model", lambda: chorus.Translator(tmp_path))
    refuses("not none", lambda: chorus.Translator([]))
    refuses("for one model", lambda: chorus.Translator([model, model], memory="8GB"))
    refuses("is no size", lambda: chorus.Translator(model, memory="much"))
    refuses("fp32 or bf16", lambda: chorus.Translator(model, precision="fp8"))
    refuses("abacus", lambda: chorus.Translator(model, device="abacus"))
    refuses("nowhere", lambda: translator.translate("a", shortlist="nowhere"))
    refuses("beam is a whole number, not 'wide'", lambda: translator.translate("a", beam="wide"))
    refuses("beam=2147483648 is outside", lambda: translator.translate("a", beam=2**31))
    refuses("length_penalty is a number, not '1'", lambda: translator.translate("a", length_penalty="1"))
    refuses("sample is True or False, not 1", lambda: translator.translate("a", sample=1))
    refuses("seed=-1 is outside", lambda: translator.translate("a", sample=True, seed=-1))
    refuses("keep is NoneType, not str", lambda: translator.translate("a", keep=None))
    refuses("text 2 is no Unicode text", lambda: translator.translate(["a", "\ud800"]))
    refuses("target is no Unicode text", lambda: translator.translate("a", target="\ud800"))
    refuses("source is int, not str", lambda: translator.translate("a", 5))
    refuses("no language is named: this vocabulary knows xx, yy", lambda: chorus.Translator(model).translate("a"))
    refuses("term 2: .* is empty", lambda: translator.translate("a", terms={"a": "b", "": "b"}))
    refuses("term 1: .* is empty", lambda: translator.translate("a", terms={"a": " "}))
    refuses("term 1 is a phrase and its translation, not 'ab'", lambda: translator.translate("a", terms=["ab"]))
    refuses("a model is a path, not None", lambda: chorus.Translator(None))
    refuses("character 0", lambda: chorus.Translator("a\0b"))
    refuses("/\ufffd: no such folder", lambda: chorus.Translator(b"/\xff"))
    refuses("memory is a whole number", lambda: chorus.Translator(model, memory=8e9))
    refuses("longer than the 64 positions", lambda: translator.encode(["alpha " * 100]))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    refuses("config.json", lambda: chorus.Translator(broken))


def test_bounded_memory_changes_nothing(model, translator):
    bounded = chorus.Translator(model, source="xx", target="yy", memory=10**9)
    assert [t.text for t in bounded.translate(SOURCES[:5])] == [t.text for t in translator.translate(SOURCES[:5])]
    chorus.Translator(model, memory="auto")
    with pytest.raises(chorus.UserError, match="memory"):
        chorus.Translator(model, memory=1)


def test_what_it_is(translator):
    assert translator.languages == ["xx", "yy"] and set(translator.directions) == {"xx-yy", "yy-xx"}
    assert translator.parameters > 10_000


def test_threads_share_a_translator_and_the_interpreter(translator):
    wanted = [t.text for t in translator.translate(SOURCES, beam=4)]
    made, ticks = {}, []

    def work(name):
        made[name] = [t.text for t in translator.translate(SOURCES, beam=4)]

    workers = [threading.Thread(target=work, args=(name,)) for name in range(2)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):  # with the lock held there, this would not run meanwhile
        ticks.append(time.sleep(0.001))
    assert made == {0: wanted, 1: wanted} and len(ticks) > 3


def test_a_forked_child_translates(model):
    process = python(f"""
import multiprocessing
import chorus
chorus.set_threads(2)
t = chorus.Translator({str(model)!r}, source="xx", target="yy")
texts = ["alpha beta gamma", "delta epsilon"] * 50
made = t.translate(texts)  # OpenMP's threads are now there
fork = multiprocessing.get_context("fork")
queue = fork.Queue()
child = fork.Process(target=lambda: queue.put([one.text for one in t.translate(texts)]), daemon=True)
child.start()
print(queue.get(timeout=60) == [one.text for one in made], flush=True)
""")
    try:
        said, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert said == "True\n", errors


def test_the_interpreter_ends_while_a_thread_translates(model):
    process = python(f"""
import threading
import time
import chorus
t = chorus.Translator({str(model)!r}, source="xx", target="yy")
threading.Thread(target=lambda: [t.translate(["alpha beta gamma"] * 50) for _ in range(10000)], daemon=True).start()
time.sleep(0.5)
""")
    try:
        said, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, said, errors) == (0, "", "")


def test_results_are_values(translator):
    first, again = (translator.translate(SOURCES[0], alignment=True) for _ in range(2))
    assert first == again and len({first, again}) == 1 and pickle.loads(pickle.dumps(first)) == first
    assert len({*translator.score(SOURCES[:1], TARGETS[:1])}) == 1
    encoded = translator.encode(["alpha"])[0]
    assert encoded == encoded and encoded != translator.encode(["alpha"])[0]


def test_another_thread_may_forget_what_is_kept(model):
    class Forgetful(dict):
        def __contains__(self, key):
            found = super().__contains__(key)
            self.clear()
            return found

        def __setitem__(self, key, value):
            super().__setitem__(key, value)
            self.clear()

    translator = chorus.Translator(model, source="xx", target="yy")
    translator._made = Forgetful()
    assert translator.translate(SOURCES[0]) == translator.translate(SOURCES[0])


def test_ctrl_c(model):
    code = f"""
import chorus
t = chorus.Translator({str(model)!r}, source="xx", target="yy")
print("begun", flush=True)
try:
    t.translate(["alpha beta gamma"] * 1_000_000, beam=16)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    print(t.translate("alpha beta gamma").text != "", flush=True)
"""
    process = python(code)
    try:
        assert process.stdout.readline() == "begun\n"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert said == "interrupted\nTrue\n", errors
