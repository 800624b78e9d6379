"""Which rows are in which batch: a pure function of seed, epoch and batch number.

Nothing here counts. The order of epoch e is computed from `(seed, e)`, so that a
stream can start at any batch of any epoch, in any process, without reading what lies
before it, and be equal bit for bit to the stream that started at the beginning.
"""

import dataclasses
import os
from collections.abc import Callable

import tensorflow as tf

from zoo import rng
from zoo.images import from_uint8

# Streamed sets are shuffled through a buffer of this many undecoded images.
SHUFFLE_BUFFER = 10_000
# Batches that lie ready while a step runs.
_PREFETCHED = 4


def order(size, count, seed):
    """`count` row numbers: whole passes over `size` rows, each in its own order.

    Args:
        size: Number of rows there are.
        count: Number of rows wanted; the last pass is cut short to give that many.
        seed: Integer scalar.

    Returns:
        int32 `[count]`, each in 0…size-1.
    """
    passes = -(-count // size)
    keys = rng.random_bits(rng.fold_in(seed, tf.range(passes)), size)
    # The sort knows no unsigned integers; which order they have does not matter.
    ranks = tf.argsort(tf.bitcast(keys, tf.int64), axis=-1)
    return tf.reshape(ranks, [-1])[:count]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the rows of one set are cut into the batches of an epoch.

    Attributes:
        count: Rows an epoch.
        batch_size: Rows a batch; the last one has what remains.
        shuffle: Whether each epoch has its own order.
        seed: Integer that the order of every epoch derives from.
    """

    count: int
    batch_size: int
    shuffle: bool
    seed: tf.Tensor

    @property
    def steps(self):
        """Batches an epoch."""
        return -(-self.count // self.batch_size)

    @property
    def full_batches(self):
        """Whether every batch has `batch_size` rows."""
        return self.count % self.batch_size == 0


class InMemory:
    """Images that lie in memory and are looked up by row number."""

    def __init__(self, images, labels):
        self.images = tf.constant(images)
        self.labels = tf.constant(labels)
        self.size = len(images)

    def batches(self, plan, epoch, first):
        """Batches `first`, `first` + 1, … of `epoch`: uint8 images, int64 labels."""
        if plan.shuffle:
            rows = order(self.size, plan.count, rng.fold_in(plan.seed, epoch))
        else:
            rows = tf.range(plan.count) % self.size

        def look_up(batch):
            start = batch * plan.batch_size
            chosen = rows[start : start + plan.batch_size]
            if plan.full_batches:
                chosen = tf.ensure_shape(chosen, [plan.batch_size])
            return tf.gather(self.images, chosen), tf.gather(self.labels, chosen)

        return tf.data.Dataset.range(first, plan.steps).map(look_up)


class Streamed:
    """Images that are read and decoded as they are needed."""

    def __init__(self, records, decode, size):
        """Keeps how to read.

        Args:
            records: `tf.data.Dataset` of undecoded rows, always in the same order.
            decode: Function from such a row to uint8 `[H, W, C]` and an int64 label.
            size: Number of rows.
        """
        self.records = records
        self.decode = decode
        self.size = size

    def batches(self, plan, epoch, first):
        """Batches `first`, `first` + 1, … of `epoch`: uint8 images, int64 labels.

        The rows before `first` are read and dropped, but not decoded.
        """

        def one_pass(number):
            if not plan.shuffle:
                return self.records
            seed = rng.fold_in(rng.fold_in(plan.seed, epoch), number)
            # This function's graph gets a global seed of its own. That of the program
            # would have a say in the order, and at 0 TensorFlow refuses the tensor.
            tf.random.set_seed(1)
            return self.records.shuffle(
                SHUFFLE_BUFFER, seed=seed, reshuffle_each_iteration=False
            )

        return (
            tf.data.Dataset.range(-(-plan.count // self.size))
            .flat_map(one_pass)
            .take(plan.count)
            .skip(first * plan.batch_size)
            .map(self.decode, num_parallel_calls=os.cpu_count())
            .batch(plan.batch_size, drop_remainder=plan.full_batches)
        )


@dataclasses.dataclass(frozen=True)
class Schedule:
    """All batches of a data set, by epoch.

    Attributes:
        steps: Batches an epoch.
        batches: Function from epoch and batch number (int64 scalars) to the dataset
            of the batches of that epoch from that number on, images still uint8.
        seed: Seed of the plain dataset's reshuffling.
    """

    steps: int
    batches: Callable[[tf.Tensor, tf.Tensor], tf.data.Dataset]
    seed: int

    def one_epoch(self):
        """The finite dataset of one epoch, in another order at each iteration.

        `epochs` and `fit` know the dataset by its `zoo_schedule`, this schedule.
        """
        salts = tf.data.Dataset.random(self.seed, rerandomize_each_iteration=True)
        zero = tf.constant(0, tf.int64)
        dataset = salts.take(1).flat_map(lambda salt: self.batches(salt, zero))
        dataset = _finish(dataset, cardinality=self.steps)
        dataset.zoo_schedule = self
        return dataset

    def stream(self, epoch, batch):
        """The infinite dataset that starts at `batch` of `epoch`."""

        def batches(current):
            zero = tf.constant(0, tf.int64)
            return self.batches(current, tf.where(current == epoch, batch, zero))

        dataset = tf.data.Dataset.range(epoch, tf.int64.max).flat_map(batches)
        return _finish(dataset, cardinality=tf.data.INFINITE_CARDINALITY)


def _finish(dataset, cardinality):
    options = tf.data.Options()
    # Several workers: each cuts the global batch in the same way and takes its rows.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    # The thread that would tune the pipeline sleeps for 10 ms, 20 ms, 40 ms and so on,
    # and the end of an iterator waits for it to wake up: `fit` of 2.4 s took 5.1 s.
    options.autotune.enabled = False
    return (
        dataset.map(_pixels_to_float)
        .apply(tf.data.experimental.assert_cardinality(cardinality))
        .prefetch(_PREFETCHED)
        .with_options(options)
    )


def _pixels_to_float(*batch):
    batch = batch[0] if len(batch) == 1 else batch
    return tf.nest.map_structure(
        lambda part: from_uint8(part) if part.dtype == tf.uint8 else part, batch
    )


def epochs(dataset, epoch=0, batch=0):
    """The endless stream of batches of a dataset made by `load_data`.

    It starts at batch `batch` of epoch `epoch` and runs on through the epochs after
    it. Each epoch's order is a pure function of the dataset's `shuffle_seed` and the
    epoch's number, so that a resumed run sees exactly the batches that an
    uninterrupted one would have seen: the stream from `(e, b)` equals the stream from
    `(0, 0)` without its first `e * len(dataset) + b` batches. Only sets too large for
    memory are read from the epoch's start to get there.

    Iterating the dataset itself also gives another order each time, but not these.

    Args:
        dataset: What `load_data` returned, with nothing mapped or batched onto it.
        epoch: Number of the epoch to start in, from 0.
        batch: Number of the batch of that epoch to start at, from 0.

    Returns:
        An infinite `tf.data.Dataset` with the same kind of elements, or `None` if
        `dataset` does not come from `load_data`.

    Raises:
        ValueError: If `epoch` or `batch` is negative.
    """
    if epoch < 0 or batch < 0:
        raise ValueError(
            f"epoch and batch count from 0. Received: epoch={epoch}, batch={batch}"
        )
    schedule = getattr(dataset, "zoo_schedule", None)
    if schedule is None:
        return None
    whole_epochs, batch = divmod(batch, schedule.steps)
    with tf.device("CPU:0"):
        return schedule.stream(
            tf.constant(epoch + whole_epochs, tf.int64), tf.constant(batch, tf.int64)
        )
