#!/usr/bin/env bash
# bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [WORK_DIR] [options of train.py]
#
# GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS="..." before it; GRES= for a CPU partition.
source "$(dirname "${BASH_SOURCE[0]}")/_launch.sh"
[ $# -ge 3 ] || usage
if [ $# -ge 4 ] && [[ $4 != -* ]]; then
    with_srun "$1" "$2" train.py "$3" --work-dir "$4" "${@:5}"
fi
with_srun "$1" "$2" train.py "$3" "${@:4}"
