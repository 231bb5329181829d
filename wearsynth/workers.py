"""Workers: processes, on one machine or several, that train one generator together, each on people of its own.

In each of them, before anything else is done with TensorFlow:

    os.environ["TF_CONFIG"] = (
        '{"cluster": {"worker": ["one:34567", "two:34567"]}, "task": {"type": "worker", "index": 0}}'
    )
    workers = Workers()
    generator = fit(windows, promise, workers=workers)

All of them end with the same generator (on unlike machines but for rounding: then keep the first one's). What a worker
tells the others is, before, how many units it has, and digests of its people's names; and for each release and each
step one sum over its people, clipped, to which the first one has added the noise. So the workers, and the network
between them, have to be trusted like the memory of one machine, and the promise is for whatever leaves them.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np


class Alone:
    """A process that has everybody's windows, and nobody to add up with."""

    is_first = True  # adds the noise

    def add_up(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Adds up each array over all workers, several in double precision; to be called by all of them.

        Returns:
            The sums, the same ones for every worker.
        """
        return list(values)

    def total(self, number: int) -> int:
        """Adds up a number over all workers, likewise."""
        return int(self.add_up([np.array(number)])[0])


ALONE = Alone()


class Workers(Alone):
    """The workers of TF_CONFIG, by TensorFlow's MultiWorkerMirroredStrategy: who they are, and which one this is.

    Raises:
        ValueError: TF_CONFIG names no workers, or this one has several GPUs.
    """

    def __init__(self):
        from wearsynth.quiet import tf  # takes seconds to import, and few need it

        strategy, replica = tf.distribute.MultiWorkerMirroredStrategy(), tf.distribute.get_replica_context
        if strategy.num_replicas_in_sync == 1:
            raise ValueError("TF_CONFIG names no two workers: a process alone needs none")
        if len(strategy.extended.worker_devices) > 1:
            raise ValueError("CUDA_VISIBLE_DEVICES: expected one GPU at most; each would add the same sum again")

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.float64)], autograph=False)
        def add_up(values):
            # An input must be on a device, for TensorFlow to know where its sum goes.
            return strategy.run(lambda: replica().all_reduce("SUM", tf.identity(values)))

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.int64)], autograph=False)
        def gather(values):
            return strategy.run(lambda: replica().all_gather(tf.identity(values), axis=0))

        place = tf.function(lambda: strategy.run(lambda: replica().replica_id_in_sync_group), autograph=False)
        self.is_first, self._add_up, self._gather = int(place()) == 0, add_up, gather

    def add_up(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """As of `Alone`."""
        arrays = [np.asarray(each, np.float64) for each in values]
        total = self._add_up(np.concatenate([each.ravel() for each in arrays])).numpy()
        parts = np.split(total, np.cumsum([each.size for each in arrays])[:-1])
        return [part.reshape(each.shape) for part, each in zip(parts, arrays)]

    def check(self, people: Sequence[str], settings: str) -> None:
        """Makes sure that all workers do the same with different people; to be called by all of them.

        Args:
            people: of this worker.
            settings: whatever must be alike.

        Raises:
            ValueError: settings differ, a worker has nobody, or a name is at two of them.
        """
        if len(set(self._gather(_digests([settings])).numpy())) > 1:
            raise ValueError(f"another worker has other settings than these: {settings}")
        if self._gather(np.array([len(people)])).numpy().min() == 0:
            raise ValueError("a worker has no windows: leave it out of TF_CONFIG")
        own = _digests(people)
        seen, times = np.unique(self._gather(own).numpy(), return_counts=True)
        if times.max() > 1:  # at whichever workers: all of them stop
            twice = [name for name, digest in zip(people, own) if digest in seen[times > 1]]
            raise ValueError(
                f"{', '.join(twice) or 'somebody'}: at two workers; all of a person's windows belong to one, and "
                "different people need different names"
            )


def _digests(texts: Sequence[str]) -> np.ndarray:
    """Numbers that stand for texts, (n,) int64."""
    digests = [blake2b(text.encode(), digest_size=8).digest() for text in texts]
    return np.frombuffer(b"".join(digests), np.int64)
