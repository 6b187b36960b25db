#!/usr/bin/env python3
"""Draws the largest model of each parallel form: one bar per form, on a logarithmic axis of parameters.

    chorus plan RUN.toml ... --forms --json | scripts/plot_forms.py >forms.svg
"""
import json
import math
import sys

LEFT, WIDTH, ROW, TOP = 110, 560, 30, 56
FIRST = 8  # the axis begins at 10^8


def human_count(number):
    """Three significant digits and a decimal unit, as chorus prints them."""
    unit = 0
    while number >= 999.5 and unit < 4:
        number /= 1000
        unit += 1
    decimals = 0 if unit == 0 else 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{decimals}f}" + ["", "k", "M", "G", "T"][unit]


def human_bytes(number):
    unit = 0
    while number >= 1023.95 and unit < 6:
        number /= 1024
        unit += 1
    return f"{number:.{1 if unit else 0}f} " + ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][unit]


def plot(plan):
    forms, world = plan["forms"], plan["world"]
    last = math.ceil(math.log10(max([1e9] + [form["parameters"] for form in forms])))
    bottom = TOP + ROW * len(forms)

    def x_of(parameters):
        share = (math.log10(max(parameters, 1)) - FIRST) / (last - FIRST)
        return LEFT + WIDTH * min(max(share, 0), 1)

    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 90}" height="{bottom + 40}" '
           'font-family="sans-serif" font-size="13">',
           '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="{LEFT}" y="24" font-size="15">Largest model on {world} rank{"" if world == 1 else "s"} of '
           f'{human_bytes(plan["budgets"]["device"])}</text>']
    for power in range(FIRST, last + 1):
        x = x_of(10**power)
        svg.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{bottom}" stroke="#ccc"/>'
                   f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{human_count(10**power)}</text>')
    for i, form in enumerate(forms):
        y, x = TOP + ROW * i, x_of(form["parameters"])
        colour = "#d08040" if "-" in form["form"] else "#4878a8"  # something is off the device
        label = human_count(form["parameters"]) if form["parameters"] else "none"
        svg.append(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{form["form"]}</text>'
                   f'<rect x="{LEFT}" y="{y}" width="{x - LEFT:.1f}" height="20" fill="{colour}"/>'
                   f'<text x="{x + 6:.1f}" y="{y + 15}">{label}</text>')
    return "\n".join(svg) + "\n</svg>\n"


def main():
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    try:
        plan = json.load(sys.stdin)
    except json.JSONDecodeError:  # chorus has said why
        sys.exit("plot_forms: no plan on standard input")
    if isinstance(plan, list) and len(plan) == 1:  # of the stage that --stage names
        plan = plan[0]
    if "forms" not in plan:
        sys.exit("plot_forms: no forms: give chorus plan --forms --json, and of a run file with stages --stage NAME")
    sys.stdout.write(plot(plan))


if __name__ == "__main__":
    main()
