"""What makes a config ours: some settings may stand alone at its top, or in --cfg-options.

mmvisattn/engine/config.py names them, and carries each to every data set, metric, head and schedule.
"""

short_settings = True
