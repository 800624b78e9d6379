"""The version of the package and of its client; both pyproject.toml read it here."""

__version__ = "0.1.0"
