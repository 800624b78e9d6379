"""Random numbers that are a pure function of integer seeds, one seed a row.

TensorFlow's generators draw one array from one seed, draw other numbers under XLA
than outside it, and repeat themselves on every replica. A zoo needs the opposite:
the row of one seed is the same alone, in any batch, on any replica, compiled or
not, in this process or in a server. So rows are drawn by counter (Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", 2011): entry j of the row with key s
is ``mix(s + (j + 1) * GOLDEN)``, which is SplitMix64 (Steele et al., "Fast
splittable pseudorandom number generators", 2014) started at s. Integer arithmetic
is the same on every device and under every compiler.
"""

import math

import tensorflow as tf

# TensorFlow must not run an operation while it is imported: strategies and logical
# devices are configured before the first one. So constants are Python's.
_GOLDEN = 0x9E3779B97F4A7C15


def _constant(value):
    return tf.constant(value, tf.uint64)


def _mix(x):
    """Finalizer of SplitMix64: a bijection of 64-bit integers that looks random."""
    x = (x ^ tf.bitwise.right_shift(x, _constant(30))) * _constant(0xBF58476D1CE4E5B9)
    x = (x ^ tf.bitwise.right_shift(x, _constant(27))) * _constant(0x94D049BB133111EB)
    return x ^ tf.bitwise.right_shift(x, _constant(31))


def _unsigned(seeds):
    return tf.bitcast(tf.cast(seeds, tf.int64), tf.uint64)


def random_bits(seeds, count):
    """Returns the first ``count`` outputs of SplitMix64 for each seed.

    Args:
        seeds: Integer tensor of shape `[n]`.
        count: Numbers per seed.

    Returns:
        uint64 tensor of shape `[n, count]`.
    """
    counters = tf.range(1, count + 1, dtype=tf.int64)
    return _mix(
        _unsigned(seeds)[:, None] + _unsigned(counters)[None, :] * _constant(_GOLDEN)
    )


def fold_in(seeds, data):
    """Derives new, unrelated seeds: one for every combination of seed and data.

    Args:
        seeds: Integer scalar or tensor.
        data: Integer scalar or tensor that broadcasts against ``seeds``, such as a
            step, the number of a stream, or the index of a row.

    Returns:
        int64 tensor of the broadcast shape.
    """
    mixed = _mix(_mix(_unsigned(seeds) + _constant(_GOLDEN)) + _unsigned(data))
    return tf.bitcast(mixed, tf.int64)


def seeds_from(rows):
    """Derives a seed from the numbers of each row.

    Args:
        rows: Floating-point tensor of shape `[n, width]`.

    Returns:
        int64 tensor of shape `[n]`; rows of the same bits have the same seed.
    """
    bits = tf.cast(tf.bitcast(tf.cast(rows, tf.float32), tf.int32), tf.int64)
    places = tf.range(tf.shape(rows, tf.int64)[1])
    return tf.reduce_sum(fold_in(bits, places), axis=1)


def _unit_interval(bits):
    """Maps the highest 24 bits to the middles of 2^24 cells of (0, 1)."""
    high = tf.bitwise.right_shift(bits, _constant(40))
    middles = (tf.cast(tf.cast(high, tf.int32), tf.float32) + 0.5) * 2.0**-24
    # float32 rounds the middle of the last cell up to 1.
    return tf.minimum(middles, 1 - 2.0**-24)


def uniform(seeds, count, low=0.0, high=1.0):
    """Draws float32 `[n, count]`, uniform between low and high, row i from seed i."""
    return low + (high - low) * _unit_interval(random_bits(seeds, count))


def normal(seeds, count):
    """Draws float32 `[n, count]` from N(0, 1), row i from seed i.

    Box and Muller's transform of two 24-bit uniforms, so magnitudes end at 5.9.
    """
    bits = random_bits(seeds, count)
    radius = tf.sqrt(-2.0 * tf.math.log(_unit_interval(bits)))
    low_half = tf.bitwise.left_shift(bits, _constant(32))
    angle = 2.0 * math.pi * _unit_interval(low_half)
    return radius * tf.cos(angle)


def integers(seeds, count, bound):
    """Draws int64 `[n, count]`, uniform on 0 ... bound - 1, row i from seed i."""
    draws = _unit_interval(random_bits(seeds, count)) * float(bound)
    # float32 rounds the last cell of (0, 1) * bound up to bound for some bounds.
    return tf.minimum(tf.cast(draws, tf.int64), bound - 1)
