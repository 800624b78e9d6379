"""Width of the one-dimensional GAN: `python -m benchmarks.gaussian1d`.

Trains the two recipes over several seeds and prints the standard deviation of what they
generate beside that of the data.
"""

import statistics

import click
import tensorflow as tf

from zoo.recipes import Recipe

SAMPLES = 10_000


def trained(name, seed):
    """Trains a recipe from another seed and returns samples."""
    recipe = Recipe.of_preset(name)
    recipe.seed = seed
    for network in ("generator", "discriminator"):
        recipe.model[network]["config"]["seed"] = seed
    gan = recipe.build()
    gan.compile(**recipe.compile_arguments())
    gan.fit(recipe.load_data(), epochs=recipe.epochs, verbose=0)
    return gan.generate(SAMPLES)


@click.command()
@click.option("--seeds", default=5, show_default=True, help="Seeds 0, 1, ...")
def main(seeds):
    """Print mean and deviation of what each recipe generates, seed by seed."""
    tf.config.experimental.enable_op_determinism()
    for name in ("gan_gaussian1d", "gan_gaussian1d_minibatch"):
        deviations = []
        for seed in range(seeds):
            samples = trained(name, seed)
            deviations.append(float(samples.std()))
            click.echo(
                f"{name:<26} seed {seed}: mean {samples.mean():.2f}, "
                f"deviation {deviations[-1]:.2f}"
            )
        data = Recipe.of_preset(name).data["std"]
        click.echo(
            f"{name:<26} median deviation {statistics.median(deviations):.2f}, "
            f"data {data:.2f}\n"
        )


if __name__ == "__main__":
    main()
