"""Gets public recordings from where those who made them have published them.

python -m wearsynth.downloads wesad --to FOLDER    fetches WESAD's zip, which is given to run.py as it is
"""

import argparse
import errno
import re
import shlex
import shutil
import stat
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pooch
from tqdm import tqdm

from wearsynth.files import PACKAGE
from wearsynth.readers import find_people
from wearsynth.recordings import RecordingError, shown
from wearsynth.studies import read_study

TRIES, PAUSE, TIMEOUT = 5, 2, 60  # connections until it gives up, and s between two, and s without a word
PIECE = 1 << 20  # bytes
STOPPED = 130  # exit status


class DownloadError(Exception):
    """Recordings cannot be got; the message is one line, with the way out."""


class _BrokenOff(Exception):
    """A connection ended too early: the next one goes on."""


@dataclass(frozen=True)
class Source:
    """Where a study's recordings are, by its name in data/studies/, whose file has the citation.

    Args:
        page: what their makers say about them.
        licence: what may be done with them.
        url: of the zip; none where there is nothing to fetch.
        sha256: of the zip, where somebody has published it.
        most_bytes: what the zip may unpack to.
    """

    page: str
    licence: str
    url: str | None = None
    sha256: str | None = None
    most_bytes: int = 40 * 10**9  # WESAD has 17 * 10**9


SOURCES = {
    # The zip of the UCI repository (dataset 465) holds nothing but a line of text: a former address, which is dead.
    "wesad": Source(
        "https://ubi29.informatik.uni-siegen.de/usi/data_wesad.html",
        "scientific, non-commercial use",
        "https://uni-siegen.sciebo.de/s/HGdUkoNlW1Ub0Gx/download",
    ),
    "stress_predict": Source("https://github.com/italha-d/Stress-Predict-Dataset", "MIT"),
}
EMBEDDED = """Nothing to fetch: 24 of its people, at 1 Hz, are in data/public/ already. Generators begin with them, so
they cannot be those who are protected; where no recordings are given, six of them play that part. Now: make run"""


def fetch(name: str, folder: Path) -> Path:
    """Fetches a study's zip, or finds it there; what came of a download that broke off is gone on with.

    Args:
        name: of the study.
        folder: where the zip goes.

    Returns:
        Its path. Under that name is only what has been checked (`check`).

    Raises:
        DownloadError: it cannot be reached, kept or used.
    """
    source = SOURCES[name]
    part = folder / f"{name}.zip.part"
    pooch.get_logger().setLevel("WARNING")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        downloader = partial(_download, part=part, source=source)
        return Path(pooch.retrieve(source.url, source.sha256, f"{name}.zip", folder, downloader=downloader))
    except DownloadError as error:
        raise DownloadError(f"{source.url}: {error}") from None
    except OSError as error:  # of the disk: what a connection raises is a DownloadError by now
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        way_out = "make room, and run this again: it goes on" if full else "name a folder that can be written by --to"
        raise DownloadError(f"{folder}: {_reason(error)}; {way_out}") from None
    except ValueError:
        raise DownloadError(f"{source.url}: has another SHA-256 than published; see {source.page}") from None


def _download(url: str, output_file: str, _: pooch.Pooch | None, part: Path, source: Source) -> None:
    """pooch's downloader, as its own cannot go on: fetches into `part`, checks that, and moves it to `output_file`."""
    for attempt in range(1, TRIES + 1):
        try:
            _go_on(url, part, source.page)
            break
        except _BrokenOff as error:
            if attempt == TRIES:
                raise DownloadError(f"broke off {TRIES} times ({error}); run this again: it goes on") from None
            time.sleep(PAUSE)
    try:
        check(part, source.most_bytes)
    except DownloadError as error:
        part.unlink()  # more of it would not mend it
        raise DownloadError(f"{error}; run this again, or get it by hand: {source.page}") from None
    part.replace(output_file)


def _go_on(url: str, part: Path, page: str) -> None:
    """Fetches what is missing in `part`, or all of it from a server that only gives all."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "wearsynth", "Accept-Encoding": "identity"}  # packed, it would have another length
    headers |= {"Range": f"bytes={have}-"} if have else {}
    try:
        answer = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416:
            raise DownloadError(f"answers {error.code} {shown(error.reason)}; see {page}") from None
        if _total(error.headers) == have:
            return
        _begin_anew(part)
    except (OSError, HTTPException) as error:
        if have:
            raise _BrokenOff(_reason(error)) from None
        raise DownloadError(f"cannot be reached ({_reason(error)}); is this machine online? Or see {page}") from None
    with answer:
        if answer.headers.get_content_type() == "text/html":
            raise DownloadError(f"gives a web page and no zip; get it by hand: {page}")
        total, free = _total(answer.headers), shutil.disk_usage(part.parent).free
        if total is not None and total - have > free:
            needed = f"needs {total - have:,} bytes in {part.parent}, where {free:,} are free"
            raise DownloadError(f"{needed}; make room, or name another folder by --to")
        if answer.status != 206:
            have = 0
        elif not re.match(f"bytes {have}-", answer.headers.get("Content-Range", "")):
            _begin_anew(part)
        with open(part, "ab" if have else "wb") as file, _bar("fetching", total, have) as bar:
            for piece in _pieces(answer):
                file.write(piece)
                bar.update(len(piece))
    size = part.stat().st_size
    if total not in (None, size):
        raise _BrokenOff(f"{size:,} of {total:,} bytes")


def _begin_anew(part):
    """What is there fits nothing that the server has: another zip than before, or no zip at all."""
    part.unlink(missing_ok=True)
    raise _BrokenOff("answers with other bytes than those asked for")


def _total(headers: HTTPMessage) -> int | None:
    """The length of all that there is, as announced."""
    length = (headers.get("Content-Range") or headers.get("Content-Length") or "").rpartition("/")[2]
    return int(length) if re.fullmatch("[0-9]{1,18}", length) else None


def _pieces(answer: HTTPResponse) -> Iterator[bytes]:
    """What comes, as far as it comes."""
    while True:
        try:
            piece = answer.read(PIECE)
        except (OSError, HTTPException) as error:
            raise _BrokenOff(_reason(error)) from None
        if not piece:
            return
        yield piece


def check(path: Path, most_bytes: int) -> None:
    """Refuses a zip that is damaged, in which there are no recordings, or which it would be unwise to unpack.

    Args:
        path: the zip. All of it is read, and nothing is written.
        most_bytes: what it may unpack to. No more than what is announced is read.

    Raises:
        DownloadError: says what is wrong.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            size = sum(member.file_size for member in members)
            if size > most_bytes:
                raise DownloadError(f"the zip unpacks to {size:,} bytes: expected at most {most_bytes:,}")
            for member in members:
                if _leads_elsewhere(member):
                    raise DownloadError(f"the zip holds {shown(member.filename)}, which leads out of its folder")
            find_people(path)
            with _bar("checking", size) as bar:
                for member in members:
                    with archive.open(member) as file:  # which compares the CRC at its end
                        while piece := file.read(PIECE):
                            bar.update(len(piece))
    except DownloadError:
        raise
    except RecordingError as error:
        raise DownloadError(f"the zip is another one than the study's ({error})") from None
    except Exception as error:  # a damaged zip fails in many ways
        raise DownloadError(f"what came is no zip, or a damaged one ({_reason(error)})") from None


def _leads_elsewhere(member: zipfile.ZipInfo) -> bool:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    return name.is_absolute() or ".." in name.parts or ":" in name.parts[0] or stat.S_ISLNK(member.external_attr >> 16)


def _bar(what, total, have=0):
    """A line that says how far it is, where somebody reads it."""
    silent = {} if sys.stderr.isatty() else {"disable": True}  # no False, which would overrule TQDM_DISABLE
    return tqdm(desc=what, total=total, initial=have, unit="B", unit_scale=True, **silent)


def _reason(error: Exception) -> str:
    """An exception in a few words, on one line."""
    error = getattr(error, "reason", error)  # urllib's own say what was behind them
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200] or type(error).__name__


def main(arguments: list[str] | None = None) -> int:
    """Says whose recordings these are, gets them, and says what to do with them; returns the exit status."""
    parser = argparse.ArgumentParser(description="Gets public recordings.")
    parser.add_argument("name", help=f"the study: {' or '.join(SOURCES)}")
    parser.add_argument("--to", type=Path, default=PACKAGE.parent / "data", metavar="FOLDER", help="where they go")
    given = parser.parse_args(arguments)
    if given.name not in SOURCES:
        print(f"{shown(given.name)}: expected {' or '.join(SOURCES)}", file=sys.stderr)
        return 2
    study, source = read_study(given.name), SOURCES[given.name]
    print(f"{study.name}: {source.page}\nLicence: {source.licence}. Cite: {study.citation}", flush=True)
    if source.url is None:
        print(EMBEDDED)
        return 0
    try:
        path = fetch(given.name, given.to)
    except DownloadError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run this again: it goes on", file=sys.stderr)
        return STOPPED
    options = f"--recordings {shlex.quote(str(path))} -p unit subject -p epsilon 10 -p delta 1e-3"
    print(f'{path} is there. Now: make run ARGS="{options}"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
