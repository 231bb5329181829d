"""Downloads, from a server on this machine that behaves well, or as badly as servers do."""

import hashlib
import os
import random
import re
import shutil
import stat
import sys
import threading
import zipfile
from contextlib import nullcontext
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO, StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from wearsynth import downloads
from wearsynth.downloads import SOURCES, TRIES, DownloadError, check, main
from wearsynth.readers import find_people
from wearsynth.studies import study_names

NOISE = random.Random(0).randbytes(60_000)  # does not get smaller in a zip


def zipped(members):
    """The bytes of a zip; a member is a name, or a `ZipInfo`, and what it holds."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


WHOLE = zipped([("WESAD/readme.txt", "about"), ("WESAD/S2/S2.pkl", NOISE), ("WESAD/S3/S3.pkl", NOISE[::-1])])


class Site:
    """What a server has and how it serves it.

    Args:
        content: the file.
        most: bytes that an answer brings before the connection ends.
        ranges: whether it can begin in the middle.
        announced: the length that it announces, if not the true one.
        kind: the content type.
        shift: by which what it sends begins elsewhere than asked for.
    """

    def __init__(self):
        self.content, self.most, self.ranges, self.announced = WHOLE, None, True, None
        self.kind, self.status, self.shift, self.asked = "application/zip", 200, 0, []

    def answer(self, handler):
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        begin = int(re.fullmatch("bytes=([0-9]+)-", wanted)[1]) if wanted and self.ranges else None
        length = len(self.content)
        if begin is not None and begin >= length:
            return self._head(handler, 416, {"Content-Range": f"bytes */{length}", "Content-Length": 0})
        first = 0 if begin is None else begin + self.shift
        head = {"Content-Type": self.kind, "Content-Length": (self.announced or length) - first}
        if begin is not None:
            head["Content-Range"] = f"bytes {first}-{length - 1}/{self.announced or length}"
        self._head(handler, self.status if begin is None else 206, head)
        handler.wfile.write(self.content[first : None if self.most is None else first + self.most])

    def _head(self, handler, status, head):
        handler.send_response(status)
        for name, value in head.items():
            handler.send_header(name, str(value))
        handler.end_headers()


@pytest.fixture
def site(monkeypatch):
    """A server, in place of WESAD's; nobody waits between two connections."""
    served = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            served.answer(self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(downloads, "PAUSE", 0)
    set_source(monkeypatch, url=f"http://127.0.0.1:{server.server_port}/wesad")
    yield served
    server.shutdown()
    server.server_close()


def set_source(monkeypatch, **fields):
    monkeypatch.setitem(SOURCES, "wesad", replace(SOURCES["wesad"], **fields))


def fails(folder, capsys):
    """What is said where it ends in an error: one line."""
    assert main(["wesad", "--to", str(folder)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.endswith("\n")
    return error


def succeeds(folder):
    """There is the zip, and nothing else."""
    assert main(["wesad", "--to", str(folder)]) == 0
    assert [path.name for path in folder.iterdir()] == ["wesad.zip"]
    assert (folder / "wesad.zip").read_bytes() == WHOLE


# As it should be


def test_what_is_fetched_is_read_as_it_is_and_fetched_once(site, tmp_path, capsys):
    to = tmp_path / "got here"
    succeeds(to)
    said = capsys.readouterr()
    assert said.err == ""  # no progress where there is no terminal
    assert "non-commercial" in said.out and "10.1145/3242969.3242985" in said.out and SOURCES["wesad"].page in said.out
    assert f"make run ARGS=\"--recordings '{to / 'wesad.zip'}' -p unit subject" in said.out
    assert find_people(to / "wesad.zip") == ["S2", "S3"]
    succeeds(to)
    assert site.asked == [None] and "make run" in capsys.readouterr().out


def test_on_a_terminal_it_says_how_far_it_is(site, tmp_path, monkeypatch):
    screen = StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    succeeds(tmp_path)
    assert "fetching: 100%" in screen.getvalue() and "checking: 100%" in screen.getvalue()


def test_sources_are_studies_and_addresses_cannot_be_tampered_with_on_the_way():
    assert {*SOURCES} <= {*study_names()}
    for source in SOURCES.values():
        assert source.page.startswith("https://") and source.licence
        assert source.url is None or source.url.startswith("https://")


def test_stress_predict_is_there_already(tmp_path, capsys):
    assert main(["stress_predict", "--to", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "MIT" in said and "10.3390/s22218135" in said and "Nothing to fetch" in said and "make run" in said
    assert not [*tmp_path.iterdir()]


def test_another_name_is_refused_by_those_there_are(capsys):
    assert main(["wesat"]) == 2
    assert capsys.readouterr().err == "'wesat': expected wesad or stress_predict\n"


@pytest.mark.parametrize("right", [True, False])
def test_a_hash_that_is_known_is_compared(site, tmp_path, monkeypatch, capsys, right):
    set_source(monkeypatch, sha256=hashlib.sha256(WHOLE if right else b"").hexdigest())
    if right:
        return succeeds(tmp_path)
    assert "has another SHA-256" in fails(tmp_path, capsys)
    assert not [*tmp_path.iterdir()]


# Connections that break


def test_a_broken_connection_goes_on_where_it_broke(site, tmp_path):
    site.most = len(WHOLE) // 3 + 1
    succeeds(tmp_path)
    assert site.asked == [None, f"bytes={site.most}-", f"bytes={2 * site.most}-"]


def test_so_does_the_next_call(site, tmp_path, capsys):
    site.most = 1000
    assert f"broke off {TRIES} times ({1000 * TRIES:,} of {len(WHOLE):,} bytes); run this" in fails(tmp_path, capsys)
    assert (tmp_path / "wesad.zip.part").read_bytes() == WHOLE[: 1000 * TRIES]
    site.most = None
    succeeds(tmp_path)
    assert site.asked[TRIES:] == [f"bytes={1000 * TRIES}-"]


def test_what_came_whole_but_was_not_checked_is_not_fetched_again(site, tmp_path):
    (tmp_path / "wesad.zip.part").write_bytes(WHOLE)
    succeeds(tmp_path)
    assert site.asked == [f"bytes={len(WHOLE)}-"]


@pytest.mark.parametrize("have", [WHOLE[:1000], WHOLE + b"more"], ids=["in the middle", "beyond the end"])
def test_servers_that_cannot_go_on_begin_anew(site, tmp_path, have):
    site.shift = 1  # 206, and other bytes than those asked for; or 416
    (tmp_path / "wesad.zip.part").write_bytes(have)
    succeeds(tmp_path)
    assert site.asked == [f"bytes={len(have)}-", None]


def test_a_server_that_ignores_ranges_gives_all_of_it_once_more(site, tmp_path):
    site.ranges = False
    (tmp_path / "wesad.zip.part").write_bytes(WHOLE[:1000])
    succeeds(tmp_path)
    assert site.asked == ["bytes=1000-"]


def test_a_length_that_is_too_long_is_found_out(site, tmp_path, capsys):
    site.announced = len(WHOLE) + 100
    succeeds(tmp_path / "ranges")  # 416 gives the true one
    assert site.asked == [None, f"bytes={len(WHOLE)}-"]
    site.ranges = False
    message = fails(tmp_path / "none", capsys)
    assert f"broke off {TRIES} times ({len(WHOLE):,} of {len(WHOLE) + 100:,} bytes)" in message


def test_a_length_that_is_too_short_is_found_out(site, tmp_path, capsys):
    site.announced = len(WHOLE) - 100
    assert "no zip, or a damaged one" in fails(tmp_path, capsys)
    assert not [*tmp_path.iterdir()]


def test_nobody_there(site, tmp_path, monkeypatch, capsys):
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        port = other.server_port  # free again, and nobody listens
    set_source(monkeypatch, url=f"http://127.0.0.1:{port}/")
    assert f":{port}/: cannot be reached (Connection refused); is this machine online?" in fails(tmp_path, capsys)
    (tmp_path / "wesad.zip.part").write_bytes(WHOLE[:1000])  # whoever has some of it is not told to look elsewhere
    assert f"broke off {TRIES} times (Connection refused); run this again" in fails(tmp_path, capsys)
    assert (tmp_path / "wesad.zip.part").stat().st_size == 1000


# Answers that are something else


def test_no_such_page(site, tmp_path, capsys):
    site.status = 404
    assert re.search("answers 404 'Not Found'; see https://ubi29", fails(tmp_path, capsys))
    assert site.asked == [None]


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/zip"])
def test_a_page_in_place_of_the_zip(site, tmp_path, capsys, kind):
    site.content, site.kind = b"<html>Please accept our terms</html>", kind
    expected = "gives a web page" if "html" in kind else r"no zip, or a damaged one \(File is not a zip file\)"
    assert re.search(f"{expected}.*by hand: https://ubi29", fails(tmp_path, capsys))
    assert not [*tmp_path.iterdir()]


def test_a_page_does_not_spoil_what_has_come_before(site, tmp_path, capsys):
    (tmp_path / "wesad.zip.part").write_bytes(WHOLE[:1000])
    site.content, site.kind, site.ranges = b"<html></html>", "text/html", False
    fails(tmp_path, capsys)
    assert (tmp_path / "wesad.zip.part").read_bytes() == WHOLE[:1000]


def link(name):
    """A member that is a symbolic link once it is unpacked."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def flipped(content):
    """A bit of the first pickle is another one."""
    data = bytearray(content)
    data[len(data) // 4] ^= 1
    return bytes(data)


def understated(content):
    """The largest member announces a tenth of what it holds, here and in the directory at the end."""
    return content.replace(len(NOISE).to_bytes(4, "little"), (len(NOISE) // 10).to_bytes(4, "little"))


OTHERS = {
    "damaged": (flipped(WHOLE), r"a damaged one \(.*\)"),
    "cut": (WHOLE[:-10], "no zip, or a damaged one"),
    "UCI's": (zipped([("WESAD.txt", "Link to the dataset")]), "another one than the study's .*WESAD's layout"),
    "upwards": (
        zipped([("W/S2/S2.pkl", NOISE), ("W/../../run.py", "")]),
        "'W/../../run.py', which leads out",
    ),
    "upwards on Windows": (zipped([("S2/S2.pkl", NOISE), ("..\\run.py", "")]), "leads out of its folder"),
    "absolute": (zipped([("S2/S2.pkl", NOISE), ("/etc/cron.d/job", "")]), "'/etc/cron.d/job', which leads out"),
    "a drive": (zipped([("S2/S2.pkl", NOISE), ("C:/run.py", "")]), "'C:/run.py', which leads out"),
    "a link": (zipped([("S2/S2.pkl", NOISE), (link("S3"), "/etc")]), "'S3', which leads out"),
    "a bomb": (zipped([("S2/S2.pkl", bytes(10**6))]), "unpacks to 1,000,000 bytes: expected at most 200,000"),
    "bombs": (zipped([(f"S{n}/S{n}.pkl", bytes(10**5)) for n in range(3)]), "unpacks to 300,000 bytes"),
    "a bomb that keeps quiet": (understated(zipped([("S2/S2.pkl", NOISE)])), r"a damaged one \(Bad CRC-32"),
}


@pytest.mark.parametrize(("content", "message"), OTHERS.values(), ids=OTHERS)
def test_another_zip_is_not_kept(site, tmp_path, monkeypatch, capsys, content, message):
    set_source(monkeypatch, most_bytes=200_000)
    site.content = content
    assert re.search(f"^http://127.*{message}.*; run this again, or get it by hand: https", fails(tmp_path, capsys))
    assert not [*tmp_path.iterdir()]
    site.content = WHOLE  # which all of these would be, but for what is wrong with them
    succeeds(tmp_path)


def test_of_a_bomb_no_more_is_read_than_it_announces(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(downloads, "_bar", lambda *_: nullcontext(SimpleNamespace(update=read.append)))
    monkeypatch.setattr(downloads, "PIECE", 1000)
    (tmp_path / "bomb.zip").write_bytes(understated(zipped([("S2/S2.pkl", NOISE)])))
    with pytest.raises(DownloadError):
        check(tmp_path / "bomb.zip", 200_000)
    assert 0 < sum(read) <= len(NOISE) // 10


# The disk


def test_too_little_room_is_seen_before(site, tmp_path, monkeypatch, capsys):
    (tmp_path / "wesad.zip.part").write_bytes(WHOLE[:1000])
    room = len(WHOLE) - 1000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=room - 1))
    assert f"needs {room:,} bytes in {tmp_path}, where {room - 1:,} are free; make room" in fails(tmp_path, capsys)
    assert (tmp_path / "wesad.zip.part").stat().st_size == 1000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=room))
    succeeds(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_disk_that_fills_up(site, tmp_path, capsys):
    (tmp_path / "wesad.zip.part").symlink_to("/dev/full")
    assert f"{tmp_path}: No space left on device; make room, and run this again" in fails(tmp_path, capsys)


def test_a_folder_that_cannot_be_written(site, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    message = fails(tmp_path / "file" / "here", capsys)
    assert "file/here: Not a directory; name a folder that can be written by --to" in message
    if os.geteuid():  # nothing is forbidden to root
        (tmp_path / "locked").mkdir(mode=0o500)
        assert "locked: " in fails(tmp_path / "locked", capsys)
    assert site.asked == []
