"""Files of every layout, good and bad, and the networks that are loaded from them."""

import hashlib
import http.server
import os
import pickle
import re
import shutil
import sys
import threading
from argparse import Namespace

import pytest
import safetensors.torch
import timm
import torch
from conftest import DEMO_CONFIG, ROOT, run, run_tool, short_run
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModule
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmpretrain.models import VAN as MMPretrainVAN
from mmseg.models import ResNet
from torch import nn

from mmvisattn import backbones
from mmvisattn.backbones import NAMES, VAN, CoAtNet, CycleMLP, SASAResNet
from mmvisattn.engine import run as run_module
from mmvisattn.engine.arguments import train_parser
from mmvisattn.engine.config import load_config
from mmvisattn.engine.run import train
from mmvisattn.errors import UserError
from mmvisattn.weights import (
    CheckedPretrained,
    Match,
    Published,
    convert,
    convert_file,
    convert_inside,
    export,
    guard_libraries,
    locate,
    pretrained,
    published,
    read_checkpoint,
    require_match,
    require_pretrained_match,
    state_dict_of,
    write_checkpoint,
    zoo,
)
from mmvisattn.weights.download import file_name, unpublished_name
from mmvisattn.weights.layouts import CLASSIFIER, HEADS, LAYOUTS, TARGETS

CONFIG = ROOT / DEMO_CONFIG
FIRST = {network: name for name, (network, _) in reversed(NAMES.items())}  # name of each network


def randomised(network):
    """Every number of a network drawn at random, so that none can be swapped unseen."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=generator) - 0.5
            tensor.copy_(drawn + 1 if name.endswith('running_var') else drawn)
    network.eval()
    return network


def with_head(state, width, head='head.'):
    generator = torch.Generator().manual_seed(1)
    weight = torch.rand(1000, width, generator=generator)
    return {**state, f'{head}weight': weight, f'{head}bias': weight[:, 0].clone()}


def official_van(arch='b0'):
    network = randomised(VAN(arch))
    return with_head(network.state_dict(), network.out_channels[-1])


def official_cyclemlp():
    """The tensors of the release's CycleMLP_B1: a backbone's without its output norms, and more."""
    state = {k: v for k, v in randomised(CycleMLP('b1')).state_dict().items() if k[:4] != 'norm'}
    state |= {'norm.weight': torch.rand(512), 'norm.bias': torch.rand(512)}
    for key in [k for k in state if re.search(r'sfc_[hw]\.weight$', k)]:
        state[key.replace('weight', 'offset')] = released_offset(state[key], 'sfc_h' in key)
    return with_head(state, 512)


def released_offset(weight, along_width):
    """`gen_offset` of the release, line by line."""
    kernel = (1, 3) if along_width else (3, 1)
    channels = weight.shape[1]
    offset = torch.empty(1, channels * 2, 1, 1)
    start = (kernel[0] * kernel[1]) // 2
    for i in range(channels):
        if kernel[0] == 1:
            offset[0, 2 * i + 0, 0, 0] = 0
            offset[0, 2 * i + 1, 0, 0] = (i + start) % kernel[1] - (kernel[1] // 2)
        else:
            offset[0, 2 * i + 0, 0, 0] = (i + start) % kernel[0] - (kernel[0] // 2)
            offset[0, 2 * i + 1, 0, 0] = 0
    return offset


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def initialise(module, file, **options):
    CheckedPretrained(str(file), **options)(module)
    module.eval()
    return module


def assert_same_features(theirs, ours):
    picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)).double()
    for a, b in zip(theirs.double()(picture), ours.double()(picture), strict=True):
        torch.testing.assert_close(b, a)  # in float64 the order of sums does not matter


def refused(function, *args, **kwargs):
    with pytest.raises(UserError) as error:
        function(*args, **kwargs)
    return str(error.value)


# Reading files


class Evil:
    def __reduce__(self):
        return os.system, ('touch executed',)


def test_a_checkpoint_never_runs_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)
    torch.save({'state_dict': {}, 'meta': Evil()}, 'evil.pth')
    assert 'system' in refused(read_checkpoint, 'evil.pth')
    assert 'would run code' in refused(initialise, VAN('b0'), 'evil.pth')
    monkeypatch.setenv('MMVISATTN_TRUSTED_GLOBALS', f'{os.name}.system')
    assert 'would run code' in refused(read_checkpoint, 'evil.pth')  # PyTorch blocks the module
    assert not (tmp_path / 'executed').exists()
    torch.load('evil.pth', weights_only=False)  # the file does what it is made for
    assert (tmp_path / 'executed').exists()


def test_a_trusted_global_is_that_one_alone(tmp_path, monkeypatch):
    (tmp_path / 'vouched.py').write_text(
        'class Good:\n    pass\nclass Other:\n    pass\ndef touch():\n    open("made", "w")\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import vouched

    class Calls:
        def __reduce__(self):
            return vouched.touch, ()

    torch.save({'state_dict': {}, 'config': vouched.Good()}, 'good.pth')
    torch.save({'config': [vouched.Good(), vouched.Other()]}, 'both.pth')
    torch.save({'config': Calls()}, 'calls.pth')
    said = refused(read_checkpoint, 'good.pth')
    assert 'MMVISATTN_TRUSTED_GLOBALS=vouched.Good' in said
    assert 'only if you trust who made the file' in said
    monkeypatch.setenv('MMVISATTN_TRUSTED_GLOBALS', 'vouched.Good')
    assert isinstance(read_checkpoint('good.pth')['config'], vouched.Good)
    assert 'TRUSTED_GLOBALS=vouched.Good,vouched.Other' in refused(read_checkpoint, 'both.pth')
    assert 'calls vouched.touch' in refused(read_checkpoint, 'calls.pth')
    assert not (tmp_path / 'made').exists()
    monkeypatch.setenv('MMVISATTN_TRUSTED_GLOBALS', 'vouched.Gone')
    assert 'cannot be imported: vouched.Gone' in refused(read_checkpoint, 'good.pth')


def test_getattr_in_a_checkpoint_reaches_log_buffers_only(tmp_path):
    class Reach:
        def __reduce__(self):
            return getattr, (torch.Tensor, '__init_subclass__')

    torch.save({'x': Reach()}, tmp_path / 'reach.pth')
    with pytest.raises(UserError, match='would run code'):
        read_checkpoint(tmp_path / 'reach.pth')
    torch.save({'log': HistoryBuffer([1.0], [1])}, tmp_path / 'log.pth')
    assert read_checkpoint(tmp_path / 'log.pth')['log'].current() == 1.0


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize(
    'content',
    [b'', b'hello', b'<!DOCTYPE html>', pickle.dumps([1], protocol=2), b'PK\x03\x04 half a zip'],
)
def test_an_unreadable_checkpoint_is_explained(tmp_path, content, suffix):
    file = tmp_path / f'x{suffix}'
    file.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(file.name)) as error:
        read_checkpoint(file)
    assert 'weights_only' not in str(error.value), "PyTorch's advice to load unsafely"
    with pytest.raises(UserError, match='no such checkpoint'):
        read_checkpoint(tmp_path / 'y.pth')


def test_a_file_of_something_else_is_explained(tmp_path):
    torch.save([torch.ones(1)], tmp_path / 'list.pth')
    with pytest.raises(UserError, match='it holds a list'):
        read_checkpoint(tmp_path / 'list.pth')


def test_timms_arguments_in_a_checkpoint_are_plain_data(tmp_path):
    torch.save({'state_dict': {}, 'args': Namespace(model='van_b2')}, tmp_path / 'timm.pth')
    assert read_checkpoint(tmp_path / 'timm.pth')['args'].model == 'van_b2'


def test_wrappings_are_taken_off():
    weight, average = torch.ones(1), torch.zeros(1)
    for wrapped in (
        {'w': weight},
        {'state_dict': {'module.w': weight}, 'epoch': 3},
        {'model': {'w': weight}, 'state_dict_ema': {'w': average}},
        {'state_dict_ema': {'module.w': weight}},
    ):
        assert state_dict_of(wrapped) == {'w': weight}


def test_safetensors_hold_what_a_pickle_holds(tmp_path):
    state = official_van()
    state['head.weight'] = state['head.weight'].t().contiguous().t()  # a view, not contiguous
    for name in ('van.pth', 'van.safetensors'):
        write_checkpoint(tmp_path / name, state, 'state_dict')
        assert same(state_dict_of(read_checkpoint(tmp_path / name)), state)
    safetensors.torch.load_file(tmp_path / 'van.safetensors')
    assert 'ending of the name' in refused(write_checkpoint, tmp_path / 'van.ckpt', state)
    assert {p.name for p in tmp_path.iterdir()} == {'van.pth', 'van.safetensors'}


def test_the_libraries_never_run_code_either(tmp_path, monkeypatch):
    """`Pretrained` in a library's backbone, with a path and with a URL."""
    for name in ('_safe_torch_load', 'load_url'):  # so that they are put back
        monkeypatch.setattr(mmengine_checkpoint, name, getattr(mmengine_checkpoint, name))
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    monkeypatch.chdir(tmp_path)
    torch.save({'state_dict': {}, 'meta': Evil()}, 'evil.pth')
    with served(tmp_path, monkeypatch) as url:
        guard_libraries()
        for source in ('evil.pth', f'{url}/evil.pth'):
            backbone = ResNet(18, init_cfg=dict(type='Pretrained', checkpoint=source))
            assert 'would run code' in refused(backbone.init_weights)
        with pytest.raises(pickle.UnpicklingError):
            torch.load('evil.pth', weights_only=False)
    assert not (tmp_path / 'executed').exists()


# Matching


def test_a_match_counts_by_name_and_shape():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    state = module.state_dict()
    del state['1.num_batches_tracked'], state['0.bias']
    state['1.weight'], state['other'] = torch.ones(3), torch.ones(1)
    state['head.bias'] = torch.ones(1)
    match = Match.of(module, state, dropped=['neck.weight'], heads=('head.',))
    assert match == Match(
        matched=['0.weight', '1.bias', '1.running_mean', '1.running_var'],
        dropped=['neck.weight', 'head.bias'],
        missing=['0.bias'],
        unexpected=['other'],
        wrong_shape=['1.weight'],
    )
    assert match.counts == (4, 6)
    rows = [
        '4 matched', '2 dropped as expected  neck.weight, head.bias', '0 new as expected',
        '1 missing              0.bias', '1 unexpected           other',
        '1 wrong shape          1.weight',
    ]  # fmt: skip
    assert [line.strip() for line in str(match).splitlines()] == rows
    with pytest.raises(UserError, match='not a checkpoint of this network') as error:
        require_match(module, state, 'x.pth')
    assert rows[3] in str(error.value)
    assert rows[5] in str(error.value)
    assert require_match(module, state, 'x.pth', min_coverage=4 / 6).counts == (4, 6)
    with pytest.raises(UserError):
        require_match(module, state, 'x.pth', min_coverage=0.67)


def test_new_layers_are_expected_to_be_absent_as_a_whole():
    module = CycleMLP('b1')
    state = {key: value for key, value in module.state_dict().items() if key[:4] != 'norm'}
    match = Match.of(module, state)
    assert (len(match.new), match.missing, match.coverage) == (8, [], 1.0)
    match = Match.of(module, {**state, 'norm0.weight': torch.ones(64)})
    assert (len(match.new), match.missing) == (6, ['norm0.bias'])
    assert Match.of(nn.Identity(), {}).coverage == 1.0


# Layouts


class HuggingFaceVAN(nn.Module):
    """transformers' VanForImageClassification: its names (modeling_van.py), its order of layers."""

    class Layer(nn.Module):
        def __init__(self, c, ratio):
            super().__init__()
            depthwise = dict(groups=c)
            self.pre_normomalization = nn.BatchNorm2d(c)
            self.attention = nn.Module()
            self.attention.pre_projection = nn.Sequential()
            self.attention.pre_projection.add_module('conv', nn.Conv2d(c, c, 1))
            self.attention.attention_layer = nn.Module()
            lka = self.attention.attention_layer.attention = nn.Module()
            lka.depth_wise = nn.Conv2d(c, c, 5, padding=2, **depthwise)
            lka.depth_wise_dilated = nn.Conv2d(c, c, 7, dilation=3, padding=9, **depthwise)
            lka.point_wise = nn.Conv2d(c, c, 1)
            self.attention.post_projection = nn.Conv2d(c, c, 1)
            self.attention_scaling = nn.Module()
            self.attention_scaling.weight = nn.Parameter(torch.ones(c))
            self.post_normalization = nn.BatchNorm2d(c)
            self.mlp = nn.Module()
            self.mlp.in_dense = nn.Conv2d(c, c * ratio, 1)
            self.mlp.depth_wise = nn.Conv2d(c * ratio, c * ratio, 3, padding=1, groups=c * ratio)
            self.mlp.out_dense = nn.Conv2d(c * ratio, c, 1)
            self.mlp_scaling = nn.Module()
            self.mlp_scaling.weight = nn.Parameter(torch.ones(c))

        def forward(self, x):
            y = self.pre_normomalization(x)
            gate = z = nn.functional.gelu(self.attention.pre_projection(y))
            for layer in self.attention.attention_layer.attention.children():
                gate = layer(gate)
            y = y + self.attention.post_projection(z * gate)
            x = x + self.attention_scaling.weight[:, None, None] * y
            y = self.mlp.depth_wise(self.mlp.in_dense(self.post_normalization(x)))
            y = self.mlp.out_dense(nn.functional.gelu(y))
            return x + self.mlp_scaling.weight[:, None, None] * y

    def __init__(self, hidden_sizes=(32, 64, 160, 256), depths=(3, 3, 5, 2), ratios=(8, 8, 4, 4)):
        super().__init__()
        self.van = nn.Module()
        self.van.encoder = nn.Module()
        self.van.encoder.stages = nn.ModuleList()
        for i, (c, depth, ratio) in enumerate(zip(hidden_sizes, depths, ratios, strict=True)):
            stage = nn.Module()
            kernel, stride = (7, 4) if i == 0 else (3, 2)
            stage.embeddings = nn.Module()
            stage.embeddings.convolution = nn.Conv2d(
                hidden_sizes[i - 1] if i else 3, c, kernel, stride, kernel // 2
            )
            stage.embeddings.normalization = nn.BatchNorm2d(c)
            stage.layers = nn.Sequential(*(self.Layer(c, ratio) for _ in range(depth)))
            stage.normalization = nn.LayerNorm(c, eps=1e-6)
            self.van.encoder.stages.append(stage)
        self.van.layernorm = nn.LayerNorm(hidden_sizes[-1], eps=1e-6)
        self.classifier = nn.Linear(hidden_sizes[-1], 10)

    def forward(self, x):
        for stage in self.van.encoder.stages:
            x = stage.layers(stage.embeddings.normalization(stage.embeddings.convolution(x)))
            x = stage.normalization(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            yield x


def test_hugging_faces_van_gives_its_features(tmp_path):
    theirs = HuggingFaceVAN()
    unused = theirs.van.layernorm.state_dict()
    randomised(theirs)
    theirs.van.layernorm.load_state_dict(dict(weight=torch.ones(256), bias=torch.zeros(256)))
    torch.save(theirs.state_dict(), tmp_path / 'pytorch_model.bin')
    found = convert(theirs.state_dict())
    assert (found.network, found.layout, found.prefix) == ('VAN', 'hf', 'van.')
    assert torch.equal(found.state_dict['head.weight'], theirs.classifier.weight)
    assert found.dropped == [f'van.layernorm.{name}' for name in unused]
    ours = initialise(VAN('b0'), tmp_path / 'pytorch_model.bin')
    assert_same_features(theirs, ours)
    alone = {k.removeprefix('van.'): v for k, v in theirs.state_dict().items() if k[:4] == 'van.'}
    assert convert(alone).prefix == '', 'VanModel, without a classifier'
    assert convert(alone).state_dict.keys() == ours.state_dict().keys()


@pytest.mark.parametrize('wrapped', [False, True])
def test_mmpretrains_van_gives_its_features(tmp_path, wrapped):
    theirs = randomised(MMPretrainVAN('tiny', out_indices=(0, 1, 2, 3)))
    state = theirs.state_dict()
    if wrapped:
        state = {f'backbone.{key}': value for key, value in state.items()}
        state = with_head(state, 256, 'head.fc.')
    torch.save({'state_dict': state, 'meta': {}}, tmp_path / 'van.pth')
    ours = initialise(VAN('b0', out_norm_eps=1e-5), tmp_path / 'van.pth')
    assert_same_features(theirs, ours)
    found = convert(state)
    assert (found.layout, found.prefix) == ('mmpretrain', 'backbone.' if wrapped else '')
    assert ('head.bias' in found.state_dict) is wrapped
    assert found.dropped == []


def as_mmseg(state):
    return {key.replace('mlp.dwconv.dwconv', 'mlp.dwconv'): value for key, value in state.items()}


def in_segmentor(state):
    rest = {'decode_head.conv_seg.weight': torch.ones(1), 'auxiliary_head.bias': torch.ones(1)}
    return {**{f'backbone.{key}': value for key, value in state.items()}, **rest}


@pytest.mark.parametrize(
    ('disguise', 'layout'),
    [
        (lambda s: s, 'official'),
        (lambda s: {'state_dict': {f'module.{k}': v for k, v in s.items()}}, 'official'),
        (lambda s: {'model': s}, 'official'),
        (lambda s: {'state_dict': in_segmentor(s)}, 'official'),
        (lambda s: {f'model.encoder.{k}': v for k, v in s.items()}, 'official'),
        (as_mmseg, 'mmseg'),
        (lambda s: in_segmentor(as_mmseg(s)), 'mmseg'),
        (lambda s: export(s, 'mmpretrain'), 'mmpretrain'),
        (lambda s: export(s, 'hf'), 'hf'),
    ],
)
def test_van_is_recognised_in_every_disguise(tmp_path, disguise, layout):
    state = randomised(VAN('b0')).state_dict()
    torch.save(disguise(state), tmp_path / 'van.pth')
    assert convert(state_dict_of(read_checkpoint(tmp_path / 'van.pth'))).layout == layout
    network = VAN('b0')
    assert not same(network.state_dict(), state)
    assert same(initialise(network, tmp_path / 'van.pth').state_dict(), state)


@pytest.mark.parametrize('layout', LAYOUTS, ids=lambda layout: f'{layout.network}-{layout.name}')
def test_no_two_names_of_a_table_mean_one(layout):
    assert len(set(layout.names.values())) == len(layout.names)


@pytest.mark.parametrize('to', TARGETS['VAN'])
def test_van_goes_to_every_layout_and_back_bit_by_bit(to):
    state = official_van()
    assert same(convert(export(state, to)).state_dict, state)
    backbone = {k: v for k, v in state.items() if k[:4] != 'head'}
    assert same(convert(export(backbone, to)).state_dict, backbone)


def test_van_is_written_for_mmpretrain_and_hugging_face():
    state = official_van()
    mmpretrain = MMPretrainVAN('tiny').state_dict()
    written = export(state, 'mmpretrain')
    assert {k.removeprefix('backbone.') for k in written if 'head' not in k} == set(mmpretrain)
    assert torch.equal(written['head.fc.weight'], state['head.weight'])
    assert set(export(state, 'hf')) == set(HuggingFaceVAN().state_dict())


def test_cyclemlp_goes_to_ours_and_back_bit_by_bit():
    state = official_cyclemlp()
    found = convert(state)
    assert (found.network, found.layout) == ('CycleMLP', 'official')
    assert sorted(found.dropped) == sorted(k for k in state if k.endswith('.offset'))
    assert len(found.dropped) == 20  # two in each of 2 + 2 + 4 + 2 blocks
    assert same(export(found.state_dict, 'official'), state)
    assert same(export(found.state_dict, 'timm'), found.state_dict)
    state['network.0.0.attn.sfc_h.offset'] += 1  # made for another network than the released
    assert 'network.0.0.attn.sfc_h.offset' in convert(state).state_dict


def test_a_file_is_wrapped_as_its_release_wraps_it(tmp_path):
    state = official_cyclemlp()
    safetensors.torch.save_file(state, tmp_path / 'in.safetensors')
    for to, wrapping in (('official', 'model'), ('mmvisattn', 'state_dict')):
        convert_file(tmp_path / 'in.safetensors', tmp_path / 'out.pth', to)
        written = torch.load(tmp_path / 'out.pth')
        assert list(written) == [wrapping]
        assert same(convert(written[wrapping]).state_dict, convert(state).state_dict)


def test_cyclemlp_official_starts_a_backbone(tmp_path):
    state = official_cyclemlp()
    torch.save({'model': state, 'args': Namespace(lr=1)}, tmp_path / 'CycleMLP_B1.pth')
    network = initialise(CycleMLP('b1'), tmp_path / 'CycleMLP_B1.pth').state_dict()
    shared = state.keys() & network.keys()
    assert len(shared) == len(network) - 8
    assert all(torch.equal(network[key], state[key]) for key in shared)
    match = CheckedPretrained(tmp_path / 'CycleMLP_B1.pth').check(CycleMLP('b1'))
    assert len(match.dropped) == 20 + 4
    assert match.new == [f'norm{i}.{kind}' for i in (0, 2, 4, 6) for kind in ('weight', 'bias')]
    assert (match.missing, match.unexpected, match.wrong_shape) == ([], [], [])


@pytest.mark.parametrize('arch', ['coatnet_0_rw_224', 'coatnet_rmlp_nano_rw_224'])
def test_timms_coatnet_starts_ours(tmp_path, arch):
    theirs = randomised(timm.create_model(arch))
    state = theirs.state_dict()
    key = 'stages.3.blocks.0.mlp.fc1.weight'
    weight = state[key]
    # timm's files hold such a matrix as that of a linear layer or of a 1 x 1 convolution
    state[key] = weight[:, :, None, None] if weight.ndim == 2 else weight[:, :, 0, 0]
    safetensors.torch.save_file(state, tmp_path / 'model.safetensors')
    match = CheckedPretrained(tmp_path / 'model.safetensors').check(CoAtNet(arch))
    assert match.coverage == 1.0
    assert match.unexpected == []
    assert {key.split('.')[0] for key in match.dropped} == {'norm', 'head'}
    ours = initialise(CoAtNet(arch), tmp_path / 'model.safetensors').state_dict()
    assert torch.equal(ours[key].flatten(), weight.flatten())
    assert convert(state).layout == 'timm'
    assert same(export(state, 'timm'), state)
    normed = CheckedPretrained(tmp_path / 'model.safetensors').check(CoAtNet(arch, out_norm=True))
    assert normed.new[0] == 'norm0.weight'


def test_a_network_without_a_release_is_loaded_as_it_is(tmp_path):
    state = randomised(SASAResNet('r26')).state_dict()
    torch.save({'state_dict': in_segmentor(state)}, tmp_path / 'ours.pth')
    assert same(initialise(SASAResNet('r26'), tmp_path / 'ours.pth').state_dict(), state)
    library = randomised(ResNet(18)).state_dict()
    torch.save({**library, 'fc.bias': torch.ones(9)}, tmp_path / 'resnet.pth')
    assert convert(library).layout == 'plain'
    assert same(initialise(ResNet(18), tmp_path / 'resnet.pth').state_dict(), library)
    assert CheckedPretrained(tmp_path / 'resnet.pth').check(ResNet(18)).dropped == ['fc.bias']


def test_a_place_in_the_file_may_be_named(tmp_path):
    student, teacher = official_van(), official_van('b1')
    both = {f'student.backbone.{k}': v for k, v in student.items()}
    both |= {f'teacher.backbone.{k}': v for k, v in teacher.items()}
    assert 'student.backbone., teacher.backbone.' in refused(convert, both)
    found = convert(both, 'teacher')
    assert (found.prefix, len(found.dropped)) == ('teacher.backbone.', len(student))
    assert same(found.state_dict, teacher)
    assert 'one of student, teacher' in refused(convert, both, 'backbone')


def test_a_whole_model_keeps_its_other_parts():
    state = official_van()
    ours = in_segmentor(state)
    assert same(convert_inside(in_segmentor(as_mmseg(state))), ours)
    assert same(convert_inside(ours), ours)
    library = in_segmentor(ResNet(18).state_dict())
    assert same(convert_inside(library), library)


def test_what_cannot_be_written_is_said():
    assert 'CoAtNet has no layout' in refused(
        export, timm.create_model('coatnet_0_rw_224').state_dict(), 'official'
    )
    said = refused(export, official_van(), 'mmpretrian')
    assert "did you mean 'mmpretrain'" in said
    assert 'mmvisattn, official, timm' in said
    assert 'VAN or CycleMLP or CoAtNet' in refused(export, ResNet(18).state_dict(), 'timm')
    twice = {**official_van(), 'block1.0.mlp.dwconv.weight': torch.ones(1)}
    assert 'two tensors for block1.0.mlp.dwconv.dwconv.weight' in refused(convert, twice)


def test_every_network_with_a_layout_has_all_that_belongs_to_it():
    networks = {layout.network for layout in LAYOUTS}
    assert networks == set(TARGETS) == set(CLASSIFIER) == set(HEADS) - {''}
    assert networks <= {network.__name__ for network, _ in NAMES.values()}
    assert {published.network for published in zoo.PUBLISHED.values()} <= networks


# Initialising


def test_one_renamed_key_is_named_and_nothing_is_loaded(tmp_path):
    state = official_van()
    state['block1.0.norm1.wieght'] = state.pop('block1.0.norm1.weight')
    torch.save(state, tmp_path / 'van.pth')
    network = VAN('b0')
    before = {key: value.clone() for key, value in network.state_dict().items()}
    said = refused(initialise, network, tmp_path / 'van.pth')
    assert '1 missing              block1.0.norm1.weight' in said
    assert '1 unexpected           block1.0.norm1.wieght' in said
    assert 'layout: VAN official' in said
    assert same(network.state_dict(), before)


def test_less_may_be_asked_for(tmp_path):
    torch.save(official_van('b1'), tmp_path / 'b1.pth')
    said = refused(initialise, VAN('b2'), tmp_path / 'b1.pth')
    assert 'not a checkpoint of this network' in said
    match = Match.of(VAN('b2'), official_van('b1'))
    assert 0 < match.coverage < 1
    network = initialise(VAN('b2'), tmp_path / 'b1.pth', min_coverage=match.coverage)
    state = official_van('b1')
    assert all(torch.equal(network.state_dict()[key], state[key]) for key in match.matched)
    state['norm1.weight'] = torch.ones(7)
    torch.save(state, tmp_path / 'b1.pth')
    assert '1 wrong shape          norm1.weight' in refused(
        initialise, VAN('b1'), tmp_path / 'b1.pth'
    )
    assert initialise(VAN('b1'), tmp_path / 'b1.pth', min_coverage=0.9).norm1.weight.shape == (64,)
    assert 'a share' in refused(CheckedPretrained, 'x', min_coverage=90)


def test_a_deeper_network_does_not_pass_for_a_shallower(tmp_path):
    """All of VAN-B2 is found in VAN-B3, by name and shape; and VAN-B3 is not VAN-B2."""
    shallow = dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 1, 1])
    torch.save(VAN({**shallow, 'depths': [1, 2, 1, 1]}).state_dict(), tmp_path / 'deep.pth')
    said = refused(initialise, VAN(shallow), tmp_path / 'deep.pth')
    assert ' 0 missing' in said
    assert re.search('unexpected +block2.1.layer_scale_1', said)
    initialise(VAN(shallow), tmp_path / 'deep.pth', min_coverage=0.99)

    whole = nn.Module()
    whole.backbone = VAN(shallow)
    state_dict = {f'backbone.{k}': v for k, v in read_checkpoint(tmp_path / 'deep.pth').items()}
    assert 'block2.1' in refused(require_match, whole, state_dict, 'deep.pth')


def test_fine_tuning_takes_a_backbone_whole_or_not_at_all():
    """Heads may be of other classes; a deeper or shallower backbone is another network."""

    def model(depths, classes=3, **kwargs):
        whole = nn.Module()
        whole.backbone = VAN(dict(embed_dims=[8, 16, 24, 32], depths=depths), **kwargs)
        whole.head = nn.Linear(32, classes)
        return whole

    def fine_tune(whole, file):
        return require_match(whole, file.state_dict(), 'file', min_coverage=0.5)

    match = fine_tune(model([1, 2, 1, 1]), model([1, 2, 1, 1], classes=7))
    assert match.wrong_shape == ['head.weight', 'head.bias']
    for depths in ([1, 1, 1, 1], [1, 3, 1, 1]):
        assert 'not a checkpoint' in refused(fine_tune, model([1, 2, 1, 1]), model(depths))
    raw, normalised = model([1, 1, 1, 1], out_norm=False), model([1, 1, 1, 1])
    assert 'backbone.norm4' in refused(fine_tune, raw, normalised), 'the head expects it'
    with_head = {**normalised.state_dict(), 'backbone.head.weight': torch.ones(9, 32)}
    assert require_match(normalised, with_head, 'file').dropped == ['backbone.head.weight']
    fewer = model([1, 1, 1, 1], out_indices=(0, 1))
    assert fine_tune(fewer, normalised).amiss == []


@pytest.mark.parametrize(
    'arch',
    [dict(order='paper'), dict(step_sizes=((1, 5), (5, 1))), dict(step_sizes=((3, 1), (1, 3)))],
    ids=str,
)
def test_offsets_of_another_network_are_refused(tmp_path, arch):
    """The release stores them; by name and shape its weights fit networks of other steps too."""
    small = dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 1, 1])
    official = export(CycleMLP(small, out_norm=False).state_dict(), 'official')
    assert any(key.endswith('.offset') for key in official)
    torch.save(dict(model=official), tmp_path / 'cyclemlp.pth')
    initialise(CycleMLP(small), tmp_path / 'cyclemlp.pth')
    said = refused(initialise, CycleMLP({**small, **arch}), tmp_path / 'cyclemlp.pth')
    assert re.search(r'unexpected +network.0.0.attn.sfc_h.offset', said)


def test_an_official_file_with_offsets_passes_the_check_before_a_run(tmp_path):
    """The backbone is built without memory there, the file's offsets are compared all the same."""
    file, weights = tmp_path / 'cyclemlp.pth', CycleMLP('b1', out_norm=False).state_dict()
    torch.save(dict(model=export(weights, 'official')), file)
    config = ROOT / 'configs' / 'upernet_cyclemlp_b1_demo.py'
    cfg = load_config(config, None)
    run_module._use_pretrained(cfg.model, str(file))
    run_module._check_backbone(cfg)
    cfg.model.backbone.arch = dict(base='b1', order='paper')
    assert 'sfc_h.offset' in refused(run_module._check_backbone, cfg)


def test_averaged_weights_are_named_and_can_be_taken(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(pretrained, 'print_log', lambda text, **_: said.append(text))
    one, other = VAN('b0').state_dict(), VAN('b0').state_dict()
    file = tmp_path / 'timm.pth.tar'
    torch.save(dict(state_dict=one, state_dict_ema=other), file)
    assert same(initialise(VAN('b0'), file).state_dict(), one)
    assert 'taken from: state_dict; the file also holds state_dict_ema' in said[0]
    taken = initialise(VAN('b0'), file, place='state_dict_ema').state_dict()
    assert same(taken, other)
    assert 'state_dict_ema' in refused(initialise, VAN('b0'), file, place='model_ema')
    torch.save(dict(model_ema=other), file)
    assert same(initialise(VAN('b0'), file).state_dict(), other)


@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.', 'module._orig_mod.', 'model.',
                                    'backbone._orig_mod.', 'encoder.'])  # fmt: skip
@pytest.mark.parametrize('name', FIRST.values())
def test_a_network_is_found_in_every_wrapping(tmp_path, prefix, name):
    network, arch = NAMES[name]
    whole = network(arch, out_indices=(0,))
    state_dict = {prefix + key: value for key, value in whole.state_dict().items()}
    torch.save(dict(state_dict=state_dict), tmp_path / 'file.pth')
    found = initialise(network(arch, out_indices=(0,)), tmp_path / 'file.pth')
    assert same(found.state_dict(), whole.state_dict())


def test_a_published_name_belongs_to_its_architecture(monkeypatch, tmp_path):
    """Both have tensors of the same names and shapes."""
    monkeypatch.setenv('MMVISATTN_WEIGHTS', str(tmp_path))
    name = 'coatnet_rmlp_2_rw_384.sw_in12k_ft_in1k'
    assert "'coatnet_rmlp_2_rw_384'" in refused(
        CheckedPretrained(name).check, CoAtNet('coatnet_rmlp_2_rw_224', out_indices=(0,))
    )


def test_files_of_one_name_from_two_places_are_two():
    urls = [f'http://example.org/{run}/best.pth' for run in 'ab']
    assert len({unpublished_name(url) for url in urls}) == 2
    assert all(unpublished_name(url).endswith('_best.pth') for url in urls)


@pytest.mark.parametrize('name', FIRST.values())
def test_fewer_outputs_take_the_whole_file(tmp_path, name):
    network, arch = NAMES[name]
    whole, part = network(arch, out_norm=True), network(arch, out_indices=(0, 2))
    torch.save(whole.state_dict(), tmp_path / 'whole.pth')
    initialise(part, tmp_path / 'whole.pth')
    assert all(torch.equal(v, whole.state_dict()[k]) for k, v in part.state_dict().items())


class Parent(BaseModule):
    """A network whose child has an initialisation of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.child = Child()


class Child(BaseModule):
    def __init__(self):
        super().__init__(dict(type='Constant', layer='Linear', val=7))
        self.fc = nn.Linear(2, 2)


def test_children_do_not_overwrite_what_was_loaded(tmp_path):
    torch.save({'child.fc.weight': torch.zeros(2, 2), 'child.fc.bias': torch.ones(2)},
               tmp_path / 'x.pth')  # fmt: skip
    cfg = dict(type='mmvisattn.CheckedPretrained', checkpoint=str(tmp_path / 'x.pth'))
    parent = Parent(init_cfg=cfg)
    parent.init_weights()
    assert parent.child.fc.weight.eq(0).all()
    assert parent.child.fc.bias.eq(1).all()


def test_plain_mmengine_finds_the_type_and_logs_what_was_loaded(tmp_path):
    """With nothing of ours imported, and the norm before and after in the log."""
    torch.save({'state_dict': official_van()}, tmp_path / 'van.pth')
    sha256 = hashlib.sha256((tmp_path / 'van.pth').read_bytes()).hexdigest()
    script = f"""
from mmengine.registry import MODELS
init_cfg = dict(type='mmvisattn.CheckedPretrained', checkpoint={str(tmp_path / 'van.pth')!r})
van = MODELS.build(dict(type='mmvisattn.VAN', arch='b0', init_cfg=init_cfg))
norm = lambda: sum(p.double().square().sum().item() for p in van.parameters()) ** 0.5
before = norm()
van.init_weights()
print(f'parameter norm: {{before:.6g}} before, {{norm():.6g}} after')
"""
    done = run(sys.executable, '-c', script)
    assert done.returncode == 0, done.tail
    (said, measured) = re.findall('parameter norm: .* before, .* after', done.output)
    assert said == measured
    assert 'layout: VAN official' in done.output
    assert '2 dropped as expected  head.weight, head.bias' in done.output
    tensors = sum('num_batches' not in key for key in VAN('b0').state_dict())
    assert f'coverage: 100.0% ({tensors} of {tensors} tensors)' in done.output
    assert f'sha256: {sha256}' in done.output


def test_weights_of_the_libraries_own_backbones_are_left_to_mmengine(tmp_path):
    backbone = ResNet(18, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'))
    assert require_pretrained_match(backbone) is None
    checked = dict(type='mmvisattn.CheckedPretrained', checkpoint=str(tmp_path / 'none.pth'))
    backbone = ResNet(18, init_cfg=[dict(type='Kaiming', layer='Conv2d'), checked])
    assert 'no such checkpoint' in refused(require_pretrained_match, backbone)


def test_plain_pretrained_is_held_to_what_mmengine_loads(tmp_path):
    """It looks under `state_dict`, never under `model`, and would load nothing in silence."""
    state = official_van()
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'van.pth'))
    torch.save({'state_dict': state}, tmp_path / 'van.pth')
    match = require_pretrained_match(VAN('b0', init_cfg=init_cfg))
    assert (match.coverage, match.dropped) == (1.0, ['head.weight', 'head.bias'])
    for content in ({'model': state}, {'state_dict': export(state, 'hf')}):
        torch.save(content, tmp_path / 'van.pth')
        assert 'CheckedPretrained' in refused(
            require_pretrained_match, VAN('b0', init_cfg=init_cfg)
        )
    torch.save(in_segmentor(state), tmp_path / 'van.pth')
    network = VAN('b0', init_cfg={**init_cfg, 'prefix': 'backbone'})
    assert require_pretrained_match(network).coverage == 1.0


# Published files


class served:
    """A folder behind http://, with the requests that came."""

    def __init__(self, folder, monkeypatch):
        monkeypatch.setenv('no_proxy', '127.0.0.1')
        monkeypatch.setenv('TORCH_HOME', str(folder / 'torch_home'))
        self.asked = asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args):
                super().__init__(*args, directory=str(folder))

            def do_GET(self):
                asked.append(self.path)
                if 'cut_short' in self.path:
                    self.send_response(200)
                    self.send_header('Content-Length', '1000000')
                    self.end_headers()
                    self.wfile.write(b'ten bytes.')
                else:
                    super().do_GET()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f'http://127.0.0.1:{self.server.server_address[1]}'

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A server of one checkpoint, its address, and the folder of downloads."""
    server = served(tmp_path, monkeypatch)
    (tmp_path / 'mirror').mkdir()
    torch.save({'state_dict': official_van()}, tmp_path / 'mirror' / 'van.pth')
    digits = hashlib.sha256((tmp_path / 'mirror' / 'van.pth').read_bytes()).hexdigest()
    shutil.copy(tmp_path / 'mirror' / 'van.pth', tmp_path / 'mirror' / f'van-{digits[:8]}.pth')
    with server as url:
        yield Namespace(
            url=f'{url}/mirror', asked=server.asked, digits=digits, name=f'van-{digits[:8]}.pth',
            downloads=tmp_path / 'torch_home' / 'hub' / 'checkpoints',
        )  # fmt: skip


def publish(monkeypatch, *urls):
    monkeypatch.setitem(zoo.PUBLISHED, 'van_b0_test', Published('VAN', 'b0', urls))


def test_a_published_name_is_had_from_the_first_mirror_that_lives(web, monkeypatch):
    publish(monkeypatch, f'http://127.0.0.1:1/{web.name}', f'{web.url}/{web.name}')
    network = initialise(VAN('b0'), 'van_b0_test')
    assert same(network.state_dict(), randomised(VAN('b0')).state_dict())
    assert locate('van_b0_test') == web.downloads / web.name
    assert len(web.asked) == 1, 'downloaded once'
    assert not list(web.downloads.glob('*.partial'))


def test_another_file_than_the_published_one_is_refused(web, monkeypatch, tmp_path):
    other = 'van-00000000.pth'
    shutil.copy(tmp_path / 'mirror' / 'van.pth', tmp_path / 'mirror' / other)
    publish(monkeypatch, f'{web.url}/{other}')
    said = refused(locate, 'van_b0_test')
    assert f'sha256 {web.digits} instead of 00000000' in said
    assert not [p for p in web.downloads.iterdir() if p.suffix != '.lock'], 'none is kept'
    shutil.copy(tmp_path / 'mirror' / 'van.pth', web.downloads / other)
    assert f'{web.downloads / other} is not the file' in refused(locate, 'van_b0_test')
    publish(monkeypatch, f'{web.url}/{other}', f'{web.url}/{web.name}')
    (web.downloads / other).unlink()
    assert locate('van_b0_test').name == web.name, 'the next mirror is tried'


def test_the_offline_folder_comes_first(web, monkeypatch, tmp_path):
    publish(monkeypatch, f'{web.url}/{web.name}')
    monkeypatch.setenv('MMVISATTN_WEIGHTS', str(tmp_path / 'offline'))
    (tmp_path / 'offline').mkdir()
    (tmp_path / 'offline' / web.name).write_bytes((tmp_path / 'mirror/van.pth').read_bytes())
    assert locate('van_b0_test') == tmp_path / 'offline' / web.name
    assert web.asked == []
    (tmp_path / 'offline' / web.name).write_bytes(b'half')
    assert f'{tmp_path}/offline/{web.name} is not the file' in refused(locate, 'van_b0_test')


def test_without_network_it_says_what_to_do(web, monkeypatch, tmp_path):
    monkeypatch.setenv('MMVISATTN_WEIGHTS', str(tmp_path / 'offline'))
    urls = ['http://127.0.0.1:1/a.pth', f'{web.url}/nothing.pth', f'{web.url}/cut_short.pth']
    publish(monkeypatch, *urls)
    said = refused(initialise, VAN('b0'), 'van_b0_test')
    assert all(url in said for url in urls)
    assert '404' in said
    assert 'broke off after 10 of' in said
    assert f'{tmp_path}/offline or {web.downloads}' in said
    assert '--pretrained FILE' in said
    assert not (web.downloads / 'cut_short.pth').exists()


def test_a_sha256_may_be_pinned(web, tmp_path):
    file = tmp_path / 'mirror' / 'van.pth'
    for source in (file, f'{web.url}/van.pth'):
        assert locate(source, web.digits).read_bytes() == file.read_bytes()
        assert 'is not the file' in refused(locate, source, 'f' * 64)
    initialise(VAN('b0'), file, sha256=web.digits[:8])
    assert 'is not one' in refused(CheckedPretrained, 'x', sha256='abc')


def test_a_misspelt_name_is_corrected():
    assert "did you mean 'van_b2_in1k'" in refused(locate, 'van_b2_in1K')


@pytest.mark.parametrize('name', published())
def test_a_published_network_exists_and_its_files_have_names_of_their_own(name):
    entry = published()[name]
    with torch.device('meta'):
        getattr(backbones, entry.network)(entry.arch)
    others = [e for other, e in published().items() if other != name]
    names = {file_name(url) for url in entry.urls}
    assert not names & {file_name(url) for other in others for url in other.urls}


def test_the_digits_in_a_published_files_name_are_held_to():
    assert list(published()['van_b2_in1k'].mirrors.values()) == ['6a4cc31b', '6a4cc31b', None]
    timms = published()['coatnet_0_rw_224.sw_in1k']
    assert list(timms.mirrors.values()) == ['a6439706', None]
    assert file_name(timms.urls[1]) == 'coatnet_0_rw_224.sw_in1k.safetensors'


# Tools


def test_the_converter_converts_files(tmp_path):
    state = official_van()
    source = tmp_path / 'van.pth'
    torch.save({'state_dict': state}, source)
    tool = 'model_converters/convert.py'
    done = run_tool(tool, source, tmp_path / 'new' / 'hf.safetensors', '--to', 'hf')
    assert done.returncode == 0, done.tail
    assert 'layout: VAN official' in done.output
    assert f'{len(state)} tensors read, 0 left out' in done.output
    done = run_tool(tool, tmp_path / 'new' / 'hf.safetensors', tmp_path / 'b.pth', '--to', 'timm')
    assert 'layout: VAN hf' in done.output
    assert same(torch.load(tmp_path / 'b.pth'), state)
    done = run_tool(tool, source, source, '--to', 'hf')
    assert done.returncode == 2
    assert 'is the file that is read' in done.output
    assert same(torch.load(source)['state_dict'], state)


@pytest.fixture(scope='module')
def trained(ade20k, tmp_path_factory):
    """A run of one iteration whose frozen backbone came out of another segmentor."""
    folder = tmp_path_factory.mktemp('weights')
    state = {k: torch.full_like(v, 0.01) for k, v in VAN('b0').state_dict().items()}
    torch.save({'model': in_segmentor(state)}, folder / 'van.pth')
    done = run_tool(
        'train.py', CONFIG, '--pretrained', folder / 'van.pth', '--no-validate',
        *short_run(ade20k, folder / 'run', 1), 'model.backbone.frozen_stages=3',
    )  # fmt: skip
    assert done.returncode == 0, done.tail
    return Namespace(work_dir=folder / 'run', state=state)


# A file that is nowhere: whoever looks for it fails.
NOWHERE = ['model.backbone.init_cfg.type=mmvisattn.CheckedPretrained',
           'model.backbone.init_cfg.checkpoint=nowhere.pth']  # fmt: skip


def test_training_logs_what_it_starts_from(trained):
    log = next(trained.work_dir.glob('*/*.log')).read_text()
    for line in ('layout: VAN official, under', 'coverage: 100.0%', 'parameter norm:',
                 '2 dropped as expected  decode_head.conv_seg.weight'):  # fmt: skip
        assert line in log
    assert 'random weights' not in log
    state = read_checkpoint(trained.work_dir / 'iter_1.pth')['state_dict']
    assert same({key: state[f'backbone.{key}'] for key in trained.state}, trained.state)


def test_resuming_needs_no_pretrained_weights(trained, ade20k, tmp_path):
    work_dir = shutil.copytree(trained.work_dir, tmp_path / 'run')
    done = run_tool('train.py', CONFIG, '--resume', '--no-validate', *short_run(ade20k, work_dir),
                    'model.backbone.frozen_stages=3', *NOWHERE)  # fmt: skip
    assert done.returncode == 0, done.tail
    assert (work_dir / 'iter_2.pth').is_file()


def test_a_checkpoint_of_the_older_mmsegmentation_is_tested(trained, ade20k, tmp_path):
    """As VAN-Segmentation's: DataParallel's prefix, an optimizer, classes in capitals."""
    state = read_checkpoint(trained.work_dir / 'iter_1.pth')['state_dict']
    torch.save(
        {
            'meta': {'CLASSES': ('sky', 'tree'), 'PALETTE': [[1, 2, 3], [4, 5, 6]], 'iter': 160000},
            'state_dict': {f'module.{key}': value for key, value in state.items()},
            'optimizer': {'state': {0: {'step': 1, 'exp_avg': torch.ones(2)}}, 'param_groups': []},
        },
        tmp_path / 'upernet_van_b0.pth',
    )
    done = run_tool('test.py', CONFIG, tmp_path / 'upernet_van_b0.pth',
                    *short_run(ade20k, tmp_path / 'old'), *NOWHERE)  # fmt: skip
    assert done.returncode == 0, done.tail
    metric = r'aAcc: +[\d.]+ +mIoU: +[\d.]+'
    alone = run_tool('test.py', CONFIG, trained.work_dir, *short_run(ade20k, tmp_path / 'new'))
    assert re.search(metric, done.output)[0] == re.search(metric, alone.output)[0]


def test_random_weights_on_purpose_are_no_warning(ade20k, tmp_path):
    done = run_tool('train.py', CONFIG, '--pretrained', 'none', '--no-validate',
                    *short_run(ade20k, tmp_path / 'run', 1), *NOWHERE)  # fmt: skip
    assert done.returncode == 0, done.tail
    (line,) = [line for line in done.output.splitlines() if 'random weights' in line]
    assert 'INFO' in line


def test_a_config_whose_weights_do_not_fit_is_refused_before_the_run(ade20k, tmp_path):
    torch.save(official_van('b1'), tmp_path / 'b1.pth')
    options = short_run(ade20k, tmp_path / 'run')
    named = [NOWHERE[0], f'model.backbone.init_cfg.checkpoint={tmp_path / "b1.pth"}']

    def said(*args):
        return refused(train, train_parser().parse_args(list(map(str, args))))

    assert 'wrong shape' in said(CONFIG, *options, *named)
    assert "did you mean 'van_b0_in1k'" in said(CONFIG, '--pretrained', 'van_b0_in1K', *options)
    assert 'no such checkpoint' in said(CONFIG, *options, *NOWHERE)
    library = tmp_path / 'library.py'
    init_cfg = dict(type='mmvisattn.CheckedPretrained', checkpoint=str(tmp_path / 'b1.pth'))
    backbone = dict(_delete_=True, type='ResNet', depth=18, init_cfg=init_cfg)
    library.write_text(f'_base_ = {str(CONFIG)!r}\nmodel = dict(backbone={backbone})\n')
    assert 'tensors of ResNet' in said(library, *options)
    assert not (tmp_path / 'run').exists()
