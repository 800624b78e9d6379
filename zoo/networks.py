"""Networks of the papers, as functions that build Keras functional models.

`initializers` is an endless iterator of seeded initializers, one for each layer, so
that one seed fixes the initial weights of a whole model.
"""

import contextlib
import itertools
import math

import keras
from keras import layers

from zoo import convolutions


def normal_initializers(stddev, seed):
    """Yields N(0, stddev²) initializers whose seeds follow from `seed`."""
    for number in itertools.count():
        yield keras.initializers.RandomNormal(stddev=stddev, seed=seed + number)


def glorot_initializers(seed):
    """Yields Glorot uniform initializers whose seeds follow from `seed`."""
    for number in itertools.count():
        yield keras.initializers.GlorotUniform(seed=seed + number)


def he_initializers(seed):
    """Yields He normal initializers whose seeds follow from `seed`."""
    for number in itertools.count():
        yield keras.initializers.HeNormal(seed=seed + number)


def mlp(inputs, units, activation, initializers, batch_normalization=False):
    """Stacks dense layers with an activation on a tensor."""
    for count in units:
        if batch_normalization:
            inputs = dense_block(inputs, count, activation, next(initializers))
        else:
            inputs = layers.Dense(
                count, activation=activation, kernel_initializer=next(initializers)
            )(inputs)
    return inputs


def upsampling_sizes(size, start_size=None):
    """Returns the sides by which images grow: `[4, 8, 16, 32]`, or `[4, 7, 14, 28]`.

    Args:
        size: Height and width of the images.
        start_size: Side to start from. None halves the size as long as it is even and
            above 4; a side that is given may need halves that are rounded up, as that
            of 7 to 4, whose doubling loses a row and a column.

    Raises:
        ValueError: If the sizes do not fit together.
    """
    sizes = [size]
    if start_size is None:
        while sizes[0] % 2 == 0 and sizes[0] > 4:
            sizes.insert(0, sizes[0] // 2)
        if sizes[0] > 8 or len(sizes) == 1:
            raise ValueError(
                "Images grow by doubling from a side of at most 8, as 28 = 7·2·2 or "
                f"64 = 4·2·2·2·2. Received: size={size}, which halves to {sizes[0]}"
            )
        return sizes
    while sizes[0] > max(start_size, 1):
        sizes.insert(0, (sizes[0] + 1) // 2)
    if sizes[0] != start_size or len(sizes) == 1:
        raise ValueError(
            f"start_size={start_size} cannot be doubled to the image size {size}"
        )
    return sizes


def square_size(image_shape):
    """Returns the side of a square image shape `(size, size, channels)`.

    Raises:
        ValueError: If the shape is another, or the size is not 16 to 128.
    """
    if len(image_shape) != 3 or image_shape[0] != image_shape[1]:
        raise ValueError(
            "Convolutional networks take square images (size, size, channels), such as "
            "load_data(image_size=64), or --image-size 64, makes of others. "
            f"Received: image_shape={tuple(image_shape)}"
        )
    if not 16 <= image_shape[0] <= 128:
        raise ValueError(
            "Expected a size of 16 to 128 pixels. "
            f"Received: image_shape={tuple(image_shape)}"
        )
    return image_shape[0]


def activation_layer(name):
    """Returns a Keras activation; leaky ReLU has the slope 0.2 of the DCGAN paper."""
    if name == "leaky_relu":
        return layers.LeakyReLU(negative_slope=0.2)
    return layers.Activation(name)


def normalization_layer(kind, axis=(1, 2, 3), **arguments):
    """Returns the normalization of a layer, or None.

    Batch normalization is synchronized over replicas, so that training on several
    equals training on one.

    Args:
        kind: `"batch"`, `"layer"` or None.
        axis: What layer normalization takes together: maps, or rows by -1.
        **arguments: Arguments of every Keras layer, such as `name`.
    """
    if kind == "batch":
        return layers.BatchNormalization(
            momentum=0.9, epsilon=1e-5, synchronized=True, **arguments
        )
    if kind == "layer":
        return layers.LayerNormalization(axis=axis, epsilon=1e-5, **arguments)
    if kind is None:
        return None
    raise ValueError(
        f"Expected normalization 'batch', 'layer' or None. Received: {kind!r}"
    )


def dense_block(x, units, activation, initializer, normalization="batch"):
    """Maps rows by a dense layer, a normalization, if any, and an activation."""
    normalize = normalization_layer(normalization, axis=-1)
    x = layers.Dense(units, use_bias=normalize is None, kernel_initializer=initializer)(
        x
    )
    if normalize is not None:
        x = normalize(x)
    return activation_layer(activation)(x)


def upsampling_stack(
    x,
    image_shape,
    *,
    filters,
    kernel_size,
    activation,
    initializers,
    start_size=None,
    hidden_units=None,
):
    """Projects rows, then doubles them into images by strided transposed convolutions.

    Each doubling halves the channels; the last hidden layer has `filters` of them.
    Batch normalization everywhere but on the output, which is tanh (Radford et al.
    2016, section 3 and figure 1).

    Args:
        x: Tensor of shape `[batch, features]`.
        image_shape: `(size, size, channels)` of the images.
        filters: Channels of the last hidden layer.
        kernel_size: Side of the kernels.
        activation: `"relu"` or `"leaky_relu"`.
        initializers: Iterator of initializers.
        start_size: Side to start from; None for the smallest.
        hidden_units: Width of a dense layer before the projection; None for none.

    Returns:
        float32 tensor of shape `[batch, *image_shape]` in [-1, 1].
    """
    if image_shape[-1] not in (1, 3):
        raise ValueError(
            "Expected images of 1 or 3 channels, such as (28, 28, 1). "
            f"Received: image_shape={tuple(image_shape)}"
        )
    start, *sizes = upsampling_sizes(square_size(image_shape), start_size)
    channels = filters * 2 ** (len(sizes) - 1)
    if hidden_units is not None:
        x = dense_block(x, hidden_units, activation, next(initializers))
    x = layers.Dense(
        start * start * channels,
        use_bias=False,
        kernel_initializer=next(initializers),
    )(x)
    x = layers.Reshape((start, start, channels))(x)
    for size in sizes[:-1]:
        x = activation_layer(activation)(normalization_layer("batch")(x))
        channels //= 2
        x = convolutions.Conv2DTranspose(
            channels,
            kernel_size,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer=next(initializers),
        )(x)
        x = crop(x, size)
    x = activation_layer(activation)(normalization_layer("batch")(x))
    x = convolutions.Conv2DTranspose(
        image_shape[-1],
        kernel_size,
        strides=2,
        padding="same",
        kernel_initializer=next(initializers),
    )(x)
    return layers.Activation("tanh", dtype="float32")(crop(x, sizes[-1]))


def crop(x, size):
    """Takes the last row and column from maps that are larger than the side."""
    extra = x.shape[1] - size
    return layers.Cropping2D(((0, extra), (0, extra)))(x) if extra else x


def downsampling_stack(
    x,
    *,
    filters,
    kernel_size,
    normalization,
    initializers,
    stop_size=None,
    hidden_units=None,
):
    """Halves images by strided convolutions into rows of features.

    Leaky ReLU 0.2; normalization everywhere but on the first layer, whose statistics
    are the image's own (Radford et al. 2016, section 3).

    Args:
        x: Images, a tensor of shape `[batch, size, size, channels]`.
        filters: Channels of the first layer; each further one doubles them.
        kernel_size: Side of the kernels.
        normalization: `"batch"`, `"layer"` or None.
        initializers: Iterator of initializers.
        stop_size: Side to stop at; None for the smallest.
        hidden_units: Width of a dense layer at the end; None for none.

    Returns:
        Tensor of shape `[batch, features]`.
    """
    halvings = len(upsampling_sizes(square_size(x.shape[1:]), stop_size)) - 1
    for number in range(halvings):
        normalize = normalization_layer(normalization) if number > 0 else None
        x = convolutions.Conv2D(
            filters * 2**number,
            kernel_size,
            strides=2,
            padding="same",
            use_bias=normalize is None,
            kernel_initializer=next(initializers),
        )(x)
        if normalize is not None:
            x = normalize(x)
        x = activation_layer("leaky_relu")(x)
    x = layers.Flatten()(x)
    if hidden_units is None:
        return x
    return dense_block(x, hidden_units, "leaky_relu", next(initializers), normalization)


def samples(x, shape, initializer, dense=layers.Dense):
    """Maps rows of features to float32 samples of the shape, by tanh into [-1, 1]."""
    x = dense(
        math.prod(shape),
        activation="tanh",
        kernel_initializer=initializer,
        dtype="float32",
    )(x)
    return layers.Reshape(shape, dtype="float32")(x)


def logit(x, initializer):
    """Maps rows of features to one float32 logit a row, of shape `[batch]`."""
    x = layers.Dense(1, kernel_initializer=initializer, dtype="float32")(x)
    return layers.Reshape((), dtype="float32")(x)


@contextlib.contextmanager
def policy(dtype):
    """Builds what a block builds with a dtype policy.

    Args:
        dtype: Policy, its name or config; None for Keras's global one.
    """
    outside = keras.config.dtype_policy()
    keras.config.set_dtype_policy(keras.dtype_policies.get(dtype))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(outside)
