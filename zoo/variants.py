"""The variants of the zoo by their names on the command line and in recipes."""

from zoo.aae import AAE
from zoo.cgan import CGAN
from zoo.classifier import Classifier
from zoo.dann import DANN
from zoo.dcgan import DCGAN
from zoo.dtn import DTN
from zoo.gan import GAN
from zoo.infogan import InfoGAN
from zoo.semi_supervised_gan import SemiSupervisedGAN
from zoo.vae import VAE

VARIANTS = {
    "gan": GAN,
    "dcgan": DCGAN,
    "classifier": Classifier,
    "dann": DANN,
    "dtn": DTN,
    "cgan": CGAN,
    "infogan": InfoGAN,
    "semi_supervised_gan": SemiSupervisedGAN,
    "aae": AAE,
    "vae": VAE,
}
