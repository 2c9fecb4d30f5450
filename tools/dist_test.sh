#!/usr/bin/env bash
# bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of test.py]
#
# Several nodes: NNODES=2 NODE_RANK=0 MASTER_ADDR=host PORT=29500 before it, on each node.
source "$(dirname "${BASH_SOURCE[0]}")/_launch.sh"
[ $# -ge 3 ] || usage
with_torchrun "$3" test.py "$1" "$2" "${@:4}"
