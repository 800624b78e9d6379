"""The files for a real TensorFlow Serving are what their readers expect."""

import json
import re

import jsonschema
import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

import serving
from serving import deploy, model_config
from serving.deploy import files


@pytest.fixture
def written(publish):
    publish("digits", 1)
    publish("digits", 2, change=_without_scalar)
    publish("faces", 7, "conditional")
    out = publish.models.parent / "deploy"
    paths = deploy.write(publish.models, out)
    assert {path.name for path in paths} == {path.name for path in out.iterdir()}
    return out


def _without_scalar(path):
    """Removes the signature that TensorFlow Serving cannot batch."""
    from tensorflow.core.protobuf import saved_model_pb2

    file = path / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    del model.meta_graphs[0].signature_def["scalar"]
    file.write_bytes(model.SerializeToString())


def documents(path):
    return list(yaml.safe_load_all(path.read_text()))


def test_models_config_is_tensorflow_servings_message(written):
    config = text_format.Parse(
        (written / "models.config").read_text(),
        model_server_config_pb2.ModelServerConfig(),
    )
    digits, faces = config.model_config_list.config
    assert (digits.name, digits.base_path) == ("digits", "/models/digits")
    assert digits.model_platform == "tensorflow"
    assert dict(digits.version_labels) == {"stable": 2}
    assert dict(faces.version_labels) == {"stable": 7}
    # And the embedded server reads it, too.
    ours = model_config.read_models(written / "models.config")
    assert [model.name for model in ours] == ["digits", "faces"]
    assert ours[0].policy.choose([1, 2, 3]) == {2, 3}


def test_batching_config_keeps_tensorflow_servings_rules(written):
    options = model_config.read_batching(written / "batching.config")
    assert options.allowed_batch_sizes == (1, 2, 4, 8, 16, 32)
    assert options.max_batch_size == 32
    assert options.batch_timeout_micros == 0


def test_signatures_that_cannot_be_batched_are_refused(publish):
    publish("odd", 1)
    with pytest.raises(serving.RequestError, match=r"odd: .* scalar"):
        deploy.write(publish.models, publish.models.parent / "deploy")


def test_flags_agree_with_the_files_and_the_image(written):
    dockerfile = (written / "Dockerfile").read_text()
    (line,) = re.findall(r"^ENTRYPOINT (.*)$", dockerfile, re.M)
    entrypoint = json.loads(line)
    assert entrypoint == ["tensorflow_model_server", *files.server_flags()]
    (copied,) = re.findall(r"^COPY (?!--)(.*) /config/$", dockerfile, re.M)
    for flag in entrypoint[1:]:
        name, _, value = flag.partition("=")
        assert value, name
        if value.startswith(files.CONFIG):
            assert value.rpartition("/")[2] in copied.split()
    assert f"FROM {files.IMAGE}\n" in dockerfile
    assert re.fullmatch(r"tensorflow/serving:\d+\.\d+\.\d+", files.IMAGE)


def fields(required=(), **properties):
    """A JSON schema of an object with these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
TRUE_OR_FALSE = {"type": "boolean"}
STRINGS = {"type": "object", "additionalProperties": TEXT}


def many(of):
    return {"type": "array", "items": of, "minItems": 1}


# The parts of the Compose specification that are used.
COMPOSE = fields(
    ["services"],
    services={
        "type": "object",
        "additionalProperties": fields(
            image=TEXT,
            build=fields(["context"], context=TEXT, additional_contexts=STRINGS),
            ports=many({"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"}),
            read_only=TRUE_OR_FALSE,
            restart={"enum": ["no", "always", "on-failure", "unless-stopped"]},
            stop_grace_period={"type": "string", "pattern": r"^\d+s$"},
            deploy=fields(
                resources=fields(
                    limits=fields(
                        cpus=TEXT, memory={"type": "string", "pattern": r"^\d+[MG]$"}
                    )
                )
            ),
            volumes=many(TEXT),
            depends_on=many(TEXT),
        ),
    },
)

# The parts of the Kubernetes API that are used, from its reference.
METADATA = fields(["name"], name=TEXT, labels=STRINGS, annotations=STRINGS)
SELECTOR = fields(["matchLabels"], matchLabels=STRINGS)
QUANTITIES = fields(
    cpu={"type": "string", "pattern": r"^\d+m?$"},
    memory={"type": "string", "pattern": r"^\d+(Mi|Gi)$"},
)
PROBE = {
    **fields(
        httpGet=fields(["port"], path=TEXT, port={"type": ["string", "integer"]}),
        grpc=fields(["port"], port=COUNT),
        periodSeconds=COUNT,
        failureThreshold=COUNT,
    ),
    "oneOf": [{"required": ["httpGet"]}, {"required": ["grpc"]}],
}
CONTAINER = fields(
    ["name", "image", "resources", "readinessProbe", "livenessProbe"],
    name=TEXT,
    image=TEXT,
    command=many(TEXT),
    args=many(TEXT),
    ports=many(fields(["containerPort"], name=TEXT, containerPort=COUNT)),
    securityContext=fields(
        allowPrivilegeEscalation={"const": False},
        readOnlyRootFilesystem={"const": True},
        capabilities=fields(drop=many(TEXT)),
    ),
    resources=fields(["requests", "limits"], requests=QUANTITIES, limits=QUANTITIES),
    startupProbe=PROBE,
    readinessProbe=PROBE,
    livenessProbe=PROBE,
    lifecycle=fields(preStop=fields(sleep=fields(["seconds"], seconds=COUNT))),
    volumeMounts=many(
        fields(["name", "mountPath"], name=TEXT, mountPath=TEXT, readOnly=TRUE_OR_FALSE)
    ),
)
VOLUME = fields(
    ["name"],
    name=TEXT,
    persistentVolumeClaim=fields(["claimName"], claimName=TEXT, readOnly=TRUE_OR_FALSE),
    configMap=fields(["name"], name=TEXT),
    emptyDir=fields(sizeLimit={"type": "string", "pattern": r"^\d+Mi$"}),
)
POD = fields(
    ["containers"],
    automountServiceAccountToken=TRUE_OR_FALSE,
    terminationGracePeriodSeconds=COUNT,
    securityContext=fields(
        runAsNonRoot={"const": True},
        runAsUser=COUNT,
        runAsGroup=COUNT,
        seccompProfile=fields(["type"], type={"const": "RuntimeDefault"}),
    ),
    containers=many(CONTAINER),
    volumes=many(VOLUME),
)
KUBERNETES = {
    "ConfigMap": ("v1", {"data": STRINGS}),
    "Deployment": (
        "apps/v1",
        {
            "spec": fields(
                ["selector", "template"],
                replicas=COUNT,
                selector=SELECTOR,
                strategy=fields(
                    ["type"],
                    type={"enum": ["RollingUpdate", "Recreate"]},
                    rollingUpdate=fields(maxUnavailable=COUNT, maxSurge=COUNT),
                ),
                template=fields(
                    ["metadata", "spec"],
                    metadata=fields(labels=STRINGS, annotations=STRINGS),
                    spec=POD,
                ),
            )
        },
    ),
    "Service": (
        "v1",
        {
            "spec": fields(
                ["ports"],
                clusterIP=TEXT,
                selector=STRINGS,
                ports=many(
                    fields(
                        ["port"],
                        name=TEXT,
                        port=COUNT,
                        targetPort={"type": ["string", "integer"]},
                        appProtocol=TEXT,
                    )
                ),
            )
        },
    ),
    "HorizontalPodAutoscaler": (
        "autoscaling/v2",
        {
            "spec": fields(
                ["scaleTargetRef", "maxReplicas"],
                scaleTargetRef=fields(
                    ["kind", "name"], apiVersion=TEXT, kind=TEXT, name=TEXT
                ),
                minReplicas=COUNT,
                maxReplicas=COUNT,
                metrics=many(
                    fields(
                        ["type"],
                        type={"const": "Resource"},
                        resource=fields(
                            ["name", "target"],
                            name=TEXT,
                            target=fields(
                                ["type"],
                                type={"const": "Utilization"},
                                averageUtilization=COUNT,
                            ),
                        ),
                    )
                ),
            )
        },
    ),
    "PodDisruptionBudget": (
        "policy/v1",
        {"spec": fields(["selector"], minAvailable=COUNT, selector=SELECTOR)},
    ),
}


def test_compose_file(written):
    (compose,) = documents(written / "compose.yaml")
    jsonschema.validate(compose, COMPOSE)
    assert set(compose["services"]) == {"serving", "prometheus"}


def test_kubernetes_manifests(written):
    found = {document["kind"]: document for document in documents(
        written / "kubernetes.yaml"
    )}  # fmt: skip
    assert set(found) == set(KUBERNETES)
    for kind, document in found.items():
        version, rest = KUBERNETES[kind]
        schema = fields(
            ["apiVersion", "kind", "metadata", *rest],
            apiVersion={"const": version},
            kind={"const": kind},
            metadata=METADATA,
            **rest,
        )
        jsonschema.validate(document, schema)
    spec = found["Deployment"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"] == spec["selector"]["matchLabels"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert container["args"] == files.server_flags()
    assert container["readinessProbe"]["httpGet"]["path"] == "/v1/models/digits"
    data = found["ConfigMap"]["data"]
    for name in ("models.config", "batching.config", "monitoring.config"):
        assert data[name].strip() == (written / name).read_text().strip()


def test_prometheus_scrapes_what_the_server_serves(written):
    (prometheus,) = documents(written / "prometheus.yml")
    (job,) = prometheus["scrape_configs"]
    assert job["metrics_path"] in (written / "monitoring.config").read_text()
    (compose,) = documents(written / "compose.yaml")
    (target,) = job["static_configs"][0]["targets"]
    assert target.split(":")[0] in compose["services"]
