"""How images became the inputs of well-known checkpoints."""

from jgaprune.model import Preprocessing

IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Statistics of ImageNet, at whatever size the images have."""
IMAGENET_224 = Preprocessing(IMAGENET.mean, IMAGENET.std, resize=(224, 224))
"""As torchvision's checkpoints, but that images are shrunk as a whole, not cropped."""
CIFAR10 = Preprocessing(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))
"""Statistics of CIFAR-10 as kuangliu/pytorch-cifar has them."""
