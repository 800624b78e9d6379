"""Files that are written whole or not at all."""

import hashlib
import json
import os


def write_bytes(path, content):
    """Writes a file; what was there stays until all of it is on the disk.

    Args:
        path: `pathlib.Path` of the file.
        content: Bytes.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_bytes(content)
        flush(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def flush(path):
    """Waits until a file is on the disk.

    Args:
        path: `pathlib.Path` of the file.
    """
    # Windows flushes only what is open for writing.
    with open(path, "r+b") as file:
        os.fsync(file)


def write_json(path, value):
    """Writes a JSON file likewise.

    Args:
        path: `pathlib.Path` of the file.
        value: What JSON can hold; no infinities, and nothing that is not a number.
    """
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_bytes(path, text.encode())


def sha256_of(path):
    """Returns the SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
