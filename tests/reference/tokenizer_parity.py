#!/usr/bin/env python3
"""What transformers' tokenizers of NLLB and M2M100 write into a folder, and the ids that they then give.

    tests/reference/tokenizer_parity.py --chorus build/release/chorus --venv .venv
    PYTHON tests/reference/tokenizer_parity.py --write tests/formats/tokenizers/4.33.3.json

tests/formats/tokenizers/ has one such table per version of transformers, made by the second line under that version;
tests/formats/imported_tokenizer_test.cpp reads each folder and must give the same ids. The first line makes the table again
with the version in the virtual environment, which must give the committed one.

Lines hold what both kinds of tokenizers take alike: a fast one puts a lone piece for the space before an added word.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

TABLES = Path(__file__).resolve().parent.parent / "formats/tokenizers"
PIECES = TABLES / "pieces.model"
LINES = ["foba kelo ti", "Foobar", "Foobarmino Foobar, ti", "xFoobarFooy", "the <dom> tag", "  mino   kelo  ", "eloFo"]
WORDS = ["Foobar", "Fo", "elo"]  # the last is also the text of a piece


def nllb(fast, **options):
    import transformers

    kind = transformers.NllbTokenizerFast if fast else transformers.NllbTokenizer
    return kind(str(PIECES), **options)


def m2m100(folder):
    import sentencepiece
    import transformers

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(PIECES))
    names = [pieces.id_to_piece(i) for i in range(3, len(pieces))]
    names = ["<s>", "<pad>", "</s>", "<unk>", *reversed(names)]
    (folder / "in.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    codes = "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu hy id"
    codes += " ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt ro ru sd"
    codes += " si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu"
    special = [f"__{code}__" for code in codes.split()]  # as special_tokens_map.json of the models has them
    return transformers.M2M100Tokenizer(str(folder / "in.json"), str(PIECES), additional_special_tokens=special)


def more_special(tokenizer, tokens):
    """To those that it has."""
    old = list(map(str, tokenizer.additional_special_tokens))
    tokenizer.add_special_tokens({"additional_special_tokens": old + tokens})
    return tokenizer


def with_words(tokenizer):
    tokenizer.add_tokens(WORDS[: 1 if tokenizer.is_fast else None])  # a fast one takes no word that is a piece
    return tokenizer


def make_tokenizers(folder):
    """name -> (tokenizer, the languages and words that it has beyond its class's)"""
    yield "NLLB", nllb(False), []
    yield "NLLB fast", nllb(True), []
    yield "NLLB, a language more", more_special(nllb(False), ["tyv_Cyrl"]), ["tyv_Cyrl"]
    yield "NLLB fast, words", with_words(nllb(True)), WORDS[:1]
    yield "NLLB, words and a special token", more_special(with_words(nllb(False)), ["<dom>"]), [*WORDS, "<dom>"]
    yield "M2M100", m2m100(folder), []
    yield "M2M100, words", more_special(with_words(m2m100(folder)), ["<dom>", "__tyv__"]), [*WORDS, "<dom>", "__tyv__"]


def short(name, text):
    """What decides ids."""
    file = json.loads(text)
    kept = ("id", "content", "special", "single_word")
    if name == "tokenizer.json":
        tokens = [{key: token[key] for key in kept if key in token} for token in file["added_tokens"]]
        return {"added_tokens": tokens, "model": {"vocab": file["model"]["vocab"]}}
    for id, token in file.get("added_tokens_decoder", {}).items():
        file["added_tokens_decoder"][id] = {key: token[key] for key in kept if key in token}
    return file


def make_table():
    import transformers

    cases = []
    for name, tokenizer, more in make_tokenizers(Path(tempfile.mkdtemp())):
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            files = {path.name: short(path.name, path.read_text()) for path in sorted(Path(folder).glob("*.json"))}
            again = type(tokenizer).from_pretrained(folder)
        tokens = ["<mask>", "eng_Latn", "zul_Latn"] if name.startswith("NLLB") else ["__af__", "__en__", "__zu__"]
        ids = {token: tokenizer.convert_tokens_to_ids(token) for token in [*tokens, *more]}
        spaced = [f" {word}" for word in more]
        lines = [line for line in LINES if not (tokenizer.is_fast and any(word in line for word in [*spaced, "  "]))]
        encoded = [[line, tokenizer.encode(line, add_special_tokens=False)] for line in lines]
        same = all(again.encode(line, add_special_tokens=False) == row for line, row in encoded)
        if not same or any(again.convert_tokens_to_ids(token) != id for token, id in ids.items()):
            sys.exit(f"{name}: transformers {transformers.__version__} reads other ids than it wrote")
        cases.append({"name": name, "files": files, "ids": ids, "lines": encoded})
    return {"transformers": transformers.__version__, "cases": cases}


def as_text(table):
    lines = [json.dumps(case, ensure_ascii=False, sort_keys=True) for case in table["cases"]]
    return '{"transformers": "%s", "cases": [\n%s\n]}\n' % (table["transformers"], ",\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chorus", type=Path, help="not run: a test of its own reads the tables")
    parser.add_argument("--venv", type=Path, default=Path(".venv"))
    parser.add_argument("--write", type=Path, help="make the table of this Python's transformers")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        args.write.write_text(as_text(make_table()), encoding="utf-8")
        return
    if not args.inside:
        from parity import run_inside

        run_inside(args.venv.absolute())
    table = make_table()
    committed = json.loads((TABLES / f"{table['transformers']}.json").read_text(encoding="utf-8"))
    different = [new["name"] for new, old in zip(table["cases"], committed["cases"], strict=True) if new != old]
    print(f"transformers {table['transformers']}: {len(table['cases'])} tokenizers, different: {different or 'none'}")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    main()
