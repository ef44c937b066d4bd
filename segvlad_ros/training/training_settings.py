"""What a fine-tuning is, in numbers: those of the research code (segvlad-spec.md 14)."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingSettings:
    """All that changes the trained weights beside the images and the weights that it begins with.

    :ivar places, images: places of a batch, and images of each
    :ivar epochs: passes over all places
    :ivar side: width and height of a training image, pixels
    :ivar augmentations: operations of RandAugment on every image
    :ivar trained_blocks: last blocks of the backbone that are trained, with the final norm
    :ivar clusters: of NetVLAD
    :ivar learning_rate: of the first step; it falls linearly to ``last_share`` of it within ``falling_steps``
    :ivar weight_decay: of AdamW
    """

    places: int = 60
    images: int = 4
    epochs: int = 4
    side: int = 224
    augmentations: int = 3
    trained_blocks: int = 4
    clusters: int = 64
    learning_rate: float = 6e-5
    last_share: float = 0.2
    falling_steps: int = 4000
    weight_decay: float = 9.5e-9
    seed: int = 1

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        return self.learning_rate * (1 - (1 - self.last_share) * min(step / self.falling_steps, 1))
