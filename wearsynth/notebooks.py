"""How notebooks are executed: the kernel of a run, papermill, and what is said when one does not reach its end."""

import asyncio
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nbformat
import papermill
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from wearsynth.files import replacing
from wearsynth.parameters import ROOT, literal
from wearsynth.recordings import RecordingError
from wearsynth.runs import CheckError

LONGEST_REASON = 500  # characters of an error
LONGEST_SOCKET = 107  # bytes of a socket's path, on Linux; others take nearly as many
LONGEST_START = 300  # s, of a kernel: on a busy machine, or with packages on a slow file system
# Linux ends the kernel with the thread that started it, here the main one, which ends with its process; however that
# ends, and whatever the kernel is at. If it has ended before, the kernel goes by itself.
END_WITH_PARENT = (
    "__import__('ctypes').CDLL(None).prctl(1, 9); "
    "__import__('os').getppid() == int(__import__('os').environ['JPY_PARENT_PID']) or __import__('os')._exit(1)"
)


class NotebookError(RuntimeError):
    """A notebook did not reach its end; the message says where, why, and where to look."""


class _OwnInterpreter(KernelSpecManager):
    """Knows one kernel, of this very interpreter: what is registered as 'python3' may be another Python."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


@contextmanager
def one_kernel() -> Iterator[AsyncKernelManager]:
    """Gives the kernel of a run, not yet started: one process for all notebooks, as their imports take long."""
    os.environ.pop("PYTHONOPTIMIZE", None)  # TensorFlow cannot be imported without its docstrings
    sockets = _short_folder()
    with tempfile.TemporaryDirectory() as folder:
        # Sockets that only this user can reach, instead of TCP ports; each run's own, or another's kernel may answer.
        # For what child processes print, ipykernel still listens on 127.0.0.1, and takes only what names its secret.
        local = {"transport": "ipc", "ip": f"{sockets}/kernel"} if sockets else {}
        kernel = AsyncKernelManager(
            kernel_name="python3",
            kernel_spec_manager=_OwnInterpreter(),
            connection_file=f"{folder}/kernel.json",
            **local,
        )
        try:
            yield kernel
        finally:
            run_sync(_end)(kernel)
            if sockets:
                shutil.rmtree(sockets, ignore_errors=True)


async def _end(kernel: AsyncKernelManager) -> None:
    """Ends the kernel, and what waits for it: a signal leaves that behind, to wake up and complain in the middle."""
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    if kernel.has_kernel:
        await kernel.shutdown_kernel(now=True)


def _short_folder() -> str | None:
    """Makes a folder with a path that a socket may have, if there can be one."""
    for parent in (None, "/tmp"):
        with suppress(OSError):  # a read-only one, or none at all
            folder = tempfile.mkdtemp(dir=parent)
            if os.name == "posix" and len(os.fsencode(folder)) + len("/kernel-5") <= LONGEST_SOCKET:
                return folder
            os.rmdir(folder)
    return None


def execute(notebook: Path, target: Path, parameters: dict[str, Any], kernel: AsyncKernelManager) -> None:
    """Executes one notebook, its output streamed.

    Args:
        notebook: the notebook.
        target: where the executed one is written, cell by cell.
        parameters: all of its parameters.
        kernel: which it finds as if newly started, but for modules that were imported before.

    Raises:
        NotebookError: a cell failed, or the kernel; tells which, and where to look.
        CheckError: its work is done, but the results are not what they must be.
        RecordingError: a recording was refused.
        OSError: a file cannot be written; names it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    settings = ["--IPKernelApp.log_level=CRITICAL"]  # failures arrive as exceptions
    settings += [
        f"--ipython-dir={Path(kernel.connection_file).parent}"
    ]  # not the user's, which may be set up otherwise
    settings += [f"--IPKernelApp.exec_lines={END_WITH_PARENT}"] * (sys.platform == "linux")
    options = {"km": kernel, "extra_arguments": settings}
    try:
        _begin_afresh(notebook, options)
        papermill.execute_notebook(
            literal(notebook),
            literal(target),
            parameters,
            kernel_name="python3",
            cwd=str(ROOT),
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            **options,
        )
        tidy(target)
    except PapermillExecutionError as error:
        with suppress(OSError):  # the cell's own failure is what is told
            tidy(target)
        raise _told(error, notebook, target) from None
    except DeadKernelError:
        raise NotebookError(f"{notebook.stem}: its kernel died, most often for want of memory; see {target}") from None
    except OSError as error:
        if error.filename or not error.errno or isinstance(error, BrokenPipeError):  # that is where the output goes
            raise
        raise OSError(error.errno, error.strerror, str(target)) from None


def _begin_afresh(notebook: Path, options: dict[str, Any]) -> None:
    """Starts the kernel, or lets one that runs forget everything but its modules; raises NotebookError if it cannot."""
    forget = nbformat.v4.new_code_cell("%reset -f\nget_ipython().execution_count = 1")
    client = NotebookClient(nbformat.v4.new_notebook(cells=[forget]), startup_timeout=LONGEST_START, **options)
    try:
        with client.setup_kernel(cwd=str(ROOT)):
            client.execute_cell(forget, 0, store_history=False)  # so that the next cell is the first
    except (RuntimeError, TimeoutError) as error:
        raise NotebookError(
            f"{notebook.stem}: no kernel starts ({one_line(error)}), perhaps for want of memory; what it says itself "
            "stands above, and the same command goes on from here"
        ) from None


def _told(error: PapermillExecutionError, notebook: Path, target: Path) -> Exception:
    """What a cell's error is called outside its kernel."""
    reason = one_line(error.evalue)
    if error.ename == RecordingError.__name__:
        return RecordingError(reason)
    if error.ename == CheckError.__name__:
        return CheckError(f"{notebook.stem}: {reason}")
    if f"[Errno {errno.ENOSPC}]" in reason:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target.parent))
    return NotebookError(f"{notebook.stem}, cell {error.exec_count}: {one_line(error.ename)}: {reason}; see {target}")


def tidy(path: Path) -> None:
    """Leaves of what each cell wrote to standard error one line for each line, as a terminal shows it in the end."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        text = "".join(output.text for output in outputs if output.get("name") == "stderr")
        lines = [line.rstrip("\r").rpartition("\r")[2].strip() for line in text.split("\n")]
        kept = [output for output in outputs if output.get("name") != "stderr"]
        if text := "".join(f"{line}\n" for line in lines if line):
            kept.append(nbformat.v4.new_output("stream", name="stderr", text=text))
        if outputs:
            cell.outputs = kept
    with replacing(path) as draft:
        nbformat.write(notebook, draft)


def one_line(text: Any) -> str:
    """Returns a text as one line that a screen can show: printable, and not too long."""
    line = " ".join(str(text)[: 10 * LONGEST_REASON].split())
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= LONGEST_REASON else line[:LONGEST_REASON] + "..."
