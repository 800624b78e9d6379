"""The files for a real TensorFlow Serving are what their readers expect."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import kubernetes_validate
import numpy as np
import pytest
import tensorflow as tf
import tiny_models
import yaml
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
)
from tensorflow_serving.config import model_server_config_pb2

import serving
from serving import deploy, model_config
from serving.batching import BatchingOptions
from serving.deploy import files
from serving.deploy.scan import scan


@pytest.fixture
def written(publish):
    publish("digits", 1, change=_without_scalar)
    publish("digits", 2, change=_without_scalar)
    publish("faces", 7, "conditional")
    out = publish.models.parent / "deploy"
    paths = deploy.write(publish.models, out)
    assert {path.name for path in paths} == {path.name for path in out.iterdir()}
    return out


def _change_signatures(path, change):
    from tensorflow.core.protobuf import saved_model_pb2

    file = path / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(model.meta_graphs[0].signature_def)
    file.write_bytes(model.SerializeToString())


def _without_scalar(path):
    """Removes the signature that TensorFlow Serving cannot batch."""
    _change_signatures(path, lambda signatures: signatures.pop("scalar"))


def documents(path):
    return list(yaml.safe_load_all(path.read_text()))


def models_config(folder):
    return text_format.Parse(
        (folder / "models.config").read_text(),
        model_server_config_pb2.ModelServerConfig(),
    )


def labels(folder):
    """Returns {model: {label: version}} of models.config."""
    return {
        model.name: dict(model.version_labels)
        for model in models_config(folder).model_config_list.config
    }


def edit(folder, old, new):
    file = folder / "models.config"
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new))


def test_models_config_is_tensorflow_servings_message(written):
    config = models_config(written)
    digits, faces = config.model_config_list.config
    assert (digits.name, digits.base_path) == ("digits", "/models/digits")
    assert digits.model_platform == "tensorflow"
    assert dict(digits.version_labels) == {"stable": 2}
    assert dict(faces.version_labels) == {"stable": 7}
    # And the embedded server reads it, too.
    ours = model_config.read_models(written / "models.config")
    assert [model.name for model in ours] == ["digits", "faces"]
    assert ours[0].policy.choose([1, 2, 3]) == {2, 3}


def test_labels_are_kept(publish, written):
    edit(
        written,
        'version_labels {\n      key: "stable"\n      value: 2\n    }',
        'version_labels { key: "stable" value: 1 } '
        'version_labels { key: "canary" value: 2 }',
    )
    publish("faces", 8, "conditional")
    publish("new", 1, change=_without_scalar)
    publish("new", 2, change=_without_scalar)
    deploy.write(publish.models, written)
    kept = {
        "digits": {"stable": 1, "canary": 2},
        "faces": {"stable": 7},
        "new": {"stable": 2},
    }
    assert labels(written) == kept
    (config,) = (
        document
        for document in documents(written / "kubernetes.yaml")
        if document["kind"] == "ConfigMap"
    )
    assert config["data"]["models.config"] == (written / "models.config").read_text()
    deploy.write(publish.models, written)
    assert labels(written) == kept


def test_files_that_cannot_all_be_written_stay_as_they_were(publish, written):
    before = {path.name: path.read_bytes() for path in written.iterdir()}
    publish("new", 1, change=_without_scalar)
    limit = len(before["kubernetes.yaml"]) - 1024
    code = (
        "import resource, sys; from serving.__main__ import main; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); main()"
    )
    command = ["config", publish.models, "--out", written]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name: path.read_bytes() for path in written.iterdir()} == before


@pytest.mark.parametrize("name", [*files.FILES, "settings.json"])
def test_files_of_somebody_else_are_not_overwritten(publish, tmp_path, name):
    publish("m", 1, change=_without_scalar)
    out = tmp_path / "project"
    out.mkdir()
    (out / name).write_text('{"editor.tabSize": 4}')
    words = f"project holds a {name} that this command did not write; give another"
    with pytest.raises(serving.RequestError, match=words):
        deploy.write(publish.models, out)
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_text() == '{"editor.tabSize": 4}'


def test_deployments_of_before_there_were_settings_are_replaced(publish, written):
    (written / "settings.json").unlink()
    edit(written, "value: 2", "value: 1")
    assert deploy.write(publish.models, written)
    assert labels(written)["digits"] == {"stable": 1}


def test_a_deployment_whose_writing_was_cut_off_is_written_again(publish, written):
    paths = deploy.write(publish.models, written)
    for count in range(len(paths)):
        for path in paths[count:]:
            path.unlink()
        assert deploy.write(publish.models, written) == paths


def test_a_bad_version_goes_before_the_next_is_published(publish, written):
    bad = publish("digits", 3, change=_without_scalar)
    deploy.write(publish.models, written)
    publish("digits", 4, change=_without_scalar)  # Now `stable`, 2, is unloaded.
    words = "the label stable of model digits names version 2, .* delete the folders"
    with pytest.raises(serving.RequestError, match=words):
        deploy.write(publish.models, written)
    shutil.rmtree(bad)
    deploy.write(publish.models, written)
    assert labels(written)["digits"] == {"stable": 2}
    (digits, _) = model_config.read_models(written / "models.config")
    assert digits.policy.choose([1, 2, 4]) == {2, 4}


def test_labels_are_not_lost(publish, written):
    publish("digits", 3, change=_without_scalar)
    publish("digits", 4, change=_without_scalar)
    before = (written / "models.config").read_text()
    words = "the label stable of model digits names version 2, .* are 3, 4; move"
    with pytest.raises(serving.RequestError, match=words):
        deploy.write(publish.models, written)
    (written / "models.config").write_text("model_config_list {")
    with pytest.raises(serving.ServingError, match=r"models.config cannot be parsed"):
        deploy.write(publish.models, written)
    (written / "models.config").write_text(before)
    edit(written, "value: 2", "value: 3")
    deploy.write(publish.models, written)
    assert labels(written) == {"digits": {"stable": 3}, "faces": {"stable": 7}}


def test_batching_config_keeps_tensorflow_servings_rules(written):
    options = model_config.read_batching(written / "batching.config")
    assert options.allowed_batch_sizes == (1, 2, 4, 8, 16, 32)
    assert options.max_batch_size == 32
    assert options.batch_timeout_micros == 0


def test_batches_are_padded_to_powers_of_two_and_to_the_largest(tmp_path):
    file = tmp_path / "batching.config"
    file.write_text(files.batching_config(48, threads=6))
    assert model_config.read_batching(file) == BatchingOptions(
        allowed_batch_sizes=(1, 2, 4, 8, 16, 32, 48),
        max_batch_size=48,
        batch_timeout_micros=0,
        max_enqueued_batches=100,
        num_batch_threads=6,
        split_large_requests=False,
    )


def monitoring_config():
    """Returns an empty MonitoringConfig of TensorFlow Serving's.

    The pip package leaves it out; this is its `monitoring_config.proto`.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="monitoring_config.proto", package="tensorflow.serving", syntax="proto3"
    )
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=field.TYPE_BOOL)
    prometheus.field.add(name="path", number=2, type=field.TYPE_STRING)
    file.message_type.add(name="MonitoringConfig").field.add(
        name="prometheus_config",
        number=1,
        type=field.TYPE_MESSAGE,
        type_name=".tensorflow.serving.PrometheusConfig",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("tensorflow.serving.MonitoringConfig")
    return message_factory.GetMessageClass(found)()


@pytest.fixture
def prometheus_config(written):
    text = (written / "monitoring.config").read_text()
    return text_format.Parse(text, monitoring_config()).prometheus_config


def test_monitoring_config_is_tensorflow_servings_message(prometheus_config):
    assert prometheus_config.enable is True
    assert prometheus_config.path == "/monitoring/prometheus/metrics"


def test_hidden_folders_are_no_models(publish):
    publish("m", 1)
    publish(".trash", 1)
    publish("lost+found", 1)
    assert [model.name for model in scan(publish.models)] == ["m"]


def test_a_version_that_is_still_being_copied_is_named(publish):
    publish("m", 1, change=_without_scalar)
    publish("m", 2, change=_without_scalar)
    (publish.models / "m" / "3").mkdir()
    out = publish.models.parent / "deploy"
    with pytest.raises(serving.RequestError, match=r"m/3 would be served.* copied"):
        deploy.write(publish.models, out)
    assert not out.exists()
    publish("m", 4, change=_without_scalar)
    publish("m", 5, change=_without_scalar)  # Of 3 nothing is asked any more.
    assert deploy.write(publish.models, out)


def test_a_version_without_the_values_of_its_variables_is_named(publish):
    def lose(path):
        _without_scalar(path)
        shutil.rmtree(path / "variables")

    publish("m", 1, change=lose)
    words = r"m/1 would be served.* no variables/variables\.index in it.* copied"
    with pytest.raises(serving.RequestError, match=words):
        scan(publish.models)


def test_a_graph_without_the_tag_serve_is_not_described(publish):
    publish("m", 1, change=tiny_models.take_the_tag_serve)
    with pytest.raises(serving.ServingError, match="has no graph with the tag serve"):
        scan(publish.models)


def test_a_graph_without_variables_needs_no_values(publish):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        rows = tf.compat.v1.placeholder(tf.float32, [None, 2], "rows")
        tf.compat.v1.saved_model.simple_save(
            session,
            str(publish.models / "m" / "1"),
            {"rows": rows},
            {"doubled": 2 * rows},
        )
    assert not (publish.models / "m" / "1" / "variables" / "variables.index").exists()
    assert [model.name for model in scan(publish.models)] == ["m"]


@pytest.mark.parametrize("inside", ["m", "m/1"])
def test_the_folder_of_one_model_is_refused(publish, inside):
    publish("m", 1)
    words = f"give the folder of models, {publish.models}$"
    with pytest.raises(ValueError, match=words):
        scan(publish.models / inside)


def test_links_that_lead_nowhere_in_a_container_are_named(publish):
    folder = publish("digits", 1, change=_without_scalar).parent
    (folder / "2").symlink_to("1")  # Goes along with the folder.
    assert [version.number for version in scan(publish.models)[0].versions] == [1, 2]

    (folder / "3").symlink_to(folder / "1")
    with pytest.raises(serving.RequestError, match="digits/3 is a link by an absolute"):
        scan(publish.models)
    (folder / "3").unlink()

    outside = shutil.copytree(folder / "1" / "variables", publish.models.parent / "v")
    publish("faces", 7, "conditional")
    variables = publish.models / "faces" / "7" / "variables"
    shutil.rmtree(variables)
    variables.symlink_to(os.path.relpath(outside, variables.parent))
    with pytest.raises(serving.RequestError, match="7/variables is a link out, which"):
        scan(publish.models)


def test_a_server_of_a_model_that_asks_for_xla_may_compile(publish, tmp_path):
    class Doubles(tf.Module):
        @tf.function(
            input_signature=[tf.TensorSpec([None, 2], tf.float32)], jit_compile=True
        )
        def __call__(self, rows):
            return 2 * rows

    publish("m", 1, change=_without_scalar)
    flag = "--xla_cpu_compilation_enabled=true"
    deploy.write(publish.models, tmp_path / "plain")
    module = Doubles()
    tf.saved_model.save(module, publish.models / "x" / "1", module.__call__)
    deploy.write(publish.models, tmp_path / "xla")
    for name in ("Dockerfile", "compose.yaml", "kubernetes.yaml"):
        assert flag not in (tmp_path / "plain" / name).read_text()
        assert flag in (tmp_path / "xla" / name).read_text()


def test_another_user_can_read_what_is_written_under_any_umask(publish):
    publish("m", 1, change=_without_scalar)
    out = publish.models.parent / "deploy"
    before = os.umask(0o077)
    try:
        written = deploy.write(publish.models, out)
    finally:
        os.umask(before)
    assert out.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in written} == {0o644}


def test_signatures_that_cannot_be_batched_are_refused(publish):
    publish("odd", 1)
    publish("odd", 2, change=_without_scalar)
    with pytest.raises(serving.RequestError, match=r"odd version 1: .* scalar"):
        deploy.write(publish.models, publish.models.parent / "deploy")
    publish("odd", 3, change=_without_scalar)  # 1 is served no more.
    assert deploy.write(publish.models, publish.models.parent / "deploy")


def test_signatures_without_inputs_are_refused(publish):
    def take_the_inputs(signatures):
        signatures["scalar"].inputs.clear()

    publish("odd", 1, change=lambda path: _change_signatures(path, take_the_inputs))
    with pytest.raises(serving.RequestError, match=r"odd version 1: .* scalar;"):
        deploy.write(publish.models, publish.models.parent / "deploy")


def test_signatures_that_are_no_calls_need_no_batches(publish):
    def make_no_call(signatures):
        signatures["scalar"].method_name = "init"

    publish("odd", 1, change=lambda path: _change_signatures(path, make_no_call))
    assert deploy.write(publish.models, publish.models.parent / "deploy")


def test_warmup_records_beyond_the_batch_size_are_refused(publish):
    def warm(path):
        _without_scalar(path)
        records = [
            tiny_models.predict_request("m", seeds=np.arange(rows)) for rows in (1, 32)
        ]
        tiny_models.write_warmup(path, records)

    publish("m", 1, change=warm)
    publish("m", 2, change=_without_scalar)
    out = publish.models.parent / "deploy"
    with pytest.raises(serving.RequestError, match=r"m version 1 .* of 32 rows"):
        deploy.write(publish.models, out, max_batch_size=31)
    assert not out.exists()
    assert deploy.write(publish.models, out, max_batch_size=32)
    publish("m", 3, change=_without_scalar)  # 1 is served no more.
    assert deploy.write(publish.models, out, max_batch_size=16)


@pytest.mark.parametrize("left", [5, 12, 20, -5, -1])
def test_a_cut_warmup_file_is_named(publish, left):
    request = tiny_models.predict_request("m", seeds=np.arange(2))
    file = tiny_models.write_warmup(publish("m", 1, change=_without_scalar), [request])
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(serving.ServingError, match=re.escape(str(file))):
        deploy.write(publish.models, publish.models.parent / "deploy")


def test_names_of_any_kind_keep_the_files_whole(publish, tmp_path):
    models = tmp_path / "a $HOME"
    shutil.copytree(publish("m", 1, change=_without_scalar).parent, models / "bad #1")
    deploy.write(models, tmp_path / "deploy")
    (compose,) = documents(tmp_path / "deploy" / "compose.yaml")
    models, _ = compose["services"]["serving"]["volumes"]
    assert models["source"] == "../a $$HOME"  # From the compose file on.
    (deployment,) = (
        document
        for document in documents(tmp_path / "deploy" / "kubernetes.yaml")
        if document["kind"] == "Deployment"
    )
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    path = container["readinessProbe"]["httpGet"]["path"]
    assert path == "/v1/models/bad%20%231/metadata"


def flags(folder):
    """Returns {name: value} of the Dockerfile's flags."""
    dockerfile = (folder / "Dockerfile").read_text()
    (line,) = re.findall(r"^ENTRYPOINT (.*)$", dockerfile, re.M)
    program, *found = json.loads(line)
    assert program == "tensorflow_model_server"
    assert all(flag.startswith("--") for flag in found)
    return dict(flag.removeprefix("--").split("=", 1) for flag in found)


def channel_arguments(folder):
    arguments = flags(folder)["grpc_channel_arguments"].split(",")
    return {name: int(value) for name, value in (a.split("=") for a in arguments)}


def pod_template(folder):
    (deployment,) = (
        document
        for document in documents(folder / "kubernetes.yaml")
        if document["kind"] == "Deployment"
    )
    return deployment["spec"]["template"]


def test_flags_agree_with_the_files_and_the_image(written):
    dockerfile = (written / "Dockerfile").read_text()
    (copied,) = re.findall(
        r"^COPY --chown=65534:65534 (.*) /config/$", dockerfile, re.M
    )
    for name, value in flags(written).items():
        assert value, name
        if value.startswith(files.CONFIG):
            assert value.rpartition("/")[2] in copied.split()
    assert channel_arguments(written) == {
        # Without an age clients never look for new replicas.
        "grpc.max_connection_age_ms": 30_000,
        "grpc.max_connection_age_grace_ms": 60_000,
        # Without these the pings of a client end its connection.
        "grpc.http2.min_ping_interval_without_data_ms": 10_000,
        "grpc.keepalive_permit_without_calls": 1,
    }
    assert f"FROM {files.IMAGE}\n" in dockerfile
    assert re.fullmatch(r"tensorflow/serving:\d+\.\d+\.\d+", files.IMAGE)


def test_flags_switch_on_what_the_other_files_count_on(written):
    found = flags(written)
    for name in (
        "enable_batching",  # Else `batching.config` says nothing.
        "enable_grpc_healthcheck_service",  # Which the liveness probe asks.
        # `models.config` has labels when it is first read, and no version is loaded.
        "allow_version_labels_for_unavailable_models",
    ):
        assert found[name] == "true", name
    numbers = {"grpc": int(found["port"]), "rest": int(found["rest_api_port"])}
    template = pod_template(written)
    (container,) = template["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == numbers
    assert container["livenessProbe"]["grpc"]["port"] == numbers["grpc"]
    assert container["readinessProbe"]["httpGet"]["port"] == "rest"
    scraped = template["metadata"]["annotations"]["prometheus.io/port"]
    assert scraped == str(numbers["rest"])
    (service,) = (
        document
        for document in documents(written / "kubernetes.yaml")
        if document["kind"] == "Service"
    )
    targets = {port["targetPort"]: port["port"] for port in service["spec"]["ports"]}
    assert targets == numbers
    (compose,) = documents(written / "compose.yaml")
    published = [f"127.0.0.1:{port}:{port}" for port in numbers.values()]
    assert compose["services"]["serving"]["ports"] == published
    (prometheus,) = documents(written / "prometheus.yml")
    (job,) = prometheus["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"serving:{numbers['rest']}"]
    exposed = " ".join(map(str, numbers.values()))
    assert f"EXPOSE {exposed}\n" in (written / "Dockerfile").read_text()


@pytest.mark.parametrize("cpus", [1, 6])
def test_threads_are_those_of_the_processors_allowed(publish, tmp_path, cpus):
    publish("m", 1, change=_without_scalar)
    deploy.write(publish.models, tmp_path, cpus=cpus)
    found = flags(tmp_path)
    assert found["tensorflow_intra_op_parallelism"] == str(cpus)
    assert found["tensorflow_inter_op_parallelism"] == str(cpus)
    assert found["rest_api_num_threads"] == str(4 * cpus)
    batching = model_config.read_batching(tmp_path / "batching.config")
    assert batching.num_batch_threads == cpus
    # Not threads that compute, but calls: as many as the embedded server takes.
    assert found["grpc_max_threads"] == "256"
    (container,) = pod_template(tmp_path)["spec"]["containers"]
    assert container["args"] == [f"--{name}={value}" for name, value in found.items()]
    assert container["resources"]["limits"]["cpu"] == str(cpus)
    (compose,) = documents(tmp_path / "compose.yaml")
    limits = compose["services"]["serving"]["deploy"]["resources"]["limits"]
    assert limits["cpus"] == str(cpus)


def test_compose_file(written):
    check = [sys.executable, "-m", "check_jsonschema"]
    schema = ["--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*check, *schema, str(written / "compose.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (compose,) = documents(written / "compose.yaml")
    assert set(compose["services"]) == {"serving", "prometheus"}
    server = compose["services"]["serving"]
    assert server["init"] is True  # Else SIGTERM is ignored.
    assert server["restart"] == "unless-stopped"
    assert server["read_only"] is True
    user = "65534:65534"  # Nobody.
    assert server["user"] == user
    assert f"\nUSER {user}\n" in (written / "Dockerfile").read_text()
    found = [f"--{name}={value}" for name, value in flags(written).items()]
    assert server["entrypoint"] == ["tensorflow_model_server", *found]
    assert [(volume["source"], volume["target"]) for volume in server["volumes"]] == [
        ("../models", files.MODELS),
        (".", files.CONFIG),
    ]
    assert all(volume["read_only"] for volume in server["volumes"])
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


#: The version of Kubernetes whose schemas the manifests must fit.
KUBERNETES = "1.37"


def test_kubernetes_manifests(written):
    found = {document["kind"]: document for document in documents(
        written / "kubernetes.yaml"
    )}  # fmt: skip
    assert set(found) == {
        "ConfigMap",
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
    }
    for document in found.values():
        # Strict: unknown fields are errors.
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    spec = found["Deployment"]["spec"]
    assert "replicas" not in spec  # The autoscaler's.
    assert found["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"] == spec["selector"]["matchLabels"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
    assert {"requests", "limits"} == set(container["resources"])
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert container["args"] == files.server_flags(2)
    assert (
        container["readinessProbe"]["httpGet"]["path"] == "/v1/models/digits/metadata"
    )
    data = found["ConfigMap"]["data"]
    for name in ("models.config", "batching.config", "monitoring.config"):
        assert data[name].strip() == (written / name).read_text().strip()
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"  # A small cluster may do.
    assert spread["labelSelector"] == spec["selector"]


def test_options_hold_until_others_are_given(publish, tmp_path):
    publish("m", 1, change=_without_scalar)
    deploy.write(publish.models, tmp_path, cpus=6, memory=8, replicas=5)
    for options, cpus in (({}, 6), ({"cpus": 3}, 3), ({"max_batch_size": 64}, 3)):
        deploy.write(publish.models, tmp_path, **options)
        (container,) = pod_template(tmp_path)["spec"]["containers"]
        assert container["resources"] == {
            "requests": {"cpu": str(cpus), "memory": "4096Mi"},
            "limits": {"cpu": str(cpus), "memory": "8Gi"},
        }
        found = {d["kind"]: d for d in documents(tmp_path / "kubernetes.yaml")}
        scaling = found["HorizontalPodAutoscaler"]["spec"]
        assert (scaling["minReplicas"], scaling["maxReplicas"]) == (5, 20)
    # What was not given follows the package: a new one pins a new image.
    assert "image" not in json.loads((tmp_path / "settings.json").read_text())
    assert container["image"] == files.IMAGE
    for damaged in ("{", "[1]", '{"cores": 2}', '{"cpus": "2"}', '{"replicas": 0}'):
        (tmp_path / "settings.json").write_text(damaged)
        with pytest.raises(
            serving.RequestError, match=r"settings.json holds no options"
        ):
            deploy.write(publish.models, tmp_path)


def test_an_image_with_the_models_in_it(publish, tmp_path):
    publish("m", 1, change=_without_scalar)
    baked = "registry.example.com:5000/gan-serving:1"
    for image, volumes in (
        (baked, {"config", "tmp"}),
        ("", {"models", "config", "tmp"}),
    ):
        deploy.write(publish.models, tmp_path, baked_image=image)
        pod = pod_template(tmp_path)["spec"]
        (container,) = pod["containers"]
        assert container["image"] == (image or files.IMAGE)
        assert {volume["name"] for volume in pod["volumes"]} == volumes
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        for document in documents(tmp_path / "kubernetes.yaml"):
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        assert f"FROM {files.IMAGE}\n" in (tmp_path / "Dockerfile").read_text()


def test_a_busy_replica_is_not_taken_out(written):
    (container,) = pod_template(written)["spec"]["containers"]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[name]["timeoutSeconds"] == 5, name
    ready = container["readinessProbe"]
    alive = container["livenessProbe"]
    assert ready["periodSeconds"] * ready["failureThreshold"] >= 30
    assert alive["periodSeconds"] * alive["failureThreshold"] >= 60


def test_a_replica_outlives_what_clients_remember_of_it(written):
    pod = pod_template(written)["spec"]
    (container,) = pod["containers"]
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    # gRPC varies the age by a tenth.
    age = 1.1 * channel_arguments(written)["grpc.max_connection_age_ms"] / 1000
    time_to_live = 30  # CoreDNS's.
    assert sleep >= age + time_to_live + 10  # Endpoints do not vanish at once.
    assert pod["terminationGracePeriodSeconds"] >= sleep + 30


def test_what_is_read_at_the_start_alone_makes_new_pods(publish, written, monkeypatch):
    def checksum():
        return pod_template(written)["metadata"]["annotations"]["checksum/config"]

    first = checksum()
    assert re.fullmatch("[0-9a-f]{64}", first)
    edit(written, "value: 2", "value: 1")
    deploy.write(publish.models, written)
    assert labels(written)["digits"] == {"stable": 1}
    assert checksum() == first  # The server follows models.config by itself.
    deploy.write(publish.models, written, max_batch_size=64)
    second = checksum()
    assert second != first
    monkeypatch.setattr(files.templates, "MONITORING", "prometheus_config {}\n")
    deploy.write(publish.models, written, max_batch_size=64)
    assert checksum() not in (first, second)


def test_the_documentation_gives_the_numbers_of_the_files(written):
    page = pathlib.Path(__file__).parents[2] / "docs" / "serving.md"
    cluster = page.read_text().partition("## In a cluster")[2]
    text = " ".join(cluster.partition("### Stopping")[2].split())
    pod = pod_template(written)["spec"]
    (container,) = pod["containers"]
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert f"sleep of {sleep} seconds" in text
    assert f"grace period of {pod['terminationGracePeriodSeconds']} seconds" in text
    age = channel_arguments(written)["grpc.max_connection_age_ms"] // 1000
    assert f"{age} seconds old" in text
    poll = flags(written)["model_config_file_poll_wait_seconds"]
    assert f"every {poll} seconds" in " ".join(cluster.split())


def test_prometheus_scrapes_what_the_server_serves(written, prometheus_config):
    (prometheus,) = documents(written / "prometheus.yml")
    (job,) = prometheus["scrape_configs"]
    assert job["metrics_path"] == prometheus_config.path
    (compose,) = documents(written / "compose.yaml")
    (target,) = job["static_configs"][0]["targets"]
    assert target.split(":")[0] in compose["services"]
