"""Export of zoo models as SavedModels that TensorFlow Serving hosts."""
