"""What is said of a table of synthetic people: its pages in plain English.

Nothing here reads anybody's recordings: what is said of them is the study's name, and the promise.
"""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import pandas as pd

from wearsynth.files import PACKAGE
from wearsynth.studies import NO_CONDITION, Part, Study

CSV, PARQUET = "synthetic_1hz.csv", "synthetic_1hz.parquet"
STRESS_PREDICT_NOTICE = PACKAGE.parent / "data" / "public" / "LICENSE"
COLUMNS = {  # meaning, and unit
    "subject": ("a synthetic person", ""),
    "time": ("second of the session, from 0", "s"),
    "BVP": ("blood volume pulse, centred on 0", "a.u."),
    "EDA": ("skin conductance", "µS"),
    "ACC_x": ("acceleration along the wristband's x axis, with gravity", "g"),
    "ACC_y": ("acceleration along its y axis", "g"),
    "ACC_z": ("acceleration along its z axis", "g"),
    "TEMP": ("temperature of the wrist's skin", "°C"),
    "HR": ("heart rate, as the running median of a minute", "beats/min"),
    "BVP_amplitude": ("strength of the pulse: its standard deviation within the second", "a.u."),
    "ACC_movement": ("movement: standard deviation of the acceleration's length within the second", "g"),
    "condition": ("what the session is at", ""),
    "label": ("class of the condition", ""),
}
USES = (
    "developing and comparing detectors, before and beside real recordings",
    "teaching",
    "sharing code together with data that it runs on",
)
FORBIDDEN = (
    "No attempt to find out whom any of it was learned from.",
    "No claims about physiology: no body made these signals as they stand.",
    "No claims about how sessions unfold: conditions follow a schedule, and how minutes follow one another was not "
    "learned from the people at hand.",
    "No counting of its people as new evidence, beside those whom it was learned from and those whom it descends from.",
)
MISSING = "No signal has a gap. The label is empty between two conditions."
PREPROCESSING = (
    "Nothing was done to it after it was drawn. The generator learned from a table with a row a second, in the same "
    "columns and units, cut into windows."
)
USEFULNESS = "What is found on synthetic people has to be tested on real recordings before anybody relies on it."
MAINTENANCE = (
    "No: the table does not change. Another one, learned from the same people, is another release, which spends "
    "privacy anew."
)


class Column(NamedTuple):
    """One of the table: its name, what it means, its unit, its type in Croissant, and its range, where it has one."""

    name: str
    meaning: str
    unit: str
    type: str
    low: float | None = None
    high: float | None = None


def describe(table: pd.DataFrame, study: Study) -> list[Column]:
    """Describes the columns that a table has, with the range of each that holds numbers."""
    classes = "; ".join(f"{label}: {' or '.join(names)}" for label, names in enumerate(study.classes))
    named = {
        "condition": ", ".join(table["condition"].unique()),
        "label": f"{classes}; empty in between",
    }
    columns = []
    for name in table:
        meaning, unit = COLUMNS[name]
        meaning = f"{meaning}: {named[name]}" if name in named else meaning
        if name in ("subject", "condition"):
            columns.append(Column(name, meaning, unit, "sc:Text"))
        else:
            whole = name in ("time", "label")
            low, high = (table[name].min(), table[name].max())
            columns.append(Column(name, meaning, unit, "sc:Integer" if whole else "sc:Float", float(low), float(high)))
    return columns


def facts_of(
    table: pd.DataFrame, study: Study, privacy: dict[str, Any], schedule: tuple[Part, ...], licence: str
) -> dict[str, str]:
    """Gathers what the pages say, by the names of their gaps.

    Args:
        table: of synthetic people.
        study: whose conditions these are.
        privacy: as of `share.promise_of`.
        schedule: what their sessions were drawn by.
        licence: SPDX identifier.
    """
    promise, prior, software = (privacy[name] for name in ("promise", "prior", "software"))
    amount = f"{table['subject'].nunique()} people, {len(table):,} s"
    minutes = ", ".join(f"{part.condition} {part.seconds / 60:g} min" for part in schedule)
    sources = [f"made by {software}"] + [f"conditions as in {study.name}: {study.citation}"] * bool(study.citation)
    descent = "It begins with nobody: no minute in it descends from public people."
    if prior != "none":
        sources.append(f"beginning with {prior}")
        descent = (
            f"Its minutes descend from minutes that others published, and are no new evidence beside these: {prior}."
        )
    own, page = licence.startswith("LicenseRef-"), f"https://spdx.org/licenses/{licence.rstrip('+')}"
    warning = "It may give away the people it was learned from."
    covered = "privacy.md says whom that covers, how well, and what it leaves out."
    return {
        "title": f"Synthetic wristband recordings: {study.name}",
        "sentence": f"Synthetic people, a row a second ({amount}): wristband signals, and conditions as in the study "
        f"{study.name}.",
        "promise": f"It was {promise}. {covered if privacy['private'] else warning}",
        "software": software,
        "day": datetime.now(UTC).date().isoformat(),
        "study": study.name,
        "sought": " or ".join(name for names in study.classes[1:] for name in names),
        "amount": amount,
        "licence": licence if own else page,
        "terms": licence if own else f"[{licence}]({page})",
        "cite": "; ".join(sources),
        "descent": descent,
        "labels": f"Labels follow the conditions of a schedule ({minutes}); nobody annotated anything.",
        "collection": f"Nothing was measured for it: a generator drew it, {promise}. {descent}",
        "biases": "Those whom it comes from were not everybody: it says nothing of other ages, skins, illnesses, "
        "wristbands and situations. "
        + ("Noise for privacy draws synthetic people nearer to those they begin with." if privacy["private"] else ""),
        "sensitive": f"Signals that tell of health, of synthetic people {promise}. {descent}",
    }


def readme(columns: list[Column], facts: dict[str, str]) -> str:
    """Writes the page that is read first."""
    signals = [column.name for column in columns if column.type == "sc:Float"]
    notice = ""
    if "Stress-Predict" in facts["descent"]:
        notice = NOTICE.format(text=STRESS_PREDICT_NOTICE.read_text(encoding="utf-8").strip())
    return README.format(
        **facts,
        columns=_rows(columns),
        signal="HR" if "HR" in signals else signals[0],
        forbidden=_items(FORBIDDEN),
        notice=notice,
    )


def datasheet(columns: list[Column], facts: dict[str, str]) -> str:
    """Writes the data sheet, after Gebru et al. 2021 (doi 10.1145/3458723)."""
    return DATASHEET.format(
        **facts,
        columns=", ".join(f"`{column.name}`" for column in columns),
        forbidden=_items(FORBIDDEN),
        uses=_items(USES),
        missing=MISSING,
        preprocessing=PREPROCESSING,
        usefulness=USEFULNESS,
        maintenance=MAINTENANCE,
    )


def report(table: pd.DataFrame, columns: list[Column], facts: dict[str, str], parts: dict[str, str]) -> str:
    """Writes the page to look at, in Markdown.

    Args:
        table: of synthetic people, the only ones that it shows.
        columns: of the table.
        facts: as of `facts_of`.
        parts: `answers`, `statement`, and the pictures `session` and `people`.
    """
    return REPORT.format(
        **facts, **parts, columns=_rows(columns), levels=_levels(table, columns), forbidden=_items(FORBIDDEN)
    )


def _items(lines: tuple[str, ...]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _rows(columns: list[Column]) -> str:
    """The columns as rows of a table in Markdown."""
    ranges = ["" if column.low is None else f"{column.low:.4g} to {column.high:.4g}" for column in columns]
    rows = [(f"`{each.name}`", each.meaning, each.unit, reach) for each, reach in zip(columns, ranges)]
    return "\n".join(f"| {' | '.join(' '.join(text.split()).replace('|', '/') for text in row)} |" for row in rows)


def _levels(table: pd.DataFrame, columns: list[Column]) -> str:
    """How high each signal lies in each condition, as a table of HTML: mean and standard deviation over people."""
    signals = {column.name: f"{column.name} ({column.unit})" for column in columns if column.type == "sc:Float"}
    stretches = table[table["condition"] != NO_CONDITION]
    people = stretches.groupby(["condition", "subject"], sort=False)[[*signals]].median()
    mean, spread = (getattr(people.groupby("condition", sort=False), name)().T for name in ("mean", "std"))
    text = mean.map("{:.3g}".format) + " ± " + spread.map("{:.2g}".format)
    return text.rename(signals).rename_axis(index=None, columns=None).to_html()


README = """# {title}

{sentence}

{promise}

`checksums.sha256` has the files' sums (`sha256sum -c checksums.sha256`); with {software}, `make check
SHARE=path/to/this/folder` compares them, the table and the promise.

## Loading it

```python
import pandas

people = pandas.read_csv("synthetic_1hz.csv")
means = people.groupby(["subject", "label"])["{signal}"].mean()
```

```r
people <- read.csv("synthetic_1hz.csv")
means <- aggregate({signal} ~ subject + label, people, mean)
```

`synthetic_1hz.parquet` is the same table, `croissant.json` describes it for machines, and `report.html` shows it in any
browser.

## Columns

| column | what it is | unit | range |
|---|---|---|---|
{columns}

## Whom it comes from

{descent}

## What must not be done with it

{forbidden}

What it is for, and how it was made: [datasheet.md](datasheet.md).

## Licence

{terms}

Whoever hands it on also holds to the terms of the recordings that it was learned from, if these ask for more. To cite:
{cite}.
{notice}"""

REPORT = """# {title}

{sentence}

{answers}

{promise}

{descent}

The report of the run itself has the answers that are left out. They come from comparing synthetic people with those
whom they were learned from: no promise covers such numbers, which were made without noise. So they stay with the owner,
as does all else that shows or names those people. What is shown here comes from them by way of the generator alone.

## What was promised

<details><summary>The statement: every epsilon, and what it leaves out</summary>

{statement}

</details>

## A synthetic person

{session}

## Synthetic people

{people}

Median of each person; mean and standard deviation over people, condition by condition:

{levels}

## Columns

| column | what it is | unit | range |
|---|---|---|---|
{columns}

## What must not be done with it

{forbidden}

README.md says how to load the table, datasheet.md what it is for; the licence is {terms}.
"""

NOTICE = """
The public people's data are under the MIT licence, whose notice goes along:

```text
{text}
```
"""

DATASHEET = """# Datasheet: {title}

The questions are those of Gebru et al. 2021, *Datasheets for Datasets* (doi 10.1145/3458723). What the software that
made this folder cannot know is left to whoever hands it over.

## Motivation

**For what purpose was it made?** So that detectors of {sought} can be developed on wristband signals, and shared with
data, without handing over anybody's recordings.

**Who made it, and who paid for it?** Whoever hands over this folder, with {software}; ask them.

## Composition

**What are the instances?** Seconds of synthetic people: {columns}. README.md has their meaning and units.

**How many are there?** {amount}.

**Is it a sample?** No: people were drawn from a generator, and as many more can be.

**Is anything missing?** {missing}

**Are there labels?** {labels}

**How do instances depend on each other?** A person's seconds are one session. People are not independent: they come of
one generator, and stretches of one public person may be in several.

**Are there recommended splits?** By person, never within one.

**Does it hold confidential or sensitive data?** {sensitive}

## Collection

**How were the data acquired?** {collection}

**Who was recorded, when, and did they consent?** That is the study's to say ({study}); nothing of it is told here
but what the promise allows.

## Preprocessing

{preprocessing}

## Uses

**What is it for?**

{uses}

**What must it not be used for?**

{forbidden}

**What could impact future uses?** {usefulness} {biases}

## Distribution

**Under which licence?** {terms}. README.md has the notice of the public people's data, where there are any.

**When was it made?** On {day}.

## Maintenance

**Will it be updated?** {maintenance}

**Whom to ask?** Whoever handed it over.
"""
