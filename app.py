"""A page for one visit: choose recordings and a promise, run the chain, read the answers, take the folder home.

make app
"""

import marimo

__generated_with = "0.25.2"  # marimo's version that the form of this file is of
app = marimo.App(app_title="wearsynth")


@app.cell
def _():
    import io
    import subprocess
    import sys
    import zipfile
    from pathlib import Path

    import marimo as mo

    from wearsynth.answers import FEW, MANY, answer_table, answers, most_found
    from wearsynth.runs import RunFolder

    root = Path(__file__).resolve().parent
    return FEW, MANY, RunFolder, answer_table, answers, io, mo, most_found, root, subprocess, sys, zipfile


@app.cell
def _(mo):
    mo.md("""
    # Synthetic people from wristband recordings

    Choose whose recordings, and what to promise them; run; read what came of it; take the folder to hand over.
    All of it stays on this machine.
    """)


@app.cell
def _(mo):
    sources = {"public people, to try it out": "", "simulated people": "simulated", "my own": "own"}
    recordings = mo.ui.radio(sources, value="public people, to try it out", label="**Whose recordings?**")
    path = mo.ui.text(label="their folder or file, on this machine", full_width=True)
    study = mo.ui.text(label="a study file, that says what their conditions mean; none for WESAD's", full_width=True)
    unit = mo.ui.radio(
        {"a person: all that somebody gave": "subject", "a window: one minute of it": "window"},
        value="a person: all that somebody gave",
        label="**Whom, or what, does the promise protect?**",
    )
    epsilon = mo.ui.slider(
        steps=[0.1, 0.3, 1, 3, 10], value=3, show_value=True, label="**How well?** epsilon, smaller is more private"
    )
    quick = mo.ui.switch(label="only a quick look: figures too rough to quote")
    return epsilon, path, quick, recordings, study, unit


@app.cell
def _(FEW, MANY, epsilon, mo, most_found, path, quick, recordings, study, unit):
    delta = 1e-3 if unit.value == "subject" else 1e-4
    found = most_found(epsilon.value, delta)
    protected = "one of the people" if unit.value == "subject" else "one window"
    meaning = (
        f"Whoever knows everything but whether **{protected}** was there, and accuses 1 in 100 wrongly, "
        f"is right about **at most {found:.0%}** of those who were (delta {delta:g})."
    )
    weaker = "A person has many windows: for all of them together the promise is far weaker, and may be none."
    kind = "success" if found <= FEW else "neutral" if found <= MANY else "warn"
    mo.vstack(
        [
            recordings,
            *([path, study] if recordings.value == "own" else []),
            unit,
            epsilon,
            mo.callout(mo.md(meaning if unit.value == "subject" else f"{meaning} {weaker}"), kind=kind),
            quick,
        ],
        gap=1.5,
    )
    return (delta,)


@app.cell
def _(mo):
    start = mo.ui.run_button(label="Run")
    mo.hstack([start], justify="start")
    return (start,)


@app.cell
def _(RunFolder, delta, epsilon, mo, path, quick, recordings, root, start, study, subprocess, sys, unit):
    mo.stop(not start.value)
    given = path.value.strip() if recordings.value == "own" else recordings.value
    mo.stop(
        recordings.value == "own" and not given,
        mo.callout("Say where your recordings are: a folder, a zip or a table.", kind="warn"),
    )
    source = {"": "public", "simulated": "simulated"}.get(given, "own")
    size = "smoke" if quick.value else "default"
    out = root / "runs" / f"app-{source}-{size}-{unit.value}-{epsilon.value:g}"
    command = [sys.executable, root / "run.py", "--recordings", given, "--preset", size, "--out", out]
    chosen = {"unit": unit.value, "epsilon": epsilon.value, "delta": delta}
    for name, value in (chosen | ({"study": study.value.strip()} if source == "own" else {})).items():
        command += ["-p", name, str(value)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    last = ""
    try:
        with mo.status.progress_bar(total=len(RunFolder.NOTEBOOKS), title="Starting") as bar:
            begun = 0
            for line in process.stdout:
                last = line.strip() or last
                if line.startswith("["):  # one line a notebook, as it begins
                    bar.update(increment=int(begun > 0), title=line.split("] ")[-1].strip())
                    begun += 1
    finally:  # whoever closes the page, or runs anew, has stopped it: the same choice goes on from there
        process.terminate()
    mo.stop(process.wait() != 0, mo.callout(last, kind="danger"))
    folder = RunFolder(out)
    return (folder,)


@app.cell
def _(answer_table, answers, folder, io, mo, zipfile):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.share.iterdir()):
            archive.write(file, f"share/{file.name}")
    mo.vstack(
        [
            mo.md("## What came of it"),
            mo.Html(answer_table(answers(folder.metrics))),
            mo.download(packed.getvalue(), "share.zip", "application/zip", label="The folder to hand over"),
            mo.md(f"The whole report, which is not to be passed on where people are real: `{folder.report}`"),
        ]
    )


if __name__ == "__main__":
    app.run()
