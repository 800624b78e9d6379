"""`python -m zoo list`: variants and presets."""

import inspect

import click

from zoo.presets import list_presets
from zoo.variants import VARIANTS


@click.command("list")
def list_all():
    """List variants, and presets with what was measured of them."""
    click.echo("Variants (python -m zoo train VARIANT):")
    for name, variant in VARIANTS.items():
        module = inspect.getmodule(variant)
        click.echo(f"  {name:<10} {inspect.getdoc(module).splitlines()[0]}")
    click.echo("\nPresets (zoo.from_preset, python -m zoo sample PRESET):")
    for name, metadata in list_presets().items():
        if metadata["trained"]:
            measured = ", ".join(
                f"{key} {value}" for key, value in metadata.get("measured", {}).items()
            )
            click.echo(f"  {name:<28} {metadata['class']}  {measured}")
        else:
            click.echo(f"  {name:<28} recipe only: {metadata['description']}")
