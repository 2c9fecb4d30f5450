#!/usr/bin/env bash
# Make a virtual environment with the tested stack (setup.cfg) and mmcv's compiled operators.
#
#   bash tools/install.sh            or: make install
#
# PYTHON=python3.12   the interpreter (default: the first of python3, 3.11, 3.12, 3.10 that fits)
# VENV=.venv          the folder to install into
# FORCE_CUDA=1        compile CUDA operators where no GPU is visible (a login node)
#
# A second call does nothing; a call after one that was interrupted continues it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${VENV:-.venv}
log=$venv/install.log
stamp=$venv/installed
wanted="$(cat setup.cfg tools/install.sh | sha256sum) FORCE_CUDA=${FORCE_CUDA:-0}"

say() { printf '\n== %s\n' "$*"; }
fail() {
    printf '\nerror: %s\n' "$1" >&2
    shift
    printf '  do:  %s\n' "$@" >&2
    exit 1
}

fits() { # whether $1 runs and is a Python we support
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null
}

choose_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" || fail "PYTHON=$PYTHON is $("$PYTHON" --version 2>&1 || true); 3.10, 3.11 or 3.12 is needed" \
            'PYTHON=python3.11 make install'
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.11 python3.12 python3.10; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.10, 3.11 or 3.12 found (python3 is $(python3 --version 2>&1 || true))" \
        'apt-get install python3.11 python3.11-venv python3.11-dev, or PYTHON=/path/to/python make install'
}

check_machine() { # $1: the Python to build with
    local header
    "$1" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$1 cannot make virtual environments" 'apt-get install python3-venv'
    command -v "${CXX:-c++}" >/dev/null ||
        fail "no C++ compiler (${CXX:-c++}), and mmcv's operators have to be compiled" 'apt-get install g++'
    header=$("$1" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
    [ -f "$header" ] || fail "no $header, and mmcv's operators have to be compiled" 'apt-get install python3-dev'
}

make_venv() {
    if [ -e "$venv" ] && ! [ -e "$venv/bin/python" ]; then
        [ -z "$(ls -A "$venv")" ] ||
            fail "$venv is there and is no virtual environment" "rm -rf $venv, or VENV=another make install"
    fi
    if [ -e "$venv/bin/python" ]; then
        fits "$venv/bin/python" || fail "the environment in $venv does not run, or not with Python 3.10 to 3.12" \
            "rm -rf $venv, then make install"
        "$venv/bin/python" -m pip --version >/dev/null 2>&1 ||
            fail "an earlier install left $venv without pip" "rm -rf $venv, then make install"
        [ -e "$stamp" ] || say "Continuing an unfinished install in $venv (to start afresh: rm -rf $venv)"
        return
    fi
    local python
    python=$(choose_python)
    check_machine "$python"
    say "Making $venv with $("$python" --version)"
    "$python" -m venv "$venv"
}

pip_install() { # quiet on the screen, whole in the log; ninja's [n/78] shown as progress
    "$venv/bin/python" -m pip install --disable-pip-version-check -v "$@" 2>&1 | tee -a "$log" |
        awk 'match($0, /^ *\[[0-9]+\/[0-9]+\] /) {
                 split(substr($0, RSTART, RLENGTH), n, /[^0-9]+/)
                 if (n[2] % 10 == 0 || n[2] == n[3]) { printf "   compiled %d of %d\n", n[2], n[3]; fflush() }
             }' || {
        tail -n 25 "$log" >&2
        fail 'pip failed; its last lines stand above' "read $log, then run make install again: it continues"
    }
}

has_gpu_compiler() {
    "$venv/bin/python" - <<'PY'
import os, re, subprocess, sys
import torch
from torch.utils.cpp_extension import CUDA_HOME
nvcc = f'{CUDA_HOME}/bin/nvcc'
if not torch.version.cuda or not os.access(nvcc, os.X_OK):
    sys.exit(1)
said = subprocess.run([nvcc, '--version'], capture_output=True, text=True).stdout
found = re.search(r'release (\d+)', said)
sys.exit(not (found and found[1] == torch.version.cuda.split('.')[0]))
PY
}

compile_mode() { # prints cuda or cpu
    if [ "${FORCE_CUDA:-0}" = 1 ]; then
        echo cuda
    elif "$venv/bin/python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
        has_gpu_compiler && echo cuda || echo cpu-beside-gpu
    else
        echo cpu
    fi
}

mmcv_is_compiled() { # $1: cuda or cpu
    "$venv/bin/python" - "$1" >/dev/null 2>&1 <<'PY'
import sys
import torch, mmcv._ext
from mmcv.ops import get_compiling_cuda_version
sys.exit(sys.argv[1] == 'cuda' and get_compiling_cuda_version() == 'not available')
PY
}

use_windowless_opencv_if_needed() { # a server may lack libGL, and mmcv imports OpenCV
    if "$venv/bin/python" -m pip show -q opencv-python 2>/dev/null && ! "$venv/bin/python" -c 'import cv2' 2>/dev/null; then
        echo '   No libGL on this machine: taking OpenCV without windows.'
        pip_install --no-deps --force-reinstall 'opencv-python-headless<4.13'
    fi
}

build_mmcv_anew() { # $1: why
    echo "   $1: building it anew."
    pip_install --no-build-isolation --no-cache-dir --force-reinstall --no-deps \
        "$(sed -n 's/^ *onedl-mmcv ==/onedl-mmcv==/p' setup.cfg)"
}

install_stack() {
    local mode headers
    say 'Installing torch and build tools: 1 to 5 minutes, 6 GB on disk'
    pip_install -e '.[build]'

    mode=$(compile_mode)
    if [ "$mode" = cpu-beside-gpu ]; then
        say "A GPU, but no nvcc of CUDA $("$venv/bin/python" -c 'import torch; print(torch.version.cuda)'): taking mmcv's CPU operators"
        echo "   Segmentation and classification need no more. For detection on the GPU install the CUDA"
        echo "   toolkit, then: rm $stamp; make install"
        local -x CUDA_VISIBLE_DEVICES= # until this function returns
        mode=cpu
    fi
    use_windowless_opencv_if_needed
    if mmcv_is_compiled "$mode"; then
        say 'Bringing the OpenMMLab packages up to date: seconds'
    elif [ "$mode" = cuda ]; then
        say "Compiling mmcv's operators for CPU and GPU: 15 to 30 minutes the first time, pip keeps the wheel"
    else
        say "Compiling mmcv's operators: 8 to 20 minutes on 2 cores the first time, pip keeps the wheel"
    fi
    if [ "$mode" = cuda ]; then
        # The toolkit alone may lack cuBLAS and cuSPARSE headers; torch's own packages have them.
        headers=$(find "$(realpath "$venv")"/lib -path '*/nvidia/cu*/include' -prune -print -quit)
        [ -z "$headers" ] || export CPATH="$headers${CPATH:+:$CPATH}"
    fi
    if "$venv/bin/python" -m pip show -q onedl-mmcv 2>/dev/null && ! mmcv_is_compiled "$mode"; then
        build_mmcv_anew 'The mmcv that is installed lacks its operators or was built for another torch'
    fi
    pip_install --no-build-isolation --no-binary xtcocotools -e '.[mm,dev]'
    use_windowless_opencv_if_needed
    if ! mmcv_is_compiled "$mode"; then
        build_mmcv_anew 'The wheel that pip kept does not fit this torch'
    fi

    say 'Installing mmpose without chumpy: seconds'
    pip_install --no-deps mmpose==1.3.2
}

if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    echo "$venv is up to date."
    exit 0
fi
make_venv
rm -f "$stamp"
install_stack
say 'Checking the installation'
"$venv/bin/python" -m mmvisattn.doctor
echo "$wanted" >"$stamp"
say "Installed. To work in it: source $venv/bin/activate"
