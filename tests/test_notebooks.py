"""Executing notebooks where people do: other kernels, odd folders, limits of time; and what is said when it fails."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

import run
from wearsynth import notebooks
from wearsynth.notebooks import NotebookError, execute, one_kernel, one_line, tidy
from wearsynth.recordings import RecordingError
from wearsynth.runs import CheckError

TINY = [
    *("--recordings", "simulated"),
    "--preset",
    "smoke",
    "-p",
    "folds",
    "S2",
    "-p",
    "detectors",
    "logistic_regression",
]


def notebook(path, *cells):
    """Writes a notebook with a cell of parameters, and these."""
    parameters = nbformat.v4.new_code_cell("seed: int = 0  # a number", metadata={"tags": ["parameters"]})
    cells = [parameters, *map(nbformat.v4.new_code_cell, cells)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


def executed(tmp_path, *cells, target=None):
    """Executes such a notebook; returns what its last cell printed."""
    target = target or tmp_path / "executed.ipynb"
    with one_kernel() as kernel:
        execute(notebook(tmp_path / "notebook.ipynb", *cells), target, {"seed": 3}, kernel)
    outputs = nbformat.read(target, as_version=4).cells[-1].outputs
    return "".join(output.get("text", "") for output in outputs if output.get("name") == "stdout")


def test_it_is_the_interpreter_of_the_run_whatever_kernels_there_are(tmp_path, monkeypatch):
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (tmp_path / "kernels" / "python3").mkdir(parents=True)
    (tmp_path / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert executed(tmp_path, "import sys; print(sys.executable, seed)").split() == [sys.executable, "3"]


@pytest.mark.parametrize("name", ["a{seed}", "{nope}", "blank and ümlaut"])
def test_a_path_may_hold_what_it_likes(tmp_path, name):
    assert executed(tmp_path / name, "print(seed)", target=tmp_path / name / "out{seed}.ipynb") == "3\n"
    assert (tmp_path / name / "out{seed}.ipynb").exists()


def test_a_long_folder_for_temporary_files(tmp_path, monkeypatch):
    """As batch systems have them: longer than the path of a socket may be."""
    folder = tmp_path / ("x" * 110)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    assert executed(tmp_path, "print('done')") == "done\n"


def test_without_any_short_folder_it_is_tcp(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "LONGEST_SOCKET", 10)
    assert executed(tmp_path, "print('done')") == "done\n"


def test_the_users_own_setup_of_ipython_does_not_count(tmp_path, monkeypatch):
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("raise SystemExit('from the startup file')")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("HOME", "/proc/nowhere")  # which cannot be written
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    assert executed(tmp_path, "print(__debug__)") == "True\n"


def test_progress_leaves_one_line(tmp_path):
    loop = "for n in range(5):\n    print(f'\\r{n} of 4', end='', file=sys.stderr, flush=True)"
    executed(tmp_path, f"import sys\n{loop}\nprint(file=sys.stderr)")
    (output,) = nbformat.read(tmp_path / "executed.ipynb", as_version=4).cells[-1].outputs
    assert output.text == "4 of 4\n"


def test_tidying_leaves_everything_else(tmp_path):
    path = notebook(tmp_path / "notebook.ipynb", "1")
    content = nbformat.read(path, as_version=4)
    streams = [("stderr", "\r0%"), ("stdout", "printed\n"), ("stderr", "\r50%\r100%\n"), ("stderr", "\x1b[A\n")]
    content.cells[-1].outputs = [nbformat.v4.new_output("stream", name=name, text=text) for name, text in streams]
    nbformat.write(content, path)
    tidy(path)
    kept = [(output.name, output.text) for output in nbformat.read(path, as_version=4).cells[-1].outputs]
    assert kept[0] == ("stdout", "printed\n") and kept[1][1].startswith("100%\n")


@pytest.mark.parametrize(
    ("cell", "error", "message"),
    [
        ("1 / 0", NotebookError, "notebook, cell 4: ZeroDivisionError: division by zero; see .*executed.ipynb"),
        ("raise ValueError('two\\nlines ' + 'x' * 10**6)", NotebookError, "ValueError: two lines x{400,500}"),
        ("from wearsynth.recordings import RecordingError\nraise RecordingError('S2: no')", RecordingError, "^S2: no$"),
        ("from wearsynth.runs import CheckError\nraise CheckError('no')", CheckError, "^notebook: no$"),
        ("raise OSError(28, 'No space left on device')", OSError, r"\[Errno 28\] No space left on device: .*"),
        (
            "import os\nos.kill(os.getpid(), 9)",
            NotebookError,
            "notebook: its kernel died, most often for want of memory",
        ),
    ],
)
def test_what_fails_is_said_in_a_line(tmp_path, cell, error, message):
    with pytest.raises(error, match=message) as caught:
        executed(tmp_path, "import sys; print('1\\r2', file=sys.stderr)", cell)
    if error is CheckError:  # its notebook is reported like others
        cells = nbformat.read(tmp_path / "executed.ipynb", as_version=4).cells  # with papermill's word on the error
        assert [cell for cell in cells if cell.cell_type == "code"][-2].outputs[0].text == "2\n"
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text", ["a\nb", "x" * 10**7, "\x1b[31mred\x1b[0m", "{braces}", "\udcff", "\u202eturned", "", "a" + "\n" * 10**6]
)
def test_one_line_is_one_line(text):
    line = one_line(text)
    assert line.isprintable() and len(line) < 510


ERRORS = (
    *(ValueError("two\nlines"), RuntimeError("x" * 10**7), KeyError("{braces}"), TypeError("\x1b[31mred")),
    *(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), ZeroDivisionError("\udcff"), AssertionError(), MemoryError()),
    *(OSError(28, "No space left on device", "/some/file"), PermissionError(13, "no", "f"), RecursionError("deep")),
    *(FileExistsError(17, "File exists", "/a/file"), BrokenPipeError(32, "Broken pipe")),
    *(RecordingError("S2.pkl: \n no"), CheckError("no"), NotebookError("no")),
)


@pytest.mark.parametrize("where", ["check", "prepare", "run_chain", "finished_run", "run_notebooks", "print_results"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_ends_in_one_line(tmp_path, monkeypatch, capsys, where, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(run, where, fail)
    monkeypatch.setattr(run, "run_notebooks", fail if where == "run_notebooks" else lambda *_: [])
    if where == "print_results":
        monkeypatch.setattr(run, "run_chain", lambda *_: None)
    arguments = ["--out", str(tmp_path / "run"), *(["--prepare"] if where == "prepare" else [])]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.json").write_text("{}")
    assert run.main([*arguments, "--from", str(tmp_path / "other")]) in (1, 2)
    said = capsys.readouterr().err
    assert said.startswith("run.py: ") and said.count("\n") == 1 and said[:-1].isprintable() and len(said) < 600


def test_the_traceback_of_a_fault_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "run_chain", lambda *_: 1 / 0)
    assert run.main(["--out", str(tmp_path)]) == 1
    assert f"see {tmp_path}/traceback.txt" in capsys.readouterr().err
    assert "ZeroDivisionError" in (tmp_path / "traceback.txt").read_text()


@pytest.mark.parametrize("kind", ["file", "below a file", "checkout", "damaged"])
def test_an_out_that_cannot_be_a_run_folder(tmp_path, capsys, kind):
    (tmp_path / "file").write_text("a file")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "metrics.json").write_text("[")
    out = {"file": "file", "below a file": "file/run", "checkout": run.ROOT, "damaged": "damaged"}[kind]
    before = {path.name: path.read_bytes() for path in run.NOTEBOOKS}
    assert run.main(["--out", str(tmp_path / out)]) in (1, 2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and ("another folder" in said or "remove it" in said)
    assert before == {path.name: path.read_bytes() for path in run.NOTEBOOKS}


def in_a_process(*arguments, **environment):
    """Starts run.py as a program of its own."""
    command = [sys.executable, str(run.ROOT / "run.py"), *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a shell's background job ignores
    )


def test_the_locale_c_and_a_name_beyond_it(tmp_path):
    done = in_a_process("--out", tmp_path / "Läufe", "-p", "epsilom", 1, LC_ALL="C", PYTHONUTF8="0", LANG="C")
    assert "did you mean 'epsilon'" in done.communicate(timeout=60)[1] and done.returncode == 2


def descendants(pid):
    """Processes below one, by /proc."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended meanwhile
        return []
    return [each for child in children for each in (int(child), *descendants(child))]


def alive(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text()]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    ("how", "status"),
    [pytest.param(signal.SIGTERM, 130, marks=pytest.mark.slow), (signal.SIGINT, 130), (signal.SIGKILL, -9)],
)
def test_a_run_that_is_ended_leaves_nothing_behind(tmp_path, how, status):
    """Whatever ends it: asked to, as by a batch system's limit, or killed."""
    process = in_a_process(*TINY, "--out", tmp_path / "run")
    while not (tmp_path / "run" / "01-Data.ipynb").exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    below = descendants(process.pid)
    assert below
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status
    if status == 130:
        assert said.splitlines()[-1] == "run.py: stopped; the same command goes on from here"
        assert "Traceback" not in said
    deadline = time.monotonic() + 20
    while alive(below) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(below)


def test_papermill_by_hand_from_another_folder_refuses_a_mistyped_name(tmp_path):
    command = [sys.executable, "-m", "papermill", str(run.NOTEBOOKS[1]), "out.ipynb", "-p", "epsilom", "5"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode != 0 and "did you mean 'epsilon'?" in done.stderr
