"""Serve a page to try networks on: python tools/app.py CONFIG CHECKPOINT [CONFIG CHECKPOINT ...].

It listens on 127.0.0.1 alone. From another machine: ssh -L 7860:127.0.0.1:7860 THERE.
"""

import argparse
import sys
from pathlib import Path

try:
    from mmvisattn import Inferencer
    from mmvisattn.app import serve
    from mmvisattn.engine.arguments import Options
    from mmvisattn.errors import reported
    from mmvisattn.naming import distinct_names
except ModuleNotFoundError as error:
    sys.exit(f'error: {error}\n  do: make install, then source .venv/bin/activate')


def main() -> None:
    """Load the networks, serve the page and wait for Ctrl-C."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('networks', nargs='+', metavar='CONFIG CHECKPOINT', help='in pairs')
    parser.add_argument('--port', type=int, help='default: the first free one from 7860 on')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: a GPU if there is one')
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE')
    args = parser.parse_args()
    if len(args.networks) % 2:
        parser.error('each CONFIG takes a CHECKPOINT')
    loaded = {}
    configs, checkpoints = args.networks[::2], args.networks[1::2]
    for config, checkpoint, name in zip(
        configs, checkpoints, distinct_names(checkpoints), strict=True
    ):
        inferencer = Inferencer(
            config, checkpoint, device=args.device, cfg_options=args.cfg_options
        )
        loaded[f'{inferencer.task}: {Path(config).stem}, {name}'] = inferencer
    page = serve(loaded, args.port)
    print(f'{page.local_url}: {len(loaded)} to choose from; Ctrl-C ends', flush=True)
    page.block_thread()


if __name__ == '__main__':
    with reported():
        main()
