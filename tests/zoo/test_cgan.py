"""What the conditional GAN promises beyond the shared tests."""

import numpy as np
import pytest
import tensorflow as tf

import zoo


def small(**kwargs):
    units = {"generator_units": (16, 8, 32), "discriminator_units": (16, 8, 16)}
    arguments = {"num_classes": 3, "latent_dim": 4, "seed": 1, **units, **kwargs}
    return zoo.CGAN((2,), **arguments)


@pytest.mark.parametrize(
    ("architecture", "widths"),
    [
        ("mlp", {"generator_units": (16, 8, 32), "discriminator_units": (16, 8, 16)}),
        ("convolutional", {"generator_filters": 4, "discriminator_filters": 4}),
    ],
)
def test_both_networks_see_the_class_and_no_class_is_none_of_them(architecture, widths):
    model = zoo.CGAN(
        (16, 16, 1),
        num_classes=3,
        architecture=architecture,
        latent_dim=4,
        seed=1,
        **widths,
    )
    labels = tf.constant([0, 1, 2, -1], tf.int64)
    latents = tf.repeat(model.prior.sample(tf.constant([5])), 4, axis=0)
    images = model.generator([latents, labels]).numpy()
    # The same image, so that the logits differ by the label alone.
    same = tf.repeat(tf.constant(images[:1]), 4, axis=0)
    logits = model.discriminate(same, [labels]).numpy()
    for a in range(4):
        for b in range(a):
            assert np.abs(images[a] - images[b]).max() > 1e-6
            assert abs(logits[a] - logits[b]) > 1e-6


def test_learns_where_each_class_lies():
    centres = np.array([[-0.6, 0.0], [0.6, 0.5], [0.0, -0.6]], np.float32)
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 20_000)
    points = centres[labels] + random.normal(0, 0.1, (20_000, 2)).astype("float32")
    # A tenth of the rows is unlabelled, and only they lie at (0.9, -0.9).
    labels[::10], points[::10] = -1, 0.9 * np.array([1, -1])
    data = tf.data.Dataset.from_tensor_slices((points, labels)).batch(100)
    model = small()
    model.compile()
    model.fit(data, epochs=7, verbose=0)

    def nearest_to(samples):
        return np.linalg.norm(samples[:, None] - centres, axis=-1).argmin(axis=1)

    for label in range(3):
        found = nearest_to(model.generate(200, labels=label))
        assert np.mean(found == label) > 0.95
    # No class asked for is any class, never the unlabelled rows' place.
    drawn = model.generate(300)
    assert np.bincount(nearest_to(drawn), minlength=3).min() > 60
    assert np.mean(np.linalg.norm(drawn - [0.9, -0.9], axis=-1) < 0.2) < 0.02


def test_vectors_as_condition():
    model = small(num_classes=None, condition_dim=2)
    model.compile()
    data = tf.data.Dataset.from_tensors((tf.zeros([8, 2]), tf.ones([8, 2])))
    model.fit(data, verbose=0)
    given = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
    samples = model.generate(seeds=[1, 1, 1], conditions=given)
    np.testing.assert_allclose(samples[0], samples[2], atol=1e-6)
    assert np.abs(samples[0] - samples[1]).max() > 1e-6
    with pytest.raises(ValueError, match="Pass conditions="):
        model.generate(3)
    wrong = tf.data.Dataset.from_tensors((tf.zeros([8, 2]), tf.ones([8, 3])))
    with pytest.raises(ValueError, match=r"conditions of shape \[None, 2\]"):
        model.fit(wrong, verbose=0)


def test_call_takes_arguments_a_list_a_dict_or_latents_alone():
    model = small()
    latents = model.prior.sample(tf.range(5))
    labels = tf.constant([0, 1, 2, 0, 1], tf.int64)
    by_list = model([latents, labels])
    for same in (
        model(latents, labels),
        model(latents, labels=labels),
        model(latents=latents, labels=labels),
        model({"latents": latents, "labels": labels}),
    ):
        np.testing.assert_array_equal(by_list, same)
    # Without labels they follow from the latents, row by row.
    np.testing.assert_allclose(model(latents)[3:], model(latents[3:]), atol=1e-6)
    np.testing.assert_array_equal(model(latents), model([latents, -1 - labels]))


def test_a_grid_has_a_class_a_column_and_a_seed_a_row():
    model = small()
    samples, columns = model.sample_grid(7, seed=5)
    assert columns == 3
    assert len(samples) == 6
    expected = model.generate(seeds=[5, 5, 5, 6, 6, 6], labels=[0, 1, 2] * 2)
    np.testing.assert_allclose(samples, expected, atol=1e-6)
    samples, columns = model.sample_grid(4, labels=[2, 0])
    assert columns == 2
    expected = model.generate(seeds=[0, 0, 1, 1], labels=[2, 0, 2, 0])
    np.testing.assert_allclose(samples, expected, atol=1e-6)


def test_a_grid_of_few_classes_is_no_strip():
    model = small()
    samples, columns = model.sample_grid(17, labels=[2, 0])
    assert columns == 4
    seeds = [0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7, 6, 7]
    expected = model.generate(seeds=seeds, labels=[2, 2, 0, 0] * 4)
    np.testing.assert_allclose(samples, expected, atol=1e-6)
    # Of one class, as many as asked for.
    samples, columns = model.sample_grid(10, labels=1)
    assert columns == 4
    np.testing.assert_allclose(samples, model.generate(10, labels=1), atol=1e-6)
    with pytest.raises(ValueError, match="n=-3"):
        model.sample_grid(-3)
    with pytest.raises(ValueError, match="columns=-2"):
        model.sample_grid(4, columns=-2)


def test_a_subclass_may_pass_its_arguments_on():
    class Mine(zoo.CGAN):
        def __init__(self, **arguments):
            super().__init__(num_classes=3, **arguments)

    assert Mine(image_shape=(2,), generator_units=(4, 4, 4), seed=0).num_classes == 3
    with pytest.raises(ValueError, match="kernel_size is for"):
        Mine(image_shape=(2,), kernel_size=4)


def test_clear_errors():
    with pytest.raises(ValueError, match="num_classes, for labels, or condition_dim"):
        zoo.CGAN((2,))
    for none in ({"num_classes": 0}, {"condition_dim": 0}):
        with pytest.raises(ValueError, match=r"1 or more.*0"):
            zoo.CGAN((2,), **none)
    with pytest.raises(ValueError, match="'mlp' or 'convolutional'"):
        small(architecture="transformer")
    with pytest.raises(ValueError, match=r"kernel_size is for .*'convolutional'"):
        small(kernel_size=4)
    with pytest.raises(ValueError, match=r"generator_units is for .*'mlp'"):
        small(architecture="convolutional")
    with pytest.raises(ValueError, match="must take"):
        small(generator=zoo.GAN((2,), latent_dim=4).generator)
    model = small()
    with pytest.raises(ValueError, match=r"a label or more.*labels=\[\]"):
        model.sample_grid(labels=[])
    model.compile()
    with pytest.raises(ValueError, match="labels=True"):
        model.fit(tf.data.Dataset.from_tensors(tf.zeros([8, 2])), verbose=0)
    with pytest.raises(ValueError, match=r"takes \['labels'\] here. Received: codes"):
        model.generate(1, codes=[0.0])
    with pytest.raises(ValueError, match="takes no conditions here"):
        zoo.GAN((2,)).generate(1, labels=1)


def test_hidden_layers_of_convolutions_lie_at_both_ends():
    gan = zoo.CGAN(
        (16, 16, 1),
        10,
        architecture="convolutional",
        generator_filters=2,
        discriminator_filters=2,
        hidden_units=6,
    )
    assert gan.generator.get_weights()[0].shape == (100 + 10, 6)
    assert gan.discriminator.get_weights()[-2].shape == (6, 1)
    assert zoo.CGAN.from_config(gan.get_config()).hidden_units == 6
