"""What the papers report of the networks, and what of ours is counted beside it.

Numbers are written as they are printed in the source, so that their rounding is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..backbones import VAN, BaseBackbone, CoAtNet, CycleMLP, SASAResNet
from ..places import CONFIGS
from .models import model_of


@dataclass(frozen=True)
class Row:
    """One published network.

    Args:
        name: What it is called there.
        build: Makes the module and what runs it, on the meta device.
        shape: Height and width of the picture.
        parameters: Millions, as printed, or None where none is.
        cost: Billions, as printed, or None where none is.
        note: Why it does not fit, or how it is counted.
    """

    name: str
    build: Callable[[], tuple[nn.Module, Callable]]
    shape: tuple[int, int]
    parameters: str | None = None
    cost: str | None = None
    note: str = ''


@dataclass(frozen=True, eq=False)
class Table:
    """One table of a source.

    Args:
        title: The network and what is counted.
        source: Where the published numbers stand.
        rows: Its networks.
        operations_per_multiply_add: 2 where the source counts products and sums apart.
        remark: What holds for the whole table.
        why: Why the costs that do not fit do not.
        softmax: Whether the source seems to count the softmax of attention.
    """

    title: str
    source: str
    rows: list[Row]
    operations_per_multiply_add: int = 1
    remark: str = ''
    why: str = ''
    softmax: bool = False


class Classifier(nn.Module):
    """A backbone with the classification head that its paper's numbers hold.

    Args:
        backbone: Returns its last stage.
        norm: Whether a LayerNorm precedes the head.
        hidden: Whether the head has a hidden layer of as many channels.
        classes: Number of classes.
    """

    def __init__(
        self, backbone: BaseBackbone, norm: bool = False, hidden: bool = False, classes: int = 1000
    ) -> None:
        super().__init__()
        channels = backbone.out_channels[-1]
        self.backbone = backbone
        self.head = nn.Sequential()
        if norm:
            self.head.append(nn.LayerNorm(channels))
        if hidden:
            self.head.append(nn.Linear(channels, channels))
        self.head.append(nn.Linear(channels, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class logits (N, classes) of pictures (N, 3, H, W)."""
        return self.head(self.backbone(x)[-1].mean((2, 3)))


def _classifier(network: type[BaseBackbone], arch: str | dict, out_norm: bool, **head) -> Callable:
    def build() -> tuple[nn.Module, Callable]:
        return Classifier(network(arch, out_norm=out_norm), **head), nn.Module.__call__

    return build


def _van(name: str, arch: str | dict, parameters: str, cost: str, size=224, note='') -> Row:
    build = _classifier(VAN, arch, out_norm=True)
    return Row(name, build, (size, size), parameters, cost, note)


def _cyclemlp(arch: str, parameters: str, cost: str, note='') -> Row:
    build = _classifier(CycleMLP, arch, out_norm=False, norm=True)
    return Row(arch.upper(), build, (224, 224), parameters, cost, note)


def _coatnet(name, arch, size, parameters, cost, note='', **head) -> Row:
    head = dict(norm=True, hidden=True) | head
    build = _classifier(CoAtNet, arch, out_norm=False, **head)
    return Row(name, build, (size, size), parameters, cost, note)


def _sasa(name: str, parameters: str | None, cost: str, base='r50', note='', **arch) -> Row:
    if isinstance(arch.get('layout'), str):
        arch['layout'] = [*arch['layout']]
    build = _classifier(SASAResNet, dict(base=base, **arch), out_norm=False)
    return Row(name, build, (224, 224), parameters, cost, note)


def _config(name: str, shape, parameters: str | None, cost: str | None, note='') -> Row:
    config = CONFIGS / f'{name}.py'
    return Row(name, lambda: model_of(str(config)), shape, parameters, cost, note)


VAN_WHY = (
    'The published costs hold biases and normalisation too: one and two operations for each number '
    'bring B0 to B3 to 0.880, 2.52, 5.03 and 8.99.'
)
VAN_TABLES = [
    Table(
        'VAN on ImageNet',
        'Paper, Tables 5 and 8; digits of B0 to B3 from mmpretrain',
        [
            _van('B0', 'b0', '4.11', '0.88'),
            _van('B1', 'b1', '13.86', '2.52'),
            _van('B2', 'b2', '26.58', '5.03'),
            _van('B3', 'b3', '44.77', '8.99'),
            _van('B4', 'b4', '60.3', '12.2'),
            _van('B5', 'b5', '90.0', '17.2'),
            _van('B6', 'b6', '200', '38.4', note='Table 8 prints 38.9 for the same network'),
            _van('B4', 'b4', None, '35.9', size=384),
            _van('B5', 'b5', None, '50.6', size=384),
            _van('B6', 'b6', None, '114.3', size=384),
        ],
        why=VAN_WHY,
    ),
    Table(
        'VAN-B0 without its parts',
        'Paper, Table 3',
        [
            _van('w/o DW-Conv', dict(base='b0', convs=('dilated', 'pointwise')), '4.1', '0.9'),
            _van('w/o DW-D-Conv', dict(base='b0', convs=('depthwise', 'pointwise')), '4.0', '0.9'),
            _van('w/o attention (no multiplication)', dict(base='b0', gate='none'), '4.1', '0.9'),
            _van('w/o attention (addition)', dict(base='b0', gate='add'), '4.1', '0.9'),
            _van('w/o 1 x 1', dict(base='b0', convs=('depthwise', 'dilated')), '3.8', '0.8'),
            _van('w/ sigmoid', dict(base='b0', gate='sigmoid'), '4.1', '0.9'),
            _van('w/ full 21 x 21', dict(base='b0', convs=('full',)), '124.7', '23.2'),
        ],
        why=VAN_WHY,
    ),
    Table(
        'VAN-B0 with other kernels',
        'Paper, Table 6',
        [
            _van('K = 7, d = 2', dict(base='b0', kernel_size=7, dilation=2), '4.03', '0.85'),
            _van('K = 14, d = 3', dict(base='b0', kernel_size=14, dilation=3), '4.07', '0.87'),
            _van('K = 21, d = 3', 'b0', '4.11', '0.88'),
            _van('K = 28, d = 4', dict(base='b0', kernel_size=28, dilation=4), '4.14', '0.90'),
        ],
        why=VAN_WHY,
    ),
    Table(
        'UperNet with VAN',
        'Paper, Table 12, and the README of VAN-Segmentation',
        [
            _config('upernet_van_b0_ade20k', (512, 512), '32.1', '214.7'),
            _config('upernet_van_b1_ade20k', (512, 512), '43.8', '224.0'),
            _config('upernet_van_b2_ade20k', (512, 512), '56.6', '237.1'),
            _config('upernet_van_b3_ade20k', (512, 512), '74.7', '257.7'),
            _config('upernet_van_b2_ade20k', (512, 2048), '57', '948'),
            _config('upernet_van_b3_ade20k', (512, 2048), '75', '1030'),
            _config('upernet_van_b4_ade20k', (512, 2048), '90', '1098'),
            _config(
                'upernet_van_b5_ade20k',
                (512, 2048),
                '117',
                '1208',
                note='the backbone of 89.2 and the heads of 32.7 that fit the others give 121.9',
            ),
            _config('upernet_van_b6_ade20k', (512, 2048), '231', '1658'),
        ],
    ),
]

RECONSTRUCTED = 'reconstructed: the code was never released'
CYCLEMLP_TABLES = [
    Table(
        'CycleMLP on ImageNet',
        "The authors' README; a CycleFC counts as a 1 x 1 convolution, as in their counter",
        [
            _cyclemlp('b1', '15.1', '2.1'),
            _cyclemlp('b2', '26.8', '3.9'),
            _cyclemlp('b3', '38.3', '6.9', note='1.02 % below; the others fit'),
            _cyclemlp('b4', '51.8', '10.1'),
            _cyclemlp('b5', '75.7', '12.3'),
            _cyclemlp('t', '28', '4.4', note=RECONSTRUCTED),
            _cyclemlp('s', '50', '8.5', note=RECONSTRUCTED),
            _cyclemlp('b', '88', '15.2', note=RECONSTRUCTED),
        ],
    ),
]

TIMM_WHY = 'timm counts its networks with another tool.'
COATNET_TABLES = [
    Table(
        'CoAtNet on ImageNet',
        'Paper, Tables 4, 5, 12 and 13',
        [
            _coatnet('0', '0', 224, '25', '4.2'),
            _coatnet('0', '0', 384, None, '13.4'),
            _coatnet('1', '1', 224, '42', '8.4'),
            _coatnet('1', '1', 384, None, '27.4'),
            _coatnet('2', '2', 224, '75', '15.7'),
            _coatnet('2', '2', 384, None, '49.8'),
            _coatnet('2', '2', 512, None, '96.7'),
            _coatnet('3', '3', 224, '168', '34.7'),
            _coatnet('3', '3', 384, None, '107.4'),
            _coatnet('3', '3', 512, None, '203.1'),
            _coatnet('4', '4', 384, '275', '189.5'),
            _coatnet('4', '4', 512, None, '360.9'),
            _coatnet('5', '5', 512, '688', '812'),
            _coatnet(
                '6',
                '6',
                512,
                '1470',
                '1521',
                note='Table 12 as printed does not give 1.47 B; 3072 channels in S4 in place of '
                '2048 would',
            ),
            _coatnet('7', '7', 512, '2440', '2586', note='1.5 % below, unexplained'),
        ],
        remark='The head is that of the MaxViT code by the same authors, with a hidden layer: only '
        'with it do the parameters fit.',
        softmax=True,
    ),
    Table(
        'CoAtNet with strided depthwise convolutions',
        'Paper, Table 9',
        [
            _coatnet(i, dict(base=i, stride_at='dw'), 224, None, cost)
            for i, cost in (('0', '4.6'), ('1', '8.8'), ('2', '16.6'))
        ],
        softmax=True,
    ),
    Table(
        "timm's CoAtNet",
        "timm's results of its pretrained weights, and of its networks like the paper's",
        [
            *(
                _coatnet(f'coatnet_{i}_224', f'coatnet_{i}_224', 224, parameters, cost)
                for i, (parameters, cost) in enumerate(
                    (
                        ('25.04', '4.58'),
                        ('42.23', '8.70'),
                        ('74.68', '16.50'),
                        ('166.97', '36.56'),
                        ('275.43', '62.48'),
                        ('687.47', '145.49'),
                    )
                )
            ),
            *(
                _coatnet(name, name, size, parameters, cost, hidden=False, classes=classes)
                for name, size, parameters, cost, classes in (
                    ('coatnet_nano_rw_224', 224, '15.14', '2.41', 1000),
                    ('coatnet_rmlp_nano_rw_224', 224, '15.15', '2.62', 1000),
                    ('coatnet_0_rw_224', 224, '27.44', '4.43', 1000),
                    ('coatnet_bn_0_rw_224', 224, '27.44', '4.67', 1000),
                    ('coatnet_1_rw_224', 224, '41.72', '8.04', 1000),
                    ('coatnet_rmlp_1_rw_224', 224, '41.69', '7.85', 1000),
                    ('coatnet_rmlp_1_rw2_224', 224, '41.72', '8.11', 1000),
                    ('coatnet_rmlp_2_rw_224', 224, '73.88', '15.18', 1000),
                    ('coatnet_2_rw_224', 224, '73.87', '15.09', 1000),
                    ('coatnet_rmlp_2_rw_384', 384, '73.88', '47.69', 1000),
                    ('coatnet_3_rw_224', 224, '181.81', '33.44', 11821),
                )
            ),
        ],
        why=TIMM_WHY,
    ),
]

SASA_WHY = (
    "The paper's costs also hold what ours leave out (softmax, normalisation, pooling, sums); its "
    'stem seems to apply each mixture of values by itself, where ours mixes the projections first.'
)
SASA_TABLES = [
    Table(
        'SASA on ImageNet',
        'Paper, Table 1',
        [
            *(
                _sasa(f'{base}, {name}', parameters, cost, base, **arch)
                for base, rows in {
                    'r26': [('13.7', '4.7'), ('10.3', '4.5'), ('10.3', '4.7')],
                    'r38': [('19.6', '6.5'), ('14.1', '5.7'), ('14.1', '6.0')],
                    'r50': [('25.6', '8.2'), ('18.0', '7.0'), ('18.0', '7.2')],
                }.items()
                for (parameters, cost), (name, arch) in zip(
                    rows,
                    (
                        ('ResNet', dict(layout='CCCC')),
                        ('convolution stem', {}),
                        ('full attention', dict(stem='attention')),
                    ),
                    strict=True,
                )
            ),
        ],
        operations_per_multiply_add=2,
        why=SASA_WHY,
    ),
    Table(
        'SASA-R50 with convolution in some stages',
        'Paper, Table 3; A is attention, C convolution, from the first stage to the last',
        [
            _sasa(layout, parameters, cost, layout=layout)
            for layout, parameters, cost in (
                ('AAAA', '18.0', '7.0'),
                ('CAAA', '18.1', '7.3'),
                ('CCAA', '18.5', '7.5'),
                ('CCCA', '20.8', '8.0'),
                ('CCCC', '25.6', '8.2'),
                ('ACCC', '25.5', '7.9'),
                ('AACC', '25.0', '7.8'),
                ('AAAC', '22.7', '7.2'),
            )
        ],
        operations_per_multiply_add=2,
        why=SASA_WHY,
    ),
    Table(
        'SASA-R50 with other extents, positions and terms',
        'Paper, Tables 4 to 7',
        [
            *(
                _sasa(f'{k} x {k}', None, cost, kernel_size=k)
                for k, cost in ((3, '6.6'), (5, '6.7'), (7, '7.0'), (9, '7.3'), (11, '7.7'))
            ),
            _sasa('no positions', '18.0', '6.9', position='none'),
            _sasa('absolute positions', '18.0', '6.9', position='absolute'),
            _sasa('relative positions alone', '16.7', '6.1', content=False),
            _sasa('stem: stand-alone', None, '7.1', stem='attention', stem_values='standalone'),
            _sasa('stem: convolution', None, '7.4', stem='attention', stem_values='convolution'),
            _sasa('stem: spatially aware', None, '7.2', stem='attention'),
        ],
        operations_per_multiply_add=2,
        why=SASA_WHY,
    ),
]

COCO_PIXELS = (800, 1280)
SECOND_STAGE = 'The costs of a second stage depend on what the first finds, and are not counted.'
DENSE_TABLES = [
    Table(
        'Semantic FPN with VAN on ADE20K',
        'Paper, Table 12',
        [
            *(
                _config(f'fpn_van_{name}_ade20k', (512, 512), parameters, cost)
                for name, parameters, cost in (
                    ('b0', '8', '26'),
                    ('b1', '18', '35'),
                    ('b2', '30', '48'),
                    ('b3', '49', '68'),
                )
            ),
            _config(
                'fpn_r50_ade20k',
                (512, 512),
                '29',
                '46',
                note='quoted from others, who seem to count normalisation and activation',
            ),
        ],
        why=VAN_WHY,
    ),
    Table(
        'RetinaNet with VAN on COCO',
        'Paper, Table 9',
        [
            _config(f'retinanet_{name}_coco', COCO_PIXELS, parameters, None)
            for name, parameters in (
                ('van_b0', '13.4'),
                ('van_b1', '23.6'),
                ('van_b2', '36.3'),
                ('van_b3', '54.5'),
                ('r50', '37.7'),
            )
        ],
    ),
    Table(
        'ATSS and GFL with VAN on COCO',
        'Paper, Table 11',
        [
            _config('atss_van_b2_coco', COCO_PIXELS, '34', '221'),
            _config('gfl_van_b2_coco', COCO_PIXELS, '34', '224'),
        ],
    ),
    Table(
        'Mask R-CNN with VAN on COCO',
        'Paper, Tables 10 and 11',
        [
            _config(f'{name}_coco', COCO_PIXELS, parameters, None)
            for name, parameters in (
                ('mask_rcnn_van_b0', '23.9'),
                ('mask_rcnn_van_b1', '33.5'),
                ('mask_rcnn_van_b2', '46.2'),
                ('mask_rcnn_van_b3', '64.4'),
                ('mask_rcnn_r50', '44.2'),
                ('mask_rcnn_swin_t', '48'),
                ('mask_rcnn_convnext_t', '48'),
                ('cascade_mask_rcnn_van_b2', '84'),
                ('cascade_mask_rcnn_swin_t', '86'),
                ('cascade_mask_rcnn_convnext_t', '86'),
            )
        ],
        remark=SECOND_STAGE,
    ),
    Table(
        'Simple Baseline with VAN on COCO keypoints',
        'Paper, Table 15',
        [
            _config('simple_baseline_256x192_van_b2_coco', (256, 192), '30.3', '6.1'),
            _config('simple_baseline_384x288_van_b2_coco', (384, 288), '30.3', '13.6'),
            _config(
                'simple_baseline_256x192_swin_t_coco',
                (256, 192),
                '32.8',
                '6.1',
                note='its windows of 7 pad the maps',
            ),
        ],
        why=VAN_WHY,
    ),
]

TABLES = [*VAN_TABLES, *DENSE_TABLES, *CYCLEMLP_TABLES, *COATNET_TABLES, *SASA_TABLES]
