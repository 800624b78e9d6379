"""What a preset gives for four inputs that need no data beside it."""

import zoo
from zoo.generative import GenerativeModel
from zoo.images import to_uint8


def outputs_of(model):
    """Returns what a model gives for four seeds, or four embedded digits."""
    if isinstance(model, GenerativeModel):
        samples = model.generate(4, seed=0)
        return to_uint8(samples) if len(model.image_shape) == 3 else samples
    size, _, channels = model.image_shape
    images, _ = zoo.data.load_arrays(
        "digits", "test", image_size=size, channels=channels, limit=4
    )
    if isinstance(model, zoo.DTN):
        return to_uint8(model.transfer(images))
    return model.classify(images)
