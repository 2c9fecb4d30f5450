# Shared by dist_*.sh and slurm_*.sh: how processes are started. Sourced, not run.
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$(dirname "$tools")${PYTHONPATH:+:$PYTHONPATH}"
PYTHON=${PYTHON:-python}

usage() { # the comment at the head of the calling script
    sed -n '2,/^[^#]/ s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# with_torchrun GPUS SCRIPT ARGS...: GPUS processes on this node; several nodes by the environment.
with_torchrun() {
    local gpus=$1 script=$2
    shift 2
    [[ $gpus =~ ^[1-9][0-9]*$ ]] || { echo "error: GPUS must be a number, got '$gpus'" >&2; usage; }
    local port=${PORT:-${MASTER_PORT:-}} meet
    if [ "${NNODES:-1}" = 1 ] && [ -z "$port" ]; then
        meet=(--standalone) # a free port
    else
        meet=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
            --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${port:-29500}")
    fi
    exec "$PYTHON" -m torch.distributed.run "${meet[@]}" --nproc_per_node="$gpus" \
        "$tools/$script" "$@" --launcher pytorch
}

# with_srun PARTITION JOB_NAME SCRIPT ARGS...: one task a GPU.
with_srun() {
    local partition=$1 job_name=$2 script=$3 gpus=${GPUS:-8}
    shift 3
    local per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    ((per_node <= gpus)) || per_node=$gpus # never ask for GPUs that no task uses
    local gres=${GRES-gpu:$per_node}       # GRES= (empty) asks for none: a CPU partition
    # shellcheck disable=SC2086  SRUN_ARGS is a list of options
    exec srun --partition="$partition" --job-name="$job_name" ${gres:+--gres="$gres"} \
        --ntasks="$gpus" --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
        "$PYTHON" -u "$tools/$script" "$@" --launcher slurm
}
