"""What a step computes, by hand.

Two equal models of tiny networks, without batch normalization, take the same step by
gradient descent: one by `train_step`, the other by its paper's formulas, written out
here. Their weights and the logs must agree. Tests of `test_step` compare its logs, and
what it feeds to metrics, alike.
"""

import contextlib
import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from variants import CASES

import zoo
from zoo import augmentation, dtn, network_checks, rng
from zoo.variants import VARIANTS

RATE = 0.5
SHAPE = (4, 4, 1)
CLASSES = 3
RANDOM = np.random.default_rng(0)
IMAGES, OTHERS = (
    tf.constant(RANDOM.uniform(-1, 1, (6, *SHAPE)), tf.float32) for _ in range(2)
)
LABELS = tf.constant([0, 1, 2, 2, 1, 0], tf.int64)
SOME_LABELS = tf.constant([0, 1, -1, 2, 1, -1], tf.int64)


# The two ways to take a step, and how they are compared


def network(takes, gives, seed):
    """Returns a perceptron of one hidden layer, between rows of these shapes."""
    inputs = [keras.Input(shape) for shape in takes]
    flat = [layers.Flatten()(rows) for rows in inputs]
    x = flat[0] if len(flat) == 1 else layers.Concatenate()(flat)
    for number, units in enumerate((5, math.prod(gives))):
        initializer = keras.initializers.GlorotUniform(seed + number)
        activation = None if number else "tanh"
        x = layers.Dense(units, activation, kernel_initializer=initializer)(x)
    outputs = x if len(gives) == 1 else layers.Reshape(gives)(x)
    return keras.Model(inputs[0] if len(inputs) == 1 else inputs, outputs)


@contextlib.contextmanager
def descent(*trained):
    """Moves networks down the gradient of the loss that the block appends."""
    losses = []
    with tf.GradientTape() as tape:
        yield losses
    variables = [v for each in trained for v in each.trainable_variables]
    move(variables, tape.gradient(losses[0], variables))


def move(variables, gradients):
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_sub(RATE * gradient)


def assert_step(build, batch, by_hand, prepare=None, **arguments):
    """Compares `train_step` with what `by_hand` does to a twin and returns as logs."""
    ours, twin = build(), build()
    for model in (ours, twin):
        optimizers = {
            f"{player}_optimizer": keras.optimizers.SGD(RATE)
            for player in model.players()
        }
        model.compile(**optimizers, **arguments)
        if prepare:
            prepare(model)
    before = {name: net.get_weights() for name, net in ours.networks().items()}
    assert_logs(ours.train_step(batch), by_hand(twin, batch))
    for name, net in ours.networks().items():
        pairs = zip(net.weights, twin.networks()[name].weights, strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(one, other, atol=1e-5, err_msg=one.path)
        moved = [
            np.abs(new - old).max()
            for new, old in zip(net.get_weights(), before[name], strict=True)
        ]
        assert not net.trainable or max(moved) > 1e-3, name


class Recorder(keras.metrics.Metric):
    """A metric that keeps what it is fed."""

    def __init__(self, fed):
        super().__init__(name="recorder")
        self.update_state = lambda *pair, **_: fed.append(pair)

    def result(self):
        return 0.0


def assert_test(build, batch, by_hand, **arguments):
    """Compares `test_step` with the logs and the fed pair that `by_hand` returns."""
    fed = []
    model = build()
    model.compile(metrics=[Recorder(fed)], **arguments)
    if "averaging" in arguments:
        # What makes samples is the average, so it shall be another network.
        for variable in model.averaged_generator.weights:
            variable.assign(1.5 * variable + 0.1)
    logs = dict(model.test_step(batch))
    del logs["recorder"]
    model.reset_metrics()  # `evaluate` begins with the same draws each time.
    expected, pair = by_hand(model, batch)
    assert_logs(logs, expected)
    assert len(fed) == 1
    for ours, theirs in zip(fed[0], pair, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def assert_logs(logs, expected):
    total = sum(value for name, value in expected.items() if name.endswith("_loss"))
    expected = {"loss": total, **expected}
    assert set(logs) == set(expected)
    for name, value in expected.items():
        assert float(logs[name]) == pytest.approx(float(value), rel=1e-4), name


# What several papers have


def join(first, given):
    return [first, *given] if given else first


def discriminator_loss(real, fake, smoothing=0.0):
    """-E log D(x) - E log(1 - D(G(z))); real ones count as real by 1 - smoothing."""
    d, d_of_fake = tf.sigmoid(real), tf.sigmoid(fake)
    real_terms = (1 - smoothing) * tf.math.log(d) + smoothing * tf.math.log(1 - d)
    return -tf.reduce_mean(real_terms) - tf.reduce_mean(tf.math.log(1 - d_of_fake))


def generator_loss(fake):
    """-E log D(G(z))."""
    return -tf.reduce_mean(tf.math.log(tf.sigmoid(fake)))


def accuracies(real, fake):
    shares = np.mean(np.asarray(real) > 0), np.mean(np.asarray(fake) < 0)
    names = ("discriminator_accuracy", "real_accuracy", "fake_accuracy")
    return dict(zip(names, (np.mean(shares), *shares), strict=True))


def cross_entropy(labels, logits, smoothing=0.0):
    """Mean over the rows with labels, the targets smoothed over all classes."""
    known = labels >= 0
    logits = tf.boolean_mask(logits, known)
    targets = tf.one_hot(tf.boolean_mask(labels, known), CLASSES)
    targets = (1 - smoothing) * targets + smoothing / CLASSES
    log_p = tf.math.log(tf.nn.softmax(logits))
    return -tf.reduce_mean(tf.reduce_sum(targets * log_p, axis=1))


def hits(labels, logits):
    known = labels.numpy() >= 0
    return np.mean((np.argmax(logits, axis=1) == labels)[known])


def seeds_of(model, stream):
    return model.row_seeds(len(IMAGES), stream)[0]


# GAN and CGAN


def gan():
    units = {"generator_units": (5,), "discriminator_units": (4,)}
    return zoo.GAN(SHAPE, 3, **units, seed=0)


def cgan():
    units = {"generator_units": (4, 3, 5), "discriminator_units": (4, 3, 4)}
    return zoo.CGAN(SHAPE, CLASSES, latent_dim=3, **units, seed=0)


def judge(model, images, given=()):
    return tf.reshape(model.discriminator(join(images, list(given))), [-1])


def r1(model, real, given=()):
    """½ E ||∇ D(x)||²."""
    with tf.GradientTape() as tape:
        tape.watch(real)
        logits = judge(model, real, given)
    slopes = tape.gradient(logits, real)
    return tf.reduce_mean(tf.reduce_sum(slopes**2, axis=(1, 2, 3))) / 2


def changed(model, images, stream):
    """What the discriminator sees, by the policy of the test below."""
    if model.augmentation is None:
        return images
    assert model.augmentation == "translation,color"
    seeds = model.row_seeds(len(images), 2000 + stream)[0]
    images = augmentation.translate(images, rng.fold_in(seeds, 0))
    return augmentation.color(images, rng.fold_in(seeds, 1))


def algorithm_1(model, batch):
    """k steps of the discriminator on parts of the batch, then one of the generator."""
    images, *given = batch
    k = model.discriminator_steps
    losses, logits = [], []
    for step in range(k):
        real, told = images[step::k], [values[step::k] for values in given]
        latents = model.draw_latents(len(real), stream=step)
        fake = changed(model, model.generator(join(latents, told)), -1 - step)
        real = changed(model, real, step)
        with descent(model.discriminator) as objectives:
            logits.append((judge(model, real, told), judge(model, fake, told)))
            losses.append(discriminator_loss(*logits[-1], model.label_smoothing))
            weighted = 3 * r1(model, real, told) if model.penalty else 0
            objectives.append(losses[-1] + weighted)
    latents = model.draw_latents(len(real), stream=k)
    with descent(model.generator) as objectives:
        fake = changed(model, model.generator(join(latents, told)), k)
        objectives.append(generator_loss(judge(model, fake, told)))
    real_logits, fake_logits = (
        tf.concat(parts, 0) for parts in zip(*logits, strict=True)
    )
    return {
        "generator_loss": objectives[0],
        "discriminator_loss": np.mean(losses),
        **accuracies(real_logits, fake_logits),
    }


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"label_smoothing": 0.2},
        {"penalty": "r1", "penalty_weight": 3.0},
        {"discriminator_steps": 3, "penalty": "r1", "penalty_weight": 3.0},
        {"discriminator_steps": 2, "augmentation": "translation,color"},
    ],
)
def test_a_step_of_the_game_is_algorithm_1(arguments):
    assert_step(gan, (IMAGES,), algorithm_1, **arguments)
    assert_step(cgan, (IMAGES, SOME_LABELS), algorithm_1, **arguments)


def shared_pass(model, batch):
    """Both players move after one forward pass."""
    (images,) = batch
    images = changed(model, images, 0)
    with tf.GradientTape(persistent=True) as tape:
        fake = model.generator(model.draw_latents(len(images), stream=0))
        fake = changed(model, fake, -1)
        logits = judge(model, images), judge(model, fake)
        of_discriminator = discriminator_loss(*logits, model.label_smoothing)
        objective = of_discriminator + 3 * r1(model, images)
        of_generator = generator_loss(logits[1])
    trained = [net.trainable_variables for net in model.networks().values()]
    gradients = [
        tape.gradient(loss, variables)
        for loss, variables in zip((of_generator, objective), trained, strict=True)
    ]
    for each in zip(trained, gradients, strict=True):
        move(*each)
    return {
        "generator_loss": of_generator,
        "discriminator_loss": of_discriminator,
        **accuracies(*logits),
    }


def test_simultaneous_updates_go_by_the_weights_before_both():
    arguments = {"label_smoothing": 0.2, "penalty": "r1", "penalty_weight": 3.0}
    arguments["augmentation"] = "translation,color"
    assert_step(gan, (IMAGES,), shared_pass, update="simultaneous", **arguments)


def game_in_test(model, batch):
    images, *given = batch
    latents = model.draw_test_latents(len(images))
    fake = model.averaged_generator(join(latents, given))
    logits = judge(model, images, given), judge(model, fake, given)
    logs = {
        "generator_loss": generator_loss(logits[1]),
        "discriminator_loss": discriminator_loss(*logits),
        **accuracies(*logits),
    }
    return logs, (images, fake)


def test_a_test_of_the_game_is_of_the_average():
    arguments = {"averaging": 0.5, "label_smoothing": 0.2}
    assert_test(gan, (IMAGES,), game_in_test, **arguments)
    assert_test(cgan, (IMAGES, LABELS), game_in_test, **arguments)


# InfoGAN


def infogan():
    judged = network([SHAPE], (1 + 2 * CLASSES + 2,), seed=2)
    x = judged.output
    outputs = {
        "logits": layers.Reshape(())(x[:, :1]),
        "category_logits": layers.Reshape((2, CLASSES))(x[:, 1:-2]),
        "means": x[:, -2:-1],
        "log_stddevs": x[:, -1:],
    }
    return zoo.InfoGAN(
        categorical_codes=2,
        num_categories=CLASSES,
        continuous_codes=1,
        latent_dim=3,
        generator=network([(3,), (2,), (1,)], SHAPE, seed=0),
        discriminator=keras.Model(judged.input, outputs),
        seed=0,
    )


def information(inputs, guessed):
    """E log Q(c|x) + H(c) of the categories and of the number (equation 5)."""
    _, categories, codes = inputs
    q = tf.nn.softmax(guessed["category_logits"])
    chosen = tf.gather(q, categories, axis=2, batch_dims=2)
    categorical = tf.reduce_mean(tf.reduce_sum(tf.math.log(chosen), axis=1))
    stddevs = tf.exp(guessed["log_stddevs"])
    density = tf.exp(-(((codes - guessed["means"]) / stddevs) ** 2) / 2)
    density /= stddevs * math.sqrt(2 * math.pi)
    continuous = tf.reduce_mean(tf.math.log(density))
    return categorical + 2 * math.log(CLASSES), continuous + math.log(2)


def infogan_inputs(model, latents, seeds):
    return [latents, *model.complete({}, seeds).values()]


def infogan_losses(model, real, guessed, inputs):
    categorical, continuous = information(inputs, guessed)
    reward = recognized = 0.7 * categorical + 0.3 * continuous
    if model.recognition_weight is not None:
        recognized = model.recognition_weight * (categorical + continuous)
    logits = real["logits"], guessed["logits"]
    return {
        "generator_loss": generator_loss(logits[1]) - reward,
        "discriminator_loss": discriminator_loss(*logits) - recognized,
        "information": categorical,
        "continuous_information": continuous,
        **accuracies(*logits),
    }


def infogan_by_hand(model, images):
    """Equation 6, each player with draws of its own."""
    losses = []
    for stream, name in enumerate(("discriminator", "generator")):
        latents = model.draw_latents(len(images), stream)
        inputs = infogan_inputs(model, latents, seeds_of(model, stream))
        with descent(getattr(model, name)) as objectives:
            real = model.discriminator(images)
            guessed = model.discriminator(model.generator(inputs))
            losses.append(infogan_losses(model, real, guessed, inputs))
            objectives.append(losses[-1][f"{name}_loss"])
    of_discriminator, of_generator = losses
    names = ("generator_loss", "information", "continuous_information")
    return {**of_discriminator, **{name: of_generator[name] for name in names}}


INFORMATION_WEIGHTS = {"categorical_weight": 0.7, "continuous_weight": 0.3}


@pytest.mark.parametrize("recognition_weight", [None, 0.9])
def test_a_step_of_infogan_is_equation_6(recognition_weight):
    weights = {**INFORMATION_WEIGHTS, "recognition_weight": recognition_weight}
    assert_step(infogan, IMAGES, infogan_by_hand, **weights)


def infogan_in_test(model, images):
    latents = model.draw_test_latents(len(images))
    inputs = infogan_inputs(model, latents, rng.seeds_from(latents))
    fake = model.averaged_generator(inputs)
    judged = model.discriminator(images), model.discriminator(fake)
    return infogan_losses(model, *judged, inputs), (images, fake)


@pytest.mark.parametrize("recognition_weight", [None, 0.9])
def test_a_test_of_infogan_has_the_same_objectives(recognition_weight):
    weights = {**INFORMATION_WEIGHTS, "recognition_weight": recognition_weight}
    assert_test(infogan, IMAGES, infogan_in_test, averaging=0.5, **weights)


# The GAN with K + 1 classes


def semi_supervised_gan():
    return zoo.SemiSupervisedGAN(
        num_classes=CLASSES,
        generator=network([(3,)], SHAPE, seed=0),
        discriminator=network([SHAPE], (CLASSES,), seed=2),
        seed=0,
    )


def semi_supervised_losses(model, images, labels, fake):
    class_logits = model.discriminator(images)
    # D(x) = Z / (Z + 1), Z the sum of the exponentials; x is drawn without a label.
    logits = [
        tf.math.log(tf.reduce_sum(tf.exp(rows), axis=1))
        for rows in (class_logits[labels < 0], model.discriminator(fake))
    ]
    return {
        "discriminator_loss": discriminator_loss(*logits),
        "classification_loss": cross_entropy(labels, class_logits),
        "classification_accuracy": hits(labels, class_logits),
        **accuracies(*logits),
    }


def feature_distance(model, images, fake):
    """||E f(x) - E f(G(z))||², f the hidden layer."""
    kernel, bias, *_ = model.discriminator.weights
    real, made = (
        tf.tanh(tf.reshape(x, (len(x), -1)) @ kernel + bias) for x in (images, fake)
    )
    difference = tf.reduce_mean(real, axis=0) - tf.reduce_mean(made, axis=0)
    return tf.reduce_sum(difference**2)


def semi_supervised_by_hand(model, batch):
    """L_supervised + L_unsupervised, then feature matching (sections 3.1 and 5)."""
    images, labels = batch

    def noisy(rows, stream):
        return augmentation.add_noise(rows, seeds_of(model, stream), 0.3)

    fake = model.generator(model.draw_latents(len(images), stream=0))
    with descent(model.discriminator) as objectives:
        logs = semi_supervised_losses(
            model, noisy(images, 100), labels, noisy(fake, 101)
        )
        objectives.append(logs["discriminator_loss"] + logs["classification_loss"])
    with descent(model.generator) as objectives:
        fake = model.generator(model.draw_latents(len(images), stream=1))
        seen = noisy(images, 102), noisy(fake, 102)
        objectives.append(feature_distance(model, *(x[labels < 0] for x in seen)))
    return {"generator_loss": objectives[0], **logs}


def test_a_step_of_the_semi_supervised_gan_is_section_5():
    batch = IMAGES, SOME_LABELS
    assert_step(semi_supervised_gan, batch, semi_supervised_by_hand, input_noise=0.3)


def semi_supervised_in_test(model, batch):
    images, labels = batch
    fake = model.averaged_generator(model.draw_test_latents(len(images)))
    logs = {
        "generator_loss": feature_distance(
            model, *(x[labels < 0] for x in (images, fake))
        ),
        **semi_supervised_losses(model, images, labels, fake),
    }
    return logs, (images, fake)


def test_a_test_of_the_semi_supervised_gan_is_without_noise():
    arguments = {"averaging": 0.5, "input_noise": 0.3}
    batch = IMAGES, SOME_LABELS
    assert_test(semi_supervised_gan, batch, semi_supervised_in_test, **arguments)


# Domain transfer


def domain_transfer():
    return zoo.DTN(
        network([SHAPE], (3,), seed=0),
        generator=network([(3,)], SHAPE, seed=2),
        discriminator=network([SHAPE], (3,), seed=4),
        seed=0,
    )


DTN_WEIGHTS = {
    "gang_weight": 0.5,
    "const_weight": 3.0,
    "tid_weight": 2.0,
    "tv_weight": 0.05,
}


def dtn_losses(model, generator, source, target):
    """Equations 3 to 7, and the weighted sum."""
    from_source, from_target = (generator(model.features(x)) for x in (source, target))
    d = [
        tf.nn.softmax(model.discriminator(x))
        for x in (from_source, from_target, target)
    ]
    l_d = [-tf.reduce_mean(tf.math.log(d[kind][:, kind])) for kind in range(3)]
    l_gang = [-tf.reduce_mean(tf.math.log(d[kind][:, dtn.REAL])) for kind in range(2)]
    moved = model.features(source) - model.features(from_source)
    variations = [dtn.total_variation(x) for x in (from_source, from_target)]
    terms = {
        "l_gang": sum(l_gang),
        "l_const": tf.reduce_mean(moved**2),
        "l_tid": tf.reduce_mean((target - from_target) ** 2),
        "l_tv": sum(variations) / 2,
    }
    return {
        "generator_loss": sum(
            DTN_WEIGHTS[f"{name[2:]}_weight"] * term for name, term in terms.items()
        ),
        **terms,
        "discriminator_loss": sum(l_d),
        "discriminator_accuracy": np.mean(
            [np.argmax(d[kind], axis=1) == kind for kind in range(3)]
        ),
    }


def dtn_by_hand(model, batch):
    (source, _), target = batch
    with descent(model.discriminator) as objectives:
        before = dtn_losses(model, model.generator, source, target)
        objectives.append(before["discriminator_loss"])
    with descent(model.generator) as objectives:
        after = dtn_losses(model, model.generator, source, target)
        objectives.append(after["generator_loss"])
    names = ("discriminator_loss", "discriminator_accuracy")
    return {**after, **{name: before[name] for name in names}}


TWO_DOMAINS = (IMAGES, SOME_LABELS), OTHERS


def test_a_step_of_domain_transfer_is_equations_3_to_7():
    assert_step(domain_transfer, TWO_DOMAINS, dtn_by_hand, **DTN_WEIGHTS)


def dtn_in_test(model, batch):
    (source, _), target = batch
    logs = dtn_losses(model, model.averaged_generator, source, target)
    return logs, (target, model.averaged_generator(model.features(source)))


def test_a_test_of_domain_transfer_is_of_the_average():
    arguments = {"averaging": 0.5, **DTN_WEIGHTS}
    assert_test(domain_transfer, TWO_DOMAINS, dtn_in_test, **arguments)


# Gradient reversal


def dann():
    return zoo.DANN(
        SHAPE,
        CLASSES,
        features=network([SHAPE], (4,), seed=0),
        label_head=network([(4,)], (CLASSES,), seed=2),
        domain_head=network([(4,)], (1,), seed=4),
        seed=0,
    )


def a_quarter_done(model):
    model.network_optimizer.iterations.assign(1)


DANN_SETTINGS = {"domain_weight": 2.0, "total_steps": 4}
#: λ at a quarter of the training.
REVERSAL = 2 * (2 / (1 + math.exp(-10 / 4)) - 1)


def dann_losses(model, batch):
    (source, labels), target = batch
    features = model.features(source)
    label_logits = model.label_head(features)
    of_source = tf.sigmoid(model.domain_head(features))
    of_target = tf.sigmoid(model.domain_head(model.features(target)))
    domain_loss = -tf.reduce_mean(tf.math.log(of_source))
    domain_loss -= tf.reduce_mean(tf.math.log(1 - of_target))
    right = np.concatenate([of_source > 0.5, of_target < 0.5])
    return {
        "label_loss": cross_entropy(labels, label_logits),
        "label_accuracy": hits(labels, label_logits),
        "domain_loss": domain_loss,
        "domain_accuracy": np.mean(right),
    }


def dann_by_hand(model, batch):
    """Equations 4 to 6: only the features feel λ, and they climb."""
    with tf.GradientTape(persistent=True) as tape:
        logs = dann_losses(model, batch)
        descends = logs["label_loss"] + logs["domain_loss"]
        parts = logs["label_loss"] - REVERSAL * logs["domain_loss"]
    moves = [
        (variables, tape.gradient(loss, variables))
        for loss, variables in (
            (parts, model.features.trainable_variables),
            (descends, model.label_head.trainable_variables),
            (descends, model.domain_head.trainable_variables),
        )
    ]
    for variables, gradients in moves:
        move(variables, gradients)
    return {**logs, "reversal": REVERSAL}


def test_a_step_of_gradient_reversal_is_equations_4_to_6():
    assert_step(dann, TWO_DOMAINS, dann_by_hand, a_quarter_done, **DANN_SETTINGS)


def dann_in_test(model, batch):
    (source, labels), _ = batch
    probabilities = tf.nn.softmax(model.label_head(model.features(source)))
    # Nothing is trained yet, so λ is 0.
    fed = labels[labels >= 0], probabilities[labels >= 0]
    return {**dann_losses(model, batch), "reversal": 0.0}, fed


def test_a_test_of_gradient_reversal_tells_source_from_target():
    assert_test(dann, TWO_DOMAINS, dann_in_test, **DANN_SETTINGS)


# The classifier


def classifier():
    return zoo.Classifier(
        SHAPE,
        CLASSES,
        features=network([SHAPE], (4,), seed=0),
        label_head=network([(4,)], (CLASSES,), seed=2),
        seed=0,
    )


CLASSIFIER_SETTINGS = {
    "shift": 1,
    "flip": True,
    "label_smoothing": 0.3,
    "total_steps": 4,
}


def classifier_by_hand(model, batch):
    images, labels = batch
    changed = augmentation.shift_and_flip(images, seeds_of(model, 0), 1, True)
    with descent(model.features, model.label_head) as objectives:
        logits = model.label_head(model.features(changed))
        objectives.append(cross_entropy(labels, logits, 0.3))
    return {"label_loss": objectives[0], "label_accuracy": hits(labels, logits)}


def test_a_step_of_the_classifier_is_on_changed_images_and_smoothed_labels():
    batch = IMAGES, SOME_LABELS
    assert_step(classifier, batch, classifier_by_hand, **CLASSIFIER_SETTINGS)


def classifier_in_test(model, batch):
    images, labels = batch
    logits = model.label_head(model.features(images))
    logs = {
        "label_loss": cross_entropy(labels, logits),
        "label_accuracy": hits(labels, logits),
    }
    return logs, (labels[labels >= 0], tf.nn.softmax(logits)[labels >= 0])


def test_a_test_of_the_classifier_is_on_images_and_labels_as_they_are():
    batch = IMAGES, SOME_LABELS
    assert_test(classifier, batch, classifier_in_test, **CLASSIFIER_SETTINGS)


# Autoencoders


def half_squares(images, reconstructions):
    """½ ||x - x̂||² of each row, pixels from 0 to 1."""
    return tf.reduce_sum(((images - reconstructions) / 2) ** 2, axis=(1, 2, 3)) / 2


def vae():
    return zoo.VAE(SHAPE, latent_dim=2, units=(5,), seed=0)


def vae_bound(images, means, log_variances, decoder, seeds):
    """Equation 7 with the closed form of appendix B, one draw a row."""
    noise = rng.normal(seeds, 2)
    reconstructions = decoder(means + tf.exp(log_variances / 2) * noise)
    x, p = (images + 1) / 2, (reconstructions + 1) / 2
    log_p = x * tf.math.log(p) + (1 - x) * tf.math.log(1 - p)
    inner = 1 + log_variances - means**2 - tf.exp(log_variances)
    return {
        "reconstruction_loss": -tf.reduce_mean(tf.reduce_sum(log_p, axis=(1, 2, 3))),
        "divergence_loss": -tf.reduce_mean(tf.reduce_sum(inner, axis=1)) / 2,
        "euclidean_error": tf.reduce_mean(half_squares(images, reconstructions)),
    }


def vae_by_hand(model, images):
    with descent(model.encoder, model.decoder) as objectives:
        code = model.encoder(images)
        logs = vae_bound(images, *code, model.decoder, seeds_of(model, 0))
        objectives.append(logs["reconstruction_loss"] + logs["divergence_loss"])
    return logs


def test_a_step_of_the_vae_is_up_its_bound():
    assert_step(vae, IMAGES, vae_by_hand)


def test_evaluate_draws_anew_for_each_batch_and_never_as_training_does():
    model = vae()
    drawn = [model.row_seeds(4, stream=0)[0].numpy()]
    drawn += [model.test_row_seeds(4)[0].numpy() for _ in range(3)]
    assert len(np.unique(drawn)) == 16
    model.reset_metrics()
    np.testing.assert_array_equal(model.test_row_seeds(4)[0], drawn[1])


def vae_in_test(model, images):
    seeds, _ = model.test_row_seeds(len(images))
    code = model.encoder(images)
    own = rng.fold_in(seeds, 3)
    logs = vae_bound(images, *code, model.averaged_generator, own)
    return logs, (images, model.averaged_generator(model.prior.sample(seeds)))


def test_a_test_of_the_vae_is_of_a_draw_and_the_average():
    assert_test(vae, IMAGES, vae_in_test, averaging=0.5)


AAES = {
    "unsupervised": {},
    "labelled_prior": {"latent_dim": 2},
    "supervised": {},
    "supervised, joint": {"joint_discriminator": True},
    "semi_supervised": {"posterior": "gaussian"},
    "semi_supervised, joint": {"joint_discriminator": True},
    "clustering": {"cluster_heads": True},
    "unsupervised, images": {"image_discriminator": True},
    "labelled_prior, images": {"latent_dim": 2, "image_discriminator": True},
    "supervised, images": {"image_discriminator": True},
    "semi_supervised, joint, images": {
        "joint_discriminator": True,
        "image_discriminator": True,
    },
    "clustering, images": {"image_discriminator": True},
}


def aae(case):
    form = case.partition(",")[0]
    arguments = {"latent_dim": 3, **AAES[case]}
    if form == "labelled_prior":
        arguments["prior"] = zoo.priors.GaussianMixture(num_classes=CLASSES)
    return zoo.AAE(
        SHAPE, form=form, num_classes=CLASSES, units=(5,), seed=0, **arguments
    )


class AdversarialAutoencoder:
    """What the phases of an AAE compute, in every form.

    Args:
        model: The AAE.
        decoder: The decoder to use.
        labels: Labels of the batch, -1 for none.
    """

    def __init__(self, model, decoder, labels):
        self.model, self.decoder, self.labels = model, decoder, labels
        self.categorical = model.form in ("semi_supervised", "clustering")

    def reconstruction_loss(self, images, code):
        inputs = code.latents
        if self.categorical:
            inputs = [inputs, tf.nn.softmax(code.category_logits)]
        if self.model.form == "supervised":
            inputs = [inputs, tf.one_hot(self.labels, CLASSES)]
        errors = half_squares(images, self.decoder(inputs))
        if self.model.form == "supervised":
            errors = tf.boolean_mask(errors, self.labels >= 0)
        return tf.reduce_mean(errors)

    def head_loss(self, decoder):
        """By how much pairs of heads are nearer than 2 (section 7)."""
        if not self.model.cluster_heads:
            return {}
        (layer,) = (x for x in decoder.layers if hasattr(x, "heads"))
        pairs = itertools.combinations(tf.unstack(layer.heads.value), 2)
        return {"head_loss": sum(tf.nn.relu(2 - tf.norm(a - b)) for a, b in pairs)}

    def judge(self, latents, categories):
        """Logits of each adversary for latents and rows of categories."""
        joint, shown = self.model.joint_discriminator, categories
        if not self.categorical:
            # Without a label an image may lie anywhere, which is a class of its own.
            part = tf.where(self.labels < 0, CLASSES, self.labels)
            shown = tf.one_hot(part, CLASSES + 1)
        if self.model.form == "labelled_prior" or joint:
            latents = [latents, shown]
        logits = [self.model.discriminator(latents)]
        if self.categorical and not joint:
            logits.append(self.model.category_discriminator(categories))
        return [tf.reshape(rows, [-1]) for rows in logits]

    def decoded_draws(self, seeds):
        """Samples of the labels' classes; without a label of one that is drawn."""
        if self.model.form == "labelled_prior":
            return self.decoder(self.model.prior.sample(seeds, self.labels))
        inputs, classes = self.model.prior.sample(seeds), draws(seeds)
        if self.model.form == "supervised":
            classes = tf.where(self.labels < 0, classes, self.labels)
        if self.categorical or self.model.form == "supervised":
            inputs = [inputs, tf.one_hot(classes, CLASSES)]
        return self.decoder(inputs)

    def judge_images(self, images, labels):
        inputs = images
        if self.model.form in ("labelled_prior", "supervised"):
            part = tf.where(labels < 0, CLASSES, labels)
            inputs = [images, tf.one_hot(part, CLASSES + 1)]
        return [tf.reshape(self.model.image_discriminator(inputs), [-1])]

    def judge_code(self, code):
        categories = code.category_logits
        return self.judge(
            code.latents, None if categories is None else tf.nn.softmax(categories)
        )

    def judge_draws(self, seeds):
        given = [self.labels] if self.model.form == "labelled_prior" else []
        return self.judge(
            self.model.prior.sample(seeds, *given), tf.one_hot(draws(seeds), CLASSES)
        )

    def logs(self, real, fake):
        logs = {
            "discriminator_loss": sum(map(discriminator_loss, real, fake)),
            **accuracies(real[0], fake[0]),
        }
        if self.categorical and not self.model.joint_discriminator:
            of_category = accuracies(real[1], fake[1])["discriminator_accuracy"]
            logs["category_discriminator_accuracy"] = of_category
        if self.model.judges_images:
            of_images = accuracies(real[-1], fake[-1])["discriminator_accuracy"]
            logs["image_discriminator_accuracy"] = of_images
        return logs

    def consistency(self, code, other):
        """Jensen and Shannon's divergence: the mean of two of Kullback and Leibler."""
        if not self.categorical:
            return {}
        pair = [tf.nn.softmax(each.category_logits) for each in (code, other)]
        middle = sum(pair) / 2
        divergences = [tf.reduce_sum(p * tf.math.log(p / middle), 1) for p in pair]
        return {"consistency_loss": tf.reduce_mean(sum(divergences) / 2)}

    def classification(self, code):
        if self.model.form != "semi_supervised":
            return {}
        return {
            "classification_loss": cross_entropy(self.labels, code.category_logits),
            "classification_accuracy": hits(self.labels, code.category_logits),
        }


def draws(seeds):
    """Classes, all equally often, by seeds that are not the latents'."""
    return rng.integers(rng.fold_in(seeds, 1), 1, CLASSES)[:, 0]


def aae_by_hand(model, batch):
    """The phases of sections 2 and 5, each on images with noise of its own."""
    images, labels = batch
    hand = AdversarialAutoencoder(model, model.decoder, labels)

    def encoded(stream, pictures=images):
        noisy = augmentation.add_noise(pictures, seeds_of(model, 100 + stream), 0.3)
        return model.infer(noisy, seeds_of(model, stream))

    with descent(model.encoder, model.decoder) as objectives:
        reconstruction = hand.reconstruction_loss(images, encoded(0))
        heads = hand.head_loss(model.decoder)
        distorted = augmentation.distort(images, seeds_of(model, 4))
        consistency = hand.consistency(encoded(0), encoded(5, distorted))
        weighted = [5 * divergence for divergence in consistency.values()]
        game = {}
        if model.judges_images:
            samples = hand.decoded_draws(seeds_of(model, 1))
            game["decoder_loss"] = generator_loss(*hand.judge_images(samples, labels))
            weighted.append(4 * game["decoder_loss"])
        objectives.append(sum([*heads.values(), *weighted], reconstruction))
    adversaries = [x for n, x in model.networks().items() if "discriminator" in n]
    with descent(*adversaries) as objectives:
        real = hand.judge_draws(seeds_of(model, 1))
        fake = hand.judge_code(encoded(2))
        if model.judges_images:
            real += hand.judge_images(images, labels)
            fake += hand.judge_images(samples, labels)
        logs = hand.logs(real, fake)
        objectives.append(logs["discriminator_loss"])
    with descent(model.encoder) as objectives:
        fake = hand.judge_code(encoded(2))
        objectives.append(sum(map(generator_loss, fake)))
    logs |= {"generator_loss": objectives[0], "reconstruction_loss": reconstruction}
    if model.form == "semi_supervised":
        with descent(model.classifier) as objectives:
            logs |= hand.classification(encoded(3))
            objectives.append(logs["classification_loss"])
    return logs | heads | consistency | game


def aae_settings(case):
    settings = {"head_distance": 2.0, "input_noise": 0.3}
    if case.endswith("images"):
        settings["image_weight"] = 4.0
    if case.startswith(("semi_supervised", "clustering")):
        settings["consistency_weight"] = 5.0
    return settings


@pytest.mark.parametrize("case", AAES)
def test_a_step_of_the_aae_is_its_phases(case):
    batch = IMAGES, SOME_LABELS
    assert_step(lambda: aae(case), batch, aae_by_hand, **aae_settings(case))


def aae_in_test(model, batch):
    images, labels = batch
    hand = AdversarialAutoencoder(model, model.averaged_generator, labels)
    code = model.infer(images)
    seeds, _ = model.test_row_seeds(len(images))
    given = [draws(seeds)] if model.form == "labelled_prior" else []
    inputs = latents = model.prior.sample(seeds, *given)
    if model.form in ("supervised", "semi_supervised", "clustering"):
        inputs = [latents, tf.one_hot(draws(seeds), CLASSES)]
    samples = model.averaged_generator(inputs)
    real = hand.judge_draws(seeds)
    fake = hand.judge_code(model.infer(images, rng.fold_in(seeds, 3)))
    logs = {"generator_loss": sum(map(generator_loss, fake))}
    if model.judges_images:
        real += hand.judge_images(images, labels)
        fake += hand.judge_images(samples, draws(seeds))
        logs["decoder_loss"] = generator_loss(fake[-1])
    logs |= {
        "reconstruction_loss": hand.reconstruction_loss(images, code),
        **hand.logs(real, fake),
        **hand.head_loss(model.averaged_generator),
        **hand.classification(code),
        **hand.consistency(
            code, model.infer(augmentation.distort(images, rng.fold_in(seeds, 2)))
        ),
    }
    return logs, (images, samples)


@pytest.mark.parametrize("case", AAES)
def test_a_test_of_the_aae_rebuilds_means_and_judges_draws(case):
    arguments = {"averaging": 0.5, **aae_settings(case)}
    assert_test(lambda: aae(case), (IMAGES, SOME_LABELS), aae_in_test, **arguments)


# Batch normalization, half precision, and the defaults, of every variant

#: Forward passes in training of the networks with batch normalization.
PASSES = {
    "dcgan": {"generator": 1, "discriminator": 2},
    "dcgan_simultaneous": {"generator": 1, "discriminator": 2},
    "dcgan_r1": {"generator": 1},
    "dcgan_feature_matching": {"generator": 1, "discriminator": 2},
    "classifier": {"features": 1},
    "dtn": {"generator": 1, "discriminator": 3},
    "cgan_convolutional": {"generator": 1, "discriminator": 2},
    "infogan": {"generator": 1, "discriminator": 2},
    "semi_supervised_gan": {"generator": 1},
    "semi_supervised_gan_mlp": {"generator": 1},
    "aae_labelled_prior": {"encoder": 2, "decoder": 1, "image_discriminator": 2},
    "aae_cluster_heads": {"encoder": 2, "decoder": 1},
}


def trained_networks(model):
    """Returns a dict of the networks as they are trained, fixed ones apart."""
    every = {name: getattr(model, name) for name in model.network_names}
    return {name: net for name, net in every.items() if net.trainable}


def batch_normalizations(model):
    """Returns a list of these layers by the name of their network."""
    found = {
        name: [
            layer
            for layer in network_checks.all_layers(net)
            if isinstance(layer, layers.BatchNormalization)
        ]
        for name, net in trained_networks(model).items()
    }
    return {name: each for name, each in found.items() if each}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_player_moves_the_batch_statistics_of_another(case):
    """Each pass takes a share of 1 - momentum off a mean that starts far away."""
    model = case.build()
    normalizations = batch_normalizations(model)
    assert set(normalizations) == set(PASSES.get(case.name, ()))
    if not normalizations:
        return
    for layer in itertools.chain(*normalizations.values()):
        layer.moving_mean.assign(tf.fill(layer.moving_mean.shape, 1e6))
    model.compile(**case.compile)
    model.train_step(next(iter(case.load_data())))
    for name, passes in PASSES[case.name].items():
        for layer in normalizations[name]:
            left = layer.moving_mean.numpy() / 1e6
            counted = np.log(left) / math.log(layer.momentum)
            np.testing.assert_allclose(counted, passes, atol=1e-3, err_msg=layer.path)


EVERY_VARIANT = [case for case in CASES if case.name in VARIANTS]


def lengths_of_updates(case, dtype):
    """Returns how far a step of gradient descent moves each network."""
    model = case.build(dtype=dtype)
    optimizers = {
        f"{player}_optimizer": keras.optimizers.SGD(0.01) for player in model.players()
    }
    if dtype == "mixed_float16":
        # The usual first scale, 2^15, would overflow, and skip the step.
        optimizers = {
            name: keras.optimizers.LossScaleOptimizer(sgd, initial_scale=64.0)
            for name, sgd in optimizers.items()
        }
    model.compile(**{**case.compile, **optimizers})
    trained = trained_networks(model)
    before = {
        name: [v.numpy() for v in net.trainable_variables]
        for name, net in trained.items()
    }
    model.train_step(next(iter(case.load_data())))
    return {
        name: math.sqrt(
            sum(
                np.sum((variable - old) ** 2)
                for variable, old in zip(
                    net.trainable_variables, before[name], strict=True
                )
            )
        )
        for name, net in trained.items()
    }


@pytest.mark.parametrize("case", EVERY_VARIANT, ids=lambda case: case.name)
@pytest.mark.filterwarnings("ignore:float16 is for GPUs")
def test_half_precision_moves_the_weights_as_far(case):
    """Losses are scaled up where the gradients are scaled down again."""
    single = lengths_of_updates(case, "float32")
    half = lengths_of_updates(case, "mixed_float16")
    assert half == pytest.approx(single, rel=0.1)
    assert min(single.values()) > 0


def adam(learning_rate):
    return "Adam", {"learning_rate": learning_rate, "beta_1": 0.5}


def sgd(learning_rate, momentum):
    return "SGD", {"learning_rate": learning_rate, "momentum": momentum}


ADAMS = {"generator": adam(2e-4), "discriminator": adam(2e-4)}
OPTIMIZERS = {
    "gan": ADAMS,
    "dcgan": ADAMS,
    "cgan": ADAMS,
    "dtn": ADAMS,
    "infogan": {"generator": adam(1e-3), "discriminator": adam(2e-4)},
    "semi_supervised_gan": {"generator": adam(1e-3), "discriminator": adam(3e-4)},
    "aae": {
        "autoencoder": sgd(0.001, 0.9),
        "discriminator": sgd(0.01, 0.1),
        "encoder": sgd(0.01, 0.1),
        "classifier": sgd(0.01, 0.9),
    },
    "vae": {"autoencoder": ("Adam", {"learning_rate": 1e-3})},
    "dann": {"network": sgd(("InverseDecay", 0.01), 0.9)},
    "classifier": {
        "network": (
            "AdamW",
            {"learning_rate": ("CosineToZero", 3e-3), "weight_decay": 0.02},
        )
    },
}
GAME = {
    "loss": "NonSaturating",
    "penalty": None,
    "penalty_weight": None,
    "discriminator_steps": 1,
    "update": "alternate",
    "label_smoothing": 0.0,
    "augmentation": None,
    "averaging": None,
}
SETTINGS = {
    "gan": GAME,
    "dcgan": GAME,
    "cgan": GAME,
    "dtn": {
        "gang_weight": 1.0,
        "const_weight": 15.0,
        "tid_weight": 15.0,
        "tv_weight": 0.0,
        "averaging": None,
    },
    "infogan": {
        "loss": "NonSaturating",
        "categorical_weight": 1.0,
        "continuous_weight": 0.1,
        "recognition_weight": None,
        "averaging": None,
    },
    "semi_supervised_gan": {
        "loss": "FeatureMatching",
        "input_noise": 0.0,
        "averaging": None,
    },
    "aae": {
        "loss": "NonSaturating",
        "head_distance": 3.0,
        "input_noise": 0.0,
        "consistency_weight": 0.0,
        "averaging": None,
    },
    "vae": {"averaging": None},
    "dann": {"domain_weight": 1.0, "total_steps": None},
    "classifier": {
        "shift": 2,
        "flip": False,
        "label_smoothing": 0.0,
        "total_steps": None,
    },
}


def in_short(value):
    """Returns the class of a serialized object, and a schedule's initial rate."""
    if not isinstance(value, dict):
        return value
    config = value["config"]
    return (value["class_name"], config["initial"]) if config else value["class_name"]


@pytest.mark.parametrize("case", EVERY_VARIANT, ids=lambda case: case.name)
def test_no_arguments_mean_the_settings_that_are_documented(case):
    model = case.build()
    model.compile()
    settings = model.settings()
    for player, (kind, arguments) in OPTIMIZERS[case.name].items():
        optimizer = settings.pop(f"{player}_optimizer")
        assert optimizer["class_name"] == kind
        for argument, value in arguments.items():
            given = in_short(optimizer["config"][argument])
            assert given == pytest.approx(value), (player, argument)
    shortened = {name: in_short(value) for name, value in settings.items()}
    assert shortened == SETTINGS[case.name]


def test_kernels_of_dcgan_start_at_a_deviation_of_a_fiftieth():
    widths = {"generator_filters": 16, "discriminator_filters": 16}
    model = zoo.DCGAN((16, 16, 1), **widths, seed=0)
    for net in model.networks().values():
        kernels = [v for v in net.trainable_variables if len(v.shape) > 1]
        assert len(kernels) == 3
        for kernel in kernels:
            assert np.std(kernel) == pytest.approx(0.02, rel=0.15), kernel.path
            assert np.mean(kernel) == pytest.approx(0, abs=0.003), kernel.path
