"""What a process knows besides weights: random generators, running statistics, unused gradients."""

from __future__ import annotations

import random

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import distributed, nn

from ..processes.launch import control_group
from ..processes.sharding import own_share, with_share


def gathered_state(model: nn.Module, optim_wrapper: OptimWrapper) -> list[dict]:
    """The state of every process, in the order of their ranks, for process 0; all must ask.

    Each is plain data and tensors, which `torch.load` reads with `weights_only`.
    """
    state = {'generators': _generators(), 'gradients': _gradients(model, optim_wrapper)}
    group = control_group()
    if group is None:
        return [state]
    state['buffers'] = {name: buffer.cpu() for name, buffer in saved_buffers(model).items()}
    states = [None] * distributed.get_world_size(group) if is_main_process() else None
    distributed.gather_object(state, states, dst=0, group=group)
    if not states:
        return []
    # Those of process 0 are in the checkpoint's weights.
    shared = states[0].pop('buffers')
    for other in states[1:]:
        other['buffers'] = {
            name: buffer
            for name, buffer in other['buffers'].items()
            if not torch.equal(buffer, shared[name])
        }
    return states


def restore_state(state: dict, model: nn.Module) -> None:
    """Put a state back; the next random number and the next step are those that would have been."""
    generators = state['generators']
    version, numbers, gauss = generators['python']
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = generators['numpy']
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(generators['torch'].cpu())
    if 'cuda' in generators and torch.cuda.is_available():
        torch.cuda.set_rng_state(generators['cuda'].cpu())
    buffers = saved_buffers(model)
    for name, buffer in state.get('buffers', {}).items():
        buffers[name].copy_(buffer)
    parameters = dict(model.named_parameters())
    for name, gradient in state['gradients'].items():
        parameters[name].grad = with_share(gradient, parameters[name])


def saved_buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """What a checkpoint holds besides parameters, running statistics above all."""
    saved = model.state_dict(keep_vars=True)
    return {name: buffer for name, buffer in model.named_buffers() if name in saved}


def _generators() -> dict:
    version, numbers, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()
    generators = {
        'python': [version, list(numbers), gauss],
        'numpy': [kind, torch.from_numpy(keys.astype(np.int64)), *rest],
        'torch': torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        generators['cuda'] = torch.cuda.get_rng_state()
    return generators


def _gradients(model: nn.Module, optim_wrapper: OptimWrapper) -> dict[str, torch.Tensor]:
    """Those of a step whose batches are still being added up: each process has its own."""
    if isinstance(optim_wrapper, OptimWrapperDict) or optim_wrapper.should_update():
        return {}
    return {
        name: own_share(parameter.grad).cpu()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
