"""What models that turn latents into samples share: prior and generating."""

import math
import numbers

import keras
import numpy as np

from zoo import checks, priors, rng
from zoo.averaging import AveragedModel


class GenerativeModel(AveragedModel):
    """A model that draws latents from a prior and decodes them.

    Args:
        prior: A `zoo.priors.Prior` or its name.
        latent_dim: Length of a latent row; None takes it from the prior, whose name
            stands for one of `default_latent_dim` where it leaves a choice.
        **kwargs: Arguments of `zoo.model.Model`.
    """

    #: Length of a latent row where no argument says it.
    default_latent_dim = None

    def __init__(self, *, prior, latent_dim, **kwargs):
        super().__init__(**kwargs)
        self.prior = priors.get(prior, latent_dim, self.default_latent_dim)
        self.latent_dim = self.prior.width

    # Drawing

    def draw_latents(self, count, stream):
        """Draws this replica's latents of the current training step.

        Args:
            count: Rows of this replica.
            stream: Integer that tells apart the draws of one step.

        Returns:
            float32 tensor of shape `[count, latent_dim]`.
        """
        seeds, rows = self.row_seeds(count, stream)
        replicas = self.distribute_strategy.num_replicas_in_sync
        return self.prior.sample_batch(seeds, rows, count * replicas)

    def draw_test_latents(self, count):
        """Draws this replica's latents of the current batch of `evaluate`."""
        seeds, _ = self.test_row_seeds(count)
        return self.prior.sample(seeds)

    # Generating

    @property
    def conditions(self):
        """Dict from name to `zoo.conditions.Condition`: what the decoder is told.

        In the order of the decoder's inputs, behind the latents.
        """
        return {}

    @property
    def condition_specs(self):
        """Dict from each condition's name to the `tf.TensorSpec` of a batch of it."""
        return {name: condition.spec for name, condition in self.conditions.items()}

    def complete(self, given, seeds):
        """Returns valid conditions, drawing those missing or invalid.

        Args:
            given: Dict from a condition's name to its values, each `[n, ...]`.
            seeds: int64 tensor `[n]`, the seeds to draw from.

        Returns:
            Dict of a tensor for each of `conditions`, in their order.

        Raises:
            ValueError: If one is missing that can't be drawn.
        """
        completed = {}
        for number, (name, condition) in enumerate(self.conditions.items()):
            # Latents are drawn from the seeds themselves.
            own = rng.fold_in(seeds, 1 + number)
            if name in given:
                completed[name] = condition.complete(given[name], own)
            elif condition.anything is None:
                raise ValueError(
                    f"{type(self).__name__} can't draw {name}: pass them beside the "
                    f"latents. Received: {sorted(given)}"
                )
            else:
                completed[name] = condition.draw(own)
        return completed

    @property
    def call_names(self):
        """Names of what `call` takes; only the first has to be there."""
        return ["latents", *self.conditions]

    def call(self, latents, *conditions, training=False, **named):
        """Decodes latents, and conditions where the model takes them.

        Args:
            latents: Latents `[n, latent_dim]`; or, for what hands on one argument, such
                as `predict`, a list of latents and conditions, or a dict of them.
            *conditions: Conditions in the order of `conditions`. Those that are missing
                or invalid, such as a label of -1, are drawn by the row's latents.
            training: Whether to use the decoder as it is trained: its batch statistics,
                and not its average.
            **named: Conditions by name.

        Returns:
            Samples `[n, *sample_shape]` in [-1, 1].
        """
        inputs = by_name(self.call_names, latents, *conditions, **named)
        if not training:
            return self.decode_rows(**inputs)
        latents = inputs["latents"]
        conditions = self.complete(inputs, rng.seeds_from(latents))
        return self._decoder()(join(latents, [*conditions.values()]), training=True)

    def predict_step(self, data):
        """See `keras.Model.predict_step`.

        Raises:
            ValueError: If conditions come as Keras's targets, which it leaves out.
        """
        first, *conditions = self.call_names
        if conditions and isinstance(data, tuple) and len(data) > 1:
            raise ValueError(
                f"predict takes {first} alone, or a list or dict of them and the "
                f"{', '.join(conditions)}. Received a tuple, whose second part "
                "Keras would leave out: map it to a dict."
            )
        return super().predict_step(data)

    def decode_rows(self, latents, **conditions):
        """Decodes tensors: what `call` and `decode` compute; never an error.

        Args:
            latents: float32 tensor `[n, latent_dim]`.
            **conditions: Tensor for each of `decoder_conditions`. Those missing or
                invalid are drawn by the row's latents.

        Returns:
            Samples `[n, *sample_shape]` in [-1, 1].
        """
        if self.decoder_conditions:
            conditions = self.complete(conditions, rng.seeds_from(latents))
        inputs = self.decoder_inputs(latents, **conditions)
        return self.decoder_in_use()(inputs, training=False)

    def sample_prior(self, seeds, **conditions):
        """Draws latents `[n, latent_dim]` by seeds, under valid conditions."""
        del conditions
        return self.prior.sample(seeds)

    def decoder_inputs(self, latents, **conditions):
        """Returns what the decoder takes for latents and valid conditions."""
        return join(latents, list(conditions.values()))

    @property
    def decoder_conditions(self):
        """Those of `conditions` that the decoder is told, and not the prior alone."""
        return self.conditions

    def decode(self, latents, batch_size=256, **conditions):
        """Decodes latents.

        Args:
            latents: Array `[n, latent_dim]`.
            batch_size: Rows computed at once, which bounds memory.
            **conditions: `decoder_conditions` by name, as `generate` takes them, but
                drawn by the row's latents where they are left open.

        Returns:
            float32 numpy array of shape `[n, *sample_shape]`; images are in [-1, 1].

        Raises:
            ValueError: If the latents are of another width, or a condition is unknown,
                missing, of another shape, or out of range.
        """
        latents = np.asarray(latents, np.float32)
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim:
            raise ValueError(
                f"Expected latents of shape [n, {self.latent_dim}]. "
                f"Received: shape {list(latents.shape)}"
            )
        return self._conditioned_batches(
            self.decode_rows, latents, self.decoder_conditions, conditions, batch_size
        )

    def draw(self, seeds, **conditions):
        """Decodes the latents of seeds: what `generate` and the signatures compute.

        Args:
            seeds: int64 tensor `[n]`.
            **conditions: Tensor `[n, ...]` for each of `conditions`; values that are
                invalid, such as a label of -1, are drawn from the row's seed.

        Returns:
            Samples `[n, *sample_shape]` in [-1, 1].
        """
        conditions = self.complete(conditions, seeds)
        latents = self.sample_prior(seeds, **conditions)
        inputs = self.decoder_inputs(latents, **conditions)
        return self.decoder_in_use()(inputs, training=False)

    def generate(self, n=None, seed=0, *, seeds=None, batch_size=256, **conditions):
        """Generates samples, one for each seed.

        The sample of a seed does not depend on the others it is generated with.

        Args:
            n: How many; they take the seeds `seed` ... `seed + n - 1`.
            seed: First seed.
            seeds: Integers to use instead of `n` and `seed`.
            batch_size: Rows computed at once, which bounds memory.
            **conditions: For a conditional model, its `conditions` by name: a row's
                value for each row, or one for all. `labels=[3, 7]` asks for these
                classes; a label of -1, or no labels, for any, drawn from the row's
                seed. A code of NaN likewise.

        Returns:
            float32 numpy array of shape `[n, *sample_shape]`; images are in [-1, 1].

        Raises:
            ValueError: If neither or both of `n` and `seeds` are given, or a condition
                is unknown, missing, of another shape, or out of range.
        """
        if (n is None) == (seeds is None):
            raise ValueError(f"Pass either n or seeds. Received: n={n}, seeds={seeds}")
        seeds = checked_seeds(seeds) if n is None else consecutive_seeds(n, seed)
        return self._conditioned_batches(
            self.draw, seeds, self.conditions, conditions, batch_size
        )

    def checked_conditions(self, conditions, count, known=None):
        """Checks a user's conditions.

        Args:
            conditions: Dict from a condition's name to its values.
            count: Number of rows.
            known: Dict of those that may be given; None for `conditions`.

        Returns:
            Dict of a numpy array for each known condition, with `count` rows.

        Raises:
            ValueError: If a condition is unknown, missing, of another shape, or out of
                range.
        """
        known = self.conditions if known is None else known
        if unknown := sorted(set(conditions) - set(known)):
            raise ValueError(
                f"This {type(self).__name__} takes {list(known) or 'no conditions'} "
                f"here. Received: {', '.join(unknown)}"
            )
        return {
            name: condition.checked(name, conditions.get(name), count)
            for name, condition in known.items()
        }

    def _conditioned_batches(self, function, rows, known, conditions, batch_size):
        given = self.checked_conditions(conditions, len(rows), known)
        return self._in_batches(
            lambda part, *values: function(
                part, **dict(zip(given, values, strict=True))
            ),
            [rows, *given.values()],
            batch_size,
        )

    def sample_grid(self, n=64, seed=0, columns=None, **conditions):
        """Generates what a picture of samples shows.

        A model of classes fills a row from one seed, with one class a column; or, where
        few classes would make a thin strip, from several, with as many columns side by
        side for each class. Any other model, and a single class, take a seed a sample.

        Args:
            n: How many samples. With a class a column, as many whole rows as fit, and
                one at least.
            seed: First seed.
            columns: Samples a row; None for one of each class, of few classes several,
                or of one class, or without any, for a square grid.
            **conditions: As `generate` takes them; `labels` are those of the columns.

        Returns:
            Tuple of the samples, as from `generate`, and the number of columns.

        Raises:
            ValueError: If `n` or `columns` is no number of 1 or more, or a condition is
                wrong.
        """
        n = checks.count("n", n)
        columns = checks.optional(checks.count, "columns", columns)
        if not np.size(conditions.get("labels", 0)):
            raise ValueError("Expected a label or more. Received: labels=[]")
        classes = self.conditions.get("labels")
        of_one = np.size(conditions.get("labels", ())) == 1
        if classes is None or columns is not None or of_one:
            if "labels" in conditions:
                labels = np.ravel(conditions["labels"])
                conditions["labels"] = np.resize(labels, n)
            columns = columns or math.ceil(math.sqrt(n))
            return self.generate(n, seed, **conditions), columns
        labels = np.ravel(conditions.pop("labels", np.arange(classes.num_classes)))
        each = max(1, math.isqrt(n) // len(labels))
        columns = each * len(labels)
        rows = max(1, n // columns)
        seeds = consecutive_seeds(rows * each, seed).reshape(rows, each)
        samples = self.generate(
            seeds=np.tile(seeds, len(labels)).ravel(),
            labels=np.tile(np.repeat(labels, each), rows),
            **conditions,
        )
        return samples, columns

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "prior": keras.saving.serialize_keras_object(self.prior),
            "latent_dim": self.latent_dim,
        }


def by_name(names, first, /, *others, **named):
    """Returns what a model is called with as a dict.

    Args:
        names: List of all names.
        first: The first input alone, a list of inputs in the order of their names, or a
            dict; only the first has to be there.
        *others: Inputs behind the first.
        **named: Inputs by name.

    Raises:
        ValueError: If the first is missing, or there are others than the names, or one
            twice.
    """
    pairs = [*named.items()]
    if isinstance(first, dict):
        first, pairs = [], [*first.items(), *pairs]
    listed = [*(first if isinstance(first, (list, tuple)) else [first]), *others]
    given = dict([*zip(names, listed, strict=False), *pairs])
    count = len(listed) + len(pairs)
    if names[0] not in given or set(given) - set(names) or len(given) < count:
        raise ValueError(
            f"Expected {names[0]}, alone or with others of {names[1:]}, in order or by "
            f"name. Received: {len(listed)} in order, and {[name for name, _ in pairs]}"
        )
    return given


def join(first, conditions):
    """Forms a network's input: one tensor, or a list with the conditions behind it."""
    return [first, *conditions] if conditions else first


def checked_seeds(seeds):
    """Returns seeds that a user gives, integers `[n]`, as an int64 numpy array.

    Raises:
        ValueError: If they are no list of integers of 64 bits.
    """
    seeds = np.asarray(seeds)
    # Without seeds the dtype says nothing.
    if seeds.ndim != 1 or (
        seeds.size and (seeds.dtype.kind not in "iu" or seeds.max() >= 2**63)
    ):
        raise ValueError(
            "seeds is a list of integers of 64 bits, from -2**63 to 2**63 - 1. "
            f"Received: {seeds!r}"
        )
    return seeds.astype(np.int64)


def consecutive_seeds(n, seed):
    """Returns the seeds `seed` ... `seed + n - 1` as an int64 numpy array.

    Raises:
        ValueError: If n is no integer from 0 on, or a seed none of 64 bits.
    """
    for name, value in (("n", n), ("seed", seed)):
        if not isinstance(value, numbers.Integral):
            raise ValueError(f"{name} is an integer. Received: {name}={value!r}")
    if n < 0:
        raise ValueError(f"n is the number of samples. Received: n={n}")
    if not -(2**63) <= seed <= 2**63 - max(int(n), 1):
        raise ValueError(f"Seeds have 64 bits. Received: seed={seed}, n={n}")
    return np.int64(seed) + np.arange(n, dtype=np.int64)
