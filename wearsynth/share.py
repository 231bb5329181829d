"""What is handed over: the folder `share/` of a run, and the check that whoever receives it makes.

python -m wearsynth.share FOLDER        checks it: files, table, promise; status 0, or 1 and what is wrong in one line

Real people come into it by the synthetic ones alone, and by what the promise says of itself: how many windows and
people there are counts as public there. No name, no path and no digest of theirs is written.
"""

import json
import math
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wearsynth import __version__
from wearsynth.answers import answer_table, answers_to_hand_over
from wearsynth.croissant import croissant
from wearsynth.datasheet import CSV, PARQUET, datasheet, describe, facts_of, readme, report
from wearsynth.files import replacing, sha256, write_json
from wearsynth.privacy import Promise
from wearsynth.provenance import KINDS
from wearsynth.recordings import UNREADABLE
from wearsynth.runs import SHARED, RunFolder
from wearsynth.statement import statement_text
from wearsynth.studies import Part
from wearsynth.tables import load_table

CHECKSUMS = "checksums.sha256"
TELLING = ("README.md", "datasheet.md", "privacy.md", "croissant.json", "report.html")  # files that repeat the promise
LICENCE = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9][A-Za-z0-9.-]{0,63}\+?")  # an identifier's form, by SPDX 2.3, annex D
# What follows from the statement without standing in it; and what it speaks of that is not in the folder.
BESIDES = """
These figures tell more than epsilon: how many units there are (`delta_times_units` in privacy.json), how many windows
the person with the most of them has (under unit window, from the epsilon for a subject), and how often somebody was
trained on. The first two count as public, as said above; the last is the owner's to tell. Notebooks, scores, figures,
`metrics.json` and the report, of which the list speaks, are the run's and not handed over: the `report.html` in this
folder shows synthetic people alone.
"""


class ShareError(ValueError):
    """A folder is not what was handed over; the message names the file and what is wrong with it."""


def check_licence(licence: str) -> None:
    """Raises ValueError for what is not of the form of an SPDX identifier."""
    if not LICENCE.fullmatch(licence):
        raise ValueError(
            f"licence={licence!r}: expected an SPDX identifier, such as CC-BY-4.0 or CC0-1.0 (spdx.org/licenses has "
            "them), or LicenseRef- and a name for one of your own"
        )


def write_share(run: RunFolder, schedule: tuple[Part, ...], licence: str) -> None:
    """Writes the folder: its pages first, so that no table is without its promise, and its checksums last.

    Args:
        run: a run in which notebook 2 has ended, and notebook 3 has written the table.
        schedule: what the synthetic people's sessions were drawn by.
        licence: SPDX identifier of the licence that all of it is given under.
    """
    from wearsynth.pages import write_page  # takes seconds to import, as figures do, and a check needs neither

    table, privacy = load_table(run.shared_table), promise_of(run)
    columns, facts = describe(table, run.study), facts_of(table, run.study, privacy, schedule, licence)
    statement = statement_text(privacy) + BESIDES * privacy["private"]
    pages = {
        "README.md": readme(columns, facts),
        "datasheet.md": datasheet(columns, facts),
        "privacy.md": f"# What is promised\n\nIt was {privacy['promise']}.\n\n{statement}",
    }
    for name, text in pages.items():
        with replacing(run.share / name) as draft:
            draft.write_text(text.rstrip() + "\n", encoding="utf-8")
    parts = {"answers": answer_table(answers_to_hand_over(privacy)), "statement": statement} | _pictures(table)
    write_page([report(table, columns, facts, parts)], facts["title"], run.share / "report.html", real=False)
    write_json(run.share / "privacy.json", privacy)
    tables = {name: run.shared_table.with_name(name) for name in (CSV, PARQUET)}
    write_json(run.share / "croissant.json", croissant(columns, tables, facts))
    for name, path in tables.items():
        with replacing(run.share / name) as draft:
            shutil.copyfile(path, draft)
    with replacing(run.share / CHECKSUMS) as draft:
        sums = [f"{sha256([run.share / name])}  {name}\n" for name in SHARED if name != CHECKSUMS]
        draft.write_text("".join(sums), encoding="utf-8")


def promise_of(run: RunFolder) -> dict[str, Any]:
    """The privacy statement of a run, without where the owner's ledger lies; and the promise in words."""
    privacy = run.metrics["privacy"]
    if privacy["spent_so_far"]:
        known = {name: value for name, value in privacy["spent_so_far"].items() if name != "file"}
        privacy = privacy | {"spent_so_far": known}
    learned_from = KINDS[run.kind]
    said = {"promise": _in_words(privacy, learned_from), "learned_from": learned_from}
    return said | {"software": f"wearsynth {__version__}"} | privacy


def check(folder: str | Path) -> list[str]:
    """Checks a folder as whoever receives it does.

    Args:
        folder: `share/` of a run, wherever it lies by now.

    Returns:
        What was found in order, line by line.

    Raises:
        ShareError: something is not.
    """
    folder = Path(folder)
    try:
        _check_files(folder)
        table = _check_table(folder)
        promise = _check_promise(folder)
    except ShareError as error:
        raise ShareError(f"{folder}: {error}; ask for the folder anew") from None
    except (*UNREADABLE, LookupError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ShareError(f"{folder}: cannot be read ({reason}); ask for the folder anew") from None
    return [
        f"{len(SHARED)} files, as {CHECKSUMS} says",
        f"{table['subject'].nunique()} people, {len(table):,} s, columns and ranges as croissant.json says",
        f"{promise}: so say privacy.json, {', '.join(TELLING)}",
    ]


def main() -> int:
    """Checks the folder that the command line names; returns the exit status."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print("\n".join(check(sys.argv[1])))
    except ShareError as error:
        print(f"share: {error}", file=sys.stderr)
        return 1
    return 0


def _pictures(table: pd.DataFrame) -> dict[str, str]:
    """Pictures of the synthetic people, as HTML: one's session, and everybody's levels."""
    from wearsynth import figures
    from wearsynth.pages import embedded

    first = table["subject"].iloc[0]
    session = figures.as_png(figures.recording(table, first, "synthetic"))
    people = figures.as_png(figures.people_levels({"synthetic": table}, "synthetic"))
    return {
        "session": embedded(session, f"Signals of the synthetic person {first} over a session"),
        "people": embedded(people, "Level of each signal by class, a dot for each synthetic person"),
    }


def _check_files(folder: Path) -> None:
    there = {path.name for path in folder.iterdir()}
    for name in sorted({*SHARED} - there):
        raise ShareError(f"{name} is missing")
    for name in sorted(there - {*SHARED}):
        raise ShareError(f"{name} is none of the files that are handed over")
    lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    stated = dict(reversed(line.split("  ", 1)) for line in lines)
    for name in SHARED:
        if name != CHECKSUMS and stated.get(name) != sha256([folder / name]):
            raise ShareError(f"{name} is not as it was handed over: {CHECKSUMS} says otherwise")


def _check_table(folder: Path) -> pd.DataFrame:
    """Holds both tables to their metadata, and to each other; returns the CSV's."""
    metadata = json.loads((folder / "croissant.json").read_text(encoding="utf-8"))
    for file in metadata["distribution"]:
        if file["name"] in (CSV, PARQUET) and file["sha256"] != sha256([folder / file["name"]]):
            raise ShareError(f"{file['name']} is not the file that croissant.json describes")
    fields = {field["name"]: field for field in metadata["recordSet"][0]["field"]}
    table, parquet = load_table(folder / CSV), pd.read_parquet(folder / PARQUET)
    for name, columns in ((CSV, pd.read_csv(folder / CSV, nrows=0)), (PARQUET, parquet)):
        if [*columns] != [*fields]:
            raise ShareError(f"{name} has the columns {', '.join(columns)}, and croissant.json {', '.join(fields)}")
    for name, field in fields.items():
        if "minValue" in field:
            low, high, values = field["minValue"], field["maxValue"], table[name].to_numpy(float, na_value=np.nan)
            if not np.allclose((np.nanmin(values), np.nanmax(values)), (low, high), rtol=1e-6):
                raise ShareError(f"{CSV}: {name} does not reach from {low:g} to {high:g}, as croissant.json says")
            same = len(parquet) == len(table) and np.allclose(
                parquet[name].to_numpy(float, na_value=np.nan), values, rtol=1e-6, equal_nan=True
            )
        else:
            same = parquet[name].tolist() == table[name].tolist()
        if not same:
            raise ShareError(f"{PARQUET} is another table than {CSV}: see {name}")
    return table


def _check_promise(folder: Path) -> str:
    """Holds every page to the promise that the numbers in `privacy.json` make; returns it in words."""
    privacy = json.loads((folder / "privacy.json").read_text(encoding="utf-8"))
    promise = _in_words(privacy, privacy["learned_from"])
    if privacy["promise"] != promise:
        raise ShareError(f"privacy.json says {privacy['promise']!r}, and its numbers {promise!r}")
    if privacy["private"] and not privacy["spent"][privacy["unit"]] <= privacy["epsilon"]:
        raise ShareError("privacy.json has spent more than it promises")
    for name in TELLING:
        if promise not in (folder / name).read_text(encoding="utf-8"):
            raise ShareError(f"{name} does not say {promise!r}, as privacy.json does")
    return promise


def _in_words(privacy: dict[str, Any], learned_from: str) -> str:
    """The promise that numbers make, in the words of `Promise`."""
    epsilon = float(privacy["epsilon"]) if privacy["private"] else math.inf
    return f"learned from {learned_from} {Promise(privacy['unit'], epsilon, privacy['delta']).sentence}"


if __name__ == "__main__":
    sys.exit(main())
