"""The command line: `python -m serving start|generate|…`."""

import contextlib
import gc
import logging
import os
import pathlib
import re
import signal
import sys
import threading

import click

from serving import errors


@contextlib.contextmanager
def _mistakes_in_one_line():
    """Turns what a user can get wrong into one line on stderr and exit status 1."""
    try:
        yield
    except MemoryError as error:
        raise click.ClickException(f"That needs too much memory: {error}") from error
    except (errors.ServingError, errors.RequestError, OSError, ValueError) as error:
        raise click.ClickException(" ".join(str(error).split())) from error


class _Command(click.Command):
    def invoke(self, context):
        with _mistakes_in_one_line():
            return super().invoke(context)


@click.group(context_settings={"show_default": True})
def main():
    """Serve exported models over gRPC, and ask them for pictures."""


_PORT = click.IntRange(0, 65535)
#: The longest that anything here may take or wait: a year.
_LONGEST = 31_536_000


class _Seconds(click.FloatRange):
    """A finite time."""

    name = "seconds"

    def __init__(self, **least):
        super().__init__(max=_LONGEST, **least)

    def convert(self, value, param, ctx):
        """Parses the number; NaN is in no range, and passes for one."""
        seconds = super().convert(value, param, ctx)
        if seconds != seconds:
            self.fail("nan is no time", param, ctx)
        return seconds


def _numbers(context, parameter, value):
    if value is None:
        return None
    try:
        return [int(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter("give whole numbers with commas: 0,1,2") from None


def _counts(context, parameter, value):
    counts = _numbers(context, parameter, value)
    if min(counts) < 1:
        raise click.BadParameter("give numbers of 1 or more")
    return counts


def _picture(context, parameter, value):
    from PIL import Image  # Only this command makes pictures.

    # Some formats are only read, and some only by a library that is not there.
    kind = Image.registered_extensions().get(value.suffix.lower())
    if kind not in Image.SAVE:
        raise click.BadParameter(f"{value} names no picture, such as grid.png")
    return value


#: NAME, HOST:PORT/NAME, with :TAG, @DIGEST or both.
_IMAGE = re.compile(
    r"(?:[\w.-]+(?::\d+)?/)?[\w.-]+(?:/[\w.-]+)*(?::[\w.-]+)?(?:@\w+:[0-9a-f]+)?",
    re.ASCII,
)


def _image(context, parameter, value):
    none = value is None or (value == "" and parameter.name == "baked_image")
    if not none and not _IMAGE.fullmatch(value):
        raise click.BadParameter(f"{value!r} names no container image")
    return value


@main.command(cls=_Command)
@click.argument(
    "models_dir",
    required=False,
    type=click.Path(exists=True, file_okay=False, path_type=pathlib.Path),
)
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", type=_PORT, default=8500, help="gRPC port; 0 picks a free one.")
@click.option("--rest-port", type=_PORT, help="REST and metrics port; 0 picks one.")
@click.option(
    "--model-config-file",
    type=click.Path(path_type=pathlib.Path),
    help="A models.config in TensorFlow Serving's text format.",
)
@click.option(
    "--enable-batching/--disable-batching",
    default=True,
    help="Join requests into batches.",
)
@click.option(
    "--batching-parameters-file",
    type=click.Path(path_type=pathlib.Path),
    help="A batching file in TensorFlow Serving's text format.",
)
@click.option(
    "--per-model-batching/--no-per-model-batching",
    default=False,
    help="Honour a version's own batching_params.pbtxt.",
)
@click.option(
    "--allow-version-labels-for-unavailable-models",
    is_flag=True,
    help="Let labels name versions that are not loaded.",
)
@click.option(
    "--poll-seconds",
    type=_Seconds(min=0, min_open=True),
    default=1.0,
    help="How often to look for versions.",
)
@click.option(
    "--model-config-file-poll-wait-seconds",
    type=_Seconds(min=0),
    default=0.0,
    help="How often to read the models.config again; 0 for never.",
)
@click.option(
    "--max-message-mib",
    type=click.IntRange(1, 2047),
    default=128,
    help="Largest request and answer, in MiB.",
)
@click.option(
    "--max-concurrent-requests",
    type=click.IntRange(1),
    default=256,
    help="Refuse more at once with RESOURCE_EXHAUSTED.",
)
@click.option(
    "--tensorflow-intra-op-parallelism",
    "intra_op_parallelism",
    type=click.IntRange(0),
    default=0,
    help="Threads that share one operation; 0 for as many as there are processors. "
    "1 suits generators that compute a row in less than a millisecond.",
)
@click.option("--tls-certificate", type=click.Path(), help="PEM file; with --tls-key.")
@click.option("--tls-key", type=click.Path(), help="PEM file of the key.")
@click.option(
    "--tls-client-ca",
    type=click.Path(),
    help="PEM file: accept only clients certified by this authority.",
)
@click.option(
    "--drain-seconds",
    type=_Seconds(min=0),
    default=0.0,
    help="On SIGTERM, keep serving this long after health has turned.",
)
@click.option(
    "--grace-seconds",
    type=_Seconds(min=0),
    default=10.0,
    help="On SIGTERM, give requests in flight this long.",
)
def start(
    models_dir,
    max_message_mib,
    intra_op_parallelism,
    drain_seconds,
    grace_seconds,
    **options,
):
    """Serve every model of a folder, until SIGTERM or Ctrl-C.

    The folder MODELS_DIR holds them as MODEL/VERSION/. A second Ctrl-C ends it at once.
    """
    logging.basicConfig(
        stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("serving").setLevel(logging.INFO)
    if models_dir is None and options["model_config_file"] is None:
        raise click.UsageError("give MODELS_DIR or --model-config-file")
    _allow_open_files()
    # TensorFlow imports Keras, unless it is told to look for an older one. Without that
    # and without searches for garbage meanwhile, a start takes half as long.
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    gc.disable()
    # Only this command needs TensorFlow.
    from serving.saved_model import set_intra_op_parallelism
    from serving.server import Server

    if intra_op_parallelism:
        set_intra_op_parallelism(intra_op_parallelism)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # What is imported stays. Else some searches for garbage would go through all of
    # TensorFlow's objects, and every request wait.
    gc.collect()
    gc.freeze()
    gc.enable()
    server = Server(models_dir, max_message_bytes=max_message_mib << 20, **options)
    asked_to_stop = threading.Event()
    starting = True

    def stop(number, frame):
        asked_to_stop.set()
        # Nothing is in flight yet, and what TensorFlow is doing can't be broken off.
        if starting:
            os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.start()
    starting = False
    click.echo(f"gRPC on {server.address}")
    if server.rest_address:
        scheme = "http" if options["tls_certificate"] is None else "https"
        click.echo(f"REST on {scheme}://{server.rest_address}/v1/models/MODEL")
    available = server.models.available()
    for name, versions in available.items():
        for version in versions:
            click.echo(f"serving {name} version {version}")
    if not any(available.values()):
        source = options["model_config_file"] or models_dir
        click.echo(
            f"no model of {source} is there yet; waiting for one, such as NAME/1/ by "
            "`python -m export`",
            err=True,
        )
    asked_to_stop.wait()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    click.echo("finishing what is in flight", err=True)
    server.stop(grace=grace_seconds, drain=drain_seconds)
    # Python would wait for a computation or a load that outlasts the grace.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _allow_open_files():
    """Raises the limit of open files: each connection is one, and 1024 are usual."""
    # Windows has no such limit, and some systems refuse what they said is allowed.
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _client_options(command):
    """Adds the options of every command that talks to a server."""
    for option in reversed(
        (
            click.option(
                "--timeout",
                type=_Seconds(min=0, min_open=True),
                default=60.0,
                help="Seconds to wait.",
            ),
            click.option("--tls", is_flag=True, help="Speak TLS."),
            click.option(
                "--root-certificate",
                type=click.Path(),
                help="PEM file of the authority to check the server against.",
            ),
            click.option("--client-certificate", type=click.Path(), help="PEM file."),
            click.option("--client-key", type=click.Path(), help="PEM file."),
            click.option("--server-name", help="The name in the server's certificate."),
        )
    ):
        command = option(command)
    return command


@main.command(cls=_Command)
@click.argument("address", metavar="HOST:PORT")
@click.argument("model")
@click.option("-n", default=64, type=click.IntRange(1), help="How many pictures.")
@click.option("--seed", default=0, help="Seed of the first; the others count on.")
@click.option(
    "--labels",
    callback=_numbers,
    help="Classes, such as 0,1,2; repeated over the rows. For -1, or any number that "
    "is no class, the server draws one.",
)
@click.option("--version", type=int, help="Version, instead of the newest.")
@click.option("--version-label", help="Version label, such as stable.")
@click.option(
    "--out",
    type=click.Path(path_type=pathlib.Path, dir_okay=False),
    callback=_picture,
    default="served.png",
    help="Where the grid of pictures goes.",
)
@_client_options
def generate(address, model, n, seed, labels, version, version_label, out, **options):
    """Ask a server for pictures, and save them as a grid.

    The server at HOST:PORT draws them by MODEL.
    """
    from serving.client import Client
    from serving.pictures import image_grid

    if labels is not None:
        labels = [labels[row % len(labels)] for row in range(n)]
    with Client(address, **options) as client:
        images = client.generate(
            model,
            n,
            seed=seed,
            labels=labels,
            version=version,
            version_label=version_label,
        )
    if images.ndim != 4:
        raise errors.RequestError(
            f"model {model!r} draws vectors of shape {list(images.shape[1:])}, not "
            "pictures; use serving.Client.generate"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    image_grid(images).save(out)
    click.echo(f"{out}: {n} pictures of {model}, seeds {seed} to {seed + n - 1}")


@main.command(cls=_Command)
@click.argument("address", metavar="HOST:PORT")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--signature", help="Signature to ask; by default serving_default.")
@click.option("--label", help="A version label of each model, to ask by it, too.")
@click.option(
    "--rest", metavar="HOST:PORT", help="Ask its REST API there, too, over plain HTTP."
)
@click.option("--verbose", is_flag=True, help="List the cases that agree, too.")
@_client_options
def conformance(address, models, signature, label, rest, verbose, **options):
    """Check a server against TensorFlow Serving's behaviour.

    The server at HOST:PORT, any one, is asked for each MODEL. Nothing is changed on it.
    Exit status 1 if a case fails.
    """
    from serving import conformance
    from serving.client import Client
    from serving.conformance import rest_calls

    failed = 0
    with Client(address, **options) as client:
        if rest is not None:
            rest_calls.check_address(rest, options["timeout"])
        for model in models:
            counts = {"agrees": 0, "deliberate": 0, "fails": 0}
            for result in conformance.results(
                client, model, signature, label, rest, options["timeout"]
            ):
                counts[result.outcome] += 1
                if verbose or result.outcome != "agrees":
                    line = f"{result.outcome:10s} {result.case.name}"
                    click.echo(f"{line}: {result.detail}" if result.detail else line)
            failed += counts["fails"]
            click.echo(
                f"{model}: {counts['agrees']} agree, {counts['deliberate']} differ "
                f"deliberately, {counts['fails']} fail"
            )
    if failed:
        raise click.ClickException(f"{failed} cases failed")


@main.command(cls=_Command)
@click.argument("address", metavar="HOST:PORT")
@click.argument("model")
@click.option(
    "--callers",
    default="1,8,32",
    callback=_counts,
    help="Numbers of callers that ask at once.",
)
@click.option(
    "--seconds",
    type=_Seconds(min=0, min_open=True),
    default=10.0,
    help="How long, at each number of callers.",
)
@click.option("-n", "rows", default=1, type=click.IntRange(1), help="Rows a call.")
@_client_options
def bench(address, model, callers, seconds, rows, **options):
    """Ask a server as fast as it answers.

    The server at HOST:PORT is asked for rows of MODEL: by the signature `sample`, with
    seeds that count on, and with zeros for labels and other conditions; where a model
    has none, by `serving_default`, with rows of zeros, or of empty strings.

    Each request is sent once. One that the server refuses has failed, and is in no
    latency. Exit status 1 if a request fails.

    The callers are threads of this one process; where they need more than a processor,
    run several of it.
    """
    from serving import load

    asked = failed = 0
    for report in load.bench(address, model, callers, seconds, rows, **options):
        click.echo(report)
        click.echo(report.histogram())
        for message, count in report.failures.items():
            click.echo(f"{count} times {message}", err=True)
        if not len(report.latencies):
            raise click.ClickException("no request was answered")
        failed += report.failed
        asked += report.failed + len(report.latencies)
    if failed:
        raise click.ClickException(f"{failed} of {asked} requests failed")


@main.command(cls=_Command)
@click.argument(
    "models_dir", type=click.Path(exists=True, file_okay=False, path_type=pathlib.Path)
)
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    default="deploy",
    help="Folder to write.",
)
@click.option(
    "--image",
    callback=_image,
    help="TensorFlow Serving image, instead of the pinned one.",
)
@click.option(
    "--baked-image",
    callback=_image,
    help="Image built from the Dockerfile and pushed, for kubernetes.yaml; without it, "
    "or if empty, pods mount the models from the volume claim gan-models.",
)
@click.option(
    "--max-batch-size",
    type=click.IntRange(1),
    help="Most rows of a batch. [default: 32]",
)
@click.option(
    "--cpus", type=click.IntRange(1), help="Processors of a replica. [default: 2]"
)
@click.option(
    "--memory", type=click.IntRange(1), help="Memory of a replica in GiB. [default: 2]"
)
@click.option(
    "--replicas", type=click.IntRange(1), help="Replicas at least. [default: 2]"
)
def config(models_dir, out, **options):
    """Write what a TensorFlow Serving needs to host a folder.

    The folder MODELS_DIR holds the models. Written again, the version labels of
    models.config are kept, and so is each option that was given before and is not given
    now (settings.json); what else was changed by hand is not. A model without labels
    gets `stable`, for its newest version.

    A folder with files of the same names that this command did not write is refused.
    """
    from serving import deploy

    if not out:
        raise ValueError("--out is empty. Name the folder to write.")
    given = {name: value for name, value in options.items() if value is not None}
    for path in deploy.write(models_dir, out, **given):
        click.echo(path)


if __name__ == "__main__":
    main(prog_name="python -m serving")
