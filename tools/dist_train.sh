#!/usr/bin/env bash
# bash tools/dist_train.sh CONFIG GPUS [options of train.py]
#
# Several nodes: NNODES=2 NODE_RANK=0 MASTER_ADDR=host PORT=29500 before it, on each node.
# MAX_RESTARTS=3 starts again after a failure. See docs/clusters.md.
# Without a GPU the processes run on the CPU.
source "$(dirname "${BASH_SOURCE[0]}")/_launch.sh"
[ $# -ge 2 ] || usage
with_torchrun "$2" train.py "$1" "${@:3}"
