"""Keras's convolutions of stride 2, computed faster on processors.

A DCGAN halves images by strided convolutions and doubles them by transposed ones; each
is the gradient of the other by its input. TensorFlow's kernel for the transposed one
reaches a third of the rate of a plain convolution on a processor, so here it is made of
four plain ones, one for each parity of an output's row and column, which together use
each tap of the kernel once. (benchmarks/README.md has the times.)

The layers have Keras's names, arguments and weights. On accelerators, and for strides
and paddings that no network here has, they are Keras's own.
"""

import typing

import keras
import tensorflow as tf

#: Channels of the small maps and of the large ones from which on it pays.
_MIN_CHANNELS = (64, 16)


@keras.saving.register_keras_serializable("zoo")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, whose gradient by its input is faster at stride 2."""

    def convolution_op(self, inputs, kernel):
        """Convolves the inputs."""
        if (
            _pays(self, self.filters, inputs.shape[-1], inputs)
            and self.groups == 1
            and not any(side % 2 for side in inputs.shape[1:3])
        ):
            # Read here: `tf.custom_gradient` wants a variable of its function's own
            # handed to the gradient.
            return halve(inputs, tf.convert_to_tensor(kernel))
        return super().convolution_op(inputs, kernel)


@keras.saving.register_keras_serializable("zoo")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose`, faster at stride 2 in training.

    For batches below about 16 rows, as a server has them, Keras's own is faster.
    """

    def call(self, inputs, training=False):
        """Convolves the inputs, adds the bias and applies the activation."""
        if (
            not training
            or self.output_padding is not None
            or not _pays(self, inputs.shape[-1], self.filters, inputs)
        ):
            return super().call(inputs)
        outputs = double(inputs, tf.convert_to_tensor(self.kernel))
        if self.use_bias:
            outputs = keras.ops.add(outputs, self.bias)
        return self.activation(outputs)


def _pays(layer, small, large, inputs):
    """Whether `halve` or `double` does what the layer does, in less time.

    Args:
        layer: The layer.
        small: Channels of the smaller maps.
        large: Channels of the larger ones.
        inputs: What the layer is called with.
    """
    return (
        layer.strides == (2, 2)
        and layer.padding == "same"
        and layer.dilation_rate == (1, 1)
        and layer.data_format == "channels_last"
        and min(layer.kernel_size) > 1
        and small >= _MIN_CHANNELS[0]
        and large >= _MIN_CHANNELS[1]
        and None not in inputs.shape[1:]
        and all(d.device_type == "CPU" for d in tf.config.list_physical_devices())
    )


@tf.custom_gradient
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


@tf.custom_gradient
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
    row_phases, row_margins = _phases(kernel.shape[0])
    column_phases, column_margins = _phases(kernel.shape[1])
    padded = tf.pad(maps, [(0, 0), row_margins, column_margins, (0, 0)])
    # A transposed convolution sums over the kernel's last axis, a plain one over the
    # last but one.
    kernel_back = tf.transpose(kernel, [0, 1, 3, 2])
    rows = []
    for row in row_phases:
        top = row.first + row_margins[0]
        window = padded[:, top : top + height + row.count - 1]
        columns = []
        for column in column_phases:
            left = column.first + column_margins[0]
            columns.append(
                tf.nn.conv2d(
                    window[:, :, left : left + width + column.count - 1],
                    kernel_back[row.last_tap :: -2, column.last_tap :: -2],
                    1,
                    "VALID",
                )
            )
        rows.append(tf.stack(columns, axis=3))
    images = tf.stack(rows, axis=2)
    return tf.reshape(images, [-1, 2 * height, 2 * width, kernel.shape[2]]), gradients


class _Phase(typing.NamedTuple):
    """The taps of a kernel that meet the even, or the odd, places of an output.

    Output place 2i + parity sums over `count` inputs from i + `first` on, times every
    other tap from `last_tap` down.
    """

    first: int
    count: int
    last_tap: int


def _phases(size):
    """Returns the even and odd phases of a kernel's axis, and the zeros they need."""
    # "same" pads by size - 2 zeros in all, the smaller half of them before.
    before = (size - 2) // 2
    phases = []
    for parity in (0, 1):
        last_tap = size - 1 - (size - 1 - parity - before) % 2
        first = (parity + before - last_tap) // 2
        phases.append(_Phase(first, count=last_tap // 2 + 1, last_tap=last_tap))
    margins = (
        max(-phase.first for phase in phases),
        max(phase.first + phase.count - 1 for phase in phases),
    )
    return phases, margins


def _by_kernel(images, kernel, maps):
    """Returns the gradient of `halve` by its kernel, from that by its outputs."""
    return tf.raw_ops.Conv2DBackpropFilter(
        input=images,
        filter_sizes=kernel.shape,
        out_backprop=maps,
        strides=[1, 2, 2, 1],
        padding="SAME",
    )
