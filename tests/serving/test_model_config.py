"""TensorFlow Serving's text formats: what is read, and what is refused."""

import pytest

import serving
from serving import model_config
from serving.batching import BatchingOptions
from serving.model_config import VersionPolicy


@pytest.fixture
def file(tmp_path):
    def file(text):
        path = tmp_path / "file.txt"
        path.write_text(text)
        return path

    return file


def one(name="x", platform="tensorflow", path="/abs/x", more=""):
    return (
        f'model_config_list {{ config {{ name: "{name}" base_path: "{path}" '
        f'model_platform: "{platform}" {more} }} }}'
    )


def test_models(file):
    text = one(
        more='model_version_policy { all {} } version_labels { key: "stable" value: 1 }'
    )
    (model,) = model_config.read_models(file(text))
    assert (model.name, model.base_path) == ("x", "/abs/x")
    assert model.policy == VersionPolicy(latest=0)
    assert model.labels == {"stable": 1}


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (VersionPolicy(), {9}),
        (VersionPolicy(latest=2), {3, 9}),
        (VersionPolicy(latest=0), {1, 3, 9}),
        (VersionPolicy(specific=(1, 4)), {1}),
    ],
)
def test_policies(policy, chosen):
    assert policy.choose([1, 3, 9]) == chosen


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (one(platform=""), "model_platform must be"),
        (one(path="relative/x"), "absolute path"),
        (one(path="s3://bucket/x"), "reads folders of its own machine"),
        (one(name=""), "has no name"),
        ("", "file.txt must hold a model_config_list"),
        ("nonsense", "cannot be parsed"),
        (one(more="model_version_policy { specific {} }"), "lists no versions"),
        (one() + one(), "should not have multiple"),
        (one()[:-1] + one()[20:], "Duplicated model name x"),
    ],
)
def test_models_that_are_refused(file, text, words):
    with pytest.raises(serving.ServingError, match=words):
        model_config.read_models(file(text))


def test_batching(file):
    text = """
        max_batch_size { value: 32 } batch_timeout_micros { value: 2000 }
        num_batch_threads { value: 2 } max_enqueued_batches { value: 100 }
        allowed_batch_sizes: 8 allowed_batch_sizes: 32
    """
    assert model_config.read_batching(file(text)) == BatchingOptions(
        allowed_batch_sizes=(8, 32),
        max_batch_size=32,
        batch_timeout_micros=2000,
        num_batch_threads=2,
        max_enqueued_batches=100,
        split_large_requests=False,
    )


def test_a_batching_file_without_a_limit_sets_none(file):
    options = model_config.read_batching(file("num_batch_threads { value: 2 }"))
    assert options == BatchingOptions(num_batch_threads=2)


def test_a_batching_file_that_splits_large_requests(file):
    text = """
        max_batch_size { value: 128 } enable_large_batch_splitting { value: true }
        max_execution_batch_size { value: 32 }
        allowed_batch_sizes: 8 allowed_batch_sizes: 32
    """
    options = model_config.read_batching(file(text))
    assert options == BatchingOptions((8, 32), max_batch_size=32)
    options.check_rows(128)
    text = "enable_large_batch_splitting { value: true } max_batch_size { value: 8 }"
    options = model_config.read_batching(file(text)).with_sizes((4, 64))
    assert options.allowed_batch_sizes == (4, 8)
    options.check_rows(128)


def test_a_field_that_changes_nothing_is_said(file, caplog):
    model_config.read_batching(file("pad_variable_length_inputs: true"))
    assert "pad_variable_length_inputs changes nothing" in caplog.text
    model_config.read_models(file(one(more="logging_config {}")))
    assert "model x: logging_config changes nothing" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "enable_large_batch_splitting { value: true } allowed_batch_sizes: 8 "
            "max_batch_size { value: 8 } max_execution_batch_size { value: 4 }",
            "must equal max_execution_batch_size; they are 8 and 4",
        ),
        (
            "enable_large_batch_splitting { value: true } max_batch_size { value: 4 } "
            "max_execution_batch_size { value: 8 }",
            "cannot be more than max_batch_size; they are 8 and 4",
        ),
        ("max_batch_size: 32", "cannot be parsed"),
        ("max_batch_size { value: 32 } allowed_batch_sizes: 8", "must equal"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 8 allowed_batch_sizes: 4",
            "increasing order",
        ),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 8 allowed_batch_sizes: 8",
            "increasing order",
        ),
        (
            "enable_large_batch_splitting { value: true } "
            "max_execution_batch_size { value: 1001 }",
            "cannot be more than max_batch_size; they are 1001 and 1000",
        ),
        ("max_batch_size { value: 0 }", "max_batch_size cannot be 0"),
        ("num_batch_threads { value: -1 }", "cannot be -1"),
    ],
)
def test_batching_that_is_refused(file, text, words):
    with pytest.raises(serving.ServingError, match=words):
        model_config.read_batching(file(text))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(serving.ServingError, match="cannot be read"):
        model_config.read_models(tmp_path / "absent")
