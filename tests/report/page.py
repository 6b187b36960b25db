"""The page of chorus report in a headless Chromium: what it says of runs that cannot be compared, and how one of many
directions is found. 77 where there is no browser.

    page.py CHORUS RUN    (a run that was trained and validated; copies of it are changed)
"""
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
import browser


def changed(run, name, change, settings=lambda text: text):
    """A copy of a run, of which each record and the settings are changed."""
    copy = run.parent / name
    shutil.copytree(run, copy)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        change(record)
    (copy / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (copy / "run.toml").write_text(settings((run / "run.toml").read_text()))
    return copy


def many(record):
    if "directions" in record:
        record["directions"] = {f"{a}{b}-xx": {"loss": 1} for a in "abcdef" for b in "ghijkl"}


def explodes(record):
    if record["kind"] == "train":
        record["loss"] *= 10.0 ** min(250, 40 * record["update"])


def main():
    if browser.program() is None:
        sys.exit(77)
    chorus, run = sys.argv[1], Path(sys.argv[2]).resolve()
    other = changed(run, "<script>'other'", many, lambda text: re.sub("(?m)^character_coverage = .*", "character_coverage = 0.99", text))
    exploded = changed(run, "exploded", explodes)
    page = browser.Browser()
    try:
        def opened(*runs):
            subprocess.run([chorus, "report", *runs, "--out", "looked_at.html", "-q"], check=True)
            page.open(f"file://{Path('looked_at.html').resolve()}")
            page.until("document.querySelectorAll('#training svg').length > 0")
            return page.evaluate("document.body.innerText")

        said = opened(run)
        assert "cannot be compared" not in said, said
        said = opened(run, other)
        assert "validated on different directions" in said and "vocabularies differ (vocabulary." in said, said
        assert "<script>'other'" in said, said
        page.evaluate("document.querySelector('#scores input').focus()")
        page.type("ah-")
        assert page.evaluate("[...document.querySelectorAll('#scores tbody th')].map((cell) => cell.textContent)") == ["ah-xx"]
        opened(exploded)
        names = page.evaluate("[...document.querySelectorAll('#training svg text')].map((text) => text.textContent)")
        assert max(map(len, names)) < 12, names
        assert page.faults == [], page.faults
    finally:
        page.end()


if __name__ == "__main__":
    main()
