"""A report's page: what it looks like, in light and dark, on a screen and a phone, and its parts as HTML."""

import base64
import html
import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from rlmaml.base.plain_data import as_json
from rlmaml.results.paired import Reached, cells_of, differing_settings, paired_rows, settings_lines
from rlmaml.terminal.words import in_short

COLOURS = ("#d1495b", "#edae49", "#8f6bc1", "#8d6b48", "#4a7fb5", "#c06a9d")
"""Of the runs."""
INK = "#7d8694"
"""Of text and axes: readable on white and on black."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "text.color": INK,
    "legend.labelcolor": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.family": "sans-serif",
    "font.size": 9,
}
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --paper: #fdfdfc; --ink: #1d2430; --faded: #6a7280; --rule: #d9dce1; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --paper: #14171c; --ink: #e6e9ee; --faded: #9aa3b0; --rule: #333a45; }}
}}
body {{ margin: 0 auto; max-width: 64rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2.5rem; border-top: 1px solid var(--rule);
  padding-top: 1rem; }}
p.note {{ color: var(--faded); }}
svg, img, video {{ max-width: 100%; height: auto; }}
img, video {{ background: #fff; border-radius: 4px; }}
div.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }}
th, td {{ text-align: right; padding: 0.2rem 0.7rem; border-bottom: 1px solid var(--rule); white-space: nowrap;
  overflow-wrap: normal; }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; white-space: normal; min-width: 8rem; }}
summary {{ cursor: pointer; }}
pre {{ overflow-x: auto; font-size: 0.8rem; }}
</style>
<body>
{body}
</body>
</html>
"""


def as_label(name: str) -> str:
    """The name of a directory as text that can be written, and that matplotlib shows in a legend."""
    text = name.encode(errors="replace").decode()
    return f" {text}" if text.startswith("_") else text  # legends leave out what begins with an underscore


def page_axes() -> tuple[Figure, Axes]:
    """A figure as wide as the page of a phone."""
    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    return figure, figure.subplots()


def place_legend(figure: Figure, axes: Axes) -> None:
    """Below the axes, in two columns where names are short, else one under the other on as many lines as they need."""
    handles, labels = axes.get_legend_handles_labels()
    lines = ["\n".join(textwrap.wrap(label, 64, drop_whitespace=False)) for label in labels]
    columns = 2 if max(map(len, labels), default=0) <= 28 else 1
    figure.legend(handles, lines, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def as_svg(figure: Figure) -> str:
    """A figure within the page; its canvas lays it out and draws it in one go, where ``savefig`` draws it twice."""
    stream = io.StringIO()
    FigureCanvasSVG(figure).print_svg(stream)  # type: ignore[no-untyped-call]
    text = stream.getvalue()
    return text[text.index("<svg") :]


def as_picture(png: bytes, shown: str) -> str:
    """A picture within the page, with what it shows in words."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(shown)}" src="data:image/png;base64,{data}">'


def as_table(header: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A table; short rows are filled with empty cells."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    filled = [(name, *cells, *[""] * (len(header) - 1 - len(cells))) for name, cells in rows]
    lines = ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>" for cells in filled]
    return f"<div class=wide><table><tr>{head}</tr>{''.join(lines)}</table></div>"


def differences_table(runs: Sequence[Reached], header: Sequence[str], shown: Sequence[int], digits: int) -> str:
    """Every run less the first, task by task, at the stages that are shown."""
    rows = [(name, cells_of(row, digits)) for name, row in paired_rows(runs)[len(runs) :]]
    return as_table(header, [(name, [cells[k] for k in shown if k < len(cells)]) for name, cells in rows])


def differing_table(runs: Sequence[Reached]) -> str:
    """The settings in which runs differ, or the words that they differ in none."""
    differing = differing_settings([run.settings for run in runs])
    if not differing:
        return f"<p>{'; '.join(settings_lines(differing, runs))}</p>"
    rows = [(name, list(map(in_short, values))) for name, values in differing.items()]
    return as_table(["setting", *[run.name for run in runs]], rows)


def folded_configuration(written: Mapping[str, Any]) -> str:
    """Settings, versions and commit of a run, to be opened."""
    text = html.escape(as_json(written, indent=2))
    return f"<details><summary>Configuration, versions, commit</summary><pre>{text}</pre></details>"
