"""The signatures of an exported model: names, dtypes and shapes, and what they compute.

`signatures_of` dispatches on the model's class, so a subclass inherits its parent's
signatures. In every one the first dimension of each input and output is the batch, the
others are fixed, and pixels are uint8. Signatures are total: no value of an input is an
error, for it would take down the requests that TensorFlow Serving batched with it.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from zoo.aae import AAE
from zoo.adversarial import AdversarialModel
from zoo.autoencoder import AutoencoderModel
from zoo.discriminative import DiscriminativeModel
from zoo.dtn import DTN
from zoo.images import from_uint8, to_uint8
from zoo.infogan import InfoGAN
from zoo.network_checks import looks_across_batch
from zoo.semi_supervised_gan import SemiSupervisedGAN


@dataclasses.dataclass(frozen=True)
class Signature:
    """One function of an exported model.

    Attributes:
        function: Takes the inputs as keyword arguments, returns a dict of outputs.
        inputs: Dict from an input's name to its `tf.TensorSpec`: a batch of any number
            of rows, whose shape is fixed.

    Raises:
        ValueError: If an input is something else, which servers could not batch.
    """

    function: Callable
    inputs: dict

    def __post_init__(self):
        for name, spec in self.inputs.items():
            shape = spec.shape
            if not (shape.rank and shape[0] is None and shape[1:].is_fully_defined()):
                raise ValueError(
                    f"Expected the input {name!r} to be a batch of rows, of a shape "
                    f"such as (None, 3). Received: {shape}"
                )

    def example(self, batch_size):
        """Returns a valid dict of numpy inputs with so many rows, for warmup."""
        return {
            name: _example_of(spec, batch_size) for name, spec in self.inputs.items()
        }


def _example_of(spec, batch_size):
    dtype = spec.dtype.as_numpy_dtype
    if spec.dtype == tf.string:
        return np.full((batch_size, *spec.shape[1:]), b"", dtype)
    if spec.shape.rank == 1:
        return np.arange(batch_size).astype(dtype)
    return np.zeros((batch_size, *spec.shape[1:]), dtype)


def rows(dtype, *shape):
    """Returns the `tf.TensorSpec` of a batch of rows."""
    return tf.TensorSpec((None, *shape), dtype)


@functools.singledispatch
def signatures_of(model):
    """Returns the dict from name to `Signature` of a model.

    Raises:
        TypeError: If models of this class have none.
    """
    raise TypeError(
        f"Nothing is known to export of the class {type(model).__name__}. Expected a "
        "model of the zoo, or a class registered with export.signatures_of.register."
    )


@signatures_of.register
def _(model: AdversarialModel):
    signatures = sampling(model)
    signatures["serving_default"] = Signature(
        lambda **inputs: samples_or_images(model(inputs)),
        {"latents": rows(tf.float32, model.latent_dim), **model.condition_specs},
    )
    if not looks_across_batch(model.discriminator):
        signatures["discriminate"] = _discriminate(model)
    return signatures


@signatures_of.register
def _(model: DiscriminativeModel):
    inputs = {"images": rows(tf.uint8, *model.image_shape)}
    classify = Signature(
        lambda images: {"probabilities": model(from_uint8(images))}, inputs
    )
    embed = Signature(
        lambda images: {"features": model.features_of(from_uint8(images))}, inputs
    )
    return {"serving_default": classify, "classify": classify, "embed": embed}


@signatures_of.register
def _(model: InfoGAN):
    def infer(images):
        return model.recognize(from_uint8(images))._asdict()

    signatures = signatures_of.dispatch(AdversarialModel)(model)
    images = {"images": rows(tf.uint8, *model.image_shape)}
    return {**signatures, "infer": Signature(infer, images)}


@signatures_of.register
def _(model: SemiSupervisedGAN):
    signatures = signatures_of.dispatch(AdversarialModel)(model)
    return {**signatures, "classify": _classify(model)}


@signatures_of.register
def _(model: AutoencoderModel):
    name, to_float, dtype = _sample_input(model.image_shape)
    samples = {name: rows(dtype, *model.image_shape)}
    told = {key: c.spec for key, c in model.decoder_conditions.items()}
    told_too = {key: c.spec for key, c in model.reconstruction_conditions.items()}
    signatures = sampling(model)
    signatures["serving_default"] = Signature(
        lambda **inputs: samples_or_images(model.decode_rows(**inputs)),
        {"latents": rows(tf.float32, model.latent_dim), **told},
    )
    signatures["encode"] = Signature(
        lambda **given: {"latents": model.infer(to_float(given[name])).means}, samples
    )
    signatures["reconstruct"] = Signature(
        lambda **given: samples_or_images(
            model.reconstruct_rows(to_float(given.pop(name)), **given)
        ),
        {**samples, **told_too},
    )
    if isinstance(model, AAE) and model.classifies:
        signatures["classify"] = _classify(model)
    if isinstance(model, AAE) and model.cluster_heads:
        signatures["represent"] = Signature(
            lambda **given: {
                "representations": model.represent_rows(to_float(given[name]))
            },
            samples,
        )
    return signatures


@signatures_of.register
def _(model: DTN):
    inputs = {"images": rows(tf.uint8, *model.image_shape)}
    transfer = Signature(
        lambda images: {"images": to_uint8(model(from_uint8(images)))}, inputs
    )
    return {
        "serving_default": transfer,
        "transfer": transfer,
        "png": Signature(lambda images: png(model(from_uint8(images))), inputs),
        "embed": Signature(
            lambda images: {"features": model.features_of(from_uint8(images))}, inputs
        ),
    }


def _discriminate(model):
    name, to_float, dtype = _sample_input(model.image_shape)
    specs = {key: c.spec for key, c in model.discriminator_conditions.items()}

    def discriminate(**inputs):
        conditions = [inputs[key] for key in specs]
        return {"logits": model.discriminate(to_float(inputs[name]), conditions)}

    return Signature(discriminate, {name: rows(dtype, *model.image_shape), **specs})


def _classify(model):
    name, to_float, dtype = _sample_input(model.image_shape)
    return Signature(
        lambda **given: {"probabilities": model.classify_rows(to_float(given[name]))},
        {name: rows(dtype, *model.image_shape)},
    )


def sampling(model):
    """Returns the signatures that take a seed a row: `sample`, and `png` of images.

    PNG files have four channels at most.

    Args:
        model: A `zoo.generative.GenerativeModel`.
    """
    inputs = {"seeds": rows(tf.int64), **model.condition_specs}
    signatures = {
        "sample": Signature(
            lambda **given: samples_or_images(model.draw(**given)), inputs
        )
    }
    if len(model.image_shape) == 3 and model.image_shape[-1] <= 4:
        signatures["png"] = Signature(lambda **given: png(model.draw(**given)), inputs)
    return signatures


def samples_or_images(samples):
    """Returns outputs: uint8 `images` for image shapes, float32 `samples` for rows."""
    if samples.shape.rank == 4:
        return {"images": to_uint8(samples)}
    return {"samples": tf.cast(samples, tf.float32)}


def png(images):
    """Returns outputs: `png_bytes`, one PNG file a row.

    REST answers of TensorFlow Serving base64-encode a string output only where its name
    ends in `_bytes`.
    """
    return {
        "png_bytes": tf.map_fn(
            tf.io.encode_png, to_uint8(images), fn_output_signature=tf.string
        )
    }


def _sample_input(sample_shape):
    """Returns name, conversion and dtype of an input that takes samples."""
    if len(sample_shape) == 3:
        return "images", from_uint8, tf.uint8
    return "samples", tf.identity, tf.float32
