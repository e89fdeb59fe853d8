"""Pages of cards: one HTML file with its plots inside, nothing to fetch, nothing to run, in light and in dark."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

_CSS = """
:root { color-scheme: light dark; --text: #222; --quiet: #5d5d5d; --card: #fff; --page: #f2f3f5; --line: #ddd;
  --bar: #9cc5e0 }
@media (prefers-color-scheme: dark) { :root { --text: #e4e4e4; --quiet: #a0a0a0; --card: #1b1d20; --page: #111214;
  --line: #3a3d42; --bar: #2b5d7d } svg { filter: invert(1) hue-rotate(180deg) } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--text); background: var(--page); margin: 0 auto;
  max-width: 100rem; padding: 1rem 1.5rem 3rem }
h1 { font-size: 1.5rem; margin: .5rem 0 } h2 { font-size: 1.25rem; margin: 2.2rem 0 .2rem }
h3 { font-size: .95rem; margin: 1.2rem 0 .4rem; color: var(--quiet); font-weight: 600 }
p { margin: .2rem 0 } a { color: inherit } nav a { margin-right: 1rem }
.quiet { color: var(--quiet); font-size: .85rem; max-width: 60rem }
.grid { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(27rem, 1fr)) }
.stats { grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)) }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .4rem; padding: .6rem .8rem;
  min-width: 0 }
.card h4 { margin: 0; font-size: .95rem } .card details { font-size: .8rem; color: var(--quiet) }
.card svg { width: 100%; height: auto; display: block; margin-top: .3rem }
.value { font-size: 1.7rem; font-weight: 600; font-variant-numeric: tabular-nums } .value small { font-size: .8rem;
  font-weight: 400; color: var(--quiet) }
table { border-collapse: collapse; width: 100%; margin-top: .4rem; font-size: .85rem }
td { padding: .15rem .4rem; border-bottom: 1px solid var(--line) } td:last-child { text-align: right;
  white-space: nowrap; font-variant-numeric: tabular-nums; width: 1% }
.empty { color: var(--quiet); padding: 2.5rem 0; text-align: center }
"""


def html_page(title: str, parts: Iterable[str]) -> str:
    """Return a page of parts of HTML; equal parts give equal bytes."""
    text = escape(title)
    return "\n".join(
        [
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{text}</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{_CSS}</style></head><body>\n<h1>{text}</h1>",
            *parts,
            "</body></html>\n",
        ]
    )


def prose(text: str) -> str:
    """Return text as HTML, with what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
