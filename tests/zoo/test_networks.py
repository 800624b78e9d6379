"""Building blocks of networks."""

import pytest

import zoo
from zoo import networks


def test_an_unknown_normalization_is_refused():
    with pytest.raises(ValueError, match=r"'batch', 'layer' or None.*'group'"):
        networks.normalization_layer("group")


@pytest.mark.parametrize(
    "build",
    [
        zoo.GAN,
        zoo.DCGAN,
        lambda shape: zoo.Classifier(shape, num_classes=2),
        zoo.AAE,
    ],
    ids=["GAN", "DCGAN", "Classifier", "AAE"],
)
@pytest.mark.parametrize("shape", [28, (28.5, 28, 1), "28", (), (28, -28, 1)])
def test_a_shape_that_is_none_is_named(build, shape):
    with pytest.raises(ValueError, match=r"Expected image_shape=.*Received"):
        build(shape)
