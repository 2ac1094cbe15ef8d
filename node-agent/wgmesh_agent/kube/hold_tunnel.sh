#!/bin/sh
# Runs PROGRAM for the interface NAME while the file REQUEST exists: in a megabyte of memory, where an interpreter would
# keep twenty for every tunnel. Terminates with its container, and terminates the program first.
set -u
name=$1 program=$2 request=$3
child='' idle=0

end() {
    if [ -n "$child" ]; then
        kill -TERM "$child" 2>/dev/null
        wait "$child"
    fi
    exit 0
}
trap end TERM INT

# Runs commands in the background and waits: then a trap runs at once, and not after a command in the foreground.
run() {
    "$@" &
    child=$!
    wait "$child"
    child=''
}

while :; do
    if [ -e "$request" ]; then
        run "$program" -f "$name"
        idle=0
    fi
    # An agent requests a tunnel within minutes of its pod's start, or rarely: each check costs a process.
    if [ "$idle" -lt 600 ]; then
        idle=$((idle + 1))
        run sleep 0.5
    else
        run sleep 5
    fi
done
