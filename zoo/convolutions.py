"""Keras's convolutions of stride 2, computed faster on processors next to images.

A DCGAN halves images by strided convolutions and doubles them by transposed ones; each
is the gradient of the other by its input. Where the large maps have many channels,
TensorFlow's kernel for the transposed one is as fast as a plain convolution, but not
where they are an image of one or three. There it is a plain one here: outputs taken two
by two sum over the same inputs, so they are made as channels of one place, and spread
(Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?").
benchmarks/README.md has the times.

The layers have Keras's names, arguments and weights. On accelerators, and for strides
and paddings that no network here has, they are Keras's own.
"""

import contextlib
import contextvars
import functools
import typing

import keras
import tensorflow as tf

# Whether `halve` and `double` have the gradients that TensorFlow finds.
_PLAIN = contextvars.ContextVar("plain", default=False)

#: Channels of an image, or of maps as thin, up to which it pays.
_MAX_CHANNELS = 8


@keras.saving.register_keras_serializable("zoo")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, whose gradient by images is faster at stride 2."""

    def convolution_op(self, inputs, kernel):
        """Convolves the inputs."""
        if (
            _pays(self, inputs.shape[-1], inputs)
            and self.groups == 1
            and not any(side % 2 for side in inputs.shape[1:3])
        ):
            # Read here: `tf.custom_gradient` wants a variable of its function's own
            # handed to the gradient.
            return halve(inputs, tf.convert_to_tensor(kernel))
        return super().convolution_op(inputs, kernel)


@keras.saving.register_keras_serializable("zoo")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose`; making images, it is faster at stride 2."""

    def call(self, inputs):
        """Convolves the inputs, adds the bias and applies the activation."""
        if self.output_padding is not None or not _pays(self, self.filters, inputs):
            return super().call(inputs)
        outputs = double(inputs, tf.convert_to_tensor(self.kernel))
        if self.use_bias:
            outputs = keras.ops.add(outputs, self.bias)
        return self.activation(outputs)


def _pays(layer, channels, inputs):
    """Whether `halve` or `double` does what the layer does, in less time.

    Args:
        layer: The layer.
        channels: Those of the larger maps.
        inputs: What the layer is called with.
    """
    return (
        layer.strides == (2, 2)
        and layer.padding == "same"
        and layer.dilation_rate == (1, 1)
        and layer.data_format == "channels_last"
        and min(layer.kernel_size) > 1
        and channels <= _MAX_CHANNELS
        and None not in inputs.shape[1:]
        and all(d.device_type == "CPU" for d in tf.config.list_physical_devices())
    )


@contextlib.contextmanager
def plain_gradients():
    """Has what is traced meanwhile, by this thread, differentiated by TensorFlow.

    For what nothing differentiates: `tf.custom_gradient` keeps a gradient, and with it
    the graph, for good at each trace.
    """
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def _with_gradients(function):
    """Makes a function whose second result is a function for the gradients."""
    custom = tf.custom_gradient(function)

    @functools.wraps(function)
    def call(*arguments):
        return function(*arguments)[0] if _PLAIN.get() else custom(*arguments)

    return call


@_with_gradients
def halve(images, kernel):
    """Halves images by a convolution of stride 2 with padding "same".

    Args:
        images: `[n, 2h, 2w, c]`.
        kernel: `[rows, columns, c, d]`.

    Returns:
        Maps `[n, h, w, d]`.
    """

    def gradients(upstream):
        return double(upstream, kernel), _by_kernel(images, kernel, upstream)

    return tf.nn.conv2d(images, kernel, 2, "SAME"), gradients


@_with_gradients
def double(maps, kernel):
    """Doubles maps by the transpose of `halve`.

    Args:
        maps: `[n, h, w, d]`.
        kernel: `[rows, columns, c, d]`.

    Returns:
        Images `[n, 2h, 2w, c]`.
    """

    def gradients(upstream):
        return halve(upstream, kernel), _by_kernel(upstream, kernel, maps)

    height, width = maps.shape[1:3]
    channels, depth = kernel.shape[2:]
    rows, columns = (_pairs(size) for size in kernel.shape[:2])
    taps = tf.pad(kernel, [rows.padding, columns.padding, (0, 0), (0, 0)])
    # Which tap each input of a window meets, for the outputs of a pair of rows and
    # columns. Gathered, for slices with steps take ten times as long.
    order = [
        (2 * row + row_parity) * taps.shape[1] + 2 * column + column_parity
        for row in reversed(range(rows.count))
        for column in reversed(range(columns.count))
        for row_parity in (0, 1)
        for column_parity in (0, 1)
    ]
    taps = tf.gather(tf.reshape(taps, [-1, channels, depth]), order)
    taps = tf.reshape(taps, [rows.count * columns.count, 4 * channels, depth])
    # A transposed convolution sums over the kernel's last axis, a plain one over the
    # last but one.
    taps = tf.transpose(taps, [0, 2, 1])
    pairs = tf.nn.conv2d(
        maps,
        tf.reshape(taps, [rows.count, columns.count, depth, 4 * channels]),
        1,
        [(0, 0), rows.margins, columns.margins, (0, 0)],
    )
    images = tf.nn.depth_to_space(pairs, 2)[
        :,
        rows.skipped : rows.skipped + 2 * height,
        columns.skipped : columns.skipped + 2 * width,
    ]
    # Of no rows TensorFlow gives the convolution another shape.
    return tf.reshape(images, [-1, 2 * height, 2 * width, channels]), gradients


class _Pairs(typing.NamedTuple):
    """How the outputs along an axis are made in pairs from the same inputs.

    Attributes:
        padding: Zeros before and after the kernel, which make its size even.
        count: Inputs that a pair sums over; each meets two neighbouring taps.
        margins: Zeros before and after the inputs.
        skipped: Outputs of the first pair that lie before the image.
    """

    padding: tuple[int, int]
    count: int
    margins: tuple[int, int]
    skipped: int


def _pairs(size):
    """Returns the pairs for a kernel's axis.

    Output o sums over inputs i times taps o + before - 2i, where "same" pads an image
    by `before` and no less after it. With o = 2j - skipped + parity that is tap
    2 (j - i + ahead) + parity, given that before - skipped, with a zero put before an
    odd kernel where needed, is 2 ahead.
    """
    before = (size - 2) // 2
    odd = before % 2
    padding, skipped = ((odd, 1 - odd), 0) if size % 2 else ((0, 0), odd)
    count = (size + 1) // 2
    ahead = (before + 1) // 2 if size % 2 else before // 2
    return _Pairs(padding, count, (count - 1 - ahead, ahead + skipped), skipped)


def _by_kernel(images, kernel, maps):
    """Returns the gradient of `halve` by its kernel, from that by its outputs."""
    return tf.raw_ops.Conv2DBackpropFilter(
        input=images,
        filter_sizes=kernel.shape,
        out_backprop=maps,
        strides=[1, 2, 2, 1],
        padding="SAME",
    )
