"""The page to play with, as a browser shows it."""

import re
import signal
import socket
import subprocess
import sys
from urllib.request import urlopen

import pytest
import torch
from conftest import ROOT
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from mmvisattn import Inferencer
from mmvisattn.app import HOST, serve
from mmvisattn.engine.config import load_config
from mmvisattn.errors import UserError


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    """The page with two networks of random weights, on a port of its own."""
    folder = tmp_path_factory.mktemp('app')
    networks = {}
    for name in ('upernet_van_b0_demo', 'classifier_van_b0_demo'):
        cfg = load_config(ROOT / f'configs/{name}.py')
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            state = MODELS.build(cfg.model).state_dict()
        torch.save({'state_dict': state}, folder / f'{name}.pth')
        inferencer = Inferencer(cfg, folder / f'{name}.pth', device='cpu')
        networks[inferencer.task] = inferencer
    served = serve(networks)
    served.networks = networks
    yield served
    served.close()


@pytest.fixture
def street(tmp_path):
    Image.radial_gradient('L').resize((160, 120)).convert('RGB').save(tmp_path / 'street.png')
    return tmp_path / 'street.png'


def shown(tab, label):
    """The picture under a label, as its size in the page's own pixels."""
    picture = tab.locator(f'.block:has(label:has-text("{label}")) img').last
    picture.wait_for(timeout=60_000)
    return picture.evaluate('i => i.decode().then(() => [i.naturalWidth, i.naturalHeight])')


@pytest.mark.parametrize('dark', [False, True], ids=['light', 'dark'])
def test_a_picture_is_dropped_and_looked_at(browser, page, street, dark):
    tab = browser.open(page.local_url, dark=dark)
    tab.locator('input[type=file]').set_input_files(street)
    painted = shown(tab, 'Result')
    assert painted == [480, 360]  # a small picture, three times as large
    assert shown(tab, 'Activation map of ') == painted
    found = tab.get_by_label('Found')
    assert re.search(r'\w+ \d+%', found.input_value())

    tab.get_by_label('Task and network').click()
    tab.get_by_role('option', name='classification').click()
    tab.get_by_label('Activation map of').click()
    classes = tab.get_by_role('option').all_inner_texts()
    tab.get_by_role('option').last.click()
    tab.get_by_role('button', name='Look').click()
    said = re.compile(f'Activation map of {re.escape(classes[-1].strip())}: ')
    tab.get_by_text(said).wait_for(timeout=60_000)
    assert re.search(r'\w+ 0\.\d\d', found.input_value())
    assert browser.outside == []


def test_without_a_picture_it_says_so(browser, page):
    tab = browser.open(page.local_url)
    tab.get_by_role('button', name='Look').click()
    tab.get_by_text('There is no picture yet').wait_for(timeout=30_000)


def test_only_this_machine_reaches_it(page):
    assert page.local_url.startswith(f'http://{HOST}:')
    with pytest.raises(OSError, match='refused'):  # an address of this machine it is not bound to
        socket.create_connection(('127.0.0.2', port_of(page)), timeout=5).close()


def test_a_taken_port_is_named(page):
    with pytest.raises(UserError, match='another --port'):
        serve(page.networks, port_of(page))


def test_the_tool_serves_until_it_is_interrupted(page, tmp_path):
    """From the command line, with a checkpoint's own folder beside it."""
    network = page.networks['classification']
    torch.save({'state_dict': network.model.state_dict()}, tmp_path / 'own.pth')
    tool = [sys.executable, ROOT / 'tools/app.py']
    config = ROOT / 'configs/classifier_van_b0_demo.py'
    with subprocess.Popen(
        [*tool, config, tmp_path / 'own.pth', '--device', 'cpu'],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        # What is started in the background inherits a SIGINT that is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as served:  # fmt: skip
        try:
            line = next(line for line in served.stdout if 'Ctrl-C' in line)
            with urlopen(line.split(': ')[0], timeout=30) as reply:
                assert 'mmvisattn' in reply.read().decode()
            served.send_signal(signal.SIGINT)
            assert served.wait(60) in (0, 130)
        finally:
            served.kill()
    done = subprocess.run([*tool, config], capture_output=True, text=True)
    assert done.returncode == 2
    assert 'each CONFIG takes a CHECKPOINT' in done.stderr


def port_of(page):
    return int(page.local_url.rstrip('/').rpartition(':')[2])
