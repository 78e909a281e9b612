"""What a report looks like: in light and in dark, on a screen and on a phone."""

from typing import Any

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
