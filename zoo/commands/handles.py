"""What commands load by the name, folder or URL of a preset, or the folder of a run."""

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
            f"{handle} holds a {type(model).__name__}. This command is for models of "
            f"{', '.join(fitting)}."
        )
    if len(model.image_shape) != 3:
        raise ValueError(
            f"{handle} makes rows of shape {model.image_shape}, no images. Call its "
            "`generate`; the run of a one-dimensional GAN has densities.gif."
        )
    return model
