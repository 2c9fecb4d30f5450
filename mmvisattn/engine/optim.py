"""What builds and runs the optimizer: learning rates of the backbone, bf16 on any device."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from importlib import import_module

import torch
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.runner.amp import autocast
from mmengine.utils.dl_utils import mmcv_full_available
from torch import Tensor, nn
from torch.autograd import Function

from ..errors import UserError
from ..registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class BackboneLrOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, with one factor for the learning rates of the backbone.

    As a custom key `backbone` it would be the only rule for these parameters: `norm_decay_mult`
    would not count for them. Everything of `paramwise_cfg` means what it means in MMEngine.

    Args:
        optim_wrapper_cfg: The wrapper and its optimizer, which states `lr`.
        paramwise_cfg: MMEngine's options and `backbone_lr_mult`, by default 1.

    Raises:
        UserError: An optimizer without `lr`.
    """

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: object
    ) -> None:
        """Append a group for each parameter of `module` to `params`."""
        super().add_params(params, module, prefix=prefix, **kwargs)
        if not prefix:  # MMEngine calls this for every module; the whole model comes last
            names = {id(parameter): name for name, parameter in module.named_parameters()}
            self._scale(module, [(names[id(group['params'][0])], group) for group in params])

    def _scale(self, model: nn.Module, groups: list[tuple[str, dict]]) -> None:
        """Change the rates of groups, each with the name of its one parameter."""
        factor = self.paramwise_cfg.get('backbone_lr_mult', 1.0)
        if self.base_lr is None:
            raise UserError('paramwise_cfg scales learning rates, and the optimizer states no lr')
        for name, group in groups:
            part, _, _ = name.partition('.')
            group['lr'] = group.get('lr', self.base_lr) * (factor if part == 'backbone' else 1.0)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(BackboneLrOptimWrapperConstructor):
    """MMEngine's constructor, with learning rates that decay towards the backbone's input.

    The rate of a parameter is multiplied by `layer_decay_rate ** (num_layers - 1 - depth)`, as
    mmpretrain's `LearningRateDecayOptimWrapperConstructor` does it (introduced for vision by BEiT,
    arXiv:2106.08254); what is not the backbone's keeps its rate. Everything else of `paramwise_cfg`
    means what it means without the decay, `lr_mult` included.

    Args:
        optim_wrapper_cfg: The wrapper and its optimizer, which states `lr`.
        paramwise_cfg: MMEngine's options, `backbone_lr_mult`, and `layer_decay_rate`, above 0 and
            at most 1.

    Raises:
        UserError: Another rate, an optimizer without `lr`, or a backbone that does not know the
            depths of its layers.
    """

    def _scale(self, model: nn.Module, groups: list[tuple[str, dict]]) -> None:
        rate = checked_rate(self.paramwise_cfg.get('layer_decay_rate'))
        super()._scale(model, groups)
        for name, group in groups:
            group['lr'] *= rate ** _layers_below_head(model, name)
        rates = [group['lr'] for _, group in groups]
        print_log(
            f'Layer-wise decay {rate:g}: learning rates {min(rates):.3g} to {max(rates):.3g}.',
            logger='current',
        )


def checked_rate(rate: object) -> float:
    """`rate`, if learning rates can decay by it.

    Raises:
        UserError: It is no number above 0 and at most 1.
    """
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate <= 1:
        raise UserError(
            'layer_decay_rate multiplies the learning rate once for each layer below the head',
            expected='a number above 0 and at most 1, such as 0.9',
            got=repr(rate),
        )
    return rate


@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """Trains in bfloat16 where PyTorch's autocast does so, on GPU or CPU.

    bfloat16 has float32's range, so that nothing scales the loss (MMEngine's `AmpOptimWrapper`
    does, and refuses to run without a GPU).
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        if mmcv_full_available():
            lend_mmcv_float32()

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward pass; without synchronisation while gradients accumulate."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield


@cache
def lend_mmcv_float32() -> None:
    """Let mmcv's compiled operators, which know no bfloat16, compute in float32 and return it."""
    import_module('mmcv.ops')
    for module in [module for name, module in sys.modules.items() if name.startswith('mmcv.ops.')]:
        for operator in vars(module).values():
            own = inspect.isclass(operator) and operator.__module__ == module.__name__
            if own and issubclass(operator, Function):
                operator.forward = staticmethod(_in_float32(operator.forward))
                operator.backward = staticmethod(_in_float32(operator.backward))


def _in_float32(function: Callable) -> Callable:
    """A method of an autograd function that takes bfloat16, too, and gives it back."""

    @wraps(function)
    def wider(ctx: object, *args: object) -> object:
        if not any(_is_bf16(arg) for arg in args):
            return function(ctx, *args)
        outputs = function(ctx, *(arg.float() if _is_bf16(arg) else arg for arg in args))
        if isinstance(outputs, tuple):
            return tuple(_narrowed(output) for output in outputs)
        return _narrowed(outputs)

    return wider


def _is_bf16(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16


def _narrowed(value: object) -> object:
    floating = isinstance(value, Tensor) and value.dtype == torch.float32
    return value.bfloat16() if floating else value


def _layers_below_head(model: nn.Module, name: str) -> int:
    """How many layers a parameter lies below the head: 0 for the head's own."""
    backbone = getattr(model, 'backbone', None)
    try:
        depth, num_layers = backbone.get_layer_depth(name, prefix='backbone.')
    except (AttributeError, NotImplementedError) as error:
        raise UserError(
            'layer_decay_rate: the network does not tell the depths of its layers',
            expected="a backbone with get_layer_depth: ours, or mmpretrain's such as "
            'mmpretrain.SwinTransformer and mmpretrain.ConvNeXt',
            got=f'{type(model).__name__} with {type(backbone).__name__}',
        ) from error
    return num_layers - 1 - depth
