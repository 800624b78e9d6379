"""Writes the papers' numbers into the documentation: `python packaging/tables.py`.

The tables of README.md and docs/reproduction.md stand between two comments each. They
are made from the results in docs/reproduction/, and a test compares them.
"""

import pathlib
import re

from zoo import reproduction

ROOT = pathlib.Path(__file__).parents[1]
START, END = "<!-- table -->\n", "\n<!-- end of table -->"


def write(page, table):
    """Puts a table in the place of the one that a page has."""
    parts = re.split(f"({START}|{END})", page.read_text())
    if parts[1::2] != [START, END]:
        raise ValueError(f"{page} has no {START.strip()} with {END.strip()} behind it.")
    parts[2] = table
    page.write_text("".join(parts))


def main():
    """Writes both tables."""
    results = reproduction.results_in(ROOT / "docs" / "reproduction")
    shorter = reproduction.table(results, reproduction.FEW_COLUMNS)
    write(ROOT / "README.md", shorter)
    write(ROOT / "docs" / "reproduction.md", reproduction.table(results))


if __name__ == "__main__":
    main()
