# SPDX-License-Identifier: Apache-2.0
"""A small plot as SVG: series of points on two logarithmic axes, where growth in proportion is a straight line."""

import math
from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT, _MARGIN = 640, 400, 64
_COLOURS = ("#1b6ca8", "#b3541e", "#3c7a3c", "#7a3c7a")

Points = Sequence[tuple[float, float]]


def svg(title: str, across: str, up: str, series: Mapping[str, Points]) -> str:
    """The picture. Every value must be above zero."""
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    place = _Place(_decades(xs), _decades(ys))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-size="12">',
        "<style>text { font-family: sans-serif }</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_WIDTH / 2}" y="24" text-anchor="middle" font-size="15">{title}</text>',
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 12}" text-anchor="middle">{across}</text>',
        f'<text transform="translate(16 {_HEIGHT / 2}) rotate(-90)" text-anchor="middle">{up}</text>',
        *place.grid(),
    ]
    for number, (name, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        at = [place.of(x, y) for x, y in points]
        lines.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" '
            f'points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in at)}"/>'
        )
        lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in at]
        lines.append(f'<text x="{_MARGIN + 12}" y="{_MARGIN + 4 + 16 * number}" fill="{colour}">{name}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


class _Place:
    """From values to places in the picture."""

    def __init__(self, across: tuple[int, int], up: tuple[int, int]) -> None:
        self._across, self._up = across, up

    def of(self, x: float, y: float) -> tuple[float, float]:
        (left, right), (low, high) = self._across, self._up
        return (
            _MARGIN + (math.log10(x) - left) / (right - left) * (_WIDTH - 2 * _MARGIN),
            _HEIGHT - _MARGIN - (math.log10(y) - low) / (high - low) * (_HEIGHT - 2 * _MARGIN),
        )

    def grid(self) -> list[str]:
        lines = []
        for power in range(self._across[0], self._across[1] + 1):
            x, bottom = self.of(10**power, 10 ** self._up[0])
            lines.append(_line(x, _MARGIN, x, bottom))
            lines.append(f'<text x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{10**power:,}</text>')
        for power in range(self._up[0], self._up[1] + 1):
            left, y = self.of(10 ** self._across[0], 10**power)
            lines.append(_line(left, y, _WIDTH - _MARGIN, y))
            lines.append(f'<text x="{left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{10**power:,}</text>')
        return lines


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="#ccc"/>'
