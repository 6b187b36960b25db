#!/usr/bin/env python3
"""Compares what `chorus evaluate` prints with what sacreBLEU prints, to the last digit.

    tests/reference/sacrebleu_parity.py --chorus build/release/chorus --venv .venv

Real text (Multi30k in ../shared/data/multi30k, left out with a word when it is not there), text made to be nasty, and
the characters of Unicode one by one are perturbed into hypotheses by a seeded generator and scored by both, with every
tokeniser and metric, with and without --lowercase, against one and two references. Means and 95 % intervals by
bootstrap, and p-values against a second system, of 300 resamples. Then --lines of random text, made from --seed, 25 at a time,
each time with one tokeniser, drawn too.

The virtual environment is made, and sacreBLEU put into it, where that has not been done. Exit code: 0 all equal, 1
otherwise.

Known to differ, and so not compared: chorus drops a byte order mark at the start of a file, sacreBLEU scores it as a
character; chorus names the SentencePiece model by its hash; signatures end in +chorus.
"""

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
MULTI30K = HERE.parents[1].parent / "shared/data/multi30k"
TOKENIZERS = ["13a", "intl", "zh", "char", "none", "spm"]
RESAMPLES = 300
CHRF_WORD_ORDER = {"chrf": 0, "chrf++": 2}

# fmt: off
NASTY_PIECES = [
    "1,000.50", "3.14", "1.", ".5", "5-6", "7-", "-8", "x-y", "٣٫١٤", "١٢٬٣٤٥", "½", "x²", "Ⅷ", "１２３", "100%", "€5", "№5",
    "&quot;", "&amp;", "&lt;", "&gt;", "&amp;quot;", "&apos;", "&", "<skipped>", "<b>", "</b>", "don't", "'", '"',
    "“quoted”", "„deutsch“", "«français»", "‘x’", "…", "...", ". . .", "--", "—", "–", "!?", "¿Qué?", "¡", "(hi)",
    "e.g.", "http://a.b/c?d=e&f#g", "a_b@c.de", "C++", "$x$", "^", "~", "`", "|", "\\", "[", "]", "{", "}", "*", "+", "=",
    "我喜欢猫。", "「日本語」", "カタカナ", "ｶﾅ", "한국어", "𠀀𪛖", "〇", "ＡＢＣ", "，", "、", "！", "㍿", "㈱", "\u2f94\uf900",
    "שלום", "עולם!", "مرحبا،", "العالم؟", "हिन्दी।", "ไทย", "ქართული", "Ελληνικά", "ΟΔΟΣ", "ΣΑΣ,", "Σ", "İstanbul", "ISPARTA",
    "ıI", "ẞß", "ǅ", "ﬁ", "😀", "👍🏽", "👨‍👩‍👧", "🇫🇷", "❤️", "☃", "♥", "→", "∑", "e\u0301", "n\u0303a", "\u0301", "\u200b", "a\u200bb",
    "\u200d", "\ufeff", "\u2060", "\u00ad", "a\u00a0b", "\u00a0", "\u202f%", "\u2009", "\u3000", "a\u3000b", "\u2028", "\u0085",
    "\t", "a\tb", "\x0b", "\x0c", "\x1c", "\x1f", "\r", "\x00", "\x01", "\x07", "\x1b[0m", "\x7f", "\ufffd", "\uffff",
    "\U0010ffff", "\ue000", "\u202eabc\u202c", "the", "cat", "sat", "on", "mat", "The",
]
# fmt: on


def run_inside(venv):
    """Starts this script again under the Python of `venv`, which has sacreBLEU and SentencePiece."""
    python = venv / "bin/python"
    ready = python.exists() and subprocess.run([python, "-c", "import sacrebleu, sentencepiece"], capture_output=True)
    if not ready or ready.returncode != 0:
        wanted = [line for line in REQUIREMENTS.read_text().split("\n") if line.startswith(("sacrebleu", "sentencepiece"))]
        print(f"installing {' '.join(wanted)} into {venv}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    os.execv(python, [str(python), *sys.argv, "--inside"])


def perturb(line, rng, pool):
    """A plausible bad translation of `line`: words dropped, swapped, repeated, replaced, characters changed."""
    result = []
    for word in line.split(" "):
        draw = rng.random()
        if draw < 0.06:
            continue
        if draw < 0.10:
            result.append(word)
        elif draw < 0.16:
            word = rng.choice(pool)
        elif draw < 0.20 and word:
            at = rng.randrange(len(word))
            word = word[:at] + rng.choice([word[at].swapcase(), "", ".", ",", "-", "1", "“", " "]) + word[at + 1 :]
        result.append(word)
    if len(result) > 2 and rng.random() < 0.3:
        at = rng.randrange(len(result) - 1)
        result[at], result[at + 1] = result[at + 1], result[at]
    return " ".join(result)


def from_reference(name, reference, rng, pool):
    """A corpus: a hypothesis and a second reference are made from each line."""
    second = [perturb(line, rng, pool) for line in reference]
    return name, [perturb(line, rng, pool) for line in reference], [reference, second]


def nasty_lines(rng, count):
    lines = ["", " ", "\t", "\u00a0", "\u3000 ", "\x1c", ".", "-", "&", "a", "\u0301", "\ufeff", "&amp;", "<skipped>"]
    while len(lines) < count:
        glue = rng.choice(["", " ", " ", " ", "  "])
        lines.append(glue.join(rng.choice(NASTY_PIECES) for _ in range(rng.randint(0, 14))))
    return lines


def random_lines(rng, count):
    """Nasty pieces, and characters of anywhere in Unicode, each block of it as likely as any other; no line ends."""
    blocks = [(0x20, 0x7F), (0x80, 0x250), (0x250, 0x600), (0x600, 0x900), (0x900, 0x2000), (0x2000, 0x2C00), (0x3000, 0xA000),
              (0xAC00, 0xD7A4), (0xF900, 0x10000), (0x10000, 0x20000), (0x20000, 0x30000), (0xE0000, 0xE0200)]  # fmt: skip
    lines = []
    for _ in range(count):
        words = []
        for _ in range(rng.choice([0, 1, 2, 5, 5, 12, 30])):
            low, high = rng.choice(blocks)
            known = rng.random() < 0.4
            words.append(rng.choice(NASTY_PIECES) if known else "".join(chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 6))))
        line = rng.choice(["", " ", " ", "  "]).join(words)
        lines.append("".join(c for c in line if c not in "\n\r\0" and unicodedata.category(c) not in ("Cn", "Cs")))
    return lines


def single_characters():
    """Each character between letters, digits, marks and itself: its neighbours show how it was classified. One in 50
    of letters without case and of private use, which are the bulk of Unicode."""
    for code in range(1, 0x110000):
        c = chr(code)
        category = unicodedata.category(c)
        if c != "\n" and category not in ("Cn", "Cs") and (category not in ("Lo", "Co") or code % 50 == 0):
            yield f"a{c}b 1{c}2 3{c}x y{c}4 .{c}. {c}{c} 5{c}. {c}"


def corpora():
    """(name, hypotheses, [references, second references])"""
    rng = random.Random(1)
    if MULTI30K.is_dir():
        for language in ("de", "fr", "cs", "en"):
            with gzip.open(MULTI30K / f"test_2016_flickr.{language}.gz", "rt", encoding="utf-8") as file:
                lines = file.read().splitlines()[:400]
            yield from_reference(f"Multi30k {language}", lines, rng, " ".join(lines).split(" "))
    else:
        print(f"left out: Multi30k, since {MULTI30K} is not there")
    lines = nasty_lines(rng, 1500)
    yield from_reference("nasty", lines, rng, NASTY_PIECES)
    yield "nasty, nothing shared", lines[:50], [["\u4e50 zzz"] * 50, ["q"] * 50]
    yield "equal", lines[:200], [lines[:200], lines[:200]]
    yield "empty lines", ["", "", ""], [["", "", ""], ["", "", "a"]]
    yield "short lines", ["a b", "c"], [["a b", "c"], ["a", "c d e"]]
    for size in (1, 2, 5):
        for start in (20, 30):
            yield from_reference(f"{size} nasty, from {start}", lines[start : start + size], rng, NASTY_PIECES)
    if tuple(map(int, unicodedata.unidata_version.split("."))) <= (15, 0, 0):
        yield from_reference("characters", list(single_characters()), rng, ["a", "1", "."])
    else:
        print(f"left out: characters one by one, Unicode {unicodedata.unidata_version} may be newer than ICU's")


def train_spm(folder):
    import sentencepiece

    text = folder / "spm.txt"
    text.write_text("\n".join(nasty_lines(random.Random(2), 3000)), encoding="utf-8", newline="\n")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "spm"),
        vocab_size=700,
        hard_vocab_limit=False,
        byte_fallback=True,
        user_defined_symbols=["__de__", "&amp;"],
        minloglevel=2,
    )
    return folder / "spm.model"


class Sacrebleu:
    """The text and the JSON that sacreBLEU prints."""

    def __init__(self, spm_model):
        import sentencepiece
        from sacrebleu.metrics import BLEU, CHRF
        from sacrebleu.tokenizers.tokenizer_spm import TokenizerSPM

        class OurModel(TokenizerSPM):  # without fetching sacreBLEU's own
            def __init__(self):
                self.name, self.sp = "spm", sentencepiece.SentencePieceProcessor(model_file=str(spm_model))

        self.bleu, self.chrf, self.spm_tokenizer = BLEU, CHRF, OurModel()

    def confidence(self, metric, corpus, width):
        """What --confidence prints."""
        scorer = self.scorer(metric, "13a", False)
        score = scorer.corpus_score(*corpus, n_bootstrap=RESAMPLES)
        return score.format(width=width, signature=scorer.get_signature().format())

    def paired(self, metric, baseline, corpus):
        """{system: (score, mean, half of the interval, p-value)}"""
        from sacrebleu.significance import PairedTest

        test = PairedTest(
            [("baseline", baseline), ("system", corpus[0])],
            {metric: self.scorer(metric, "13a", False)},
            corpus[1],
            test_type="bs",
            n_samples=RESAMPLES,
        )
        results = list(test()[1].values())[1]
        return [tuple(None if x is None else round(float(x), 4) for x in (r.score, r.mean, r.ci, r.p_value)) for r in results]

    def score(self, metrics, tokenizer, lowercase, corpus):
        texts, objects = [], []
        for metric in metrics:
            scorer = self.scorer(metric, tokenizer, lowercase)
            score = scorer.corpus_score(*corpus)
            signature = scorer.get_signature().format()
            texts.append(score.format(signature=signature))
            objects.append(score.format(signature=signature, is_json=True))
        return "\n".join(texts), objects[0] if len(objects) == 1 else "[\n" + ",\n".join(objects) + "\n]"

    def scorer(self, metric, tokenizer, lowercase):
        if metric != "bleu":
            return self.chrf(word_order=CHRF_WORD_ORDER[metric], lowercase=lowercase)
        scorer = self.bleu(tokenize="none" if tokenizer == "spm" else tokenizer, lowercase=lowercase, force=True)
        if tokenizer == "spm":
            scorer.tokenizer, scorer.tokenizer_signature = self.spm_tokenizer, "spm"
        return scorer


class Chorus:
    """The same of chorus, less what it says of itself. Text only for several metrics: it costs a start of the program."""

    def __init__(self, program, spm_model, folder):
        self.program, self.spm_model, self.folder = program, spm_model, folder

    def write(self, name, lines):
        (self.folder / name).write_bytes("".join(line + "\n" for line in lines).encode())

    def score(self, metrics, tokenizer, lowercase, references):
        command = [self.program, "evaluate", "--hypothesis", self.folder / "hypothesis", "--metric", ",".join(metrics)]
        for r in range(references):
            command += ["--reference", self.folder / f"reference{r}"]
        command += ["--tokenize", tokenizer] + (["--spm", self.spm_model] if tokenizer == "spm" else [])
        command += ["--lowercase"] if lowercase else []
        as_json = self.run(command + ["--json"])
        if tokenizer == "spm":
            as_json = as_json.replace(json.loads(as_json)["tok"], "spm")
        if len(metrics) == 1:
            return None, as_json
        return "\n".join(line.lstrip() for line in self.run(command).splitlines()), as_json

    def confidence(self, metric, width):
        return self.run(self.command(metric) + ["--confidence", "--width", str(width)])

    def paired(self, metric):
        systems = json.loads(self.run(self.command(metric) + ["--baseline", self.folder / "reference1", "--json"]))
        results = [next(value for key, value in system.items() if key != "system") for system in systems]
        fields = ("score", "mean", "ci", "p_value")
        return [tuple(None if r[x] is None else round(r[x], 4) for x in fields) for r in results]

    def command(self, metric):
        texts = ["--hypothesis", self.folder / "hypothesis", "--reference", self.folder / "reference0"]
        return [self.program, "evaluate", *texts, "--metric", metric, "--resamples", str(RESAMPLES)]

    def run(self, command):
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
        return output.replace("+chorus", "").removesuffix("\n")


def compare_resampling(chorus, sacrebleu, streams):
    """The same of --confidence and --baseline; the second reference is the baseline."""
    corpus = streams["hypothesis"], [streams["reference0"]]
    equal = different = 0
    for metric in ["bleu", *CHRF_WORD_ORDER]:
        pairs = [(chorus.paired(metric), sacrebleu.paired(metric, streams["reference1"], corpus))]
        try:
            pairs.append((chorus.confidence(metric, 4), sacrebleu.confidence(metric, corpus, 4)))
        except TypeError:  # sacreBLEU cannot take the mean of 0.0 and numpy's float32, when a resample's chrF is 0
            pass
        for ours, theirs in pairs:
            if isinstance(ours, list):  # the mean of many fp32 numbers has its own rounding in numpy
                same = all(x == y or abs(x - y) < 2e-4 for a, b in zip(ours, theirs) for x, y in zip(a, b))
                same = same and [a[3] for a in ours] == [b[3] for b in theirs]
            else:
                same = ours == theirs
            equal, different = equal + same, different + (not same)
            if not same:
                print(f"DIFFERENT: resampling\n--- chorus\n{ours}\n--- sacreBLEU\n{theirs}")
    return equal, different


ALL_CASES = [(tokenizer, lowercase, refs) for tokenizer in TOKENIZERS for lowercase, refs in [(False, 1), (True, 2), (True, 1), (False, 2)]]


def compare_corpus(chorus, sacrebleu, name, hypotheses, references, cases=ALL_CASES):
    """How many outputs are what sacreBLEU prints, and how many are not; `cases`: tokeniser, lowercase, references."""
    streams = {"hypothesis": hypotheses, "reference0": references[0], "reference1": references[1]}
    for stream, lines in streams.items():
        streams[stream] = [lines[0].lstrip("\ufeff"), *lines[1:]]
        chorus.write(stream, streams[stream])
        # sacreBLEU's command does so when it reads a file; chorus must come to the same.
        streams[stream] = [line.rstrip() for line in streams[stream]]
    equal = different = 0
    for tokenizer, lowercase, nrefs in cases:
        metrics = ["bleu", *CHRF_WORD_ORDER] if tokenizer == "13a" else ["bleu"]  # chrF knows no tokeniser
        if len(hypotheses) > 10000 and nrefs > 1:
            continue  # it would take sacreBLEU minutes
        corpus = streams["hypothesis"], [streams[f"reference{r}"] for r in range(nrefs)]
        theirs = sacrebleu.score(metrics, tokenizer, lowercase, corpus)
        for our, their in zip(chorus.score(metrics, tokenizer, lowercase, nrefs), theirs):
            if our == their:
                equal += 1
            elif our is not None:
                different += 1
                print(f"DIFFERENT: {name}\n--- chorus\n{our}\n--- sacreBLEU\n{their}")
    if cases is not ALL_CASES:
        return equal, different
    if len(hypotheses) <= 10000:
        counts = compare_resampling(chorus, sacrebleu, streams)
        equal, different = equal + counts[0], different + counts[1]
    print(f"{name}, {len(hypotheses)} lines: {equal} outputs equal, {different} different", flush=True)
    return equal, different


def compare_random(chorus, sacrebleu, lines, seed):
    if tuple(map(int, unicodedata.unidata_version.split("."))) > (15, 0, 0):
        print(f"left out: random text, Unicode {unicodedata.unidata_version} may be newer than ICU's")
        return 0, 0
    rng = random.Random(seed)
    equal = different = 0
    for number in range(max(1, lines // 25)):
        text = random_lines(rng, 25)
        pool = "".join(text).split() or ["x"]
        _, hypotheses, references = from_reference("", text, rng, pool)
        case = rng.choice(TOKENIZERS), rng.random() < 0.5, rng.randint(1, 2)
        counts = compare_corpus(chorus, sacrebleu, f"random text {number} of seed {seed}, {case}", hypotheses, references, [case])
        equal, different = equal + counts[0], different + counts[1]
    print(f"random text of seed {seed}, {lines} lines: {equal} outputs equal, {different} different", flush=True)
    return equal, different


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chorus", type=Path, default=Path("build/release/chorus"))
    parser.add_argument("--venv", type=Path, default=Path(".venv"))
    parser.add_argument("--lines", type=int, default=500, help="of random text (500)")
    parser.add_argument("--seed", type=int, default=1, help="of random text (1)")
    parser.add_argument("--only-random", action="store_true", help="nothing but random text")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.chorus.is_file():
        sys.exit(f"{args.chorus}: no such program: build it first (make build), or name it with --chorus")
    if not args.inside:
        run_inside(args.venv.absolute())

    import sacrebleu

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model = train_spm(folder)
        chorus, theirs = Chorus(args.chorus.absolute(), model, folder), Sacrebleu(model)
        counts = [compare_random(chorus, theirs, args.lines, args.seed)]
        if not args.only_random:
            counts += [compare_corpus(chorus, theirs, *corpus) for corpus in corpora()]
        equal, different = map(sum, zip(*counts))
    print(f"sacreBLEU {sacrebleu.__version__}: {equal} outputs equal, {different} different")
    sys.exit(1 if different or not equal else 0)


if __name__ == "__main__":
    main()
