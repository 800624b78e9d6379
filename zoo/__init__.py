"""GAN models for Keras 3: from a paper to a trained generator."""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "The zoo trains under TensorFlow and Keras runs on "
        f"{keras.backend.backend()!r}. Set the environment variable "
        "KERAS_BACKEND=tensorflow before Python starts, or remove the other backend "
        "from ~/.keras/keras.json."
    )

from zoo import layers, losses, priors, rng
from zoo.dcgan import DCGAN
from zoo.gan import GAN

__all__ = ["DCGAN", "GAN", "layers", "losses", "priors", "rng"]
