"""AAE and VAE do what their papers say, on known numbers and on small problems."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from click.testing import CliRunner
from scipy import stats
from scipy.spatial.distance import jensenshannon

import zoo
from zoo import plots
from zoo.__main__ import main
from zoo.aae import AAE, jensen_shannon
from zoo.augmentation import distort
from zoo.autoencoder import euclidean
from zoo.layers import ClusterHeads
from zoo.metrics import Measurement
from zoo.vae import VAE, bernoulli_loss, normal_divergence

FORMS = {
    "unsupervised": {},
    "labelled_prior": {"prior": "swiss_roll"},
    "supervised": {"posterior": "gaussian"},
    "semi_supervised": {"posterior": "universal"},
    "clustering": {},
}


def aae(form="unsupervised", **arguments):
    arguments = {"units": (32,), "num_classes": 10, **FORMS[form], **arguments}
    return AAE((8, 8, 1), form=form, seed=0, **arguments)


def vae(**arguments):
    return VAE((8, 8, 1), units=(32,), seed=0, **arguments)


def digits(batch_size=50, **arguments):
    return zoo.load_data(
        "digits", image_size=8, batch_size=batch_size, labels=True, **arguments
    )


@pytest.fixture(scope="module")
def batch():
    return next(iter(digits(batch_size=20)))


def compile_only(model, player, learning_rate=0.1):
    """Compiles so that one player alone learns."""
    model.compile(
        **{
            f"{name}_optimizer": keras.optimizers.SGD(
                learning_rate if name == player else 0.0
            )
            for name in model.players()
        }
    )


def compile_fast(model):
    """Compiles with rates that get somewhere on few and small images."""
    model.compile(
        autoencoder_optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        discriminator_optimizer=keras.optimizers.SGD(0.1),
        encoder_optimizer=keras.optimizers.SGD(0.1),
    )


def weights_after_a_step(model, images, labels):
    model.train_step((images, labels))
    return {name: net.get_weights() for name, net in model.networks().items()}


def same(ours, theirs):
    return all((a == b).all() for a, b in zip(ours, theirs, strict=True))


# Losses on known numbers


def test_euclidean_is_half_the_squared_distance_of_pixels_from_0_to_1():
    black, white = -np.ones((1, 3, 2, 1)), np.ones((1, 3, 2, 1))
    assert float(euclidean(black, white)[0]) == pytest.approx(0.5 * 6)
    assert float(euclidean(black, np.zeros_like(black))[0]) == pytest.approx(0.75)


def test_bernoulli_loss_is_the_cross_entropy_of_pixels():
    rng = np.random.default_rng(0)
    pixels, ones = rng.uniform(0.01, 0.99, size=(2, 4, 3, 3, 1)).astype(np.float32)
    expected = -(pixels * np.log(ones) + (1 - pixels) * np.log(1 - ones)).sum((1, 2, 3))
    given = bernoulli_loss(pixels * 2 - 1, ones * 2 - 1)
    np.testing.assert_allclose(given, expected, rtol=1e-5)
    # A saturated tanh is wrong by a finite amount.
    assert np.isfinite(bernoulli_loss(*np.float32([[[[[-1]]]], [[[[1]]]]])))


@pytest.mark.parametrize(
    ("mean", "variance", "stddev", "expected"),
    [
        (0.0, 1.0, 1.0, 0.0),
        (1.0, 1.0, 1.0, 0.5),
        (0.0, np.e, 1.0, 0.5 * (np.e - 2)),
        # log(5/2) + (4 + 9) / (2 * 25) - 1/2
        (3.0, 4.0, 5.0, np.log(2.5) + 13 / 50 - 0.5),
    ],
)
def test_normal_divergence_is_the_closed_form(mean, variance, stddev, expected):
    means = np.full((1, 3), mean, np.float32)
    log_variances = np.log(np.full((1, 3), variance, np.float32))
    given = float(normal_divergence(means, log_variances, stddev)[0])
    assert given == pytest.approx(3 * expected, abs=1e-5)


def test_the_sampled_divergence_estimates_the_closed_form():
    # A mixture of one component at the origin is the normal prior.
    prior = zoo.priors.GaussianMixture(num_classes=1, radius=0.0, along=1.0, across=1.0)
    sampled, closed = vae(prior=prior), vae(latent_dim=2)
    images = np.tile(next(iter(digits()))[0][:1], (4000, 1, 1, 1))
    code = sampled.infer(images, tf.range(4000))
    expected = float(closed._divergence(code)[0])
    estimates = sampled._divergence(code).numpy()
    error = estimates.std() / np.sqrt(4000)
    assert estimates.mean() == pytest.approx(expected, abs=4 * error)


def test_a_prior_derived_from_the_normal_keeps_its_own_density(batch):
    @keras.saving.register_keras_serializable("tests")
    class Shifted(zoo.priors.Normal):
        def log_prob(self, latents):
            return super().log_prob(latents - 5.0)

    divergence = [
        float(tf.reduce_mean(model._divergence(model.infer(batch[0], tf.range(20)))))
        for model in (vae(prior=Shifted(2)), vae(latent_dim=2))
    ]
    assert divergence[0] > divergence[1] + 10


def test_the_vae_s_loss_is_its_negative_bound(batch):
    model = vae(latent_dim=2)
    model.compile()
    logs = model.evaluate(*batch, verbose=0, return_dict=True)
    total = logs["reconstruction_loss"] + logs["divergence_loss"]
    assert logs["loss"] == pytest.approx(total, rel=1e-5)
    # 64 pixels of which nothing is known cost ln 2 each, and that is where it starts.
    assert logs["reconstruction_loss"] == pytest.approx(64 * np.log(2), rel=0.1)


# The phases


def distance_to_prior(model, images):
    """Mean Wasserstein distance along 16 directions of the plane."""
    codes = model.encode(images)
    draws = model.prior.sample(tf.range(4000)).numpy()
    angles = np.pi * np.arange(16) / 16
    directions = np.stack([np.cos(angles), np.sin(angles)])
    return np.mean(
        [
            stats.wasserstein_distance(ours, theirs)
            for ours, theirs in zip(
                (codes @ directions).T, (draws @ directions).T, strict=True
            )
        ]
    )


def test_the_adversary_moves_the_codes_towards_the_prior():
    images = np.concatenate([images for images, _ in digits()])
    model = aae(latent_dim=2)
    before = distance_to_prior(model, images)
    compile_fast(model)
    model.fit(digits(), epochs=8, verbose=0)
    assert distance_to_prior(model, images) < before
    # It is the adversary that does so, not the reconstruction.
    alone = aae(latent_dim=2)
    compile_only(alone, "autoencoder", 0.01)
    alone.fit(digits(), epochs=8, verbose=0)
    assert distance_to_prior(model, images) < distance_to_prior(alone, images) / 5


def test_labels_bring_each_class_to_its_component():
    prior = zoo.priors.GaussianMixture()
    model = aae("labelled_prior", prior=prior)
    images, labels = map(np.concatenate, zip(*digits(), strict=True))
    means = prior.walk(1).numpy()[:, 0]

    def share_nearest_to_own():
        distances = np.linalg.norm(model.encode(images)[:, None] - means, axis=-1)
        return np.mean(distances.argmin(axis=1) == labels)

    assert share_nearest_to_own() < 0.3
    compile_fast(model)
    model.fit(digits(), epochs=30, verbose=0)
    assert share_nearest_to_own() > 0.6


@pytest.mark.parametrize("player", ["autoencoder", "discriminator", "encoder"])
def test_each_phase_moves_its_own_networks(batch, player):
    model = aae()
    before = {name: net.get_weights() for name, net in model.networks().items()}
    compile_only(model, player)
    after = weights_after_a_step(model, *batch)
    names = {
        "autoencoder": {"encoder", "decoder"},
        "discriminator": {"discriminator"},
        "encoder": {"encoder"},
    }
    moved = {name for name in before if not same(before[name], after[name])}
    assert moved == names[player]


def test_noise_on_the_input_has_the_deviation_asked_for(batch):
    images = batch[0]
    copy = keras.layers.Dense(64, kernel_initializer="identity")
    encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), copy])
    model = aae(latent_dim=64, encoder=encoder)
    model.compile(input_noise=0.3)
    codes = [model._encode_in_training(images, stream).means for stream in (0, 2, 2)]
    noise = [(code - tf.reshape(images, (-1, 64))).numpy() / 2 for code in codes]
    assert noise[0].std() == pytest.approx(0.3, rel=0.05)
    assert abs(noise[0].mean()) < 0.03
    # A phase sees the same noise again, another phase another.
    np.testing.assert_array_equal(noise[1], noise[2])
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1
    np.testing.assert_allclose(model.encode(images), tf.reshape(images, (-1, 64)))


def test_consistent_categories_outlive_a_distortion():
    images = np.concatenate([images for images, _ in digits()])
    distorted = distort(images, tf.range(len(images)))

    def share_kept(consistency_weight):
        model = aae("clustering", batch_normalization=True)
        model.compile(
            autoencoder_optimizer=keras.optimizers.Adam(0.01),
            consistency_weight=consistency_weight,
        )
        model.fit(digits(), epochs=5, verbose=0)
        pair = [model.classify(each).argmax(axis=1) for each in (images, distorted)]
        assert len(set(pair[0])) > 3
        return np.mean(pair[0] == pair[1])

    assert share_kept(30.0) > share_kept(0.0) + 0.05


def test_consistency_is_for_forms_with_a_category():
    with pytest.raises(ValueError, match=r"0 or more.*consistency_weight="):
        aae("clustering").compile(consistency_weight=-1)
    with pytest.raises(ValueError, match="consistency_weight is for the forms"):
        aae("supervised").compile(consistency_weight=1.0)
    rows = zoo.AAE((6,), form="clustering", num_classes=2, units=(4,))
    with pytest.raises(ValueError, match=r"is for images, and samples have .* \(6,\)"):
        rows.compile(consistency_weight=1.0)
    model = aae("clustering")
    model.compile(consistency_weight=1.0)
    assert "consistency_loss" in model.fit(digits(), verbose=0).history
    model.compile()
    assert "consistency_loss" not in model.fit(digits(), verbose=0).history


def test_classification_moves_the_encoder_up_to_its_category(batch):
    model = aae("semi_supervised")
    compile_only(model, "classifier")
    before = model.encoder.get_layer("means").get_weights()
    logits = model.encoder.get_layer("category_logits").get_weights()
    model.train_step(batch)
    assert same(before, model.encoder.get_layer("means").get_weights())
    assert not same(logits, model.encoder.get_layer("category_logits").get_weights())


@pytest.mark.parametrize(
    ("form", "player"),
    [("semi_supervised", "classifier"), ("supervised", "autoencoder")],
)
def test_unlabelled_rows_contribute_nothing(batch, form, player):
    images, labels = batch
    some = tf.where(tf.range(20) % 3 == 0, labels, -1)
    noise = tf.random.stateless_uniform(images.shape, [1, 2], -1.0, 1.0)
    others = tf.where((some < 0)[:, None, None, None], noise, images)

    def trained(*batch):
        model = aae(form)
        compile_only(model, player)
        return weights_after_a_step(model, *batch)

    initial = {name: net.get_weights() for name, net in aae(form).networks().items()}
    assert not same(trained(images, some)["encoder"], initial["encoder"])
    for ours, theirs in zip(
        trained(images, some)["encoder"], trained(others, some)["encoder"], strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)
    unlabelled = trained(images, tf.fill([20], tf.constant(-1, tf.int64)))
    assert all(same(unlabelled[name], initial[name]) for name in initial)


def test_a_mean_over_marked_rows_is_the_same_on_two_replicas():
    values = tf.constant([1.0, 2.0, 3.0, 10.0, 20.0, 30.0])
    marked = tf.constant([True, False, False, True, True, True])
    strategy = zoo.strategy("mirrored", 2)
    with strategy.scope():
        model = aae()

    def replica(rows, marks):
        return model.mean_where(marks, rows)

    def per_replica(array):
        return strategy.experimental_distribute_values_from_function(
            lambda c: array[3 * c.replica_id_in_sync_group :][:3]
        )

    run = tf.function(strategy.run)
    shares = run(replica, args=(per_replica(values), per_replica(marked)))
    assert float(strategy.reduce("mean", shares, axis=None)) == pytest.approx(61 / 4)
    assert float(aae().mean_where(marked, values)) == pytest.approx(61 / 4)
    assert float(aae().mean_where(marked & False, values)) == 0


def test_a_replica_of_fewer_rows_is_tested_on_draws_from_the_prior():
    rows = tf.data.Dataset.from_tensors(np.linspace(-1, 1, 192).reshape(3, 8, 8, 1))
    logs = []
    for strategy in (zoo.strategy("none"), zoo.strategy("mirrored", 2)):
        with strategy.scope():
            model = aae(prior="stratified")
            model.compile()
        logs.append(model.evaluate(rows, verbose=0, return_dict=True))
    assert logs[1] == pytest.approx(logs[0], rel=1e-5)


def test_cluster_heads_by_hand():
    heads = ClusterHeads()
    styles, clusters = tf.constant([[1.0, 2.0]]), tf.constant([[0.25, 0.0, 0.75]])
    heads([styles, clusters])
    heads.set_weights([np.array([[0.0, 0.0], [3.0, 4.0], [4.0, 0.0]])])
    np.testing.assert_allclose(heads([styles, clusters]), [[1 + 3.0, 2.0]])
    # The heads are 5, 4 and sqrt(17) apart.
    assert float(heads.crowding(3.0)) == 0
    crowding = 1 + 2 + (6 - 17**0.5)
    assert float(heads.crowding(6.0)) == pytest.approx(crowding, rel=1e-6)


def test_cluster_heads_at_one_place_have_a_gradient_in_half_precision():
    heads = ClusterHeads(dtype="float16")
    heads.build([(None, 2), (None, 2)])
    heads.heads.assign([[1.0, 0.0], [1.0, 0.0]])
    with tf.GradientTape() as tape:
        crowding = heads.crowding(3.0)
    assert np.isfinite(tape.gradient(crowding, heads.heads)).all()


@pytest.mark.parametrize("form", ["semi_supervised", "clustering"])
def test_cluster_heads_part_and_place_the_images(form, tmp_path):
    model = aae(form, posterior="deterministic", latent_dim=2, cluster_heads=True)
    adam = keras.optimizers.Adam(0.02)
    model.compile(autoencoder_optimizer=adam, averaging=0.9)
    history = model.fit(digits(), epochs=3, verbose=0).history
    assert history["head_loss"][-1] < history["head_loss"][0] / 2

    images, labels = zoo.data.load_arrays("digits", "test", image_size=8)
    styles, categories = model.encode(images), model.classify(images)
    layers = model.decoder_in_use().layers
    (heads,) = (layer for layer in layers if isinstance(layer, ClusterHeads))
    expected = styles + categories @ heads.get_weights()[0]
    represented = model.represent(images)
    np.testing.assert_allclose(represented, expected, rtol=1e-4, atol=1e-5)
    assert model.latent_space(images, labels).size[0] > 100

    model.save_to_preset(tmp_path / "preset")
    again = zoo.from_preset(tmp_path / "preset")
    np.testing.assert_array_equal(again.represent(images), represented)


def test_cluster_heads_are_for_forms_with_a_category():
    with pytest.raises(ValueError, match="cluster_heads is for the forms"):
        aae("supervised", cluster_heads=True)
    with pytest.raises(ValueError, match=r"needs a zoo\.layers\.ClusterHeads"):
        aae("clustering", cluster_heads=True, decoder=aae("clustering").decoder)
    with pytest.raises(ValueError, match="cluster_heads=True to represent"):
        aae("clustering").represent(np.zeros((1, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match=r"0 or more.*head_distance="):
        aae("clustering", cluster_heads=True).compile(head_distance=-1)


def test_a_joint_discriminator_makes_styles_independent_of_classes():
    images, labels = zoo.data.load_arrays("digits", "train", image_size=8)

    def share_told_by_the_class(joint):
        """Share of the styles' variance that lies between the classes."""
        model = aae(
            "semi_supervised",
            posterior="deterministic",
            latent_dim=2,
            batch_normalization=True,
            joint_discriminator=joint,
        )
        rates = {"autoencoder": 3e-3, "discriminator": 1e-2, "encoder": 3e-3}
        model.compile(
            **{f"{k}_optimizer": keras.optimizers.Adam(v) for k, v in rates.items()}
        )
        model.fit(digits(), epochs=10, verbose=0)
        styles = model.encode(images)
        means = np.stack([styles[labels == k].mean(axis=0) for k in range(10)])
        return means[labels].var(axis=0).mean() / styles.var(axis=0).mean()

    assert share_told_by_the_class(True) < share_told_by_the_class(False) / 3


def test_a_joint_discriminator_is_for_decoders_that_take_a_category():
    for form in ("unsupervised", "labelled_prior"):
        with pytest.raises(ValueError, match="joint_discriminator is for the forms"):
            aae(form, joint_discriminator=True)
    with pytest.raises(ValueError, match=r"True or False.*joint_discriminator="):
        aae("supervised", joint_discriminator="both")
    alone = aae("supervised").discriminator
    with pytest.raises(ValueError, match=r"discriminator.*must take rows of shapes"):
        aae("supervised", joint_discriminator=True, discriminator=alone)


def test_a_discriminator_of_images_makes_samples_vary_as_images_do():
    def variance(image_discriminator):
        model = aae(
            "supervised",
            posterior="deterministic",
            latent_dim=2,
            units=(64,),
            batch_normalization=True,
            image_discriminator=image_discriminator,
        )
        rates = {"autoencoder": 3e-3, "discriminator": 3e-3, "encoder": 1e-3}
        model.compile(
            **{
                f"{player}_optimizer": keras.optimizers.Adam(rate, beta_1=0.5)
                for player, rate in rates.items()
            }
        )
        model.fit(digits(), epochs=20, verbose=0)
        return model.generate(500).var(axis=0).sum()

    images, _ = zoo.data.load_arrays("digits", "train", image_size=8)
    of_images = aae().pixels(images).var(axis=0).sum()
    assert 1.1 * variance(False) < variance(True) < of_images


@pytest.mark.parametrize("form", FORMS)
def test_a_discriminator_of_images_has_the_layers_of_the_encoder(form):
    settings = {"filters": 4, "kernel_size": 3, "units": (8, 6)}
    model = AAE(
        (28, 28, 1),
        form=form,
        num_classes=10,
        architecture="convolutional",
        image_discriminator=True,
        seed=0,
        **({"prior": "swiss_roll"} if form == "labelled_prior" else {}),
        **settings,
    )
    told = 11 if form in ("labelled_prior", "supervised") else 0
    weights = model.image_discriminator.get_weights()
    kernels = [w.shape for w in weights if len(w.shape) > 1]
    of_images = [(3, 3, 1, 4), (3, 3, 4, 8)]
    assert kernels == [*of_images, (7 * 7 * 8 + told, 8), (8, 6), (6, 1)]
    activations = [
        layer.activation
        for layer in model.image_discriminator.layers
        if isinstance(layer, keras.layers.Dense)
    ]
    assert [x.__name__ for x in activations] == ["leaky_relu", "leaky_relu", "linear"]
    assert model.get_config()["image_discriminator"] is True
    assert "image_discriminator" in model.networks()


def test_a_discriminator_of_images_is_checked():
    with pytest.raises(ValueError, match=r"True or False.*image_discriminator="):
        aae(image_discriminator="sharp")
    with pytest.raises(ValueError, match=r"0 or more.*image_weight="):
        aae(image_discriminator=True).compile(image_weight=-1)
    with pytest.raises(ValueError, match="image_weight=5 is for a model with an image"):
        aae().compile(image_weight=5)
    assert "image_discriminator" not in aae().networks()
    model = aae(image_discriminator=True)
    model.compile()
    assert model.image_weight == 10
    untold = model.image_discriminator
    with pytest.raises(ValueError, match=r"must take rows of shapes.*\(11,\)"):
        aae("supervised", image_discriminator=untold)


def test_a_discriminator_of_images_can_be_given(tmp_path):
    bounded = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.SpectralNormalization(keras.layers.Dense(1)),
        ]
    )
    model = aae(image_discriminator=bounded)
    with pytest.warns(UserWarning, match="keeps the discriminator so") as warned:
        model.compile(loss="wasserstein")
    assert len(warned) == 1
    assert model.image_discriminator is bounded
    model.save_to_preset(tmp_path / "preset")
    found = AAE.from_preset(tmp_path / "preset").image_discriminator
    assert same(found.get_weights(), bounded.get_weights())


def test_codes_and_draws_are_decoded_as_one_batch(batch, monkeypatch):
    model = aae(image_discriminator=True)
    model.compile()
    decode, rows = model.decoder.call, []

    def noted(latents, **kwargs):
        rows.append(latents.shape[0])
        return decode(latents, **kwargs)

    monkeypatch.setattr(model.decoder, "call", noted)
    model.train_step(batch)
    assert rows == [40, 40]


def test_the_game_of_images_moves_the_decoder_and_not_the_encoder(batch):
    trained = {}
    for weight in (0, 50):
        model = aae(batch_normalization=True, image_discriminator=True)
        rates = dict.fromkeys(model.players(), 0.0) | {"autoencoder": 0.01}
        model.compile(
            image_weight=weight,
            **{f"{k}_optimizer": keras.optimizers.SGD(v) for k, v in rates.items()},
        )
        before = model.encoder.get_weights()
        model.train_step(batch)
        assert not same(model.encoder.get_weights(), before)
        trained[weight] = model
    for name, moved in {"encoder": False, "decoder": True}.items():
        pair = [getattr(each, name).get_weights() for each in trained.values()]
        assert same(*pair) != moved


@pytest.mark.parametrize("batch_normalization", [False, True])
def test_convolutions_lie_between_images_and_dense_layers(batch_normalization):
    settings = {"filters": 4, "kernel_size": 3, "units": (8, 6)}
    model = AAE(
        (28, 28, 1),
        form="supervised",
        num_classes=10,
        latent_dim=5,
        architecture="convolutional",
        batch_normalization=batch_normalization,
        seed=0,
        **settings,
    )

    def kernels(network):
        return [w.shape for w in network.trainable_weights if len(w.shape) > 1]

    of_images = [(3, 3, 1, 4), (3, 3, 4, 8)]
    assert kernels(model.encoder) == [*of_images, (7 * 7 * 8, 8), (8, 6), (6, 5)]
    up = [(3, 3, 4, 8), (3, 3, 1, 4)]
    assert kernels(model.decoder) == [(5 + 10, 8), (8, 6), (6, 7 * 7 * 8), *up]

    def normalizations(network):
        return sum(
            isinstance(x, keras.layers.BatchNormalization) for x in network.layers
        )

    # Of the dense layers, the latents, and the convolutions that take no pixels.
    assert normalizations(model.encoder) == (4 if batch_normalization else 0)
    assert normalizations(model.decoder) == (4 if batch_normalization else 2)
    config = model.get_config()
    assert config["architecture"] == "convolutional"
    assert {name: config[name] for name in settings} == settings


def test_the_vae_has_the_convolutions_of_the_aae():
    settings = {"architecture": "convolutional", "filters": 4, "kernel_size": 3}
    model = VAE((16, 16, 1), latent_dim=2, units=(8,), seed=0, **settings)
    aae = AAE((16, 16, 1), 2, units=(8,), seed=0, posterior="gaussian", **settings)
    for name in ("encoder", "decoder"):
        pair = [getattr(each, name).get_weights() for each in (model, aae)]
        assert same(*pair)
    assert {name: model.get_config()[name] for name in settings} == settings


def test_convolutional_autoencoders_are_of_square_images():
    for variant in (AAE, VAE):
        with pytest.raises(ValueError, match="'mlp' or 'convolutional'"):
            variant((16, 16, 1), architecture="resnet")
        with pytest.raises(ValueError, match="filters is for the networks of"):
            variant((16, 16, 1), filters=8)
        for shape in ((256,), (16, 20, 1), (8, 8, 1)):
            with pytest.raises(ValueError, match=r"square images|16 to 128"):
                variant(shape, architecture="convolutional")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_learns_to_reconstruct(form):
    model = aae(form)
    model.compile()
    data = digits(labelled=100) if form == "semi_supervised" else digits()
    history = model.fit(data, epochs=3, verbose=0).history
    assert set(history) == {"loss", *model.logged}
    losses = history["reconstruction_loss"]
    assert losses[-1] < losses[0]
    if form == "semi_supervised":
        assert history["classification_accuracy"][-1] > 0.5
    test = model.evaluate(digits(split="test"), verbose=0, return_dict=True)
    assert np.isfinite(list(test.values())).all()
    again = AAE.from_config(model.get_config())
    assert again.get_config() == model.get_config()


@pytest.mark.parametrize("form", FORMS)
def test_data_have_labels_where_the_form_learns_by_them(form):
    without = form in ("unsupervised", "clustering")
    expected = {} if without else {"labels": True}
    assert AAE.data_arguments_for({"form": form}) == expected
    assert AAE.data_arguments_for({}) == {}


# Encoding and decoding


def test_batch_normalization_centres_what_the_encoder_says(batch):
    model = aae("semi_supervised", posterior="gaussian", batch_normalization=True)
    means, log_variances, category_logits = model.encoder(batch[0], training=True)
    for normalized in (means, category_logits):
        np.testing.assert_allclose(np.mean(normalized, axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(np.std(normalized, axis=0), 1, atol=0.02)
    assert np.abs(np.mean(log_variances, axis=0)).max() > 0.01
    plain = aae("semi_supervised", posterior="gaussian")
    assert len(model.encoder.weights) > len(plain.encoder.weights)
    assert len(model.decoder.weights) > len(plain.decoder.weights)


def test_encode_is_the_mean_of_the_draws(batch):
    images = np.tile(batch[0][:1], (3000, 1, 1, 1))
    model = aae("supervised")
    code = model.infer(images, tf.range(3000))
    spread = np.exp(code.log_variances / 2)
    np.testing.assert_allclose(model.encode(images[:1])[0], code.means[0], atol=1e-6)
    scaled = ((code.latents - code.means) / spread).numpy()
    assert stats.kstest(scaled[:, 0], "norm").pvalue > 0.001
    alone = model.infer(images[:1], tf.constant([17])).latents[0]
    np.testing.assert_allclose(alone, code.latents[17], atol=1e-5)


def test_a_universal_posterior_depends_on_its_noise(batch):
    model = aae(posterior="universal")
    images = np.tile(batch[0][:1], (4, 1, 1, 1))
    latents = model.infer(images, tf.constant([1, 2, 1, 3])).latents.numpy()
    np.testing.assert_allclose(latents[0], latents[2], atol=1e-6)
    assert np.abs(latents[0] - latents[1]).max() > 1e-3
    np.testing.assert_allclose(*model.encode(images[:2]), atol=1e-6)


def test_reconstruct_is_decode_of_encode(batch):
    images = batch[0].numpy()
    pixels = zoo.images.to_uint8(images)
    np.testing.assert_allclose(vae().encode(pixels), vae().encode(images), atol=1e-5)
    for model in (aae(), vae()):
        expected = model.decode(model.encode(images))
        np.testing.assert_allclose(model.reconstruct(images), expected, atol=1e-6)
        np.testing.assert_allclose(model(images), expected, atol=1e-6)
    model = aae("supervised")
    threes = model.reconstruct(images, labels=3)
    expected = model.decode(model.encode(images), labels=3)
    np.testing.assert_allclose(threes, expected, atol=1e-6)
    assert np.abs(threes - model.reconstruct(images, labels=4)).max() > 1e-3


def test_a_label_chooses_the_part_of_the_prior_to_generate_from():
    model = aae("labelled_prior")
    seeds = np.arange(5)
    latents = model.prior.sample(seeds, tf.fill([5], 7))
    generated = model.generate(seeds=seeds, labels=7)
    np.testing.assert_allclose(generated, model.decode(latents), atol=1e-6)


def test_classify_gives_probabilities(batch):
    images = batch[0].numpy()
    for form in ("semi_supervised", "clustering"):
        probabilities = aae(form, num_classes=4).classify(images)
        assert probabilities.shape == (20, 4)
        np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    with pytest.raises(ValueError, match="'semi_supervised' and 'clustering' classify"):
        aae("supervised").classify(images)


def test_generated_images_use_the_averaged_decoder(batch):
    model = aae()
    model.compile(averaging=0.9)
    for _ in range(3):
        model.train_step(batch)
    averaged = model.averaged_generator(model.prior.sample(tf.range(2)))
    np.testing.assert_allclose(model.generate(2), averaged, atol=1e-6)
    assert np.abs(model.decoder(model.prior.sample(tf.range(2))) - averaged).max() > 0


@pytest.mark.parametrize("form", ["unsupervised", "semi_supervised", "clustering"])
def test_reconstructions_are_by_the_averaged_decoder(batch, form):
    images, _ = batch
    model = aae(form)
    model.compile(averaging=0.9)
    for variable in model.averaged_generator.weights:
        variable.assign(2 * variable + 0.1)
    code = model.infer(images)
    inputs = code.means
    if form != "unsupervised":
        inputs = [inputs, tf.nn.softmax(code.category_logits)]
    given = model.reconstruct(images.numpy())
    np.testing.assert_allclose(given, model.averaged_generator(inputs), atol=1e-6)
    assert np.abs(given - model.decoder(inputs)).max() > 0.01


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "wrong"}, "Expected a form of"),
        ({"form": "clustering"}, "'clustering' needs num_classes"),
        ({"posterior": "wrong"}, "Expected a posterior of"),
        ({"prior": zoo.priors.Normal(3), "latent_dim": 8}, "rows of 3 numbers, and"),
        ({"prior": "swiss_roll", "latent_dim": 8}, "latent_dim=2"),
        ({"form": "labelled_prior", "num_classes": 10}, "a part for each class"),
        (
            {"form": "labelled_prior", "num_classes": 9, "prior": "swiss_roll"},
            "has 10 parts and the labels 9 classes",
        ),
        (
            {"form": "labelled_prior", "num_classes": 11, "prior": "swiss_roll"},
            "has 10 parts and the labels 11 classes",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AAE((8, 8, 1), units=(8,), **arguments)


def test_networks_that_end_in_probabilities_are_refused():
    judge = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
    with pytest.raises(ValueError, match="discriminator must return logits"):
        aae(latent_dim=2, discriminator=judge)
    images = keras.Input((8, 8, 1))
    means, logits = aae("clustering").encoder(images)
    encoder = keras.Model(images, [means, keras.layers.Softmax()(logits)])
    with pytest.raises(ValueError, match="encoder must return logits"):
        aae("clustering", encoder=encoder)


def test_a_call_never_trains(batch):
    model = aae(batch_normalization=True)
    before = model.get_weights()
    np.testing.assert_array_equal(model(batch[0], training=True), model(batch[0]))
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_networks_that_do_not_fit_are_refused():
    decoder = aae(latent_dim=3).decoder
    with pytest.raises(ValueError, match=r"decoder must take rows of shapes \[\(2,\)"):
        AAE(latent_dim=2, units=(8,), decoder=decoder)
    with pytest.raises(ValueError, match="encoder has to return"):
        AAE(
            latent_dim=3,
            units=(8,),
            posterior="gaussian",
            decoder=decoder,
            encoder=aae(latent_dim=3).encoder,
        )
    model = AAE(latent_dim=3, units=(8,), decoder=decoder, seed=0)
    assert model.image_shape == (8, 8, 1)
    again = AAE.from_config(model.get_config())
    assert again.decoder.output_shape == (None, 8, 8, 1)


def test_a_vae_needs_the_density_of_its_prior():
    with pytest.raises(ValueError, match="SwissRoll has no log_prob"):
        vae(prior="swiss_roll")


def test_a_classifier_optimizer_needs_a_classifier():
    with pytest.raises(ValueError, match="for the form 'semi_supervised'"):
        aae().compile(classifier_optimizer="sgd")


def test_wrong_images_labels_and_latents_are_refused(batch):
    images, labels = batch
    model = aae("supervised")
    model.compile()
    with pytest.raises(ValueError, match="images and labels"):
        model.train_step(images)
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels must be in 0"):
        model.train_step((images, labels + 10))
    with pytest.raises(ValueError, match="labels must be in 0"):
        model.generate(2, labels=10)
    with pytest.raises(ValueError, match="labels must be in 0"):
        model.reconstruct(images.numpy(), labels=-2)
    with pytest.raises(ValueError, match="built for samples of shape"):
        model.encode(np.zeros((1, 9, 9, 1), np.float32))
    with pytest.raises(ValueError, match=r"latents of shape \[n, 15\]"):
        model.decode(np.zeros((1, 4)))
    with pytest.raises(ValueError, match="takes no conditions here"):
        aae().decode(np.zeros((1, 8)), labels=1)


def test_measures_what_the_form_is_for():
    test = {"name": "digits", "split": "test", "image_size": 8}
    reconstruction, error = aae("semi_supervised").measure(**test)
    assert (reconstruction.name, error.name) == ("reconstruction_loss", "test_error")
    assert 0.5 < error.value <= 1
    _, error = aae("clustering").measure(**test)
    assert error.name == "clustering_error"
    model = aae("supervised")
    model.compile()
    logs = model.evaluate(digits(split="test"), verbose=0, return_dict=True)
    (error,) = model.measure(**test)
    assert error.name == "reconstruction_loss"
    assert error.value == pytest.approx(logs["reconstruction_loss"], rel=1e-5)


def test_evaluate_judges_draws_of_the_latents_as_training_does(batch):
    latents = keras.Input((2,))
    judge = keras.Model(latents, keras.layers.Dot(axes=1)([latents, latents]))
    model = aae(posterior="gaussian", latent_dim=2, discriminator=judge)
    model.encoder.set_weights([0 * weight for weight in model.encoder.get_weights()])
    model.compile()
    logs = model.evaluate(*batch, verbose=0, return_dict=True)
    # q(z|x) is N(0, 1): its mean, 0, would be taken for real half of the time.
    assert logs["generator_loss"] < 0.6


def test_clusters_are_named_by_the_first_half_and_measured_on_the_second(
    tmp_path, monkeypatch
):
    pixels = np.zeros((8, 8, 8, 1), np.uint8)
    labels = np.array([0, 0, 1, 1, 0, 1, 1, 1])
    # Each of the first half is in the cluster of its label, three of the second are.
    clusters = np.array([0, 0, 1, 1, 0, 1, 1, 0])
    np.savez(tmp_path / "test.npz", image=pixels, label=labels)
    model = aae("clustering", num_classes=2)
    monkeypatch.setattr(model, "classify", lambda images: np.eye(2)[clusters])
    _, error = model.measure(name=str(tmp_path), split="test", labels=True)
    assert error == Measurement("clustering_error", 0.25, real_count=4)


def test_the_vae_measures_by_the_names_of_its_logs():
    model = vae()
    model.compile()
    logs = model.evaluate(digits(split="test"), verbose=0, return_dict=True)
    (error,) = model.measure(name="digits", split="test", image_size=8)
    assert (error.name, error.real_count) == ("euclidean_error", 297)
    # `evaluate` decodes a draw of the latents, `measure` their mean.
    assert error.value == pytest.approx(logs["euclidean_error"], rel=0.2)


@pytest.mark.parametrize(
    ("form", "log"),
    [
        ("supervised", "reconstruction_loss"),
        ("semi_supervised", "classification_loss"),
    ],
)
def test_what_needs_labels_is_a_mean_over_labelled_rows_however_they_are_batched(
    batch, form, log
):
    images, labels = (part.numpy() for part in batch)
    labels[:10] = 0  # A label like the others.
    labels[15:] = -1
    model = aae(form)
    model.compile(run_eagerly=True)
    losses = [
        model.evaluate(images, labels, batch_size=rows, verbose=0, return_dict=True)
        for rows in (20, 10)
    ]
    assert losses[0][log] == pytest.approx(losses[1][log], rel=1e-5)


def test_no_reconstruction_is_measured_without_the_labels_it_takes(batch, tmp_path):
    images, _ = batch
    np.savez(tmp_path / "test.npz", image=zoo.images.to_uint8(images).numpy())
    with pytest.raises(ValueError, match="decodes an image with its label"):
        aae("supervised").measure(name=str(tmp_path), split="test")


# Pictures


class Shifted(zoo.priors.Normal):
    def sample(self, seeds):
        return super().sample(seeds + tf.constant(1, tf.int64))


def test_a_prior_is_pictured_by_seeds_of_64_bits(batch):
    assert aae(prior=Shifted(2)).latent_space(batch[0]).width > 100


def test_the_picture_has_a_manifold_where_there_is_a_walk(batch):
    images, labels = batch
    alone = aae().latent_space(images, labels)
    beside = aae(prior="gaussian_mixture").latent_space(images, labels, columns=4)
    assert beside.width > 1.5 * alone.width
    # A decoder that is told labels has no single picture of a point.
    supervised = aae("supervised", prior="gaussian_mixture")
    assert supervised.latent_space(images).width == alone.width
    with pytest.raises(ValueError, match="at least two numbers a row"):
        aae(latent_dim=1).latent_space(images)


def test_the_picture_of_cluster_heads_is_of_the_space_that_they_lie_in(batch):
    images, labels = batch
    model = aae("clustering", latent_dim=2, cluster_heads=True)
    expected, styles = (
        np.asarray(plots.latent_space(points, labels))
        for points in (model.represent(images.numpy()), model.encode(images.numpy()))
    )
    np.testing.assert_array_equal(model.latent_space(images.numpy(), labels), expected)
    assert styles.shape != expected.shape or (styles != expected).any()


def test_the_command_line_draws_latents(tmp_path):
    metadata = {"recipe": {"data": {"name": "digits"}}}
    vae().save_to_preset(tmp_path / "vae", metadata)
    picture = tmp_path / "latents.png"
    arguments = ["latents", tmp_path / "vae", "-n", 20, "--out", picture]
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    assert "20 images of digits among the latents" in done.output
    assert picture.exists()


def test_least_squares_part_at_a_half():
    model = aae("clustering")
    model.compile(loss="least_squares")
    for network in (model.discriminator, model.category_discriminator):
        *_, last = (layer for layer in network.layers if layer.weights)
        kernel, bias = last.get_weights()
        last.set_weights([np.zeros_like(kernel), np.full_like(bias, 0.4)])
    logs = model.evaluate(
        np.zeros((8, 8, 8, 1), np.float32), verbose=0, return_dict=True
    )
    assert (logs["real_accuracy"], logs["fake_accuracy"]) == (0, 1)


def test_a_vae_takes_vectors_of_pixels_alone():
    """Other numbers are no shares of ones: of them the bound has no end."""
    model = VAE((3,), 2, units=(4,), seed=0)
    rows = np.array([[0.0, 1.0, -5.0]], np.float32)
    with pytest.raises(ValueError, match=r"from -1 to 1.*-5\.0 to 1\.0"):
        model.encode(rows)
    model.compile(run_eagerly=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="from -1 to 1"):
        model.train_on_batch(rows)


def test_the_divergence_of_jensen_and_shannon_is_that_of_scipy():
    logits = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    ours = jensen_shannon(*logits)
    expected = jensenshannon(*scipy.special.softmax(logits, axis=-1), axis=-1) ** 2
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    apart = np.array([[1e4, 0.0], [0.0, 1e4]], np.float32)
    np.testing.assert_allclose(
        jensen_shannon(apart, apart[::-1]), [np.log(2)] * 2, rtol=1e-6
    )
    np.testing.assert_allclose(jensen_shannon(apart, apart), [0, 0], atol=1e-7)
