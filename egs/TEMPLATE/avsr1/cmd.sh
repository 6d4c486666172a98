# shellcheck shell=bash
# Sourced, not run. How the heavy commands are started: words put before them, empty for this machine.
# On a cluster, for example:   train_cmd="srun --gres=gpu:1 --cpus-per-task=8"   decode_cmd="srun --cpus-per-task=1"

train_cmd="${train_cmd:-}"   # stages 7 and 11
decode_cmd="${decode_cmd:-}" # stage 12, once for each of --inference_nj parts; with --ngpu each needs one GPU
export train_cmd decode_cmd
