#!/usr/bin/env python3
"""Builds and runs the tests nearest to what differs from the last commit: of each module with a changed file its own, of a command its script
in tests/app/. What lies above a changed module is left to `make test`.

    scripts/quick.py [-j JOBS] [--since COMMIT]
"""
import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = "build/release"


def run(*command):
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        sys.exit(1)


def changed(since):
    """Files that differ from the commit, new ones too."""
    def lines(*command):
        return subprocess.run(("git",) + command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [Path(name) for name in lines("diff", "--name-only", since) + lines("ls-files", "--others", "--exclude-standard")]


def tests_of(path):
    """What to build for a file, and the name of the tests to run as ctest has it; none where nothing tests it."""
    parts = path.parts
    module = "inference" if parts[0] == "include" else parts[1] if parts[0] in {"src", "tests"} and len(parts) > 2 else ""
    if module == "app":
        script = ROOT / f"tests/app/{path.stem.removesuffix('_test')}_test.sh"
        return "chorus", f"app: {script.stem if script.exists() else '.*'}"
    if path.stem.endswith("_fuzz") or module == "fuzz":
        name = path.stem.removesuffix("_fuzz")
        return (f"fuzz_{name}", f"fuzz: {name}") if module != "fuzz" else ("all", "fuzz: .*")
    module = {"architecture": "formats", "training": "train"}.get(module, module)
    if module in {"comm", "mpi", "ranks"}:
        return "test_ranks", "ranks: on 2"
    if module and (ROOT / "tests" / module).is_dir() and any((ROOT / "tests" / module).glob("*_test.cpp")):
        return f"test_{module}", f"{module}: (all|part .*)"
    return "", ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-j", "--jobs", default="2")
    parser.add_argument("--since", default="HEAD")
    arguments = parser.parse_args()
    found = [tests_of(path) for path in changed(arguments.since)]
    targets = sorted({target for target, _ in found if target})
    names = sorted({name for _, name in found if name})
    if not names:
        print("quick: nothing that differs has tests of its own", file=sys.stderr)
        return
    print(f"quick: {', '.join(names)}", file=sys.stderr)
    run("cmake", "--build", BUILD, "-j", arguments.jobs, "--target", *targets)
    run("ctest", "--preset", "release", "-j", arguments.jobs, "-R", f"^({'|'.join(names)})$")


if __name__ == "__main__":
    main()
