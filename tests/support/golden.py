"""What a preset gives for four inputs that need no data beside it."""

import math

import numpy as np
import tensorflow as tf

import zoo
from zoo import network_checks
from zoo.adversarial import AdversarialModel
from zoo.generative import GenerativeModel
from zoo.images import to_uint8

#: Networks that no output depends on, of models that are no `AdversarialModel`.
ADVERSARIES = ("discriminator", "category_discriminator", "domain_head")


def arrays_of(model):
    """Returns a dict of the model's `outputs`, and the logits of its adversaries."""
    if isinstance(model, AdversarialModel):
        return {"outputs": outputs_of(model), "logits": logits_of(model)}
    return {
        "outputs": outputs_of(model),
        **{
            f"{name}_logits": logits_of_units(getattr(model, name))
            for name in ADVERSARIES
            if name in model.network_names
        },
    }


def logits_of(model):
    """Returns the discriminator's logits of four samples, of known conditions."""
    given = {}
    if "labels" in model.discriminator_conditions:
        given["labels"] = np.arange(4)
    samples = model.generate(4, seed=0, **given)
    conditions = [tf.constant(values) for values in given.values()]
    return model.discriminate(tf.constant(samples), conditions).numpy()


def logits_of_units(network):
    """Returns a network's logits of four rows that are 0 but for a 1 in each.

    Category discriminators know no others: off the corners their logits are thousands.
    """
    rows = [
        tf.reshape(tf.eye(4, math.prod(shape)), (4, *shape))
        for shape in network_checks.row_shapes(network)
    ]
    return network(rows[0] if len(rows) == 1 else rows, training=False).numpy()


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
