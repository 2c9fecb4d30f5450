"""The metafiles, the pages that are made of them, and the scores of our own runs."""

import json
import re
import runpy
import sys

import pytest
import yaml
from conftest import ROOT

from mmvisattn.analysis import catalogue, fidelity, metafiles, zoo
from mmvisattn.analysis.scores import keep, scores_of
from mmvisattn.engine.config import load_config
from mmvisattn.errors import UserError

WRITE = 'run python tools/analysis_tools/write_pages.py'
ENTRIES = {entry.name: entry for entry in catalogue.entries()}
# One of every task, with another network each; the slow test has every framework.
COUNTED = (
    'atss_coatnet_0_coco',
    'classifier_r50_imagenet',
    'fpn_van_b1_ade20k',
    'mask_rcnn_cyclemlp_b2_coco',
    'simple_baseline_256x192_sasa_r26_coco',
    'upernet_van_b0_demo',
)
FRAMEWORKS = {
    entry.framework: entry.name
    for entry in sorted(ENTRIES.values(), key=lambda e: (e.network == 'van_b0', e.network))
    if entry.name not in COUNTED
}


@pytest.fixture(scope='module')
def counts():
    return metafiles.kept_counts()


def models():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    for name in index['Import']:
        content = yaml.safe_load((ROOT / name).read_text())
        (collection,) = content['Collections']
        for model in content['Models']:
            yield collection, model


def test_the_pages_and_metafiles_are_current(counts):
    """As text, from the numbers that the metafiles keep; the tests below count some again."""
    for name, text in metafiles.texts(counts).items():
        assert (ROOT / name).read_text() == text, WRITE
    assert (ROOT / 'docs' / 'configs.md').read_text() == catalogue.markdown(counts), WRITE
    assert (ROOT / 'docs' / 'model_zoo.md').read_text() == zoo.markdown(counts), WRITE
    known = {name.rpartition('/')[2] for name in metafiles.texts(counts)}
    assert {path.name for path in metafiles.FOLDER.iterdir()} <= known


def recount(name, counts):
    assert metafiles.count(ENTRIES[name]) == counts[name], f'{WRITE} --count {name}'


@pytest.mark.parametrize('name', COUNTED)
def test_the_counts_of_a_few_are_current(name, counts):
    recount(name, counts)


@pytest.mark.slow
@pytest.mark.parametrize('framework', FRAMEWORKS)
def test_the_counts_of_a_framework_are_current(framework, counts):
    recount(FRAMEWORKS[framework], counts)


@pytest.mark.every_size
@pytest.mark.parametrize('name', ENTRIES)
def test_the_counts_are_current(name, counts):
    recount(name, counts)


def test_the_metafiles_follow_the_convention():
    """As mim, MMEngine and the index of papers with code read them."""
    found = {model['Config']: (collection, model) for collection, model in models()}
    assert set(found) == {f'configs/{p.name}' for p in (ROOT / 'configs').glob('*.py')}
    for config, (collection, model) in found.items():
        assert (ROOT / config).stem == model['Name']
        assert model['In Collection'] == collection['Name']
        assert model['Metadata']['Parameters'] > 1e6
        for result in model.get('Results', ()):
            assert {'Task', 'Dataset', 'Metrics'} <= set(result)
            assert all(0 < value < 100 for value in result['Metrics'].values())
            assert ('Reported By' in result) != ('Records' in result)
    for collection, _ in found.values():
        assert {'Name', 'Paper', 'Code', 'README'} <= set(collection)
        assert (ROOT / collection['README']).is_file()
        code = collection['Code']['URL']
        assert code.startswith('https:') or (ROOT / code).is_file()


def test_published_scores_are_read_from_the_remarks():
    """Each score of the papers, and none that belongs to another schedule."""
    results = [(m['Name'], r) for _, m in models() for r in m.get('Results', ())]
    # Those with records are ours.
    reported = {n: (r['Metrics'], r['Reported By']) for n, r in results if 'Records' not in r}
    table = 'the VAN paper, Table '
    assert reported['mask_rcnn_van_b2_coco'] == ({'box AP': 46.4, 'mask AP': 41.8}, f'{table}10')
    assert reported['upernet_van_b4_ade20k'] == ({'mIoU(ms+flip)': 52.2}, f'{table}12')
    assert reported['fpn_van_b0_ade20k'] == ({'mIoU': 38.5}, f'{table}12')
    assert reported['simple_baseline_384x288_van_b2_coco'] == ({'AP': 76.7}, f'{table}15')
    assert reported['classifier_van_b0_imagenet'][0] == {'Top 1 Accuracy': 75.4}
    for name, entry in ENTRIES.items():
        says = re.search(r'\((reported|stated) by', entry.remark)
        of_another = entry.remark.startswith('Nobody has published a 1x score')
        assert (name in reported) == bool(says and not of_another), entry.remark


def test_a_config_starts_from_the_weights_that_the_zoo_names():
    for name in ('upernet_van_b2_ade20k', 'classifier_van_b2_imagenet', 'fpn_swin_t_ade20k'):
        init_cfg = load_config(ENTRIES[name].path).model.backbone.init_cfg
        assert (init_cfg and init_cfg.checkpoint) == ENTRIES[name].weights


def record(entry, seed, miou, **changes):
    """What `read_record` takes for the record of a finished training."""
    groups = dict.fromkeys(('code', 'packages', 'machine', 'environment'), {})
    return {
        'schema': 1, **groups, 'weights': [],
        'run': {'task': 'train', 'seed': seed, 'start': '2026-01-01T00:00:00+00:00'},
        'config': {'path': str(entry.path), 'sha256': 'a', 'text': ''},
        'data': {'train_dataloader.img_path': {'path': 'data', 'sha256': 'd'}},
        'outcome': {'status': 'finished', 'metrics': {'mIoU': miou}, 'step': 400},
        **changes,
    }  # fmt: skip


DEMO = ENTRIES['upernet_van_b0_demo']


def store(folder, *records):
    (folder / DEMO.name).mkdir()
    for seed, content in enumerate(records):
        (folder / DEMO.name / f'seed_{seed}.json').write_text(json.dumps(content))


def test_scores_are_mean_and_deviation_of_the_records(tmp_path, monkeypatch, counts):
    assert scores_of(DEMO, tmp_path) is None
    store(tmp_path, *(record(DEMO, seed, miou) for seed, miou in enumerate((79.0, 80.0, 84.0))))
    scores = scores_of(DEMO, tmp_path)
    assert scores.metrics['mIoU'].mean == 81
    assert scores.metrics['mIoU'].std == pytest.approx(7**0.5)  # (4 + 1 + 9) / (3 - 1)
    assert (scores.seeds, scores.steps) == ((0, 1, 2), 400)

    monkeypatch.setattr(scores_of, '__defaults__', (tmp_path,))
    line = next(li for li in zoo.markdown(counts).splitlines() if f'`{DEMO.name}`' in li)
    cells = [cell.strip() for cell in line.strip('|').split('|')]
    assert cells[1:] == [
        '4.5',
        f'[81.0 ± 2.6](model_zoo/{DEMO.name}/seed_0.json)',
        '0, 1, 2',
        '400',
    ]
    files = metafiles.texts(counts)
    by_name = {m['Name']: m for m in yaml.safe_load(files['configs/metafiles/van.yml'])['Models']}
    (result,) = by_name[DEMO.name]['Results']
    assert result['Metrics'] == {'mIoU': 81.0}
    assert result['Records'] == f'docs/model_zoo/{DEMO.name}'


def test_what_cannot_be_averaged_is_refused(tmp_path):
    wrong = {
        'seed': record(DEMO, 5, 79.0),
        'config': record(ENTRIES['upernet_sasa_r26_demo'], 1, 79.0),
        'status': record(DEMO, 1, 79.0, outcome={'status': 'stopped', 'metrics': {'mIoU': 9.0}}),
        'metrics': record(DEMO, 1, 79.0, outcome={'status': 'finished', 'metrics': {}}),
        'one config': record(DEMO, 1, 79.0, config={'path': str(DEMO.path), 'sha256': 'b'}),
        'one data': record(DEMO, 1, 79.0, data={'train': {'sha256': 'e'}}),
    }
    for number, (word, second) in enumerate(wrong.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        store(folder, record(DEMO, 0, 80.0), second)
        with pytest.raises(UserError, match=word):
            scores_of(DEMO, folder)


def test_the_newest_finished_records_are_kept(tmp_path, monkeypatch, capsys):
    """And shown, by the tool that writes the pages."""
    runs, kept = tmp_path / 'runs', tmp_path / 'kept'
    for seed, miou, start in ((0, 70.0, '01'), (0, 80.0, '02'), (1, 82.0, '01')):
        content = record(DEMO, seed, miou)
        content['run'] |= {'start': f'2026-01-{start}T00:00:00+00:00', 'folder': '/home/me/here',
                           'work_dir': '/home/me/here/runs'}  # fmt: skip
        content['machine'] = {'host': 'mine', 'cpu': 'AMD EPYC'}
        log_dir = runs / f'seed_{seed}' / f'log_{start}'
        log_dir.mkdir(parents=True)
        (log_dir / 'record.json').write_text(json.dumps(content))
    monkeypatch.setattr('mmvisattn.places.ROOT', tmp_path)
    monkeypatch.setattr(keep, '__defaults__', (kept,))
    monkeypatch.setattr(scores_of, '__defaults__', (kept,))
    monkeypatch.setattr(fidelity, 'markdown', lambda: '')  # takes most of a minute, unchanged
    monkeypatch.setattr(sys, 'argv', ['write_pages.py', '--keep', str(runs)])
    runpy.run_path(str(ROOT / 'tools/analysis_tools/write_pages.py'), run_name='__main__')
    said = capsys.readouterr().out
    assert re.findall(r'kept .*(seed_\d)', said) == ['seed_0', 'seed_1']
    assert 'counted' not in said
    assert scores_of(DEMO).metrics['mIoU'].values == (80.0, 82.0)
    copy = (kept / DEMO.name / 'seed_0.json').read_text()
    assert 'mine' not in copy  # nor where it was made
    assert '/home' not in copy
    assert json.loads(copy)['run']['work_dir'] == 'runs'
    assert '[81.0 ± 1.4]' in (tmp_path / 'docs' / 'model_zoo.md').read_text()
    assert 'mIoU: 81.0' in (tmp_path / 'configs' / 'metafiles' / 'van.yml').read_text()
    with pytest.raises(UserError, match='no training has finished'):
        keep(tmp_path / 'nothing', kept)
