"""What is measured: benchmarks, and the trainings that each is made of."""

from __future__ import annotations

from dataclasses import dataclass

from ...engine.arguments import train_parser
from ...errors import UserError, did_you_mean

NETWORKS = {
    'van_b0': 'VAN-B0',
    'van_b2': 'VAN-B2',
    'cyclemlp_b1': 'CycleMLP-B1',
    'coatnet_0': 'CoAtNet-0',
    'sasa_r26': 'SASA-R26',
    'r50': 'ResNet-50',
    'convnext_t': 'ConvNeXt-T',
    'swin_t': 'Swin-T',
}
LENGTHS = (5, 20, 80)
# fastai's leaderboard at 128 px, and of how many runs each is the mean, where it says so.
LEADERBOARD = {5: (85.77, ', mean of 5 runs'), 20: (91.57, ', mean of 5 runs'), 80: (93.55, '')}
CAMVID_STARTS = PRETRAINED, SCRATCH = 'pretrained on Imagenette', 'random weights'
ABLATION = 20  # epochs
TENTH = 'imagenette_tenth'  # the data that choices are made on
LARGER_CROPS = 'train_dataloader.dataset.pipeline.1.crop_ratio_range=(0.6,1.0)'
PRETRAINING = 80  # epochs on Imagenette of the backbones that other benchmarks start from


@dataclass(frozen=True)
class Row:
    """A training, with one seed or several.

    Attributes:
        name: Of the folder of its records, BENCHMARK/TRAINING; tables may share one.
        config: The config's name.
        label: What it is called in the table.
        group: The table of the benchmark that it stands in.
        options: What its command changes (`--cfg-options`).
        data: The folder in `data`, if it is not what the config's name ends with.
        start: The training on Imagenette whose backbone it starts from; None: random weights.
        reported: What a paper reports of the same, on its own data, in percent.
    """

    name: str
    config: str
    label: str
    group: str
    options: tuple[str, ...] = ()
    data: str | None = None
    start: str | None = None
    reported: float | None = None

    @property
    def data_set(self) -> str:
        """The folder in `data` that it reads."""
        return self.data or self.config.rpartition('_')[2]


@dataclass(frozen=True)
class Benchmark:
    """Trainings that are compared with each other.

    Attributes:
        title: Of its section.
        about: What is measured, and on what.
        rows: The trainings, in the order of the tables.
        published: Scores of others in percent, by group and whose they are.
        drawn: Whether it has a figure.
        has_variants: Whether rows are variants of networks, and tables what is compared.
        tested: Whether the score is that of `tools/test.py`, on pictures that no choice was made
            by; else that of the last validation.
    """

    title: str
    about: str
    rows: tuple[Row, ...]
    published: dict[str, tuple[str, float]]
    tested: bool = False
    drawn: bool = True
    has_variants: bool = False


def _epochs(count: int) -> str:
    return f'{count} epochs'


def _on_imagenette(network: str, epochs: int) -> str:
    return f'imagenette/{network}_{epochs}'


def _imagenette() -> tuple[Row, ...]:
    networks = [(n, n, label, (), LENGTHS) for n, label in NETWORKS.items()]
    stem = 'model.backbone.arch.stem_stride=2'
    adamw, muon = _steps('2e-3', 32), _muon('4e-3', 32)
    crops, larger = (stem, *muon, LARGER_CROPS), 'fitted, Muon, larger crops'
    own = (
        ('van_b0_fitted', 'van_b0', 'VAN-B0, fitted', (stem, *adamw), LENGTHS),
        ('van_b0_muon', 'van_b0', 'VAN-B0, fitted, Muon', (stem, *muon), LENGTHS),
        ('van_b2_muon', 'van_b2', 'VAN-B2, fitted, Muon', (stem, *muon), LENGTHS),
        ('r50_muon', 'r50', 'ResNet-50, Muon', muon, LENGTHS),
        ('van_b0_muon_crops', 'van_b0', f'VAN-B0, {larger}', crops, LENGTHS[:1]),
        ('van_b1_muon_crops', 'van_b1', f'VAN-B1, {larger}', crops, LENGTHS[:1]),
    )
    return tuple(
        Row(
            _on_imagenette(name, length),
            f'classifier_{network}_imagenette',
            label,
            _epochs(length),
            (f'max_epochs={length}', *changes),
        )
        for length in LENGTHS
        for name, network, label, changes, lengths in (*networks, *own)
        if length in lengths
    )


def _steps(rate: str, batch: int) -> tuple[str, ...]:
    """Another learning rate and number of pictures a step, as options."""
    return (
        f'optim_wrapper.optimizer.lr={rate}',
        f'train_dataloader.batch_size={batch}',
        f'auto_scale_lr.base_batch_size={batch}',
    )


def _muon(rate: str, batch: int) -> tuple[str, ...]:
    """Steps of timm's Muon in place of AdamW, as options.

    Of matrices and whole convolutions; depthwise kernels, norms and scales take NAdamW's.
    """
    return (
        'optim_wrapper.optimizer.type=timm.optim.Muon',
        'optim_wrapper.optimizer.nesterov=True',
        *_steps(rate, batch),
    )


def _from_imagenette(config: str, group: str, prefix: str) -> list[Row]:
    """Each network, from the weights of its longest training on Imagenette."""
    return [
        Row(
            f'{prefix}{network}_imagenette',
            config.format(network),
            label,
            group,
            start=_on_imagenette(network, PRETRAINING),
        )
        for network, label in NETWORKS.items()
    ]


def _camvid() -> tuple[Row, ...]:
    config = 'fpn_{}_camvid'
    scratch = [
        Row(f'camvid/{network}_scratch', config.format(network), label, SCRATCH)
        for network, label in NETWORKS.items()
    ]
    return (*_from_imagenette(config, PRETRAINED, 'camvid/'), *scratch)


def _pennfudan() -> tuple[Row, ...]:
    return (
        *_from_imagenette('mask_rcnn_{}_pennfudan', 'Mask R-CNN', 'pennfudan/mask_rcnn_'),
        *_from_imagenette('retinanet_{}_pennfudan', 'RetinaNet', 'pennfudan/retinanet_'),
    )


def _variants(
    group: str, network: str, variants: dict[str, tuple[str, str, float | None]]
) -> list[Row]:
    """Variants of a network: {name: (label, what its arch changes, what the paper reports)}.

    The one that changes nothing is that of the benchmark above.
    """
    return [
        Row(
            f'ablations/{network}_{name}' if changes else _on_imagenette(network, ABLATION),
            f'classifier_{network}_imagenette',
            label,
            group,
            (
                f'max_epochs={ABLATION}',
                *(f'model.backbone.arch.{change}' for change in changes.split()),
            ),
            reported=reported,
        )
        for name, (label, changes, reported) in variants.items()
    ]


def _ablations() -> tuple[Row, ...]:
    return (
        *_variants('VAN: its parts (paper: Table 3)', 'van_b0', {
            'b0': ('VAN-B0', '', 75.4),
            'no_depthwise': ('without the depthwise convolution', 'convs=dilated,pointwise', 74.9),
            'no_dilated': ('without the dilated convolution', 'convs=depthwise,pointwise', 74.1),
            'no_pointwise': ('without the 1 x 1 convolution', 'convs=depthwise,dilated', 74.6),
            'no_attention': ('no gate: the result itself', 'gate=none', 74.3),
            'add': ('added, not multiplied', 'gate=add', 74.6),
            'sigmoid': ('gate through a sigmoid', 'gate=sigmoid', 75.2),
            'full': ('a full 21 x 21 convolution', 'convs=full,', 76.0),
        }),
        *_variants('VAN: kernel and dilation (paper: Table 6)', 'van_b0', {
            'k7': ('7, dilation 2', 'kernel_size=7 dilation=2', 74.8),
            'k14': ('14, dilation 3', 'kernel_size=14', 75.3),
            'k21': ('21, dilation 3', '', 75.4),
            'k28': ('28, dilation 4', 'kernel_size=28 dilation=4', 75.4),
        }),
        *_variants('CoAtNet: layouts (paper: Figure 1, without numbers)', 'coatnet_0', {
            'cccc': ('C-C-C-C', 'layout=C,C,C,C', None),
            'ccct': ('C-C-C-T', 'layout=C,C,C,T', None),
            'cctt': ('C-C-T-T', '', None),
            'cttt': ('C-T-T-T', 'layout=C,T,T,T', None),
        }),
        *_variants('CycleMLP: steps and branches (paper: figures not found)', 'cyclemlp_b1', {
            'b1': ('steps 1 x 3 and 3 x 1', '', None),
            'step_1': ('no steps', 'step_sizes=((1,1),(1,1))', None),
            'step_5': ('steps 1 x 5 and 5 x 1', 'step_sizes=((1,5),(5,1))', None),
            'one_axis': ('both along one axis', 'step_sizes=((1,3),(1,3))', None),
            'added': ('branches added, not weighted', 'reweight=False', None),
        }),
        *_variants('SASA: positions (paper: Table 5, R50, held-out split)', 'sasa_r26', {
            'relative': ('relative', '', 80.2),
            'absolute': ('absolute', 'position=absolute', 78.2),
            'none': ('none', 'position=none', 77.6),
        }),
        *_variants('SASA: content (paper: Table 6, R50)', 'sasa_r26', {
            'content': ('content and relative positions', '', 77.4),
            'no_content': ('relative positions alone', 'content=False', 76.9),
        }),
        *_variants('SASA: spatial extent (paper: Table 4, R50)', 'sasa_r26', {
            'k3': ('3 x 3', 'kernel_size=3', 76.4),
            'k5': ('5 x 5', 'kernel_size=5', 77.2),
            'k7': ('7 x 7', '', 77.4),
            'k9': ('9 x 9', 'kernel_size=9', 77.7),
            'k11': ('11 x 11', 'kernel_size=11', 77.6),
        }),
        *_variants('SASA: attention by stage (paper: Table 3, R50, held-out split)', 'sasa_r26', {
            'aaaa': ('in 1, 2, 3, 4', '', 80.2),
            'caaa': ('in 2, 3, 4', 'layout=C,A,A,A', 80.7),
            'ccaa': ('in 3, 4', 'layout=C,C,A,A', 80.7),
            'ccca': ('in 4', 'layout=C,C,C,A', 80.2),
            'cccc': ('in none', 'layout=C,C,C,C', 79.5),
            'accc': ('in 1', 'layout=A,C,C,C', 79.7),
            'aacc': ('in 1, 2', 'layout=A,A,C,C', 79.6),
            'aaac': ('in 1, 2, 3', 'layout=A,A,A,C', 79.9),
        }),
    )  # fmt: skip


def _choices() -> tuple[Row, ...]:
    """Optimizers, rates and pictures a step that were tried, the shortest training of each."""
    tried = (
        ('', 'AdamW', _steps, (('1e-3', 64), ('2e-3', 64), ('1e-3', 32), ('2e-3', 32)), ()),
        ('muon_', 'Muon', _muon, (('2e-3', 32), ('4e-3', 32)), ()),
        ('muon_', 'Muon, larger crops', _muon, (('4e-3', 32),), (LARGER_CROPS,)),
    )
    return tuple(
        Row(
            f'choices/van_b0_{prefix}{rate}_{batch}{"_crops" if crops else ""}',
            'classifier_van_b0_imagenette',
            f'{rate}, {batch} pictures',
            f'{NETWORKS["van_b0"]}, {title}',
            (f'max_epochs={min(LENGTHS)}', *steps(rate, batch), *crops),
            data=TENTH,
        )
        for prefix, title, steps, grid, crops in tried
        for rate, batch in grid
    )


BENCHMARKS = {
    'imagenette': Benchmark(
        'Imagenette, 128 x 128',
        'Top-1 of the 3,925 validation pictures after training on the 9,469 others from random '
        'weights; one recipe and budget for the first eight rows, the last checkpoint, no '
        'test-time tricks. "Fitted" is a network of ours with a stem of stride 2 in place of 4, '
        'which leaves 8 x 8 positions at the end, in steps of 32 pictures at 2e-3; "Muon" takes '
        "steps of 32 pictures at 4e-3 with timm's optimizer of that name; "
        '"larger crops" are of 0.6 to 1 of a picture, in place of 0.35 to 1. The stem was set '
        'beforehand; all else was chosen for VAN-B0 with the stem of stride 4, on training '
        'pictures (the last tables, where those trials stand whose records were kept). '
        'Pictures are squeezed whole to 128 x 128, and crops cut from that; the leaderboard crops '
        'from larger pictures, in training and in its test. So many pictures leave a standard '
        'error of 0.6 at a score of 85.',
        _imagenette(),
        {
            _epochs(length): (f"fastai's leaderboard, README @0239486{runs}", score)
            for length, (score, runs) in LEADERBOARD.items()
        },
    ),
    'camvid': Benchmark(
        'CamVid, 360 x 480',
        'mIoU over eleven classes of the 233 test pictures, Semantic FPN trained on 367; nothing '
        'is pretrained outside of Imagenette, whose weights are those of one training for all '
        'seeds: their spread leaves that out. FC-DenseNet103 starts from random weights.',
        _camvid(),
        dict.fromkeys(CAMVID_STARTS, ('FC-DenseNet103, arXiv:1611.09326', 66.9)),
        tested=True,
    ),
    'pennfudan': Benchmark(
        'PennFudanPed',
        'AP of the 50 pictures held out, trained on 120, from Imagenette weights: those of one '
        'training for all seeds, which their spread leaves out. No record from scratch is known.',
        _pennfudan(),
        {},
    ),
    'ablations': Benchmark(
        'Ablations on Imagenette, 20 epochs',
        "The papers' ablations at small scale, under the recipe above: does their order hold? Many "
        'differences of the papers are smaller than the standard error that 3,925 pictures leave, '
        '0.6 at a score of 85. The last map has 4 x 4 positions here, 7 x 7 in the papers: a '
        'dilated convolution has one tap on it at dilation 4, and 2.25 on average at dilation 3.',
        _ablations(),
        {},
        has_variants=True,
    ),
    'choices': Benchmark(
        'How the recipes of the fitted networks were chosen',
        'Five epochs of Imagenette, trained on nine tenths of the training pictures and tested on '
        'every tenth of them, 953: a standard error of 1.4. The validation pictures had no part.',
        _choices(),
        {},
        drawn=False,
    ),
}


def options_of(row: Row) -> dict:
    """What a row changes of its config, as `load_config` takes it."""
    words = ['--cfg-options', *row.options] if row.options else []
    return train_parser().parse_args(['CONFIG', *words]).cfg_options or {}


def rows_named(names: list[str]) -> list[Row]:
    """The trainings of these names, or of all of a benchmark, each once.

    Args:
        names: Such as 'imagenette/van_b0_5' or 'imagenette'.

    Raises:
        UserError: There is none of that name.
    """
    rows = {row.name: row for benchmark in BENCHMARKS.values() for row in benchmark.rows}
    found: dict[str, Row] = {}
    for name in names:
        if name in BENCHMARKS:
            found |= {row.name: row for row in BENCHMARKS[name].rows}
        elif name in rows:
            found[name] = rows[name]
        else:
            raise UserError(
                f'no row {name}',
                expected=f'one of docs/results.md, or one of {", ".join(BENCHMARKS)}',
                do=did_you_mean(name, list(rows)),
            )
    return list(found.values())
