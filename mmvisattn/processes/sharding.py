"""Fully sharded training (FSDP): each process keeps its share of weights, gradients and averages.

PyTorch's FSDP2 (`fully_shard`) does the work, in place: a block of the backbone is gathered when it
is computed and given up after it; the rest of the network (stem, norms, neck, heads) is gathered
once a step. Outside of a step every parameter is a DTensor that holds a share of it. MMEngine's
FSDP strategy belongs to another runner, writes other checkpoints and wraps in FSDP1, which PyTorch
deprecates.

Checkpoints do not change: files hold whole tensors under the names that they have without sharding,
so that any number of processes, sharded or not, goes on from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseAveragedModel, convert_sync_batchnorm
from mmengine.optim import OptimWrapper
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from ..errors import UserError


def ready_to_shard(model: nn.Module, sync_bn: str | None) -> nn.Module:
    """A network as `Sharding` takes it: BatchNorm as the config has it, nothing that cannot be cut.

    Args:
        model: The network.
        sync_bn: 'torch' or 'mmcv' makes every BatchNorm one that sees all processes.

    Raises:
        UserError: A parameter without dimensions, or a PyTorch that cannot gather for validation.
    """
    if not hasattr(FSDPModule, 'set_reshard_after_forward'):
        raise UserError('--fsdp needs PyTorch 2.8', got=torch.__version__)
    if sync_bn is not None:
        model = convert_sync_batchnorm(model, sync_bn)
    scalars = [name for name, parameter in model.named_parameters() if not parameter.dim()]
    if scalars:
        raise UserError(
            '--fsdp cuts each parameter along its first dimension, and some here have none',
            got=', '.join(scalars[:4]) + ', ...' * (len(scalars) > 4),
            do='leave --fsdp out: these heads (ATSS, GFL, FCOS) train with whole weights',
        )
    return model


def blocks_of(backbone: nn.Module | None) -> list[nn.Module]:
    """The blocks of a backbone of ours; those of others are not known, and none are returned."""
    if not hasattr(backbone, 'stage_parts'):
        return []
    return [block for i in range(backbone.num_stages) for block in backbone.stage_parts(i)[1]]


class Sharding:
    """The sharded parts of a run.

    Building it cuts them, in place, on every process at the same time: the network, whose weights
    are what they shall be and the same on all processes, the parameters that the optimizer holds,
    and averages of the weights.

    Args:
        model: The network, on the device that it is trained on, with whole parameters.
        blocks: Parts of it, called as modules, that are gathered one at a time.
        optim_wrapper: Holds the optimizer, which has not stepped yet.
        averages: Averages of the model's weights, of the same structure.

    Attributes:
        hooks: What a runner must call: they keep the network whole during a validation, so that
            processes may then look at different numbers of pictures, or cut them differently.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[nn.Module],
        optim_wrapper: OptimWrapper,
        averages: Sequence[BaseAveragedModel] = (),
    ) -> None:
        self.model = model
        self.optimizer = optim_wrapper.optimizer
        self.num_parameters = sum(p.numel() for p in model.parameters())
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        device = next(model.parameters()).device.type
        mesh = init_device_mesh(device, (distributed.get_world_size(),))
        for module in (*blocks, model):
            fully_shard(module, mesh=mesh)

        shares = dict(model.named_parameters())
        for group in self.optimizer.param_groups:
            group['params'] = [shares[names[id(parameter)]] for parameter in group['params']]
        if getattr(optim_wrapper, 'grad_name', None) == 'grad_norm':
            optim_wrapper.clip_func = _clip_grad_norm
        self.optimizer.register_load_state_dict_pre_hook(_cut_optimizer_state)
        for average in averages:
            _cut_average(average, shares)
        model.register_forward_pre_hook(_drop_cast_weights)
        self._networks = [model, *(average.module for average in averages)]
        for network in self._networks:
            network.register_load_state_dict_pre_hook(_cut_weights)
        self.hooks: list[Hook] = [_GatherForValidation(model), _CutAfterValidation(model)]

    @property
    def num_own_parameters(self) -> int:
        """How many of `num_parameters` this process keeps between steps."""
        return sum(own_share(p).numel() for p in self.model.parameters())

    @contextmanager
    def whole_states(self, with_optimizer: bool = True) -> Iterator[None]:
        """Inside, `state_dict` of network, averages and optimizer holds whole tensors.

        All processes must enter: they gather then, tensor by tensor. Process 0 alone keeps the
        whole ones, in the computer's memory, and inside it communicates no more.

        Args:
            with_optimizer: Whether the optimizer's state is asked for, too.
        """
        gathered = [(network, _gather(network.state_dict())) for network in self._networks]
        optimizer_state = _gather(self.optimizer.state_dict()) if with_optimizer else None
        with ExitStack() as stack:
            if distributed.get_rank() == 0:
                for network, state in gathered:
                    hook = network.register_state_dict_post_hook(partial(_put_whole, state))
                    stack.callback(hook.remove)
                if with_optimizer:
                    hook = self.optimizer.register_state_dict_post_hook(
                        lambda optimizer, state: {**state, **optimizer_state}
                    )
                    stack.callback(hook.remove)
            yield


def _drop_cast_weights(model: nn.Module, inputs: object) -> None:
    """Let autocast, until it ends, keep no cast copy of each weight: all together are the network.

    Leaving autocast restores the setting.
    """
    if torch.is_autocast_enabled(next(model.parameters()).device.type):
        torch.set_autocast_cache_enabled(False)


def own_share(tensor: Tensor) -> Tensor:
    """What this process keeps of a tensor: all of it, where nothing is cut."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def with_share(share: Tensor, like: Tensor) -> Tensor:
    """A tensor such as `like`, of which this process keeps `share`.

    Raises:
        UserError: The share was cut in another way.
    """
    own = own_share(like)
    if share.shape != own.shape:
        raise UserError(
            'the gradients of an unfinished step belong to the run as it was cut',
            expected=f'shares of {tuple(own.shape)}',
            got=f'shares of {tuple(share.shape)}',
            do='resume with or without --fsdp as before, or from a checkpoint between two steps',
        )
    share = share.to(own)
    if not isinstance(like, DTensor):
        return share
    placed = like.device_mesh, like.placements
    return DTensor.from_local(share, *placed, shape=like.shape, stride=like.stride())


class _GatherForValidation(Hook):
    """Gathers the whole network once, after averaged weights have taken the trained ones' place."""

    priority = 'VERY_LOW'

    def __init__(self, model: nn.Module) -> None:
        self.units = [module for module in model.modules() if isinstance(module, FSDPModule)]

    def before_val_epoch(self, runner: object) -> None:
        for unit in self.units:
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()


class _CutAfterValidation(_GatherForValidation):
    """Gives the gathered weights up, before anything else reads or exchanges them."""

    priority = 'VERY_HIGH'

    def before_val_epoch(self, runner: object) -> None:
        pass

    def after_val_epoch(self, runner: object, metrics: dict | None = None) -> None:
        for unit in self.units:
            unit.reshard()
            unit.set_reshard_after_forward(True, recurse=False)


def _share(whole: Tensor, like: DTensor) -> DTensor:
    """This process's share of a tensor that every process holds, cut as `like` is.

    Cloned, lest it be a view that keeps the whole in memory.
    """
    share = distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)
    return share.clone()


def _gather(state: dict) -> dict:
    """The same with whole tensors, on process 0; with empty ones elsewhere."""
    keeps = distributed.get_rank() == 0

    def gathered(share: DTensor) -> Tensor:
        whole = share.full_tensor()
        return whole.cpu() if keeps else whole.new_empty(0)

    return tree_map_only(DTensor, gathered, state)


def _put_whole(whole: dict, network: nn.Module, state_dict: dict, prefix: str, _: dict) -> None:
    state_dict.update({prefix + name: tensor for name, tensor in whole.items()})


def _cut_weights(network: nn.Module, state_dict: dict, prefix: str, *_: object) -> None:
    """Let a network of shares load whole tensors."""
    for name, parameter in network.named_parameters(prefix=prefix.rstrip('.')):
        if isinstance(state_dict.get(name), Tensor) and not isinstance(state_dict[name], DTensor):
            state_dict[name] = _share(state_dict[name], parameter)


def _cut_optimizer_state(optimizer: Optimizer, state_dict: dict) -> dict:
    """Let an optimizer of shares load whole tensors: those that have a parameter's shape."""
    state = dict(state_dict['state'])
    groups = zip(state_dict['param_groups'], optimizer.param_groups, strict=True)
    for saved, group in groups:
        for index, parameter in zip(saved['params'], group['params'], strict=True):
            state[index] = {
                key: _share(value, parameter)
                if isinstance(value, Tensor) and value.shape == parameter.shape
                else value
                for key, value in state.get(index, {}).items()
            }
    return {**state_dict, 'state': state}


def _cut_average(average: BaseAveragedModel, shares: dict[str, DTensor]) -> None:
    """Keep the share of an average that belongs to the share of the weights."""
    for name, parameter in list(average.module.named_parameters()):
        owner, _, leaf = name.rpartition('.')
        share = nn.Parameter(_share(parameter.data, shares[name]), requires_grad=False)
        setattr(average.module.get_submodule(owner), leaf, share)
    average.avg_parameters = (
        average.module.state_dict()
        if average.update_buffers
        else dict(average.module.named_parameters())
    )


def _clip_grad_norm(parameters: Sequence[nn.Parameter], **kwargs: object) -> Tensor:
    """Clip by the norm over all processes' shares, and return it as a plain number's tensor."""
    norm = nn.utils.clip_grad_norm_(parameters, **kwargs)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
