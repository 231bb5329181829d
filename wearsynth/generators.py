"""Generators: the one table of their kinds, and the one call that plans and trains, `fit`.

A generator learns of real windows in two ways, both private: by a *release* made once, and by a *conditional GAN*
trained with DP-SGD on top of what was released. Its kind says which of the two get the budget.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np

from wearsynth.codecs import Codec, CopulaCodec, DescriptorCodec, LevelCodec, SecondCodec, make_prior
from wearsynth.files import source_of
from wearsynth.ledger import Ledger
from wearsynth.parallel import n_processes, one_core_each
from wearsynth.privacy import Promise, check_delta
from wearsynth.provenance import Origin, load_arrays, save_arrays
from wearsynth.public import Cohort, find_cohort
from wearsynth.releases import Moments, Query, choose_query, release
from wearsynth.windows import Windows, indicators
from wearsynth.workers import ALONE, Alone, Workers

# Signal-to-noise ratio of the discriminator's steps, below which it learns nothing of use; and, of one that sees how
# coordinates go together, below which a small one does better.
MIN_SNR, MIN_JOINT_SNR = 4.0, 10.0


class Kind(NamedTuple):
    """What a kind of generator is made of.

    Args:
        codec: what a window is in numbers; the first takes its prior from other people, the others have none.
        release_share: part of epsilon that the release spends; the steps get the rest.
        published: whether networks are those of the published generator, instead of our own.
    """

    codec: type[DescriptorCodec | LevelCodec | CopulaCodec | SecondCodec]
    release_share: float
    published: bool = False


KINDS = {
    "steered": Kind(DescriptorCodec, release_share=0.8),
    "cgan": Kind(DescriptorCodec, release_share=0.0),
    "released": Kind(DescriptorCodec, release_share=1.0),
    "levels": Kind(LevelCodec, release_share=1.0),
    "copula": Kind(CopulaCodec, release_share=1.0),
    "lstm": Kind(SecondCodec, release_share=0.0, published=True),
}


@dataclass(frozen=True)
class Plan:
    """How a generator will be trained. It follows from public numbers alone, and holds for every fold alike.

    Args:
        kind: one of KINDS.
        promise: with the budget divided between release and steps.
        codec: what a window is in numbers, and the prior.
        query: what the release asks; None where there is none.
        joint: whether the discriminator sees how coordinates go together.
    """

    kind: str
    promise: Promise
    codec: Codec
    query: Query | None
    joint: bool = False


@dataclass(frozen=True)
class Generator:
    """A trained generator; nothing in it was read from real windows outside the mechanism.

    Args:
        codec: turns coordinates into windows.
        moments: of the coordinates: released, or the prior's.
        network: what it adds to them; None where no network was trained.
        steps: discriminator steps really taken.
        seeded: whether sample and noise came from a seed, which protects nobody.
        fake_loss: (steps,), the discriminator's loss on generated windows.
    """

    codec: Codec
    moments: Moments
    network: Any = None
    steps: int = 0
    seeded: bool = False
    fake_loss: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def coordinates(self, noise: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Standard normal noise (n, size), labels (n,) -> coordinates of windows (n, size)."""
        coordinates = self.moments(noise, labels)
        if self.network is not None:
            coordinates += self.network([noise.astype(np.float32), indicators(labels, len(self.moments.means))]).numpy()
        return coordinates

    def save(self, path: Path, origin: Origin) -> None:
        """Writes moments, weights and origin into one file; the prior has a file of its own."""
        weights = [] if self.network is None else self.network.get_weights()
        save_arrays(
            path,
            origin,
            means=self.moments.means,
            covariances=self.moments.covariances,
            steps=self.steps,
            seeded=self.seeded,
            fake_loss=self.fake_loss.astype(np.float32),
            **{f"weights_{number}": each for number, each in enumerate(weights)},
        )

    @classmethod
    def load(cls, path: Path, kind: str, prior: DescriptorCodec, origin: Origin) -> "Generator":
        """Reads what `save` wrote of a generator of this kind; raises StaleFileError if it is of another origin."""
        stored, codec, network = load_arrays(path, origin), codec_of(kind, prior), None
        if stored["steps"]:
            network = _recipe(kind).network(codec)
            network.set_weights([stored[f"weights_{number}"] for number in range(len(network.weights))])
        moments = Moments(stored["means"], stored["covariances"])
        return cls(codec, moments, network, int(stored["steps"]), bool(stored["seeded"]), stored["fake_loss"])


def fit(
    windows: Windows,
    promise: Promise,
    kind: str = "steered",
    prior: DescriptorCodec | None = None,
    *,
    seed: int = 0,
    noise_seed: int | None = None,
    name: str | None = "",
    mechanism: Callable | None = None,
    workers: Alone = ALONE,
) -> Generator:
    """Trains a generator on real windows, under a promise.

    >>> from wearsynth.sessions import draw_people
    >>> from wearsynth.simulation import simulate_table
    >>> from wearsynth.studies import WESAD
    >>> from wearsynth.windows import make_windows
    >>> windows = make_windows(simulate_table(n_subjects=4, seed=1), "extended", "public", 60, 30)
    >>> generator = fit(windows, Promise("subject", epsilon=10.0, delta=1e-3), "released")
    >>> draw_people(generator, 2, WESAD.read_schedule("baseline 3, stress 2"))["subject"].unique().tolist()
    ['syn01', 'syn02']

    Args:
        windows: real windows, on the public scale; private.
        promise: what is promised.
        kind: one of KINDS.
        prior: of windows like these; by default from public people.
        seed: governs first weights and latent draws, and without privacy the sample, too.
        noise_seed: for tests; noise and sample from a seed protect nobody.
        name: stands before the progress line; None for no such line.
        mechanism: makes what reads the real windows in steps; another one is for those who audit it.
        workers: processes that train it together, each on windows of its own people: see `workers.Workers`.

    Raises:
        ValueError: there is no such kind, delta is too large for so many units, or workers do not agree.
    """
    if prior is None:
        prior = make_prior(find_cohort("public"), ",".join(windows.signals), windows.values.shape[1])
    planned = plan(promise, kind, prior, workers.total(windows.n_units(promise.unit)))
    return train(windows, planned, seed, noise_seed, name, mechanism, workers)


def plan(promise: Promise, kind: str, prior: DescriptorCodec, n_units: int) -> Plan:
    """Divides a budget between release and steps, and chooses what both ask: by public numbers alone.

    A discriminator learns where as many unit vectors as there are units, all alike, are longer than MIN_SNR times the
    noise that the budget puts on its weights, were it spent on them at once. How steps divide it further makes little
    difference to that. Without a release, where a large one learns, it sees how coordinates go together; beside one,
    where not even a small one learns, all is spent on the release.

    Args:
        promise: the budget.
        kind: one of KINDS.
        prior: of windows like those to be learned.
        n_units: how many units there are; counts as public.

    Raises:
        ValueError: there is no such kind, or delta is too large for so many units.
    """
    check_kind(kind)
    if promise.private:
        check_delta(promise.unit, promise.delta, n_units)
    codec, share = codec_of(kind, prior), KINDS[kind].release_share
    at_once = replace(promise, release_share=1.0).release_noise_multiplier

    def learns(joint: bool) -> bool:
        least = MIN_JOINT_SNR if joint else MIN_SNR
        return n_units >= least * at_once * math.sqrt(n_weights(kind, codec, joint))

    if 0 < share < 1 and not learns(joint=False):
        share = 1.0
    joint = share == 0 and not KINDS[kind].published and learns(joint=True)
    divided = replace(promise, release_share=share)
    query = choose_query(codec, divided.release_noise_multiplier / n_units) if share else None
    return Plan(kind, divided, codec, query, joint)


def train(
    windows: Windows,
    planned: Plan,
    seed: int,
    noise_seed: int | None = None,
    name: str | None = "",
    mechanism: Callable | None = None,
    workers: Alone = ALONE,
) -> Generator:
    """Trains what was planned, for the units of all workers; other arguments as of `fit`."""
    if workers is not ALONE:
        _check_together(workers, windows, planned, seed, noise_seed)
    from wearsynth import cgan  # takes TensorFlow along: seconds, for those who only check what they were given
    from wearsynth.quiet import tf

    promise, codec = planned.promise, planned.codec
    tf.keras.utils.set_random_seed(seed)
    if noise_seed is None and not promise.private:
        noise_seed = seed
    rng = None if noise_seed is None else np.random.default_rng(noise_seed)
    moments = Moments(codec.means, codec.covariances)
    if promise.release_share:
        moments = release(windows, codec, planned.query, promise, rng, workers)
    if promise.training_steps == 0:
        return Generator(codec, moments, seeded=rng is not None)
    own = {} if mechanism is None else {"mechanism": mechanism}
    recipe = _recipe(planned.kind, planned.joint)
    network, fake_loss = cgan.train(windows, codec, moments, promise, recipe, rng, name, workers, **own)
    return Generator(codec, moments, network, len(fake_loss), rng is not None, fake_loss)


def _check_together(workers: Workers, windows: Windows, planned: Plan, seed: int, noise_seed: int | None) -> None:
    """Raises ValueError if workers would not keep one promise together."""
    prior = joblib.hash((planned.joint, planned.query, planned.codec.means, planned.codec.covariances))
    workers.check(
        windows.people,
        f"{planned.promise}, kind {planned.kind!r}, {seed=}, {noise_seed=}, "
        f"prior and query {prior}, code {source_of('generators')}",
    )
    if not planned.promise.private:
        raise ValueError("epsilon=inf: workers train together under a promise only, for which sums are enough")


def train_all(
    names: Sequence[str],
    windows: Windows,
    planned: Plan,
    seed: int,
    folder: Path,
    origin: Origin,
    ledger: Ledger | None,
) -> None:
    """Trains a generator for each name, several side by side, and saves it; other arguments as of `train`.

    Args:
        names: of the people to leave out; a name that is nobody's leaves out none.
        windows: everybody's.
        planned: for everybody's number of units.
        folder: each generator goes into the file of its name in it.
        origin: of the generators.
        ledger: where each training is entered before it reads a window; None for people whom nobody was measured for.
    """
    alone = n_processes(len(names)) == 1  # several would write their progress over one another's
    arguments = (
        (windows.without(name), planned, seed, folder / f"{name}.npz", origin, ledger, name if alone else None)
        for name in names
    )
    for _ in one_core_each(_train_and_save, arguments, len(names), "generator", in_order=False):
        pass


def _train_and_save(
    windows: Windows, planned: Plan, seed: int, path: Path, origin: Origin, ledger: Ledger | None, name: str | None
) -> None:
    parent = os.getppid()
    if ledger is not None:
        # Before, not after: a training that is killed has spent.
        ledger.enter(windows.subjects, planned.promise, origin.key)
    generator = train(windows, planned, seed, name=name)
    if os.getppid() != parent:
        # Left behind by a run that was killed: another may be at work in the folder, under another promise.
        raise RuntimeError(f"{path}: the process that asked for this generator has ended")
    generator.save(path, origin)


def check_kind(kind: str) -> None:
    """Raises ValueError for a kind of generator that there is not."""
    if kind not in KINDS:
        raise ValueError(f"generator={kind!r}: expected {', '.join(map(repr, KINDS))}")


def prior_of(kind: str, cohort: Cohort) -> str:
    """Says in words where a kind of generator starts from, given a cohort."""
    return cohort.sentence if KINDS[kind].codec is DescriptorCodec else "none"


def codec_of(kind: str, prior: DescriptorCodec) -> Codec:
    """Returns the codec of a kind of generator, for windows like those of the prior's people."""
    own = KINDS[kind].codec
    return prior if own is DescriptorCodec else own(prior.signals, prior.window_seconds, prior.shares)


def n_weights(kind: str, codec: Codec, joint: bool) -> int:
    """Returns how many weights the discriminator has, to each of which noise is added; `joint` as in Plan."""
    return _recipe(kind, joint).discriminator(codec).count_params()


def _recipe(kind: str, joint: bool = False) -> Any:
    from wearsynth import cgan

    if KINDS[kind].published:
        return cgan.PUBLISHED_RECIPE
    return cgan.JOINT_RECIPE if joint else cgan.OWN_RECIPE
