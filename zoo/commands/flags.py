"""Command-line flags derived from constructors and `compile`: a flag an argument.

The name, default and help of a flag are those of the argument, so that the command line
can't differ from Python. The help is read from the docstring's `Args:` section.
"""

import inspect
import json
import math
import os
import re

import click
import keras

from zoo import losses, priors

# Arguments that are no flags: what flags of `train` stand for, and what a recipe's JSON
# file can't hold.
_NOT_FLAGS = {"self", "seed", "name", "keras_arguments"}

#: What every `compile` hands on to Keras.
_KERAS_FLAGS = {
    "jit_compile": (click.BOOL, "Whether XLA compiles the steps.", False),
    "run_eagerly": (click.BOOL, "Whether steps run without a graph, slowly.", False),
    "steps_per_execution": (click.INT, "Steps in one call of the graph.", 1),
}


def flags_of(function, documentation, settings):
    """Returns a `click.Option` for each argument of a constructor or of `compile`.

    Args:
        function: The constructor or `compile`.
        documentation: Docstring whose `Args:` section describes them.
        settings: Dict of the arguments that stand where no flag is given.
    """
    help_texts = described_arguments(documentation)
    parameters = inspect.signature(function).parameters
    described = {
        name: (_type(parameter, function), help_texts.get(name, ""), parameter.default)
        for name, parameter in parameters.items()
        if name not in _NOT_FLAGS
    }
    if "keras_arguments" in parameters:
        described |= _KERAS_FLAGS
    return [
        click.Option(
            ["--" + name.replace("_", "-"), name],
            type=kind,
            default=None,
            help=with_default(text, settings.get(name, default)),
        )
        for name, (kind, text, default) in described.items()
    ]


def described_arguments(documentation):
    """Returns a dict from argument to description, from a docstring's `Args:`."""
    _, _, section = inspect.cleandoc(documentation or "").partition("\nArgs:\n")
    section = re.split(r"\n(?=\S)", section)[0]
    arguments = re.findall(
        r"^ {4}\**(\w+): (.*(?:\n {8}.*)*)", section, flags=re.MULTILINE
    )
    return {name: " ".join(text.split()) for name, text in arguments}


def with_default(text, default):
    """Returns a flag's help, with what stands where it is not given.

    Args:
        text: What the flag is for.
        default: A value as a recipe has it; None for what the text tells, and
            `inspect.Parameter.empty` for a flag that has to be given.
    """
    # Click would take a number sign or a backtick as it is; Markdown's are noise here.
    text = text.replace("`", "")
    if default is None:
        return text
    if default is inspect.Parameter.empty:
        return f"{text} [required]"
    if isinstance(default, (list, tuple)):
        default = ",".join(map(str, default))
    elif isinstance(default, dict):
        default = f"the recipe's {default['class_name']}"
    return f"{text} [default: {default}]"


#: Arguments of constructors that take a network of the user's own.
_NETWORKS = (
    "generator",
    "discriminator",
    "encoder",
    "decoder",
    "features",
    "label_head",
    "domain_head",
)

#: What arguments are whose default, None, does not tell.
_INTEGERS = (
    "condition_dim",
    "hidden_units",
    "latent_dim",
    "num_classes",
    "start_size",
    "total_steps",
)
_NUMBERS = (
    "averaging",
    "image_weight",
    "penalty_weight",
    "recognition_stddev",
    "recognition_weight",
)

#: Objects that have a short name, by the argument that takes them.
_NAMED = {"loss": losses.LOSSES, "penalty": losses.PENALTIES, "prior": priors.PRIORS}


def _type(parameter, function):
    name, default = parameter.name, parameter.default
    if name.endswith("optimizer"):
        return Spec("OPTIMIZER")
    if name == "features" and function.__qualname__.startswith("DTN."):
        # Its weights count, so it is a preset or a run; elsewhere it will be trained.
        return click.STRING
    if name in _NETWORKS:
        return KerasModel()
    if name in _INTEGERS:
        return OrNone(click.INT)
    if name in _NUMBERS:
        return OrNone(click.FLOAT)
    if name in _NAMED:
        return Named(_NAMED[name])
    if name == "metrics":
        return Metrics()
    if isinstance(default, bool):
        return click.BOOL
    if isinstance(default, int):
        return click.INT
    if isinstance(default, float):
        return click.FLOAT
    if isinstance(default, tuple) or name == "image_shape":
        return Integers()
    if default is None or isinstance(default, str):
        return Spec("VALUE")
    raise TypeError(f"No flag is known for {parameter}")


class Integers(click.ParamType):
    """Integers separated by commas, as a list."""

    name = "N,N,..."

    def convert(self, value, param, ctx):
        """Parses `28,28,1`."""
        if isinstance(value, list):
            return value
        try:
            return [int(part) for part in value.rstrip(",").split(",")]
        except ValueError:
            self.fail(
                f"{value!r} is not a list of integers such as 28,28,1", param, ctx
            )


class OrNone(click.ParamType):
    """A value of another type, or `none`."""

    def __init__(self, kind):
        self.kind = kind
        self.name = kind.name

    def convert(self, value, param, ctx):
        """Parses the text."""
        if isinstance(value, str) and value.lower() == "none":
            return None
        return self.kind.convert(value, param, ctx)


class Metrics(click.ParamType):
    """Names of Keras metrics separated by commas, as a list."""

    name = "NAME,NAME,..."

    def convert(self, value, param, ctx):
        """Parses `mse,mae`."""
        names = value if isinstance(value, list) else value.split(",")
        for name in names:
            try:
                keras.metrics.get(name)
            except ValueError:
                self.fail(f"{name!r} is no metric of Keras", param, ctx)
        return names


class DataName(click.ParamType):
    """The name of a data set, or those of two domains as a list."""

    name = "NAME[,NAME]"

    def convert(self, value, param, ctx):
        """Parses `mnist,mnist_m`; a path that is there may have commas."""
        if isinstance(value, str) and os.path.exists(os.path.expanduser(value)):
            return value
        names = value if isinstance(value, list) else value.split(",")
        return names if len(names) > 1 else names[0]


class Spec(click.ParamType):
    """A number, a word, `word:key=value,key=value`, or JSON.

    The third is an object with its arguments: `adam:learning_rate=1e-4,beta_1=0.5`
    becomes the config by which Keras builds it.
    """

    def __init__(self, name):
        self.name = name

    def convert(self, value, param, ctx):
        """Parses the text."""
        if not isinstance(value, str):
            return value
        if value.lower() == "none":
            return None
        if value[:1] in "{[":
            try:
                parsed = json.loads(value)
            except ValueError as error:
                self.fail(f"{value!r} is not JSON: {error}", param, ctx)
            if not _is_object(parsed):
                self.fail(
                    f"{value!r} is no object as Keras writes it, "
                    '{"class_name": "...", "config": {...}}',
                    param,
                    ctx,
                )
            return parsed
        word, colon, arguments = value.partition(":")
        if not colon:
            return _number_or_word(value)
        pairs = [pair.partition("=") for pair in arguments.split(",")]
        if not all(key and equals for key, equals, _ in pairs):
            self.fail(
                f"{value!r} is not of the form word:key=value,key=value", param, ctx
            )
        config = {key: _number_or_word(text) for key, _, text in pairs}
        return {"class_name": word, "config": config}


class Named(Spec):
    """One of our objects: its short name, `name:key=value,key=value`, or JSON.

    Args:
        classes: Dict from the short names to the classes.
    """

    def __init__(self, classes):
        super().__init__("NAME[:KEY=VALUE,...]")
        self.classes = classes

    def convert(self, value, param, ctx):
        """Parses the text; a name with arguments becomes the object's config."""
        parsed = super().convert(value, param, ctx)
        if not isinstance(parsed, dict) or parsed["class_name"] not in self.classes:
            return parsed
        named, config = self.classes[parsed["class_name"]], parsed.get("config", {})
        try:
            # What Python says of wrong arguments, without the constructor's name.
            inspect.signature(named).bind(**config)
            built = named(**config)
        except (TypeError, ValueError) as error:
            self.fail(f"{value!r} can't be built: {error}", param, ctx)
        return keras.saving.serialize_keras_object(built)


class KerasModel(click.ParamType):
    """The architecture of a network, as the path of a `.keras` file."""

    name = "ARCHITECTURE.keras"

    def convert(self, value, param, ctx):
        """Loads the file and returns the network's config."""
        if not isinstance(value, str):
            return value
        try:
            network = keras.saving.load_model(value, compile=False)
        except (KeyError, OSError, TypeError, ValueError) as error:
            # Between the configs of all objects Keras says what it stumbled over.
            *_, why = str(error).split("Exception encountered: ")
            why, *_ = why.split(" Full object config")
            self.fail(f"{value!r} can't be loaded: {why}", param, ctx)
        return keras.saving.serialize_keras_object(network)


def _is_object(parsed):
    """Whether this is JSON by which Keras builds an object."""
    return (
        isinstance(parsed, dict)
        and isinstance(parsed.get("class_name"), str)
        and isinstance(parsed.get("config", {}), dict)
    )


def _number_or_word(text):
    try:
        number = json.loads(text)
    except ValueError:
        return text
    # What is not finite no recipe can hold, and no argument takes.
    is_finite = isinstance(number, float) and math.isfinite(number)
    return number if is_finite or isinstance(number, int) else text
