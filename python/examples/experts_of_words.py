"""Which expert each token of a text goes to first, in each MoE layer of the encoder.

    python experts_of_words.py MODEL SOURCE TARGET "A text."
"""

import sys

import chorus


def main() -> None:
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    model, source, target, text = sys.argv[1:5]
    encoded = chorus.Translator(model, source=source, target=target).encode([text])[0]
    for layer, probabilities in encoded.routers.items():
        print(layer)
        for token, row in zip(encoded.tokens, probabilities):
            print(f"  {token:<16} expert {row.argmax():3}  probability {row.max():.2f}")


if __name__ == "__main__":
    main()
