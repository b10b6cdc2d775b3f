"""Random numbers, colours, textures and camera effects, batched, from one generator on one device."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


class Draw:
    """Random numbers and fields from one generator, on one device.

    Letters: B pictures, R side of a picture in pixels. Numbers come in the ``shape`` that is asked for.
    """

    def __init__(self, generator: torch.Generator, device: torch.device) -> None:
        self.generator = generator
        self.device = device

    def uniform(self, shape: tuple[int, ...], low: float, high: float) -> Float[Tensor, "*shape"]:
        """Evenly from ``low`` to ``high``."""
        return torch.rand(shape, generator=self.generator, device=self.device) * (high - low) + low

    def log_uniform(self, shape: tuple[int, ...], low: float, high: float) -> Float[Tensor, "*shape"]:
        """From ``low`` to ``high``, every doubling as likely; both above 0."""
        return self.uniform(shape, math.log(low), math.log(high)).exp()

    def normal(self, shape: tuple[int, ...]) -> Float[Tensor, "*shape"]:
        """Mean 0, deviation 1."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def chance(self, shape: tuple[int, ...], probability: float) -> Bool[Tensor, "*shape"]:
        """True so often."""
        return torch.rand(shape, generator=self.generator, device=self.device) < probability

    def integer(self, shape: tuple[int, ...], below: int) -> Int[Tensor, "*shape"]:
        """0 to ``below`` − 1."""
        return torch.randint(below, shape, generator=self.generator, device=self.device)

    def colours(self, shape: tuple[int, int], vivid: Float[Tensor, "*broadcast"]) -> Float[Tensor, "b n 3"]:
        """RGB in [0, 1], (B, N, 3), from grey (vivid 0) to any colour (vivid 1)."""
        grey = self.uniform((*shape, 1), 0.02, 0.98)
        return torch.lerp(
            grey.expand(*shape, 3), self.uniform((*shape, 3), 0, 1), vivid * self.uniform((*shape, 1), 0.3, 1)
        )

    def smooth_noise(self, shape: tuple[int, int], size: int) -> Float[Tensor, "b n {size} {size}"]:
        """(B, N, R, R) of slow random waves, standard deviation about 1; ``shape`` is (B, N), ``size`` R."""
        coarse = self.normal((*shape, 6, 6))
        fine = self.normal((*shape, 14, 14)) * 0.35
        return sum(F.interpolate(n, (size, size), mode="bicubic", align_corners=True) for n in (coarse, fine))

    def textures(self, batch: int, kinds: int, size: int) -> Float[Tensor, "{batch} {kinds} {size} {size}"]:
        """(B, kinds, R, R) random fields around 0: power-law noise, some of it banded or directed.

        Their deviation is 1, but for a quarter, which is tanh of three times such a field: about 0.86.
        """
        frequency = torch.fft.fftfreq(size, device=self.device)
        fy, fx = torch.meshgrid(frequency, torch.fft.rfftfreq(size, device=self.device), indexing="ij")
        angle = self.uniform((batch, kinds, 1, 1), 0, math.pi)
        along, across = angle.cos() * fx + angle.sin() * fy, angle.cos() * fy - angle.sin() * fx
        stretch = self.log_uniform((batch, kinds, 1, 1), 1, 8) ** self.chance((batch, kinds, 1, 1), 0.5)
        f = (along**2 + (across * stretch) ** 2 / stretch).sqrt().clamp(min=1 / size)
        power = f ** -self.uniform((batch, kinds, 1, 1), 0.3, 1.8)
        centre = self.log_uniform((batch, kinds, 1, 1), 0.06, 0.4)
        band = (-((f / centre).log() ** 2) / self.uniform((batch, kinds, 1, 1), 0.02, 0.5)).exp()
        gain = torch.where(self.chance((batch, kinds, 1, 1), 0.5), band, power)
        gain[..., 0, 0] = 0
        noise = torch.fft.rfft2(self.normal((batch, kinds, size, size)))
        field = torch.fft.irfft2(noise * gain, s=(size, size))
        field = field / (field.std((-1, -2), keepdim=True) + 1e-6)
        crisp = self.chance((batch, kinds, 1, 1), 0.25)  # tiles and spots instead of waves
        return torch.where(crisp, torch.tanh(3 * field), field)

    def blur(self, images: Float[Tensor, "b 3 r r"]) -> Float[Tensor, "b 3 r r"]:
        """Blend (B, 3, R, R) with a 3×3 and, for some, a wider binomial blur; all colours of a picture alike."""
        weights = torch.tensor([0.25, 0.5, 0.25], device=self.device)
        kernel = (weights[:, None] * weights).expand(3, 1, 3, 3)
        batch = len(images)
        soft = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
        softer = F.conv2d(F.pad(soft, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
        blurred = torch.where(self.chance((batch, 1, 1, 1), 0.15), softer, soft)
        return torch.lerp(images, blurred, self.uniform((batch, 1, 1, 1), 0, 0.8))

    def tone(self, images: Float[Tensor, "b 3 r r"]) -> Float[Tensor, "b 3 r r"]:
        """(B, 3, R, R) in [0, 1] → the same with a photo's range: brightness and contrast as cameras give them, a
        colour cast; one in ten is grey."""
        batch = len(images)
        mean, spread = images.mean((1, 2, 3), keepdim=True), images.std((1, 2, 3), keepdim=True)
        contrast, level = self.uniform((batch, 1, 1, 1), 0.1, 0.3), self.uniform((batch, 1, 1, 1), 0.3, 0.65)
        images = (images - mean) / (spread + 1e-3) * contrast + level
        images = images.clamp(0, 1) ** self.log_uniform((batch, 1, 1, 1), 0.75, 1.33)
        images = images * self.uniform((batch, 3, 1, 1), 0.85, 1.15)
        grey = images.mean(1, keepdim=True).expand_as(images)
        return torch.where(self.chance((batch, 1, 1, 1), 0.1), grey, images).clamp(0, 1)
