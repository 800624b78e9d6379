"""What models that turn latents into samples share: prior, averaging, generating."""

import keras
import numpy as np
import tensorflow as tf

from zoo import priors
from zoo.model import Model


class GenerativeModel(Model):
    """A model that draws latents from a prior and decodes them.

    Attributes:
        decoder_name: Attribute that holds the network from latents to samples.

    Args:
        prior: A `zoo.priors.Prior` or its name.
        latent_dim: Length of a latent row; None takes it from the prior.
        **kwargs: Arguments of `zoo.model.Model`.
    """

    decoder_name = "generator"

    def __init__(self, *, prior, latent_dim, **kwargs):
        super().__init__(**kwargs)
        self.prior = priors.get(prior, latent_dim)
        self.latent_dim = self.prior.width
        self.averaging = None
        self.averaged_generator = None

    def _decoder(self):
        """Returns the network, as trained, that decodes latents."""
        return getattr(self, self.decoder_name)

    def decoder_in_use(self):
        """Returns the network that `generate` uses: the averaged one, if there is."""
        return self.averaged_generator or self._decoder()

    def networks(self):
        """See `Model.networks`; the averaged decoder stands for the trained one."""
        return {**super().networks(), self.decoder_name: self.decoder_in_use()}

    # Averaging

    def _average_decoder(self, averaging):
        """Creates or drops the averaged copy, for `compile(averaging=)`."""
        if averaging is not None and not 0 < averaging < 1:
            raise ValueError(
                "averaging is the decay of the averaged weights, between 0 and 1, such "
                f"as 0.999, or None. Received: averaging={averaging}"
            )
        self.averaging = averaging
        if averaging is None:
            self.averaged_generator = None
            return
        with self.distribute_strategy.scope():
            copy = keras.models.clone_model(self._decoder())
            copy.set_weights(self._decoder().get_weights())
            copy.trainable = False
            self.averaged_generator = copy

    def _update_average(self):
        """Moves the averaged weights and statistics towards the decoder's.

        The decay grows from 0.1 to `averaging`, so that the random initial weights do
        not linger.
        """
        if self.averaging is None:
            return
        step = tf.cast(self.steps.value, tf.float32)
        share = 1.0 - tf.minimum(self.averaging, (1.0 + step) / (10.0 + step))

        def move(average, value):
            average.assign_add(tf.cast(share, value.dtype) * (value - average))

        def move_all(strategy):
            for average, variable in zip(
                self.averaged_generator.weights, self._decoder().weights, strict=True
            ):
                strategy.extended.update(
                    average.value, move, args=(variable.value,), group=False
                )

        # Mirrored variables are assigned in one place, for all replicas.
        tf.distribute.get_replica_context().merge_call(move_all)

    def end_step(self, **values):
        """See `Model.end_step`; averages the decoder as well."""
        self._update_average()
        return super().end_step(**values)

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
        # Training steps count up from 0, so tests take the negative numbers.
        step = -1 - self._evaluated_batches.value
        seeds, _ = self.row_seeds(count, stream=0, step=step)
        self._evaluated_batches.assign_add(1)
        return self.prior.sample(seeds)

    def call(self, inputs, training=False):
        """Decodes latents `[n, latent_dim]` into samples in [-1, 1]."""
        network = self._decoder() if training else self.decoder_in_use()
        return network(inputs, training=training)

    def generate(self, n=None, seed=0, *, seeds=None, batch_size=256):
        """Generates samples, one for each seed.

        The sample of a seed does not depend on the others it is generated with.

        Args:
            n: How many; they take the seeds `seed` ... `seed + n - 1`.
            seed: First seed.
            seeds: Integers to use instead of `n` and `seed`.
            batch_size: Rows computed at once, which bounds memory.

        Returns:
            float32 numpy array of shape `[n, *sample_shape]`; images are in [-1, 1].

        Raises:
            ValueError: If neither or both of `n` and `seeds` are given.
        """
        seeds = seeds_of(n, seed, seeds)
        return self._in_batches(
            lambda rows: self(self.prior.sample(rows)), [seeds], batch_size
        )

    @staticmethod
    def _in_batches(function, arrays, batch_size):
        """Concatenates `function` of slices of the arrays, as numpy."""
        count = len(arrays[0])
        if count == 0:
            empty = function(*(tf.constant(array[:0]) for array in arrays))
            return empty.numpy()
        return np.concatenate(
            [
                function(*(tf.constant(a[i : i + batch_size]) for a in arrays)).numpy()
                for i in range(0, count, batch_size)
            ]
        )

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "prior": keras.saving.serialize_keras_object(self.prior),
            "latent_dim": self.latent_dim,
        }


def seeds_of(n, seed, seeds):
    """Resolves the arguments of `generate` to an int64 numpy array of seeds."""
    if (n is None) == (seeds is None):
        raise ValueError(f"Pass either n or seeds. Received: n={n}, seeds={seeds}")
    if seeds is not None:
        seeds = np.asarray(seeds)
        if seeds.ndim != 1 or (seeds.size and seeds.dtype.kind not in "iu"):
            raise ValueError(
                "seeds is a list of integers. "
                f"Received: shape {seeds.shape}, dtype {seeds.dtype}"
            )
        return seeds.astype(np.int64)
    if n < 0:
        raise ValueError(f"n is the number of samples. Received: n={n}")
    return np.arange(seed, seed + n, dtype=np.int64)
