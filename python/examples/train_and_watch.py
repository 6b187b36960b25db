"""Trains a run file until the validation loss has not been better for a while, and prints what becomes of it.

    python train_and_watch.py RUN.toml FOLDER
"""

import sys

import chorus


class Watch:
    """A callback: ends the training after `patience` validations that were no better."""

    def __init__(self, patience: int = 5) -> None:
        self.patience, self.worse = patience, 0

    def __call__(self, record: dict) -> bool:
        print(f"update {record['update']}: {record['kind']} loss {record['loss']:.3f}", flush=True)
        if record["kind"] == "validation":
            self.worse = 0 if record["best"] else self.worse + 1
        return self.worse < self.patience


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    run_file, folder = sys.argv[1:3]
    run = chorus.train(run_file, folder, callback=Watch(), quiet=True)
    print(f"{chorus.inspect(run)['parameters']['total']:,} weights in {run}")


if __name__ == "__main__":
    main()
