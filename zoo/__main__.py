"""The command line: `python -m zoo`."""

import click

from zoo.commands.errors import Group
from zoo.commands.evaluate import evaluate
from zoo.commands.explore import arithmetic, invert, neighbours, walk
from zoo.commands.latents import latents
from zoo.commands.listing import list_all
from zoo.commands.reproduce import reproduce
from zoo.commands.sample import sample
from zoo.commands.train import train
from zoo.commands.transfer import transfer
from zoo.commands.vary import vary


@click.group(cls=Group)
def main():
    """Train, look at and measure generative adversarial networks."""


main.add_command(list_all)
main.add_command(train)
main.add_command(sample)
main.add_command(evaluate)
main.add_command(reproduce)
main.add_command(transfer)
main.add_command(latents)
main.add_command(vary)
for command in (walk, arithmetic, neighbours, invert):
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="python -m zoo")
