"""Line plots as SVG: the horizontal axis is logarithmic, the vertical one begins at zero."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 60
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
STYLE = "font: 12px sans-serif; fill: #444"


def line_plot(title, across, up, series):
    """An SVG of `series`: {label: [(x, y), ...]}; `across` and `up` name the axes."""
    points = [point for line in series.values() for point in line]
    # A logarithm has no place for nothing: 0 stands one step before the smallest.
    positive = sorted({x for x, _ in points if x > 0})
    zero = positive[0] / 10
    low = math.log10(min(x or zero for x, _ in points))
    high = math.log10(positive[-1])
    top = nice(max(y for _, y in points))

    def place(x, y):
        share = (math.log10(x or zero) - low) / ((high - low) or 1)
        return (
            LEFT + share * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM),
        )

    parts = [text(WIDTH / 2, 20, title, "middle", "font: 14px sans-serif")]
    for step in range(5):
        value = top * step / 4
        y = place(positive[-1], value)[1]
        parts.append(line([(LEFT, y), (WIDTH - RIGHT, y)], "#ddd"))
        parts.append(text(LEFT - 8, y + 4, "%g" % value, "end"))
    for x in sorted({x for x, _ in points}):
        parts.append(text(place(x, 0)[0], HEIGHT - BOTTOM + 18, f"{x:,}", "middle"))
    parts.append(text(WIDTH / 2, HEIGHT - 22, across, "middle"))
    parts.append(text(8, TOP - 14, up, "start"))
    for number, (label, measured) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        placed = [place(x, y) for x, y in sorted(measured)]
        parts.append(line(placed, colour, 2))
        parts += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (*at, colour) for at in placed]
        parts.append(text(LEFT + 10 + 180 * number, HEIGHT - 5, label, "start", "fill: " + colour))
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">'
    white = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head % (WIDTH, HEIGHT, WIDTH, HEIGHT), white, *parts, "</svg>"]) + "\n"


def nice(value):
    """A round number that is not below the value."""
    size = 10 ** math.floor(math.log10(value or 1))
    return next(step * size for step in (1, 2, 4, 6, 8, 10) if step * size >= value)


def line(points, colour, width=1):
    places = " ".join("%.1f,%.1f" % point for point in points)
    form = '<polyline points="%s" fill="none" stroke="%s" stroke-width="%d"/>'
    return form % (places, colour, width)


def text(x, y, content, anchor, style=""):
    form = '<text x="%.1f" y="%.1f" text-anchor="%s" style="%s">%s</text>'
    return form % (x, y, anchor, "; ".join(filter(None, [STYLE, style])), escape(content))
