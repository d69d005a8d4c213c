"""Scores of whole images with values in [0, 1]. They are not defined where a cell is missing.

Axes: ``B`` windows, ``L`` lead times, ``C`` variables, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stkit.errors import UsageError
from stkit.evaluate.metric import Array, Comparison, Metric, ratio

_SSIM_WINDOW = 11


class _ImageScore(Metric):
    """Mean over the complete frames of a score of one frame."""

    better: Literal["higher", "lower"] = "higher"
    statistics = 2
    smallest_side = 1

    @abstractmethod
    def of_frames(self, forecast: Tensor, truth: Tensor) -> Tensor:
        """Score of each frame, ``N``, from ``N 1 H W``."""

    def sums(self, comparison: Comparison) -> Array:
        batch, leads, variables, height, width = comparison.truth.shape
        complete = _complete(comparison)
        if min(height, width) < self.smallest_side or not complete.any():
            return np.zeros((batch, 2, leads, variables))
        values = np.zeros((batch, leads, variables))
        # In float32, as the data are: convolutions in float64 take many times as long and change no digit that counts.
        forecast, truth = (
            torch.from_numpy(fields[complete].astype(np.float32))[:, None]
            for fields in (comparison.forecast, comparison.truth)
        )
        values[complete] = self.of_frames(forecast, truth).numpy()
        return np.stack([values, complete.astype(np.float64)], axis=1)

    def score(self, sums: Array) -> Array:
        return ratio(sums[0], sums[1])


class StructuralSimilarity(_ImageScore):
    """Structural similarity (Wang et al. 2004). Other ranges and windows give other numbers for the same images."""

    label = "SSIM (range 1)"
    convention = (
        "structural similarity for a data range of 1 (Gaussian window 11 x 11, sigma 1.5), mean over frames; "
        "the forecast is not clipped; only for values in [0, 1] without missing cells"
    )
    unit = "1"
    bounds = (-1.0, 1.0)
    smallest_side = _SSIM_WINDOW

    def of_frames(self, forecast: Tensor, truth: Tensor) -> Tensor:
        """Similarity of each frame, ``N``, from ``N 1 H W``."""
        from torchmetrics.functional.image import structural_similarity_index_measure

        result = structural_similarity_index_measure(
            forecast, truth, sigma=1.5, kernel_size=_SSIM_WINDOW, data_range=1.0, reduction="none"
        )
        assert isinstance(result, Tensor)
        return result.reshape(len(forecast))


class _UniformSimilarity(_ImageScore):
    """Structural similarity with the square window of scikit-image, 7 x 7 cells, all of one weight."""

    unit = "1"
    bounds = (-1.0, 1.0)
    smallest_side = 7
    data_range: float

    def of_frames(self, forecast: Tensor, truth: Tensor) -> Tensor:
        """Similarity of each frame, ``N``, from ``N 1 H W``."""
        return _uniform_similarity(forecast.double(), truth.double(), self.data_range)


class StructuralSimilarityUint8(_UniformSimilarity):
    """As PredRNN and PredRNN++ computed it: both images clipped to [0, 1] and cut to whole numbers of 255."""

    label = "SSIM (uint8)"
    convention = (
        "structural similarity of 8-bit images, as the PredRNN authors have it: both clipped to [0, 1], times 255, "
        "cut to whole numbers; uniform window 7 x 7, mean over frames; only for values in [0, 1] without missing cells"
    )
    data_range = 255.0

    def of_frames(self, forecast: Tensor, truth: Tensor) -> Tensor:
        """Similarity of each frame, ``N``, from ``N 1 H W``."""
        return super().of_frames(*((image.clamp(0, 1) * 255).floor() for image in (forecast, truth)))


class StructuralSimilarityFloat2(_UniformSimilarity):
    """As MIM computed it: scikit-image took numbers of floating point to have a range of 2, which flatters."""

    label = "SSIM (range 2)"
    convention = (
        "structural similarity for a data range of 2, which older versions of scikit-image assumed and MIM's tables "
        "have; it flatters; uniform window 7 x 7, mean over frames; only for values in [0, 1] without missing cells"
    )
    data_range = 2.0


class PeakSignalToNoise(_ImageScore):
    """Peak signal-to-noise ratio. A perfect frame has an infinite one."""

    label = "PSNR (range 1)"
    convention = (
        "peak signal-to-noise ratio for a data range of 1, of each frame, mean over frames; "
        "the forecast is not clipped; only for values in [0, 1] without missing cells"
    )
    unit = "dB"

    def of_frames(self, forecast: Tensor, truth: Tensor) -> Tensor:
        """Decibels of each frame, ``N``, from ``N 1 H W``."""
        from torchmetrics.functional.image import peak_signal_noise_ratio

        return peak_signal_noise_ratio(forecast, truth, data_range=1.0, reduction="none", dim=(1, 2, 3))


class PerceptualSimilarity(_ImageScore):
    """LPIPS (Zhang et al. 2018): the distance of two images in the features of a trained network.

    Raises:
        UsageError: the network's weights are not on this machine and cannot be downloaded.
    """

    label = "LPIPS (AlexNet)"
    convention = (
        "learned perceptual image patch similarity by AlexNet (Zhang et al. 2018), each variable as a grey image in "
        "[0, 1], mean over frames; the forecast is clipped; only for values in [0, 1] without missing cells"
    )
    better = "lower"
    unit = "1"
    bounds = (0.0, math.inf)
    smallest_side = 32

    def __init__(self) -> None:
        nothing = torch.zeros(1, 1, self.smallest_side, self.smallest_side)
        try:
            self.of_frames(nothing, nothing)
        except OSError as error:
            folder = Path(torch.hub.get_dir()) / "checkpoints"
            raise UsageError(
                "evaluate.metrics: lpips_alex needs the weights of AlexNet (alexnet-owt-7be5be79.pth, 233 MB), which "
                f"torchvision downloads at the first use, and they cannot be had: {error}. Put the file into {folder}, "
                "or leave the score out"
            ) from error

    def of_frames(self, forecast: Tensor, truth: Tensor) -> Tensor:
        """Distance of each frame, ``N``, from ``N 1 H W``."""
        from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

        said, true = (image.clamp(0, 1).expand(-1, 3, -1, -1) for image in (forecast, truth))
        found = learned_perceptual_image_patch_similarity(said, true, net_type="alex", normalize=True, reduction="none")
        return found.detach().reshape(len(forecast))


def _uniform_similarity(one: Tensor, other: Tensor, data_range: float, side: int = 7) -> Tensor:
    """Wang et al. (2004) with a uniform window and sample covariances, mean over the windows that lie in the image."""

    def mean(image: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(image, side, stride=1)

    sample = side**2 / (side**2 - 1)
    first, second = mean(one), mean(other)
    variance = sample * (mean(one * one) - first * first)
    others = sample * (mean(other * other) - second * second)
    covariance = sample * (mean(one * other) - first * second)
    small, smaller = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    top = (2 * first * second + small) * (2 * covariance + smaller)
    bottom = (first * first + second * second + small) * (variance + others + smaller)
    return (top / bottom).mean((1, 2, 3))


def _complete(comparison: Comparison) -> NDArray[np.bool_]:
    """Frames ``B L C`` where every cell is counted and the truth lies in [0, 1]."""
    truth = np.where(comparison.counted, comparison.truth, 0.0)
    usable = comparison.counted & (truth >= 0.0) & (truth <= 1.0)
    return np.asarray(usable.all(axis=(3, 4)))
