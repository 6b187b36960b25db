#!/usr/bin/env python3
"""Checks the form of the sources: clang-format, the rooms and their picture, file lengths, docs/options.md, clang-tidy.

    scripts/lint.py [-j JOBS] [--skip-tidy]

clang-tidy takes long where libtorch is included, so a file found clean is remembered under build/tidy by a hash of
everything the verdict depends on, and is not looked at again until that changes.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIDY = ROOT / "build" / "tidy"
MAX_LINES = 400
MAX_COLUMNS = 120  # of comments, which clang-format leaves alone
FILES_AT_ONCE = 40  # by clang-tidy: libtorch takes it 20 s and 0.8 GB, 40 files after it 10 s and 0.3 GB
TORCH_HEADER = re.compile(r"<(ATen|torch|c10)/")
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)


def sources(*folders, suffixes=(".cpp", ".h")):
    """The files under the folders, C++ unless told otherwise, as paths from the root."""
    files = [p for f in folders for p in (ROOT / f).rglob("*") if p.suffix in suffixes]
    return sorted(p.relative_to(ROOT) for p in files)


def say(text):
    print(f"lint: {text}", file=sys.stderr, flush=True)


def check_format(jobs):
    files = sources("include", "src", "tests", "bench", "python")
    chunks = [files[i::jobs] for i in range(jobs) if files[i::jobs]]

    def run(chunk):
        done = subprocess.run(["clang-format", "--dry-run", *map(str, chunk)], cwd=ROOT, capture_output=True, text=True)
        wrong = sorted({line.split(":")[0] for line in done.stderr.splitlines() if "-Wclang-format-violations" in line})
        if done.returncode and not wrong:
            raise SystemExit(f"lint: clang-format: {(done.stderr.strip().splitlines() or ['it failed'])[0]}")
        return wrong

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for path in sorted(sum(pool.map(run, chunks), [])):
            yield f"{path}: not as .clang-format wants it: clang-format -i {path}"


def uses():
    """From the chorus_module() lines of CMakeLists.txt: room -> (the rooms it names, whether it sees libtorch)."""
    found = {}
    for name, rest in re.findall(r"^chorus_module\((\w+)(.*)\)$", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE):
        named = re.search(r"USES ([a-z ]+)", rest)
        found[name] = (named.group(1).split() if named else [], " TORCH" in rest)
    return found


def rooms():
    """room -> (all rooms it may include, whether it sees libtorch)."""
    found = {}
    for name, (named, torch) in uses().items():
        below = {name}
        for used in named:
            below |= found[used][0]
        found[name] = (below, torch)
    found["app"] = (set(found) | {"app"}, True)
    return found


PUBLIC_FACE = {"base", "inference", "training"}  # the rooms that define what include/chorus/ declares


def check_includes():
    known = rooms()
    for path in sources("include", "src", "tests", "bench", "python"):
        includes = INCLUDE.findall((ROOT / path).read_text())
        if any(name == "torch/torch.h" for _, name in includes):
            yield f"{path}: torch/torch.h costs 15 s a file: include <ATen/ops/NAME.h> for the operators used"
        if path == Path("src/torch_pch.h"):
            continue
        room = "" if path.parts[0] in {"include", "bench", "python"} else path.parts[1]
        if path.parts[0] == "src" and room not in known:
            yield f"{path}: CMakeLists.txt has no chorus_module({room})"
            continue
        below, torch = known.get(room, (set(known), True))
        for bracket, name in includes:
            parts = name.split("/")
            if path.parts[0] == "include" and bracket == '"' and parts[0] != "chorus":
                yield f"{path}: includes {name}, which is not installed"
            if path.parts[0] == "python" and parts[0] in known:
                yield f"{path}: includes {name}: bindings are of the public face alone"
            if path.parts[0] == "src" and parts[0] == "chorus" and room not in PUBLIC_FACE:
                yield f"{path}: includes {name}: the public face is on top of the rooms, not under them"
            if "internal" in parts and parts[0] != room:
                yield f"{path}: includes {name}, which is {parts[0]}/'s own"
            if path.parts[0] == "src" and parts[0] in known and parts[0] not in below and bracket == '"':
                yield f"{path}: includes {name}, but {room}/ sees only {', '.join(sorted(below))}"
            if path.parts[0] == "src" and not torch and TORCH_HEADER.match(f"<{name}"):
                yield f"{path}: includes {name}, but {room}/ does without libtorch"


def check_devices():
    """kernels/ alone knows kinds of devices; others ask is_host() of kernels/device.h where bytes leave the device."""
    asks = re.compile(r"\b(is_cpu|is_cuda|is_privateuseone|device_type)\(|\bk(CUDA|PrivateUse1)\b")
    for path in sources("src"):
        if path.parts[1] != "kernels":
            for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
                if asks.search(line):
                    yield f"{path}:{number}: asks for the kind of device, which is for src/kernels/ to know"


def check_namespaces():
    for path in sources("src"):
        text = (ROOT / path).read_text()
        room = "face" if path.parts[1] in PUBLIC_FACE - {"base"} else path.parts[1]
        if re.search(r"^namespace chorus {", text, re.MULTILINE):
            yield f"{path}: namespace chorus::inline {room}, so that a name is one room's own"


def floors():
    """The rooms by floor: each on the lowest from which all that it uses is below."""
    height = {}
    for name, (named, _) in uses().items():
        height[name] = 1 + max((height[used] for used in named), default=0)
    return [" ".join(sorted(name for name in height if height[name] == floor)) for floor in range(max(height.values()), 0, -1)]


def check_picture():
    """docs/architecture.md draws the rooms, floor by floor, and has a row for each."""
    page = (ROOT / "docs/architecture.md").read_text()
    picture = re.search(r"```rooms\n(.*?)```", page, re.DOTALL)
    drawn = [" ".join(sorted(line.split("|")[1].split())) for line in picture.group(1).splitlines()] if picture else []
    wanted = ["app"] + floors()
    if drawn != wanted:
        yield "docs/architecture.md: the picture of the rooms is not what CMakeLists.txt says, which is:\n  " + "\n  ".join(wanted)
    described = set(re.findall(r"^\| `(\w+)/` ", page, re.MULTILINE))
    for room in sorted((set(rooms()) | described) - (set(rooms()) & described)):
        yield f"docs/architecture.md: the table of rooms and CMakeLists.txt differ in {room}/"


def check_lengths():
    python = sources("bench", "scripts", "tests", "experiments", "python", suffixes=(".py",))
    for path in [*sources("include", "src", "tests", "bench", "python"), *python]:
        lines = (ROOT / path).read_bytes().count(b"\n")
        if lines > MAX_LINES:
            yield f"{path}: {lines} lines, more than {MAX_LINES}: split it"
    for path in sources("include", "src", "tests", "bench", "python"):
        for number, line in enumerate((ROOT / path).read_text(errors="replace").splitlines(), 1):
            if len(line) > MAX_COLUMNS and "//" in line and '"' not in line:
                yield f"{path}:{number}: a comment that goes to column {len(line)}, beyond {MAX_COLUMNS}: break the line"


def check_type_names():
    """Two types of one name in different files are undefined behaviour as soon as both are in a std::vector: the linker
    keeps one of the two functions that have one name. No compiler says so. Relies on the format, which is checked first."""
    named = re.compile(r"(?:struct|class|union|enum(?: class)?) (\w+)(?: final)?(?: :.*| )\{")
    places = {}
    for path in sources("include", "src", "tests", "bench", "python"):
        program = path.parts[1] if path.parts[0] in {"tests", "bench", "python"} else ""  # tests of two modules are never one program
        hidden = False
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
            if line in {"namespace {", "}  // namespace"}:
                hidden = line == "namespace {"
            elif not hidden and (found := named.match(line)):
                places.setdefault(found.group(1), []).append((program, f"{path}:{number}"))
    for name, found in places.items():
        for program, place in found[1:]:
            if program in {"", found[0][0]} or found[0][0] == "":
                yield f"{place}: {name} is the name of another type too, {found[0][1]}: nest it, or hide it in an unnamed namespace"


def check_numbers():
    """CLI11's checks of ranges let nan pass; between() of app/commands.h does not."""
    for path in sources("src/app"):
        if re.search(r"CLI::(Range|Bound|NonNegativeNumber|PositiveNumber|Number)\b", (ROOT / path).read_text()):
            yield f"{path}: checks a number with CLI11, which takes nan for in range: use between()"


def check_options_page():
    program, page = ROOT / "build/release/chorus", ROOT / "docs/options.md"
    if program.exists() and page.exists():
        wanted = subprocess.run([program, "train", "--dump-options"], capture_output=True, text=True)
        if wanted.returncode != 0 or wanted.stdout != page.read_text():
            yield "docs/options.md is not what the program says (chorus train --dump-options): run `make docs`"


def included(path, seen):
    """Adds to `seen` the project's own headers that a file includes, whatever their depth."""
    for bracket, name in INCLUDE.findall((ROOT / path).read_text()):
        for base in (path.parent, Path("include"), Path("src")):
            candidate = Path(os.path.normpath(base / name))
            if bracket == '"' and (ROOT / candidate).is_file():
                if candidate not in seen:
                    seen.add(candidate)
                    included(candidate, seen)
                break
    return seen


def tidy_flags(entry):
    """Only what the front end needs of a compile command: the rest is GCC's."""
    words = entry["command"].split()
    flags = []
    for i, word in enumerate(words):
        if word.startswith(("-I", "-D", "-std=", "-march=")):
            flags.append(word)
        elif word in {"-isystem", "-idirafter"}:
            flags += [word, words[i + 1]]
        elif word == "-include":  # the precompiled header, which is GCC's: read what it was made from
            flags += [word, "src/torch_pch.h"]
    return [re.sub(r'\\"', '"', flag) for flag in flags]


def verdict_file(path, flags, version):
    """Exists when clang-tidy has found nothing in the file as it is now."""
    digest = hashlib.sha256(json.dumps([version, flags, (ROOT / ".clang-tidy").read_text()]).encode())
    for file in [path, Path("src/torch_pch.h"), *sorted(included(path, set()))]:
        digest.update(str(file).encode() + b"\0" + (ROOT / file).read_bytes())
    return TIDY / "clean" / digest.hexdigest()


def tidy(group):
    """What clang-tidy finds in some files. Most of its time goes into libtorch's headers, so the files are read as one; those
    whose names collide with another's are then read apart. Clang wants to know of the widest registers that any function is for."""
    files, flags = group
    paths = [path for path, _ in files]
    unit = TIDY / "units" / f"{str(paths[0]).replace('/', '_')}_{len(paths)}.cpp"
    unit.write_text("".join(f'#include "{path}"\n' for path in paths))
    run = subprocess.run(["clang-tidy", "--quiet", "--checks=-bugprone-suspicious-include", str(unit), "--", "-I.", "-ferror-limit=0", *flags, "-mavx512f"],
                         cwd=ROOT, capture_output=True, text=True)
    if run.returncode == 0:
        for _, verdict in files:
            verdict.touch()
        return []
    if len(files) > 1 and "[clang-diagnostic-error]" in run.stdout:
        wrong = set(re.findall(r"(src/\S+\.cpp):\d+:\d+: error: .*\[clang-diagnostic-error\]", run.stdout))
        apart = [file for file in files if str(file[0]) in wrong]
        if len(apart) in {0, len(files)}:
            apart = files[len(files) // 2:]
        return tidy(([file for file in files if file not in apart], flags)) + tidy((apart, flags))
    return [(run.stdout + "\n".join(x for x in run.stderr.splitlines() if "warnings generated" not in x)).strip()]


def check_tidy(jobs):
    for folder in ("clean", "units"):
        (TIDY / folder).mkdir(parents=True, exist_ok=True)
    configured = subprocess.run(["cmake", "-S", ROOT, "-B", TIDY / "cmake", "-G", "Ninja", "-DCHORUS_TESTS=OFF"],
                                capture_output=True, text=True)
    if configured.returncode != 0:
        yield f"cmake failed:\n{configured.stdout}{configured.stderr}"
        return
    version = subprocess.run(["clang-tidy", "--version"], capture_output=True, text=True).stdout
    left = {}  # flags -> files not known to be clean
    for entry in json.loads((TIDY / "cmake/compile_commands.json").read_text()):
        path = Path(entry["file"])
        if path.is_relative_to(ROOT / "src") and path.suffix == ".cpp":
            path, flags = path.relative_to(ROOT), tidy_flags(entry)
            verdict = verdict_file(path, flags, version)
            if not verdict.exists():
                left.setdefault(tuple(flags), []).append((path, verdict))
    groups = []
    for flags, files in sorted(left.items()):
        files.sort(reverse=True)  # the builds' order turned round: what a file needs of another's, one of both misses
        groups += [(files[i:i + FILES_AT_ONCE], list(flags)) for i in range(0, len(files), FILES_AT_ONCE)]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for findings in pool.map(tidy, groups):
            yield from findings


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--skip-tidy", action="store_true", help="the quick checks only")
    options = parser.parse_args()
    steps = [("clang-format", check_format(options.jobs)), ("rooms", check_includes()), ("their picture", check_picture()),
             ("devices", check_devices()), ("namespaces", check_namespaces()), ("file lengths", check_lengths()), ("names of types", check_type_names()), ("numbers", check_numbers()),
             ("docs/options.md", check_options_page())]
    if not options.skip_tidy:
        steps.append(("clang-tidy (files found clean before are skipped)", check_tidy(options.jobs)))
    count = 0
    for name, problems in steps:
        say(name)
        for problem in problems:
            print(problem, flush=True)
            count += 1
    if count:
        say(f"{count} problem{'s' if count > 1 else ''}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
