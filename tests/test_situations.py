"""The program itself, where it meets what people's machines are like; more of that in test_notebooks.py."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from test_notebooks import alive, descendants, executed, notebook

import run
from wearsynth import notebooks
from wearsynth.notebooks import NotebookError, execute, one_kernel

PREPARE = ("--prepare",)
CODE = ("run.py", "wearsynth", "data/public", "data/studies", *(path.name for path in run.NOTEBOOKS))
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the code, in a folder called what a folder may be called; read-only where it can be mounted so."""
    copy = tmp_path_factory.mktemp("Läufe {seed} {0}") / "check out"
    copy.mkdir()
    for name in CODE:
        path = run.ROOT / name
        shutil.copytree(path, copy / name) if path.is_dir() else shutil.copy(path, copy / name)
    mounted = os.geteuid() == 0 and mount("mount", "--bind", copy, copy)
    if mounted:
        mount("mount", "-o", "remount,bind,ro", copy)
    yield copy
    if mounted:
        mount("umount", copy)


def mount(*words):
    """Calls mount or umount; returns whether that did it."""
    return shutil.which(words[0]) is not None and subprocess.run(words, capture_output=True).returncode == 0


def program(*words, cwd="/", without=(), **environment):
    """Runs this Python in another folder and environment; returns exit status and what came on standard error."""
    kept = {name: value for name, value in os.environ.items() if name not in (*without, "PYTHONPATH")}
    command = [sys.executable, *map(str, words)]
    kept["TQDM_DISABLE"] = "1"  # progress is shown where it is slow
    done = subprocess.run(command, cwd=cwd, env=kept | environment, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stderr


@pytest.mark.slow
def test_everything_odd_at_once(checkout, tmp_path):
    """Locale, optimization, kernels, styles, folders for temporary files and of the user; and the name of the run's."""
    long = tmp_path / ("x" * 110)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    kernel = tmp_path / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps(spec))
    style = tmp_path / "matplotlibrc"
    style.write_text("text.usetex: True\nsavefig.format: pdf\nfigure.dpi: 7\n")
    long.mkdir()
    environment = {
        **{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONOPTIMIZE": "2"},
        **{"TMPDIR": str(long), "JUPYTER_PATH": str(tmp_path), "MATPLOTLIBRC": str(style)},
    }
    out = tmp_path / "Läufe a{seed}"
    status, said = program(checkout / "run.py", *PREPARE, "--out", out, without=("HOME",), **environment)
    assert (status, said) == (0, "")
    assert sorted(path.name for path in (out / "figures").iterdir()) == ["conditions.png", "recording.png"]
    assert (out / "figures" / "recording.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "01-Data.ipynb").exists() and (out / "data" / "windows" / "training.npz").exists()


def test_a_checkout_that_cannot_be_written(checkout):
    """Where a run goes to by default."""
    if os.access(checkout, os.W_OK):
        pytest.skip("only root can mount a folder read-only, and not in every container")
    status, said = program(checkout / "run.py", *PREPARE)
    assert status == 1 and said.count("\n") == 1 and "Read-only file system; choose another folder with --out" in said


def test_a_copy_of_the_environment_finds_its_own_checkout(tmp_path):
    packages = tmp_path / ".venv" / "lib" / "python3" / "site-packages"
    packages.mkdir(parents=True)
    (path,) = Path(next(p for p in sys.path if p.endswith("site-packages"))).glob("wearsynth.pth")
    shutil.copy(path, packages)
    (tmp_path / "wearsynth").mkdir()
    (tmp_path / "wearsynth" / "__init__.py").touch()
    finds = f"import site; site.addsitedir({str(packages)!r}); import wearsynth; print(wearsynth.__file__)"
    found = subprocess.run([sys.executable, "-S", "-c", finds], cwd="/", capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(tmp_path / "wearsynth" / "__init__.py")


def test_git_leaves_line_ends_alone(tmp_path):
    """Whatever Git for Windows has been told to do with them."""
    if not (run.ROOT / ".git").exists():
        pytest.skip("not a checkout of Git")
    clone = [
        "git",
        "clone",
        "--quiet",
        "--depth",
        "1",
        "-c",
        "core.autocrlf=true",
        f"file://{run.ROOT}",
        tmp_path / "c",
    ]
    subprocess.run(clone, check=True)
    texts = [path for path in (tmp_path / "c").rglob("*") if path.is_file() and ".git" not in path.parts]
    assert {"setup.sh", "Makefile", "requirements.lock", "run.py", "01-Data.ipynb"} <= {path.name for path in texts}
    assert not [path for path in texts if path.suffix not in (".png", ".xz") and b"\r\n" in path.read_bytes()]
    subprocess.run(["bash", "-n", tmp_path / "c" / "setup.sh"], check=True)


@pytest.mark.slow
def test_papermill_by_hand_refuses_a_value_of_another_type(tmp_path):
    """YAML takes 1e-1 for a text."""
    words = ("-m", "papermill", run.NOTEBOOKS[1], "out.ipynb", "--no-progress-bar", "-y", "{epsilon: 1e-1}")
    status, said = program(*words, cwd=tmp_path)
    assert status and said.strip().splitlines()[-1] == "ParameterError: epsilon='1e-1': expected a number"


@pytest.mark.parametrize("option", ["--out", "--recordings"])
def test_a_link_to_itself(tmp_path, capsys, option):
    (tmp_path / "one").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "one")
    assert run.main([option, str(tmp_path / "one")]) == 2
    assert capsys.readouterr().err == f"run.py: {tmp_path / 'one'}: a link that leads back to itself; give a folder\n"


def test_a_name_that_is_too_long(tmp_path, capsys):
    assert run.main(["--out", str(tmp_path / ("x" * 300))]) == 1
    assert "File name too long; choose another folder with --out" in capsys.readouterr().err
    options = run.parse(["--recordings", str(tmp_path / ("ä" * 120)), "-p", "folds", "ä" * 120])
    assert len(os.fsencode(run.run_name(options))) <= run.LONGEST_NAME


@pytest.mark.parametrize("python", ["/bin/false", "/nowhere/python"])
def test_a_kernel_that_does_not_start(tmp_path, monkeypatch, python):
    spec = {"argv": [python, "{connection_file}"], "display_name": "Python 3", "language": "python"}
    monkeypatch.setattr(notebooks, "get_kernel_dict", lambda: spec)
    with pytest.raises((NotebookError, FileNotFoundError), match="no kernel starts|/nowhere/python") as caught:
        executed(tmp_path, "1")
    assert "\n" not in str(caught.value)


def test_a_notebook_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    """As on a disk that is full."""
    path = notebook(tmp_path / "notebook.ipynb", "1")
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **__: Path("/dev/full").write_text("x" * 10**5))
    with one_kernel() as kernel, pytest.raises(OSError, match="No space left on device: .*executed.ipynb"):
        execute(path, tmp_path / "executed.ipynb", {}, kernel)


BUSY = {
    "asleep": "__import__('time').sleep(300)",
    "holding the lock of the interpreter": "pow(3, 10**9)",
}


@LINUX
@pytest.mark.parametrize(
    "how, doing",
    [
        *zip([signal.SIGTERM, signal.SIGKILL], BUSY),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in zip([signal.SIGKILL, signal.SIGTERM], BUSY)),
    ],
)
def test_no_kernel_is_left_whatever_it_is_at(tmp_path, how, doing):
    """Nor does anything but one line come of a stop."""
    path = notebook(tmp_path / "notebook.ipynb", f"open({str(tmp_path / 'begun')!r}, 'w').close()\n{BUSY[doing]}")
    code = (
        "import sys, run; from pathlib import Path; from wearsynth.notebooks import execute, one_kernel\n"
        "def chain(*_):\n    with one_kernel() as kernel:\n"
        f"        execute(Path({str(path)!r}), Path({str(tmp_path / 'out.ipynb')!r}), {{}}, kernel)\n"
        f"run.run = chain\nstatus = run.main(['--out', {str(tmp_path)!r}])\n__import__('os')._exit(status)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=run.ROOT, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    below = descendants(process.pid)
    process.send_signal(how)
    _, said = process.communicate(timeout=30)
    assert below and said == ("run.py: stopped; the same command goes on from here\n" if how == signal.SIGTERM else "")
    deadline = time.monotonic() + 5
    while alive(below) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(below)


def test_stopped_while_it_still_imports(tmp_path):
    """A NumPy that never ends its import stands for a slow one."""
    begun = tmp_path / "begun"
    (tmp_path / "numpy.py").write_text(f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(60)")
    command = [sys.executable, str(run.ROOT / "run.py"), "--help"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    while not begun.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == "" and process.returncode == -signal.SIGINT


def test_what_is_shown_is_the_last_state_of_progress(tmp_path):
    progress = "from tqdm import tqdm\nfor _ in tqdm(range(20), 'generators', mininterval=0): pass"
    executed(tmp_path, progress)
    (output,) = nbformat.read(tmp_path / "executed.ipynb", as_version=4).cells[-1].outputs
    assert output.text.startswith("generators: 100%") and output.text.count("\n") == 1
