"""Trainings side by side: each on one core, as many at a time as there are cores.

That is fastest, for a step of so small a network leaves nothing for a second core to do, and it makes what comes out
the same to the last bit, however many cores there are: numbers that several threads add up come in another order. (Not
so with a GPU, which a training uses when it is the only one.)
"""

import ctypes
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import joblib
from joblib.externals.loky import process_executor
from threadpoolctl import threadpool_limits
from tqdm import tqdm

PR_SET_PDEATHSIG = 1  # of Linux's prctl
# Bytes by which a process may grow before joblib replaces it, which takes ten seconds: the next one imports TensorFlow.
# Each training leaves some megabytes behind, and joblib's own limit, 300 MB, is soon reached.
MOST_LEFT_BEHIND = 10**9


def n_processes(total: int) -> int:
    """How many of so many calls go on at a time: one a core; LOKY_MAX_CPU_COUNT in the environment sets fewer cores."""
    return max(1, min(joblib.cpu_count(), total))


def on_one_core(function: Callable) -> Callable:
    """Makes a function compute on one core, so that its numbers are the same to the last bit on any machine's cores."""
    return threadpool_limits.wrap(limits=1)(function)


def one_core_each(
    function: Callable,
    arguments: Iterable[tuple],
    total: int,
    what: str,
    in_order: bool = True,
    progress: bool = True,
    most: int | None = None,
) -> Iterator[Any]:
    """Calls a function once for each of the arguments, and yields what it returns.

    Args:
        function: to be called; with a single core or a single call in this very process, otherwise in others.
        arguments: of each call; taken when its turn comes.
        total: how many calls there are.
        what: one of them in a word, for the progress line.
        in_order: whether to yield in the order of the arguments, or whatever is finished first.
        progress: whether to show progress on standard error, when it takes long.
        most: how many at a time at most, where each takes much memory; by default as many as there are cores.
    """
    parallel = joblib.Parallel(
        n_processes(min(total, most or total)),
        return_as="generator" if in_order else "generator_unordered",
        batch_size=1,  # or quick ones would be followed by a long queue of slow ones in one process
        max_nbytes=None,  # or large arrays would be mapped, and known by another key than within this process
        initializer=_begin,
        initargs=(os.getpid(),),
    )
    results = parallel(joblib.delayed(_on_one_core)(function, each) for each in arguments)
    with warnings.catch_warnings():
        # Each training leaves some of TensorFlow's memory behind, and joblib replaces a process that holds too much.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given")
        silent = {} if progress else {"disable": True}  # no False, which would overrule the environment's TQDM_DISABLE
        yield from tqdm(results, f"{what}s", total, unit=what, mininterval=5, delay=2, **silent)


def _on_one_core(function: Callable, arguments: tuple) -> Any:
    with threadpool_limits(1):  # TensorFlow has threads of its own: see __init__.py
        return function(*arguments)


def _begin(parent: int) -> None:
    """Sets up a process that trains, for another one."""
    process_executor._MAX_MEMORY_LEAK_SIZE = MOST_LEFT_BEHIND  # there is no public way to set it
    os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # what it calls side by side, it does one by one
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # several would fight for one GPU; the first would take all its memory
    if sys.platform == "linux":  # end with the one that it trains for, however that ends, in the middle of a training
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
