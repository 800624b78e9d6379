"""The classifier: known losses, schedules, inference, errors."""

import json
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.recipes import Recipe
from zoo.runs import Run
from zoo.schedules import CosineToZero, InverseDecay, progress

LOGITS = np.array([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0], [1.0, 1.0, 1.0]], np.float32)


def tiny(**kwargs):
    return zoo.Classifier((8, 8, 1), 3, filters=(2, 4), seed=0, **kwargs)


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_label_loss_is_the_cross_entropy_of_the_labelled_rows():
    loss, accuracy = tiny().label_loss(tf.constant([0, -1, 2]), LOGITS)
    rows = log_softmax(LOGITS)
    assert float(loss) == pytest.approx(-(rows[0, 0] + rows[2, 2]) / 2, rel=1e-6)
    assert float(accuracy) == 0.5


def test_label_smoothing_spreads_over_all_classes():
    labels = tf.constant([1, 2, 0])
    loss, _ = tiny().label_loss(labels, LOGITS, label_smoothing=0.3)
    rows = log_softmax(LOGITS)
    picked = rows[np.arange(3), labels]
    assert float(loss) == pytest.approx(-(0.7 * picked + 0.1 * rows.sum(-1)).mean())


def test_unlabelled_rows_have_no_gradient():
    model = tiny()
    logits = tf.Variable(LOGITS)
    with tf.GradientTape() as tape:
        loss, accuracy = model.label_loss(tf.constant([-1, 2, -1]), logits)
    gradient = tape.gradient(loss, logits).numpy()
    assert (gradient[[0, 2]] == 0).all()
    assert (gradient[1] != 0).all()
    assert float(accuracy) == 1.0
    nothing, _ = model.label_loss(tf.constant([-1, -1, -1]), LOGITS)
    assert float(nothing) == 0


@pytest.mark.parametrize("label", [3, -2])
def test_labels_out_of_range_are_refused(label):
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"labels must be in 0 ... 2"
    ):
        tiny().label_loss(tf.constant([0, label, 1]), LOGITS)


def test_schedules_at_known_progress():
    total = keras.Variable(8, dtype="int64")
    for schedule, expected in (
        (CosineToZero(2.0), {0: 2.0, 4: 1.0, 8: 0.0, 20: 0.0}),
        (InverseDecay(0.01), {0: 0.01, 4: 0.01 / 6**0.75, 8: 0.01 / 11**0.75}),
    ):
        schedule.total_steps = total
        for step, rate in expected.items():
            assert float(schedule(step)) == pytest.approx(rate, abs=1e-7)
    assert float(progress(3, 4)) == 0.75
    assert float(progress(0, 0)) == 0


def test_a_schedule_of_no_model_says_so():
    with pytest.raises(ValueError, match="pass the optimizer to its `compile`"):
        CosineToZero(0.1)(0)


def test_models_may_be_compiled_with_one_schedule():
    schedule = CosineToZero(2.0)
    models = [tiny(), tiny()]
    for model, total_steps in zip(models, (4, 8), strict=True):
        model.compile(keras.optimizers.SGD(schedule), total_steps=total_steps)
        model.network_optimizer.iterations.assign(4)
    rates = [float(model.network_optimizer.learning_rate) for model in models]
    assert rates == pytest.approx([0, 1], abs=1e-6)


def batches(count, rows=6):
    generator = np.random.default_rng(0)
    images = generator.uniform(-1, 1, (count * rows, 8, 8, 1)).astype(np.float32)
    labels = generator.integers(0, 3, count * rows)
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(rows)


def test_the_first_fit_says_how_long_the_training_is():
    model = tiny()
    model.compile()
    model.fit(batches(4), epochs=2, verbose=0)
    assert int(model.total_steps) == 8
    assert float(model.network_optimizer.learning_rate) == pytest.approx(0, abs=1e-9)
    with pytest.warns(UserWarning, match="network_optimizer is 0"):
        model.fit(batches(4), epochs=3, verbose=0)
    assert int(model.total_steps) == 8
    model.compile(total_steps=100)
    assert int(model.total_steps) == 100

    refused = tiny()
    refused.compile()
    with pytest.raises(ValueError, match="built for samples of shape"):
        refused.fit(tf.data.Dataset.from_tensors((tf.zeros((1, 9, 9, 1)), [0])))
    refused.fit(batches(4), epochs=3, verbose=0)
    assert int(refused.total_steps) == 12

    class Drawn(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return np.full((6, 8, 8, 1), -1.0 + index / 4), np.zeros(6, int)

    arrays = np.zeros((24, 8, 8, 1), np.float32), np.zeros(24, int)
    for data in ([Drawn(workers=1)], arrays):
        model = tiny()
        model.compile()
        model.fit(*data, batch_size=None if len(data) == 1 else 6, epochs=2, verbose=0)
        assert int(model.total_steps) == 8

    endless = tiny()
    endless.compile()
    with pytest.raises(ValueError, match="total_steps to `compile`"):
        endless.fit(batches(4).repeat())


def test_evaluate_weighs_rows_alike_and_leaves_out_unlabelled_ones():
    model = tiny()
    model.compile(metrics=[keras.metrics.SparseCategoricalAccuracy()])
    images, labels = (np.concatenate(c) for c in zip(*batches(3), strict=True))
    labels[:5] = -1
    test = tf.data.Dataset.from_tensor_slices((images, labels)).batch(7)  # 7, 7, 4
    logs = model.evaluate(test, verbose=0, return_dict=True)
    probabilities = model.classify(images)
    hits = probabilities.argmax(-1) == labels
    assert logs["label_accuracy"] == pytest.approx(hits[5:].mean())
    assert logs["label_loss"] == pytest.approx(
        -np.log(probabilities[np.arange(5, 18), labels[5:]]).mean(), rel=1e-5
    )
    assert logs["sparse_categorical_accuracy"] == pytest.approx(hits[5:].mean())


def test_classify_and_embed_take_pixels_or_floats_in_any_batch():
    model = tiny()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1)).astype(np.uint8)
    probabilities = model.classify(pixels)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        model.classify(zoo.images.from_uint8(pixels), batch_size=4),
        probabilities,
        rtol=1e-5,
    )
    features = model.embed(pixels)
    kernel, bias = model.label_head.get_weights()
    np.testing.assert_allclose(
        log_softmax(features @ kernel + bias), np.log(probabilities), atol=1e-5
    )
    assert model.embed(pixels[:0]).shape == (0, 4)


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="Pass image_shape and num_classes"):
        zoo.Classifier((8, 8, 1))
    with pytest.raises(ValueError, match="must be at least 8"):
        zoo.Classifier((4, 28, 1), 10)
    with pytest.raises(ValueError, match=r"1 or more.*convolutions=0"):
        zoo.Classifier((8, 8, 1), 10, convolutions=0)
    model = tiny()
    with pytest.raises(ValueError, match=r"1 or more.*total_steps=-5"):
        model.compile(total_steps=-5)
    for shape in ((2, 8, 9, 1), (8, 8, 1)):
        with pytest.raises(ValueError, match=r"samples.* in batches \[n, 8, 8, 1\]"):
            model.classify(np.zeros(shape, np.uint8))
    for wrong in (model.classify, model.embed):
        with pytest.warns(UserWarning, match="from 0 to 1.*from -1 to 1") as caught:
            wrong(np.eye(8).reshape(1, 8, 8, 1))
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Bright as these are, they have levels.
        model.classify(128 + np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1))
    with pytest.raises(ValueError, match=r"pixels from -1 to 1\. Received numbers"):
        model.classify(np.full((2, 8, 8, 1), 255.0))
    with pytest.raises(ValueError, match="shift is a number of pixels"):
        model.compile(shift=8)
    with pytest.raises(ValueError, match=r"an integer.*shift=1\.5"):
        model.compile(shift=1.5)
    with pytest.raises(ValueError, match=r"True or False.*flip='no'"):
        model.compile(flip="no")
    with pytest.raises(ValueError, match=r"below 1\. Received: label_smoothing=1"):
        model.compile(label_smoothing=1.0)
    model.compile()
    with pytest.raises(ValueError, match="labels=True"):
        model.fit(batches(1).map(lambda images, labels: images), verbose=0)
    with pytest.raises(ValueError, match="labels as integers of shape"):
        model.label_loss(tf.constant([0.0, 1.0, 2.0]), LOGITS)


def test_the_preset_of_a_run_says_what_the_recipe_says_and_what_was_measured(tmp_path):
    said = {"licence": {"data": "BSD", "weights": "BSD"}, "paper": "none"}
    recipe = Recipe(
        "classifier",
        {"name": "digits"},
        model={"filters": [4, 8]},
        epochs=2,
        test_split="test",
        metadata=said,
    )
    run = Run(tmp_path / "run", recipe)
    model = recipe.build()
    model.compile()
    with run.started():
        model.fit(
            recipe.load_data(),
            epochs=2,
            steps_per_epoch=2,
            verbose=0,
            callbacks=run.callbacks(model),
        )
        run.finish(model)
    metadata = json.loads((tmp_path / "run" / "model" / "metadata.json").read_text())
    assert metadata["licence"] == said["licence"]
    assert metadata["recipe"]["seed"] == 0
    assert "metadata" not in metadata["recipe"]
    assert metadata["training_seconds"] >= 0
    images, labels = zoo.data.load_arrays("digits", "test")
    accuracy = (model.classify(images).argmax(-1) == labels).mean()
    assert metadata["measured"] == {"test_accuracy": pytest.approx(accuracy, abs=1e-4)}
