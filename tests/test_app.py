"""The page for one visit, in a browser: it explains what is chosen, runs, answers, and gives the folder away."""

import io
import json
import re
import shutil
import socket
import subprocess
import sys
import zipfile

import pytest
from test_answers import metrics

import run
from wearsynth.answers import most_found
from wearsynth.runs import RunFolder

STUB = """
import json, pathlib, sys
given = sys.argv[1:]
out = pathlib.Path(given[given.index("--out") + 1])
if "--fail" in pathlib.Path(__file__).with_name("how.txt").read_text():
    sys.exit("run.py: S2: no such recording")
for number, name in enumerate(NOTEBOOKS, start=1):
    print(f"[{number}/{len(NOTEBOOKS)}] {name}", flush=True)
(out / "share").mkdir(parents=True)
(out / "share" / "README.md").write_text(json.dumps(given))
(out / "metrics.json").write_text(METRICS)
"""


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    """The page's port and folder, beside a stand-in for run.py: the same lines and files, in no time."""
    folder = tmp_path_factory.mktemp("app")
    shutil.copy(run.ROOT / "app.py", folder)
    stub = f"NOTEBOOKS, METRICS = {RunFolder.NOTEBOOKS!r}, {json.dumps(metrics())!r}\n{STUB}"
    (folder / "run.py").write_text(stub)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "marimo", "run", "app.py", "--headless", "--port", str(port)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in process.stdout:
            if f":{port}" in line:
                break
        yield port, folder
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def page(browser, server):
    """A visit of its own."""
    port, folder = server
    (folder / "how.txt").write_text("")
    page = browser.new_page()
    page.set_default_timeout(60_000)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"http://127.0.0.1:{port}")
    yield page
    page.close()
    assert not [url for url in asked if not re.match(rf"(http|ws)://127.0.0.1:{port}/|data:|blob:", url)]


def test_a_visit_from_choice_to_folder(page):
    found = f"at most {most_found(3, 1e-3):.0%}"
    page.get_by_text(found).wait_for()
    page.get_by_text("a window: one minute of it").click()
    page.get_by_text("the promise is far weaker").wait_for()
    page.get_by_role("slider").press("Home")
    page.get_by_text(f"at most {most_found(0.1, 1e-4):.0%}").wait_for()
    page.get_by_role("button", name="Run").click()
    page.get_by_role("heading", name="What came of it").wait_for()
    page.get_by_text("What does an attacker gain?").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="The folder to hand over").click()
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as archive:
        given = json.loads(archive.read("share/README.md"))
    assert dict(zip(given[::2], given[1::2]))["--recordings"] == ""
    pairs = dict(zip(given[given.index("-p") + 1 :: 3], given[given.index("-p") + 2 :: 3]))
    assert pairs == {"unit": "window", "epsilon": "0.1", "delta": "0.0001"}


def test_a_run_that_fails_says_why(page, server):
    (server[1] / "how.txt").write_text("--fail")
    page.get_by_role("button", name="Run").click()
    page.get_by_text("run.py: S2: no such recording").wait_for()


def test_own_recordings_are_asked_for(page):
    page.get_by_text("my own").click()
    page.get_by_role("textbox").first.wait_for()
    page.get_by_role("button", name="Run").click()
    page.get_by_text("Say where your recordings are").wait_for()
