"""Files that are written whole or not at all."""

import json


def write_text(path, text):
    """Writes a text file; what was there stays until all of it is on the disk.

    Args:
        path: `pathlib.Path` of the file.
        text: Its content, written as it is.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path, value):
    """Writes a JSON file likewise.

    Args:
        path: `pathlib.Path` of the file.
        value: What JSON can hold; no infinities, and nothing that is not a number.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
