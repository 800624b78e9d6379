"""InceptionV3 as a feature network, from a file of weights."""

import keras
import numpy as np
import pytest

import zoo
from zoo import evaluation, feature_networks


@pytest.fixture(scope="module")
def inception():
    """An InceptionV3 that nobody trained."""
    keras.utils.set_random_seed(0)
    return keras.applications.InceptionV3(weights=None)


@pytest.fixture(scope="module")
def weights(inception, tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "inception.weights.h5"
    inception.save_weights(path)
    return path


def test_inception_embeds_resized_images(inception, weights):
    network = feature_networks.find(f"inception_v3:{weights}", "nothing built in")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    large = keras.ops.image.resize(
        images.astype("float32"), (299, 299), antialias=True
    ).numpy()
    expected = inception.predict(np.round(large) / 127.5 - 1, verbose=0)

    features = network.embed(images)

    assert features.shape == (2, 2048)
    np.testing.assert_allclose(network.classify(features), expected, rtol=1e-3)
    known = network.provenance([(32, 32, 3)])
    assert known["features"] == "inception_v3"
    assert known["resize"] == "antialiased 32x32x3>299x299x3"
    assert len(known["hash"]) == 64


def test_a_generator_is_evaluated_through_inception(weights, tmp_path):
    model = zoo.GAN((16, 16, 1), generator_units=(4,), discriminator_units=(4,), seed=0)
    model.save_to_preset(tmp_path / "gan")

    # Of the train split, so that no more images of it are embedded.
    report = evaluation.evaluate(
        tmp_path / "gan",
        "digits",
        split="train",
        count=evaluation.LEAST,
        features=f"inception_v3:{weights}",
    )

    measured = {m.name: m for m in report.measurements}
    assert measured["frechet_distance"].features == "inception_v3"
    assert measured["frechet_distance"].value > 0
    # Its classes are ImageNet's, so nothing is said of those of the data.
    assert report.class_shares is None
    assert "smallest_class_share" not in measured


def test_a_version_of_a_set_has_the_network_of_the_set():
    built_in = feature_networks.find(None, "mnist:3.0.1")
    assert built_in.name == "classifier_mnist"
    assert built_in.knows_classes


@pytest.mark.parametrize(
    "recipe", ["adam, 10 epochs", {"data": "mnist"}, {"data": {"name": 3}}]
)
def test_a_preset_may_tell_of_its_recipe_as_it_likes(recipe, tmp_path):
    network = zoo.Classifier((8, 8, 1), 3, filters=(4,), seed=0)
    network.save_to_preset(tmp_path / "net", {"recipe": recipe})
    found = feature_networks.find(str(tmp_path / "net"), "digits")
    assert found.embed(np.zeros((2, 8, 8, 1), np.uint8)).shape == (2, 4)


def test_weights_that_cannot_be_had_are_named(tmp_path):
    path = tmp_path / "weights.h5"
    with pytest.raises(ValueError, match=f"no file {path}"):
        feature_networks.find(f"inception_v3:{path}", "mnist")
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match=f"{path}.*Name their file"):
        feature_networks.find(f"inception_v3:{path}", "mnist")
