"""Files that are written whole or not at all."""

import json


def write_bytes(path, content):
    """Writes a file; what was there stays until all of it is on the disk.

    Args:
        path: `pathlib.Path` of the file.
        content: Bytes.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path, value):
    """Writes a JSON file likewise.

    Args:
        path: `pathlib.Path` of the file.
        value: What JSON can hold; no infinities, and nothing that is not a number.
    """
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_bytes(path, text.encode())
