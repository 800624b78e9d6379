"""Speed of training: `python -m benchmarks.train`.

Every figure is a ratio of two things timed in turn in one process, round by round, and
the median of the rounds: machines are noisy, ratios less so.
"""

import json
import os
import platform
import resource
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import keras
import numpy as np
import tensorflow as tf

import zoo


def batches(batch_size, image_shape=(28, 28, 1), steps=1):
    """Random images that lie ready, so that the input costs nothing."""
    images = np.random.default_rng(0).uniform(-1, 1, (batch_size, *image_shape))
    dataset = tf.data.Dataset.from_tensors(tf.constant(images, tf.float32))
    return dataset.cache().repeat(steps)


class BareLoop:
    """The loop that one writes by hand over a DCGAN's networks.

    No metrics, no noise by seed, no callbacks; alternate updates or one shared forward
    pass.
    """

    def __init__(self, model, simultaneous):
        self.generator, self.discriminator = model.generator, model.discriminator
        self.latent_dim = model.latent_dim
        self.optimizers = [keras.optimizers.Adam(2e-4, beta_1=0.5) for _ in range(2)]
        for optimizer, network in zip(
            self.optimizers, (self.generator, self.discriminator), strict=True
        ):
            optimizer.build(network.trainable_variables)
        step = self._simultaneous_step if simultaneous else self._alternate_step
        self.step = tf.function(step)

    def _latents(self, images):
        return tf.random.normal([tf.shape(images)[0], self.latent_dim])

    def _alternate_step(self, images):
        generator, discriminator = self.generator, self.discriminator
        fake = generator(self._latents(images), training=True)
        with tf.GradientTape() as tape:
            loss = discriminator_loss(
                discriminator(images, training=True), discriminator(fake, training=True)
            )
        self._apply(1, tape, loss, discriminator)
        with tf.GradientTape() as tape:
            fake = generator(self._latents(images), training=True)
            loss = generator_loss(discriminator(fake, training=True))
        self._apply(0, tape, loss, generator)

    def _simultaneous_step(self, images):
        generator, discriminator = self.generator, self.discriminator
        with tf.GradientTape(persistent=True) as tape:
            fake = generator(self._latents(images), training=True)
            fake_logits = discriminator(fake, training=True)
            losses = (
                generator_loss(fake_logits),
                discriminator_loss(discriminator(images, training=True), fake_logits),
            )
        self._apply(1, tape, losses[1], discriminator)
        self._apply(0, tape, losses[0], generator)

    def _apply(self, number, tape, loss, network):
        gradients = tape.gradient(loss, network.trainable_variables)
        self.optimizers[number].apply_gradients(
            zip(gradients, network.trainable_variables, strict=True)
        )

    def run(self, dataset):
        for images in dataset:
            self.step(images)


def generator_loss(fake_logits):
    return tf.reduce_mean(tf.nn.softplus(-fake_logits))


def discriminator_loss(real_logits, fake_logits):
    real = tf.reduce_mean(tf.nn.softplus(-real_logits))
    return real + tf.reduce_mean(tf.nn.softplus(fake_logits))


def seconds_of(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def fit_against_bare_loop(filters, batch_size, update, steps, rounds):
    """Times `fit` and the hand-written loop in turn.

    Returns:
        Dict with the medians: milliseconds a step of each, and `ratio`, the speed of
        `fit` as a share of the loop's.
    """
    sizes = {"generator_filters": 2 * filters, "discriminator_filters": filters}
    models = [zoo.DCGAN((28, 28, 1), seed=0, **sizes) for _ in range(2)]
    models[0].compile(update=update)
    loop = BareLoop(models[1], simultaneous=update == "simultaneous")
    warm, dataset = batches(batch_size, steps=2), batches(batch_size, steps=steps)
    models[0].fit(warm, verbose=0)
    loop.run(warm)
    pairs = []
    for number in range(rounds):
        timed = [
            ("fit", lambda: models[0].fit(dataset, verbose=0)),
            ("loop", lambda: loop.run(dataset)),
        ]
        # Whoever comes second meets a warmer machine, so they take turns.
        pairs.append(
            {name: seconds_of(run) for name, run in timed[:: 1 if number % 2 else -1]}
        )
    return {
        "update": update,
        "filters": filters,
        "batch_size": batch_size,
        "fit_ms": 1e3 * statistics.median(pair["fit"] for pair in pairs) / steps,
        "loop_ms": 1e3 * statistics.median(pair["loop"] for pair in pairs) / steps,
        "ratio": statistics.median(pair["loop"] / pair["fit"] for pair in pairs),
    }


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Interleaved rounds.")
@click.option("--steps", default=30, show_default=True, help="Steps a round.")
@click.option("--filters", default=32, show_default=True, help="Width of the DCGAN.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines only.")
def main(rounds, steps, filters, as_json):
    """Time `fit` against a bare hand-written loop over the same networks."""
    if not as_json:
        click.echo(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
            f"TensorFlow {tf.__version__}, Keras {keras.__version__}; DCGAN 28×28, "
            f"{2 * filters} and {filters} filters; medians of {rounds} rounds of "
            f"{steps} steps\n\n"
            f"{'update':<14}{'batch':>6}{'fit':>10}{'bare loop':>12}{'fit / loop':>12}"
        )
    for update in ("alternate", "simultaneous"):
        for batch_size in (32, 128):
            row = fit_against_bare_loop(filters, batch_size, update, steps, rounds)
            if as_json:
                click.echo(json.dumps(row))
            else:
                click.echo(
                    f"{update:<14}{batch_size:>6}{row['fit_ms']:>7.1f} ms"
                    f"{row['loop_ms']:>9.1f} ms{row['ratio']:>12.3f}"
                )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if not as_json:
        click.echo(f"\npeak memory {peak:.1f} GiB")


if __name__ == "__main__":
    main()
