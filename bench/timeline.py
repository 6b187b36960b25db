#!/usr/bin/env python3
"""Draws docs/timeline.svg: what device and host hold, and what is read from and written to NVMe, during one update of a model that
lies there. The numbers are those of a run, sampled each half millisecond by chorus_timeline:

    cmake --preset release && cmake --build --preset release --target chorus_timeline
    bench/timeline.py [--folder DIR] [--out docs/timeline.svg]
"""
import argparse, pathlib, subprocess, sys, tempfile

PHASES = ["forward", "backward", "norm", "AdamW"]
COLOURS = ["#e8f0f8", "#fbeee6", "#eef5ea", "#f4ecf7"]
LEFT, RIGHT, PANEL, GAP, TOP = 70, 930, 130, 34, 40


def polyline(points, colour):
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" fill="none" stroke="{colour}" stroke-width="1.4"/>'


def text(x, y, words, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/bench/chorus_timeline")
    parser.add_argument("--folder", help="where the scratch file goes (default: a temporary one)")
    parser.add_argument("--out", default="docs/timeline.svg")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        done = subprocess.run([arguments.program, folder], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr.strip())
    rows = [[float(x) for x in line.split()] for line in done.stdout.splitlines()]
    seconds, peak, samples = rows[-1][0], max(row[1] for row in rows) / 1e6, len(rows)
    stride = max(1, len(rows) // 1200)  # of so many samples, the one with most on the device
    rows = [max(rows[i:i + stride], key=lambda row: row[1]) for i in range(0, len(rows), stride)]
    across = lambda t: LEFT + (RIGHT - LEFT) * t / seconds
    bottom = TOP + 3 * (PANEL + GAP) - GAP
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="960" height="%d" font-family="sans-serif" font-size="12">' % (bottom + 44),
             '<rect width="100%" height="100%" fill="white"/>']
    # Phases as bands, blocks as ticks.
    begin = 0
    for i, row in enumerate(rows):
        if i + 1 == len(rows) or rows[i + 1][6] != row[6]:
            phase = int(row[6])
            parts.append(f'<rect x="{across(rows[begin][0]):.1f}" y="{TOP - 14}" width="{across(row[0]) - across(rows[begin][0]):.1f}" '
                         f'height="{bottom - TOP + 14}" fill="{COLOURS[phase]}"/>')
            parts.append(text((across(rows[begin][0]) + across(row[0])) / 2, TOP - 20, PHASES[phase], "middle"))
            begin = i + 1
        if i > 0 and row[5] != rows[i - 1][5] and row[6] <= 1:
            parts.append(f'<line x1="{across(row[0]):.1f}" x2="{across(row[0]):.1f}" y1="{TOP}" y2="{bottom}" stroke="#ddd"/>')
    megabytes = lambda column: [(row[0], row[column] / 1e6) for row in rows]
    panels = [("held on the device, MB", [(megabytes(1), "#4878a8", "")]), ("held on the host, MB", [(megabytes(2), "#4878a8", "")]),
              ("NVMe, MB so far", [(megabytes(3), "#3b8b5a", "read"), (megabytes(4), "#c8553d", "written")])]
    for number, (title, lines) in enumerate(panels):
        y0 = TOP + number * (PANEL + GAP) + PANEL
        most = max(y for line, _, _ in lines for _, y in line) * 1.08
        parts.append(text(LEFT, y0 - PANEL - 3, title))
        for share in (0, 0.5, 1):
            y = y0 - PANEL * share / 1.08
            parts.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#bbb" stroke-dasharray="2 3"/>')
            parts.append(text(LEFT - 6, y + 4, f"{most / 1.08 * share:.0f}", "end"))
        for line, colour, name in lines:
            parts.append(polyline([(across(t), y0 - PANEL * y / most) for t, y in line], colour))
            if name:
                parts.append(text(RIGHT - 4, y0 - PANEL * line[-1][1] / most - 5, name, "end"))
    for i in range(6):
        t = seconds * i / 5
        parts.append(text(across(t), bottom + 18, f"{t:.2f}", "middle"))
    parts.append(text((LEFT + RIGHT) / 2, bottom + 36, "seconds; grey lines: another block runs", "middle"))
    pathlib.Path(arguments.out).write_text("\n".join(parts + ["</svg>", ""]))
    print(f"{samples} samples over {seconds:.2f} s, at most {peak:.1f} MB on the device; written to {arguments.out}")


if __name__ == "__main__":
    main()
