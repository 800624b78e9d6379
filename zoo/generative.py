"""What models that turn latents into samples share: prior and generating."""

import keras
import numpy as np

from zoo import priors
from zoo.averaging import AveragedModel


class GenerativeModel(AveragedModel):
    """A model that draws latents from a prior and decodes them.

    Args:
        prior: A `zoo.priors.Prior` or its name.
        latent_dim: Length of a latent row; None takes it from the prior.
        **kwargs: Arguments of `zoo.model.Model`.
    """

    def __init__(self, *, prior, latent_dim, **kwargs):
        super().__init__(**kwargs)
        self.prior = priors.get(prior, latent_dim)
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
