"""Look of every figure, and its way into a file.

Figures are built without `pyplot`: no global state, no display, nothing to close.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter
from matplotlib.typing import RcKeyType

from fleet.errors import InvalidInputError

#: Colours that are told apart with every kind of colour vision (Okabe and Ito, 2008), darkest contrast first.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5D5D5D", "#F0E442")

#: Fillings that go with `PALETTE`, so that neighbours differ in print too.
HATCHES = ("", "////", "", "----", "", "\\\\\\\\", "", "xxxx")

#: Lines of reference: what was measured or published elsewhere.
REFERENCE_COLOUR = "#A00000"

#: File types that `save_figure` writes.
FILE_TYPES = (".svg", ".png", ".pdf")

_STYLE: dict[RcKeyType, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#5D5D5D",
    "axes.grid": True,
    "axes.grid.axis": "both",
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "figure.titlesize": 11,
    "figure.titleweight": "bold",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "reram-fleet",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


@contextlib.contextmanager
def figure_style() -> Iterator[None]:
    """Set how figures look while they are built or saved, whatever the user's own style; a decorator too.

    Examples
    --------
    >>> from fleet.report.style import figure_style, panels
    >>> with figure_style():
    ...     figure, (left, right) = panels("Two of them", rows=1, columns=2, width_in=8, height_in=3)
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def panels(
    title: str, *, rows: int, columns: int, width_in: float, height_in: float, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a titled figure and its panels, row by row.

    The options are those of `Figure.subplots`, e.g. ``sharey=True``.
    """
    figure = Figure(figsize=(width_in, height_in))
    figure.suptitle(title, x=0.01, ha="left")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def plain_log_axis(axis: Axis, low: float, high: float) -> None:
    """Label a logarithmic axis by plain numbers: 1, 2, 5 in each decade if there are few, else decades."""
    few = high / low < 2000
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=20))
    thousands = EngFormatter(sep="")
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}" if value < 1e4 else thousands(value)))
    axis.set_minor_formatter(NullFormatter())


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as SVG, PNG or PDF, by the suffix; the same figure gives the same SVG bytes.

    Raises `InvalidInputError` if the suffix is none of these, or the file cannot be written.
    """
    if path.suffix not in FILE_TYPES:
        raise InvalidInputError(
            f"cannot write a plot as {path.suffix or 'a file without a suffix'!r}: {path}",
            hint=f"Name a file that ends in one of {', '.join(FILE_TYPES)}.",
        )
    # A date in the file would make every run a change of the committed picture.
    metadata = {".svg": {"Date": None, "Creator": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    with figure_style():
        try:
            figure.savefig(path, dpi=144, metadata=metadata)
        except OSError as error:
            raise InvalidInputError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def svg_element(figure: Figure, label: str = "") -> str:
    """Return a figure as an SVG element without a background; equal figures give equal text.

    `label` is what it shows, for those who cannot see it.
    """
    buffer = io.StringIO()
    with figure_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    element = text[text.index("<svg") :]
    return element.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1) if label else element


def save_figures(figures: Mapping[str, Figure], folder: Path, suffix: str = ".svg") -> list[Path]:
    """Write figures into a folder, which is made if need be, each under its name; return the files.

    Raises `InvalidInputError` as `save_figure`, or if the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    return [save_figure(figure, folder / f"{name}{suffix}") for name, figure in figures.items()]
