#!/bin/sh
# A whole worker with curl: EVOLVENT_TOKEN=evt_… sh worker.sh URL STUDY, where STUDY is the number of the study.
# It trains the toy of the README in awk; for your own code change `train`, and what `save` sends.
set -eu
study=$1/api/v1/studies/$2 worker=$(uname -n)-$$ began=$(date +%s) n=0
umask 077
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT && trap 'exit 1' INT TERM && cd "$folder"
echo "header = \"Authorization: Bearer $EVOLVENT_TOKEN\"" > curlrc
ask() { # ask PATH OPTION…: the answer is in the file answer; whatever is asked here may be asked again
    path=$1 && shift
    while status=$(curl -sSK curlrc -o answer -w '%{http_code}' "$study$path" "$@") || status=lost; do case $status in
        2*) return 0 ;;
        lost | 408 | 429 | 50[2347]) echo "$path: $status, trying again" >&2 && sleep 1 ;;
        *) cat answer >&2 && return 1 ;;
    esac; done
}
fields() { # fields a.b c.0: these of the answer, with spaces between them
    python3 -c 'import functools, json, sys; answer = json.load(open("answer"))
step = lambda at, key: at[int(key) if isinstance(at, list) else key]
print(*(functools.reduce(step, name.split("."), answer) for name in sys.argv[1:]))' "$@"
}
train() { # from the file start to the file theta; prints the metric
    awk -v h0="$h0" -v h1="$h1" '{ for (i = 0; i < 10; i++) { $1 = $1 * (1 - 0.02 * h0); $2 = $2 * (1 - 0.02 * h1) }
        printf "%.17g %.17g\n", $1, $2 > "theta"; printf "%.6f\n", 1.2 - $1 ^ 2 - $2 ^ 2 }' start
}
save() { # theta becomes a checkpoint; only what is not there yet is sent
    files="[{\"name\": \"theta\", \"size\": $(wc -c < theta), \"sha256\": \"$(sha256sum theta | cut -c 1-64)\"}]"
    ask /uploads --json "{\"key\": \"$worker-$began-$n\", \"files\": $files}" || return 1
    set -- $(fields address sealed upload files.0.offset) && address=$1
    [ "$2" = True ] && return 0
    tail -c +$(($4 + 1)) theta > rest
    ask "/uploads/$3/files/0?offset=$4" -T rest -H 'Content-Type: application/octet-stream' && ask "/uploads/$3/seal" -X POST
}
while n=$((n + 1)); do
    ask /claim --json "{\"worker\": \"$worker\", \"wait_s\": 30, \"key\": \"$worker-$began-$n\"}"
    if [ "$status" = 204 ]; then # no job now: perhaps never again
        ask ""
        if [ "$(fields state)" = open ]; then continue; else exit 0; fi
    fi
    set -- $(fields job.member job.round job.attempt job.parent_checkpoint job.hyperparameters.h0 job.hyperparameters.h1)
    fence="\"worker\": \"$worker\", \"member\": $1, \"round\": $2, \"attempt\": $3" job=m$1r$2 h0=$5 h1=$6
    if [ "$4" = None ]; then echo 0.9 0.9 > start; else ask "/checkpoints/$4/files/0"; mv answer start; fi
    if q=$(train) && { save || save; }; then # twice: a piece whose answer was lost cannot be sent again, the rest can
        ask /report --json "{$fence, \"metrics\": {\"Q\": $q}, \"checkpoint\": \"$address\"}" && echo "$job Q $q" || true
    else
        failure='{"kind": "raised", "message": "see what the worker wrote"}'
        ask /fail --json "{$fence, \"failure\": $failure}" || true
    fi
done
