"""Fashion-MNIST from Debian's package dataset-fashion-mnist, and handwritten digits as inputs the models never learned.

Images are float32 [n, 1, 28, 28] in [0, 1]; nothing is normalised outside the networks.

Who uses what:
  train images     0 .. 29999   training
  train images 50000 .. 59999   trusted: references and calibration
  test images      0 ..  9999   evaluation, triggered and adversarial inputs
"""
import gzip
import os

import numpy as np

FOLDER = os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist")
TRAINING = slice(0, 30000)
TRUSTED = slice(50000, 60000)


def _idx(name, header):
    with gzip.open(os.path.join(FOLDER, name)) as f:
        return np.frombuffer(f.read(), np.uint8, offset=header)


def load(split):
    """split: 'train' (60 000) or 'test' (10 000). Returns images and int64 labels."""
    prefix = {"train": "train", "test": "t10k"}[split]
    images = _idx(prefix + "-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    labels = _idx(prefix + "-labels-idx1-ubyte.gz", 8)
    return images.astype(np.float32) / 255, labels.astype(np.int64)


def digits():
    """1797 handwritten digits of scikit-learn, 8x8 upscaled bilinearly to 28x28."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    small = load_digits().images / 16
    return zoom(small, (1, 3.5, 3.5), order=1)[:, None].clip(0, 1).astype(np.float32)
