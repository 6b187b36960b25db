"""Translates a file of any length, line by line, with a bar where tqdm is there.

    python translate_file.py MODEL SOURCE TARGET < text > translation
"""

import sys

import chorus


def main() -> None:
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    model, source, target = sys.argv[1:4]
    translator = chorus.Translator(model, source=source, target=target)
    lines = (line.rstrip("\n") for line in sys.stdin)
    translations = translator.stream(lines, beam=4)
    try:
        from tqdm import tqdm
        translations = tqdm(translations, unit="line")
    except ImportError:
        pass
    for translation in translations:
        print(translation)


if __name__ == "__main__":
    main()
