"""Settings that may stand alone at the top of a config or in --cfg-options.

Each is carried to every data set, metric, head and schedule (mmvisattn/engine/config.py).
"""

short_settings = [
    'data_root', 'classes', 'thing_classes', 'stuff_classes', 'bbox_file', 'max_iters',
    'max_epochs', 'layer_decay_rate',
]
