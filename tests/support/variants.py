"""A tiny configuration of every variant, for the tests that all of them must pass."""

import dataclasses
from collections.abc import Callable

import zoo


@dataclasses.dataclass(frozen=True)
class Case:
    """A variant small enough to train in a moment.

    Attributes:
        name: What to call it in test reports.
        build: Returns the model; takes keyword arguments of the constructor.
        compile: Arguments of `compile`.
        data: Arguments of `zoo.load_data`.
        generates: Whether the model makes samples from latents.
        encodes: Whether calling the model encodes images and decodes them.
    """

    name: str
    build: Callable
    compile: dict = dataclasses.field(default_factory=dict)
    data: dict = dataclasses.field(default_factory=lambda: {"name": "digits"})
    generates: bool = True
    encodes: bool = False

    def load_data(self, batch_size=32):
        return zoo.load_data(**self.data, batch_size=batch_size)


def _gan(**kwargs):
    units = {"generator_units": (32,), "discriminator_units": (16,)}
    return zoo.GAN(image_shape=(28, 28, 1), latent_dim=8, seed=1, **units, **kwargs)


def _dcgan(**kwargs):
    filters = {"generator_filters": 4, "discriminator_filters": 4, "kernel_size": 3}
    return zoo.DCGAN(image_shape=(16, 16, 1), latent_dim=8, seed=1, **filters, **kwargs)


def _layer_dcgan(**kwargs):
    return _dcgan(discriminator_normalization="layer", **kwargs)


def _cgan(**kwargs):
    units = {"generator_units": (16, 8, 32), "discriminator_units": (16, 8, 16)}
    return zoo.CGAN(
        (28, 28, 1), num_classes=10, latent_dim=8, seed=1, **units, **kwargs
    )


def _convolutional_cgan(**kwargs):
    filters = {"generator_filters": 4, "discriminator_filters": 4, "kernel_size": 3}
    return zoo.CGAN(
        (16, 16, 1),
        num_classes=10,
        architecture="convolutional",
        latent_dim=8,
        seed=1,
        **filters,
        **kwargs,
    )


def _classifier(**kwargs):
    return zoo.Classifier((16, 16, 1), 10, filters=(4, 8), seed=1, **kwargs)


def _infogan(**kwargs):
    units = {"hidden_units": 128, "recognition_units": 8}
    filters = {"generator_filters": 16, "discriminator_filters": 4}
    return zoo.InfoGAN((16, 16, 1), latent_dim=8, seed=1, **units, **filters, **kwargs)


def _semi_supervised_gan(**kwargs):
    filters = {"generator_filters": 4, "discriminator_filters": 4, "kernel_size": 3}
    return zoo.SemiSupervisedGAN(
        (16, 16, 1), 10, "convolutional", latent_dim=8, seed=1, **filters, **kwargs
    )


def _semi_supervised_gan_mlp(**kwargs):
    units = {"generator_units": (16,), "discriminator_units": (16, 16)}
    return zoo.SemiSupervisedGAN((8, 8, 1), 10, latent_dim=8, seed=1, **units, **kwargs)


def _dann(**kwargs):
    widths = {"filters": (4, 4), "kernel_size": 3, "units": 8}
    return zoo.DANN((16, 16, 1), 10, seed=1, **widths, **kwargs)


def _dtn(**kwargs):
    widths = {"generator_filters": 4, "discriminator_filters": 4, "kernel_size": 3}
    return zoo.DTN(_classifier(), seed=1, **widths, **kwargs)


def _aae(**kwargs):
    form = {"form": "semi_supervised", "num_classes": 10, "posterior": "gaussian"}
    return zoo.AAE((8, 8, 1), latent_dim=4, units=(16,), seed=1, **form, **kwargs)


def _aae_labelled_prior(**kwargs):
    form = {"form": "labelled_prior", "num_classes": 10, "posterior": "universal"}
    form |= {"batch_normalization": True, "image_discriminator": True}
    form |= {"architecture": "convolutional", "filters": 4, "kernel_size": 3}
    return zoo.AAE(
        (16, 16, 1), prior="swiss_roll", units=(16,), seed=1, **form, **kwargs
    )


def _aae_cluster_heads(**kwargs):
    form = {"form": "clustering", "num_classes": 5, "cluster_heads": True}
    form |= {"batch_normalization": True, "joint_discriminator": True}
    form |= {"architecture": "convolutional", "filters": 4, "kernel_size": 3}
    return zoo.AAE((16, 16, 1), latent_dim=2, units=(16,), seed=1, **form, **kwargs)


def _vae(**kwargs):
    return zoo.VAE((8, 8, 1), prior="gaussian_mixture", units=(16,), seed=1, **kwargs)


_DIGITS_16 = {"name": "digits", "image_size": 16}
_TWO_DOMAINS = {**_DIGITS_16, "name": ("digits", "digits")}
_DIGITS_8 = {"name": "digits", "image_size": 8}

CASES = [
    Case("gan", _gan),
    Case("gan_k_steps", _gan, {"discriminator_steps": 2, "loss": "minimax"}),
    Case(
        "dcgan",
        _dcgan,
        {
            "averaging": 0.9,
            "label_smoothing": 0.1,
            "augmentation": "flip,color,translation,cutout",
        },
        _DIGITS_16,
    ),
    Case("dcgan_simultaneous", _dcgan, {"update": "simultaneous"}, _DIGITS_16),
    Case("dcgan_r1", _layer_dcgan, {"penalty": "r1"}, _DIGITS_16),
    Case("dcgan_feature_matching", _dcgan, {"loss": "feature_matching"}, _DIGITS_16),
    Case(
        "classifier",
        _classifier,
        {"flip": True, "label_smoothing": 0.1, "total_steps": 9},
        {**_DIGITS_16, "labels": True},
        generates=False,
    ),
    Case("dann", _dann, {"total_steps": 9}, _TWO_DOMAINS, generates=False),
    Case("dtn", _dtn, {"averaging": 0.9}, _TWO_DOMAINS, generates=False),
    Case("cgan", _cgan, {"discriminator_steps": 2}, {"name": "digits", "labels": True}),
    Case(
        "cgan_convolutional",
        _convolutional_cgan,
        {"averaging": 0.9},
        {**_DIGITS_16, "labels": True},
    ),
    Case("infogan", _infogan, {"averaging": 0.9}, _DIGITS_16),
    Case(
        "semi_supervised_gan",
        _semi_supervised_gan,
        {"averaging": 0.9, "input_noise": 0.3},
        {**_DIGITS_16, "labels": True},
    ),
    Case(
        "semi_supervised_gan_mlp",
        _semi_supervised_gan_mlp,
        {"averaging": 0.9, "input_noise": 0.3},
        {**_DIGITS_8, "labels": True},
    ),
    Case("aae", _aae, {"averaging": 0.9}, {**_DIGITS_8, "labels": True}, encodes=True),
    Case(
        "aae_labelled_prior",
        _aae_labelled_prior,
        {"image_weight": 2.0},
        {**_DIGITS_16, "labels": True},
        encodes=True,
    ),
    Case(
        "aae_cluster_heads",
        _aae_cluster_heads,
        {
            "averaging": 0.9,
            "input_noise": 0.3,
            "head_distance": 2.0,
            "consistency_weight": 2.0,
        },
        _DIGITS_16,
        encodes=True,
    ),
    Case("vae", _vae, {}, _DIGITS_8, encodes=True),
]
