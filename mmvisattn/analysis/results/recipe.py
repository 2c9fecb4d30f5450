"""What a record says of its recipe, compared with what its row asks for."""

from __future__ import annotations

import ast
from pathlib import Path

from ...engine.config import load_config
from ...errors import UserError
from ...places import CONFIGS
from .benchmarks import Row, options_of

# What of a config makes a recipe; the rest says where and how it is run.
SECTIONS = (
    'model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'optim_wrapper',
    'param_scheduler', 'train_cfg', 'val_evaluator', 'test_evaluator', 'custom_hooks',
)  # fmt: skip
# Of those sections: places, processes, and how numbers are kept.
NOT_RECIPE = {
    'data_root', 'ann_file', 'num_workers', 'persistent_workers', 'pin_memory',
    'fused', 'dtype', 'loss_scale', 'convert_weights',
}  # fmt: skip


def require_recipe(row: Row, record: dict, place: object) -> None:
    """Stop unless a training was that of a row as it stands in the configs now.

    Args:
        row: The row.
        record: Of a training.
        place: What to call it in the message.

    Raises:
        UserError: Another recipe, batch or start, in what.
    """
    config = _as_written(record['config']['text'])
    asked = load_config(CONFIGS / f'{row.config}.py', options_of(row)).to_dict()
    if row.start:  # which `--pretrained` says
        for cfg in (config, asked):
            cfg['model']['backbone'].pop('init_cfg', None)
    found, expected = (_recipe(cfg) for cfg in (config, asked))
    found['train_dataloader']['batch_size'] *= record['run']['world_size']
    data = Path(config['data_root']).name
    start = _start_of(record['run']['command'])
    fits = start == 'none' if row.start is None else f'{row.start}/' in start
    wrong = [] if fits else [f'--pretrained {start}']
    wrong += [] if data == row.data_set else [f'data set, {data}']
    wrong += [key for key in SECTIONS if found.get(key) != expected.get(key)]
    if wrong:
        raise UserError(
            f'{place} holds the record of another training than {row.name}',
            expected=f'{row.config} {" ".join(row.options)}, from {row.start or "random weights"}',
            got=f'another {", ".join(wrong)}',
            do='train it again with tools/reproduce.py, or take its records away',
        )


def _start_of(command: list[str]) -> str:
    place = command.index('--pretrained') if '--pretrained' in command else -1
    return command[place + 1] if place >= 0 else 'as the config says'


def _recipe(cfg: dict) -> dict:
    recipe = {key: _plain(cfg[key]) for key in SECTIONS if cfg.get(key) is not None}
    recipe['optim_wrapper'].pop('type', None)  # of mixed precision, or not
    return recipe


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k not in NOT_RECIPE}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


class _Dicts(ast.NodeTransformer):
    """dict(a=1) and dict({'a': 1}) as {'a': 1}; no other call is one of data."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict':
            return node
        if node.args:
            return node.args[0] if len(node.args) == 1 and not node.keywords else node
        keys = [ast.Constant(keyword.arg) for keyword in node.keywords]
        return ast.Dict(keys, [keyword.value for keyword in node.keywords])


def _as_written(text: str) -> dict:
    """The resolved config in a record, which is read and not run.

    Raises:
        UserError: There is more than data in it.
    """
    try:
        assignments = ast.parse(text).body
        return {
            node.targets[0].id: ast.literal_eval(_Dicts().visit(node.value)) for node in assignments
        }
    except (AttributeError, SyntaxError, ValueError) as error:
        raise UserError(
            'the config of a record holds more than data', got=f'{type(error).__name__}: {error}'
        ) from error
