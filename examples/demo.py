"""`make demo`: trains a DCGAN on real digits, exports it, serves it, asks it for more.

Needs no network and no data set: the 1,797 handwritten digits come with scikit-learn.
Writes its pictures to `demo/`.
"""

import pathlib
import time

import keras
import numpy as np

import export
import serving
import zoo

EPOCHS = 80
PICTURES = pathlib.Path("demo")


def main():
    PICTURES.mkdir(exist_ok=True)

    print("1. Training a DCGAN on 1,500 handwritten digits")
    train = zoo.load_data("digits", batch_size=64)
    gan = zoo.DCGAN(
        image_shape=(28, 28, 1),
        prior="normal",
        generator_filters=32,
        discriminator_filters=32,
        seed=0,
    )
    # The paper's settings are for large data: a discriminator soon memorizes so few
    # images. A slow one, smoothed labels and an averaged generator are the remedy.
    gan.compile(
        generator_optimizer=keras.optimizers.Adam(5e-4, beta_1=0.5),
        discriminator_optimizer=keras.optimizers.Adam(1e-4, beta_1=0.5),
        label_smoothing=0.1,
        averaging=0.995,
    )
    before = zoo.plots.image_grid(gan.generate(64))
    started = time.perf_counter()
    history = gan.fit(train, epochs=EPOCHS, callbacks=[OneProgressBar()], verbose=0)
    trained_for = time.perf_counter() - started
    after = zoo.plots.image_grid(gan.generate(64))
    zoo.plots.beside(before, after, ("untrained", f"after {EPOCHS} epochs")).save(
        PICTURES / "before_after.png"
    )
    real, _ = zoo.data.load_arrays("digits", limit=64)
    zoo.plots.beside(zoo.plots.image_grid(real), after, ("real", "generated")).save(
        PICTURES / "real_generated.png"
    )
    zoo.plots.training_curves(history.history).save(PICTURES / "curves.png")
    gan.save_to_preset(PICTURES / "preset")

    print("2. Exporting it as a SavedModel for TensorFlow Serving")
    models = PICTURES / "models"
    version = export.to_saved_model(gan, models / "digits")

    print("3. Serving it, and asking for 64 pictures over gRPC")
    with (
        serving.Server(models, port=0) as server,
        serving.Client(server.address) as client,
    ):
        address = server.address
        images = client.generate("digits", 64, seed=0)
        latencies = []
        for seed in range(50):
            started = time.perf_counter()
            client.generate("digits", 1, seed=seed)
            latencies.append(time.perf_counter() - started)
    zoo.plots.image_grid(images).save(PICTURES / "served.png")
    difference = np.abs(
        images.astype(int) - zoo.images.to_uint8(gan.generate(64))
    ).max()

    print(
        f"""
Trained {EPOCHS} epochs in {trained_for:.0f} s: generator loss \
{history.history["generator_loss"][-1]:.2f}, discriminator loss \
{history.history["discriminator_loss"][-1]:.2f}
Saved as the preset {PICTURES}/preset, exported to {version}
Served at {address}: one picture takes {1e3 * np.median(latencies):.1f} ms; the 64 \
differ from those in process by at most {difference} of 255 levels

Look at  {PICTURES}/before_after.png   {PICTURES}/real_generated.png
         {PICTURES}/served.png   {PICTURES}/curves.png

Next:
  . .venv/bin/activate
  python -m zoo list
  python -m zoo sample cgan_mnist --out grid.png
  python -m zoo walk {PICTURES}/preset --out walk.png
  python -m zoo train dcgan_digits --out runs/digits
  python -m serving start {models}
and, when it says that it is serving, in a second terminal:
  . .venv/bin/activate
  python -m serving generate 127.0.0.1:8500 digits -n 64 --out served.png"""
    )


class OneProgressBar(keras.callbacks.Callback):
    """One bar for all epochs; Keras's own shows one for each."""

    shown = ("generator_loss", "discriminator_loss", "discriminator_accuracy")

    def on_train_begin(self, logs=None):
        self.bar = keras.utils.Progbar(
            EPOCHS, unit_name="epoch", stateful_metrics=self.shown
        )

    def on_epoch_end(self, epoch, logs=None):
        self.bar.update(epoch + 1, [(name, logs[name]) for name in self.shown])


if __name__ == "__main__":
    main()
