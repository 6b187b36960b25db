#!/usr/bin/env python3
"""Whether `chorus serve` gives the lines that `chorus translate --beam 3` gave, all asked at once.

usage: same_lines.py PATH_OF_CHORUS MODEL SOURCE TRANSLATION      (German to English)
"""
import concurrent.futures
import sys
from pathlib import Path

from served import Server

chorus, model, source, translation = sys.argv[1:]
server = Server(chorus, model, "--beam", "3")


def translated(line):
    return server.ask("/translate", {"q": line, "source": "de", "target": "en"})[1]["translatedText"]


with concurrent.futures.ThreadPoolExecutor(8) as clients:
    lines = list(clients.map(translated, Path(source).read_text(encoding="utf-8").splitlines()))
if server.end() != 0:
    sys.exit("same_lines.py: the server ended badly")
for expected, got in zip(Path(translation).read_text(encoding="utf-8").splitlines(), lines, strict=True):
    if got != expected:
        sys.exit(f"same_lines.py: {got!r}, not {expected!r}")
