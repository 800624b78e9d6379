"""GAN models for Keras 3: from a paper to a trained generator."""
