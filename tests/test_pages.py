"""Pages: what is left of somebody else's cells, and what a browser makes of the rest."""

import base64
import io

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader
from test_answers import metrics
from test_report import DETECTION
from test_share import made_up_run

from wearsynth import figures
from wearsynth.pages import BANNER, clean, write_page
from wearsynth.report import SUMMARY_FIGURES, write_report
from wearsynth.share import write_share
from wearsynth.tables import load_table

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


A4 = {"width": 794, "height": 1123}  # in pixels of 1/96 inch
WARNING = BeautifulSoup(BANNER, "html.parser").text.strip()


def finished_run(path, kind):
    """A run as it is when all notebooks have ended, of the widest that they may show."""
    run = made_up_run(path, kind=kind)
    made = metrics(kind=kind)
    made["detection"] = DETECTION | {"differences": made["detection"]["differences"]}
    run.record("run", {"recordings": run.metrics["run"]["recordings"] | {"seconds": 3600}})
    run.record("windows", {"settings": ["extended", "subject", 60, 30]})
    for section in ("detection", "fidelity", "yardstick", "attacks"):
        run.record(section, made[section])
    run.figures.mkdir()
    picture = figures.as_png(figures.conditions(load_table(run.shared_table), kind))
    for name in SUMMARY_FIGURES:
        (run.figures / f"{name}.png").write_bytes(picture)
    wide = pd.DataFrame([[f"{number}.123456" for number in range(20)]] * 15).add_prefix("column_").to_html()
    outputs = [
        nbformat.v4.new_output("display_data", {"text/html": wide}),
        nbformat.v4.new_output("display_data", {"image/png": base64.b64encode(picture).decode()}),
        nbformat.v4.new_output("stream", name="stdout", text="recordings/" * 40),
    ]
    code = nbformat.v4.new_code_cell(f"value = {'+'.join('123456' for _ in range(60))}", outputs=outputs)
    for name in run.NOTEBOOKS:
        title = nbformat.v4.new_markdown_cell(f"# {name}\n\nSee `{'a_long_name_' * 20}`.")
        nbformat.write(nbformat.v4.new_notebook(cells=[title, code]), run.path / f"{name}.ipynb")
    write_report(run)
    return run


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Name -> file: both of a run on real people, and the report of one on public ones."""
    real, public = (finished_run(tmp_path_factory.mktemp(kind), kind) for kind in ("real", "public"))
    picture = (real.figures / f"{[*SUMMARY_FIGURES][0]}.png").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "as_png", lambda figure: picture)  # drawing takes longer than all the rest
        write_share(real, real.study.read_schedule(real.study.schedule), "CC-BY-4.0")
    return {"real": real.report, "public": public.report, "share": real.share / "report.html"}


@pytest.fixture
def opened(browser, pages):
    """A function that opens a page, and gives it with all that it asked for and complained of."""
    contexts = []

    def open_page(name, **settings):
        contexts.append(browser.new_context(**settings))
        page, asked, said = contexts[-1].new_page(), [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(pages[name].as_uri())
        return page, asked, said

    yield open_page
    for context in contexts:
        context.close()


NAMES = ("real", "public", "share")


@pytest.mark.parametrize("name", NAMES)
def test_a_page_asks_for_nothing_and_shows_every_picture(name, opened, pages):
    page, asked, said = opened(name)
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()] and not said
    pictures = page.eval_on_selector_all("img", "all => all.map(each => [each.naturalWidth, each.alt.trim()])")
    assert len(pictures) >= 2 and all(width > 100 and alt for width, alt in pictures)


@pytest.mark.parametrize("name", ["real", "share"])
def test_nothing_is_asked_for_even_where_cleaning_would_fail(name, opened, pages, tmp_path):
    """The browser itself is told: by a page into which somebody has put what the cleaning leaves out."""
    text = pages[name].read_text(encoding="utf-8")
    evil = "<script>document.title = 'ran'</script><img src='http://127.0.0.1:9/x.png'>"
    (tmp_path / "evil.html").write_text(text.replace("<main>", f"<main>{evil}"), encoding="utf-8")
    page, _, said = opened(name)
    reached = []
    page.on("response", lambda response: reached.append(response.url))
    page.goto((tmp_path / "evil.html").as_uri())
    assert page.title() != "ran" and len(said) >= 2 and not [url for url in reached if url.startswith("http")]


@pytest.mark.parametrize("name", ["real", "share"])
def test_a_phone_scrolls_down_alone(name, opened):
    page, _, _ = opened(name, viewport={"width": 390, "height": 844})
    page.eval_on_selector_all("details", "all => all.forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    # Pictures stay as large as their words can be read, and slide within their places.
    sizes = page.eval_on_selector_all(
        "img", "all => all.map(each => [each.clientWidth, each.parentElement.clientWidth])"
    )
    assert sizes and all(width >= 700 and place <= 390 for width, place in sizes)
    assert name == "share" or page.evaluate(
        "[...document.querySelectorAll('table')].some(each => each.scrollWidth > each.clientWidth)"
    )


def test_a_dark_screen_has_a_dark_page_and_pictures_on_white(opened):
    colours = {}
    for scheme in ("light", "dark"):
        page, _, _ = opened("real", color_scheme=scheme)
        colour = "all => all.map(each => getComputedStyle(each).backgroundColor)"
        colours[scheme] = page.eval_on_selector_all("body", colour) + page.eval_on_selector_all("img", colour)
    white = "rgb(255, 255, 255)"
    assert colours["light"][0] == white != colours["dark"][0] and {*colours["dark"][1:]} == {white}
    page.emulate_media(media="print", color_scheme="dark")
    assert page.eval_on_selector_all("body", colour) == [white]


@pytest.mark.parametrize("name", ["real", "share"])
def test_paper_cuts_nothing_and_has_all_open(name, opened):
    page, _, _ = opened(name, viewport=A4)
    page.emulate_media(media="print")
    cut = """[...document.querySelectorAll('main *')].filter(each => each.getBoundingClientRect().right > innerWidth
        || (getComputedStyle(each).overflowX != 'visible' && each.scrollWidth > each.clientWidth)).map(
        each => each.outerHTML.slice(0, 200))"""
    assert page.evaluate(cut) == []
    assert "epsilon at most" in " ".join(printed(page))  # which is folded on a screen


@pytest.mark.parametrize("name", NAMES)
def test_what_shows_real_people_says_so_on_every_screen_and_sheet(name, opened):
    page, _, _ = opened(name)
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    banners = page.get_by_text(WARNING)
    sheets = printed(page)
    if name == "real":
        box = banners.bounding_box()
        assert box["y"] == 0 and page.evaluate("scrollY") > 1000
        assert len(sheets) > 5 and all(sheet.count(WARNING) == 1 for sheet in sheets)
    else:
        assert banners.count() == 0 and WARNING not in " ".join(sheets)


def printed(page):
    """The text of each sheet of paper."""
    reader = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))
    assert all(abs(float(sheet.mediabox.width) - 595) < 2 for sheet in reader.pages)  # A4, in points
    return [" ".join(sheet.extract_text().split()) for sheet in reader.pages]
