"""The DCGAN of `zoo.DCGAN((28, 28, 1))` in plain PyTorch, for comparison.

`python -m benchmarks.pytorch_dcgan FILTERS BATCH_SIZE` reads numbers of steps from
standard input, trains for so many, and answers with the generator's loss.
"""

import json
import sys

import torch
from torch import nn
from torch.nn import functional


def generator(latent_dim, filters):
    """Maps noise to images: 7×7, 14×14, 28×28, as our generator does."""
    return nn.Sequential(
        nn.Linear(latent_dim, 7 * 7 * 2 * filters, bias=False),
        nn.Unflatten(1, (2 * filters, 7, 7)),
        nn.BatchNorm2d(2 * filters),
        nn.ReLU(),
        nn.ConvTranspose2d(
            2 * filters, filters, 5, 2, padding=2, output_padding=1, bias=False
        ),
        nn.BatchNorm2d(filters),
        nn.ReLU(),
        nn.ConvTranspose2d(filters, 1, 5, 2, padding=2, output_padding=1),
        nn.Tanh(),
    )


def discriminator(filters):
    """Maps images to logits."""
    return nn.Sequential(
        nn.Conv2d(1, filters, 5, 2, padding=2),
        nn.LeakyReLU(0.2),
        nn.Conv2d(filters, 2 * filters, 5, 2, padding=2, bias=False),
        nn.BatchNorm2d(2 * filters),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(7 * 7 * 2 * filters, 1),
    )


class Trainer:
    """Alternate updates with Adam 2e-4, β1 0.5."""

    def __init__(self, filters, batch_size, latent_dim=100):
        torch.manual_seed(0)
        self.latents = (batch_size, latent_dim)
        self.generator = generator(latent_dim, 2 * filters)
        self.discriminator = discriminator(filters)
        self.optimizers = [
            torch.optim.Adam(network.parameters(), 2e-4, betas=(0.5, 0.999))
            for network in (self.generator, self.discriminator)
        ]
        self.images = torch.rand(batch_size, 1, 28, 28) * 2 - 1

    def step(self):
        """Runs one step and returns the generator's loss."""
        with torch.no_grad():
            fake = self.generator(torch.randn(self.latents))
        real_loss = functional.softplus(-self.discriminator(self.images)).mean()
        fake_loss = functional.softplus(self.discriminator(fake)).mean()
        self.optimizers[1].zero_grad()
        (real_loss + fake_loss).backward()
        self.optimizers[1].step()

        fake = self.generator(torch.randn(self.latents))
        loss = functional.softplus(-self.discriminator(fake)).mean()
        self.optimizers[0].zero_grad()
        gradients = torch.autograd.grad(loss, list(self.generator.parameters()))
        for parameter, gradient in zip(
            self.generator.parameters(), gradients, strict=True
        ):
            parameter.grad = gradient
        self.optimizers[0].step()
        return float(loss.detach())


def main(filters, batch_size):
    """Trains for as many steps as each line of standard input says."""
    trainer = Trainer(filters, batch_size)
    for line in sys.stdin:
        losses = [trainer.step() for _ in range(int(line))]
        print(json.dumps(losses[-1]), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
