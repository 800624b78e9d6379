"""GAN models for Keras 3: from a paper to a trained generator."""

import os
import sys

# TensorFlow's C++ says which CUDA libraries and CPU instructions it did not find. It is
# silenced, for errors of consequence are exceptions anyway; set the variable to 0 to
# read it all. What it says before it has looked at the variable comes all the same.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

try:
    import keras  # And the backend that it is told to take, which may not be there.

    if keras.backend.backend() != "tensorflow":
        raise ImportError(f"Keras runs on {keras.backend.backend()!r}")
    if keras.config.image_data_format() != "channels_last":
        raise ImportError("image_data_format is 'channels_first'")
except (ImportError, ValueError) as error:
    message = (
        "The zoo trains under TensorFlow, with channels last. Set the environment "
        "variable KERAS_BACKEND=tensorflow before Python starts, or name tensorflow "
        f"and channels_last in ~/.keras/keras.json. Received: {error}"
    )
    # While Python looks for the module of `python -m`, the program has this name.
    if sys.argv[0] == "-m" and {"zoo", "export"} & set(sys.orig_argv):
        sys.exit(f"Error: {message}")
    raise ImportError(message) from None

from zoo import (
    callbacks,
    conditions,
    latent,
    layers,
    losses,
    metrics,
    one_dimensional,
    plots,
    priors,
    rng,
)
from zoo.aae import AAE
from zoo.cgan import CGAN
from zoo.classifier import Classifier
from zoo.dann import DANN
from zoo.data import load_data
from zoo.dcgan import DCGAN
from zoo.distribution import strategy
from zoo.dtn import DTN
from zoo.gan import GAN
from zoo.infogan import InfoGAN
from zoo.model import Model
from zoo.presets import list_presets
from zoo.semi_supervised_gan import SemiSupervisedGAN
from zoo.vae import VAE
from zoo.version import __version__

from_preset = Model.from_preset

__all__ = [
    "AAE",
    "CGAN",
    "DANN",
    "DCGAN",
    "DTN",
    "GAN",
    "VAE",
    "Classifier",
    "InfoGAN",
    "Model",
    "SemiSupervisedGAN",
    "__version__",
    "callbacks",
    "conditions",
    "from_preset",
    "latent",
    "layers",
    "list_presets",
    "load_data",
    "losses",
    "metrics",
    "one_dimensional",
    "plots",
    "priors",
    "rng",
    "strategy",
]
