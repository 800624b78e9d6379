"""What commands load by the name, folder or URL of a preset, or the folder of a run."""

from zoo import presets
from zoo.generative import GenerativeModel
from zoo.model import Model
from zoo.variants import VARIANTS


def image_model(handle, kind=GenerativeModel):
    """Returns the model of images of a preset or run.

    Args:
        handle: Name, folder or URL.
        kind: Class that the model has to be of.

    Raises:
        ValueError: If there is none of that kind, or it is one of vectors.
    """
    model = Model.from_preset(handle)
    if not isinstance(model, kind):
        fitting = [v.__name__ for v in VARIANTS.values() if issubclass(v, kind)]
        raise ValueError(
            f"{handle} is of the class {type(model).__name__}. This command is for "
            f"models of {', '.join(fitting)}."
        )
    if len(model.image_shape) != 3:
        raise ValueError(
            f"{handle} makes rows of shape {model.image_shape}, no images. Call its "
            "`generate`; the run of a one-dimensional GAN has densities.gif."
        )
    return model


def class_names(handle):
    """Returns the names of the classes that a preset or run knows, or None.

    A run has them of a folder of images, whose subfolders are its classes.
    """
    names = presets.metadata_of(handle).get("classes")
    named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if named else None
