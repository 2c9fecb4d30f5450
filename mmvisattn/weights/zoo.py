"""Published checkpoints by name, and where each can be had.

Every address stands in a source that was read: OpenMMLab's in mmpretrain 1.3.6 (configs/van/
metafile.yml, for mmassets.onedl.ai), mmclassification 0.23 to 0.25 (configs/van/README.md) and
mmsegmentation 1.x (projects/van); the authors' in VAN-Classification (models/van.py, `model_urls`)
and CycleMLP (README.md); timm's in timm 1.0.31 (`default_cfgs` of models/maxxvit.py). None could
be downloaded where this was written. CycleMLP-T, -S and -B are published too, but not the code
that their files belong to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ..errors import UserError, did_you_mean
from .download import fetch, file_name, is_url, require_sha256, unpublished_name

_ONEDL = 'https://mmassets.onedl.ai/mmclassification/v0/van'
_MMCLS = 'https://download.openmmlab.com/mmclassification/v0/van'
_MMSEG = 'https://download.openmmlab.com/mmsegmentation/v0.5/van_3rdparty'
_VAN_HF = 'https://huggingface.co/Visual-Attention-Network'
_CYCLEMLP = 'https://github.com/ShoufaChen/CycleMLP/releases/download/v0.1'
_TIMM = 'https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights-maxx'
_TIMM_HF = 'https://huggingface.co/timm'


@dataclass(frozen=True)
class Published:
    """A checkpoint that somebody published.

    Attributes:
        network: The class of the backbone.
        arch: Its architecture.
        urls: Mirrors, in the order to try them. They may differ in layout, not in weights; those
            whose content can be checked stand first.
    """

    network: str
    arch: str
    urls: tuple[str, ...]

    @property
    def mirrors(self) -> dict[str, str | None]:
        """The URLs with the first digits of their files' sha256.

        OpenMMLab and timm end the name of a file with the first eight; nobody publishes others.
        """
        digits = {url: re.search(r'-([0-9a-f]{8})\.pth$', file_name(url)) for url in self.urls}
        return {url: found and found[1] for url, found in digits.items()}


PUBLISHED = {
    'van_b0_in1k': Published('VAN', 'b0', (
        f'{_ONEDL}/van-tiny_8xb128_in1k_20220501-385941af.pth',
        f'{_MMCLS}/van-tiny_8xb128_in1k_20220501-385941af.pth',
        f'{_VAN_HF}/VAN-Tiny-original/resolve/main/van_tiny_754.pth.tar',
    )),
    'van_b1_in1k': Published('VAN', 'b1', (
        f'{_ONEDL}/van-small_8xb128_in1k_20220501-17bc91aa.pth',
        f'{_MMCLS}/van-small_8xb128_in1k_20220501-17bc91aa.pth',
        f'{_VAN_HF}/VAN-Small-original/resolve/main/van_small_811.pth.tar',
    )),
    'van_b2_in1k': Published('VAN', 'b2', (
        f'{_ONEDL}/van-base_8xb128_in1k_20220501-6a4cc31b.pth',
        f'{_MMCLS}/van-base_8xb128_in1k_20220501-6a4cc31b.pth',
        f'{_VAN_HF}/VAN-Base-original/resolve/main/van_base_828.pth.tar',
    )),
    'van_b3_in1k': Published('VAN', 'b3', (
        f'{_ONEDL}/van-large_8xb128_in1k_20220501-f212ba21.pth',
        f'{_MMCLS}/van-large_8xb128_in1k_20220501-f212ba21.pth',
        f'{_VAN_HF}/VAN-Large-original/resolve/main/van_large_839.pth.tar',
    )),
    'van_b4_in1k': Published('VAN', 'b4', (
        f'{_MMCLS}/van-b4_3rdparty_in1k_20220909-f4665b92.pth',
    )),
    'van_b4_in22k': Published('VAN', 'b4', (
        f'{_MMSEG}/van-b4-in22k_3rdparty_20230522-5e31cafb.pth',
    )),
    'van_b5_in22k': Published('VAN', 'b5', (
        f'{_MMSEG}/van-b5-in22k_3rdparty_20230522-b26134d7.pth',
    )),
    'van_b6_in22k': Published('VAN', 'b6', (
        f'{_MMSEG}/van-b6-in22k_3rdparty_20230522-5e5172a3.pth',
    )),
    **{
        f'cyclemlp_b{n}_in1k': Published('CycleMLP', f'b{n}', (f'{_CYCLEMLP}/CycleMLP_B{n}.pth',))
        for n in range(1, 6)
    },
    **{
        f'{arch}.{tag}': Published('CoAtNet', arch, (
            *([f'{_TIMM}/{arch}_sw-{digits}.pth'] if digits else []),
            f'{_TIMM_HF}/{arch}.{tag}/resolve/main/model.safetensors',
        ))
        for arch, tag, digits in (
            ('coatnet_nano_rw_224', 'sw_in1k', 'f53093b4'),
            ('coatnet_0_rw_224', 'sw_in1k', 'a6439706'),
            ('coatnet_1_rw_224', 'sw_in1k', '5cae1ea8'),
            ('coatnet_2_rw_224', 'sw_in12k', None),
            ('coatnet_2_rw_224', 'sw_in12k_ft_in1k', None),
            ('coatnet_3_rw_224', 'sw_in12k', None),
            ('coatnet_bn_0_rw_224', 'sw_in1k', 'c228e218'),
            ('coatnet_rmlp_nano_rw_224', 'sw_in1k', 'bd1d51b3'),
            ('coatnet_rmlp_1_rw_224', 'sw_in1k', '9051e6c3'),
            ('coatnet_rmlp_1_rw2_224', 'sw_in12k', None),
            ('coatnet_rmlp_1_rw2_224', 'sw_in12k_ft_in1k', None),
            ('coatnet_rmlp_2_rw_224', 'sw_in1k', '5ccfac55'),
            ('coatnet_rmlp_2_rw_224', 'sw_in12k', None),
            ('coatnet_rmlp_2_rw_224', 'sw_in12k_ft_in1k', None),
            ('coatnet_rmlp_2_rw_384', 'sw_in12k_ft_in1k', None),
        )
    },
}  # fmt: skip


def published() -> dict[str, Published]:
    """All published checkpoints by name."""
    return dict(PUBLISHED)


def locate(source: str | Path, sha256: str | None = None) -> Path:
    """The file behind a published name, a URL or a path; downloaded if it has to be.

    Args:
        source: What names it.
        sha256: The first digits of the file's sha256, any number of them; None takes those that
            are published, if any.

    Raises:
        UserError: There is no such file, it cannot be had, or it has another sha256.
    """
    source = str(source)
    if source in PUBLISHED:
        mirrors = PUBLISHED[source].mirrors
        return fetch({url: sha256 or digits for url, digits in mirrors.items()})
    if is_url(source):
        return fetch({source: sha256}, unpublished_name)
    path = Path(source).expanduser()
    if not path.is_file():
        raise UserError(
            f'no such checkpoint: {source}',
            expected='a file, a URL or a published name, such as van_b2_in1k',
            do=did_you_mean(source, PUBLISHED) or 'check the path',
        )
    require_sha256(path, sha256)
    return path


def require_published_arch(source: str, module: nn.Module) -> None:
    """Stop if a published name belongs to another architecture than a backbone of ours has.

    Two may have tensors of the same names and shapes. A changed architecture has only those.

    Raises:
        UserError: It does.
    """
    published, arch = PUBLISHED.get(source), getattr(module, 'arch', None)
    if published is None or arch is None or isinstance(arch, dict):
        return
    if (published.network, published.arch) != (type(module).__name__, str(arch).partition('.')[0]):
        raise UserError(
            f'{source} is published for another network',
            expected=f'{published.network} {published.arch!r}',
            got=f'{type(module).__name__} {arch!r}',
        )
