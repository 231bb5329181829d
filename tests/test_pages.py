"""Pages: what is left of somebody else's cells, and what a browser makes of the rest."""

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from wearsynth.pages import clean, write_page

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>link</a>",
    "<a href='java\tscript:alert(1)'>link</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>link</a>",
    "<iframe src='https://example.org'></iframe>",
    "<svg onload=alert(1)></svg>",
    "<style>@import 'https://example.org/x.css';</style>",
    "<link rel=stylesheet href='https://example.org/x.css'>",
    "<img src='https://example.org/x.png'>",
    "<table background='https://example.org/x.png'><tr><td onclick=alert(1)>cell</td></tr></table>",
    "<form action='https://example.org'><input></form>",
    "</div></body><script>alert(1)</script>",
)


@pytest.mark.parametrize("html", HOSTILE)
def test_nothing_that_runs_or_fetches_comes_onto_a_page(html):
    left = BeautifulSoup(clean(html), "html.parser")
    assert not left.find_all(["script", "iframe", "svg", "style", "link", "form", "input"])
    for tag in left.find_all():
        assert not {*tag.attrs} & {"onerror", "onclick", "onload", "src", "background", "action"}
        assert ":" not in tag.get("href", "")


def test_a_page_of_hostile_outputs_runs_nothing(tmp_path):
    """Cells as somebody else's run folder may hold them."""
    outputs = [
        nbformat.v4.new_output("display_data", {"text/html": html, "text/markdown": html, "text/plain": html})
        for html in HOSTILE
    ]
    outputs += [
        nbformat.v4.new_output("display_data", {"application/javascript": "alert(1)"}),
        nbformat.v4.new_output("display_data", {"image/svg+xml": "<svg onload=alert(1)></svg>"}),
        nbformat.v4.new_output("display_data", {"image/png": "AAAA"}, metadata={"width": "1 onerror=alert(1)"}),
        nbformat.v4.new_output("display_data", {"image/png": "AAAA", "text/html": HOSTILE[0]}),
        nbformat.v4.new_output("stream", name="stdout", text=HOSTILE[0]),
        nbformat.v4.new_output("error", ename=HOSTILE[0], evalue=HOSTILE[0], traceback=[HOSTILE[0]]),
    ]
    cells = [
        nbformat.v4.new_markdown_cell("\n\n".join(HOSTILE)),
        nbformat.v4.new_code_cell(HOSTILE[0], outputs=outputs),
    ]
    write_page(cells, "<script>", tmp_path / "page.html", real=False)
    page = BeautifulSoup((tmp_path / "page.html").read_text(encoding="utf-8"), "html.parser")
    assert not page.find_all(["script", "link", "iframe", "svg", "base", "form"]) and len(page.find_all("style")) == 1
    assert len(page.find_all("main")) == 1 and page.find("main").find_parent().name == "body"
    for tag in page.find_all():
        assert not any(name.startswith("on") for name in tag.attrs)
        assert not tag.get("href", "").startswith(("javascript", "data"))
        assert tag.get("src", "data:image/png").startswith("data:image/png") and tag.get("alt", "-")
    assert page.find("img", src=True)["alt"] == "picture"


def test_a_page_keeps_tables_and_pictures():
    table = pd.DataFrame({"a": [1]}).to_html()
    picture = '<img alt="picture" src="data:image/png;base64,AAAA">'
    left = BeautifulSoup(
        clean(f"<h2 id='x'>Title</h2>{table}<details><summary>s</summary>{picture}</details>"), "html.parser"
    )
    assert left.find("td").text == "1" and left.find("img")["src"].startswith("data:image/png")
    assert left.find("h2")["id"] == "x" and left.find("details")


def test_a_picture_is_called_what_its_section_is_and_what_it_is_saved_as(tmp_path):
    picture = [nbformat.v4.new_output("display_data", {"image/png": "AAAA"})]
    cells = [
        nbformat.v4.new_markdown_cell("# Data\n\nText.\n\n## The people\n\nMore."),
        nbformat.v4.new_code_cell('run.save_figure(figure, "class_levels")', outputs=picture),
        nbformat.v4.new_markdown_cell("No title here."),
        nbformat.v4.new_code_cell("figure", outputs=picture),
    ]
    write_page(cells, "title", tmp_path / "page.html", real=False)
    page = BeautifulSoup((tmp_path / "page.html").read_text(encoding="utf-8"), "html.parser")
    assert [tag["alt"] for tag in page.find_all("img")] == ["The people: class levels", "The people"]
