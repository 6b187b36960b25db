"""Line charts and heat maps as SVG, of nothing but text: the same numbers give the same file."""
import math
from html import escape

COLOURS = ["#1b6ca8", "#c8553d", "#3b8b5a", "#8a5ba6", "#b8860b", "#4d4d4d", "#d16ba5", "#2aa0a4"]
FONT = 'font-family="sans-serif" font-size="12" fill="#222"'


def ticks(low, high, count=6):
    """Round numbers between low and high, about `count` of them."""
    span = (high - low) or 1
    step = 10 ** math.floor(math.log10(span / count))
    step *= next(m for m in (1, 2, 2.5, 5, 10) if span / (step * m) <= count)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def text(x, y, words, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {FONT} {extra}>{escape(str(words))}</text>'


def document(width, height, title, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">'
    return "\n".join([head, f'<rect width="100%" height="100%" fill="#fff"/>', text(12, 20, title, extra='font-weight="bold"'),
                      *parts, "</svg>", ""])


def line_chart(title, x_label, y_label, series, height=400, logarithmic=False):
    """series: [(label, [(x, mean, deviation), ...])], drawn as lines with bands of one deviation either side."""
    points = [p for _, line in series for p in line]
    across = (lambda x: math.log2(x)) if logarithmic else float
    left, right, top, bottom = 56, 500, 34, height - 44
    width = max(right + 60 + 7 * max(len(label) for label, _ in series), 7.5 * len(title) + 24)
    x0, x1 = min(across(p[0]) for p in points), max(across(p[0]) for p in points)
    y0, y1 = min(p[1] - p[2] for p in points), max(p[1] + p[2] for p in points)
    margin = (y1 - y0 or 1) * 0.04
    y0, y1 = y0 - margin, y1 + margin

    def place(x, y):
        return left + (across(x) - x0) / ((x1 - x0) or 1) * (right - left), bottom - (y - y0) / (y1 - y0) * (bottom - top)

    parts = []
    for y in ticks(y0, y1):
        at = place(points[0][0], y)[1]
        parts += [f'<line x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e4e4e4"/>', text(left - 6, at + 4, f"{y:g}", "end")]
    for x in sorted({p[0] for p in points}) if logarithmic else ticks(x0, x1):
        parts.append(text(place(x, y0)[0], bottom + 18, f"{x:g}", "middle"))
    parts += [f'<path d="M{left} {top}V{bottom}H{right}" stroke="#888" fill="none"/>',
              text((left + right) / 2, height - 8, x_label, "middle"),
              text(14, (top + bottom) / 2, y_label, "middle", f'transform="rotate(-90 14 {(top + bottom) / 2:.0f})"')]
    for i, (label, line) in enumerate(series):
        colour = COLOURS[i % len(COLOURS)]
        upper = [place(x, m + d) for x, m, d in line]
        lower = [place(x, m - d) for x, m, d in reversed(line)]
        join = lambda way: " ".join(f"{x:.1f},{y:.1f}" for x, y in way)
        dash = ' stroke-dasharray="6 3"' if i >= len(COLOURS) else ""
        middle = [place(x, m) for x, m, _ in line]
        parts += [f'<polygon points="{join(upper + lower)}" fill="{colour}" fill-opacity="0.15"/>',
                  f'<polyline points="{join(middle)}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>',
                  *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in middle),
                  f'<line x1="{right + 12}" x2="{right + 34}" y1="{top + 8 + 18 * i}" y2="{top + 8 + 18 * i}" stroke="{colour}" stroke-width="3"{dash}/>',
                  text(right + 40, top + 12 + 18 * i, label)]
    return document(width, height, title, parts)


def heat_map(title, blocks, cell=26):
    """blocks: [(heading, row labels, rows of shares 0 to 1)], side by side; the largest share of all is the darkest."""
    largest = max(share for _, _, rows in blocks for shares in rows for share in shares) or 1
    left = 14 + 7 * max(len(label) for _, labels, _ in blocks for label in labels)
    x, height, parts = left, 0, []
    for heading, labels, rows in blocks:
        parts.append(text(x, 44, heading))
        for i, (label, shares) in enumerate(zip(labels, rows)):
            y = 64 + i * cell
            if x == left:
                parts.append(text(left - 6, y + cell * 0.65, label, "end"))
            for j, share in enumerate(shares):
                parts.append(f'<rect x="{x + j * cell}" y="{y}" width="{cell - 1}" height="{cell - 1}" fill="{shade(share / largest)}">'
                             f'<title>{escape(label)}, expert {j}: {100 * share:.0f} %</title></rect>')
        parts += [text(x + (j + 0.5) * cell, 60, j, "middle") for j in range(len(rows[0]))]
        x += len(rows[0]) * cell + 22
        height = max(height, 64 + len(rows) * cell + 12)
    return document(max(x, 7.5 * len(title) + 24), height, title, parts)


def shade(share):
    """White at 0 to dark blue at 1."""
    return "#" + "".join(f"{round(255 + (end - 255) * share):02x}" for end in (10, 60, 120))
