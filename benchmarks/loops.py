"""Other ways to train the same DCGAN, to compare `fit` with."""

import contextlib
import json
import subprocess
import sys

import keras
import tensorflow as tf


def _optimizers(*networks):
    optimizers = [keras.optimizers.Adam(2e-4, beta_1=0.5) for _ in networks]
    for optimizer, network in zip(optimizers, networks, strict=True):
        optimizer.build(network.trainable_variables)
    return optimizers


def _apply(optimizer, tape, loss, network):
    gradients = tape.gradient(loss, network.trainable_variables)
    optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))


class BareLoop:
    """The loop that one writes by hand over a DCGAN's networks.

    No metrics, no noise by seed, no callbacks.

    Args:
        model: `zoo.DCGAN` whose networks to train.
        update: `"alternate"`, or `"simultaneous"` after one shared forward pass.
    """

    def __init__(self, model, update):
        self.generator, self.discriminator = model.generator, model.discriminator
        self.latent_dim = model.latent_dim
        self.optimizers = _optimizers(self.generator, self.discriminator)
        self.step = tf.function(
            self._simultaneous_step
            if update == "simultaneous"
            else self._alternate_step
        )

    def _latents(self, images):
        return tf.random.normal([tf.shape(images)[0], self.latent_dim])

    def _alternate_step(self, images):
        generator, discriminator = self.generator, self.discriminator
        fake = generator(self._latents(images), training=True)
        with tf.GradientTape() as tape:
            loss = discriminator_loss(
                discriminator(images, training=True), discriminator(fake, training=True)
            )
        _apply(self.optimizers[1], tape, loss, discriminator)
        with tf.GradientTape() as tape:
            fake = generator(self._latents(images), training=True)
            loss = generator_loss(discriminator(fake, training=True))
        _apply(self.optimizers[0], tape, loss, generator)

    def _simultaneous_step(self, images):
        generator, discriminator = self.generator, self.discriminator
        with tf.GradientTape(persistent=True) as tape:
            fake = generator(self._latents(images), training=True)
            fake_logits = discriminator(fake, training=True)
            losses = (
                generator_loss(fake_logits),
                discriminator_loss(discriminator(images, training=True), fake_logits),
            )
        _apply(self.optimizers[1], tape, losses[1], discriminator)
        _apply(self.optimizers[0], tape, losses[0], generator)

    def run(self, dataset):
        """Trains on every batch."""
        for images in dataset:
            self.step(images)


def generator_loss(fake_logits):
    """Returns the non-saturating loss."""
    return tf.reduce_mean(tf.nn.softplus(-fake_logits))


def discriminator_loss(real_logits, fake_logits):
    """Returns the discriminator's cross entropy."""
    real = tf.reduce_mean(tf.nn.softplus(-real_logits))
    return real + tf.reduce_mean(tf.nn.softplus(fake_logits))


class TutorialModel(keras.Model):
    """The `train_step` of the usual Keras tutorial, over a DCGAN's networks.

    One concatenated batch of real and generated images for the discriminator, then a
    second batch of noise for the generator.
    """

    def __init__(self, model):
        super().__init__()
        self.generator, self.discriminator = model.generator, model.discriminator
        self.latent_dim = model.latent_dim
        self.entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        self.d_optimizer, self.g_optimizer = _optimizers(
            self.discriminator, self.generator
        )
        self.d_loss = keras.metrics.Mean(name="d_loss")
        self.g_loss = keras.metrics.Mean(name="g_loss")
        self.built = True

    def train_step(self, images):
        """Runs one step of both players."""
        count = tf.shape(images)[0]
        noise = tf.random.normal([count, self.latent_dim])
        fake = self.generator(noise, training=True)
        both = tf.concat([fake, images], axis=0)
        labels = tf.concat([tf.zeros([count, 1]), tf.ones([count, 1])], axis=0)
        with tf.GradientTape() as tape:
            logits = self.discriminator(both, training=True)[:, None]
            d_loss = self.entropy(labels, logits)
        _apply(self.d_optimizer, tape, d_loss, self.discriminator)
        noise = tf.random.normal([count, self.latent_dim])
        with tf.GradientTape() as tape:
            fake = self.generator(noise, training=True)
            logits = self.discriminator(fake, training=True)[:, None]
            g_loss = self.entropy(tf.ones([count, 1]), logits)
        _apply(self.g_optimizer, tape, g_loss, self.generator)
        self.d_loss.update_state(d_loss)
        self.g_loss.update_state(g_loss)
        return {"d_loss": self.d_loss.result(), "g_loss": self.g_loss.result()}


class Process(contextlib.AbstractContextManager):
    """A training in a process of its own, which takes turns with this one.

    Args:
        *command: Module to run and its arguments. It reads numbers of steps, a line
            each, trains for so many, and answers with a line.
    """

    def __init__(self, *command):
        self._process = subprocess.Popen(
            [sys.executable, "-m", *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.run(steps=2)

    def run(self, steps):
        """Trains for some steps and waits for their end."""
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args} ended early")
        return json.loads(answer)

    def __exit__(self, *unused):
        self._process.stdin.close()
        self._process.wait()
