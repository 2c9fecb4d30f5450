#!/usr/bin/env bash
# sbatch --partition=P --nodes=2 --ntasks-per-node=8 --gres=gpu:8 \
#     tools/slurm_batch.sh CONFIG WORK_DIR [options of train.py]
#
# A training that survives time limits and preemption: two minutes before the limit it saves, is
# queued again and goes on. Submit it in the project's folder, or set MMVISATTN_ROOT to that.
# PYTHON=python, MAX_REQUEUES=100 and SRUN_ARGS="..." (a container's options) before it; a CPU
# partition needs no --gres. Every #SBATCH line can be overridden on the command line.
#SBATCH --job-name=mmvisattn
#SBATCH --cpus-per-task=5
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
set -euo pipefail

find_tools() { # SLURM runs a copy of this file
    local folder
    for folder in "${MMVISATTN_ROOT:+$MMVISATTN_ROOT/tools}" "$(dirname "${BASH_SOURCE[0]}")" \
        "${SLURM_SUBMIT_DIR:-.}/tools"; do
        if [ -f "$folder/_launch.sh" ] && [ -f "$folder/slurm_batch.sh" ]; then
            echo "$folder"
            return
        fi
    done
    echo "error: no tools/_launch.sh in ${MMVISATTN_ROOT:-${SLURM_SUBMIT_DIR:-.}}" >&2
    echo '  do:  sbatch in the folder of mmvisattn, or MMVISATTN_ROOT=/path/to/mmvisattn sbatch ...' >&2
    return 2
}

tools=$(find_tools)
source "$tools/_launch.sh"
[ $# -ge 2 ] || usage
[ -n "${SLURM_JOB_ID:-}" ] || fail "start it with sbatch, or use tools/slurm_train.sh"
tasks=${SLURM_TASKS_PER_NODE:-1} gpus=${SLURM_GPUS_ON_NODE:-0}
tasks=${tasks%%[(,]*} # of 8(x2)
((gpus <= tasks)) || fail "$gpus GPUs on each node for $tasks tasks: give --ntasks-per-node=$gpus"
config=$1 work_dir=$2
shift 2

# The time limit comes near: the step is told, and saves. On preemption and scancel SLURM tells it
# itself, so that this shell has only to outlive that; a second signal would stop it at once.
warned=
warn() {
    warned=yes
    kill -USR1 "$step" 2>/dev/null || true
}
trap warn USR1
trap : TERM

# Tasks that were stopped end one after the other: only one that stays is in the way of the rest.
# shellcheck disable=SC2086 # SRUN_ARGS is a list of options
srun --kill-on-bad-exit=0 --wait=45 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" ${SRUN_ARGS:-} \
    "$PYTHON" -u "$tools/train.py" "$config" --work-dir "$work_dir" "$@" --launcher slurm &
step=$!
status=0
while kill -0 "$step" 2>/dev/null; do
    wait "$step" && status=0 || status=$? # a trap ends it early
done

# 75: stopped by a signal, with everything saved. 138: killed by the warning, before it could listen.
if [ "$status" != 75 ] && ! { [ -n "$warned" ] && [ "$status" = 138 ]; }; then
    exit "$status"
fi
count=${SLURM_RESTART_COUNT:-0}
if ((count >= ${MAX_REQUEUES:-100})); then
    echo "Not queued again: this was start $((count + 1)), and MAX_REQUEUES=${MAX_REQUEUES:-100}."
    exit "$status"
fi
state=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)
if [ "$state" != RUNNING ]; then # scancel, or SLURM queues it again itself
    echo "Not queued again here: the job is ${state:-gone}."
    exit "$status"
fi
echo "Queued again: this was start $((count + 1))."
scontrol requeue "$SLURM_JOB_ID"
