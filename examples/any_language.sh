#!/bin/sh
# Training code that is no Python: gradient descent with momentum, in awk.
#
#     evolvent exec examples/any_language.toml -- sh examples/any_language.sh \
#         {hyperparameters} --seed {seed} --load {checkpoint} --save {directory}
#
# A linear model with three weights meets 300 noisy examples in a round. What a member must find is
# a learning rate that is high at first and low at the end: noise keeps a high one from settling.
set -eu

load= lr= momentum= seed= save=
while [ $# -gt 1 ]; do
    case $1 in
        --lr) lr=$2 ;; --momentum) momentum=$2 ;; --seed) seed=$2 ;;
        --load) load=$2 ;; --save) save=$2 ;;       # in round 0 there is no --load
    esac
    shift 2
done

weights="0 0 0 0 0 0"                               # three weights, three velocities
[ -z "$load" ] || weights=$(cat "$load/weights")

awk -v lr="$lr" -v momentum="$momentum" -v seed="$seed" -v weights="$weights" -v save="$save" '
BEGIN {
    split(weights, w); split("1.5 -0.7 0.3", truth)
    srand(seed)
    for (step = 0; step < 300; step++) {
        x[1] = 2 * rand() - 1; x[2] = 4 * rand() - 2; x[3] = 1
        error = rand() - 0.5                        # the noise
        for (i = 1; i <= 3; i++) error += (w[i] - truth[i]) * x[i]
        for (i = 1; i <= 3; i++) {
            w[i + 3] = momentum * w[i + 3] - lr * error * x[i]
            w[i] += w[i + 3]
        }
    }
    for (i = 1; i <= 3; i++) loss += (w[i] - truth[i]) ^ 2
    printf "%.17g %.17g %.17g %.17g %.17g %.17g\n", w[1], w[2], w[3], w[4], w[5], w[6] > (save "/weights")
    printf "{\"loss\": %.6g}\n", loss               # the last line: the metrics
}'
