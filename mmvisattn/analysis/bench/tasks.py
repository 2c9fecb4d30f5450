"""`train` and `infer`: whole segmentors and detectors of our configs, on embedded pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS
from torch import Tensor, nn

from ...datasets.demo import make_data
from ...deploy import fuse_for_inference
from ...engine.arguments import train_parser
from ...engine.compiling import compile_parts
from ...engine.config import load_config
from ...engine.spelling import is_ours
from ...engine.switches import apply_switches
from ..published import CONFIGS
from .backbones import RELEASED_ARCH, RELEASED_VAN, ours
from .measure import Bench, Contest, Peer
from .references import as_published
from .report import Report

BATCH = 2


@dataclass(frozen=True)
class Entrant:
    """A model in a contest.

    Attributes:
        name: What the table calls it.
        network: What its config is called after, such as 'van_b2'.
        backbone: Settings of a backbone in place of the config's.
        published: Whether our operators are computed as published.
        chosen: Whether it is ours, as a user gets it.
        switches: What a user types to train it so, such as '--amp bf16'.
        folded: Whether it is folded for inference.
    """

    name: str
    network: str
    backbone: dict | None = None
    published: bool = False
    chosen: bool = False
    switches: str = ''
    folded: bool = False


@dataclass(frozen=True)
class Task:
    """A framework and a data set.

    Attributes:
        title: Its name.
        config: Name of its configs, with {} for the network.
        layout: The embedded data.
        size: Height and width of the pictures.
        short: The same of a short benchmark.
    """

    title: str
    config: str
    layout: str
    size: tuple[int, int]
    short: tuple[int, int]


TASKS = (
    Task('UPerNet', 'upernet_{}_ade20k', 'ade20k', (512, 512), (128, 128)),
    Task('Mask R-CNN', 'mask_rcnn_{}_coco', 'coco', (800, 1344), (192, 192)),
)


def contestants(short: bool, training: bool) -> Iterator[tuple[str, Sequence[Entrant]]]:
    """Entrants that are compared with the first of them, and what they are called together.

    Compiling takes too long for a short benchmark.
    """
    released = RELEASED_VAN | dict(arch=RELEASED_ARCH['b2'])
    switches = ['--amp bf16'] * training + ['--compile'] * (not short)
    yield (
        'VAN',
        [
            Entrant('van_b2 of mmpretrain', 'van_b2', backbone=released),
            Entrant('swin_t of mmdet', 'swin_t'),
            *([] if short else [Entrant('convnext_t of mmpretrain', 'convnext_t')]),
            Entrant('van_b2', 'van_b2', chosen=True),
            *(Entrant(f'van_b2 {s}', 'van_b2', switches=s) for s in switches),
            *([] if training else [Entrant('van_b2 folded', 'van_b2', folded=True)]),
        ],
    )
    for family, network in (('CycleMLP', 'cyclemlp_b2'), ('CoAtNet', 'coatnet_0')):
        if not short:
            yield (
                family,
                [
                    Entrant(f'{network} as published', network, published=True),
                    Entrant(network, network, chosen=True),
                ],
            )


def report(bench: Bench, training: bool, tasks: Sequence[Task] = TASKS) -> Report:
    """Measure training steps, or inference, of whole models.

    Raises:
        UserError: A dtype that this device does not train in.
    """
    found = Report('train' if training else 'infer')
    run = 'training step' if training else 'inference'
    with tempfile.TemporaryDirectory() as folder:
        for task in tasks:
            size = bench.size or (task.short if bench.short else task.size)
            data = make_data(task.layout, Path(folder, task.layout), num_train=BATCH, num_val=1)
            for family, entrants in contestants(bench.short, training):
                title = f'{task.title} {family} {size[0]}x{size[1]}, batch {BATCH}'
                if bench.wanted(title):
                    peers = [
                        _peer(e, _config(task, e, size, data, bench), bench, training)
                        for e in entrants
                    ]
                    found.rows.extend(bench.rows(Contest(title, run, peers, images=BATCH)))
    title = 'AdamW, parameters of VAN-B2'
    if training and bench.wanted(title):
        peers = [
            _optimizer('torch.optim.AdamW', bench),
            _optimizer('fused', bench, chosen=True, fused=True),
        ]
        found.rows.extend(bench.rows(Contest(title, 'update', peers)))
    return found


def _optimizer(name: str, bench: Bench, chosen: bool = False, **options: bool) -> Peer:
    """An update of a backbone's parameters; our configs' is fused (`mmvisattn.engine.switches`)."""
    parameters = [*ours('van_b2').to(bench.device).parameters()]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    return Peer(name, torch.optim.AdamW(parameters, **options).step, chosen)


def _config(
    task: Task, entrant: Entrant, size: tuple[int, int], data: Path, bench: Bench
) -> Config:
    """The config of an entrant with its switches; the libraries' networks get nothing of ours."""
    cfg = config_of(task, entrant.network, size, data)
    switches = entrant.switches.split()
    if bench.dtype != 'float32' and '--amp' not in switches:
        switches += ['--amp', bench.dtype]
    apply_switches(cfg, train_parser().parse_args([cfg.filename, *switches]))
    if entrant.backbone:
        cfg.model.backbone = entrant.backbone
    if not is_ours(cfg.model.backbone):
        cfg.model.type = cfg.model.type.replace('mmvisattn.', 'mmseg.')
    return cfg


def config_of(task: Task, network: str, size: tuple[int, int], data: Path) -> Config:
    """A config of ours, which loads embedded pictures and brings them to this size."""
    path = CONFIGS / f'{task.config.format(network)}.py'
    cfg = load_config(path, dict(data_root=str(data)))
    if 'size' in cfg.model.data_preprocessor:
        cfg.model.data_preprocessor.size = size
    dataset = cfg.train_dataloader.dataset
    loading = [step for step in dataset.pipeline if step.type.startswith('Load')]
    resize = dict(type='Resize', scale=size[::-1], keep_ratio=False)
    dataset.pipeline = [*loading, resize, dataset.pipeline[-1]]
    return cfg


def _peer(entrant: Entrant, cfg: Config, bench: Bench, training: bool) -> Peer:
    """A model on its device, from random weights, and what one call of it does."""
    model, batch = build(cfg)
    model.to(bench.device).train(training)
    if entrant.folded:
        model = fuse_for_inference(model)
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper) if training else None
    if not training:
        model.extract_feat = _features_under(bench, model.extract_feat)
    if cfg.compile:
        compile_parts(model, {})

    def run() -> None:
        with ExitStack() as stack:
            if entrant.published:
                stack.enter_context(as_published())
            if training:
                model.train_step(batch, optim_wrapper)
            else:
                stack.enter_context(torch.no_grad())
                model.test_step(batch)

    return Peer(entrant.name, run, entrant.chosen)


def _features_under(bench: Bench, extract: Callable) -> Callable:
    """Backbone and neck in the benchmark's dtype: mmcv's NMS, after them, takes no bf16."""

    def extract_in_dtype(inputs: Tensor) -> list[Tensor]:
        with bench.autocast():
            maps = extract(inputs)
        return [x.float() for x in maps]

    return extract_in_dtype


def build(cfg: Config) -> tuple[nn.Module, dict]:
    """A config's model with random weights, and a batch of the first pictures of its training set.

    The pictures have their size from the start, for what resizes results to that.
    """
    torch.manual_seed(0)
    with MODELS.switch_scope_and_registry(cfg.default_scope) as models:
        model = models.build(cfg.model)
    with DATASETS.switch_scope_and_registry(cfg.default_scope) as datasets:
        dataset = datasets.build(cfg.train_dataloader.dataset)
        samples = [dataset[i] for i in range(BATCH)]
    for sample in samples:
        info = sample['data_samples']
        info.set_metainfo(dict(ori_shape=info.img_shape, scale_factor=(1.0, 1.0)))
    return model, pseudo_collate(samples)
