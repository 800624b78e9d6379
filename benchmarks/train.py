"""Speed of training: `python -m benchmarks.train [SECTION ...]`.

What is compared is timed in turn, round by round, and each time and ratio is the median
of the rounds: machines are noisy, ratios less so.
"""

import contextlib
import functools
import importlib.util
import json
import math
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import keras
import numpy as np
import tensorflow as tf

import zoo
from benchmarks.loops import BareLoop, Process, TutorialModel
from benchmarks.operations import matmul_rate, step_operations
from benchmarks.timing import interleaved, ratio, seconds_of
from zoo import networks
from zoo.variants import VARIANTS

#: Channels of the discriminator's first layer; the generator has twice as many.
FILTERS = 32
#: Least length of a round of `variants`.
ROUND_SECONDS = 2
#: What makes the steps of `variants` short.
_FEW_FILTERS = {"generator_filters": 4, "discriminator_filters": 4}
_FEW_UNITS = {"units": (32,)}
NARROW = {
    "gan": {"generator_units": (32,), "discriminator_units": (16,)},
    "cgan": {"generator_units": (16, 8, 32), "discriminator_units": (16, 8, 16)},
    "dcgan": _FEW_FILTERS,
    "infogan": {**_FEW_FILTERS, "hidden_units": 64, "recognition_units": 8},
    "semi_supervised_gan": {**_FEW_FILTERS, "architecture": "convolutional"},
    "dtn": _FEW_FILTERS,
    "aae": _FEW_UNITS,
    "vae": _FEW_UNITS,
}


def batches(batch_size, image_shape=(28, 28, 1), steps=1):
    """Random images that lie ready, so that the input costs nothing."""
    images = np.random.default_rng(0).uniform(-1, 1, (batch_size, *image_shape))
    return ready(tf.constant(images, tf.float32), steps)


def ready(batch, steps):
    """Returns a dataset that repeats one batch, without tf.data's tuning thread.

    The end of an iterator waits for that thread, seconds at times; so does `fit`.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = tf.data.Dataset.from_tensors(batch).cache().repeat(steps)
    return dataset.with_options(options)


def dcgan(image_shape=(28, 28, 1), compile_arguments=None, **arguments):
    """Returns a compiled DCGAN, of the width that is measured if not told."""
    filters = {"generator_filters": 2 * FILTERS, "discriminator_filters": FILTERS}
    model = zoo.DCGAN(image_shape, seed=0, **(filters | arguments))
    model.compile(**(compile_arguments or {}))
    return model


def keras_convolutions():
    """Returns a context in which networks are built of Keras's own convolutions."""
    return mock.patch.object(networks, "convolutions", keras.layers)


def milliseconds(seconds, steps):
    """Returns the median of rounds of so many steps, in milliseconds a step."""
    return 1e3 * statistics.median(seconds) / steps


def peak_gib():
    """Returns the most memory that this process has had, on Linux.

    `getrusage` would count what its parent had when it started it.
    """
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 2**20


def loop(rounds, steps):
    """`fit` against a hand-written loop over the same networks."""
    click.echo(f"{'update':<14}{'batch':>6}{'fit':>11}{'loop':>11}{'loop / fit':>12}")
    for update in ("alternate", "simultaneous"):
        for batch_size in (32, 128):
            model = dcgan(compile_arguments={"update": update})
            bare = BareLoop(dcgan(), update)
            warm, dataset = (
                batches(batch_size, steps=2),
                batches(batch_size, steps=steps),
            )
            model.fit(warm, verbose=0)
            bare.run(warm)
            seconds = interleaved(
                {
                    "fit": lambda m=model, d=dataset: m.fit(d, verbose=0),
                    "loop": lambda b=bare, d=dataset: b.run(d),
                },
                rounds,
            )
            click.echo(
                f"{update:<14}{batch_size:>6}"
                f"{milliseconds(seconds['fit'], steps):>8.1f} ms"
                f"{milliseconds(seconds['loop'], steps):>8.1f} ms"
                f"{ratio(seconds['loop'], seconds['fit']):>12.3f}"
            )


def variants(rounds, steps):
    """What `fit` adds to the bare `train_step` of every variant, narrow networks."""
    click.echo(
        f"{'variant':<20}{'steps':>6}{'bare':>11}{'fit':>11}{'added':>11}"
        f"{'fit, ten a call':>18}"
    )
    for name, variant in VARIANTS.items():
        model, dataset = _narrow(name, variant)
        ten_a_call, _ = _narrow(name, variant, steps_per_execution=10)
        data = zoo.data.epochs(dataset)
        batch = next(iter(data))
        for each in (model, ten_a_call):
            each.fit(data, steps_per_epoch=10, verbose=0)
        step = tf.function(model.train_step)

        def bare(count, step=step, batch=batch):
            for _ in range(count):
                step(batch)

        bare(2)
        # `fit` starts once a round: rounds of fast steps have more of them.
        once = seconds_of(lambda run=bare: run(10)) / 10
        count = max(steps, math.ceil(ROUND_SECONDS / once))
        dataset = ready(batch, count)
        fit = functools.partial(keras.Model.fit, x=dataset, verbose=0)
        functions = {
            "bare": functools.partial(bare, count),
            "fit": functools.partial(fit, model),
            "ten": functools.partial(fit, ten_a_call),
        }
        seconds = interleaved(functions, rounds)
        bare_ms, fit_ms, ten_ms = (milliseconds(seconds[k], count) for k in functions)
        click.echo(
            f"{name:<20}{count:>6}{bare_ms:>8.2f} ms{fit_ms:>8.2f} ms"
            f"{fit_ms - bare_ms:>8.2f} ms{ten_ms:>15.2f} ms"
        )


def _narrow(name, variant, **compile_arguments):
    """Returns a compiled model of a variant on digits, and its data.

    What `fit` adds does not grow with the step, and shows where the step is short.
    """
    size, domains = {"image_size": 16, "batch_size": 4}, ("digits", "digits")
    arguments = {"image_shape": (16, 16, 1), "seed": 0} | NARROW.get(name, {})
    if name == "dtn":
        arguments["features"] = zoo.Classifier((16, 16, 1), 10, seed=0)
        del arguments["image_shape"]
    labelled = ("cgan", "classifier", "semi_supervised_gan")
    if name in (*labelled, "dann"):
        arguments["num_classes"] = 10
    model = variant(**arguments)
    labels = {"labels": True} if name in labelled else {}
    steps = {"total_steps": 1000} if name in ("dann", "classifier") else {}
    model.compile(**steps, **compile_arguments)
    data = domains if name in ("dann", "dtn") else "digits"
    return model, zoo.load_data(data, **size, **labels)


def peers(rounds, steps):
    """The same DCGAN in `fit`, in a bare loop, in the usual tutorial, in PyTorch."""
    batch_size = 128
    model, bare = dcgan(), BareLoop(dcgan(), "alternate")
    with keras_convolutions():
        tutorial = TutorialModel(dcgan())
    tutorial.compile()
    warm, dataset = batches(batch_size, steps=2), batches(batch_size, steps=steps)
    model.fit(warm, verbose=0)
    bare.run(warm)
    tutorial.fit(warm, verbose=0)
    operations = steps * step_operations(model, batch_size)
    rates = []
    with contextlib.ExitStack() as stack:
        functions = {
            "matmul": lambda: rates.append(matmul_rate()),
            "fit": lambda: model.fit(dataset, verbose=0),
            "bare loop": lambda: bare.run(dataset),
            "tutorial": lambda: tutorial.fit(dataset, verbose=0),
        }
        if importlib.util.find_spec("torch"):
            pytorch = stack.enter_context(
                Process("benchmarks.pytorch_dcgan", FILTERS, batch_size)
            )
            functions["pytorch"] = lambda: pytorch.run(steps)
        else:
            click.echo(
                "PyTorch is not here: pip install -r benchmarks/requirements.txt"
            )
        seconds = interleaved(functions, rounds)
    click.echo(
        f"{operations / steps / 1e9:.2f} billion operations a step, matrix products at "
        f"{statistics.median(rates) / 1e9:.0f} billion a second\n"
        f"{'way':<12}{'a step':>11}{'to fit':>12}{'of matmul rate':>16}"
    )
    for name in [name for name in functions if name != "matmul"]:
        share = statistics.median(
            operations / s / r for s, r in zip(seconds[name], rates, strict=True)
        )
        click.echo(
            f"{name:<12}{milliseconds(seconds[name], steps):>8.1f} ms"
            f"{ratio(seconds[name], seconds['fit']):>12.2f}{share:>16.2f}"
        )


def convolutions(rounds, steps):
    """Steps with the strided convolutions of `zoo.convolutions` against Keras's."""
    settings = [
        # Image, kernel, side to start from, filters of the two networks, batch.
        ((28, 28, 1), 5, None, (64, 32), 128),
        ((28, 28, 1), 5, None, (128, 64), 128),
        ((28, 28, 1), 4, None, (64, 64), 64),
        ((28, 28, 1), 4, 4, (32, 32), 64),
        ((32, 32, 3), 4, None, (64, 64), 64),
        ((64, 64, 3), 4, None, (32, 32), 32),
    ]
    click.echo(
        f"{'image':<13}{'kernel':>6}{'start':>7}{'filters':>10}{'batch':>7}"
        f"{'keras':>11}{'zoo':>11}{'zoo / keras':>13}"
    )
    for image_shape, kernel_size, start_size, filters, batch_size in settings:
        arguments = {
            "kernel_size": kernel_size,
            "start_size": start_size,
            "generator_filters": filters[0],
            "discriminator_filters": filters[1],
        }
        with keras_convolutions():
            models = {"keras": dcgan(image_shape, **arguments)}
        models["zoo"] = dcgan(image_shape, **arguments)
        dataset = batches(batch_size, image_shape, steps)
        for model in models.values():
            model.fit(batches(batch_size, image_shape), verbose=0)
        seconds = interleaved(
            {
                name: lambda m=model, d=dataset: m.fit(d, verbose=0)
                for name, model in models.items()
            },
            rounds,
        )
        click.echo(
            f"{'×'.join(map(str, image_shape)):<13}{kernel_size:>6}"
            f"{start_size or '':>7}{filters[0]:>6}, {filters[1]:>2}{batch_size:>7}"
            f"{milliseconds(seconds['keras'], steps):>8.1f} ms"
            f"{milliseconds(seconds['zoo'], steps):>8.1f} ms"
            f"{ratio(seconds['zoo'], seconds['keras']):>13.2f}"
        )


def pipeline(rounds, steps):
    """The input pipeline alone, beside the steps that it feeds."""
    batch_size = 128
    images = np.random.default_rng(0).integers(
        0, 256, (60_000, 28, 28, 1), dtype=np.uint8
    )
    stream = iter(zoo.data.epochs(zoo.load_data(images, batch_size=batch_size)))
    model, dataset = dcgan(), batches(batch_size, steps=steps)
    model.fit(dataset, verbose=0)

    def draw():
        for _ in range(steps):
            next(stream)

    draw()
    seconds = interleaved(
        {"input": draw, "fit": lambda: model.fit(dataset, verbose=0)}, rounds
    )
    click.echo(
        f"{milliseconds(seconds['input'], steps):.2f} ms a batch of {batch_size}, "
        f"{ratio(seconds['input'], seconds['fit']):.4f} of a step"
    )


def cost(rounds, steps):
    """Cost of a row against batch size, image size and replicas; peak memory."""
    click.echo(f"{'size':>5}{'batch':>6}{'replicas':>10}{'a row':>11}{'peak':>11}")
    settings = [
        *((28, batch, 1) for batch in (8, 32, 128, 256)),
        *((size, 32, 1) for size in (16, 32, 64, 128)),
        (28, 128, 2),
    ]
    for size, batch_size, replicas in settings:
        # Memory is that of a process, so each has its own.
        done = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.train", "one-size"),
                *map(str, (size, batch_size, replicas, min(steps, 10), rounds)),
            ],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        measured = json.loads(done.stdout.splitlines()[-1])
        click.echo(
            f"{size:>5}{batch_size:>6}{replicas:>10}"
            f"{measured['ms_a_row']:>8.2f} ms{measured['peak_gib']:>7.1f} GiB"
        )


def _one_size(size, batch_size, replicas, steps, rounds):
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * replicas,
    )
    arguments = ("mirrored", replicas) if replicas > 1 else ("none",)
    with zoo.strategy(*arguments).scope():
        model = dcgan((size, size, 1))
    dataset = batches(batch_size, (size, size, 1), steps)
    model.fit(dataset, verbose=0)
    seconds = interleaved({"fit": lambda: model.fit(dataset, verbose=0)}, rounds)["fit"]
    row = milliseconds(seconds, steps) / batch_size
    click.echo(json.dumps({"ms_a_row": row, "peak_gib": peak_gib()}))


def determinism(rounds, steps):
    """What `zoo train` pays for the same bits on every run."""
    with (
        Process("benchmarks.train", "worker", "free") as free,
        Process("benchmarks.train", "worker", "deterministic") as deterministic,
    ):
        seconds = interleaved(
            {
                "free": lambda: free.run(steps),
                "deterministic": lambda: deterministic.run(steps),
            },
            rounds,
        )
    share = ratio(seconds["deterministic"], seconds["free"])
    click.echo(f"deterministic operations take {share:.3f} of the time of free ones")


def _worker(mode):
    """Trains for as many steps as each line of standard input says."""
    keras.utils.set_random_seed(0)
    if mode == "deterministic":
        tf.config.experimental.enable_op_determinism()
    model = dcgan()
    for line in sys.stdin:
        model.fit(batches(128, steps=int(line)), verbose=0)
        print(json.dumps("done"), flush=True)


SECTIONS = {
    section.__name__: section
    for section in (
        loop,
        variants,
        peers,
        convolutions,
        pipeline,
        determinism,
        cost,
    )
}


@click.command()
@click.argument("sections", nargs=-1)
@click.option(
    "--rounds",
    default=7,
    type=click.IntRange(1),
    show_default=True,
    help="Interleaved rounds.",
)
@click.option(
    "--steps",
    default=30,
    type=click.IntRange(1),
    show_default=True,
    help="Steps a round; variants takes more, and cost 10 at most.",
)
def main(sections, rounds, steps):
    """Time `fit` of the DCGAN and what it is compared with.

    SECTIONS are loop, variants, peers, convolutions, pipeline, determinism and cost;
    all by default.
    """
    if sections[:1] == ("one-size",):
        return _one_size(*map(int, sections[1:]))
    if sections[:1] == ("worker",):
        return _worker(*sections[1:])
    if unknown := set(sections) - SECTIONS.keys():
        raise click.BadParameter(f"{sorted(unknown)} are not of {list(SECTIONS)}")
    click.echo(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}; DCGAN with "
        f"{2 * FILTERS} and {FILTERS} filters; medians of {rounds} rounds of {steps} "
        "steps"
    )
    for name in sections or SECTIONS:
        click.echo(f"\n{name}: {SECTIONS[name].__doc__.splitlines()[0]}")
        SECTIONS[name](rounds, steps)
    click.echo(f"\npeak memory {peak_gib():.1f} GiB")


if __name__ == "__main__":
    main()
