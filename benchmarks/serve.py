"""Requests per second of the embedded server, as ratios within one run.

    python -m benchmarks.serve --rounds 3 --seconds 2       # about 18 minutes
    python -m benchmarks.serve --model dcgan28 --seconds 2 --rounds 1 --soak 0

One seed a request. Five things are measured in turn, in several rounds, on the same
processors: the signature called directly in a process of its own, as
`tf.saved_model.load` hands it out; the same through the server's own way into
TensorFlow, which is quicker, with one row a call and with full batches; the server
(client and server in processes of their own); and a server of the same kind that
answers everything with the same ready bytes, which is the ceiling.

Whatever a server does, the rows have to be computed and the messages to be passed: with
rates b of rows in full batches and n of the no-op server, on the same processors, the
bound is 1 / (1 / b + 1 / n).
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import click

CALLERS = (1, 8, 32)
#: Rows of a full batch, the largest that exports are warmed up for.
BATCH = 32
#: Shapes of the images, and the recipes whose networks make them; None for the paper's.
MODELS = {
    "dcgan28": ((28, 28, 1), None),
    "dcgan28_narrow": ((28, 28, 1), "dcgan_fashion_mnist"),
    "dcgan64_narrow": ((64, 64, 3), "dcgan_afhq_cats_32"),
}
#: Forms of an export: its dtype policy, and whether XLA compiles it.
FORMS = {
    "plain": ("float32", False),
    "xla": ("float32", True),
    "bfloat16": ("bfloat16", False),
}


class Worker:
    """A process of this module that answers lines of JSON with lines of JSON.

    Args:
        role: What the process is to be.
        *arguments: More arguments of its command line.
        **question: What to ask it before anything else, if anything.

    Attributes:
        hello: The first line that it wrote.
    """

    def __init__(self, role, *arguments, **question):
        self._messages = tempfile.TemporaryFile("w+")  # noqa: SIM115  (for its life)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serve", "--role", role, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            text=True,
        )
        with contextlib.ExitStack() as stack:
            stack.push(self)  # Ends the process where this is interrupted.
            self.hello = self.ask(**question) if question else self._read()
            stack.pop_all()

    def ask(self, **question):
        """Sends a question, and returns the answer."""
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            self._messages.seek(0)
            raise click.ClickException(
                f"{self._process.args} ended early:\n{self._messages.read()[-2000:]}"
            )
        return json.loads(line)

    def memory(self):
        """Returns the resident memory in MiB."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        if kind is not None:  # Else it ends with its input.
            self._process.terminate()
        self._process.stdin.close()
        self._process.wait()
        self._messages.close()


def _name(model, form):
    return f"{model}_{form}"


def _say(answer):
    print(json.dumps(answer), flush=True)


def _questions():
    return (json.loads(line) for line in sys.stdin)


def export(folder, models):
    """Writes each model in all forms."""
    import zoo
    from export import to_saved_model
    from zoo.recipes import Recipe

    for name in models:
        shape, recipe = MODELS[name]
        widths = Recipe.of_preset(recipe).model if recipe else {}
        for form, (dtype, compiled) in FORMS.items():
            to_saved_model(
                zoo.DCGAN(shape, seed=0, dtype=dtype, **widths),
                pathlib.Path(folder) / _name(name, form),
                jit_compile=compiled,
            )
    _say({})


def _set_threads(threads):
    """Has TensorFlow compute each operation on so many threads; "0" is its default."""
    from serving.saved_model import set_intra_op_parallelism

    if threads != "0":
        set_intra_op_parallelism(int(threads))


def direct(folder, threads):
    """Calls `sample` in process as anybody would."""
    import tensorflow as tf

    _set_threads(threads)

    def load(path):
        signature = tf.saved_model.load(path).signatures["sample"]
        return lambda seeds: signature(seeds=tf.constant(seeds))["images"].numpy()

    _call_in_process(folder, load)


def runner(folder, threads):
    """Calls `sample` in process as the server does."""
    from serving import saved_model

    _set_threads(threads)

    def load(path):
        model = saved_model.SavedModel(path)
        signature = model.signatures["sample"]
        return lambda seeds: model.run(signature, [seeds], ["images"])

    _call_in_process(folder, load)


def _call_in_process(folder, load):
    import numpy as np

    loaded = {}
    _say({})
    for question in _questions():
        name = question["model"]
        if name not in loaded:
            loaded.clear()  # One model in memory at a time, as few as possible idle.
            loaded[name] = load(str(pathlib.Path(folder) / name / "1"))
        rows = question["rows"]

        def call(k, call=loaded[name], rows=rows):
            call(np.arange(k, k + rows))

        for k in range(20):
            call(k)
        _say(_measured(call, question, rows))


def load(address):
    """Asks a server."""
    import serving

    # With more attempts, the pauses between them would count as latency.
    with serving.Client(address, attempts=1) as client:
        _say({})
        for question in _questions():

            def ask(k, model=question["model"]):
                client.generate(model, 1, seed=k)

            for k in range(20):
                ask(k)
            _say(_measured(ask, question))


def _measured(call, question, rows=1):
    from serving.load import measure

    report = measure(
        call,
        question["callers"],
        requests=question.get("requests"),
        seconds=question.get("seconds"),
    )
    assert not report.failures, report.failures
    return {
        "rate": rows * report.per_second,
        "p50": 1e3 * report.percentile(50),
        "p99": 1e3 * report.percentile(99),
    }


def serve(folder, threads):
    """Runs the embedded server until its input ends."""
    import serving

    _set_threads(threads)
    with serving.Server(folder, port=0) as server:
        _say({"address": server.address})
        sys.stdin.read()


def noop(real_address):
    """Answers like the server at an address, with bytes it once sent."""
    import grpc

    from serving import messages

    def record(service, method, request):
        with grpc.insecure_channel(real_address) as channel:
            call = channel.unary_unary(f"/{service}/{method}")
            return call(request.SerializeToString())

    import numpy as np

    from serving import tensors

    recorded = {}
    for name in json.loads(sys.stdin.readline())["models"]:
        metadata = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        metadata.model_spec.name = name
        predict = messages.PredictRequest()
        predict.model_spec.name = name
        predict.model_spec.signature_name = "sample"
        tensors.encode(np.zeros(1, np.int64), predict.inputs["seeds"])
        service = messages.PREDICTION_SERVICE
        recorded[name] = {
            "GetModelMetadata": record(service, "GetModelMetadata", metadata),
            "Predict": record(service, "Predict", predict),
        }

    chosen = {}

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            method = details.method.rpartition("/")[2]
            return grpc.unary_unary_rpc_method_handler(
                lambda request, context: chosen[method]
            )

    pool = concurrent.futures.ThreadPoolExecutor(256)
    server = grpc.server(pool, [Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    _say({"address": f"127.0.0.1:{port}"})
    for question in _questions():
        chosen.update(recorded[question["model"]])
        _say({})


def compare(folder, names, threads, seconds, rounds, soak):
    """Measures everything in turn; prints a table of medians and ratios."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Worker("serve", folder, str(threads)))
        address = server.hello["address"]
        noop_server = stack.enter_context(Worker("noop", address, models=names))
        ceiling = stack.enter_context(Worker("load", noop_server.hello["address"]))
        client = stack.enter_context(Worker("load", address))
        process = stack.enter_context(Worker("direct", folder, str(threads)))
        own_way = stack.enter_context(Worker("runner", folder, str(threads)))
        turns = [
            (callers, *one)
            for callers in CALLERS
            for one in (
                ("direct", process, 1),
                ("runner", own_way, 1),
                ("batched", own_way, BATCH),
                ("server", client, 1),
                ("no-op", ceiling, 1),
            )
        ]
        for name in names:
            noop_server.ask(model=name)
            found = {}
            for number in range(rounds):
                # Every other round backwards: who comes second meets a warmer machine.
                for callers, what, worker, rows in turns[:: -1 if number % 2 else 1]:
                    answer = worker.ask(
                        model=name,
                        rows=rows,
                        callers=1 if what == "batched" else callers,
                        seconds=seconds,
                    )
                    found.setdefault((what, callers), []).append(answer)
            _print(name, found)
        if soak:
            _soak(server, client, names[0], soak)


def _print(name, found):
    median = {
        key: {
            field: statistics.median(a[field] for a in answers) for field in answers[0]
        }
        for key, answers in found.items()
    }
    alone = median["direct", 1]["rate"]
    click.echo(f"\n{name}: requests/s, and the server's share of each")
    click.echo(
        "callers   direct   runner  batched   server    no-op   p50 ms   p99 ms   "
        "p99/p50   of direct at 1   of direct   of no-op   of the bound"
    )
    for callers in CALLERS:
        direct_, runner_, batched, server, noop_ = (
            median[what, callers]
            for what in ("direct", "runner", "batched", "server", "no-op")
        )
        bound = 1 / (1 / batched["rate"] + 1 / noop_["rate"])
        click.echo(
            f"{callers:7d} {direct_['rate']:8.0f} {runner_['rate']:8.0f} "
            f"{batched['rate']:8.0f} {server['rate']:8.0f} {noop_['rate']:8.0f} "
            f"{server['p50']:8.2f} {server['p99']:8.2f} "
            f"{server['p99'] / server['p50']:9.2f} "
            f"{server['rate'] / alone:16.2f} {server['rate'] / direct_['rate']:11.2f} "
            f"{server['rate'] / noop_['rate']:10.2f} {server['rate'] / bound:14.2f}"
        )


def _soak(server, client, name, requests):
    """Prints the server's memory over many requests."""
    parts = 10
    click.echo(f"\nmemory of the server over {requests} requests ({name}), MiB:")
    line = [f"{server.memory():.0f}"]
    start = time.monotonic()
    for _ in range(parts):
        client.ask(model=name, callers=32, requests=requests // parts)
        line.append(f"{server.memory():.0f}")
    click.echo(f"{' '.join(line)}   in {time.monotonic() - start:.0f} s")


_ROLES = {
    "export": export,
    "direct": direct,
    "runner": runner,
    "load": load,
    "serve": serve,
    "noop": noop,
}


@click.command(context_settings={"show_default": True})
@click.option(
    "--seconds",
    default=4.0,
    type=click.FloatRange(0.1),  # Else nothing may be answered.
    help="Seconds of each measurement.",
)
@click.option(
    "--rounds", default=5, type=click.IntRange(1), help="How often each is measured."
)
@click.option(
    "--soak",
    default=100_000,
    type=click.IntRange(0),
    help="Requests while memory is watched.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Choice(list(MODELS)),
    default=list(MODELS),
)
@click.option(
    "--form",
    "forms",
    multiple=True,
    type=click.Choice(list(FORMS)),
    default=list(FORMS),
)
@click.option(
    "--threads",
    default=0,
    type=click.IntRange(0),
    help="Threads that share one operation, in the server and in direct calls; 0 for "
    "as many as there are processors.",
)
@click.option("--role", hidden=True)
@click.argument("arguments", nargs=-1, metavar="")
def main(seconds, rounds, soak, models, forms, threads, role, arguments):
    """Measure the embedded server against direct calls and a no-op server."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if role == "export":
        return export(arguments[0], arguments[1:])
    if role:
        return _ROLES[role](*arguments)
    if arguments:
        raise click.UsageError(f"unexpected arguments: {' '.join(arguments)}")
    # Else what it has started goes on for a while, and its folder stays.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as folder:
        with Worker("export", folder, *models):
            pass
        names = [_name(model, form) for model in models for form in forms]
        compare(folder, names, threads, seconds, rounds, soak)


if __name__ == "__main__":
    main()
