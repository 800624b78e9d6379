"""`python -m zoo list`: variants and presets."""

import inspect

import click

from zoo.presets import list_presets
from zoo.variants import VARIANTS


@click.command("list")
def list_all():
    """List variants, and presets with what was measured of them."""
    width = max(map(len, VARIANTS))
    click.echo("Variants (python -m zoo train VARIANT):")
    for name, variant in VARIANTS.items():
        module = inspect.getmodule(variant)
        click.echo(f"  {name:<{width}} {inspect.getdoc(module).splitlines()[0]}")
    presets = list_presets()
    click.echo("\nPresets (zoo.from_preset, python -m zoo sample PRESET):")
    for name, metadata in presets.items():
        if metadata["trained"]:
            click.echo(f"  {name:<26} {metadata['recipe']['description']}")
            licence = metadata["licence"]
            terms = f"licence: {licence['weights']}"
            if licence["weights"] != licence["data"]:
                terms += f" (the data: {licence['data']})"
            for line in (*_measured(metadata["measured"]), terms):
                click.echo(f"  {'':<26}   {line}")
    click.echo("\nRecipes without weights (python -m zoo train RECIPE):")
    for name, metadata in presets.items():
        if not metadata["trained"]:
            click.echo(f"  {name:<26} {metadata['description']}")


def _measured(measured):
    """Returns a line for all numbers of one feature network, and one for the rest."""
    lines = {}
    for label, value in measured.items():
        name, bracket, network = label.partition("[")
        lines.setdefault(bracket + network, []).append(f"{name} {value}")
    return [
        f"{', '.join(numbers)} {network}".rstrip() for network, numbers in lines.items()
    ]
