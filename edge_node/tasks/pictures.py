"""Picture set that the project draws itself: ten things in four styles, in colour, every picture another one.

A picture is a function of (thing, style, number): parts with a colour each, laid over one another, whose places, sizes
and colours vary. A part is a signed distance to its rim, so that every style draws the same parts: a style is how
something is drawn, never what. Nobody's data, and no file: the whole set is this module.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from edge_node.generation.diffusion import COLOUR_LEVELS
from edge_node.generation.dit import CHANNELS, IMAGE_SIDE
from hwmodel import keyed_uint16

#: Points per pixel and axis that a pixel is the mean of.
_FINE = 3
#: Half the width of a drawn line; the canvas reaches from -1 to 1.
_LINE = 0.055
#: Side of a stone of the mosaic, in pixels.
_STONE = 2
#: Numbers that a picture may draw.
_DRAWS = 40

Colour = tuple[float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True, eq=False, slots=True)
class _Part:
    """Part of a thing: signed distance to its rim on the fine grid, negative inside, and its colour."""

    distance: np.ndarray
    colour: Colour


class _Sketch:
    """Canvas of one picture: its coordinates, shifted, scaled and turned a little, and the numbers that it draws.

    Attributes
    ----------
    draw
        Returns the next number of the picture's own stream, evenly from 0 to 1.
    """

    def __init__(self, draws: Iterable[float]) -> None:
        self.draw: Callable[[], float] = iter(draws).__next__
        ticks = (np.arange(IMAGE_SIDE * _FINE) + 0.5) / (IMAGE_SIDE * _FINE / 2) - 1
        size = self.between(0.92, 1.02)
        x = (ticks[None, :] - self.between(-0.05, 0.05)) / size
        y = (ticks[:, None] - self.between(-0.05, 0.05)) / size
        turn = self.between(-0.04, 0.04)
        self._x, self._y = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
        self.parts: list[_Part] = []

    def between(self, low: float, high: float) -> float:
        """Return a number from `low` to `high`."""
        return low + (high - low) * self.draw()

    def colour(self, hue: float, saturation: float, value: float) -> Colour:
        """Return about this colour."""
        return colorsys.hsv_to_rgb(
            (hue + self.between(-0.02, 0.02)) % 1,
            min(1.0, saturation * self.between(0.9, 1.1)),
            min(1.0, value * self.between(0.93, 1.07)),
        )

    def disc(self, centre: Point, radius: float, colour: Colour, *, tall: float = 1.0) -> None:
        """Add a disc, or an ellipse that is `tall` times as tall as it is wide."""
        x, y = self._x - centre[0], (self._y - centre[1]) / tall
        self.parts.append(_Part((np.sqrt(x * x + y * y) - radius) * min(1.0, tall), colour))

    def ring(self, centre: Point, radius: float, width: float, colour: Colour) -> None:
        """Add a ring of this mean radius."""
        x, y = self._x - centre[0], self._y - centre[1]
        distance = np.sqrt(x * x + y * y)
        self.parts.append(_Part(np.abs(distance - radius) - width / 2, colour))

    def shape(self, points: Iterable[Point], colour: Colour) -> None:
        """Add a polygon."""
        corners = list(points)
        near = np.full(self._x.shape, np.inf)
        inside = np.zeros(self._x.shape, bool)
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
            ex, ey, wx, wy = bx - ax, by - ay, self._x - ax, self._y - ay
            along = (wx * ex + wy * ey) / (ex * ex + ey * ey)
            np.maximum(along, 0, out=along)
            np.minimum(along, 1, out=along)
            left = ex * wy - ey * wx
            inside ^= ((ay <= self._y) != (by <= self._y)) & ((left > 0) == (by > ay))
            # The distance to this side, squared.
            wx -= along * ex
            wy -= along * ey
            wx *= wx
            wy *= wy
            np.minimum(near, wx + wy, out=near)
        near = np.sqrt(near)
        self.parts.append(_Part(np.where(inside, -near, near), colour))

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Add a rectangle; y points down."""
        self.shape([(left, top), (right, top), (right, bottom), (left, bottom)], colour)


def _house(s: _Sketch) -> None:
    eaves, roof, wide = s.between(-0.15, 0.0), s.between(-0.85, -0.7), s.between(0.5, 0.6)
    s.box(-wide, eaves, wide, 0.75, s.colour(0.11, 0.35, 0.95))
    s.shape([(-wide - 0.22, eaves), (0, roof), (wide + 0.22, eaves)], s.colour(0.01, 0.75, 0.8))
    door = s.between(-0.32, -0.22)
    s.box(door - 0.15, 0.22, door + 0.17, 0.75, s.colour(0.07, 0.7, 0.45))
    s.box(0.1, 0.12, 0.42, 0.42, s.colour(0.55, 0.4, 0.95))


def _tree(s: _Sketch) -> None:
    trunk, crown = s.between(0.1, 0.15), s.between(0.36, 0.42)
    s.box(-trunk, 0.1, trunk, 0.85, s.colour(0.07, 0.65, 0.5))
    leaves = s.colour(0.33, 0.7, 0.6)
    spread = s.between(0.26, 0.34)
    s.disc((-spread, 0.02), crown, leaves)
    s.disc((spread, 0.02), crown, leaves)
    s.disc((0, s.between(-0.46, -0.38)), crown, leaves)


def _fish(s: _Sketch) -> None:
    body = s.colour(0.06, 0.85, 0.95)
    tail = s.between(0.34, 0.46)
    s.shape([(0.3, 0), (0.85, -tail), (0.85, tail)], s.colour(0.02, 0.8, 0.85))
    s.disc((-0.15, 0), s.between(0.58, 0.64), body, tall=s.between(0.6, 0.72))
    s.disc((-0.45, -0.1), 0.1, s.colour(0.6, 0.5, 0.2))


def _boat(s: _Sketch) -> None:
    mast = s.between(-0.1, 0.02)
    s.box(mast - 0.05, -0.8, mast + 0.05, 0.35, s.colour(0.07, 0.6, 0.4))
    s.shape([(mast + 0.07, s.between(-0.8, -0.7)), (mast + 0.07, 0.2), (0.78, 0.2)], s.colour(0.02, 0.75, 0.9))
    s.shape([(mast - 0.07, -0.6), (mast - 0.07, 0.2), (-0.7, 0.2)], s.colour(0.13, 0.65, 0.98))
    keel = s.between(0.4, 0.5)
    s.shape([(-0.85, 0.32), (0.85, 0.32), (keel, 0.78), (-keel, 0.78)], s.colour(0.61, 0.75, 0.7))


def _car(s: _Sketch) -> None:
    paint = s.colour(0.98, 0.8, 0.85)
    roof = s.between(-0.45, -0.35)
    s.shape([(-0.55, 0.0), (-0.32, roof), (0.28, roof), (0.55, 0.0)], paint)
    s.shape([(-0.34, -0.03), (-0.2, roof + 0.12), (0.18, roof + 0.12), (0.33, -0.03)], s.colour(0.55, 0.35, 0.95))
    s.box(-0.88, -0.02, 0.88, 0.4, paint)
    wheel, tyre = s.between(0.2, 0.24), s.colour(0.6, 0.2, 0.2)
    for x in (-0.45, 0.45):
        s.disc((x, 0.42), wheel, tyre)


def _flower(s: _Sketch) -> None:
    green, petal = s.colour(0.34, 0.7, 0.55), s.colour(0.88, 0.5, 0.92)
    s.box(-0.05, 0.0, 0.05, 0.88, green)
    s.shape([(0.0, 0.8), (0.5, s.between(0.3, 0.4)), (0.4, 0.7)], green)
    s.shape([(0.0, 0.8), (-0.5, s.between(0.3, 0.4)), (-0.4, 0.7)], green)
    turn, far = s.between(-0.1, 0.1) - math.pi / 2, s.between(0.37, 0.4)
    for angle in (turn + 2 * math.pi * k / 5 for k in range(5)):
        s.disc((far * math.cos(angle), far * math.sin(angle) - 0.3), 0.25, petal)
    s.disc((0, -0.3), 0.22, s.colour(0.13, 0.85, 0.98))


def _cat(s: _Sketch) -> None:
    fur, ear = s.colour(0.08, 0.45, 0.7), s.between(-0.85, -0.75)
    s.shape([(-0.68, 0.0), (-0.62, ear), (-0.05, -0.35)], fur)
    s.shape([(0.68, 0.0), (0.62, ear), (0.05, -0.35)], fur)
    s.disc((0, 0.12), s.between(0.66, 0.71), fur, tall=0.86)
    eye = s.between(0.26, 0.31)
    for x in (-eye, eye):
        s.disc((x, 0.02), 0.13, s.colour(0.25, 0.75, 0.95))
    s.shape([(-0.14, 0.28), (0.14, 0.28), (0, 0.45)], s.colour(0.97, 0.5, 0.9))


def _mushroom(s: _Sketch) -> None:
    stem, brim = s.between(0.2, 0.27), s.between(0.08, 0.15)
    s.shape([(-stem, 0), (stem, 0), (stem + 0.06, 0.82), (-stem - 0.06, 0.82)], s.colour(0.11, 0.35, 0.85))
    tall = s.between(-0.78, -0.68)
    cap = [(0.82 * math.cos(a), brim + (tall - brim) * math.sin(a)) for a in np.linspace(0, math.pi, 13).tolist()]
    s.shape(cap, s.colour(0.0, 0.85, 0.85))
    spot = s.colour(0.1, 0.08, 0.98)
    s.disc((s.between(-0.42, -0.34), -0.12), 0.14, spot)
    s.disc((s.between(-0.02, 0.08), -0.42), 0.14, spot)
    s.disc((0.42, s.between(-0.14, -0.06)), 0.13, spot)


def _cup(s: _Sketch) -> None:
    glaze, foot = s.colour(0.48, 0.6, 0.75), s.between(0.34, 0.42)
    s.ring((0.48, 0.1), s.between(0.25, 0.29), 0.15, glaze)
    s.shape([(-0.62, -0.4), (0.46, -0.4), (foot, 0.7), (-foot - 0.14, 0.7)], glaze)
    s.disc((-0.08, -0.4), 0.55, s.colour(0.06, 0.75, 0.4), tall=s.between(0.26, 0.34))


def _rocket(s: _Sketch) -> None:
    fins, base = s.colour(0.0, 0.8, 0.85), s.between(0.42, 0.5)
    s.shape([(-0.18, base), (0.18, base), (0, s.between(0.85, 0.95))], s.colour(0.12, 0.9, 1.0))
    s.shape([(-0.25, 0.0), (-0.62, base + 0.1), (-0.25, base)], fins)
    s.shape([(0.25, 0.0), (0.62, base + 0.1), (0.25, base)], fins)
    wide = s.between(0.27, 0.32)
    hull = [(-wide, base), (-wide, -0.25), (-0.17, -0.62), (0, -0.88), (0.17, -0.62), (wide, -0.25), (wide, base)]
    s.shape(hull, s.colour(0.62, 0.2, 0.72))
    s.disc((0, s.between(-0.25, -0.17)), 0.15, s.colour(0.58, 0.7, 0.75))


_THINGS: dict[str, Callable[[_Sketch], None]] = {
    "house": _house,
    "tree": _tree,
    "fish": _fish,
    "boat": _boat,
    "car": _car,
    "flower": _flower,
    "cat": _cat,
    "mushroom": _mushroom,
    "cup": _cup,
    "rocket": _rocket,
}


def _flat(s: _Sketch) -> np.ndarray:
    """Paint every part in its colour on a light ground."""
    return _pixels(_painted(s, s.colour(0.55, 0.18, 0.97)))


def _outline(s: _Sketch) -> np.ndarray:
    """Draw dark rims only, on paper."""
    paper, ink = s.colour(0.13, 0.06, 0.98), s.colour(0.62, 0.5, 0.25)
    canvas = np.broadcast_to(np.array(paper), (IMAGE_SIDE * _FINE, IMAGE_SIDE * _FINE, CHANNELS)).copy()
    for part in s.parts:
        canvas[part.distance < _LINE] = ink
        canvas[part.distance < -_LINE] = paper
    return _pixels(canvas)


def _mosaic(s: _Sketch) -> np.ndarray:
    """Lay stones of one colour each, every other one a little darker."""
    pixels = _pixels(_painted(s, s.colour(0.14, 0.12, 0.97)))
    stones = IMAGE_SIDE // _STONE
    means = pixels.reshape(stones, _STONE, stones, _STONE, CHANNELS).mean(axis=(1, 3))
    means[(np.indices((stones, stones)).sum(axis=0) % 2) == 1] *= 0.8
    laid: np.ndarray = means.repeat(_STONE, axis=0).repeat(_STONE, axis=1)
    return laid


def _night(s: _Sketch) -> np.ndarray:
    """Show dim colours under a dark sky, with bright rims."""
    canvas = _painted(s, s.colour(0.66, 0.75, 0.22))
    for part in s.parts:
        dim = 0.35 * np.array(part.colour) + np.array((0.02, 0.03, 0.16))
        bright = 0.55 * np.array(part.colour) + 0.45
        canvas[part.distance < _LINE / 2] = bright
        canvas[part.distance < -_LINE] = dim
    return _pixels(canvas)


_STYLES: dict[str, Callable[[_Sketch], np.ndarray]] = {
    "flat": _flat,
    "outline": _outline,
    "mosaic": _mosaic,
    "night": _night,
}

#: Names of what is drawn, and of how.
THINGS, STYLES = tuple(_THINGS), tuple(_STYLES)


def draw_pictures(thing: int, style: int, count: int) -> np.ndarray:
    """Return the first pictures of a thing in a style: colours, uint8 ``[count, 24, 24, 3]``."""
    draws = keyed_uint16(0, "pictures", THINGS[thing], STYLES[style], count=count * _DRAWS).numpy()
    shares = (draws.reshape(count, _DRAWS) + 0.5) / 2**16
    pictures = np.stack([_picture(thing, style, own.tolist()) for own in shares])
    levels: np.ndarray = np.rint(pictures * COLOUR_LEVELS).astype(np.uint8)
    return levels


def _picture(thing: int, style: int, draws: list[float]) -> np.ndarray:
    sketch = _Sketch(draws)
    _THINGS[THINGS[thing]](sketch)
    return _STYLES[STYLES[style]](sketch)


def _painted(s: _Sketch, ground: Colour) -> np.ndarray:
    canvas = np.broadcast_to(np.array(ground), (IMAGE_SIDE * _FINE, IMAGE_SIDE * _FINE, CHANNELS)).copy()
    for part in s.parts:
        canvas[part.distance < 0] = part.colour
    return canvas


def _pixels(canvas: np.ndarray) -> np.ndarray:
    pixels: np.ndarray = canvas.reshape(IMAGE_SIDE, _FINE, IMAGE_SIDE, _FINE, CHANNELS).mean(axis=(1, 3))
    return pixels.clip(0, 1)
