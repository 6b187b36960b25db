"""BLEU and chrF of several models on the same text, and the lines on which the first two differ most.

    python compare_models.py SOURCE TARGET source.txt reference.txt MODEL...
"""

import sys
from pathlib import Path

import chorus


def main() -> None:
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    source, target = sys.argv[1:3]
    texts, references = (Path(name).read_text(encoding="utf-8").splitlines() for name in sys.argv[3:5])
    made = {}
    for model in sys.argv[5:]:
        made[model] = [t.text for t in chorus.Translator(model).translate(texts, source, target)]
        print(f"{chorus.bleu(made[model], references):6.2f} BLEU {chorus.chrf(made[model], references):6.2f} chrF  {model}")
    if len(made) < 2:
        return
    first, second = list(made.values())[:2]
    lines = sorted(zip(first, second, texts, references), key=lambda line: chorus.chrf([line[0]], [line[1]]))
    for one, other, text, reference in lines[:3]:
        print(f"\nsource     {text}\nreference  {reference}\nfirst      {one}\nsecond     {other}")


if __name__ == "__main__":
    main()
