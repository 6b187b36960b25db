#!/usr/bin/env python3
"""Compares the ids that chorus makes of random text, and the text it makes of ids, with those of the Python package SentencePiece.

    tests/reference/sentencepiece_parity.py --chorus build/release/chorus --venv .venv [--lines 10000] [--seed 1]

Models are trained by the package: unigram and BPE, with every normalization that SentencePiece has, and other options drawn from
--seed; each gets its share of --lines. Exit code: 0 all equal, 1 otherwise.

Known to differ, and so not compared: <s> and </s> spelt out in the text; what has NUL; a byte order mark that begins a file.
"""

import itertools
import random

from parity import comparing, train_sentencepiece
from sacrebleu_parity import random_lines

NORMALIZATIONS = ["nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity"]
SYMBOLS = ["<ph>", "{name}", "x²"]


def compare(checks, chorus, folder, name, rng, kind, normalization, lines):
    import sentencepiece

    options = dict(
        byte_fallback=rng.random() < 0.5, split_digits=rng.random() < 0.5, remove_extra_whitespaces=rng.random() < 0.7,
        add_dummy_prefix=rng.random() < 0.7, treat_whitespace_as_suffix=rng.random() < 0.2, split_by_unicode_script=rng.random() < 0.7,
        character_coverage=rng.choice([0.98, 0.9995, 1.0]), user_defined_symbols=",".join(rng.sample(SYMBOLS, rng.randint(0, 3))),
    )  # fmt: skip
    model = train_sentencepiece(
        folder, name, vocab_size=900, model_type=kind, normalization_rule_name=normalization, **options
    )
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(model))
    special = {0: 3, 1: 0, 2: 2}  # <unk>, <s>, </s>
    text = [line.lstrip("\ufeff") for line in random_lines(rng, lines)]
    text += [line.replace(" ", f" {symbol}", 2) for line in text[:20] for symbol in SYMBOLS]
    text = [line for line in text if "<s>" not in line and "</s>" not in line]
    expected = [theirs.encode(line) for line in text]
    for line, mine, ids in zip(text, chorus.encode(model, text), expected, strict=True):
        checks(f"{name} {options}: ids of {line!r}", mine == [special.get(id, id + 1) for id in ids], f"{mine} {ids}")
    rows = [[rng.randrange(theirs.get_piece_size()) for _ in range(rng.randint(0, 20))] for _ in range(lines // 4)] + expected
    decoded = chorus.decode(model, [[special.get(id, id + 1) for id in row] for row in rows])
    for row, mine in zip(rows, decoded, strict=True):
        expected_text = theirs.decode(row).replace("\n", " ").replace("\r", " ")  # which bytes can spell; chorus writes lines
        checks(f"{name} {options}: text of {row}", mine == expected_text, f"{mine!r} {expected_text!r}")
    print(f"{name}: {len(text)} lines, {len(rows)} lists of ids", flush=True)


def main():
    with comparing(__doc__, lines=1000, seed=1) as (checks, chorus, folder, lines, seed):
        kinds = list(itertools.product(["unigram", "bpe"], NORMALIZATIONS))
        for kind, normalization in kinds:
            rng = random.Random(f"{seed} {kind} {normalization}")
            compare(checks, chorus, folder, f"{kind}-{normalization}", rng, kind, normalization, lines // len(kinds))
        print(f"seed {seed}")


if __name__ == "__main__":
    main()
