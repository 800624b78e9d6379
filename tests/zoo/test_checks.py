"""What constructors refuse with one clear error, and what they take."""

import json

import numpy as np
import pytest

import zoo

IMAGES = (28, 28, 1)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: zoo.GAN(IMAGES, generator_units=256), "generator_units=256"),
        (lambda: zoo.GAN(IMAGES, generator_units="256"), "generator_units='256'"),
        (lambda: zoo.GAN(IMAGES, discriminator_units=(8, 0)), r"units=\(8, 0\)"),
        (lambda: zoo.GAN(IMAGES, latent_dim="100"), "latent_dim='100'"),
        (lambda: zoo.DCGAN(IMAGES, generator_filters=0), "generator_filters=0"),
        (lambda: zoo.DCGAN(IMAGES, hidden_units=0), "hidden_units=0"),
        (lambda: zoo.DCGAN(IMAGES, start_size="7"), "start_size='7'"),
        (lambda: zoo.CGAN(IMAGES, num_classes="10"), "num_classes='10'"),
        (lambda: zoo.InfoGAN(IMAGES, recognition_stddev="1"), "_stddev='1'"),
        (lambda: zoo.AAE(IMAGES, units=1000), "units=1000"),
        (lambda: zoo.AAE(IMAGES, form="supervised", num_classes=0), "num_classes=0"),
        (lambda: zoo.AAE(IMAGES, batch_normalization="no"), "normalization='no'"),
        (lambda: zoo.VAE(IMAGES, units=(None,)), r"units=\(None,\)"),
        (lambda: zoo.Classifier(IMAGES, num_classes="10"), "num_classes='10'"),
        (lambda: zoo.Classifier(IMAGES, 10, filters=32), "filters=32"),
        (lambda: zoo.DANN(IMAGES, 10, filters=32), "filters=32"),
        (lambda: zoo.DTN(kernel_size=2.5), r"kernel_size=2\.5"),
        (lambda: zoo.SemiSupervisedGAN(IMAGES, 1), "num_classes=1"),
    ],
)
def test_wrong_arguments_of_constructors_are_named(build, message):
    with pytest.raises(ValueError, match=rf"Expected .*Received: .*{message}$"):
        build()


def test_numbers_may_be_numpy_s_and_are_saved_as_json():
    gan = zoo.GAN(
        image_shape=np.array([2, 2, 1]),
        latent_dim=np.int64(3),
        generator_units=np.array([4]),
        discriminator_units=[np.int32(4)],
    )
    assert gan.generate(1).shape == (1, 2, 2, 1)
    gan.compile(
        label_smoothing=np.array(0.25),
        discriminator_steps=np.int64(2),
        averaging=np.float64(0.5),
    )
    assert gan.settings()["label_smoothing"] == 0.25
    assert type(gan.averaging) is float
    assert json.loads(json.dumps(gan.get_config()))["generator_units"] == [4]
