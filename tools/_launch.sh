# Shared by dist_*.sh and slurm_*.sh: how processes are started. Sourced, not run.
# shellcheck shell=bash
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PYTHONPATH="$(dirname "$tools")${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
PYTHON=${PYTHON:-python}

usage() { # the comment at the head of the calling script
    sed -n '2,/^[^#]/ { /^#SBATCH/d; s/^# \{0,1\}//p }' "$0" >&2
    exit 2
}

fail() {
    printf 'error: %s\n' "$@" >&2
    exit 2
}

# number NAME VALUE: 1, 2, ...
number() {
    [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 must be a number, got '$2'"
}

# with_torchrun GPUS SCRIPT ARGS...: GPUS processes on this node; several nodes by the environment.
with_torchrun() {
    local gpus=$1 script=$2 nodes=${NNODES:-1} port=${PORT:-${MASTER_PORT:-}} meet
    shift 2
    [[ $gpus =~ ^[1-9][0-9]*$ ]] || { echo "error: GPUS must be a number, got '$gpus'" >&2; usage; }
    if [ "$nodes" != 1 ] && [ -z "${MASTER_ADDR:-}" ]; then
        fail "NNODES=$nodes needs MASTER_ADDR=HOST, the node that the others reach"
    fi
    if [ "$nodes" = 1 ]; then
        meet=(--nnodes=1 --master_port="${port:-0}") # 0: a free one
    elif [[ $nodes == *:* ]] || [ "${MAX_RESTARTS:-0}" != 0 ]; then
        meet=(--nnodes="$nodes" --rdzv_backend=c10d --rdzv_endpoint="$MASTER_ADDR:${port:-29500}")
        # Who joins later must do as the others, which may have been started again.
        [ "$script" != train.py ] || [[ " $* " == *" --resume"* ]] || set -- "$@" --resume auto
    else
        [ -n "${NODE_RANK:-}" ] || fail "NNODES=$nodes needs NODE_RANK=0 on MASTER_ADDR, then 1, 2, ..."
        meet=(--nnodes="$nodes" --node_rank="$NODE_RANK" --master_addr="$MASTER_ADDR"
            --master_port="${port:-29500}")
    fi
    # shellcheck disable=SC2086 # TORCHRUN_ARGS is a list of options
    exec "$PYTHON" -m mmvisattn.processes.torchrun "${meet[@]}" --nproc_per_node="$gpus" \
        --max_restarts="${MAX_RESTARTS:-0}" ${TORCHRUN_ARGS:-} \
        "$tools/$script" "$@" --launcher pytorch
}

# with_srun PARTITION JOB_NAME SCRIPT ARGS...: one task a GPU.
with_srun() {
    local partition=$1 job_name=$2 script=$3 gpus=${GPUS:-8}
    shift 3
    number GPUS "$gpus"
    local per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    number GPUS_PER_NODE "$per_node"
    ((per_node <= gpus)) || per_node=$gpus # never ask for GPUs that no task uses
    ((gpus % per_node == 0)) ||
        fail "GPUS=$gpus on nodes of GPUS_PER_NODE=$per_node would leave GPUs idle: give a multiple"
    local gres=${GRES-gpu:$per_node} # GRES= (empty) asks for none: a CPU partition
    # shellcheck disable=SC2206 # SRUN_ARGS is a list of options
    local asked=(--partition="$partition" --job-name="$job_name" ${gres:+--gres="$gres"}
        --nodes="$((gpus / per_node))" --ntasks="$gpus" --ntasks-per-node="$per_node"
        --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-})
    [ -n "${SLURM_JOB_ID:-}${QUEUE_ANYWAY:-}" ] || check_request "$partition" "${asked[@]}"
    exec srun "${asked[@]}" "$PYTHON" -u "$tools/$script" "$@" --launcher slurm
}

# check_request PARTITION OPTIONS...: stop if there are no such nodes; srun may wait for them for ever.
check_request() {
    local reason
    if ! reason=$(srun --test-only "${@:2}" true 2>&1); then
        printf 'error: SLURM cannot start this\n  asked:  %s\n  reason: %s\n' "${*:2}" "$reason"
        sinfo --noheader --partition="$1" --format='  there:  %D nodes, %t, with %c CPUs and %G each' 2>/dev/null
        echo '  do:     another partition (sinfo lists them), or fewer GPUS, GPUS_PER_NODE, CPUS_PER_TASK;'
        echo '          GRES= on nodes without GPUs; QUEUE_ANYWAY=1 to wait for nodes that are down now'
        exit 2
    fi >&2
}
