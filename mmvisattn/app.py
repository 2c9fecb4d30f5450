"""A page in the browser to try networks on: a picture, what is found, and where the network looked.

Built with Gradio. It is served to this machine alone, loads nothing from the network and reports
nothing to anyone.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import UserError
from .inference import Inferencer
from .visualization.cam import paint_cam
from .visualization.targets import names_of

if TYPE_CHECKING:
    import gradio

HOST = '127.0.0.1'  # this machine alone: the page runs a network for whoever reaches it
SUREST = 'what the network finds most'
LARGEST = '50mb'  # of a picture
KEPT = 3600  # seconds that pictures stay on the disk


def serve(networks: Mapping[str, Inferencer], port: int | None = None) -> gradio.Blocks:
    """Serve the page, in threads of its own; its `local_url` is where, `block_thread()` waits.

    Args:
        networks: What there is to choose from, by the names to show.
        port: To listen on; None: the first free one from 7860 on.

    Raises:
        UserError: Gradio is missing, or the port is taken.
    """
    page = make_page(networks)
    # The browser's own fonts; Gradio's would be loaded from elsewhere.
    fonts = dict(font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace'])
    try:
        page.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=LARGEST,
            footer_links=[],
            ssr_mode=False,
            theme=_gradio().themes.Default(**fonts),
        )
    except OSError as error:
        raise UserError('the page cannot be served', got=error, do='name another --port') from error
    return page


def make_page(networks: Mapping[str, Inferencer]) -> gradio.Blocks:
    """The page, for Gradio to launch; see `serve`.

    Args:
        networks: What there is to choose from, by the names to show.

    Raises:
        UserError: Gradio is missing.
    """
    gr = _gradio()
    one_at_a_time = threading.Lock()  # maps are made with hooks on the network

    def choices(name: str) -> gradio.Dropdown:
        return gr.Dropdown([SUREST, *names_of(networks[name])], value=SUREST)

    def look(
        name: str, picture: str | None, score_thr: float, target: str
    ) -> tuple[NDArray[np.uint8], gradio.Image, str]:
        if picture is None:
            raise gr.Error('There is no picture yet: drop one on the left.', print_exception=False)
        network, wanted = networks[name], None if target == SUREST else target
        with one_at_a_time:
            try:
                result = network(picture)
            except UserError as error:
                raise gr.Error(str(error), print_exception=False) from error
            painted = result.draw(score_thr, times=None)
            try:
                heat, said = paint_cam(network, picture, wanted)
                size = painted.shape[1::-1]  # small pictures are painted larger
                heat = np.asarray(Image.fromarray(heat).resize(size))
            except UserError as error:  # what was found is worth seeing all the same
                gr.Warning(str(error), title='No activation map')
                heat, said = None, 'none'
        shown = gr.Image(heat, label=f'Activation map of {said}')
        return painted, shown, result.summary(score_thr)

    with gr.Blocks(title='mmvisattn', analytics_enabled=False, delete_cache=(KEPT, KEPT)) as page:
        gr.Markdown('# mmvisattn\nDrop a picture: what is in it, and where the network looked.')
        with gr.Row():
            with gr.Column():
                name = gr.Dropdown(list(networks), label='Task and network')
                # The file itself, which networks read as they read those of a data set.
                picture = gr.Image(
                    label='Picture',
                    sources=['upload', 'clipboard'],
                    type='filepath',
                    image_mode=None,
                    buttons=[],
                )
                score_thr = gr.Slider(0, 1, value=0.3, label='Show from this score on')
                target = gr.Dropdown(
                    [SUREST, *names_of(networks[next(iter(networks))])],
                    label='Activation map of',
                )
                button = gr.Button('Look', variant='primary')
            with gr.Column():
                shown = dict(interactive=False, buttons=['download', 'fullscreen'])
                painted = gr.Image(label='Result', **shown)
                heat = gr.Image(label='Activation map', **shown)
                found = gr.Textbox(label='Found', interactive=False)
        name.change(choices, name, target)
        inputs, outputs = [name, picture, score_thr, target], [painted, heat, found]
        gr.on([button.click, picture.upload], look, inputs, outputs)
    return page


def _gradio() -> ModuleType:
    try:
        import gradio
    except ImportError as error:
        raise UserError(
            'the page takes the gradio package', got=error, do='pip install mmvisattn[app]'
        ) from error
    return gradio
