"""`python -m zoo list`: variants, presets and recipes."""

import inspect

import click

from zoo import presets, recipes
from zoo.metrics import Measurement
from zoo.variants import VARIANTS


@click.command("list")
def list_all():
    """List variants, and presets with what was measured of them."""
    width = max(map(len, VARIANTS))
    click.echo("Variants (python -m zoo train VARIANT):")
    for name, variant in VARIANTS.items():
        module = inspect.getmodule(variant)
        click.echo(f"  {name:<{width}} {inspect.getdoc(module).splitlines()[0]}")
    trained = presets.list_presets()
    click.echo("\nPresets (zoo.from_preset, python -m zoo sample | train PRESET):")
    for name, metadata in trained.items():
        click.echo(f"  {name:<26} {metadata['recipe']['description']}")
        licence = metadata["licence"]
        terms = f"licence: {licence['weights']}"
        if licence["weights"] != licence["data"]:
            terms += f" (the data: {licence['data']})"
        for line in (*_measured(metadata), terms):
            click.echo(f"  {'':<26}   {line}")
    click.echo("\nRecipes without weights (python -m zoo train RECIPE):")
    for name in recipes.names():
        if name not in trained:
            click.echo(f"  {name:<26} {recipes.Recipe.of_preset(name).description}")


def _measured(metadata):
    """Returns a line for all numbers of one feature network and of as many samples."""
    lines = {}
    for saved in metadata["evaluation"]["measurements"]:
        measurement = Measurement(**saved)
        value = metadata["measured"].get(measurement.label)
        if value is not None:
            told = f"{measurement.name} {value}"
            lines.setdefault(measurement.provenance, []).append(told)
    return [f"{', '.join(told)} ({where})" for where, told in lines.items()]
