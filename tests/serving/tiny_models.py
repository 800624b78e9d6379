"""SavedModels small enough to make in a test, with the signatures of the contract."""

import io
import pathlib

import numpy as np
import tensorflow as tf

from serving import messages, tensors

LATENT_DIM = 3
SIZE = 4
CLASSES = 5
TABLE = 10


class Tiny(tf.Module):
    """A generator whose every answer a test can work out itself.

    `offset` tells versions apart: every pixel is higher by so much.
    """

    def __init__(self, offset=0, conditional=False):
        super().__init__()
        self.offset = tf.Variable(float(offset))
        self.conditional = conditional

    def images(self, latents, labels=None):
        level = 10.0 * tf.reduce_sum(latents, axis=1) + self.offset
        if labels is not None:
            level += 20.0 * tf.cast(labels % CLASSES, tf.float32)
        grid = tf.reshape(tf.range(SIZE * SIZE, dtype=tf.float32), (SIZE, SIZE, 1))
        pixels = level[:, None, None, None] + grid
        return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)

    def latents(self, seeds):
        column = tf.cast(seeds % 7, tf.float32)[:, None]
        return tf.concat([column, column * 0, column * 0 + 1], axis=1)

    def labels(self, seeds, labels):
        drawn = seeds % CLASSES
        return tf.where((labels >= 0) & (labels < CLASSES), labels, drawn)

    def signatures(self):
        def rows(dtype, *shape, name):
            return tf.TensorSpec([None, *shape], dtype, name)

        seeds = rows(tf.int64, name="seeds")
        images = rows(tf.uint8, SIZE, SIZE, 1, name="images")
        latents = rows(tf.float32, LATENT_DIM, name="latents")
        labels = rows(tf.int64, name="labels")

        if self.conditional:

            @tf.function(input_signature=[seeds, labels])
            def sample(seeds, labels):
                chosen = self.labels(seeds, labels)
                return {"images": self.images(self.latents(seeds), chosen)}

            @tf.function(input_signature=[latents, labels])
            def default(latents, labels):
                return {"images": self.images(latents, labels)}

            return {"serving_default": default, "sample": sample}

        @tf.function(input_signature=[latents])
        def default(latents):
            return {"images": self.images(latents)}

        @tf.function(input_signature=[seeds])
        def sample(seeds):
            return {"images": self.images(self.latents(seeds))}

        @tf.function(input_signature=[seeds])
        def png(seeds):
            images = self.images(self.latents(seeds))
            encoded = tf.map_fn(tf.io.encode_png, images, fn_output_signature=tf.string)
            return {"png_bytes": encoded}

        @tf.function(input_signature=[images])
        def encode(images):
            mean = tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2))
            return {"latents": tf.tile(mean, (1, LATENT_DIM))}

        @tf.function(input_signature=[images])
        def reconstruct(images):
            return {"images": 255 - images}

        @tf.function(input_signature=[images])
        def classify(images):
            level = tf.cast(images[:, 0, 0, :], tf.float32)
            return {"probabilities": tf.nn.softmax(tf.tile(level, (1, CLASSES)))}

        @tf.function(input_signature=[images])
        def both(images):
            return {"images": images, "level": tf.cast(images[:, 0, 0, 0], tf.float32)}

        # Not a model of the contract: what a server must stand.
        @tf.function(input_signature=[rows(tf.int64, name="indexes")])
        def fragile(indexes):
            return {"found": tf.gather(tf.range(TABLE), indexes)}

        @tf.function(input_signature=[rows(tf.int64, name="turns")])
        def slow(turns):
            most = tf.reduce_max(turns)
            value = tf.ones((64, 64)) / 64.0
            _, value = tf.while_loop(
                lambda turn, value: turn < most,
                lambda turn, value: (turn + 1, value @ value / 1.0),
                (tf.constant(0, tf.int64), value),
            )
            return {"turns": turns + tf.cast(value[0, 0] * 0.0, tf.int64)}

        @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="x")])
        def scalar(x):
            return {"y": x + 1.0}

        return {
            "serving_default": default,
            "sample": sample,
            "png": png,
            "transfer": reconstruct,
            "encode": encode,
            "reconstruct": reconstruct,
            "classify": classify,
            "both": both,
            "fragile": fragile,
            "slow": slow,
            "scalar": scalar,
        }

    def expected(self, seeds):
        """What `sample` answers, worked out in numpy."""
        level = 10.0 * (np.asarray(seeds) % 7 + 1) + float(self.offset.numpy())
        grid = np.arange(SIZE * SIZE).reshape(1, SIZE, SIZE, 1)
        return np.clip(level[:, None, None, None] + grid, 0, 255).astype(np.uint8)


def save(path, offset=0, conditional=False):
    """Writes a SavedModel to `path`."""
    module = Tiny(offset, conditional)
    tf.saved_model.save(module, str(path), signatures=module.signatures())
    return pathlib.Path(path)


def predict_request(model, signature="sample", **inputs):
    """Returns a PredictRequest; inputs are arrays."""
    request = messages.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, array in inputs.items():
        tensors.encode(array, request.inputs[name])
    return request


def take_the_tag_serve(path):
    """Leaves a SavedModel without a graph to serve."""
    file = pathlib.Path(path) / "saved_model.pb"
    model = messages.SavedModel.FromString(file.read_bytes())
    model.meta_graphs[0].meta_info_def.tags[:] = ["train"]
    file.write_bytes(model.SerializeToString())


def write_warmup(path, requests):
    """Writes a warmup file of PredictRequests into a SavedModel."""
    folder = pathlib.Path(path) / "assets.extra"
    folder.mkdir(exist_ok=True)
    file = folder / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(file)) as writer:
        for request in requests:
            log = messages.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())
    return file


def png_size(content):
    """Returns the size of a PNG file."""
    import PIL.Image

    return PIL.Image.open(io.BytesIO(content)).size
