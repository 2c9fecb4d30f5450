"""What every task shares: processes, logging, reproducibility."""

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
log_level = 'INFO'
load_from = None
resume = False

# Unset here; a config or --cfg-options that sets one has it carried to every data set, head and
# schedule (mmvisattn/engine/config.py).
short_settings = ['data_root', 'classes', 'max_iters']
data_root = None
classes = None
max_iters = None
