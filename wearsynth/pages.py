"""Pages of HTML: each is one file that needs no other, runs nothing and fetches nothing."""

import base64
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import bleach
import nbformat
from nbconvert import HTMLExporter
from traitlets.config import Config

from wearsynth.files import replacing

TAGS = {  # of HTML, that a page may hold
    *("a", "b", "blockquote", "br", "code", "details", "div", "em", "h1", "h2", "h3", "h4", "hr", "i", "img", "li"),
    *("ol", "p", "pre", "span", "strong", "summary", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
OUTPUTS = ("text/html", "text/markdown", "image/png", "text/plain")  # of a cell, the best one first
BANNER = '<div class="banner">Contains real recordings, names and scores: not to be passed on.</div>\n'


def write_page(parts: Sequence[str | nbformat.NotebookNode], title: str, path: Path, real: bool) -> None:
    """Writes a page.

    Args:
        parts: Markdown, and cells of notebooks, which may be somebody else's: nothing of them runs or fetches.
        title: of the page.
        path: of the file.
        real: whether it shows real people's data, names or scores; it says so on each screen and each sheet of paper.
    """
    cells = [nbformat.v4.new_markdown_cell(part) if isinstance(part, str) else part for part in parts]
    _name_pictures(cells)
    exporter = HTMLExporter(
        config=Config(NbConvertBase={"display_data_priority": OUTPUTS}),
        template_name="basic",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        sanitize_html=True,
    )
    exporter.register_filter("clean_html", clean)  # cell by cell: none can swallow the next one,
    content, _ = exporter.from_notebook_node(nbformat.v4.new_notebook(cells=cells))
    page = PAGE.format(title=escape(title), style=STYLE, banner=BANNER * real, content=clean(content))  # nor the page
    with replacing(path) as draft:
        draft.write_text(page, encoding="utf-8")


def clean(html: str) -> str:
    """Leaves of HTML what shows something, and nothing that runs or fetches: a run may start from somebody else's."""
    without_styles = re.sub(r"<style.*?</style\s*>", "", str(html), flags=re.DOTALL | re.IGNORECASE)
    return bleach.clean(without_styles, TAGS, _harmless, {"http", "https", "data"}, strip=True)


def embedded(png: bytes, alt: str) -> str:
    """A picture as HTML that needs no other file; `alt` says what it shows to whoever cannot see it."""
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def folded(title: str, content: str) -> str:
    """Markdown or HTML under a line that opens it; paper has it open."""
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"


def _harmless(tag: str, name: str, value: str) -> bool:
    """Whether an attribute may stay."""
    if name == "src":
        return tag == "img" and value.startswith("data:image/png;base64,")
    if name == "href":
        return tag == "a" and re.fullmatch(r"#.*|https?://.*|[^:]*", value) is not None
    return name in ("alt", "class", "colspan", "id", "rowspan", "title")


def _name_pictures(cells: list[nbformat.NotebookNode]) -> None:
    """Says of each cell what its picture shows: the title of its section, and the name under which it is saved."""
    section = "picture"
    for cell in cells:
        if cell.cell_type == "markdown":
            section = (re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE) or [section])[-1]
        elif cell.cell_type == "code":
            names = re.findall(r'save_figure\(figure, "(\w+)"\)', cell.source)
            cell.metadata["alt"] = ": ".join([section, *names]).replace("_", " ")


# The browser is told as well: what is not in the file, it must not ask for, and nothing runs.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{banner}<main>
{content}
</main>
</body>
</html>
"""
STYLE = """:root { color-scheme: light; --text: #1f2328; --ground: #fff; --shade: #f4f5f7; --line: #c9ced6;
  --link: #0b57a4; --keyword: #7a1fa2; --string: #1b6e2c; --comment: #5c6570; --error: #b00020; }
@media screen and (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --text: #e3e6ea; --ground: #16191d; --shade: #22272e; --line: #454c56; --link: #8ab8ff;
    --keyword: #d6a4ff; --string: #8fd694; --comment: #9aa4b0; --error: #ff8a95; }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 4rem; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--text); font: 1rem/1.5 system-ui, sans-serif;
  overflow-wrap: break-word; }
main { max-width: 70rem; margin: auto; padding: 0 1rem 3rem; }
.banner { position: sticky; top: 0; z-index: 1; padding: .5rem 1rem; background: #b00020; color: #fff;
  font-weight: bold; text-align: center; }
h1, h2, h3 { line-height: 1.25; margin: 2em 0 .5em; }
h1 { font-size: 1.7rem; margin-top: 1em; }
h2 { font-size: 1.3rem; }
a { color: var(--link); }
hr { border: 0; border-top: 2px solid var(--line); margin: 3rem 0 0; }
summary { cursor: pointer; padding: .4rem 0; color: var(--link); }
img { display: block; max-width: 100%; height: auto; margin: 1rem 0; background: #fff; }
table { display: block; width: fit-content; max-width: 100%; overflow-x: auto; margin: 1rem 0;
  border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { border-bottom-width: 2px; }
code { font-family: ui-monospace, monospace; font-size: .875em; }
pre { overflow-x: auto; margin: .5rem 0; font: .8125rem/1.45 ui-monospace, monospace; }
pre code { font: inherit; }
.input_area, .highlight { background: var(--shade); }
.input_area { padding: .1rem .8rem; border-left: 3px solid var(--line); }
.output_text pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.output_error { color: var(--error); }
.highlight :is(.k, .kn, .kc, .ow) { color: var(--keyword); }
.highlight :is(.s1, .s2, .sa, .si) { color: var(--string); }
.highlight .c1 { color: var(--comment); }
.answers td:nth-child(-n + 2) { white-space: nowrap; }
.answers td:first-child { font-weight: bold; }
@media screen and (max-width: 40rem) {
  img { max-width: none; width: 45rem; }
  :has(> img) { overflow-x: auto; }
  th, td { padding: .2rem .35rem; font-size: .75rem; }
  .answers thead { display: none; }
  .answers :is(tbody, tr, td) { display: block; width: auto; }
  .answers td { border: 0; padding: .1rem 0; font-size: .875rem; }
  .answers tr { border-bottom: 1px solid var(--line); padding: .5rem 0; }
}
@page { size: A4; margin: 14mm; }
@media print {
  body { display: table; table-layout: fixed; width: 100%; font-size: 9.5pt; }
  main { display: table-row-group; }
  .banner { display: table-header-group; position: static; break-inside: avoid; line-height: 2.5;
    background: none; color: #b00020; }
  table { display: table; font-size: 7pt; }
  th, td { padding: .5mm 1mm; overflow-wrap: anywhere; }
  th:first-child { min-width: 5em; }
  table:has(th:nth-child(10)) :is(th, td) { padding: .5mm .7mm; min-width: 0; font-size: 5.5pt; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 7pt; }
  img, tr { break-inside: avoid; }
  h1, h2, h3, summary, p:has(+ table) { break-after: avoid; }
  details::details-content { content-visibility: visible; display: block; }
}
"""
