"""Networks through which samples and real images are compared.

One is a classifier of this package, trained on the data that is measured; the other is
InceptionV3, for colour images. Both turn uint8 images of any shape into features and
classes, and say what a `zoo.metrics.Measurement` must know of them.
"""

import hashlib
import pathlib

import keras

from zoo import presets
from zoo.data.fitting import fit_to
from zoo.discriminative import DiscriminativeModel

#: What asks for InceptionV3: alone, or with `:` and a file of weights.
INCEPTION = "inception_v3"
#: The built-in network for images in colour of which no classifier is built in.
COLOUR = "classifier_cifar10_jpeg"


def find(handle, name, in_colour=False):
    """Returns the network asked for, or the built-in one of a data set.

    Args:
        handle: Preset or run of a `zoo.DiscriminativeModel`; `"inception_v3"`, whose
            weights Keras then downloads, or `"inception_v3:FILE.h5"`; None for the
            built-in `classifier_<name>`.
        name: Name of the data.
        in_colour: Whether `COLOUR` will do where there is no `classifier_<name>`.

    Raises:
        ValueError: If none is asked for and none is built in, or the weights can't be
            had.
    """
    if handle is not None:
        kind, _, weights = str(handle).partition(":")
        if kind == INCEPTION:
            return InceptionFeatures(weights)
        return ClassifierFeatures(str(handle), presets.resolve(handle), name)
    trained = [p for p in presets.list_presets() if p.startswith("classifier_")]
    wanted = classifier_of(name)
    if wanted not in trained and in_colour:
        wanted = COLOUR
    if wanted not in trained:
        raise ValueError(
            f"There is no feature network for {name}, {wanted}. Name one by "
            f"--features: of {trained}, {INCEPTION}, or a classifier trained on these "
            f"data (python -m zoo train classifier --data {name})."
        )
    return ClassifierFeatures(wanted, presets.built_in(wanted), name)


def classifier_of(name):
    """Returns the preset of the classifier of data, whatever their folder or version.

    There need not be one.
    """
    return f"classifier_{_short(name)}"


def _short(name):
    """Returns the name of data without folder, ending and version."""
    return pathlib.Path(name).stem.partition(":")[0]


class FeatureNetwork:
    """A network through which samples and real images are compared.

    Attributes:
        image_shape: `(height, width, channels)` that images are brought to.
        name: Preset, or name, for a `Measurement`.
        hash: SHA-256 of preset or weights.
    """

    def provenance(self, shapes):
        """Returns what a `Measurement` says of the network.

        Args:
            shapes: Shapes that an image had on its way here; None for any.
        """
        path = [shapes[0]]
        for shape in (*shapes[1:], self.image_shape):
            if shape != path[-1]:
                path.append(shape)
        steps = ["x".join(map(str, shape)) if shape else "any" for shape in path]
        rule = "none" if len(steps) == 1 else f"antialiased {'>'.join(steps)}"
        if any(map(_loses_margins, path[:-1], path[1:])):
            rule = f"cropped, {rule}"
        return {"features": self.name, "hash": self.hash, "resize": rule}


def _loses_margins(shape, fitted):
    """Whether images of a shape lose what overhangs their centred square."""
    return shape is not None and shape[0] != shape[1] and fitted[0] == fitted[1]


class ClassifierFeatures(FeatureNetwork):
    """A classifier of this package.

    Args:
        name: What measurements call it.
        folder: Its preset.
        data: Name of the data that it will look at.

    Attributes:
        model: The `zoo.DiscriminativeModel`.
        knows_classes: Whether its classes are those of the data: not if it says that it
            was trained on other data.
    """

    def __init__(self, name, folder, data):
        names = presets.data_names(presets.check(folder)) or [data]
        self.knows_classes = _short(data) in map(_short, names)
        self.model = DiscriminativeModel.from_preset(folder)
        self.image_shape = self.model.image_shape
        self.name, self.hash = name, presets.fingerprint(folder)

    def embed(self, images):
        """Returns the features of uint8 images of any shape, `[n, features]`."""
        return self.model.embed(fit_to(images, self.image_shape))

    def classify(self, features):
        """Returns the probabilities of the classes, given the features."""
        return keras.ops.softmax(self.model.label_head(features)).numpy()


class InceptionFeatures(FeatureNetwork):
    """InceptionV3 as `keras.applications` has it, trained on ImageNet.

    Features are the 2,048 of its last pooling, as in Heusel et al. 2017. Its weights
    are Keras's and images are resized with antialiasing, so the numbers do not compare
    with those of other implementations. Its thousand classes are not those of the data.

    Args:
        weights: File of weights of the whole network; empty for Keras's download.

    Raises:
        ValueError: If the weights can't be had.
    """

    knows_classes = False
    image_shape = (299, 299, 3)
    name = INCEPTION

    def __init__(self, weights=""):
        if weights and not pathlib.Path(weights).is_file():
            raise ValueError(f"There is no file {weights} of InceptionV3's weights.")
        try:
            network = keras.applications.InceptionV3(weights=weights or "imagenet")
        except Exception as error:  # Keras raises a bare one if a download fails.
            raise ValueError(
                f"The weights of InceptionV3 can't be had from {weights or 'Keras'}: "
                f"{error}. Name their file by {INCEPTION}:FILE.h5."
            ) from error
        *_, pooling, self._head = network.layers
        self._features = keras.Model(network.input, pooling.output)
        digest = hashlib.sha256()
        for array in network.get_weights():
            digest.update(array.tobytes())
        self.hash = digest.hexdigest()

    def embed(self, images):
        """Returns the features of uint8 images of any shape, `[n, 2048]`."""
        pixels = fit_to(images, self.image_shape).astype("float32")
        inputs = keras.applications.inception_v3.preprocess_input(pixels)
        return self._features.predict(inputs, batch_size=32, verbose=0)

    def classify(self, features):
        """Returns the probabilities of ImageNet's classes, given the features."""
        return keras.ops.convert_to_numpy(self._head(features))
