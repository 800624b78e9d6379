"""DANN: the reversal, the schedules, the losses, and that it adapts."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.dann import domain_accuracy, domain_entropy
from zoo.layers import GradientReversal
from zoo.schedules import InverseDecay


def tiny(**kwargs):
    return zoo.DANN((12, 12, 1), 3, filters=(4, 4), kernel_size=3, units=8, **kwargs)


def pairs(count, rows=6):
    generator = np.random.default_rng(0)
    source, target = generator.uniform(-1, 1, (2, count * rows, 12, 12, 1))
    labels = generator.integers(0, 3, count * rows)
    arrays = ((source.astype("float32"), labels), target.astype("float32"))
    return tf.data.Dataset.from_tensor_slices(arrays).batch(rows)


@pytest.mark.parametrize("factor", [1.0, 0.25, 0.0])
def test_gradient_reversal_flips_and_scales_exactly(factor):
    layer = GradientReversal()
    x = tf.constant([[1.0, -2.0], [3.5, 0.0]])
    weights = tf.constant([[2.0, -1.0], [0.5, 8.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, factor=factor)
        loss = tf.reduce_sum(weights * y)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(tape.gradient(loss, x), -factor * weights)


def test_gradient_reversal_takes_a_tensor_and_half_precision():
    layer = GradientReversal(dtype="mixed_float16")
    x = tf.constant([1.0, 2.0], tf.float16)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x, factor=tf.constant(0.5)))
    np.testing.assert_array_equal(tape.gradient(loss, x), [-0.5, -0.5])


def test_the_reversal_has_the_precision_of_its_model():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tiny(dtype="float32")
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.reverse_gradient.compute_dtype == "float32"


def test_reversal_follows_the_schedule_of_the_paper():
    model = tiny(seed=0)
    model.compile(total_steps=200, domain_weight=2.0)
    for step, p in ((0, 0), (20, 0.1), (100, 0.5), (200, 1), (500, 1)):
        model.network_optimizer.iterations.assign(step)
        expected = 2 * (2 / (1 + math.exp(-10 * p)) - 1)
        assert float(model.reversal()) == pytest.approx(expected, abs=1e-6)


def test_learning_rate_follows_the_schedule_of_the_paper():
    model = tiny(seed=0)
    model.compile()
    model.fit(pairs(4), epochs=2, verbose=0)
    assert int(model.total_steps) == 8
    rate = float(model.network_optimizer.learning_rate)
    assert rate == pytest.approx(0.01 / 11**0.75)


def test_schedules_count_the_steps_that_accumulate_gradients():
    model = tiny(seed=0)
    rate = InverseDecay(0.01)
    model.compile(keras.optimizers.SGD(rate, gradient_accumulation_steps=2))
    model.fit(pairs(4), epochs=2, verbose=0)
    assert float(model.reversal()) == pytest.approx(2 / (1 + math.exp(-10)) - 1)
    rate = float(model.network_optimizer.learning_rate)
    assert rate == pytest.approx(0.01 / 11**0.75)


def test_arrays_say_how_long_the_training_is():
    images = np.full((12, 12, 12, 1), -1.0)
    model = tiny(seed=0)
    model.compile()
    model.fit((images, np.zeros(12, int)), images, batch_size=4, epochs=2, verbose=0)
    assert int(model.total_steps) == 6


def test_schedules_begin_anew_with_each_compile():
    model = tiny(seed=0)
    model.compile()
    histories = [model.fit(pairs(4), epochs=3, verbose=0).history]
    model.compile()
    histories.append(model.fit(pairs(4), epochs=3, verbose=0).history)
    first, second = (history["reversal"] for history in histories)
    assert first == pytest.approx(second)
    assert first[0] < first[2]


def test_schedules_survive_a_file_and_another_number_of_epochs(tmp_path):
    backup = zoo.callbacks.BackupAndResume(tmp_path / "checkpoints")
    model = tiny(seed=0)
    model.compile()
    model.fit(pairs(4), epochs=2, verbose=0, callbacks=[backup])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    resumed = tiny(seed=0)
    resumed.compile()
    resumed.fit(pairs(4), epochs=3, verbose=0, callbacks=[backup])
    for each in (loaded, resumed):
        assert int(each.total_steps) == 8
        assert float(each.reversal()) == pytest.approx(model.reversal().numpy())
        assert float(each.network_optimizer.learning_rate) == pytest.approx(
            0.01 / 11**0.75
        )


def test_domain_loss_on_known_logits():
    source, target = np.array([2.0, -1.0]), np.array([0.5, -3.0])
    d = 1 / (1 + np.exp(-np.concatenate([source, target])))
    expected = -np.log(d[:2]).mean() - np.log(1 - d[2:]).mean()
    assert float(domain_entropy(source, target)) == pytest.approx(expected)
    assert float(domain_accuracy(source, target)) == 0.5
    zero = tf.zeros(3)
    assert float(domain_entropy(zero, zero)) == pytest.approx(2 * math.log(2))


def gradients(domain_weight):
    """Gradients of one step for features and domain head, at λ = `domain_weight`."""
    model = tiny(seed=0)
    model.compile(keras.optimizers.SGD(1.0), domain_weight, total_steps=1)
    model.network_optimizer.iterations.assign(100)
    before = [network.get_weights() for network in model.networks().values()]
    model.fit(pairs(1), verbose=0)
    after = [network.get_weights() for network in model.networks().values()]
    return [
        [old - new for old, new in zip(*both, strict=True)]
        for both in zip(before, after, strict=True)
    ]


def test_the_features_climb_the_domain_loss_that_the_head_descends():
    features_0, labels_0, domain_0 = gradients(0.0)
    features_1, labels_1, domain_1 = gradients(1.0)
    features_2, _, _ = gradients(2.0)
    # Heads do not feel λ; the features' gradient is linear in it.
    for ours, theirs in ((labels_0, labels_1), (domain_0, domain_1)):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    assert max(np.abs(g).max() for g in domain_0) > 0
    for g0, g1, g2 in zip(features_0, features_1, features_2, strict=True):
        assert np.abs(g1 - g0).max() > 1e-7
        np.testing.assert_allclose(g2 - g0, 2 * (g1 - g0), atol=2e-6)


def test_every_network_is_in_training_mode_in_training_alone():
    # Batch normalization moves its statistics where it is told that it trains.
    normalization = keras.layers.BatchNormalization()
    width = tiny().features.output_shape[-1]
    head = keras.Sequential(
        [keras.Input((width,)), normalization, keras.layers.Dense(1)]
    )
    model = tiny(domain_head=head, seed=0)
    model.compile(total_steps=1)
    model.evaluate(pairs(1), verbose=0)
    np.testing.assert_array_equal(normalization.moving_mean, np.zeros(width))
    model.fit(pairs(1), verbose=0)
    assert np.abs(normalization.moving_mean).max() > 0


def test_unlabelled_source_rows_count_for_the_domain_alone():
    model = tiny(seed=0)
    model.compile(total_steps=1)
    model.network_optimizer.iterations.assign(1)
    (images, labels), target = next(iter(pairs(1)))
    test = tf.data.Dataset.from_tensors(((images, tf.zeros_like(labels) - 1), target))
    logs = model.evaluate(test, verbose=0, return_dict=True)
    assert logs["label_loss"] == 0
    labelled = tf.data.Dataset.from_tensors(((images, labels), target))
    others = model.evaluate(labelled, verbose=0, return_dict=True)
    assert others["label_loss"] > 0
    for name in ("domain_loss", "domain_accuracy", "reversal"):
        assert logs[name] == pytest.approx(others[name])
    assert logs["reversal"] > 0


def test_evaluate_takes_labelled_images_of_the_target():
    model = tiny(seed=0)
    model.compile(total_steps=1)
    target = pairs(3).map(lambda source, target: (target, source[1]))
    logs = model.evaluate(target, verbose=0, return_dict=True)
    images, labels = (np.concatenate(c) for c in zip(*target, strict=True))
    hits = model.classify(images).argmax(-1) == labels
    assert logs["label_accuracy"] == pytest.approx(hits.mean())


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="leave nothing of the images"):
        zoo.DANN((12, 12, 1), 3)
    model = tiny(seed=0)
    with pytest.raises(ValueError, match=r"0 or more.*domain_weight="):
        model.compile(domain_weight=-1.0)
    model.compile()
    with pytest.raises(ValueError, match="load two names"):
        model.fit(pairs(1).map(lambda source, target: target), verbose=0)
    with pytest.raises(ValueError, match="built for samples of shape"):
        model.fit(pairs(1).map(lambda s, t: (s, t[:, :10])), verbose=0)


def test_label_logs_of_dann_are_means_over_the_labelled_rows():
    generator = np.random.default_rng(0)
    source, target = generator.uniform(-1, 1, (2, 12, 12, 12, 1)).astype("float32")
    labels = np.array([0, 1, 2, 0, 1, 2, 0, -1, -1, -1, -1, -1])
    data = tf.data.Dataset.from_tensor_slices(((source, labels), target))
    model = zoo.DANN((12, 12, 1), 3, filters=(4, 4), kernel_size=3, units=8, seed=0)
    model.compile(keras.optimizers.SGD(0.0), total_steps=9)
    whole = model.evaluate(data.batch(12), verbose=0, return_dict=True)
    parts = model.evaluate(data.batch(6), verbose=0, return_dict=True)
    trained = model.fit(data.batch(6), verbose=0).history
    for name in ("label_loss", "label_accuracy"):
        assert parts[name] == pytest.approx(whole[name], rel=1e-5), name
        assert trained[name][0] == pytest.approx(whole[name], rel=1e-5), name
