"""Versions: found, loaded, warmed up, handed over, unloaded, refused."""

import concurrent.futures
import dataclasses
import errno
import gc
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import weakref

import grpc
import numpy as np
import pytest
import tensorflow as tf
import tiny_models
from tensorflow.core.protobuf import saved_model_pb2
from waiting import until

import serving
from serving import messages, model_config, models, saved_model, tensors, versions


@pytest.fixture
def start(publish, prompt_stops):
    """Starts a Server over the published models, polling only when told to."""
    running = []

    def start(models_dir=publish.models, **options):
        server = serving.Server(
            models_dir, port=0, poll_seconds=options.pop("poll", 1e6), **options
        )
        server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def connect():
    clients = []

    def connect(server):
        clients.append(serving.Client(server.address))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def in_memory(monkeypatch):
    """Paths of the SavedModels that are loaded and not freed yet."""
    paths = []
    load, close = saved_model.SavedModel._load, saved_model.SavedModel.close

    def loads(self):
        definitions = load(self)
        paths.append(pathlib.Path(self.path))
        return definitions

    def closes(self):
        close(self)
        if pathlib.Path(self.path) in paths:  # Else it did not load.
            paths.remove(pathlib.Path(self.path))

    monkeypatch.setattr(saved_model.SavedModel, "_load", loads)
    monkeypatch.setattr(saved_model.SavedModel, "close", closes)
    return paths


def first_pixel(client, **choice):
    """10 for `tiny`, 60 for `other`: which version answered."""
    return int(client.generate("m", 1, seed=0, **choice)[0, 0, 0, 0])


def states(client):
    return [(v.version, v.state, v.code) for v in client.status("m")]


def damage(*parts, content=b"no model"):
    def change(path):
        (path.joinpath(*parts)).write_bytes(content)

    return change


def test_a_closed_model_is_freed_without_a_search_for_garbage(saved_models):
    loaded = saved_model.SavedModel(saved_models / "tiny")
    signature = loaded.signatures["sample"]
    loaded.run(signature, [np.arange(2)], ["images"])
    parts = [weakref.ref(loaded._graph), weakref.ref(loaded._session)]
    searches = []

    def note(phase, info):
        searches.append(info)

    gc.disable()
    gc.callbacks.append(note)
    try:
        loaded.close()
        assert [part() for part in parts] == [None, None]
        assert searches == []
    finally:
        gc.callbacks.remove(note)
        gc.enable()


def test_the_highest_version_answers_and_007_is_7(publish, start, connect):
    publish("m", 2)
    publish("m", "007", "other")
    publish("m", "latest")
    publish("m", "9x")
    client = connect(start())
    assert states(client) == [(7, "AVAILABLE", "OK")]
    assert first_pixel(client) == 60
    with pytest.raises(serving.ServingError, match=r"Specific\(m, 2\)"):
        first_pixel(client, version=2)


def test_a_new_version_takes_over_without_a_dropped_request(publish, start, connect):
    publish("m", 1)
    server = start(poll=0.01)
    client = connect(server)
    seen = []
    with concurrent.futures.ThreadPoolExecutor(8) as callers:

        def ask(_):
            seen.append(first_pixel(client))

        futures = [callers.submit(ask, k) for k in range(200)]
        publish("m", 2, "other")

        def asked_the_new_one():
            futures.append(callers.submit(ask, None))
            futures[-1].result()
            return 60 in seen

        until(asked_the_new_one)
        for future in futures:
            future.result()
    assert set(seen) <= {10, 60}
    assert first_pixel(client) == 60

    # The old one is unloaded after the new one answers, and stays listed.
    def version_1_has_ended():
        server.models.poll()
        return states(client)[-1] == (1, "END", "OK")

    until(version_1_has_ended)
    assert states(client) == [(2, "AVAILABLE", "OK"), (1, "END", "OK")]
    with pytest.raises(
        serving.ServingError, match=r"NOT_FOUND: .* serves no version 1"
    ):
        first_pixel(client, version=1)


def test_a_request_in_flight_keeps_its_version_alive(publish, start, connect, held):
    publish("m", 1)
    server = start()
    client = connect(server)
    client.metadata("m")
    with concurrent.futures.ThreadPoolExecutor(1) as caller:
        turns = {"turns": np.array([7])}
        slow = caller.submit(client.predict, "m", turns, "slow")
        until(lambda: 'signature="slow"' in server.metrics.render().decode())
        publish("m", 2, "other")
        server.models.poll()
        assert states(client) == [(2, "AVAILABLE", "OK"), (1, "END", "OK")]
        assert first_pixel(client) == 60
        held.set()
        assert slow.result()["turns"] == [7]


def test_a_failed_version_leaves_the_old_one_and_is_not_retried(
    publish, start, connect
):
    publish("m", 1)
    server = start()
    client = connect(server)
    broken = publish("m", 2, change=damage("saved_model.pb"))
    server.models.poll()
    assert states(client) == [(2, "END", "OUT_OF_RANGE"), (1, "AVAILABLE", "OK")]
    assert first_pixel(client) == 10
    shutil.rmtree(broken)
    publish("m", 2, "other")
    server.models.poll()
    assert states(client)[0] == (2, "END", "OUT_OF_RANGE")
    newer = publish("m", 3, "other")
    server.models.poll()
    assert first_pixel(client) == 60
    # It is wanted anew, once what took its place has gone.
    shutil.rmtree(newer)
    server.models.poll()
    assert states(client)[1] == (2, "AVAILABLE", "OK")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda path: (path / "saved_model.pb").unlink(), "NOT_FOUND"),
        (damage("saved_model.pb"), "OUT_OF_RANGE"),
    ],
)
def test_what_does_not_load(publish, start, connect, change, code):
    publish("m", 1, change=change)
    assert states(connect(start())) == [(1, "END", code)]


def test_a_model_without_the_tag_serve_is_not_found(publish, start, connect):
    publish("m", 1, change=tiny_models.take_the_tag_serve)
    assert states(connect(start())) == [(1, "END", "NOT_FOUND")]


def test_missing_variables_load_and_then_fail_each_predict(publish, start, connect):
    publish("m", 1, change=lambda path: shutil.rmtree(path / "variables"))
    client = connect(start())
    assert states(client) == [(1, "AVAILABLE", "OK")]
    with pytest.raises(serving.ServingError) as caught:
        first_pixel(client)
    assert caught.value.code == grpc.StatusCode.FAILED_PRECONDITION


def test_a_model_without_variables_has_its_tables(tmp_path, start, connect):
    """Its initial operations run, though there are no values to restore."""
    folder = tmp_path / "models" / "m" / "1"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        words = tf.compat.v1.placeholder(tf.string, [None], "words")
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1, 2])), -1
        )
        numbers = {"numbers": table.lookup(words)}
        session.run(tf.compat.v1.tables_initializer())
        build = tf.compat.v1.saved_model
        builder = build.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"look_up": build.predict_signature_def({"words": words}, numbers)},
            main_op=tf.compat.v1.tables_initializer(),
        )
        builder.save()
    shutil.rmtree(folder / "variables", ignore_errors=True)
    client = connect(start(tmp_path / "models"))
    found = client.predict("m", {"words": ["a", "b", "c"]}, "look_up")
    assert found["numbers"].tolist() == [1, 2, -1]


def _signature(inputs, outputs):
    """Returns a change of a SavedModel: its `sample` has these tensors."""

    def change(path):
        file = path / "saved_model.pb"
        model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
        signature = model.meta_graphs[0].signature_def["sample"]
        ((_, seeds),) = signature.inputs.items()
        seeds = type(seeds).FromString(seeds.SerializeToString())
        signature.inputs.clear()
        signature.outputs.clear()
        for alias in inputs:
            signature.inputs[alias].CopyFrom(seeds)
        for alias, dtype in outputs.items():
            signature.outputs[alias].CopyFrom(seeds)
            signature.outputs[alias].dtype = dtype
        file.write_bytes(model.SerializeToString())

    return change


@pytest.mark.parametrize(
    ("inputs", "outputs", "code", "words"),
    [
        (["a", "b"], {"y": tf.int64}, "INVALID_ARGUMENT", "fed"),
        (["a"], {"y": tf.int64}, "INVALID_ARGUMENT", "both fed and fetched"),
        (["a"], {"y": tf.complex64}, "UNIMPLEMENTED", "output y: the dtype complex64"),
    ],
)
def test_odd_signatures_are_errors_in_words(
    publish, start, connect, inputs, outputs, code, words
):
    outputs = {name: dtype.as_datatype_enum for name, dtype in outputs.items()}
    publish("m", 1, change=_signature(inputs, outputs))
    request = tiny_models.predict_request(
        "m", "sample", **{name: np.arange(2) for name in inputs}
    )
    channel = connect(start()).channel
    with pytest.raises(grpc.RpcError, match=words) as caught:
        channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(
            request.SerializeToString()
        )
    assert caught.value.code().name == code


def test_a_signature_that_is_no_call_is_refused(publish, start):
    def change(path):
        file = path / "saved_model.pb"
        model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
        model.meta_graphs[0].signature_def["sample"].method_name = "init"
        file.write_bytes(model.SerializeToString())

    publish("m", 1, change=change)
    server = start()
    request = tiny_models.predict_request("m", "sample", seeds=np.arange(2))
    with (
        server.models.use(request.model_spec) as (model, _),
        pytest.raises(serving.ServingError, match="Was: init") as caught,
    ):
        model.predict(request)
    assert caught.value.code == grpc.StatusCode.INTERNAL


def test_an_input_with_a_default_may_be_left_out(tmp_path, start, connect):
    three = tf.constant(3.0)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, "x"),
            tf.TensorSpec([], tf.float32, "factor"),
        ]
    )
    def scaled(x, factor=three):
        return {"y": factor * x}

    module = tf.Module()
    module.scaled = scaled
    path = str(tmp_path / "models" / "m" / "1")
    tf.saved_model.save(module, path, {"scaled": scaled})
    server = start(tmp_path / "models")
    client = connect(server)
    x = [1.0, 2.0]
    assert client.predict("m", {"x": x}, "scaled")["y"].tolist() == [3, 6]
    given = {"x": x, "factor": np.float32(10)}
    assert client.predict("m", given, "scaled")["y"].tolist() == [10, 20]
    with pytest.raises(serving.RequestError, match=r"needs x: float\[batch\]"):
        client.predict("m", {"factor": np.float32(1)}, "scaled")
    request = tiny_models.predict_request("m", "scaled", factor=np.float32(1))
    with (
        server.models.use(request.model_spec) as (model, _),
        pytest.raises(serving.ServingError, match=r"the request {factor}, or default"),
    ):
        model.predict(request)
    # Neither of them takes the place of the default.
    for names, words in (
        ({"Factor"}, r"invalid name. Used request inputs: {x}, request input: {Fac"),
        ({"factor", "more"}, r"does not match signature: 3!=2"),
    ):
        others = dict.fromkeys(names, np.float32(1))
        request = tiny_models.predict_request("m", "scaled", x=np.float32(x), **others)
        with (
            server.models.use(request.model_spec) as (model, _),
            pytest.raises(serving.ServingError, match=words) as caught,
        ):
            model.predict(request)
        assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("enable_batching", [True, False])
def test_inputs_may_differ_in_length(tmp_path, start, enable_batching):
    """As those do that a ragged tensor is made of."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int32, "values"),
            tf.TensorSpec([None], tf.int64, "row_splits"),
        ]
    )
    def sums(values, row_splits):
        rows = tf.RaggedTensor.from_row_splits(values, row_splits)
        return {"sums": tf.reduce_sum(rows, axis=1)}

    path = str(tmp_path / "models" / "m" / "1")
    tf.saved_model.save(tf.Module(), path, {"sums": sums})
    server = start(tmp_path / "models", enable_batching=enable_batching)
    for values, splits, expected in (
        ([1, 2, 3, 4], [0, 1, 4], [1, 9]),
        ([1, 2], [0, 2], [3]),
    ):
        request = tiny_models.predict_request(
            "m", "sums", values=np.int32(values), row_splits=np.int64(splits)
        )
        with server.models.use(request.model_spec) as (model, _):
            if len(values) == len(splits) and enable_batching:
                # Of as many rows each, they are taken for such.
                with pytest.raises(serving.ServingError, match="0th dimension"):
                    model.predict(request)
                continue
            answer = model.predict(request)
        assert tensors.decode(answer.outputs["sums"]).tolist() == expected


def test_a_name_that_is_no_text_is_left_out(publish, start, connect, caplog):
    publish("m", 1)
    os.mkdir(os.fsencode(publish.models) + b"/na\xefve")
    server = start()
    server.models.poll()
    assert server.models.available() == {"m": [1]}
    assert b"serving_model_version" in server.metrics.render()
    assert sum("is not UTF-8" in line for line in caplog.messages) == 1


def test_damaged_variables_say_what_is_wrong(publish, start, connect):
    publish("m", 1, change=damage("variables", "variables.index", content=b"xx"))
    (status,) = connect(start()).status("m")
    assert (status.code, status.message) == (
        "DATA_LOSS",
        "file is too short to be an sstable",
    )


def _seeds(model="recorded_under_another_name", **changes):
    request = tiny_models.predict_request(model, seeds=np.arange(2))
    request.model_spec.version.value = 99  # Both are ignored.
    for name, value in changes.items():
        setattr(request.model_spec, name, value)
    return request


def test_warmup_records_are_replayed(publish, start, connect):
    def warm(path):
        tiny_models.write_warmup(path, [_seeds(), _seeds()])

    publish("m", 1, change=warm)
    assert states(connect(start())) == [(1, "AVAILABLE", "OK")]


def _wrong_key():
    request = _seeds()
    request.inputs["grains"].CopyFrom(request.inputs["seeds"])
    del request.inputs["seeds"]
    return request


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (_wrong_key(), "INVALID_ARGUMENT"),
        (
            tiny_models.predict_request("m", seeds=np.zeros(1, np.int32)),
            "INVALID_ARGUMENT",
        ),
        (
            tiny_models.predict_request("m", seeds=np.zeros((1, 2), np.int64)),
            "INVALID_ARGUMENT",
        ),
        (_seeds(signature_name="zzz"), "FAILED_PRECONDITION"),
    ],
    ids=["key", "dtype", "shape", "signature"],
)
def test_a_failing_warmup_record_fails_the_load(
    publish, start, connect, request_, code
):
    def warm(path):
        tiny_models.write_warmup(path, [_seeds(), request_])

    publish("m", 1, change=warm)
    assert states(connect(start())) == [(1, "END", code)]


def test_a_warmup_record_notices_missing_variables(publish, start, connect):
    def warm(path):
        tiny_models.write_warmup(path, [_seeds()])
        shutil.rmtree(path / "variables")

    publish("m", 1, change=warm)
    assert states(connect(start())) == [(1, "END", "FAILED_PRECONDITION")]


def test_what_is_not_served_is_freed(publish, start, in_memory):
    one = publish("m", 1)
    server = start()
    assert in_memory == [one]
    versions = [publish("m", number) for number in (2, 3)]
    server.models.poll()
    # A version lives as long as a request that uses it.
    spec = messages.PredictRequest().model_spec
    spec.name, spec.version.value = "m", max(server.models.available()["m"])
    served = set(in_memory)
    with server.models.use(spec):
        shutil.rmtree(publish.models / "m")
        server.models.poll()
        assert len(in_memory) == 1
        assert in_memory[0] in served & {*versions}
    assert in_memory == []
    publish("n", 1)
    server.models.poll()
    assert len(in_memory) == 1
    server.stop()
    assert in_memory == []


def test_what_still_loads_at_a_stop_is_freed(publish, start, in_memory, held):
    publish("m", 1)
    server = start()
    record = tiny_models.predict_request("m", "slow", turns=np.array([1]))
    publish("m", 2, change=lambda path: tiny_models.write_warmup(path, [record]))
    polling = threading.Thread(target=server.models.poll)
    polling.start()
    assert held.begun.wait(60)
    server.stop(grace=0)
    assert in_memory == [publish.models / "m" / "2"]
    held.set()
    polling.join()
    assert in_memory == []


def test_a_poll_after_the_stop_ends_and_serves_nothing(publish, start):
    publish("m", 1)
    server = start()
    server.stop()
    polling = threading.Thread(target=server.models.poll, daemon=True)
    polling.start()
    polling.join(timeout=10)
    assert not polling.is_alive()
    assert server.models.available() == {"m": []}


def test_what_fails_to_load_is_freed(publish, start, in_memory):
    publish("m", 1, change=lambda p: tiny_models.write_warmup(p, [_wrong_key()]))
    start()
    assert in_memory == []


def test_what_a_refused_reload_loads_is_freed(publish, start, in_memory):
    one = publish("m", 1)
    publish("n", 1)
    publish("broken", 1, change=damage("saved_model.pb"))
    server = start(model_config_file=write_config(publish))
    assert in_memory == [one]
    models = [(name, publish.models / name) for name in ("m", "n", "broken")]
    with pytest.raises(grpc.RpcError, match=r"broken \(version 1: "):
        reload(server, models)
    assert in_memory == [one]


def test_a_damaged_warmup_file_fails_the_load(publish, start, connect):
    def warm(path):
        file = tiny_models.write_warmup(path, [_seeds()])
        file.write_bytes(file.read_bytes()[:-3])

    publish("m", 1, change=warm)
    (status,) = connect(start()).status("m")
    assert (status.state, status.code) == ("END", "DATA_LOSS")
    words = "truncated record at 0' failed with Read less bytes than requested"
    assert status.message == words


def test_at_most_1000_warmup_records(publish, start, connect):
    publish("m", 1, change=lambda p: tiny_models.write_warmup(p, [_seeds()] * 1001))
    assert states(connect(start())) == [(1, "END", "INVALID_ARGUMENT")]


def write_config(publish, policy="", labels=""):
    file = publish.models.parent / "models.config"
    file.write_text(
        'model_config_list { config { name: "m" model_platform: "tensorflow" '
        f'base_path: "{publish.models}/m" {policy} {labels} }} }}'
    )
    return file


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ("", [3]),
        ("model_version_policy { latest { num_versions: 2 } }", [3, 2]),
        ("model_version_policy { all {} }", [3, 2, 1]),
        ("model_version_policy { specific { versions: 1 versions: 2 } }", [2, 1]),
    ],
)
def test_version_policies(publish, start, connect, policy, versions):
    for version in (1, 2, 3):
        publish("m", version)
    file = write_config(publish, policy)
    client = connect(start(model_config_file=file))
    assert [v.version for v in client.status("m")] == versions


def test_labels(publish, start, connect):
    publish("m", 1)
    publish("m", 2, "other")
    file = write_config(
        publish,
        "model_version_policy { all {} }",
        'version_labels { key: "stable" value: 1 } '
        'version_labels { key: "canary" value: 2 }',
    )
    client = connect(start(model_config_file=file))
    assert first_pixel(client, version_label="stable") == 10
    assert first_pixel(client, version_label="canary") == 60
    assert client.metadata("m", version_label="stable").version == 1


def test_a_label_of_a_version_that_is_not_loaded(publish, start):
    publish("m", 1)
    file = write_config(publish, labels='version_labels { key: "x" value: 5 }')
    failing = serving.Server(
        publish.models, port=0, rest_port=0, model_config_file=file
    )
    with pytest.raises(serving.ServingError, match="assign label to version 5"):
        failing.start()
    # It has given up its port, and has nothing to wait for.
    host, port = failing.address.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
    failing.stop()
    server = start(
        model_config_file=file, allow_version_labels_for_unavailable_models=True
    )
    # That is for new labels: one that is in use stays with what is there.
    write_config(publish, labels='version_labels { key: "x" value: 1 }')
    server.models.reload(model_config.read_models(file))
    write_config(publish, labels='version_labels { key: "x" value: 7 }')
    with pytest.raises(serving.ServingError, match="assign label to version 7"):
        server.models.reload(model_config.read_models(file))


def configured(publish, name, labels):
    """Returns the ModelConfig of a published model with these labels."""
    path = str(publish.models / name)
    return model_config.ModelConfig(name, path, labels=labels)


def assert_no_label(server, name, label):
    """Checks that Predict and GetModelMetadata know no such label of a model."""
    requests = {
        "Predict": messages.PredictRequest(),
        "GetModelMetadata": messages.GetModelMetadataRequest(
            metadata_field=["signature_def"]
        ),
    }
    for method, request in requests.items():
        request.model_spec.name = name
        request.model_spec.version_label = label
        with (
            grpc.insecure_channel(server.address) as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            channel.unary_unary(f"/{messages.PREDICTION_SERVICE}/{method}")(
                request.SerializeToString()
            )
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == (
            f"Unrecognized servable version label: {label}"
        )


def test_a_model_that_a_reload_leaves_out_has_no_labels(publish, start):
    publish("m", 1)
    publish("n", 1)
    server = start(allow_version_labels_for_unavailable_models=True)
    rest = configured(publish, "n", {})
    server.models.reload([rest, configured(publish, "m", {"stable": 9})])
    server.models.reload([rest])
    assert_no_label(server, "m", "stable")
    # To a label that is new, any version may be assigned.
    server.models.reload([rest, configured(publish, "m", {"stable": 8})])


def test_a_refused_reload_assigns_no_labels(publish, start):
    publish("m", 1)
    publish("n", 1, change=damage("saved_model.pb"))
    server = start(
        model_config_file=write_config(publish),
        allow_version_labels_for_unavailable_models=True,
    )
    served = configured(publish, "m", {})
    with pytest.raises(serving.ServingError, match="become available: n"):
        server.models.reload([served, configured(publish, "n", {"stable": 1})])
    assert_no_label(server, "n", "stable")
    publish("n", 2)
    server.models.reload([served, configured(publish, "n", {"stable": 7})])


def reload(server, configs):
    request = messages.ReloadConfigRequest()
    for name, base_path in configs:
        request.config.model_config_list.config.add(
            name=name, base_path=str(base_path), model_platform="tensorflow"
        )
    with grpc.insecure_channel(server.address) as channel:
        channel.unary_unary(
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
        )(request.SerializeToString())


def test_reloading_the_configuration(publish, start, connect):
    publish("m", 1)
    publish("n", 1)
    server = start(model_config_file=write_config(publish))
    client = connect(server)
    reload(server, [("n", publish.models / "n")])
    assert len(client.generate("n", 1)) == 1  # Loaded when the call returns.
    with pytest.raises(serving.ServingError, match="Servable not found"):
        first_pixel(client)
    assert states(client) == [(1, "END", "OK")]
    server.models.poll()  # The new configuration stays.
    assert len(client.generate("n", 1)) == 1


def test_following_the_configuration_file(publish, start, connect, caplog):
    publish("m", 1)
    publish("m", 2, "other")
    policy = "model_version_policy { all {} }"
    before, after = (
        f'version_labels {{ key: "stable" value: {version} }}' for version in (1, 2)
    )
    file = write_config(publish, policy, before)
    server = start(
        model_config_file=file,
        poll=0.05,
        model_config_file_poll_wait_seconds=0.1,
    )
    client = connect(server)
    assert first_pixel(client, version_label="stable") == 10
    file.write_text("not a configuration")
    until(lambda: "models.config cannot be parsed" in caplog.text)
    assert first_pixel(client, version_label="stable") == 10
    write_config(publish, policy, after)
    until(lambda: first_pixel(client, version_label="stable") == 60)
    # What was mended, and is wrong again, is said again.
    said = caplog.text.count("cannot be parsed")
    file.write_text("not a configuration")
    until(lambda: caplog.text.count("cannot be parsed") == 2 * said)


def test_a_relative_configuration_file_is_followed_from_another_folder(
    publish, start, monkeypatch
):
    publish("m", 1)
    publish("m", 2)
    file = write_config(publish)
    monkeypatch.chdir(file.parent)
    server = start(
        model_config_file=file.name,
        poll=0.05,
        model_config_file_poll_wait_seconds=0.1,
    )
    monkeypatch.chdir("/")
    write_config(publish, "model_version_policy { all {} }")
    until(lambda: server.models.available() == {"m": [1, 2]})


def test_the_file_mends_a_label_that_went_stale(publish, start, connect, caplog):
    publish("m", 1)
    publish("m", 2, "other")
    policy = "model_version_policy { latest { num_versions: 2 } }"
    before, after = (
        f'version_labels {{ key: "stable" value: {version} }}' for version in (1, 2)
    )
    server = start(
        model_config_file=write_config(publish, policy, before),
        poll=0.05,
        model_config_file_poll_wait_seconds=0.1,
    )
    client = connect(server)
    publish("m", 3)  # Now version 1 goes, and "stable" with it.
    until(lambda: "assign label to version 1" in caplog.text)
    write_config(publish, policy, after)

    def version_of_stable():
        try:
            return client.metadata("m", version_label="stable").version
        except serving.ServingError:  # So far nothing has the label.
            return None

    until(lambda: version_of_stable() == 2)


def test_a_stale_label_of_one_model_does_not_keep_the_others(publish, start, connect):
    for name in "lmn":
        publish(name, 1)
    file = publish.models.parent / "models.config"
    label = 'version_labels { key: "stable" value: 1 }'
    configs = "".join(
        f'config {{ name: "{name}" base_path: "{publish.models / name}" '
        f'model_platform: "tensorflow" {label if name == "l" else ""} }}'
        for name in "lmn"
    )
    file.write_text(f"model_config_list {{ {configs} }}")
    server = start(model_config_file=file)
    client = connect(server)
    publish("l", 2)  # Version 1 goes, and "stable" with it.
    publish("m", 2, "other")
    with pytest.raises(serving.ServingError, match="assign label to version 1"):
        server.models.poll()
    assert first_pixel(client) == 60
    assert client.metadata("l").version == 2


def test_a_reload_that_loads_nothing_is_an_error_and_nothing_goes(
    publish, start, connect
):
    publish("m", 1)
    publish("broken", 1, change=damage("saved_model.pb"))
    server = start(model_config_file=write_config(publish))
    client = connect(server)
    for name in ("mistyped", "broken"):
        with pytest.raises(grpc.RpcError) as caught:
            reload(server, [(name, publish.models / name)])
        assert caught.value.code() == grpc.StatusCode.UNKNOWN
        words = caught.value.details()
        assert words.startswith(f"1 servable(s) did not become available: {name}")
        assert ("(version 1: " in words) == (name == "broken")
        assert first_pixel(client) == 10
    assert not server.models.knows("mistyped")  # It would be a label of metrics.
    server.models.poll()
    assert first_pixel(client) == 10


def test_a_version_refused_by_a_reload_may_come_again(publish, start, connect):
    publish("m", 1)
    broken = publish("late", 1, change=damage("saved_model.pb"))
    server = start(model_config_file=write_config(publish))
    models = [("m", publish.models / "m"), ("late", publish.models / "late")]
    for _ in range(2):
        with pytest.raises(grpc.RpcError, match=r"late \(version 1: "):
            reload(server, models)
    shutil.rmtree(broken)
    publish("late", 1)
    with pytest.raises(grpc.RpcError, match=r"late \(version 1: "):
        reload(server, models)
    # Nor is it the one of that number elsewhere.
    shutil.copytree(publish.models / "late", publish.models / "elsewhere")
    reload(server, [models[0], ("late", publish.models / "elsewhere")])
    assert len(connect(server).generate("late", 1)) == 1
    reload(server, models[:1])  # It is asked for no more, and then anew.
    reload(server, models)
    assert len(connect(server).generate("late", 1)) == 1


def test_a_version_refused_by_a_reload_is_noticed_to_go(publish, start, connect):
    publish("m", 1)
    broken = publish("late", 1, change=damage("saved_model.pb"))
    server = start(model_config_file=write_config(publish))
    models = [("m", publish.models / "m"), ("late", publish.models / "late")]
    with pytest.raises(grpc.RpcError, match=r"late \(version 1: "):
        reload(server, models)
    shutil.rmtree(broken)
    server.models.poll()
    publish("late", 1)
    reload(server, models)
    assert len(connect(server).generate("late", 1)) == 1


def test_a_reload_whose_label_does_not_load_unloads_nothing(publish, start, connect):
    publish("m", 1)
    publish("n", 1)
    server = start()
    client = connect(server)
    publish("m", 2, change=damage("saved_model.pb"))
    request = messages.ReloadConfigRequest()
    config = request.config.model_config_list.config.add(
        name="m", base_path=f"{publish.models}/m", model_platform="tensorflow"
    )
    config.model_version_policy.latest.num_versions = 2
    config.version_labels["canary"] = 2
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary(
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
        )
        with pytest.raises(grpc.RpcError, match="the label is canary"):
            call(request.SerializeToString())
    assert len(client.generate("n", 1)) == 1
    assert first_pixel(client) == 10


def test_a_refused_file_changes_nothing_however_often_it_is_read(
    publish, start, connect
):
    publish("m", 1)
    publish("m", 2, "other")
    publish("broken", 1, change=damage("saved_model.pb"))
    label = 'version_labels {{ key: "stable" value: {} }}'
    file = write_config(publish, "model_version_policy { all {} }", label.format(1))
    server = start(model_config_file=file)
    client = connect(server)
    server.models.poll()
    publish("m", 3)
    refused = [
        *model_config.read_models(write_config(publish, labels=label.format(3))),
        model_config.ModelConfig("broken", str(publish.models / "broken")),
    ]
    served = [(2, "AVAILABLE", "OK"), (1, "AVAILABLE", "OK")]
    for _ in range(3):
        with pytest.raises(serving.ServingError, match="become available: broken"):
            server.models.reload(refused)
        assert states(client) == served
        assert first_pixel(client, version=1) == 10
        assert first_pixel(client, version_label="stable") == 10
        assert first_pixel(client) == 60


def test_versions_loaded_for_a_label_that_fails_are_not_served(publish, start, connect):
    publish("m", 1)
    server = start()
    client = connect(server)
    publish("m", 2, "other")
    publish("n", 1, change=damage("saved_model.pb"))
    publish("n", 2)
    configs = [
        model_config.ModelConfig("m", str(publish.models / "m")),
        model_config.ModelConfig(
            "n",
            str(publish.models / "n"),
            model_config.VersionPolicy(latest=2),
            {"stable": 1},
        ),
    ]
    with pytest.raises(serving.ServingError, match="the label is stable"):
        server.models.reload(configs)
    assert states(client) == [(1, "AVAILABLE", "OK")]
    assert first_pixel(client) == 10


def test_a_version_that_failed_loads_when_it_comes_anew(publish, start, connect):
    publish("m", 1)
    server = start()
    client = connect(server)
    publish("m", 2, "other", change=damage("saved_model.pb"))
    server.models.poll()
    assert first_pixel(client) == 10
    shutil.rmtree(publish.models / "m" / "2")
    server.models.poll()
    publish("m", 2, "other")
    server.models.poll()
    assert first_pixel(client) == 60


@pytest.mark.parametrize("by_name", [True, False])
def test_a_model_that_failed_and_went_may_come_again(publish, start, connect, by_name):
    publish("n", 1)
    publish("m", 1, change=damage("saved_model.pb"))
    file = None if by_name else write_config(publish)
    server = start(model_config_file=file)
    assert server.models.failures()["m"] == 1
    shutil.rmtree(publish.models / "m")
    server.models.poll()
    assert server.models.failures()["m"] == 0
    publish("m", 1)
    server.models.poll()
    assert first_pixel(connect(server)) == 10


def test_a_reload_without_a_model_forgets_its_failures(publish, start, connect):
    publish("n", 1)
    publish("m", 1)
    broken = publish("m", 2, change=damage("saved_model.pb"))
    server = start(model_config_file=write_config(publish))
    assert server.models.failures()["m"] == 1
    reload(server, [("n", publish.models / "n")])
    assert server.models.failures()["m"] == 0
    shutil.rmtree(broken)
    shutil.copytree(publish.models / "m" / "1", broken)
    reload(server, [(name, publish.models / name) for name in "mn"])
    assert states(connect(server))[0][:2] == (2, "AVAILABLE")


def test_a_moving_label_loses_no_request(publish, start):
    publish("m", 1)
    publish("m", 2)
    server = start(model_config_file=write_config(publish))

    def labelled(version):
        text = f'version_labels {{ key: "stable" value: {version} }}'
        policy = f"model_version_policy {{ specific {{ versions: {version} }} }}"
        file = write_config(publish, labels=f"{text} {policy}")
        server.models.reload(model_config.read_models(file))

    labelled(1)
    spec = tiny_models.predict_request("m", "sample").model_spec
    spec.version_label = "stable"
    moved = threading.Event()

    def ask():
        while not moved.is_set():
            with server.models.use(spec):
                pass

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            for version in (2, 1, 2, 1):
                labelled(version)
        finally:
            moved.set()
            sys.setswitchinterval(interval)
        for each in asking:
            each.result()


def test_a_refused_file_loads_what_is_broken_once(publish, start, caplog):
    publish("m", 1)
    publish("broken", 1, change=damage("saved_model.pb"))
    server = start(model_config_file=write_config(publish))
    both = [
        model_config.ModelConfig(name, str(publish.models / name))
        for name in ("m", "broken")
    ]
    for _ in range(3):
        with pytest.raises(serving.ServingError, match="broken"):
            server.models.reload(both)
        server.models.poll()
    assert sum("broken version 1 did not load" in m for m in caplog.messages) == 1


def test_a_label_of_what_stays_served_keeps_no_reload(publish, start, connect):
    publish("m", 1)
    publish("n", 1)
    stable = 'version_labels { key: "stable" value: 1 }'
    server = start(model_config_file=write_config(publish, labels=stable))
    client = connect(server)
    configs = [
        *model_config.read_models(write_config(publish, labels=stable)),
        model_config.ModelConfig("n", str(publish.models / "n")),
    ]
    broken = publish("m", 2, change=damage("saved_model.pb"))
    server.models.poll()
    server.models.reload(configs)
    assert server.models.available() == {"m": [1], "n": [1]}
    # Nor does a folder that nobody can read for now.
    (publish.models / "m").rename(publish.models / "away")
    server.models.reload(configs[:1])
    assert first_pixel(client, version_label="stable") == 10
    (publish.models / "away").rename(publish.models / "m")
    # What would take over does.
    shutil.rmtree(broken)
    server.models.poll()
    publish("m", 2, "other")
    with pytest.raises(serving.ServingError, match="the label is stable"):
        server.models.reload(configs)
    assert first_pixel(client) == 10


def test_a_refused_reload_forgets_no_failure(publish, start, connect):
    publish("m", 1)
    broken = publish("m", 2, change=damage("saved_model.pb"))
    server = start(model_config_file=write_config(publish))
    shutil.rmtree(broken)
    shutil.copytree(publish.models / "m" / "1", broken)
    first = model_config.ModelConfig(
        "m", str(publish.models / "m"), model_config.VersionPolicy(specific=(1,))
    )
    (publish.models / "empty").mkdir()
    empty = model_config.ModelConfig("empty", str(publish.models / "empty"))
    with pytest.raises(serving.ServingError, match="become available: empty"):
        server.models.reload([first, empty])
    server.models.poll()
    # That number has failed, and is asked for all the time.
    assert states(connect(server))[0][:2] == (2, "END")


def test_what_a_refused_file_asks_for_in_vain_is_loaded_once(publish, start):
    publish("m", 1)
    broken = publish("m", 2, change=damage("saved_model.pb"))
    publish("m", 3)
    server = start(model_config_file=write_config(publish))
    all_of_them = [
        model_config.ModelConfig(
            "m",
            str(publish.models / "m"),
            model_config.VersionPolicy(latest=0),
            {"canary": 2},
        )
    ]
    loaded = []
    server.models._open = lambda *which: (
        loaded.append(which) or type(server.models)._open(server.models, *which)
    )
    for _ in range(3):
        with pytest.raises(serving.ServingError, match="the label is canary"):
            server.models.reload(all_of_them)
        server.models.poll()
    assert [version for _, version, _ in loaded] == [1, 2]
    assert server.models.available() == {"m": [3]}
    # A configuration that is taken knows, too, and one that is mended is tried.
    server.models.reload([dataclasses.replace(all_of_them[0], labels={})])
    assert [version for _, version, _ in loaded] == [1, 2, 1]
    shutil.rmtree(broken)
    server.models.poll()
    publish("m", 2, "other")
    server.models.reload(all_of_them)
    assert server.models.available() == {"m": [1, 2, 3]}


def test_what_stays_wrong_is_logged_once(publish, start, caplog):
    publish("m", 1)
    file = write_config(publish)
    server = start(model_config_file=file, poll=0.05)
    shutil.rmtree(publish.models / "m")
    until(lambda: "model m: " in caplog.text)
    for _ in range(10):
        server.models.poll()
    assert caplog.text.count("model m: ") == 1
    publish("m", 2)
    until(lambda: server.models.available() == {"m": [2]})


def test_a_model_elsewhere_is_refused_at_the_start(publish, start, tmp_path):
    publish("m", 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(serving.ServingError, match="is outside of where this server"):
        start(tmp_path / "empty", model_config_file=write_config(publish))


def test_without_a_folder_a_reload_stays_beside_the_models(publish, start):
    publish("m", 1)
    file = write_config(publish)
    file.write_text(file.read_text().replace('/m"', '/m/"'))
    server = start(model_config_file=file, models_dir=None)
    with pytest.raises(serving.ServingError, match=r"PERMISSION_DENIED.*outside of"):
        server.models.reload([model_config.ModelConfig("x", "/etc")])
    beside = publish("n", 1).parent
    server.models.reload([model_config.ModelConfig("n", str(beside))])
    assert server.models.available()["n"] == [1]
    (empty := publish.models.parent / "empty.config").write_text("model_config_list {}")
    server = start(model_config_file=empty, models_dir=None)
    with pytest.raises(serving.ServingError, match="nowhere"):
        server.models.reload([model_config.ModelConfig("x", str(publish.models))])


def test_a_folder_that_the_configuration_file_names_may_be_a_link(
    publish, start, connect, tmp_path
):
    publish("elsewhere", 1)
    publish("m", 1)
    (folder := tmp_path / "links").mkdir()
    (folder / "linked").symlink_to(publish.models / "elsewhere")
    (folder / "leads_nowhere").symlink_to(folder / "nowhere")
    configs = "".join(
        f'config {{ name: "{path.name}" base_path: "{path}" '
        'model_platform: "tensorflow" }'
        for path in (folder / "linked", folder / "leads_nowhere", publish.models / "m")
    )
    (file := tmp_path / "models.config").write_text(
        f"model_config_list {{ {configs} }}"
    )
    server = start(model_config_file=file, models_dir=None)
    assert server.models.available() == {"leads_nowhere": [], "linked": [1], "m": [1]}
    with pytest.raises(serving.ServingError, match="outside of"):
        server.models.reload([model_config.ModelConfig("x", "/etc")])


def test_a_reload_with_a_wrong_label_changes_nothing(publish, start, connect):
    publish("m", 1)
    file = write_config(publish, "model_version_policy { specific { versions: 1 } }")
    server = start(model_config_file=file)
    client = connect(server)
    publish("m", 2, "other")
    stale = 'version_labels { key: "stable" value: 1 }'
    configs = model_config.read_models(write_config(publish, labels=stale))
    with pytest.raises(serving.ServingError, match="assign label to version 1"):
        server.models.reload(configs)
    assert states(client) == [(1, "AVAILABLE", "OK")]
    assert first_pixel(client) == 10


@pytest.mark.parametrize(
    ("seconds", "message"), [(1.0, "needs model_config_file"), (-1.0, "0 or more")]
)
def test_following_needs_a_file_and_a_period(publish, start, seconds, message):
    publish("m", 1)
    with pytest.raises(ValueError, match=message):
        start(model_config_file_poll_wait_seconds=seconds)


@pytest.mark.parametrize(
    ("base_path", "code"),
    [
        ("{models}/..", grpc.StatusCode.PERMISSION_DENIED),
        ("/etc", grpc.StatusCode.PERMISSION_DENIED),
        ("m", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_a_reload_cannot_leave_the_folder(publish, start, connect, base_path, code):
    publish("m", 1)
    server = start()
    with pytest.raises(grpc.RpcError) as caught:
        reload(server, [("x", base_path.format(models=publish.models))])
    assert caught.value.code() == code
    assert first_pixel(connect(server)) == 10


def test_links_inside_are_followed_and_links_outside_refused(
    publish, start, connect, saved_models
):
    publish("m", 1)
    os.symlink(publish.models / "m" / "1", publish.models / "m" / "2")
    server = start()
    client = connect(server)
    assert states(client) == [(2, "AVAILABLE", "OK")]
    os.symlink(saved_models / "other", publish.models / "m" / "3")
    server.models.poll()
    assert states(client)[0] == (3, "END", "PERMISSION_DENIED")

    def link_variables(path):
        shutil.rmtree(path / "variables")
        os.symlink(saved_models / "tiny" / "variables", path / "variables")

    publish("m", 4, change=link_variables)
    os.symlink(saved_models, publish.models / "elsewhere")
    server.models.poll()
    assert states(client)[0] == (4, "END", "PERMISSION_DENIED")
    assert first_pixel(client) == 10


def test_a_link_behind_a_link_is_followed_and_refused(
    publish, start, connect, saved_models
):
    stash = publish.models / "m" / ".stash"
    stash.mkdir(parents=True)
    os.symlink(saved_models / "tiny" / "variables", stash / "variables")
    os.symlink(stash, stash / "round")  # A circle ends the search no less.

    publish("m", 1, change=lambda path: os.symlink(stash, path / "extra"))
    client = connect(start())
    (status,) = client.status("m")
    assert (status.state, status.code) == ("END", "PERMISSION_DENIED")
    assert "extra/variables is a link that leaves" in status.message


def test_links_that_lead_nowhere_keep_nothing_from_being_served(publish, start, caplog):
    publish("m", 1)
    (publish.models / "loop").symlink_to("loop")
    (publish.models / "m" / "9").symlink_to("9")
    server = start()
    for _ in range(2):
        server.models.poll()
    assert server.models.available() == {"m": [1]}
    for link in ("loop", "m/9"):
        assert caplog.text.count(f"{publish.models}/{link} is left out") == 1


class Unseen:
    """A DirEntry of a folder that can't be looked at."""

    path = "models/m"

    def __init__(self, number):
        self.number = number

    def is_dir(self):
        raise OSError(self.number, os.strerror(self.number))


def test_a_volume_that_is_briefly_away_is_not_taken_for_no_folder():
    """Else its models would be unloaded."""
    with pytest.raises(OSError, match="Stale"):
        versions.is_folder(Unseen(errno.ESTALE))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_folder_that_nobody_may_look_at_is_none(number):
    assert not versions.is_folder(Unseen(number))


def test_digits_of_other_scripts_are_no_versions(tmp_path):
    for name in ("1", "٣", "²"):
        (tmp_path / name).mkdir()
    assert [*versions.versions_in(tmp_path)] == [1]


def test_of_folders_of_one_number_the_last_by_name_counts(tmp_path, caplog):
    for name in ("0007", "07", "12", "7", "007"):
        (tmp_path / name).mkdir()
    for _ in range(2):
        found = versions.versions_in(tmp_path)
    assert found == {7: str(tmp_path / "7"), 12: str(tmp_path / "12")}
    for left_out, counts in (("0007", "007"), ("007", "07"), ("07", "7")):
        words = f"{left_out} is left out: {tmp_path / counts} has the same number"
        assert caplog.text.count(f"{tmp_path}/{words}") == 1


def test_a_path_that_no_file_can_have_is_refused(publish, start):
    publish("m", 1)
    server = start(model_config_file=write_config(publish))
    with pytest.raises(grpc.RpcError, match="no path has a NUL") as caught:
        reload(server, [("m", f"{publish.models}/m\0")])
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_names_of_a_configuration_differ(publish, start):
    publish("m", 1)
    server = start(model_config_file=write_config(publish))
    twice = [(name, publish.models / "m") for name in ("a", "m", "b", "m")]
    with pytest.raises(grpc.RpcError, match="Duplicated model name m "):
        reload(server, twice)


def test_a_failed_version_is_in_the_status_however_many_are_served(
    publish, start, connect, monkeypatch
):
    monkeypatch.setattr(models, "_MAX_HISTORY", 2)
    publish("m", 1)
    publish("m", 2)
    file = write_config(publish, "model_version_policy { all {} }")
    server = start(model_config_file=file)
    publish("m", 3, change=damage("saved_model.pb"))
    server.models.poll()
    client = connect(server)
    assert [(v, state) for v, state, _ in states(client)] == [
        (3, "END"),
        (2, "AVAILABLE"),
        (1, "AVAILABLE"),
    ]


def test_of_versions_that_have_ended_the_last_are_remembered(
    publish, start, connect, monkeypatch
):
    publish("m", 1)
    server = start()
    client = connect(server)
    for version in (2, 3):
        publish("m", version)
        server.models.poll()
    ended = [(version, "END", "OK") for version in (2, 1)]
    assert states(client) == [(3, "AVAILABLE", "OK"), *ended]
    monkeypatch.setattr(models, "_MAX_HISTORY", 2)
    publish("m", 4)
    server.models.poll()
    assert states(client) == [(4, "AVAILABLE", "OK"), (3, "END", "OK")]


def test_numbers_of_more_than_63_bits_are_no_versions(publish, start, connect):
    publish("m", 1)
    publish("m", 2**63)
    client = connect(start())
    assert states(client) == [(1, "AVAILABLE", "OK")]


def test_models_come_and_go(publish, start, connect):
    server = start()
    client = connect(server)
    for version, words in ((None, "any versions"), (3, "version 3")):
        words = f"Could not find {words} of model m"
        with pytest.raises(serving.ServingError, match=words):
            client.status("m", version=version)
    publish("m", 1)
    server.models.poll()
    assert first_pixel(client) == 10
    (publish.models / "m").rename(publish.models.parent / "gone")
    server.models.poll()
    with pytest.raises(serving.ServingError, match="Servable not found"):
        first_pixel(client)
    assert states(client) == [(1, "END", "OK")]
    (publish.models.parent / "gone").rename(publish.models / "m")
    server.models.poll()
    assert first_pixel(client) == 10


def test_a_warmup_record_of_more_rows_than_a_batch_fails_the_load(
    publish, start, connect
):
    record = tiny_models.predict_request("m", seeds=np.arange(5))
    publish("m", 1, change=lambda path: tiny_models.write_warmup(path, [record]))
    file = publish.models.parent / "batching.txt"
    file.write_text("max_batch_size { value: 4 } allowed_batch_sizes: 4")
    client = connect(start(batching_parameters_file=file))
    (status,) = client.status("m")
    assert (status.state, status.code) == ("END", "INVALID_ARGUMENT")
    assert status.message == "Task size 5 is larger than maximum input batch size 4"


def test_batching_files(publish, start, connect):
    publish("m", 1)
    file = publish.models.parent / "batching.txt"
    file.write_text("max_batch_size { value: 4 } allowed_batch_sizes: 4")
    server = start(batching_parameters_file=file)
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        request = tiny_models.predict_request("m", seeds=np.arange(5))
        with pytest.raises(grpc.RpcError) as caught:
            call(request.SerializeToString())
    assert caught.value.details() == (
        "Task size 5 is larger than maximum input batch size 4"
    )
    # The client learns the limit from this answer, and asks in parts.
    assert len(connect(server).generate("m", 11)) == 11


def test_the_client_asks_for_no_more_than_the_queue_holds(
    publish, start, connect, tmp_path, tiny
):
    file = tmp_path / "batching.txt"
    file.write_text(
        "max_batch_size { value: 128 } max_execution_batch_size { value: 8 } "
        "enable_large_batch_splitting { value: true } "
        "max_enqueued_batches { value: 4 }"
    )
    publish("m", 1)
    client = connect(start(batching_parameters_file=file))
    images = client.generate("m", 33)
    np.testing.assert_array_equal(images, tiny.expected(np.arange(33)))


def test_a_batching_file_of_one_model(publish, start):
    def limit(path):
        (path / "batching_params.pbtxt").write_text("max_batch_size { value: 2 }")

    publish("m", 1, change=limit)
    request = tiny_models.predict_request("m", seeds=np.arange(3)).SerializeToString()
    for per_model, code in ((False, None), (True, grpc.StatusCode.INVALID_ARGUMENT)):
        server = start(per_model_batching=per_model)
        with grpc.insecure_channel(server.address) as channel:
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            future = call.future(request)
            assert (future.exception() and future.code()) == code


@pytest.mark.parametrize("joined", [True, False])
def test_requests_are_joined_unless_told_not_to(publish, start, connect, tiny, joined):
    publish("m", 1)
    server = start(enable_batching=joined)
    np.testing.assert_array_equal(
        connect(server).generate("m", 40), tiny.expected(np.arange(40))
    )
    measured = server.metrics.render().decode()
    assert ('serving_batch_rows_count{model="m"' in measured) == joined


def test_the_threads_of_an_operation_are_made_once():
    script = """
import tensorflow as tf
from serving.saved_model import set_intra_op_parallelism
set_intra_op_parallelism(1)
set_intra_op_parallelism(1)
print(tf.config.threading.get_intra_op_parallelism_threads())
set_intra_op_parallelism(2)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},  # It starts without Keras.
    )
    assert ended.stdout == "1\n"
    assert "RuntimeError: Intra op parallelism cannot be modified" in ended.stderr


def test_history_of_a_refused_reload(publish, start, connect):
    publish("m", 1)
    server = start()
    client = connect(server)
    publish("m", 2)
    server.models.poll()
    assert states(client) == [(2, "AVAILABLE", "OK"), (1, "END", "OK")]
    publish("n", 1, change=damage("saved_model.pb"))
    configs = [
        model_config.ModelConfig(
            "m", str(publish.models / "m"), model_config.VersionPolicy(latest=2)
        ),
        model_config.ModelConfig(
            "n", str(publish.models / "n"), model_config.VersionPolicy(), {"stable": 1}
        ),
    ]
    with pytest.raises(serving.ServingError):
        server.models.reload(configs)
    assert states(client) == [(2, "AVAILABLE", "OK"), (1, "END", "OK")]
