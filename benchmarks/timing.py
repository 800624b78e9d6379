"""Timing in turns: what things cost relative to each other on a noisy machine."""

import statistics
import time


def seconds_of(function):
    """Returns how long one call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def interleaved(functions, rounds):
    """Times functions in turn, round by round.

    Args:
        functions: Dict from a name to a function without arguments, warmed up.
        rounds: Number of rounds. Every other one goes through the functions backwards,
            since whoever comes second meets a warmer machine.

    Returns:
        Dict from the name to the list of its seconds, a round each.
    """
    seconds = {name: [] for name in functions}
    order = list(functions)
    for number in range(rounds):
        for name in order[:: -1 if number % 2 else 1]:
            seconds[name].append(seconds_of(functions[name]))
    return seconds


def ratio(numerator, denominator):
    """Returns the median over rounds of the quotient of two lists of seconds."""
    return statistics.median(
        one / other for one, other in zip(numerator, denominator, strict=True)
    )
