"""VAN, CycleMLP and SASA as models of timm: `import mmvisattn.timm` registers them.

`timm.create_model('van_b2', features_only=True, out_indices=(0, 1, 2, 3))`, `num_classes`,
`pretrained`, `feature_info` and timm's own training script work. A classification checkpoint that
they write has the authors' parameter names, so that it loads into the backbones. CoAtNet is timm's
already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.nn import functional as F

from .backbones import NAMES, VAN, BaseBackbone, CycleMLP, SASAResNet
from .errors import UserError
from .weights import convert, state_dict_of
from .weights.zoo import PUBLISHED


class Classifier(BaseBackbone):
    """What timm asks of a model, over one of our backbones; its parameters keep their names.

    Args:
        arch: The backbone's architecture.
        num_classes: Classes of the head; 0 leaves it out.
        in_chans: Channels of the picture.
        global_pool: 'avg', or '' for maps (N, C, H, W) in place of vectors.
        drop_rate: Dropout before the head.
        drop_path_rate: Stochastic depth of the last block.
        kwargs: What else the backbone takes.
    """

    first_conv: str
    classifier = 'head'
    final_norm: float | None = None  # epsilon of the LayerNorm before the head, if there is one

    def __init__(
        self,
        arch: str,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        **kwargs: object,
    ) -> None:
        super().__init__(arch, in_channels=in_chans, drop_path_rate=drop_path_rate, **kwargs)
        self.num_features = self.head_hidden_size = self.out_channels[-1]
        self.drop_rate = drop_rate
        names = {id(module): name for name, module in self.named_modules()}
        sizes = zip(self.out_channels, self.out_strides, strict=True)
        self.feature_info = [
            dict(num_chs=channels, reduction=stride, module=names[id(self.stage_modules(i)[-1])])
            for i, (channels, stride) in enumerate(sizes)
        ]
        if self.final_norm is not None:
            self.norm = nn.LayerNorm(self.num_features, eps=self.final_norm)
        self.reset_classifier(num_classes, global_pool)
        self.grad_checkpointing = self.with_cp

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return getattr(self, self.classifier)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer."""
        if global_pool is not None:
            if global_pool not in ('avg', ''):
                raise UserError('no such global_pool', expected="'avg' or ''", got=global_pool)
            self.global_pool = global_pool
        self.num_classes = num_classes
        head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        if num_classes:
            nn.init.trunc_normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)
        setattr(self, self.classifier, head)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory."""
        self.with_cp = self.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Parameters without weight decay, besides vectors."""
        return set()

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """The depth of a parameter, for layer-wise learning rates; there are no coarser groups."""
        return lambda name: self.get_layer_depth(name)[0]

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages after the last that is asked for, and what only classifies."""
        taken, last = feature_take_indices(self.num_stages, indices)
        late = range(last + 1, self.num_stages)
        unused = {id(module) for stage in late for module in self.stage_modules(stage)}
        for parent in list(self.modules()):
            for name, child in reversed(list(parent.named_children())):
                if id(child) in unused:
                    delattr(parent, name)
        self.num_stages, self.out_indices = last + 1, tuple(range(last + 1))
        if prune_head:
            self.reset_classifier(0)
        if prune_norm or prune_head:
            self.final_norm = self.norm = None
        return taken

    def forward_features(self, x: Tensor) -> Tensor:
        """The last map (N, C, H / 32, W / 32), normalised where a norm precedes the head."""
        return self._normalised(super().forward(x)[-1])

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (N, num_classes) of the last map."""
        if self.global_pool == 'avg':
            x = F.dropout(x.mean((2, 3)), self.drop_rate, self.training)
        return x if pre_logits or not self.global_pool else self.get_classifier()(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of pictures (N, in_chans, H, W)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The maps of some stages, and the last one as `forward_features` gives it."""
        if output_fmt != 'NCHW' or norm:
            raise UserError(
                'timm asked for features that these networks do not have',
                expected="output_fmt='NCHW' and norm=False",
                got=f'output_fmt={output_fmt!r}, norm={norm}',
            )
        maps = super().forward(x)
        chosen = [maps[i] for i in feature_take_indices(self.num_stages, indices)[0]]
        return chosen if intermediates_only else (self._normalised(maps[-1]), chosen)

    def _normalised(self, x: Tensor) -> Tensor:
        if self.final_norm is None:
            return x
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class VANClassifier(Classifier, VAN):
    """VAN with its head; the LayerNorm that ends its last stage precedes it."""

    first_conv = 'patch_embed1.proj'


class CycleMLPClassifier(Classifier, CycleMLP):
    """CycleMLP with its LayerNorm and head."""

    first_conv = 'patch_embed.proj'
    final_norm = 1e-5

    def __init__(self, arch: str, **kwargs: object) -> None:
        super().__init__(arch, out_norm=False, **kwargs)


class SASAClassifier(Classifier, SASAResNet):
    """SASA with ResNet's head."""

    first_conv = 'conv1'
    classifier = 'fc'

    def __init__(self, arch: str, **kwargs: object) -> None:
        super().__init__(arch, **kwargs)
        self.zero_init_last()


CLASSIFIERS = {
    VAN: VANClassifier,
    CycleMLP: CycleMLPClassifier,
    SASAResNet: SASAClassifier,
}
MODELS = {name: entry for name, entry in NAMES.items() if entry[0] in CLASSIFIERS}


def _settings(name: str) -> dict:
    """What timm's data pipeline and loader need to know; training as in the papers at 224."""
    cls = CLASSIFIERS[MODELS[name][0]]
    published = PUBLISHED.get(f'{name}_in1k')
    return dict(
        url=published.urls[0] if published else '',
        num_classes=1000,
        input_size=(3, 224, 224),
        pool_size=(7, 7),
        crop_pct=0.9,
        interpolation='bicubic',
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        first_conv=cls.first_conv,
        classifier=cls.classifier,
        license='apache-2.0',
    )


# timm's registry finds the settings of a model by this name in the module of its function
default_cfgs = generate_default_cfgs({name: _settings(name) for name in MODELS})


def _in_our_names(checkpoint: dict, model: nn.Module) -> dict[str, Tensor]:
    """Published weights in whatever layout their mirror has them."""
    return convert(state_dict_of(checkpoint)).state_dict


def _register(name: str) -> None:
    network, arch = MODELS[name]

    def create(pretrained: bool = False, **kwargs: object) -> nn.Module:
        kwargs = {'arch': arch, **kwargs}
        features = dict(out_indices=(0, 1, 2, 3), feature_cls='getter')
        return build_model_with_cfg(
            CLASSIFIERS[network],
            name,
            pretrained,
            feature_cfg=features,
            pretrained_filter_fn=_in_our_names,
            **kwargs,
        )

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f'{network.__name__} {arch!r}.'
    register_model(create)


for _name in MODELS:
    _register(_name)
