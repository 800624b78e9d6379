"""Recipes: everything that decides a training, as data.

A recipe names the variant, the data, the arguments of constructor and `compile`,
epochs, batch size and seed. The folder of a preset holds the recipe that made it; the
folder of a run holds the one it follows.
"""

import contextlib
import copy
import dataclasses
import inspect
import json
import pathlib

import keras

from zoo import data, files, presets
from zoo.images import from_uint8
from zoo.variants import VARIANTS

#: Arguments of `zoo.load_data` that `describe` takes too.
_DESCRIBING = ("name", "split", "image_size", "channels")


@dataclasses.dataclass
class Recipe:
    """What `python -m zoo train` follows.

    Attributes:
        variant: Key of `zoo.variants.VARIANTS`.
        data: Keyword arguments of `zoo.load_data`, without `batch_size` and
            `shuffle_seed`.
        model: Keyword arguments of the variant's constructor, without `seed`.
        compile: Keyword arguments of its `compile`.
        epochs: Passes over the data.
        batch_size: Rows of a batch of all replicas.
        seed: Seed of the model and of the data's order.
        description: What is made, in a sentence.
        metadata: What the preset says of itself beside its recipe and numbers:
            `dataset`, `licence` of data and weights, `paper`.
        test_split: Split of the data on which the trained model is measured.
    """

    variant: str
    data: dict
    model: dict = dataclasses.field(default_factory=dict)
    compile: dict = dataclasses.field(default_factory=dict)
    epochs: int = 25
    batch_size: int = 64
    seed: int = 0
    description: str = ""
    metadata: dict = dataclasses.field(default_factory=dict)
    test_split: str | None = None

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, field.type):
                raise ValueError(
                    f"Expected {field.name} of type "
                    f"{inspect.formatannotation(field.type)}. "
                    f"Received: {field.name}={value!r}"
                )
        if "name" not in self.data:
            raise ValueError(
                f"Expected data with the name of a data set. Received: {self.data}"
            )
        if self.variant not in VARIANTS:
            raise ValueError(
                f"Expected a variant of {sorted(VARIANTS)}. "
                f"Received: variant={self.variant!r}"
            )

    def load_data(self):
        """Returns the training data, as `zoo.load_data` does.

        Raises:
            ValueError: If the data can't be loaded, or are of one domain where the
                variant trains on two, or the other way round.
        """
        variant = VARIANTS[self.variant]
        pair = isinstance(self.data["name"], (list, tuple))
        if pair != (variant.domains == 2):
            wanted = "one data set" if pair else "two, a source and a target"
            raise ValueError(
                f"{variant.__name__} trains on {wanted}. "
                f"Received: data {self.data['name']!r}"
            )
        needed = variant.data_arguments_for(self.model)
        if self.data.get("labelled") is not None and not needed.get("labels"):
            raise ValueError(
                f"{variant.__name__} with these settings learns from no labels: "
                "leave out how many to keep. "
                f"Received: labelled={self.data['labelled']}"
            )
        with _one_kind_of_error(self.data):
            return data.load_data(
                **self.data,
                batch_size=self.batch_size,
                shuffle_seed=self.seed,
                **needed,
            )

    def _which_data(self):
        """Returns the arguments of `data` that say which images there are."""
        return {name: self.data[name] for name in _DESCRIBING if name in self.data}

    def load_arrays(self, limit):
        """Returns the first images of the data, float in [-1, 1], and their labels.

        Of two domains it takes the source.
        """
        known = self._which_data()
        if not isinstance(known["name"], str):
            known["name"], *_ = known["name"]
        images, labels = data.load_arrays(**known, limit=limit)
        return from_uint8(images), labels

    def describe_data(self):
        """Returns what there is of the data, as a list of JSON, one a domain.

        How many images, how many classes, and how these are called where folders say.
        """
        known = self._which_data()
        names = known.pop("name")
        described = [
            data.describe(name, **known)
            for name in ([names] if isinstance(names, str) else names)
            if name != "gaussian"
        ]
        return [
            {
                "images": info.size,
                "classes": list(info.class_names or ()) or info.num_classes,
            }
            for info in described
        ]

    def build(self):
        """Returns the model, built for the data, uncompiled."""
        variant = VARIANTS[self.variant]
        known = dataclasses.asdict(data.describe(**self._which_data()))
        wanted = inspect.signature(variant.__init__).parameters
        arguments = {
            name: known[name]
            for name in ("image_shape", "num_classes")
            if name in wanted
        }
        arguments.update(copy.deepcopy(self.model))
        takes_labels = variant.data_arguments_for(self.model).get("labels")
        classes = arguments.get("num_classes") if takes_labels else None
        if classes is not None and classes < (known["num_classes"] or 0):
            raise ValueError(
                f"The labels of {self.data['name']} are {known['num_classes']} "
                f"classes. Received: num_classes={classes}"
            )
        with _one_kind_of_error(self.model):
            return variant.from_config({**arguments, "seed": self.seed})

    def check_measurable(self):
        """Raises `ValueError` if the data lack the test split."""
        if self.test_split is not None:
            VARIANTS[self.variant].check_measurable(**self._test_data())

    def measure(self, model):
        """Returns what `Model.measure` says of the test split; {} without one.

        A dict from `zoo.metrics.Measurement.label` to the value, rounded.
        """
        if self.test_split is None:
            return {}
        measured = model.measure(**self._test_data())
        return {each.label: round(each.value, 4) for each in measured}

    def _test_data(self):
        return {**self._which_data(), "split": self.test_split}

    def compile_model(self, model):
        """Compiles a model with the recipe's arguments, objects for their configs.

        Raises:
            ValueError: If an argument is unknown, out of range, or no config.
        """
        # Keras puts objects into the configs that it is given.
        arguments = copy.deepcopy(self.compile)
        # Optimizers stay configs: `compile` finds those by a short name such as adam.
        with _one_kind_of_error(self.compile):
            model.compile(
                **{
                    name: value
                    if name.endswith("optimizer")
                    else keras.saving.deserialize_keras_object(value)
                    for name, value in arguments.items()
                }
            )

    def falls_until(self):
        """Returns the step of `fit` at which learning rates end to fall.

        None if none does; those that go on falling for ever count as none.
        """
        ends = {
            name: _end_of_fall(config)
            for name, config in self.compile.items()
            if isinstance(config, dict)
        }
        # The discriminator may have several updates a step.
        updates = {"discriminator_optimizer": self.compile.get("discriminator_steps")}
        return max(
            (end // (updates.get(name) or 1) for name, end in ends.items() if end),
            default=None,
        )

    @classmethod
    def load(cls, path):
        """Reads a recipe's JSON file.

        Raises:
            ValueError: If it is no recipe.
        """
        try:
            return cls(**json.loads(pathlib.Path(path).read_text()))
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no recipe: {error}") from error

    @classmethod
    def of_preset(cls, name):
        """Reads the recipe of a built-in preset."""
        return cls.load(presets.BUILT_IN / name / presets.RECIPE)

    def save(self, path):
        """Writes the JSON file."""
        files.write_json(pathlib.Path(path), dataclasses.asdict(self))

    def differences(self, other):
        """Returns a line for each setting in which another recipe differs."""
        ours, theirs = _settings(self), _settings(other)
        return [
            f"{key}: {ours.get(key)!r} there, {theirs.get(key)!r} asked for"
            for key in {**ours, **theirs}
            if ours.get(key) != theirs.get(key)
        ]


def _end_of_fall(optimizer):
    """Returns the update at which an optimizer's rate has fallen, None if it never has.

    Args:
        optimizer: Its config, as Keras serializes it.
    """
    settings = optimizer.get("config", {})
    if "inner_optimizer" in settings:
        return _end_of_fall(settings["inner_optimizer"])
    schedule = settings.get("learning_rate")
    if not isinstance(schedule, dict):
        return None
    settings = schedule["config"]
    if schedule["class_name"] == "PolynomialDecay" and not settings.get("cycle"):
        return settings["decay_steps"]
    if schedule["class_name"] == "CosineDecay":
        # Without a target Keras does not warm up.
        warms_up = settings.get("warmup_target") is not None
        return settings["decay_steps"] + warms_up * (settings.get("warmup_steps") or 0)
    return None


@contextlib.contextmanager
def _one_kind_of_error(settings):
    """Raises `ValueError` where Keras has `TypeError` for configs it can't follow."""
    try:
        yield
    except TypeError as error:
        raise ValueError(f"The settings {settings} can't be followed: {error}") from (
            error
        )


def names():
    """Returns the names of all built-in recipes."""
    if not presets.BUILT_IN.is_dir():
        return []
    return sorted(
        folder.name
        for folder in presets.BUILT_IN.iterdir()
        if (folder / presets.RECIPE).exists()
    )


def _settings(recipe):
    # Through JSON, so that tuples equal the lists they are saved as.
    settings = json.loads(json.dumps(dataclasses.asdict(recipe)))
    del settings["description"], settings["metadata"]
    names = settings["data"]["name"]
    # A slash behind a folder is what shells complete it by.
    settings["data"]["name"] = (
        names.rstrip("/")
        if isinstance(names, str)
        else [name.rstrip("/") for name in names]
    )
    return dict(_flat(settings))


def _flat(settings, prefix=""):
    """Yields the settings of nested dicts, such as `data.name`, and their values."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
