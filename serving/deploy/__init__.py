"""Writes what a real TensorFlow Serving needs to host a folder of models."""

from serving.deploy.files import write

__all__ = ["write"]
