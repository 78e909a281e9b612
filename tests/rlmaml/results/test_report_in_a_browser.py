"""The page as a browser lays it out; skipped where none is installed."""

import html
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rlmaml.results.report import report_page
from rlmaml.results.supervised_report import supervised_page
from tests.rlmaml.results.test_report import PUBLISHED, a_run
from tests.rlmaml.results.test_supervised_report import reported_runs

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (390, 1280)
LEAST_CONTRAST = 3.0
"""Of letters with what is behind them, as the web's guidelines (WCAG 2.1) ask of large ones and of graphics."""

MEASURE = """
const luminance = colour => {
  const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (one, other) => {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
};
const seen = frame => {
  const page = frame.contentDocument, view = frame.contentWindow;
  const paper = view.getComputedStyle(page.body).backgroundColor;
  const wide = [], cut = [], faint = [];
  for (const element of page.body.querySelectorAll('*')) {
    const box = element.getBoundingClientRect(), style = view.getComputedStyle(element);
    if (!box.width || element.closest('details:not([open])')) continue;
    const words = [...element.childNodes].filter(n => n.nodeType == 3).map(n => n.data.trim()).join('');
    const scrolls = element.closest('div.wide, pre, svg *');
    if (!scrolls && box.right > view.innerWidth + 1) wide.push(element.outerHTML.slice(0, 80));
    if (!words) continue;
    const picture = element.closest('svg');
    if (picture) {
      const frame = picture.getBoundingClientRect();
      const inside = frame.left - 1 <= box.left && box.right <= frame.right + 1
        && frame.top - 1 <= box.top && box.bottom <= frame.bottom + 1;
      if (!inside) cut.push(words);
    }
    const ratio = contrast(picture ? style.fill : style.color, paper);
    if (ratio < LEAST) faint.push([words.slice(0, 40), ratio]);
  }
  const lines = [...page.querySelectorAll('svg path, svg use')].map(e => view.getComputedStyle(e).stroke);
  const pale = [...new Set(lines.filter(s => s.startsWith('rgb') && contrast(s, paper) < 1.5))];
  const scrolls = page.documentElement.scrollWidth > view.innerWidth;
  const [texts, tables] = ['svg text', 'table'].map(name => page.querySelectorAll(name).length);
  return {width: view.innerWidth, scrolls, wide, cut, faint, pale, texts, tables};
};
addEventListener('load', () => {
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  const found = {dark, pages: [...document.querySelectorAll('iframe')].map(seen)};
  document.body.innerHTML = '<pre id=found></pre>';
  document.getElementById('found').textContent = JSON.stringify(found);
});
"""


def laid_out(pages: Sequence[str], folder: Path, *flags: str) -> dict[str, Any]:
    """What a browser measures on each page in windows of all widths."""
    assert BROWSER is not None
    frames = "".join(
        f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(page)}"></iframe>'
        for page in pages
        for width in WIDTHS
    )
    wrapped = folder / "wrapped.html"
    script = MEASURE.replace("LEAST", str(LEAST_CONTRAST))
    wrapped.write_text(f"<!doctype html><meta charset=utf-8><body>{frames}<script>{script}</script>", encoding="utf-8")
    words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", *flags]
    words += ["--dump-dom", wrapped.as_uri()]
    told = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
    text = told.stdout.partition('<pre id="found">')[2].partition("</pre>")[0]
    assert text, told.stderr[-2000:]
    found: dict[str, Any] = json.loads(html.unescape(text))
    return found


@pytest.mark.skipif(BROWSER is None, reason="needs a browser: apt install chromium")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_overflows_is_cut_or_vanishes_on_a_phone_and_a_screen_in_light_and_dark(
    tmp_path: Path, dark: bool
) -> None:
    name = "half-cheetah-with-a-name-that-is-much-longer-than-a-phone-is-wide-seed0"
    on_episodes = report_page([a_run(name=name), a_run("finn2017")], PUBLISHED)
    on_examples = supervised_page(reported_runs(tmp_path, name, "other"))
    found = laid_out(
        (on_episodes, on_examples), tmp_path, *(["--blink-settings=preferredColorScheme=0"] if dark else [])
    )
    assert found["dark"] == dark
    assert [seen["width"] for seen in found["pages"]] == 2 * list(WIDTHS)
    for seen in found["pages"]:
        assert seen["texts"] > 20
        assert seen["tables"] > 3
        assert not seen["scrolls"]
        assert seen["wide"] == seen["cut"] == seen["faint"] == seen["pale"] == []
