"""What commands load by the name, folder or URL of a preset, or the folder of a run."""

from zoo.generative import GenerativeModel


def image_generator(handle):
    """Returns the model of a preset or run that generates images.

    Raises:
        ValueError: If there is none, or it generates vectors.
    """
    model = GenerativeModel.from_preset(handle)
    if len(model.image_shape) != 3:
        raise ValueError(
            f"{handle} makes rows of shape {model.image_shape}, no images. Call its "
            "`generate`; the run of a one-dimensional GAN has densities.gif."
        )
    return model
