"""Draws the ratios as an SVG of horizontal bars on a logarithmic scale."""

import math
from xml.sax.saxutils import escape

LEFT, RIGHT, TOP, BOTTOM = 300, 90, 64, 40
SCALE_WIDTH = 520
BAR, GAP, GROUP_GAP = 16, 4, 16
TEXT = 'font-family="sans-serif" font-size="12"'
# Distinct in lightness too, for readers who do not tell hues apart.
COLOURS = {
    "docker": "#1f5fa8",
    "docker-legacy": "#7fb0e0",
    "podman": "#7a3e9d",
    "buildah": "#c29ad6",
    "skopeo": "#2f7d4f",
    "skopeo+umoci": "#8fcaa6",
    "crun": "#b5651d",
}


def limits(groups):
    """The decades that hold every ratio, 1 always among them."""
    values = [value for _, peers in groups for _, value, _ in peers if value] + [1.0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return min(low, -1), max(high, 1)


def axis(low, high, height):
    parts = []
    for decade in range(low, high + 1):
        x = LEFT + (decade - low) / (high - low) * SCALE_WIDTH
        strong = ' stroke="#222" stroke-width="1.5"' if decade == 0 else ' stroke="#ccc"'
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{height - BOTTOM}"{strong}/>')
        label = f"{10.0 ** decade:g}"
        parts.append(f'<text x="{x:.1f}" y="{height - BOTTOM + 18}" text-anchor="middle" {TEXT}>{label}</text>')
    return parts


def bar(peer, value, ran, y, low, high):
    middle = y + BAR - 4
    parts = [f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end" {TEXT}>{escape(peer)}</text>']
    one = LEFT + (0 - low) / (high - low) * SCALE_WIDTH
    if value is None:
        note = "no mica figure" if ran else "failed"
        parts.append(f'<text x="{one + 6:.1f}" y="{middle}" fill="#777" {TEXT}>{note}</text>')
        return parts
    x = LEFT + (math.log10(value) - low) / (high - low) * SCALE_WIDTH
    start, width = min(x, one), max(abs(x - one), 1)
    colour = COLOURS.get(peer, "#555555")
    parts.append(f'<rect x="{start:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>')
    place, anchor = (x - 5, "end") if value < 1 else (x + 5, "start")
    parts.append(f'<text x="{place:.1f}" y="{middle}" text-anchor="{anchor}" {TEXT}>{value:.2f}</text>')
    return parts


def svg(groups):
    """Gives the picture of groups of (workload, [(peer, ratio or None, whether the peer ran)])."""
    rows = sum(len(peers) for _, peers in groups)
    height = TOP + rows * (BAR + GAP) + len(groups) * GROUP_GAP + BOTTOM
    width = LEFT + SCALE_WIDTH + RIGHT
    low, high = limits(groups)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="16" y="24" font-family="sans-serif" font-size="16">Wall time: mica over peer</text>',
        f'<text x="16" y="42" fill="#555" {TEXT}>left of 1 mica is faster; logarithmic scale</text>',
        *axis(low, high, height),
    ]
    y = TOP
    for workload, peers in groups:
        parts.append(f'<text x="16" y="{y + BAR - 4}" font-weight="bold" {TEXT}>{escape(workload)}</text>')
        for peer, value, ran in peers:
            parts += bar(peer, value, ran, y, low, high)
            y += BAR + GAP
        y += GROUP_GAP
    return "\n".join([*parts, "</svg>"]) + "\n"
