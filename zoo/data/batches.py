"""How the batches of an epoch are made up: one function a kind of data set."""

import numpy as np
import tensorflow as tf

from zoo import rng
from zoo.data.schedule import InMemory, Plan, Schedule, order

# What a seed is for: a number each, so that no two kinds of data are drawn alike. (They
# and the noise in the first steps of a model of the same seed share random numbers.)
_GAUSSIAN, _SOURCE, _TARGET, _LABELLED, _CHOICE = range(5)


def gaussian(mean, std, size, batch_size, shuffle, seed):
    """Schedule of draws from N(mean, std²), float32 `[B, 1]`.

    Row i of epoch e is a function of `(seed, e, i)`. Without `shuffle` every epoch has
    the same draws, which no training epoch has.
    """
    plan = _plan("'gaussian'", size, batch_size, shuffle, seed, _GAUSSIAN)

    def batches(epoch, first):
        epoch_seed = rng.fold_in(plan.seed, epoch if shuffle else -1)

        def draw(batch):
            start = batch * batch_size
            rows = tf.range(start, tf.minimum(start + batch_size, plan.count))
            if plan.full_batches:
                rows = tf.ensure_shape(rows, [batch_size])
            return mean + std * rng.normal(rng.fold_in(epoch_seed, rows), 1)

        return tf.data.Dataset.range(first, plan.steps).map(draw)

    return Schedule(plan.steps, batches, seed)


def images(selection, batch_size, shuffle, seed, labels):
    """Schedule of images, or with `labels` of `(images, labels)`."""
    if labels:
        selection.check_labels("labels=True")
    if labels and shuffle:
        selection.warn_of_no_first_class()
    plan = _plan(selection.name, selection.size, batch_size, shuffle, seed, _SOURCE)
    rows = selection.rows()

    def batches(epoch, first):
        dataset = rows.batches(plan, epoch, first)
        return dataset if labels else dataset.map(lambda images, labels: images)

    return Schedule(plan.steps, batches, seed)


def domains(source, target, batch_size, shuffle, seed):
    """Schedule of `((source images, source labels), target images)`.

    An epoch is as long as the larger set.
    """
    source.check_labels("The source domain")
    if source.shape != target.shape:
        raise ValueError(
            "Two domains must have images of one shape: say image_size= and channels=. "
            f"Received: {source.name} with {source.shape} and {target.name} with "
            f"{target.shape}"
        )
    size = max(source.size, target.size)
    plans = [
        _plan(domain.name, domain.size, batch_size, shuffle, seed, use, size)
        for domain, use in ((source, _SOURCE), (target, _TARGET))
    ]
    rows = [source.rows(), target.rows()]

    def batches(epoch, first):
        pair = [rows[i].batches(plans[i], epoch, first) for i in range(2)]
        return tf.data.Dataset.zip(tuple(pair)).map(
            lambda source, target: (source, target[0])
        )

    return Schedule(plans[0].steps, batches, seed)


def semi_supervised(selection, batch_size, seed, labelled, share):
    """Schedule of `(images, labels)` with `labelled` labels kept and -1 elsewhere."""
    selection.check_labels("labelled=")
    selection.warn_of_no_first_class()
    if not selection.fits_memory:
        raise ValueError(
            "labelled= needs the images in memory, and these are too many: say a "
            f"smaller image_size= or a slice. Received: {selection.name} with "
            f"{selection.size} images of shape {selection.shape}"
        )
    known_rows = round(batch_size * share)
    if not 0 < known_rows < batch_size:
        raise ValueError(
            "A batch must have rows with and without labels. Received: "
            f"batch_size={batch_size}, labelled_share={share}"
        )
    size, others = selection.size, batch_size - known_rows
    if others > size:
        raise ValueError(
            f"There are fewer images than one batch takes: {selection.name} has "
            f"{size}. Received: batch_size={batch_size} with labelled_share={share}, "
            f"which takes {others}. Take a batch size of {int(size / (1 - share))} or "
            "less."
        )
    all_images, all_labels = selection.arrays()
    chosen = _balanced_choice(all_labels, labelled, rng.fold_in(seed, _CHOICE))
    known = InMemory(all_images[chosen], all_labels[chosen])
    whole = InMemory(all_images, np.full_like(all_labels, -1))

    whole_plan = _plan(selection.name, size, others, True, seed, _SOURCE)
    known_plan = Plan(
        count=whole_plan.steps * known_rows,
        batch_size=known_rows,
        shuffle=True,
        seed=rng.fold_in(seed, _LABELLED),
    )
    placement = _spread(known_rows, batch_size)

    def mix(known, whole):
        """Places the rows of (images, labels) of both."""
        return tuple(
            tf.gather(tf.concat(parts, axis=0), placement)
            for parts in zip(known, whole, strict=True)
        )

    def batches(epoch, first):
        pair = (
            known.batches(known_plan, epoch, first),
            whole.batches(whole_plan, epoch, first),
        )
        return tf.data.Dataset.zip(pair).map(mix)

    return Schedule(whole_plan.steps, batches, seed)


def _plan(name, size, batch_size, shuffle, seed, use, epoch_size=None):
    """Plan of an epoch of `epoch_size` rows, `size` if not given."""
    if shuffle and batch_size > size:
        raise ValueError(
            f"There are fewer images than one batch takes: {name} has {size}. "
            f"Received: batches of {batch_size}. Take a batch size of {size} or less."
        )
    count = epoch_size or size
    if shuffle:
        count -= count % batch_size
    return Plan(count, batch_size, shuffle, rng.fold_in(seed, use))


def _balanced_choice(labels, count, seed):
    """Row numbers of `count` labelled images, the same number of each class."""
    classes = int(labels.max()) + 1
    if not classes:
        raise ValueError(
            f"labelled={count} asks for labels, and no image here has one: all are -1."
        )
    if count < 1 or count % classes:
        raise ValueError(
            f"labelled must be a multiple of the {classes} classes, to keep the same "
            f"number of labels of each. Received: labelled={count}"
        )
    each = count // classes
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    rarest = int(counts.argmin())
    if each > counts[rarest]:
        raise ValueError(
            f"labelled may be at most {classes * counts[rarest]}: of the {classes} "
            f"classes each gives as many, and of class {rarest} there are "
            f"{counts[rarest]}. Received: labelled={count}"
        )
    rows = order(len(labels), len(labels), seed).numpy()
    return np.concatenate([rows[labels[rows] == k][:each] for k in range(classes)])


def _spread(some, total):
    """Where to take each row of a batch from so that `some` rows lie evenly in it.

    A batch is split over replicas by rows. The labelled ones side by side would all go
    to the first replica.

    Returns:
        int `[total]`: for each row its index in the `some` rows followed by the rest.
    """
    steps = np.arange(total + 1) * some // total
    is_some = np.diff(steps).astype(bool)
    return np.where(is_some, np.cumsum(is_some) - 1, some + np.cumsum(~is_some) - 1)
