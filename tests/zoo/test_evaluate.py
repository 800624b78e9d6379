"""Evaluating: every number with its provenance, and equal to one computed by hand."""

import contextlib
import hashlib
import io
import json
import warnings

import click
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import zoo
from zoo import data, evaluation, feature_networks, images, metrics
from zoo.__main__ import main

COUNT = 60
LABELS = np.arange(COUNT) % 10
SIZES = {"image_size": 8, "channels": 1}


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("presets")


@pytest.fixture(scope="module")
def gan(folder):
    model = zoo.CGAN(
        (8, 8, 1),
        num_classes=10,
        latent_dim=3,
        generator_units=(4, 4, 8),
        discriminator_units=(4, 4, 4),
        seed=0,
    )
    model.save_to_preset(folder / "cgan")
    return model


@pytest.fixture(scope="module")
def classifier(folder, gan):
    """A tiny classifier that finds several classes among the samples."""
    model = zoo.Classifier((8, 8, 1), 10, filters=(4, 6), seed=0)
    kernel, bias = model.label_head.get_weights()
    bias -= model.embed(gan.generate(COUNT, labels=LABELS)).mean(axis=0) @ kernel
    model.label_head.set_weights([kernel, bias])
    model.save_to_preset(folder / "classifier")
    return model


@pytest.fixture(scope="module")
def evaluated(folder, gan, classifier):
    """The report on the GAN as JSON, and what was printed."""
    out = folder / "cgan.json"
    arguments = ["--data", "digits", "--features", folder / "classifier", "--seed", 7]
    arguments += ["--count", COUNT, "--parzen", "--json", out]
    done = run("evaluate", folder / "cgan", *arguments)
    assert done.exit_code == 0, done.output
    return json.loads(out.read_text()), done.output


def by_name(report):
    return {m["name"]: m for m in report["measurements"]}


def test_numbers_are_those_of_the_metrics(evaluated, gan, classifier):
    report, _ = evaluated
    samples = images.to_uint8(gan.generate(COUNT, seed=7, labels=LABELS))
    real, _ = data.load_arrays("digits", "test", limit=COUNT, **SIZES)
    train, _ = data.load_arrays("digits", "train", limit=COUNT, **SIZES)
    features, real_features, train_features = map(
        classifier.embed, (samples, real, train)
    )
    gaussian, real_gaussian, train_gaussian = map(
        metrics.feature_gaussian, (features, real_features, train_features)
    )
    probabilities = classifier.classify(samples)
    found = {name: m["value"] for name, m in by_name(report).items()}
    validation, _ = data.load_arrays("digits", limit=1000, **SIZES)
    pixels = samples / 255, validation / 255, real / 255
    parzen = metrics.parzen_score(*pixels)
    finer = metrics.parzen_score(*pixels, metrics.FINE_SIGMAS)
    assert finer.sigma not in (parzen.sigma, *metrics.FINE_SIGMAS[[0, -1]])
    kernel = metrics.kernel_distance(
        real_features, features, subset_size=COUNT // 2, seed=7
    )
    balance = metrics.class_balance(probabilities)
    assert len(np.unique(probabilities.argmax(axis=1))) > 3
    expected = {
        "frechet_distance": metrics.frechet_distance(*real_gaussian, *gaussian),
        "frechet_distance_of_train": metrics.frechet_distance(
            *real_gaussian, *train_gaussian
        ),
        "kernel_distance": kernel.value,
        "classifier_score": metrics.classifier_score(probabilities).value,
        **metrics.precision_recall(real_features, features)._asdict(),
        **metrics.density_coverage(real_features, features)._asdict(),
        "smallest_class_share": balance.smallest,
        "largest_class_share": balance.largest,
        "label_accuracy": metrics.label_accuracy(probabilities, LABELS),
        "parzen_log_likelihood": parzen.value,
        "parzen_sigma": parzen.sigma,
        "parzen_log_likelihood_finer": finer.value,
        "parzen_sigma_finer": finer.sigma,
    }
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert by_name(report)["kernel_distance"]["spread"] > 0
    assert report["class_shares"] == pytest.approx(balance.shares)


def test_images_are_not_compared_with_themselves(folder, classifier):
    asked = {"count": 40, "features": str(folder / "classifier")}
    named = {
        split: {
            m.name
            for m in evaluation.evaluate(
                folder / "cgan", "digits", split, **asked
            ).measurements
        }
        for split in ("train", "train[40:]", "test")
    }
    others = {split for split in named if "frechet_distance_of_train" in named[split]}
    assert others == {"train[40:]", "test"}
    with pytest.raises(ValueError, match=r"is among the images to compare with"):
        evaluation.evaluate(folder / "cgan", "digits", "train", parzen=True, **asked)
    with pytest.raises(ValueError, match=r"at least 20 images, and digits has 8 in"):
        evaluation.evaluate(folder / "cgan", "digits", "test[:8]", **asked)
    with pytest.raises(ValueError, match="are given by name"):
        evaluation.evaluate(folder / "cgan", np.zeros((30, 8, 8, 1), "uint8"))


def test_numbers_say_where_they_come_from(evaluated, folder):
    report, output = evaluated
    assert (report["model"], report["data"], report["seed"]) == ("CGAN", "digits", 7)
    distance = by_name(report)["frechet_distance"]
    metadata = (folder / "classifier" / "metadata.json").read_bytes()
    assert distance["hash"] == hashlib.sha256(metadata).hexdigest()
    assert distance["features"] == str(folder / "classifier")
    assert distance["resize"] == "none"
    assert (distance["real_count"], distance["generated_count"]) == (COUNT, COUNT)
    assert zoo.from_preset(folder / "cgan", sha256=report["sha256"])
    assert f"{folder / 'cgan'} (CGAN) on digits, 'test'\n" in output
    network = f"@{distance['hash'][:8]}, resize none; "
    heading = f"{COUNT} real, {COUNT} generated, seed 7\n  frechet_distance "
    assert f"{network}{heading}" in output
    floor = by_name(report)["frechet_distance_of_train"]
    counts = {key: floor[f"{key}_count"] for key in ("real", "train", "generated")}
    assert counts == {"real": COUNT, "train": COUNT, "generated": 0}
    heading = f"{COUNT} real against {COUNT} of train\n  frechet_distance_of_train "
    assert f"{network}{heading}" in output


def test_resize_rules_name_each_step(folder, classifier):
    network = feature_networks.ClassifierFeatures(
        "tiny", folder / "classifier", "digits"
    )
    rules = {
        ((8, 8, 1), (8, 8, 1)): "none",
        ((8, 8, 1), (16, 16, 1)): "antialiased 8x8x1>16x16x1>8x8x1",
        (None, (8, 8, 1)): "antialiased any>8x8x1",
        ((8, 12, 1), (8, 8, 1)): "cropped, antialiased 8x12x1>8x8x1",
        ((8, 12, 1), (8, 12, 1)): "cropped, antialiased 8x12x1>8x8x1",
    }
    for shapes, rule in rules.items():
        assert network.provenance(shapes)["resize"] == rule


@pytest.mark.usefixtures("classifier")
def test_fewer_training_images_are_no_floor(folder, tmp_path):
    pixels, _ = data.load_arrays("digits", "test", image_size=8, limit=60)
    (tmp_path / "set").mkdir()
    for split, rows in (("test", slice(0, 40)), ("train", slice(40, 60))):
        np.savez(tmp_path / "set" / f"{split}.npz", image=pixels[rows])
    asked = {"features": folder / "classifier", "name": str(tmp_path / "set")}
    for count, has_floor in ((20, True), (40, False)):
        report = evaluation.evaluate(folder / "cgan", count=count, **asked)
        names = {m.name for m in report.measurements}
        assert ("frechet_distance_of_train" in names) == has_floor


@pytest.mark.parametrize(
    ("split", "seen"),
    [
        ("train", True),
        ("test + train[50:]", True),
        ("train[:50]+test", False),
        ("unlabelled[:50]", False),
    ],
)
@pytest.mark.usefixtures("classifier")
def test_parzen_windows_are_not_chosen_unsaid_on_what_was_trained_on(
    folder, gan, tmp_path, monkeypatch, split, seen
):
    monkeypatch.setattr(evaluation, "VALIDATION", "train[-40:]")
    recipe = {"data": {"name": "digits", "split": split}}
    gan.save_to_preset(tmp_path / "gan", {"recipe": recipe})
    asked = {"count": 20, "parzen": True, "features": folder / "classifier"}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        report = evaluation.evaluate(tmp_path / "gan", **asked)
    assert report.data == "digits"
    said = f"was trained on {split}, which has the same images"
    assert seen == any(said in str(w.message) for w in told)


@pytest.mark.filterwarnings("ignore:The width of Parzen windows, 0.1, is at an end")
def test_the_width_of_parzen_windows_is_chosen_on_1000_images(
    folder, gan, classifier, tmp_path
):
    random = np.random.default_rng(0)
    samples = images.to_uint8(gan.generate(20, labels=LABELS[:20]))
    # Twice as many like the samples as unlike any, and beyond the 1000 these alone.
    near = np.repeat(samples, 34, axis=0)[:667]
    far = random.integers(0, 256, (533, 8, 8, 1), np.uint8)
    (tmp_path / "set").mkdir()
    np.savez(tmp_path / "set" / "train.npz", image=np.concatenate([near, far]))
    np.savez(tmp_path / "set" / "test.npz", image=samples)
    # No recipe says what this generator was trained on.
    gan.save_to_preset(tmp_path / "gan")
    report = evaluation.evaluate(
        tmp_path / "gan",
        str(tmp_path / "set"),
        count=20,
        parzen=True,
        features=folder / "classifier",
    )
    sigma = next(m.value for m in report.measurements if m.name == "parzen_sigma_finer")
    chosen = [
        metrics.parzen_sigma(samples / 255, part / 255, metrics.FINE_SIGMAS)
        for part in (np.concatenate([near, far])[:count] for count in (500, 1000, 1200))
    ]
    assert sigma == chosen[1]
    assert len(set(chosen)) == 3


def test_a_classifier_is_measured_on_all_there_is(folder, classifier):
    report = evaluation.evaluate(folder / "classifier", "digits")
    (accuracy,) = report.measurements
    assert (accuracy.name, accuracy.real_count) == ("test_accuracy", 297)
    assert [accuracy] == classifier.measure(name="digits", split="test", **SIZES)


def test_classes_of_other_data_are_not_counted(folder, classifier):
    recipe = {"data": {"name": "fashion_mnist", "split": "train"}}
    of_clothes = folder / "of_clothes"
    classifier.save_to_preset(of_clothes, metadata={"recipe": recipe})
    report = evaluation.evaluate(
        folder / "cgan", "digits", count=COUNT, features=of_clothes
    )
    assert report.class_shares is None
    names = {m.name for m in report.measurements}
    assert "frechet_distance" in names
    assert not names & {"label_accuracy", "smallest_class_share"}
    asked = ["--data", "digits", "--split", "train", "--count", 20]
    done = run("evaluate", folder / "cgan", *asked, "--features", of_clothes)
    assert "Distances are better the lower; precision, recall" in done.output


def test_without_labels_what_needs_them_is_left_out_or_said(folder, classifier):
    pixels, _ = data.load_arrays("digits", "test", image_size=8, limit=40)
    np.savez(folder / "bare.npz", image=pixels)
    aae = zoo.AAE((8, 8, 1), form="clustering", num_classes=4, units=(8,), seed=0)
    aae.save_to_preset(folder / "clusters")
    report = evaluation.evaluate(
        folder / "clusters",
        str(folder / "bare.npz"),
        features=folder / "classifier",
        split="train",
    )
    assert report.measurements[-1].name == "reconstruction_loss"
    with pytest.raises(ValueError, match=r"needs labels, and .*bare.* has none"):
        evaluation.evaluate(
            folder / "classifier", str(folder / "bare.npz"), split="train"
        )


def test_clusters_are_counted_on_the_second_half(folder, classifier):
    aae = zoo.AAE((8, 8, 1), form="clustering", num_classes=4, units=(8,), seed=0)
    aae.save_to_preset(folder / "clusters")
    report = evaluation.evaluate(
        folder / "clusters",
        "digits",
        count=31,
        seed=7,
        features=folder / "classifier",
    )
    found = {m.name: m for m in report.measurements}
    assert found["reconstruction_loss"].real_count == 31
    assert found["clustering_error"].real_count == 16
    assert found["clustering_error"].seed == 0
    assert found["frechet_distance"].seed == 7
    # The numbers of clusters are not those of classes.
    assert "label_accuracy" not in found


def test_labels_that_the_feature_network_lacks_are_not_counted(folder, classifier):
    units = {"generator_units": (4,) * 3, "discriminator_units": (4,) * 3}
    more = zoo.CGAN((8, 8, 1), num_classes=11, latent_dim=3, **units, seed=0)
    more.save_to_preset(folder / "more")
    report = evaluation.evaluate(
        folder / "more", "digits", count=20, features=folder / "classifier"
    )
    names = {m.name for m in report.measurements}
    assert "largest_class_share" in names
    assert "label_accuracy" not in names


def test_codes_of_infogan_are_matched_to_classes(folder, classifier):
    model = zoo.InfoGAN(
        (16, 16, 1),
        latent_dim=2,
        generator_filters=2,
        discriminator_filters=2,
        hidden_units=4,
        recognition_units=4,
        seed=0,
    )
    model.save_to_preset(folder / "infogan")
    report = evaluation.evaluate(
        folder / "infogan", "digits", count=COUNT, features=folder / "classifier"
    )
    error = report.measurements[-1]
    real, labels = data.load_arrays("digits", "test", image_size=16, limit=COUNT)
    codes = model.infer(images.from_uint8(real)).category_probabilities[:, 0]
    assert error.name == "code_matching_error"
    assert error.value == metrics.code_matching_error(codes, labels)


def test_models_of_two_domains_take_two_names(folder, classifier):
    f = zoo.Classifier((16, 16, 1), 10, filters=(4,), seed=0).features
    dtn = zoo.DTN(f, generator_filters=2, discriminator_filters=2, seed=0)
    dtn.save_to_preset(folder / "dtn")
    pair = ["digits", "digits"]
    report = evaluation.evaluate(
        folder / "dtn", pair, count=COUNT, features=folder / "classifier"
    )
    (accuracy,) = report.measurements
    real, labels = data.load_arrays("digits", "test", image_size=16, limit=COUNT)
    assert accuracy.value == dtn.transfer_accuracy(real, labels, classifier)
    assert accuracy.resize == "antialiased 8x8x1>16x16x1>8x8x1"
    dann = zoo.DANN((28, 28, 1), 10, filters=(2,), units=4, seed=0)
    dann.save_to_preset(folder / "dann")
    report = evaluation.evaluate(folder / "dann", pair)
    assert report.measurements == dann.measure(name=pair, split="test")
    assert [m.real_count for m in report.measurements] == [297, 297]


def test_a_generator_of_no_numbers_is_refused(folder, classifier):
    random = np.random.default_rng(0)

    def save(model, name, values):
        model.generator.set_weights(
            [random.choice(values, w.shape) for w in model.generator.get_weights()]
        )
        model.save_to_preset(folder / name)

    asked = ["--features", folder / "classifier", "--count", 20, "--data"]
    gan = zoo.GAN((8, 8, 1), 3, generator_units=(4,), seed=0)
    save(gan, "nan", [np.nan])
    done = run("evaluate", folder / "nan", *asked, "digits")
    assert done.exit_code == 1
    assert "the weights of its generator are not all finite numbers" in done.output

    # Sums of weights that are finite, and may not be.
    save(gan, "overflowing", [-3e38, 3e38])
    done = run("evaluate", folder / "overflowing", *asked, "digits")
    assert done.exit_code == 1
    assert "The samples from seed 0 on are no images: " in done.output
    done = run("sample", folder / "overflowing", "--out", folder / "x.png")
    assert done.exit_code == 1
    assert "pixels that are not finite numbers" in done.output
    assert not (folder / "x.png").exists()

    f = zoo.Classifier((16, 16, 1), 10, filters=(4,), seed=0).features
    dtn = zoo.DTN(f, generator_filters=2, discriminator_filters=2, seed=0)
    save(dtn, "overflowing_dtn", [-3e38, 3e38])
    done = run("evaluate", folder / "overflowing_dtn", *asked, "digits,digits")
    assert done.exit_code == 1
    assert "The transferred images are no images: " in done.output


def test_a_folder_named_as_a_feature_network_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    zoo.Classifier((28, 28, 1), 10, filters=(2,), seed=0).save_to_preset(
        "classifier_mnist"
    )
    built_in = zoo.presets.BUILT_IN / "classifier_mnist"
    for handle in (None, "classifier_mnist"):
        network = feature_networks.find(handle, "mnist")
        assert network.hash == zoo.presets.fingerprint(built_in)
        assert network.name == "classifier_mnist"
    named = feature_networks.find("./classifier_mnist", "mnist")
    assert named.hash == zoo.presets.fingerprint(tmp_path / "classifier_mnist")


class Bars:
    """Lengths of the progress bars that were asked for; each must be filled."""

    def __init__(self):
        self.lengths = []

    @contextlib.contextmanager
    def __call__(self, length):
        bar = click.progressbar(length=length, file=io.StringIO())
        with bar:
            yield bar
        assert bar.pos == length
        self.lengths.append(length)


def test_every_model_shows_its_progress(folder, classifier):
    f = zoo.Classifier((16, 16, 1), 10, filters=(4,), seed=0).features
    models = {
        "dtn": zoo.DTN(f, generator_filters=2, discriminator_filters=2, seed=0),
        "dann": zoo.DANN((28, 28, 1), 10, filters=(2,), units=4, seed=0),
        "aae": zoo.AAE((8, 8, 1), form="clustering", num_classes=4, units=(8,), seed=0),
    }
    # Passes over the images: classifying, of two domains; transferring, classifying;
    # samples with what they are compared with, reconstructing, classifying.
    expected = {"classifier": [40], "dann": [40, 40], "dtn": [40, 40]}
    expected["aae"] = [160, 40, 40]
    for name, lengths in expected.items():
        if name in models:
            models[name].save_to_preset(folder / name)
        bars = Bars()
        evaluation.evaluate(
            folder / name,
            ["digits", "digits"] if name in ("dann", "dtn") else "digits",
            count=40,
            features=folder / "classifier" if name in ("aae", "dtn") else None,
            progress=bars,
        )
        assert bars.lengths == lengths, name


def test_what_would_change_nothing_is_refused(folder, classifier):
    f = zoo.Classifier((16, 16, 1), 10, filters=(4,), seed=0).features
    zoo.DTN(f, generator_filters=2, discriminator_filters=2, seed=0).save_to_preset(
        folder / "dtn"
    )
    for name, data_name, flag in (
        ("classifier", "digits", ["--parzen"]),
        ("classifier", "digits", ["--features", "nonsense"]),
        ("dtn", "digits,digits", ["--parzen"]),
    ):
        done = run("evaluate", folder / name, "--data", data_name, *flag)
        assert done.exit_code == 1
        expected = "no samples" if flag == ["--parzen"] else "no feature network"
        assert expected in done.output


@keras.saving.register_keras_serializable("tests")
class Measured(zoo.GAN):
    def measure(self, **data_arguments):
        images, _ = data.load_arrays(**data_arguments)
        return [metrics.Measurement("seen", 7.0, real_count=len(images))]


def test_what_a_model_of_ones_own_measures_is_measured(folder, classifier):
    model = Measured((8, 8, 1), generator_units=(4,), discriminator_units=(4,), seed=0)
    model.save_to_preset(folder / "measured")
    report = evaluation.evaluate(
        folder / "measured", "digits", count=COUNT, features=folder / "classifier"
    )
    assert report.measurements[0].name == "frechet_distance"
    assert report.measurements[-1] == metrics.Measurement("seen", 7.0, real_count=COUNT)


def test_a_gan_measures_nothing_by_itself(gan):
    with pytest.raises(NotImplementedError, match="GAN measures nothing by itself"):
        gan.measure(name="digits", split="test")


def test_mistakes_are_one_line(folder, gan, classifier):
    zoo.GAN(
        generator=zoo.one_dimensional.Generator(),
        discriminator=zoo.one_dimensional.Discriminator(),
        prior=zoo.priors.StratifiedRange(1, -8.0, 8.0),
        seed=0,
    ).save_to_preset(folder / "gaussian")
    np.savez(folder / "grey.npz", image=np.zeros((20, 8, 8), np.uint8))
    grey = ["--data", str(folder / "grey.npz"), "--split", "train"]
    zoo.GAN((3,), 2, generator_units=(4,), seed=0).save_to_preset(folder / "rows")
    cases = [
        ([folder / "cgan", *grey], 1, f"train classifier --data {grey[1]}"),
        ([folder / "cgan", *grey], 1, "classifier_mnist"),
        ([folder / "cgan", "--data", "digits,digits"], 1, "one data set"),
        ([folder / "gaussian", "--data", "digits"], 1, "single numbers: --data gauss"),
        (
            [folder / "gaussian", "--data", "gaussian", "--parzen"],
            1,
            "Parzen windows are for images",
        ),
        ([folder / "rows", "--data", "gaussian"], 1, "a GAN of rows of shape (3,)"),
        ([folder / "cgan", "--data", "nothing"], 1, "no such data set"),
        ([folder / "cgan"], 1, "name some by --data"),
        ([folder / "cgan", "--data", "digits", "--count", 5], 2, "--count"),
        (
            [folder / "cgan", "--data", "digits", "--features", folder / "cgan"],
            1,
            "Expected: DiscriminativeModel",
        ),
    ]
    for arguments, status, message in cases:
        done = run("evaluate", *arguments)
        assert done.exit_code == status, done.output
        assert message in done.output
        assert "Traceback" not in done.output


def test_images_that_are_not_square_are_evaluated_as_they_are(tmp_path):
    shape = (8, 12, 1)
    # In colour, as the model was trained with --channels 1.
    colour = (COUNT, 8, 12, 3)
    pixels = np.random.default_rng(0).integers(0, 256, colour, np.uint8)
    np.savez(tmp_path / "wide.npz", image=pixels)
    units = {"generator_units": (4,), "discriminator_units": (4,)}
    zoo.GAN(shape, 3, **units, seed=0).save_to_preset(tmp_path / "gan")
    zoo.Classifier(shape, 3, filters=(4, 6), seed=0).save_to_preset(tmp_path / "net")
    report = evaluation.evaluate(
        tmp_path / "gan",
        str(tmp_path / "wide.npz"),
        split="train",
        features=str(tmp_path / "net"),
    )
    measured = {m.name: m for m in report.measurements}
    assert measured["frechet_distance"].resize == "antialiased 8x12x3>8x12x1"
    assert measured["frechet_distance"].value > 0
    with pytest.raises(ValueError, match=r"\(8, 12, 1\), and those of digits are \(28"):
        evaluation.evaluate(tmp_path / "gan", "digits", features=str(tmp_path / "net"))


@pytest.mark.parametrize("variant", ["classifier", "semi", "infogan", "aae", "told"])
def test_rows_without_a_label_are_no_part_of_what_labels_measure(variant, tmp_path):
    shape, units = (8, 8, 1), {"generator_units": (4,), "discriminator_units": (4,)}
    model = {
        "classifier": lambda: zoo.Classifier(shape, 3, filters=(4,), seed=0),
        "semi": lambda: zoo.SemiSupervisedGAN(shape, 3, **units, seed=0),
        "infogan": lambda: zoo.InfoGAN((16, 16, 1), hidden_units=4, seed=0),
        "aae": lambda: zoo.AAE(
            shape, form="clustering", num_classes=3, units=(4,), seed=0
        ),
        "told": lambda: zoo.AAE(
            shape, form="supervised", num_classes=3, units=(4,), seed=0
        ),
    }[variant]()
    side = model.image_shape[0]
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 256, (COUNT, side, side, 1), np.uint8)
    labels = np.arange(COUNT) % 3
    known = np.arange(COUNT) % 4 != 0
    np.savez(tmp_path / "some.npz", image=pixels, label=np.where(known, labels, -1))
    np.savez(tmp_path / "known.npz", image=pixels[known], label=labels[known])
    np.savez(tmp_path / "none.npz", image=pixels, label=np.full(COUNT, -1))

    def measured(name):
        return {m.name: m for m in model.measure(name=str(tmp_path / name))}

    some, only = measured("some.npz"), measured("known.npz")
    name = {"infogan": "code_matching_error", "told": "reconstruction_loss"}.get(
        variant, list(only)[-1]
    )
    assert some[name] == only[name]
    if variant in ("classifier", "told"):
        with pytest.raises(ValueError, match="label"):
            measured("none.npz")
    else:
        assert name not in measured("none.npz")


def test_numbers_are_no_images_to_evaluate_on(folder, gan):
    done = run("evaluate", folder / "cgan", "--data", "gaussian")
    assert done.exit_code == 1
    assert "'gaussian' is numbers, not images" in done.output


def test_numbers_are_told_by_their_mean_and_deviation(tmp_path):
    out = tmp_path / "numbers.json"
    asked = ["gan_gaussian1d", "--count", "300", "--seed", "7", "--json", str(out)]
    done = run("evaluate", *asked)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("gan_gaussian1d (GAN) on gaussian\n300 generated")
    said = json.loads(out.read_text())
    samples = zoo.from_preset("gan_gaussian1d").generate(300, seed=7)
    assert {m["name"]: m["value"] for m in said["measurements"]} == {
        "mean": pytest.approx(samples.mean()),
        "deviation": pytest.approx(samples.std()),
    }
    assert said["split"] is None


def test_other_images_in_colour_are_seen_through_the_colour_features(tmp_path):
    gan = zoo.DCGAN((16, 16, 3), generator_filters=2, discriminator_filters=2, seed=0)
    gan.save_to_preset(tmp_path / "gan")
    (tmp_path / "photos").mkdir()
    for number in range(20):
        levels = np.full((16, 16, 3), 10 * number, np.uint8)
        Image.fromarray(levels).save(tmp_path / "photos" / f"{number}.png")
    asked = ["--data", str(tmp_path / "photos"), "--split", "train", "--count", "20"]
    done = run("evaluate", tmp_path / "gan", *asked)
    assert done.exit_code == 0, done.output
    assert "classifier_cifar10_jpeg@" in done.output
    # Whose classes are others than those of the photos.
    assert "classes of the samples" not in done.output
