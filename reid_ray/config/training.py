"""Settings of one training run: the paper's protocol as defaults (arXiv 2311.09118, section 4)."""

import re
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from reid_ray.config.base import Config

Backbone = Annotated[str, Field(min_length=1, description="any timm model name")]


TripletDistance = Literal["l2_squared", "l2"]


class ArcFace(Config):
    """Additive angular margin loss (Deng et al. 2019)."""

    name: Literal["arcface"]
    margin_rad: Annotated[float, Field(ge=0, lt=1.5708)]
    scale: PositiveFloat


class Triplet(Config):
    """Triplet margin loss on mined triplets of the global batch."""

    name: Literal["triplet"]
    mining: Literal["all", "semi", "hard"]
    margin: PositiveFloat
    distance: TripletDistance = "l2_squared"
    """Between unit vectors, in mining and loss: squared as in the authors' wildlife-tools, or plain."""


Loss = Annotated[ArcFace | Triplet, Field(discriminator="name")]


class Augment(Config):
    """RandomResizedCrop and RandAugment, without a flip: a flip would swap an animal's flanks."""

    crop_scale_min: Annotated[float, Field(gt=0, le=1)] = 0.8
    ops: NonNegativeInt = 2
    magnitude: Annotated[int, Field(ge=0, le=30)] = 20


class Training(Config):
    """What all trials of a study share."""

    weights: str | dict[Backbone, str] = "auto"
    """`auto`: timm's pretrained weights if they can be had, else random (said in the run); `random`; a file
    of weights or a timm folder; or an `hf-hub:` id. Or a map of backbones to these; one that is not in it is
    `auto`. What does not fit its backbone is refused before anything is run."""
    input_px: Annotated[int, Field(ge=32, le=1024)] = 224
    epochs: PositiveInt = 100
    batch_size: Annotated[int, Field(ge=2)] = 128
    """Global batch of one optimiser step, over all workers and accumulation steps."""
    accumulation: PositiveInt = 1
    """Parts of a batch that are passed through the model one after another, to save memory."""
    accumulate: Literal["mean", "sum"] = "mean"
    """`mean`: gradients are those of the whole batch; Triplet pays one more forward pass for it. `sum`: each
    part is a batch of its own, and their gradients are added, as in wildlife-tools' trainer of 2023: n parts
    then act like n times the learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    lr_floor: Annotated[float, Field(ge=0, le=1)] = 1e-3
    """Cosine schedule ends at lr times this."""
    sampler: Literal["auto", "shuffle", "identity_balanced"] = "auto"
    """`auto`: identity-balanced (P x K) for Triplet, plain shuffling for ArcFace."""
    photos_per_identity: Annotated[int, Field(ge=2)] = 4
    """K of the identity-balanced sampler."""
    batch_norm: Literal["batch", "kept"] = "batch"
    """What BatchNorm normalises by in training: the batch (the paper), or the statistics that pretrained
    weights came with. On few small photos a batch's own spoil what was learnt (reports/training.md)."""
    learn: str | None = None
    """Regular expression: the parameters of the backbone that learn are those in whose names it is found, all
    others stay as they came. `conv_head|bn2`: the last layers of an EfficientNet; `norm|bn`: normalisation
    alone. None: all learn. Where nothing is to learn, it is a pretrained model, among `baselines`."""
    frozen_epochs: NonNegativeInt = 0
    """First epochs in which the backbone stays as it came and only the class centres of the loss learn, so
    that random ones do not spoil it (Kumar et al. 2022)."""
    augment: Augment = Augment()
    validate_every: PositiveInt | Literal["auto"] = "auto"
    """Epochs between validations on the slice of the reference set; the last epoch always is. `auto`: as many
    as keep validation below a tenth of the training, counted in photos that pass the network."""
    select: Literal["last", "best"] = "last"
    """Which epoch's weights are kept: the last (the paper), or the best on the validation slice;
    without a slice the last."""
    patience: PositiveInt | None = None
    """Stop after so many validations without a better one; none: train all epochs (the paper)."""
    checkpoint_every_s: NonNegativeFloat = 30.0
    """Least time between two checkpoints, which a thread writes; longer where training waits for more than a
    twentieth of it, or the one before is under way; 0: after each epoch. The last epoch is always kept."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 autocast on GPUs that compute it (not V100, T4), else fp32."""
    compile: bool | Literal["auto"] = "auto"
    """`torch.compile` the backbone. `auto`: on a GPU where a few steps show that it is faster and the
    training is long enough for its minutes; never on a CPU, which needs a C++ compiler."""
    seed: NonNegativeInt = 0

    @field_validator("learn")
    @classmethod
    def _is_a_pattern(cls, learn: str | None) -> str | None:
        try:
            re.compile(learn or "")
        except re.error as error:
            raise ValueError(f"{learn!r} is not a regular expression ({error})") from None
        return learn

    def weights_of(self, backbone: str) -> str:
        """Where this backbone starts from."""
        if isinstance(self.weights, str):
            return self.weights
        return self.weights.get(backbone, "auto")


class Trial(Training):
    """One point of the grid."""

    weights: str = "auto"
    backbone: Backbone
    loss: Loss
    lr: PositiveFloat

    @property
    def balanced(self) -> bool:
        """Whether batches are drawn as P identities x K photos."""
        if self.sampler == "auto":
            return self.loss.name == "triplet"
        return self.sampler == "identity_balanced"

    @property
    def label(self) -> str:
        """A short readable name, unique within a grid."""
        if isinstance(self.loss, ArcFace):
            loss = f"ArcFace m={self.loss.margin_rad:g} s={self.loss.scale:g}"
        else:
            loss = f"Triplet {self.loss.mining} m={self.loss.margin:g}"
            if self.loss.distance != "l2_squared":
                loss += f" {self.loss.distance}"
        return f"{self.backbone} {loss} lr={self.lr:g}"
