"""Export of zoo models as SavedModels that TensorFlow Serving hosts."""

import zoo  # noqa: F401  (First, for it silences TensorFlow before it is imported.)
from export.saved_model import to_saved_model
from export.signatures import Signature, signatures_of

__all__ = ["Signature", "signatures_of", "to_saved_model"]
