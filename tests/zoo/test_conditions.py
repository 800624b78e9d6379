"""Conditions: checked in process, completed from seeds in signatures."""

import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.conditions import Classes, Vectors


def test_numbers_of_no_class_are_drawn_from_the_seed_and_others_stay():
    classes = Classes(3)
    seeds = tf.range(6, dtype=tf.int64)
    given = tf.constant([0, 2, -1, 3, -7, 2**40], tf.int64)
    completed = classes.complete(given, seeds).numpy()
    assert completed[:2].tolist() == [0, 2]
    np.testing.assert_array_equal(completed[2:], classes.draw(seeds)[2:])


@pytest.mark.parametrize("kind", ["int32", "uint8", "int64"])
def test_a_model_takes_labels_of_any_integer_kind(kind):
    model = zoo.CGAN((4,), num_classes=3, latent_dim=1, seed=0)
    latents = np.ones((2, 1), "float32")
    labels = np.array([2, 0], kind)
    expected = model.decode(latents, labels=[2, 0])
    for given in (
        model([tf.constant(latents), tf.constant(labels)]),
        model.predict([latents, labels], verbose=0),
    ):
        np.testing.assert_allclose(given, expected, atol=1e-6)


def test_inputs_of_other_names_or_numbers_are_refused():
    model = zoo.CGAN((4,), num_classes=3, latent_dim=1, seed=0)
    latents, labels = np.ones((2, 1), "float32"), np.zeros(2, int)
    for wrong, received in (
        ({"latents": latents, "label": labels}, r"0 .* \['latents', 'label'\]"),
        ({"labels": labels}, r"0 in order, and \['labels'\]"),
        ([latents, labels, labels], "3 in order"),
        ([], "0 in order"),
    ):
        with pytest.raises(ValueError, match=rf"Expected latents.*: {received}"):
            model(wrong)
    with pytest.raises(ValueError, match=r": 2 in order, and \['labels'\]"):
        model(latents, labels, labels=labels)
    with pytest.raises(ValueError, match=r"\['latents', 'labels', 'labels'\]"):
        model({"latents": latents, "labels": labels}, labels=labels)
    with pytest.raises(ValueError, match=r"Expected images.*: 2 in order"):
        zoo.VAE((4,), 2, units=(4,))([np.zeros((2, 4), "float32"), labels])


def test_vectors_of_any_kind_of_number_are_taken():
    given = np.array([[1.0, 2.0]])
    assert Vectors(2).complete(given, tf.zeros(1, tf.int64)).dtype == tf.float32


def test_drawn_classes_are_equally_frequent_and_independent_of_the_latents():
    model = zoo.CGAN((4,), num_classes=2, latent_dim=1)
    seeds = tf.range(4000, dtype=tf.int64)
    labels = model.complete({}, seeds)["labels"]
    assert abs(np.mean(labels) - 0.5) < 0.03
    latents = model.prior.sample(seeds)[:, 0]
    assert abs(np.corrcoef(labels, latents)[0, 1]) < 0.05


def test_several_codes_a_row():
    classes = Classes(5, (3,))
    seeds = tf.range(1000, dtype=tf.int64)
    drawn = classes.draw(seeds).numpy()
    assert drawn.shape == (1000, 3)
    assert set(np.unique(drawn)) == {0, 1, 2, 3, 4}
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.1
    assert classes.checked("categories", None, 2).tolist() == [[-1] * 3] * 2
    assert classes.checked("categories", [1, 2, -1], 2).tolist() == [[1, 2, -1]] * 2


def test_numbers_that_are_none_are_drawn_or_zero():
    seeds = tf.range(2, dtype=tf.int64)
    given = tf.constant([[0.5, np.nan], [np.inf, -3.0]])
    prior = zoo.priors.Uniform(2)
    drawn = prior.sample(seeds).numpy()
    np.testing.assert_array_equal(
        Vectors(2, prior).complete(given, seeds),
        [[0.5, drawn[0, 1]], [drawn[1, 0], -3]],
    )
    np.testing.assert_array_equal(
        Vectors(2).complete(given, seeds), [[0.5, 0], [0, -3]]
    )


@pytest.mark.parametrize(
    ("condition", "values", "message"),
    [
        (Classes(3), [0, 1], r"shape \[4\]"),
        (Classes(3), [[0], [1], [2], [0]], r"shape \[4\]"),
        (Classes(3), 3, r"in 0 ... 2, or -1"),
        (Classes(3), [0, 1, 2, -2], "Received: -2"),
        (Classes(3), [0.0, 1.0, 2.0, 0.0], "int64"),
        (Classes(3), "cat", "int64"),
        (Vectors(2), None, "Nothing is known to draw"),
        (Vectors(2), [1.0, 2.0, 3.0], r"shape \[4, 2\]"),
        (Vectors(2), [np.nan, 0.0], "finite"),
        (Vectors(2, zoo.priors.Uniform(2)), [np.inf, 0.0], "finite"),
    ],
)
def test_wrong_values_are_errors_in_process(condition, values, message):
    with pytest.raises(ValueError, match=message):
        condition.checked("given", values, 4)


def test_a_row_for_all_rows():
    vectors = Vectors(2).checked("conditions", [1, 2], 3)
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[1, 2]] * 3
    assert Classes(3).checked("labels", 2, 3).tolist() == [2] * 3


def test_no_rows():
    assert Classes(3).checked("labels", [], 0).shape == (0,)


def test_labels_of_a_training_batch():
    classes = Classes(3)
    labels = classes.in_training("labels", tf.constant([-1, 2], tf.int32))
    assert labels.dtype == tf.int64
    for wrong in (tf.constant([0.0, 1.0]), tf.zeros([2, 1], tf.int64)):
        with pytest.raises(ValueError, match="integers of shape"):
            classes.in_training("labels", wrong)
    for wrong in map(np.asarray, (3, -2, np.uint64(2**64 - 1))):
        with pytest.raises(tf.errors.InvalidArgumentError, match="or -1: unlabelled"):
            classes.in_training("labels", tf.constant(wrong[None]))


def test_vectors_of_a_training_batch():
    vectors = Vectors(2)
    assert (
        vectors.in_training("conditions", tf.zeros([1, 2], tf.int32)).dtype == "float32"
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="conditions must be fin"):
        vectors.in_training("conditions", tf.constant([[0.0, np.nan]]))
